"""What is inferred from the paper's pictures: each inference on readings for which the answer is known."""

import numpy as np
import pandas as pd
import pytest

from stiffness_book import charts, pictures, published, texts


def figure_2(between, within):
    """Readings of Figure 2 with these values at as many stages."""
    return pd.DataFrame([{"panel": "top", "series": series, "x": 58_016.0 * (k + 1), "y": round(value, 3)}
                         for series, values in (("different class", between), ("same class", within))
                         for k, value in enumerate(values)])


@pytest.mark.parametrize("images", [2, 3, 5])
def test_the_number_of_images_is_found(images, monkeypatch):
    rng, pairs = np.random.default_rng(0), 45 * images**2
    made = [np.where(rng.random(pairs) < 0.55, 1, -1).mean() for _ in range(20)]
    monkeypatch.setattr(published, "curves", lambda _: figure_2(made, made))
    rows = pictures.images_a_class(8, draws=300).set_index("images")
    assert rows["distance"].idxmin() == images and rows.loc[images, "p"] < 0.01
    assert (rows.loc[[n for n in rows.index if n % images and images % n], "p"] > 0.01).all()


def test_random_values_have_no_number_of_images(monkeypatch):
    rng = np.random.default_rng(1)
    monkeypatch.setattr(published, "curves", lambda _: figure_2(rng.uniform(0, 0.3, 20), rng.uniform(0, 1, 20)))
    assert pictures.images_a_class(8, draws=300)["p"].min() > 0.01


@pytest.mark.parametrize("own", [True, False])
def test_self_pairs_are_found_out(own, monkeypatch):
    rng = np.random.default_rng(0)
    cross = [np.where(rng.random(30) < 0.8, 1, -1).sum() for _ in range(12)]
    within = [(30 + total) / 60 if own else total / 30 for total in cross]
    monkeypatch.setattr(published, "curves", lambda _: figure_2(within, within))
    rows = pictures.self_pairs().set_index("pairs")["distance"]
    assert rows.idxmin() == ("with self-pairs" if own else "without") and rows.min() < 0.05


def test_matrices_that_are_not_symmetric_and_zeros_are_counted(monkeypatch):
    C = np.full((10, 10), 0.5)
    C[2, 3], C[4] = 0.3, 0
    monkeypatch.setattr(published, "matrices", lambda _: {0: C})
    row = pictures.asymmetry().iloc[0]
    assert row["largest"] == pytest.approx(0.5) and row["differ"] == 10 and row["zero_rows"] == [4]
    assert row["zero"] == pytest.approx(0.1)


def test_what_the_papers_own_readings_say():
    images = pictures.images_a_class(draws=500).set_index("images")
    assert images["distance"].idxmin() == 3 and images.loc[3, "p"] * len(images) < 0.05  # Bonferroni's
    passes = pictures.lengths_of_a_pass()
    assert passes["step"].tolist() == [58_016, 48_000] and passes["passes"].tolist() == [[11, 13, 97], [14, 33]]
    matrices = pictures.asymmetry()
    assert (matrices.loc[matrices["images"] < 10_000, "largest"] == 0).all() and matrices["largest"].max() > 0.2
    assert "58,016" in texts.inferred() and "Figure 2 measures 3 images per class" in texts.inferred()


def test_zero_gradients_at_both_ends():
    """15 images, of which 5 have a gradient: with all signs +1, and with cross signs that cancel."""
    assert pictures.zero_gradients(15 / 120, 15)[0] == pytest.approx(10 / 15)  # of 120 pairs, 10 + 5
    assert pictures.zero_gradients(5 / 120, 15)[1] == pytest.approx(10 / 15)


def test_self_pairs_can_be_added_and_taken_away():
    rng = np.random.default_rng(0)
    labels = np.repeat(range(4), 5)
    s = np.sign(rng.normal(size=(20, 20)))
    s = np.triu(s, 1) + np.triu(s, 1).T + np.eye(20)
    from stiffness import class_stiffness
    C = class_stiffness(s, labels)
    once = np.triu(np.ones_like(s, dtype=bool))  # two images of a class count once
    whole = [[s[(labels[:, None] == a) & (labels == b) & (once | (a != b))].mean() for b in range(4)] for a in range(4)]
    np.testing.assert_allclose(published.with_self_pairs(C, 5), whole)
    np.testing.assert_allclose(published.without_self_pairs(published.with_self_pairs(C, 5), 5), C)


def test_agreement_of_matrices():
    rng = np.random.default_rng(0)
    C = rng.uniform(-1, 1, (10, 10))
    assert published.agreement(C, C) == pytest.approx({"correlation": 1, "correlation_between": 1, "within": 0,
                                                       "between": 0, "distance": 0})
    other = published.agreement(C + 0.1, C)
    assert other["within"] == pytest.approx(0.1) and other["distance"] == pytest.approx(0.1)
    assert np.isnan(published.agreement(np.ones((10, 10)), C)["correlation"])


def test_readings_have_errors_and_unknown_figures_are_named():
    assert (published.curves(2)["error"].dropna() > 0).all() and published.matrices(7)[3200].shape == (100, 100)
    with pytest.raises(ValueError, match="figure is 1; curves were read off Figures 2, 8, 9, 10"):
        published.curves(1)
    with pytest.raises(ValueError, match="figure is 8; matrices were read off Figures 3, 4, 5, 6, 7"):
        published.matrices(8)


def test_matrices_beside_each_other_and_their_agreement_in_words():
    rng = np.random.default_rng(0)
    ours, names = rng.uniform(-1, 1, (10, 10)), [*map(str, range(10))]
    pairs = {images: (ours, C) for images, C in published.matrices(4).items()}
    chart = charts.matrices_beside({f"{images:,} images": both for images, both in pairs.items()}, names, title="t",
                                   of="a network").to_dict()
    assert len(chart["concat"]) == 8 and chart["columns"] == 4
    assert chart["usermeta"]["narrow"]["order"] == [0, 4, 1, 5, 2, 6, 3, 7]
    assert "754,208 images, the paper: 1.00 within classes, -1.00 between them" in chart["description"]
    assert "no data" in charts.matrices_beside({}, names, title="t", of="a network").to_dict()["description"]
    stacks = {images: (np.stack([one, -one]), C) for images, (one, C) in pairs.items()}
    theirs = published.matrices(4)[0]
    told = texts.agreement_with_the_paper(stacks | {7: (np.stack([theirs, theirs]), theirs)})
    assert "| 7 | +1.00, −0.54 | +1.00, −0.54 | +1.00 | +1.00 | 0.00 | 0.00 |" in told
    assert "mostly chance" in texts.agreement_with_the_paper(stacks)
    assert "mostly chance" not in texts.agreement_with_the_paper({7: (np.stack([theirs, theirs]), theirs)})
    rows = [line.strip("| ").split(" | ") for line in told.splitlines()[2:6]]
    assert rows[0][4] == "−1.00"  # a run and its reverse
    assert rows[3][3] == "–"  # the paper's is constant between classes
    assert not texts.agreement_with_the_paper({})
