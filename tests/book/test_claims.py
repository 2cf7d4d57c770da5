"""What the pages read off the tables: means with intervals, words, and the rules of the verdicts."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from tables import (
    LOSSES,
    PAIRS,
    RATES,
    STEPS,
    both_precisions,
    by_kind,
    growth,
    matrix,
    networks,
    probes,
    spaces,
    sweep,
    table,
)

from stiffness_book import claims, summaries, words


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


@pytest.mark.parametrize("within, verdict", [
    ((0.9, 0.8, 0.7), "reproduced"), ((0.0, 0.8, 0.7), "partly"), ((0.9, 0.0, 0.0), "partly"),
    ((0.0, 0.0, 0.0), "not reproduced"), ((-0.9, -0.8, -0.7), "opposite")])
def test_verdict_of_c1(within, verdict):
    judged = claims.within_class_positive(table(lambda step, _: matrix(within[STEPS.index(step)], 0)))
    assert judged.verdict == verdict and judged.claim == "C1"


def test_claims_are_registered_once_in_order_with_their_rules():
    assert [one.id for one in claims.in_order()] == [
        "C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8", "C12", "C14", "C15"]
    for one in claims.in_order():
        assert one.rule.split("- reproduced: ")[1] and one.statement.endswith(".") and one.pages
        assert one.key(next(iter(one.pages))) == one.id
    with pytest.raises(ValueError, match="claim C1 is registered twice"):
        claims.claim("C1", source="", statement="", pages={})(lambda table: None)


def test_the_scorecard_has_a_row_for_each_claim_and_page():
    card = claims.scorecard()
    assert card.count("* - ") == 1 + sum(len(one.pages) for one in claims.in_order())
    assert all(one.statement in card for one in claims.in_order())
    assert "fig05_class_stiffness_fashion.ipynb::C1-fig05-verdict" in card


@pytest.mark.parametrize("random_start, last, verdict", [
    (True, 0.6, "reproduced"), (False, 0.6, "partly"), (True, -0.6, "opposite"), (False, 0.1, "not reproduced")])
def test_verdict_of_c2(random_start, last, verdict):
    def at(step, seed):
        start = np.random.default_rng(seed).choice([-0.3, 0.3], (4, 4)) if random_start else matrix(1, 0.1)
        return start if step == 0 else matrix(1, last)

    made = table(at)
    if verdict == "not reproduced":  # consistent from the start, no growth, and then no class pair that is positive
        made.loc[(made["step"] == STEPS[-1]) & (made["quantity"] == "class_stiffness_sign"), "value"] = -0.5
    assert claims.between_classes_grows(made).verdict == verdict


@pytest.mark.parametrize("between, verdict", [
    ((0, -0.1, -0.5), "reproduced"), ((0, 0.4, -0.5), "partly"), ((0, 0, 0), "partly"), ((0, 0, 0.5), "opposite"),
    ((0, 0.5, 0), "not reproduced")])
def test_verdict_of_c4(between, verdict):
    judged = claims.permuted_labels_negative(table(lambda step, _: matrix(1, between[STEPS.index(step)])))
    assert judged.verdict == verdict


def test_measured_numbers_are_those_of_the_table():
    judged = claims.permuted_labels_negative(table(lambda step, _: matrix(1, -step / 200)))
    assert judged.measured.startswith("−0.50 [−0.52, −0.48] after 100 steps")


def test_class_matrices_of_a_table():
    matrices = summaries.mean_matrices(table(lambda step, _: matrix(0.5, -step / 200)), list("abcd"))
    cell = matrices.query("step == 100 and kind == 'sign' and class_a == 'a' and class_b == 'd'")
    assert cell["mean"].item() == pytest.approx(-0.5) and cell["seeds"].item() == 5


def test_both_precisions_of_the_sign():
    single = summaries.in_single_precision(both_precisions())
    assert single.groupby("quantity")["value"].last().to_dict() == {
        "within_class_sign": 0.4, "between_classes_sign": 0.2, "train_loss": 0.1}


@pytest.mark.parametrize("within, between, verdict", [
    ((0.9, 0.5), (0.4, 0.1), "reproduced"), ((0.9, 0.5), (0.4, 0.6), "partly"), ((0.9, 0.9), (0.4, 0.4), "partly"),
    ((0.5, 0.9), (0.1, 0.4), "opposite"), ((0.9, 0.9), (0.1, 0.4), "not reproduced")])
def test_verdict_of_c3(within, between, verdict):
    # before the onset, at step 10, both are far lower, which must not count
    stages = table(lambda step, seed: {0: matrix(-1, -1)}.get(step, matrix(
        within[step == 100] + 0.02 * (step == 100) * (-1) ** seed,
        between[step == 100] + 0.02 * (step == 100) * (-1) ** seed)))
    losses = pd.DataFrame([{"step": step, "seed": seed, "quantity": "validation_loss", "value": loss}
                           for step, loss in zip(STEPS, (2.3, 0.5, 0.9)) for seed in range(5)])
    both = pd.concat([pd.concat([stages, losses]).assign(dataset=name) for name in ("a", "b")])
    assert summaries.onset(losses) == 10
    judged = claims.overfitting_loses_stiffness(both)
    assert judged.verdict == verdict and "a, onset after 10 steps, last stage 100" in judged.measured


def test_c3_without_over_fitting():
    losses = pd.DataFrame([{"step": step, "seed": seed, "quantity": "validation_loss", "value": 1 / (1 + step)}
                           for step in STEPS for seed in range(5)])
    falling = table(lambda step, _: matrix(1 - step / 200, 0.5 - step / 200))
    judged = claims.overfitting_loses_stiffness(pd.concat([falling, losses]).assign(dataset="a"))
    assert judged.verdict == "not reproduced" and "onset after 100 steps, last stage 100" in judged.measured


@pytest.mark.parametrize("slopes, verdict", [
    ({"a": 0.1, "b": 0.2}, "reproduced"), ({"a": 0.1, "b": -0.2}, "partly"), ({"a": -0.1, "b": -0.2}, "opposite"),
    ({"a": 0, "b": 0}, "not reproduced"), ({"a": 0, "b": -0.2}, "not reproduced")])
def test_verdict_of_c6(slopes, verdict):
    judged = claims.higher_rate_is_stiffer(sweep(growth(slopes)))
    assert judged.verdict == verdict
    assert judged.measured.startswith(f"change per tenfold rate: a {words.signed(slopes['a'])} [")


def test_c6_where_losses_were_not_reached():
    made = sweep(growth({"a": 0.1, "b": 0.2}))
    few = made[(made["target_loss"] > 0.1) | (made["dataset"] == "a") | (made["learning_rate"] < 5e-4)]
    judged = claims.higher_rate_is_stiffer(few)
    assert judged.verdict == "partly" and judged.measured.endswith("unknown [unknown, unknown] at loss 0.1")
    stops = summaries.stops(few.assign(quantity="train_loss", value=few["target_loss"] - 0.01),
                            {"a": LOSSES, "b": LOSSES})
    assert len(stops) == 12 and stops.query("runs == 0")[["dataset", "target_loss"]].values.tolist() == [["b", 0.1]] * 2
    assert stops["loss"].iloc[0] == pytest.approx(0.29) and stops["step"].iloc[0] == 100


def depth(space):
    return {"input": 0, "layer 1": 1, "layer 2": 2, "layer 3": 3, "logits": 4}[space]


def shrinking(space, _):
    return 1 - 0.2 * depth(space)


@pytest.mark.parametrize("stiffness_at, size_at, verdict", [
    (lambda *_: 0.5, shrinking, "reproduced"), (lambda *_: 0.5, lambda *_: 0.3, "partly"),
    (lambda space, _: -0.5 if space == "logits" else 0.5, shrinking, "partly"),
    (lambda *_: 0.5, lambda space, _: 0.2 * depth(space), "opposite"),
    (lambda *_: -0.5, lambda *_: 0.3, "not reproduced")])
def test_verdict_of_c7(stiffness_at, size_at, verdict):
    assert claims.near_pairs_are_stiff(spaces(stiffness_at, size_at)).verdict == verdict


def test_c7_tells_where_stiffness_ceases_and_which_curves_never_do():
    made = spaces(lambda _, distance: 0.5 if distance < 0.05 else -0.5, lambda space, _: np.nan)
    judged = claims.near_pairs_are_stiff(made)
    assert "positive in input below 0.05, layer 1 below 0.05" in judged.measured
    assert "stiff domain's size +0.00 [+0.00, +0.00]; 15 of 15 curves never fall to zero" in judged.measured
    everywhere = claims.near_pairs_are_stiff(spaces(lambda *_: 0.5, shrinking)).measured
    assert "positive in input at any, layer 1 at any" in everywhere and "0 of 15 curves" in everywhere


@pytest.mark.parametrize("size_at, verdict", [
    (lambda _, rate: 300 * rate, "reproduced"), (lambda _, rate: np.nan if rate > 5e-3 else rate, "reproduced"),
    (lambda _, rate: 0.5 - 30 * rate, "opposite"), (lambda *_: 0.5, "not reproduced"),
    (lambda *_: np.nan, "not reproduced")])
def test_verdict_of_c8(size_at, verdict):
    made = spaces(lambda *_: 0.5, size_at, rates=RATES)
    judged = claims.domain_grows_with_rate(made)
    assert judged.verdict == verdict and "In the layers: above 0 in" in judged.measured


def test_c8_in_one_of_the_data_sets():
    made = spaces(lambda *_: 0.5, lambda _, rate: 30 * rate, rates=RATES)
    flat = (made["dataset"] == "b") & (made["quantity"] == "stiff_domain_size_sign")
    made.loc[flat, "value"] = 0.5
    assert claims.domain_grows_with_rate(made).verdict == "partly"


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


@pytest.mark.parametrize("within, between, verdict", [
    (by_kind(0.9, 0.5), by_kind(0.4, 0.1), "reproduced"), (by_kind(0.9, 0.5), by_kind(0.1, 0.1), "partly"),
    (by_kind(0.9, 0.5), lambda network, loss: 0.4 if network == "cnn-1" else 0.2, "partly"),
    (by_kind(0.5, 0.9), by_kind(0.1, 0.4), "opposite"), (by_kind(0.5, 0.5), by_kind(0.1, 0.4), "not reproduced"),
    (by_kind(1, 1), by_kind(0.1, 0.1), "not reproduced")])
def test_verdict_of_c14(within, between, verdict):
    judged = claims.locality_stiffens(networks(within, between), PAIRS)
    assert judged.verdict == verdict and "of 4 comparisons" in judged.measured


def test_c14_where_losses_were_not_reached():
    made = networks(by_kind(0.9, 0.5), by_kind(0.4, 0.1))
    one_left = made[(made["network"] != "fc-2") | (made["target_loss"] > 0.1) | (made["seed"] == 0)]
    judged = claims.locality_stiffens(one_left, PAIRS)
    assert judged.verdict == "reproduced" and "3 of 3 comparisons" in judged.measured
    assert judged.measured.endswith("2 comparisons lack runs that reached the loss")
    nothing = claims.locality_stiffens(made[made["seed"] == 0], PAIRS)
    assert nothing.verdict == "not reproduced" and "0 of 0 comparisons" in nothing.measured


def test_difference_is_welchs():
    a, b = [1.0, 2.0, 4.0], [0.0, 0.5]
    mean, low, high = summaries.difference_and_interval(a, b)
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert (mean, low, high) == pytest.approx((7 / 3 - 0.25, expected.low, expected.high))
    assert summaries.difference_and_interval([1, 1], [1, 1]) == (0, 0, 0)
    assert np.isnan(summaries.difference_and_interval([1], [1, 2])[1:]).all()
    assert np.isnan(summaries.difference_and_interval([], [1, 2])).all()


@pytest.mark.parametrize("first, second, verdict", [
    (0.01, 0.02, "reproduced"), (0.01, 0.03, "partly"), (0.03, 0.03, "opposite"),
    (None, 0.03, "not reproduced")])
def test_verdict_of_c12(first, second, verdict):
    tables = {"a": probes(lambda step, _: first or 0.01 + 0.04 * (step > 0)), "b": probes(lambda *_: second)}
    judged = claims.probe_images_suffice(tables)
    assert judged.verdict == verdict and "500 images of b: at most" in judged.measured


def test_c12_tells_the_largest_error_of_each_summary():
    made = probes(lambda step, summary: 0.01 if summary == "within_class" and step else 0.005)
    judged = claims.probe_images_suffice({"a": made})
    assert judged.measured == "500 images of a: at most ±0.020 within classes and ±0.010 between them"
    unknown = claims.probe_images_suffice({"a": made, "b": made.iloc[:0]})
    assert unknown.verdict == "partly" and unknown.measured.endswith("b: unknown")


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
