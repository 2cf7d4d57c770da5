"""Functions on the sphere whose length scale is known: random combinations of the spherical harmonics of a degree."""

import numpy as np
from scipy.optimize import brentq
from scipy.special import eval_legendre, sph_harm_y

from stiffness_book.table import FEWEST_PAIRS

SIZES = 20_000, 5_000  # points for training and for validation


def points(number, rng):
    """(number, 3): points spread evenly over the unit sphere at random."""
    vectors = rng.normal(size=(number, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def components(points, degrees, draw):
    """(number of degrees, n): for each degree a function with mean square 1 on the sphere, at the points.

    It combines all 2 l + 1 real spherical harmonics of degree l with random weights, which are fixed by the degree and
    by the number `draw`.
    """
    x, y, z = np.asarray(points, float).reshape(-1, 3).T
    polar, azimuth = np.arccos(np.clip(z, -1, 1)), np.arctan2(y, x)
    values = []
    for degree in degrees:
        weights = np.random.default_rng([draw, degree]).normal(size=2 * degree + 1)
        orders = np.arange(degree + 1)
        complex_harmonics = sph_harm_y(degree, orders[:, None], polar, azimuth)
        real = np.concatenate([complex_harmonics.real[:1], 2**0.5 * complex_harmonics.real[1:],
                               2**0.5 * complex_harmonics.imag[1:]])  # orthonormal
        values.append((4 * np.pi) ** 0.5 * weights @ real / np.linalg.norm(weights))
    return np.array(values)


def length_scale(degree):
    """The angle, in radians, at which the autocorrelation of every function of this degree first falls to zero.

    By the addition theorem the mean of f(x) f(x') over all pairs of points at the angle t is P_l(cos t), the Legendre
    polynomial, in units of the mean square of f.
    """
    first = 2.5 / (degree + 0.5)  # beyond the first zero, which is near 2.405 / (l + 1/2), and before the second
    return brentq(lambda angle: eval_legendre(degree, np.cos(angle)), 0, min(first, np.pi))


def agreement(degree, angles):
    """The mean of s(x) s(x') over pairs of points at these angles, where s is the sign of a random function of the
    degree: 2 / pi arcsin P_l(cos t), as the weights are normally distributed. Its first zero is the length scale."""
    return 2 / np.pi * np.arcsin(np.clip(eval_legendre(degree, np.cos(angles)), -1, 1))


def domains(table):
    """The stiff domain by angle in each run, stage and space beside the length scale of the labels.

    table: of runs of one degree each, with the columns degree and seed. Returns degree, seed, step, target_loss, space,
    size, scale and ratio, the size over the scale. The size is never missing: it is inf where stiffness starts positive
    and nowhere falls to zero, and 0 where that of the nearest pairs is not positive.
    """
    run = ["degree", "seed", "step", "target_loss", "space"]
    rows = table[table["quantity"] == "angle_stiff_domain_size_sign"].rename(columns={"value": "size"})[[*run, "size"]]
    pairs = table[(table["quantity"] == "angle_distance_pairs_all") & (table["value"] >= FEWEST_PAIRS)]
    curve = table[table["quantity"] == "angle_distance_curve_all_sign"]
    curve = curve.merge(pairs[[*run, "distance"]], on=[*run, "distance"]).sort_values("distance")
    nearest = curve.drop_duplicates(run).rename(columns={"value": "nearest"})[[*run, "nearest"]]
    rows = rows.merge(nearest, on=run, how="left")
    rows["size"] = rows["size"].fillna(rows.pop("nearest").gt(0).map({True: np.inf, False: 0.0}))
    rows["scale"] = rows["degree"].map({degree: length_scale(degree) for degree in set(rows["degree"])})
    return rows.assign(ratio=rows["size"] / rows["scale"])


def moments(table):
    """The moments at which runs are compared: {its name: a mask of the table's rows}.

    Before training, at the lowest training loss that all runs reach, and at the last stage; the second is missing where
    there is no such loss.
    """
    runs = len(table[["degree", "seed"]].drop_duplicates())
    reached = table[table["target_loss"].notna()].drop_duplicates(["degree", "seed", "target_loss"])
    reached = reached["target_loss"].value_counts()
    by_step = table["target_loss"].isna()
    last = table.loc[by_step & (table["quantity"] != "diverged"), "step"].max()
    found = {"before training": by_step & (table["step"] == 0)}
    if len(common := reached.index[reached == runs]):
        found[f"at training loss {common.min():g}"] = table["target_loss"] == common.min()
    return found | {f"after {last:,} steps": by_step & (table["step"] == last)}
