"""Critical lengths from stored curves, against plain definitions: least squares over single pairs."""

import itertools

import numpy as np
import pandas as pd
import pytest

from stiffness import critical_length
from stiffness_book import charts, figures, lengths, texts
from stiffness_book.charts import look
from stiffness_book.publish.refresh import NOTEBOOKS

RATES, LOSSES, STEPS = (1e-4, 1e-3, 1e-2), (0.3, 0.1), (0, 10, 100)
CENTRES = np.arange(0.025, 1, 0.05).round(3)


def stored(pairs_at, stiffness_at, **run):
    """Rows of a run's stage with the curve of pairs of one class in input space. pairs_at, stiffness_at: (bins,)."""
    where = run | {"space": "input"}
    pairs, stiffness = (np.broadcast_to(values, CENTRES.shape) for values in (pairs_at, stiffness_at))
    intercept, slope = lengths.line(CENTRES, stiffness, pairs)
    rows = [where | {"quantity": f"critical_length_{kind}", "value": float(lengths.crossing(intercept, slope))}
            for kind in ("cosine", "sign")]
    for centre, number, value in zip(CENTRES, pairs, stiffness):
        bins = where | {"distance": centre}
        rows += [bins | {"quantity": f"distance_curve_within_class_{kind}", "value": value}
                 for kind in ("cosine", "sign")]
        rows.append(bins | {"quantity": "distance_pairs_within_class", "value": number})
    return rows


def runs(length_at, seeds=3):
    """A table of runs at several rates and losses, and of long ones. length_at: (rate, loss, step) -> length."""
    rng, rows = np.random.default_rng(0), []
    for seed in range(seeds):
        for rate, loss in itertools.product(RATES, LOSSES):
            rows += stored(100, 0.8 - 0.8 * CENTRES / length_at(rate, loss, 100) + 0.01 * rng.normal(size=20),
                           dataset="a", network="fc-1", learning_rate=rate, seed=seed, step=100, target_loss=loss)
        for step in STEPS:
            rows += stored(100, 0.8 - 0.8 * CENTRES / length_at(1e-3, None, step), dataset="a", network="fc-1",
                           learning_rate=1e-3, seed=seed, step=step, target_loss=np.nan)
    return pd.DataFrame(rows)


def shrinking(rate, loss, step):
    return 1.5 * (1e4 * rate) ** -0.1 if loss else 1.5 - 0.005 * step


def test_a_line_is_the_one_through_single_pairs():
    rng = np.random.default_rng(0)
    pairs = rng.integers(1, 30, 20)
    distance = np.repeat(CENTRES, pairs)
    s = 0.7 - 0.6 * distance + rng.normal(0, 0.1, len(distance))
    means = np.array([s[distance == centre].mean() for centre in CENTRES])
    intercept, slope = lengths.line(CENTRES, means, pairs)
    np.testing.assert_allclose([slope, intercept], np.polyfit(distance, s, 1))
    # the same by the library, from a matrix of which only these pairs are of one class
    n = len(distance)
    square, apart = np.full((n, n), np.nan), np.zeros((n, n))
    square[np.arange(n), np.arange(n)], apart[np.arange(n), np.arange(n)] = s, distance
    assert lengths.crossing(intercept, slope) == pytest.approx(
        critical_length(square, apart, np.zeros(n, int), np.zeros(n, int)))


@pytest.mark.parametrize("intercept, slope, expected", [
    (1.0, -0.5, 2.0), (1.0, 0.5, np.nan), (1.0, 0.0, np.nan), (-1.0, -0.5, np.nan), (-1.0, 0.5, np.nan)])
def test_a_length_is_where_a_line_falls_to_zero(intercept, slope, expected):
    np.testing.assert_equal(float(lengths.crossing(np.float64(intercept), np.float64(slope))), expected)


def test_lengths_in_windows_are_fitted_to_their_bins_alone():
    bent = np.where(CENTRES < 0.5, 0.8 - 0.4 * CENTRES, 1.1 - CENTRES)  # two straight lines: they end at 2 and at 1.1
    table = pd.DataFrame(stored(np.arange(50, 70), bent, dataset="a", learning_rate=1e-3, seed=0, step=1,
                                target_loss=0.1))
    curves = lengths.curves(table, "cosine")
    found = lengths.in_windows(curves, [(0, 0.5), (0.5, 1), (0, 1), (0, 0.1)]).set_index(["start", "end"])["value"]
    assert found[0, 0.5] == pytest.approx(2) and found[0.5, 1] == pytest.approx(1.1)
    assert found[0, 1] == pytest.approx(lengths.known(table, "cosine")["value"].item())
    assert (0, 0.1) not in found.index  # too few pairs
    whole = lengths.by_share(curves, "all pairs")["value"].item()
    assert whole == pytest.approx(found[0, 1])
    slope, intercept = np.polyfit(CENTRES, bent, 1, w=np.sqrt(np.arange(50, 70)))
    assert whole == pytest.approx(-intercept / slope)
    assert lengths.by_share(curves, "the nearer half")["value"].item() == pytest.approx(2, rel=0.05)
    assert lengths.by_share(curves, "the farther half")["value"].item() == pytest.approx(1.1, rel=0.02)
    level = pd.DataFrame(stored(100, 1.0, seed=0, step=1, target_loss=0.1))
    assert lengths.by_share(lengths.curves(level, "sign"), "all pairs")["value"].isna().all()


def test_a_length_beyond_the_pairs_is_told_apart():
    numbers = np.where(CENTRES < 0.6, 100, 5)  # bins with few pairs do not count
    rows = pd.DataFrame([row for seed, slope in enumerate((-2.0, -1.0, 0.5)) for row in stored(
        numbers, 1 + slope * CENTRES, seed=seed, step=1, target_loss=0.1)])
    known = lengths.known(rows, "cosine")
    assert known["farthest"].tolist() == pytest.approx([0.6] * 3)
    assert known["inside"].tolist() == [True, False, False] and known["value"].isna().tolist() == [False, False, True]


def test_changes_of_lengths():
    known = lengths.known(runs(shrinking), "cosine")
    np.testing.assert_allclose(lengths.per_decade(known), -0.1 * np.log(10), atol=0.02)
    low, high = lengths.at_low_rates(known), lengths.at_high_rates(known)
    assert set(low["learning_rate"]) == {1e-4, 1e-3} and set(high["learning_rate"]) == {1e-3, 1e-2}
    np.testing.assert_allclose(lengths.per_decade(high), -0.1 * np.log(10), atol=0.02)
    np.testing.assert_allclose(lengths.through_training(known), np.log(1 / 1.5))
    without = known[(known["learning_rate"] < 1e-2) | (known["seed"] > 0) | (known["target_loss"] != 0.1)]
    assert lengths.per_decade(without).index.tolist() == [1, 2]  # a seed without a rate at some loss is left out
    single = known[known["learning_rate"] == 1e-3]
    assert lengths.per_decade(single).empty and lengths.per_decade(lengths.at_low_rates(single)).empty


def test_intervals_of_a_length():
    curves = lengths.curves(runs(shrinking, seeds=5), "cosine")
    case = curves[(curves["learning_rate"] == 1e-3) & (curves["target_loss"] == 0.1)]
    found = lengths.intervals(case)
    expected = 1.5 * 10**-0.1
    for mean, low, high in found.values():
        assert mean == pytest.approx(expected, rel=0.02) and low < mean < high and high - low < 0.15
    assert found["runs"][2] - found["runs"][1] < found["seeds"][2] - found["seeds"][1]  # few runs drawn again: narrow
    assert lengths.intervals(case) == found
    one = lengths.intervals(case[case["seed"] == 0])
    assert one["bins"][0] == pytest.approx(expected, rel=0.05) and np.isnan(one["seeds"][1])


def test_networks_are_named_where_several_learn_a_data_set():
    first = pd.DataFrame({"dataset": ["a", "b"], "network": ["fc-1", "fc-1"]})
    second = pd.DataFrame({"dataset": ["b"], "network": ["cnn-4"]})
    named = lengths.with_networks(first, second)
    assert [table["dataset"].tolist() for table in named] == [["a", "b, fc-1"], ["b, cnn-4"]]


def test_the_pages_share_the_runs_of_others():
    def published(name, **changed):
        return set(figures.experiments_of(NOTEBOOKS / f"{name}.py", **changed))

    own = figures.critical_lengths(**figures.parameters_of(NOTEBOOKS / "critical_length.py"))
    assert set(own["rates, v1"] + own["rates, v3"]) == published("fig08_learning_rate")
    assert set(own["training, v1"] + own["training, v3"]) == (
        published("fig03_class_stiffness_mnist") | published("fig05_class_stiffness_fashion"))
    assert set(own["training, photographs"]) == published("fig06_class_stiffness_cifar10", beside=False)
    others, residual = published("architectures"), published("resnet")
    for network in ("cnn-16-32-32", "fc-500-300-100"):
        shared = {run for run in others if run.network == network}
        assert shared and shared <= set(own["rates, photographs"]) and shared <= residual


def test_the_charts_of_lengths():
    table = runs(shrinking)
    known = lengths.known(table, "cosine")
    rates = known[known["target_loss"].notna()]
    chart = charts.critical_lengths(rates, "learning_rate", "target_loss", title="t", label="training loss")
    told = look.render(chart.to_dict())["text/plain"]
    assert "a, training loss 0.1: from 1.49 to 0.95." in told and "beyond the measured pairs" in told
    chart = charts.critical_lengths(known[known["target_loss"].isna()], "step", "space", title="t", label="space")
    assert "a, space input: from 1.50 to 1.00." in look.render(chart.to_dict())["text/plain"]
    windows = lengths.windows(table)
    assert set(windows["start"]) == {0, 0.2, 0.4} and windows["inside"].dtype == bool
    chart = charts.critical_lengths(windows, "end", "start", title="t", label="begins at")
    assert look.render(chart.to_dict())["image/svg+xml"].startswith("<svg")
    cases = lengths.cases(table)
    assert list(cases) == [f"a, rate {rate:g}" for rate in RATES]
    drawn = look.render(charts.window_sliders(cases, title="t").to_dict())
    assert "ξ = 1.49" in drawn["image/svg+xml"] and "beyond the measured pairs" in drawn["image/svg+xml"]
    flat = charts.critical_lengths(rates.assign(value=np.nan), "learning_rate", "target_loss", title="t")
    assert "lines that do not fall to zero: 18 of 18" in look.render(flat.to_dict())["text/plain"].lower()
    assert "no data" in look.render(charts.window_sliders({}, title="t").to_dict())["text/plain"]


def cells(text):
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_what_is_said_of_lengths():
    table = runs(shrinking)
    said = texts.does_the_length_shrink(table, table)
    assert "learning rate?** Yes: where the rate grows tenfold it changes by −20\N{NO-BREAK SPACE}% on a" in said
    assert "And with training?** Yes: " in said and "by −33\N{NO-BREAK SPACE}% on a" in said
    assert "In 0 of 2 lines it falls at first" in said and "33.3\N{NO-BREAK SPACE}% of these lines" in said  # 9 of 27
    assert "in 0 of 2 lines" in texts.smallest_at(table) and "0.01 (a, loss 0.3)" in texts.smallest_at(table)
    rows = cells(texts.how_often_there_is_a_length(here=table))
    assert rows[0][:4] == ["a", "here", "sign", "27"] and rows[0][4] == "100.0\N{NO-BREAK SPACE}%"
    said = texts.lengths_that_exist(table, table)
    assert "by cosine 54 of 54 lines fall to zero, " in said
    assert "of them within the measured pairs, and 0 only beyond 2, the largest" in said
    rows = cells(texts.lengths_by_window(table, table))
    assert [row[1] for row in rows] == list(lengths.WINDOWS) and all("−33" in row[3] for row in rows)
    assert "is the same in all windows; its size" in texts.lengths_by_window(table, table)
    rows = cells(texts.intervals_of_lengths(table))
    assert [row[2] for row in rows] == ["0.0001", "0.001", "0.01"] and " to " in rows[0][6]
    stages = texts.along_training(table[table["target_loss"].isna()])
    assert cells(stages) == [["a", "input", "−33\N{NO-BREAK SPACE}%", "1.50", "1.00", "1.00", "100"]]
    assert "ξ grows in input space in 0 of 1 cases." in stages
    growing = runs(lambda *of: 1 / shrinking(*of))
    hidden = pd.concat([table, table.assign(space="layer 1"), growing.assign(space="logits")])
    by_space = texts.length_changes_by_space(hidden)
    assert [row[1] for row in cells(by_space)] == ["input", "layer 1", "logits"]
    assert "in 0 of 1 cases, in hidden layers in 0 of 1 cases and in the logits in 1 of 1 cases." in by_space
    assert "at least 20 pairs of one class each" in texts.measured_pairs()
    assert "−33" in (said := texts.lengths_with_other_settings(table, table)) and "(rates 0.0001 to 0.01)" in said
    without = table[~table["quantity"].str.startswith("critical")]
    assert not texts.lengths_with_other_settings(without, without)


@pytest.mark.parametrize("what", ["no length", "no loss", "no stage by step", "few pairs"])
def test_runs_without_what_the_page_needs(what):
    table = runs(shrinking)
    if what == "no length":
        table.loc[table["quantity"].str.startswith("critical_length"), "value"] = np.nan
    elif what == "few pairs":
        table.loc[table["quantity"] == "distance_pairs_within_class", "value"] = 5
    else:
        table = table[table["target_loss"].isna() == (what == "no loss")]
    said = texts.does_the_length_shrink(table, table)
    assert ("Unknown: where the rate grows tenfold it changes by an unknown amount" in said) == (
        what in ("no length", "no loss"))
    known = lengths.known(table, "cosine")
    at_losses = known[known["target_loss"].notna()]
    for drawn in (charts.critical_lengths(at_losses, "learning_rate", "target_loss", title="t"),
                  charts.critical_lengths(lengths.at_middle_loss(known), "learning_rate", "space", title="t"),
                  charts.critical_lengths(known[known["target_loss"].isna()], "step", "space", title="t"),
                  charts.critical_lengths(lengths.windows(table), "end", "start", title="t"),
                  charts.window_sliders(lengths.cases(table), title="t")):
        assert look.render(drawn.to_dict())["text/plain"]
    for told in (texts.smallest_at(table), texts.length_changes_by_space(table), texts.lengths_by_window(table, table),
                 texts.intervals_of_lengths(table), texts.along_training(table), texts.lengths_that_exist(table, table),
                 texts.how_often_there_is_a_length(here=table)):
        assert "nan" not in told
