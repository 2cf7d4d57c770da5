"""Other measures of how gradients agree: from what a run stores of a Gram matrix, as from the matrix itself."""

import numpy as np
import pandas as pd
import pytest
from test_texts import cells

from stiffness_book import family, texts


def stored(K, seed=0, step=10, **stiffness):
    """The rows that a run stores of the Gram matrix, and its stiffness."""
    different = K[~np.eye(len(K), dtype=bool)]
    values = {"gram_mean_norm": np.sqrt(np.diag(K)).mean(), "gram_mean_square_norm": np.diag(K).mean(),
              "gram_mean_product": different.mean(), "gram_lowest_product": different.min(),
              **dict.fromkeys(family.STIFFNESS, 0.5), **stiffness}
    return pd.DataFrame([{"seed": seed, "step": step, "target_loss": np.nan, "quantity": name, "value": value}
                         for name, value in values.items()])


def test_measures_are_those_of_the_matrix():
    gradients = np.random.default_rng(0).normal(0.5, 1, (8, 20))
    K, m = gradients @ gradients.T, 8
    row = family.measures(stored(K), m).iloc[0]
    assert row["confusion"] == pytest.approx(max(0, -K[~np.eye(m, dtype=bool)].min()))
    assert row["diversity"] == pytest.approx((gradients**2).sum() / (gradients.sum(0) ** 2).sum())
    assert row["coherence"] == pytest.approx(K.sum() / np.trace(K))
    mean = gradients.mean(0)
    variance = ((gradients - mean) ** 2).sum() / (m - 1)  # the trace of the covariance
    squared_mean = K[~np.eye(m, dtype=bool)].mean()  # without bias
    assert row["noise_scale"] == pytest.approx(variance / squared_mean)
    assert row["grand"] == pytest.approx(np.linalg.norm(gradients, axis=1).mean())


def test_what_is_not_defined_is_missing():
    row = family.measures(stored(np.array([[1.0, -1.0], [-1.0, 1.0]])), 2).iloc[0]  # gradients that cancel
    assert row["confusion"] == 1 and np.isnan(row["diversity"]) and np.isnan(row["noise_scale"])


def test_equal_orders_are_told():
    rows = pd.concat([family.measures(stored(np.array([[1.0, p], [p, 1.0]]), seed, step, between_classes_sign=p), 2)
                      for seed in range(3) for step, p in enumerate((0.1, 0.3, 0.5, 0.7))])
    table = {row[0]: row[1:] for row in cells(texts.correlations(rows, []))}
    assert table["m-coherence"] == ["constant", "+1.00", "constant", "constant"]
    assert table["gradient diversity"][1] == "−1.00"
    assert "m-coherence with stiffness between classes, sign (+1.00)" in texts.says_the_same(rows, [])
    assert "none of them" in texts.says_the_same(rows.assign(between_classes_sign=0.5), [])
