"""The trends with the learning rate under every choice: each against its definition on made-up runs."""

import itertools

import numpy as np
import pandas as pd
import pytest
from test_texts import cells

from stiffness_book import charts, claims, texts
from stiffness_book import contradiction as three
from stiffness_book.charts import look

RATES, SEEDS = (1e-3, 1e-2, 1e-1), 4
STAGES = ((0, np.nan, 0.1), (100, np.nan, 0.5), (150, 0.5, 0.6), (300, 0.2, 0.8), (900, np.nan, 0.9))  # with accuracies


def runs(within, between, *, sizes=lambda *_: 0.3, trainings=(("a", "fc-1", "adam"),), leave_out=None):
    """Runs of two classes. within, between: (kind, rate, step) -> stiffness, a little different for each seed; sizes:
    (quantity, space, rate, step) -> size. leave_out: the rate and the loss of a stage that one run does not reach."""
    rows = []
    for (dataset, network, optimizer), rate, seed in itertools.product(trainings, RATES, range(SEEDS)):
        run = {"dataset": dataset, "network": network, "optimizer": optimizer, "learning_rate": rate, "seed": seed}
        for step, loss, accuracy in STAGES:
            if seed == 0 and (rate, loss) == leave_out:
                continue
            stage = run | {"step": step, "target_loss": loss}
            off = 0.001 * seed
            rows.append(stage | {"quantity": "train_accuracy", "value": accuracy})
            for kind in ("sign", "cosine"):
                w, b = within(kind, rate, step) + off, between(kind, rate, step) + off
                rows += [stage | {"quantity": f"within_class_{kind}", "value": w},
                         stage | {"quantity": f"between_classes_{kind}", "value": b}]
                rows += [stage | {"quantity": f"class_stiffness_{kind}", "class_a": i, "class_b": j,
                                  "value": w if i == j else b} for i in (0, 1) for j in (0, 1)]
            for space in ("input", "layer 1", "layer 2", "logits"):
                rows += [stage | {"quantity": quantity, "space": space, "value": sizes(quantity, space, rate, step)}
                         for quantity in three.SIZES]
                for pairs, kind in itertools.product(("all", "within_class"), ("sign", "cosine")):
                    rows.append(stage | {"quantity": f"distance_curve_{pairs}_{kind}", "space": space,
                                         "distance": 0.1, "value": 0.5})
                rows += [stage | {"quantity": f"distance_pairs_{pairs}", "space": space, "distance": 0.1, "value": 50}
                         for pairs in ("all", "within_class")]
    return pd.DataFrame(rows)


def rising(kind, rate, step):
    return 0.1 * np.log10(rate)


def falling(kind, rate, step):
    return -0.1 * np.log10(rate)


def test_all_pairs_of_classes_are_the_mean_of_the_matrix():
    made = runs(lambda *_: 0.9, lambda kind, rate, step: -0.3 + step / 1e4)
    found = three.stiffness(made)
    whole = found[found["measure"] == "all pairs of classes"]
    matrix = made[made["quantity"].str.startswith("class_stiffness_")].assign(
        kind=lambda rows: rows["quantity"].str.rpartition("_")[2])
    keys = [*three.RUN, "step", "target_loss", "kind"]
    both = whole.merge(matrix.groupby(keys, dropna=False)["value"].mean().rename("mean").reset_index(), on=keys)
    assert len(both) == len(whole) == len(RATES) * SEEDS * len(STAGES) * 2
    assert both["value"].to_numpy() == pytest.approx(both["mean"].to_numpy())


def test_the_moments_that_are_compared():
    made = runs(lambda kind, rate, step: step / 1000, lambda kind, rate, step: -step / 1000)
    found = three.compared(three.stiffness(made), made)
    one = found[(found["measure"] == "within classes") & (found["kind"] == "sign") & (found["seed"] == 0)
                & (found["learning_rate"] == RATES[0])].set_index("at")
    assert list(one.index) == list(three.AT)
    assert one["told"].tolist() == ["training loss 0.5", "training loss 0.2", "after 100 steps", "after 900 steps",
                                    "training accuracy 90 %"]
    assert one["value"].tolist() == pytest.approx([0.15, 0.3, 0.1, 0.9, 0.9])


def test_values_change_evenly_with_the_accuracy():
    made = runs(lambda kind, rate, step: step / 1000, lambda *_: 0.0)
    slow = (made["learning_rate"] == RATES[1]) & (made["quantity"] == "train_accuracy") & (made["step"] == 900)
    made.loc[slow, "value"] = 0.875  # so all have passed 87 %
    found = three.compared(three.stiffness(made), made)
    at = found[(found["at"] == "equal accuracy") & (found["measure"] == "within classes") & (found["seed"] == 0)]
    assert at["told"].unique().tolist() == ["training accuracy 87 %"]
    by_rate = at.groupby("learning_rate")["value"].first()
    assert by_rate[RATES[0]] == pytest.approx(0.3 + (0.87 - 0.8) / 0.1 * 0.6)
    assert by_rate[RATES[1]] == pytest.approx(0.3 + (0.87 - 0.8) / 0.075 * 0.6)


def test_a_loss_that_one_run_does_not_reach_is_not_compared():
    made = runs(rising, falling, leave_out=(RATES[0], 0.2))
    found = three.compared(three.stiffness(made), made)
    assert set(found["at"]) == set(three.AT[2:])  # a single loss is left, which is neither the first nor the last


def test_trends_and_the_least_change_that_counts():
    made = runs(lambda kind, rate, step: 0.002 * np.log10(rate), rising)
    found = three.trends(three.compared(three.stiffness(made), made), three.STIFFNESS_CHOICES)
    by_measure = found.groupby("measure", sort=False)["trend"].unique()
    assert list(by_measure.index) == ["between classes", "within classes", "all pairs of classes"]
    assert [list(trends) for trends in by_measure] == [["rises"], ["no clear trend"], ["rises"]]
    assert found["mean"].to_numpy() == pytest.approx(1) and len(found) == 3 * 2 * len(three.AT)
    noise = np.random.default_rng(0)
    made = runs(lambda *_: noise.normal(), lambda *_: noise.normal())
    found = three.trends(three.compared(three.stiffness(made), made), three.STIFFNESS_CHOICES)
    assert (found["trend"] == "no clear trend").mean() > 0.8


def test_a_line_that_turns_in_every_run():
    middle = {RATES[0]: 0.3, RATES[1]: 0.1, RATES[2]: 0.4}
    made = runs(lambda kind, rate, step: middle[rate], lambda kind, rate, step: -middle[rate])
    found = three.trends(three.compared(three.stiffness(made), made), three.STIFFNESS_CHOICES).set_index("measure")
    assert set(found.loc["within classes", "trend"]) == {"falls, then rises"}
    assert set(found.loc["between classes", "trend"]) == {"rises, then falls"}
    one = (made["seed"] == 1) & (made["learning_rate"] == RATES[1]) & (made["quantity"].str.startswith("within_class"))
    made.loc[one, "value"] = 0.35  # in the runs of one seed the line does not turn
    found = three.trends(three.compared(three.stiffness(made), made), three.STIFFNESS_CHOICES).set_index("measure")
    assert not set(found.loc["within classes", "trend"]) & {"falls, then rises", "rises, then falls"}
    small = runs(lambda kind, rate, step: middle[rate] / 100, lambda *_: 0.0)
    found = three.trends(three.compared(three.stiffness(small), small), three.STIFFNESS_CHOICES)
    assert "falls, then rises" not in set(found["trend"])  # by less than counts


def test_sizes_may_be_larger_than_any_distance():
    def size(quantity, space, rate, step):
        return np.nan if quantity.startswith("stiff") and rate == RATES[-1] else 0.3

    made = runs(rising, rising, sizes=size)
    found = three.trends(three.compared(three.sizes(made), made), three.SIZE_CHOICES)
    domains = found[found["measure"] == "stiff domain, sign"]
    assert set(domains["space"]) == set(three.SPACES)
    assert (domains["trend"] == "rises").all() and np.isinf(domains["change"]).all()
    lengths = found[found["measure"] != "stiff domain, sign"]
    assert (lengths["trend"] == "no clear trend").all() and (lengths["change"] == 0).all()
    made = runs(rising, rising, sizes=lambda quantity, *_: np.nan if quantity.startswith("critical") else 0.3)
    found = three.trends(three.compared(three.sizes(made), made), three.SIZE_CHOICES)
    assert set(found["measure"]) == {"stiff domain, sign"}  # no line reaches zero in any run


def test_turns_are_counted_pair_by_pair():
    made = runs(falling, rising, trainings=(("a", "fc-1", "adam"), ("a", "fc-1", "sgd"), ("b", "fc-1", "adam")))
    found = three.trends(three.compared(three.stiffness(made), made), three.STIFFNESS_CHOICES)
    turned = three.turns(found, three.STIFFNESS_CHOICES).set_index("choice")
    expected = dict.fromkeys(three.STIFFNESS_CHOICES, (0, 0))
    for one, other in itertools.combinations(found.to_dict("records"), 2):
        differ = [name for name in three.STIFFNESS_CHOICES if one[name] != other[name]]
        if len(differ) == 1:
            pairs, turns = expected[differ[0]]
            expected[differ[0]] = pairs + 1, turns + ({one["trend"], other["trend"]} == {"rises", "falls"})
    assert {name: tuple(row) for name, row in turned.iterrows()} == expected
    assert turned.loc["measure", "turned"] > 0 and turned.loc["at", "turned"] == 0


def test_texts_and_charts():
    made = runs(falling, rising)
    rows, sizes = (three.compared(of(made), made) for of in (three.stiffness, three.sizes))
    found, lengths = three.trends(rows, three.STIFFNESS_CHOICES), three.trends(sizes, three.SIZE_CHOICES)
    turned = [three.turns(*both) for both in ((found, three.STIFFNESS_CHOICES), (lengths, three.SIZE_CHOICES))]
    table = cells(texts.three_texts(found, lengths))
    first, _, loss, epoch, length = table
    assert first[1:5] == ["4", "4", "0", "0"] and length[1:] == ["30", "0", "0", "30", "nowhere"]
    assert loss[1:5] == ["12", "4", "4", "4"] and loss[5] == (  # all pairs have no trend
        "within classes, sign: 2 of 2; within classes, cosine: 2 of 2")
    assert epoch[1:5] == ["12", "4", "4", "4"]
    said = texts.small_or_large_rates(found, lengths)
    assert "between classes rises with the rate in 10 of 10 cases and falls in 0 of 10" in said
    assert "Within classes, by cosine, it rises in 0 of 5, falls in 5 of 5, and" in said
    said = texts.abstract(found, lengths, *turned)
    assert "v1: stiffness between classes rises, at equal training loss, in 4 of 4 cases (the reverse in 0)" in said
    assert "most often by a change of the pairs that are averaged, in 10 of 30 pairs" in said
    assert "The size goes from rising to falling by no change of a single choice." in said
    by_choice = cells(texts.what_turns_it(turned[0], found).partition("\n\n")[0])
    assert by_choice[0] == ["the pairs that are averaged", "3", "30", "10 (33%)"]
    assert texts.what_turns_it(turned[0], found).endswith(
        "Only these fall in any case: within classes, sign; within classes, cosine; so every pair has one of them.")
    assert cells(texts.trends_by_measure(found))[0] == ["between classes", "sign", "5", "0", "0", "0", "0"]
    compared = cells(texts.what_is_compared(rows))
    assert compared == [["a", "fc-1", "adam", "0.001, 0.01, 0.1", "0.5", "0.2", "100", "900", "90 %"]]
    told = texts.parts_of_the_claim(claims.small_rates_are_stiffer(rows))
    assert "Of the 8 parts of the claim of 2019, 4 hold, 4 show the reverse, 0 show" in told
    for chart in (charts.trend_switch(rows, found, three.STIFFNESS_CHOICES, found.iloc[0], title="t"),
                  charts.trend_switch(sizes, lengths, three.SIZE_CHOICES, lengths.iloc[0], title="t", size=True),
                  charts.trend_grid(found, ("measure", "kind"), title="t")):
        assert "rises in " in look.render(chart.to_dict())["text/plain"]
    nothing = charts.trend_switch(rows[:0], found[:0], three.STIFFNESS_CHOICES, None, title="t")
    assert "no data" in look.render(nothing.to_dict())["text/plain"]


def test_the_claim_is_not_measured_without_equal_losses_or_epochs():
    made = runs(falling, falling)
    rows = three.compared(three.stiffness(made), made)
    assert claims.small_rates_are_stiffer(rows).verdict == "reproduced"
    assert claims.small_rates_are_stiffer(rows[rows["at"] == "equal accuracy"]).verdict == "not measured"
