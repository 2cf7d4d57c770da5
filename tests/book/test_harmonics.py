"""Functions of known length scale on the sphere: their degree, their mean square, and their autocorrelation."""

import numpy as np
import pytest
from scipy.special import eval_legendre
from tables import harmonic

from stiffness_book import data, harmonics
from stiffness_book.words import name_of


def grid(number=40):
    """Points and weights of a quadrature on the sphere that is exact for polynomials."""
    heights, weights = np.polynomial.legendre.leggauss(number)
    angles = np.arange(2 * number) * np.pi / number
    z, angle = (part.ravel() for part in np.meshgrid(heights, angles, indexing="ij"))
    radius = np.sqrt(1 - z**2)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)
    return points, np.repeat(weights, 2 * number) / (4 * number)


@pytest.mark.parametrize("degree", [1, 2, 5, 12, 16])
def test_a_function_of_a_degree(degree):
    points, weights = grid()
    values, = harmonics.components(points, [degree], draw=0)
    assert weights.sum() == pytest.approx(1) and (weights * values**2).sum() == pytest.approx(1)
    # to average it over the sphere with the Legendre polynomial of its degree gives it back, and no other degree does
    kernel = weights * values * (2 * degree + 1)
    for other in (degree, degree + 1, degree - 1):
        found = eval_legendre(other, np.clip(points[:50] @ points.T, -1, 1)) @ kernel
        np.testing.assert_allclose(found, values[:50] if other == degree else 0, atol=1e-9)


def test_draws_and_degrees_differ_and_a_draw_is_fixed():
    points, weights = grid()
    (one, two), (again, _), (other, _) = (harmonics.components(points, [2, 6], draw) for draw in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (weights * one * two).sum() == pytest.approx(0, abs=1e-12) and abs((weights * one * other).sum()) < 0.9
    np.testing.assert_array_equal(two, harmonics.components(points, [6], draw=0)[0])  # whatever is beside it


def test_the_length_scale_is_the_first_zero_of_the_autocorrelation():
    for degree in range(1, 17):
        angle = harmonics.length_scale(degree)
        before = eval_legendre(degree, np.cos(np.linspace(0, angle - 1e-6, 100)))
        assert (before > 0).all() and eval_legendre(degree, np.cos(angle)) == pytest.approx(0, abs=1e-9)
        assert angle == pytest.approx(2.405 / (degree + 0.5), rel=0.03)


def test_labels_of_points_at_the_length_scale_agree_no_more_than_by_chance():
    points = data.load("harmonics-4-draw0").validation.inputs[:, :, 0, 0]
    signs = 2 * data.load("harmonics-4-draw0").validation.labels - 1
    angle = np.arccos(np.clip(points @ points.T, -1, 1))
    agreement = {share: np.outer(signs, signs)[abs(angle - share * harmonics.length_scale(4)) < 0.01].mean()
                 for share in (0.5, 1, 1.5)}
    assert agreement[0.5] > 0.3 and abs(agreement[1]) < 0.06 and agreement[1.5] < -0.1


def test_points_are_spread_evenly_and_fixed():
    dataset = data.load("harmonics-3-draw0")
    points = dataset.train.inputs[:, :, 0, 0]
    assert dataset.split_sizes == {"train": 20_000, "validation": 5_000} and dataset.num_classes == 2
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1)
    np.testing.assert_allclose(points.T @ points / len(points), np.eye(3) / 3, atol=0.01)
    assert data.is_available("harmonics-3-draw0")
    other = data.load("harmonics-3-draw1")
    assert (other.train.inputs != dataset.train.inputs).all() and (other.train.labels != dataset.train.labels).any()


def test_draws_and_degrees_have_one_name():
    assert name_of("harmonics-2+4-draw0") == name_of("harmonics-3-draw7") == "spherical harmonics"


def test_the_domain_is_0_where_the_nearest_pairs_are_not_stiff_and_endless_where_stiffness_never_falls():
    rows = harmonic(lambda scale, _: scale, seeds=1).query("degree == 2 and step == 0 and space == 'input'")
    curve = rows["quantity"] == "angle_distance_curve_all_sign"
    for nearest, few, expected in ((0.3, 100.0, np.inf), (-0.3, 100.0, 0), (-0.3, 5.0, np.inf)):
        changed = rows.copy()
        changed.loc[rows["quantity"] == "angle_stiff_domain_size_sign", "value"] = np.nan
        changed.loc[curve & (rows["distance"] > 0.1), "value"] = 0.5
        changed.loc[curve & (rows["distance"] < 0.1), "value"] = nearest
        changed.loc[(rows["quantity"] == "angle_distance_pairs_all") & (rows["distance"] < 0.1), "value"] = few
        row, = harmonics.domains(changed).itertuples()
        assert row.size == expected and row.scale == harmonics.length_scale(2)
