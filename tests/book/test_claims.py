"""What the pages read off the tables: means with intervals, words, and the rules of the verdicts."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from tables import (
    LOSSES,
    RATES,
    STEPS,
    both_precisions,
    growth,
    matrix,
    probes,
    spaces,
    sweep,
    table,
)

from stiffness_book import claims, summaries


def test_interval_is_students():
    values = [1.0, 2.0, 4.0, np.nan]
    mean, low, high = summaries.mean_and_interval(values)
    expected = stats.ttest_1samp(values[:3], 0).confidence_interval(0.95)
    assert (mean, low, high) == pytest.approx((7 / 3, expected.low, expected.high))
    assert np.isnan(summaries.mean_and_interval([1.0])[1:]).all()


def test_over_seeds_counts_them():
    rows = summaries.over_seeds(table(lambda *_: matrix(0.5, 0.1)), ["step", "quantity"])
    assert set(rows["seeds"]) == {5, 5 * 16}
    curves = summaries.stiffness_curves(table(lambda *_: matrix(0.5, 0.1)), ["within_class_sign"])
    assert curves["step"].tolist() == list(STEPS) and curves["mean"].tolist() == pytest.approx([0.5] * 3)


def test_intervals_of_stiffness_end_where_stiffness_does():
    spread = table(lambda *_: matrix(0.9, 0), spread=0.4)
    assert summaries.stiffness_curves(spread, ["within_class_sign"])["high"].max() == 1
    assert summaries.mean_matrices(spread, list("abcd"))["high"].max() == 1


def test_loss_curves_are_geometric():
    losses = pd.DataFrame({"step": 0, "seed": [0, 1], "quantity": "train_loss", "value": [0.1, 10.0]})
    row = summaries.loss_curves(losses, ["train_loss"]).iloc[0]
    assert row["mean"] == pytest.approx(1) and row["low"] * row["high"] == pytest.approx(1) and row["low"] > 0


def test_claims_are_registered_once_in_order_with_their_rules():
    assert [one.id for one in claims.in_order()] == [
        "C1", "C2", "C3", "C4", "C5", "C6", "C6′", "C7", "C8a", "C8b", "C9", "C10", "C11", "C12a", "C12b", "C13", "C14",
        "C15", "C16", "C17", "C18", "N1", "N2", "N3", "N4", "N5", "N6"]
    for one in claims.in_order():
        assert one.rule and one.statement.endswith("?" if one.question else ".") and one.pages
        assert set(one.before) <= set(one.pages) and bool(one.before) == bool(one.changed)
        assert one.key(next(iter(one.pages))) == one.id
    with pytest.raises(ValueError, match="claim C1 is registered twice"):
        claims.claim("C1", source="", statement="", pages={})(lambda table: None)


def test_the_scorecard_has_a_row_for_each_claim_and_page():
    card = claims.scorecard()
    assert card.count("* - ") == 1 + sum(len(one.pages) for one in claims.in_order())
    assert all(one.statement in card for one in claims.in_order())
    assert "fig05_class_stiffness_fashion.ipynb::C1-fig05-verdict" in card


def test_class_matrices_of_a_table():
    matrices = summaries.mean_matrices(table(lambda step, _: matrix(0.5, -step / 200)), list("abcd"))
    cell = matrices.query("step == 100 and kind == 'sign' and class_a == 'a' and class_b == 'd'")
    assert cell["mean"].item() == pytest.approx(-0.5) and cell["seeds"].item() == 5


def test_both_precisions_of_the_sign():
    single = summaries.in_single_precision(both_precisions())
    assert single.groupby("quantity")["value"].last().to_dict() == {
        "within_class_sign": 0.4, "between_classes_sign": 0.2, "train_loss": 0.1}


def test_where_losses_were_not_reached():
    made = sweep(growth({"a": 0.1, "b": 0.2}))
    few = made[(made["target_loss"] > 0.1) | (made["dataset"] == "a") | (made["learning_rate"] < 5e-4)]
    judged = claims.higher_rate_is_stiffer(few)
    assert judged.verdict == "partly" and "rises (b, loss 0.1): +0.00" in judged.measured  # of a single rate
    stops = summaries.stops(few.assign(quantity="train_loss", value=few["target_loss"] - 0.01),
                            {"a": LOSSES, "b": LOSSES})
    assert len(stops) == 12 and stops.query("runs == 0")[["dataset", "target_loss"]].values.tolist() == [["b", 0.1]] * 2
    assert stops["loss"].iloc[0] == pytest.approx(0.29) and stops["step"].iloc[0] == 100


def test_sizes_have_no_gaps():
    made = spaces(lambda *_: 0.5, lambda space, _: {"input": 0.3, "layer 1": np.nan, "layer 2": 7, "layer 3": -1}.get(
        space, np.nan), seeds=1)
    sizes = summaries.domain_sizes(made).query("dataset == 'a' and quantity == 'critical_length_cosine'")
    assert sizes["value"].tolist() == [0.3, np.inf, np.inf, np.inf, np.inf]
    negative = summaries.domain_sizes(spaces(lambda *_: -0.5, lambda *_: np.nan, seeds=1))
    assert set(negative["value"]) == {0}
    row = summaries.medians(sizes, ["dataset"]).iloc[0]
    assert row["median"] == np.inf and row["least"] == 0.3 and row["runs"] == 5 and row["finite"] == 1


def test_curves_of_different_classes_follow_from_the_others():
    made = spaces(lambda *_: 0.0, lambda *_: 0.3, seeds=2)
    made.loc[made["quantity"] == "distance_curve_within_class_sign", "value"] = 1.0
    curves = summaries.distance_curves(made[made["dataset"] == "a"])
    assert set(curves["distance"]) == {0.025, 0.075}  # the last bin has too few pairs
    apart = curves[(curves["pairs"] == "between_classes") & (curves["kind"] == "sign")]
    assert apart["mean"].tolist() == pytest.approx([(0.005 - 0.25) / 0.75] * len(apart)) and len(apart) == 10
    assert set(apart["number"]) == {75} and set(apart["seeds"]) == {2}


def test_rank_correlation_counts_infinity_as_largest():
    assert summaries.rank_correlation([1, 2, 3], [0.1, 0.2, np.inf]) == pytest.approx(1)
    assert summaries.rank_correlation([1, 2, 3], [np.inf] * 3) == 0
    assert summaries.slope_per_decade([1, 10, 100], [0, 2, 4]) == pytest.approx(2)


def test_difference_is_welchs():
    a, b = [1.0, 2.0, 4.0], [0.0, 0.5]
    mean, low, high = summaries.difference_and_interval(a, b)
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert (mean, low, high) == pytest.approx((7 / 3 - 0.25, expected.low, expected.high))
    assert summaries.difference_and_interval([1, 1], [1, 1]) == (0, 0, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, low, high = summaries.difference_and_interval([1, 1, 1], [0.5, 0.6, 0.7])
    assert low < 0.4 < high
    assert np.isnan(summaries.difference_and_interval([1], [1, 2])[1:]).all()
    assert np.isnan(summaries.difference_and_interval([], [1, 2])).all()


def test_errors_are_half_the_interval():
    made = probes(lambda *_: 0.01)
    errors = summaries.probe_errors(pd.concat([made, made.assign(target_loss=0.5, value=9.0)]))
    assert errors["value"].max() == pytest.approx(1.96 * 0.01 * 10**0.5, rel=1e-4) and len(errors) == len(made)


def test_spread_over_seeds_is_their_standard_deviation():
    made = table(lambda *_: matrix(0.5, 0.1)).assign(target_loss=np.nan)
    spread = summaries.seed_spread(made)
    assert spread["value"].tolist() == pytest.approx([np.std([-2, -1, 0, 1, 2], ddof=1) / 100] * len(spread))
    assert len(spread) == len(STEPS) * 4


def test_pairs_of_classes_once_and_by_stiffness():
    matrices = summaries.mean_matrices(table(lambda *_: matrix(1, 0) + np.diag([0.2, 0, 0.2], 1)
                                              + np.diag([0.2, 0, 0.2], -1)), list("abcd"))
    pairs = summaries.pairs_of_classes(matrices, 100)
    assert len(pairs) == 6 and set(pairs.index[-2:]) == {("a", "b"), ("c", "d")}


@pytest.mark.parametrize("judge", [claims.within_class_positive, claims.between_classes_grows,
                                   claims.permuted_labels_negative])
def test_runs_that_end_at_initialisation_are_not_judged(judge):
    judged = judge(table(lambda *_: matrix(0.9, 0.5))[lambda rows: rows["step"] == 0])
    assert judged.verdict == "not measured"
    assert judged.measured == "no stage after initialisation was measured in any run"


@pytest.mark.parametrize("judge", [claims.higher_rate_is_stiffer, claims.domain_grows_with_rate])
def test_runs_that_reach_no_loss_are_not_judged(judge):
    made = pd.concat([sweep(growth({"a": 0.1, "b": 0.2})),
                      spaces(lambda *_: 0.5, lambda _, rate: 30 * rate, rates=RATES)])
    judged = judge(made.assign(target_loss=np.nan))
    assert judged.verdict == "not measured" and judged.measured == "no run reached any of the training losses"
