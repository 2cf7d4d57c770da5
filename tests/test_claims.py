"""What the pages read off the tables: means with intervals, words, and the rules of the verdicts."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from stiffness import charts, claims, rendering, summaries
from stiffness.measures import between_classes, within_class

STEPS = (0, 10, 100)


def table(matrix_at, seeds=5, spread=0.01):
    """A run's table for each seed. matrix_at: (step, seed) -> (Nc, Nc) class stiffness; `spread` is added by seed."""
    rows = []
    for seed in range(seeds):
        for step in STEPS:
            C = np.asarray(matrix_at(step, seed)) + spread * (seed - (seeds - 1) / 2)
            for kind in ("sign", "cosine"):
                entries = {"step": step, "seed": seed}
                rows += [entries | {"quantity": f"class_stiffness_{kind}", "class_a": a, "class_b": b, "value": C[a, b]}
                         for a, b in np.ndindex(*C.shape)]
                rows += [entries | {"quantity": f"within_class_{kind}", "value": within_class(C)},
                         entries | {"quantity": f"between_classes_{kind}", "value": between_classes(C)}]
    return pd.DataFrame(rows).astype({"class_a": "Int16", "class_b": "Int16"})


def matrix(within, between):
    return np.where(np.eye(4, dtype=bool), within, between)


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
    assert summaries.class_matrices(spread, list("abcd"))["high"].max() == 1


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
    assert judged.statement.startswith("Within-class stiffness is positive") and "more than half" in judged.rule


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


def test_class_matrices_and_charts_of_a_table():
    matrices = summaries.class_matrices(table(lambda step, _: matrix(0.5, -step / 200)), list("abcd"))
    cell = matrices.query("step == 100 and kind == 'sign' and class_a == 'a' and class_b == 'd'")
    assert cell["mean"].item() == pytest.approx(-0.5) and cell["seeds"].item() == 5
    assert charts.in_words(matrices, [0, 100], ["sign"]) == (
        "At initialisation the mean stiffness is: sign 0.50 within classes and 0.00 between them. "
        "After 100 steps the mean stiffness is: sign 0.50 within classes and -0.50 between them.")
    for chart in (charts.class_matrices(matrices, [0, 100], "sign", title="t", description="d"),
                  charts.class_matrix_slider(matrices, title="t", description="d")):
        assert {"text/html", "image/svg+xml", "text/plain"} == rendering.render(chart.to_dict()).keys()


def test_a_stage_that_was_not_measured_is_named():
    matrices = summaries.class_matrices(table(lambda *_: matrix(1, 0)), list("abcd"))
    with pytest.raises(ValueError, match=r"no stage was measured at steps \[7\]; measured were 0, 10, 100"):
        charts.class_matrices(matrices, [0, 7], "sign", title="t", description="d")


def test_curves_are_described_by_their_ends():
    chart = charts.stiffness_evolution(table(lambda step, _: matrix(0.5, -step / 200)), title="t")
    assert "Between classes, sign: from 0.00 to -0.50." in chart.description
    losses = pd.concat([pd.DataFrame({"step": [0, 10], "seed": seed, "quantity": name, "value": [2.0, 0.5]})
                        for seed in range(2) for name in ("train_loss", "validation_loss")])
    for chart in (charts.loss_evolution(losses, title="t"), charts.loss_evolution(losses, title="t", guessing=2.3)):
        assert "Validation: from 2.00 to 0.50." in rendering.render(chart.to_dict())["text/plain"]


def test_a_chart_without_alternative_text_is_refused():
    matrices = summaries.class_matrices(table(lambda *_: matrix(1, 0)), list("abcd"))
    chart = charts.class_matrix_slider(matrices, title="the title", description=" ")
    with pytest.raises(ValueError, match="'the title' has no alternative text"):
        rendering.render(chart.to_dict())
