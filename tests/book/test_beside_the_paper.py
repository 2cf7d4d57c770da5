"""The paper's numbers beside the runs: in charts, in tables of agreement, in the protocol; and what its text says."""

import numpy as np
import pandas as pd
import pytest
from tables import RATES, growth, matrix, networks, spaces, sweep, table
from test_texts import cells, run

from stiffness_book import charts, figures, protocol, published, rounding, summaries, texts, versions
from stiffness_book.charts import look
from stiffness_book.experiment import Experiment

RATE = ["dataset", "target_loss", "learning_rate"]


def as_the_paper(paper, seeds=3, **columns):
    """Runs whose numbers are the paper's."""
    return pd.concat([paper.assign(seed=seed, step=100, **columns) for seed in range(seeds)], ignore_index=True)


def test_the_readings_by_rate_and_distance():
    rates, distances, domains = (published.stiffness_by_rate(), published.stiffness_by_distance(),
                                 published.domains_by_rate())
    assert set(rates["dataset"]) == set(domains["dataset"]) == {"MNIST", "Fashion-MNIST"}
    assert set(rates["target_loss"]) == {0.017, 0.056, 0.177} and len(rates) == 36
    assert set(distances["dataset"]) == {"MNIST"} and "input" in set(distances["space"])
    assert set(domains["space"]) == {"input", *(f"layer {n}" for n in range(1, 7))}
    nearest = distances[distances["space"] == "layer 5"].sort_values("distance").iloc[0]
    assert nearest["value"] == 1 and abs(nearest["distance"]) < 0.05


def test_lines_that_are_the_papers_agree_with_it():
    made = as_the_paper(published.stiffness_by_rate(), quantity="between_classes_sign")
    rows = cells(texts.lines_beside_the_paper(made))
    assert len(rows) == 6 and rows[0][3:] == ["+0.00", "0.000", "0.000", "+1.00"]
    shifted = cells(texts.lines_beside_the_paper(made.assign(value=made["value"] + 0.1)))
    assert [row[3] for row in shifted] == ["+0.10"] * 6
    assert not texts.lines_beside_the_paper(sweep(growth({"a": 0.1, "b": 0.2})))  # other data: nothing to compare


def test_curves_that_are_the_papers_agree_with_it():
    curves = published.stiffness_by_distance().rename(columns={"value": "mean"}).assign(kind="sign", pairs="all")
    rows = cells(texts.distances_beside_the_paper(curves))
    assert [row[1] for row in rows] == ["input", *(f"layer {n}" for n in range(1, 6))]
    assert all(row[3:] == ["+0.00", "0.00", "+1.00"] for row in rows)
    assert not texts.distances_beside_the_paper(curves[:0])


def test_domains_that_are_the_papers_agree_with_it():
    medians = published.domains_by_rate().rename(columns={"value": "median"}).assign(quantity="stiff_domain_size_sign")
    rows = cells(texts.domains_beside_the_paper(medians))
    assert len(rows) == 14 and all(row[3:] == ["0", "+0.00", "0.00"] for row in rows)
    medians["median"] = np.inf
    assert all(row[3] == row[2] and row[4:] == ["–", "–"] for row in cells(texts.domains_beside_the_paper(medians)))
    assert not texts.domains_beside_the_paper(medians[:0])


def drawn(chart):
    bundle = look.render(chart.to_dict())
    return bundle["image/svg+xml"]


def test_charts_show_the_papers_lines():
    made = sweep(growth({"MNIST": 0.1}), datasets=("MNIST",))
    made = pd.concat([made, made.assign(quantity="between_classes_cosine"),
                      made.assign(quantity="train_loss", value=made["target_loss"])])
    losses = {"MNIST": sorted(set(made["target_loss"]))}
    paper = pd.DataFrame([{"dataset": "MNIST", "target_loss": loss, "learning_rate": rate, "value": 0.1}
                          for loss in losses["MNIST"] for rate in RATES])

    def dashes(paper):
        return drawn(charts.stiffness_against_rate(made, summaries.stops(made, losses), title="t", paper=paper)
                     ).count('stroke-dasharray="4,3"')
    assert dashes(paper) == len(losses["MNIST"]) and dashes(None) == 0
    assert dashes(paper.assign(target_loss=0.5)) == 0  # at a loss that is not drawn


def test_the_chart_of_distances_shows_the_papers_curve():
    runs = spaces(lambda _, distance: 0.6 - 10 * distance, lambda *_: 0.3).replace({"dataset": {"a": "MNIST"}})
    marks = summaries.medians(summaries.domain_sizes(runs).query("quantity == 'stiff_domain_size_sign'"),
                              ["dataset", "space"])
    curves = summaries.distance_curves(runs, ["dataset"])
    with_paper = drawn(charts.stiffness_against_distance(curves, marks, title="t",
                                                         paper=published.stiffness_by_distance()))
    assert with_paper.count('stroke-dasharray="4,3"') == 4  # the input and three layers, of one of two data sets
    assert 'stroke-dasharray="4,3"' not in drawn(charts.stiffness_against_distance(curves, marks, title="t"))


def test_the_chart_of_sizes_shows_the_papers_sizes():
    runs = spaces(lambda *_: 0.5, lambda _, rate: 30 * rate, rates=RATES).replace({"dataset": {"a": "MNIST"}})
    medians = summaries.medians(summaries.domain_sizes(runs), [*RATE, "space", "quantity"])
    rows = [("one", "stiff_domain_size_sign", "input"), ("two", "critical_length_cosine", "input")]
    chart = charts.domain_sizes_against_rate(medians, rows, title="t", paper=published.domains_by_rate())
    assert drawn(chart).count('stroke-dasharray="4,3"') == 1  # of MNIST, beside the first version's sizes alone


def test_losses_are_drawn_beside_the_papers():
    made = run()
    own = drawn(charts.loss_evolution(made, title="t"))
    both = drawn(charts.loss_evolution(made, title="t", paper=rounding.published_losses("MNIST")))
    assert both.count('stroke-dasharray="4,3"') == own.count('stroke-dasharray="4,3"') + 2
    assert drawn(charts.loss_evolution(made, title="t", paper=rounding.published_losses("other"))) == own


def provenance(*experiments, train=60_000):
    return pd.DataFrame([{"settings": one.settings(), "split_sizes": {"train": train, "validation": 10_000},
                          "versions": {"keras": "3.15"}} for one in experiments])


@pytest.mark.parametrize("number", range(2, 11))
def test_the_protocol_says_what_differs(number):
    setting = versions.VERSIONS["class stiffness"]["v1"]
    rates = {"rates": "0.1", "losses": "0.5"} if number >= 8 else {}
    rows = {row[0]: row[1:] for row in protocol.protocol(number, provenance(
        *(Experiment(seed=seed, **setting) for seed in range(3))), **rates)}
    assert all(len(row) == 3 and all(isinstance(cell, str) for cell in row) for row in rows.values())
    assert rows["runs"][1] == "3" and "500, in which 150 are nested" in rows["probe images"][1]
    assert ("58,000" in rows["training images, MNIST"][0]) and rows["training images, MNIST"][1] == "60,000"
    assert (rows["network"][2] == "") and ("measured at training loss" in rows) == bool(rates)
    older = provenance(Experiment())
    del older["settings"][0]["nested_probes"]  # as in a file that was stored before there was such a setting
    third = protocol.protocol(number, older, **rates)
    assert third[0][3] == "the third version's network"


def test_parts_of_cifar_are_told_as_parts():
    rows = protocol.protocol(6, provenance(Experiment(dataset="cifar10", network="cnn-32-64-128-256"), train=40_000))
    assert rows[1][:3] == ["training images, CIFAR-10", "48,000 (inferred)", "40,000"] and "subset" in rows[1][3]


def test_compared_settings_are_in_words():
    runs = figures.distance(setting="v1", beside=False, seeds=1)["v1"]
    assert figures.compared(runs) == {"rates": "0.001", "losses": "0.017, 0.056, 0.1, 0.177"}
    assert figures.losses_of(runs) == {"MNIST": (0.177, 0.1, 0.056, 0.017)}


def test_what_stands_beside_is_told():
    assert "third version" in texts.beside({"v1": [], "v3": []}) and "first" in texts.beside({"v3": [], "v1": []})
    assert "`beside` is false" in texts.beside({"v1": [], "memorising": []})


def test_stages_by_loss_are_compared():
    made = run().assign(target_loss=0.1)
    made = made[made["step"] == 10]
    single = made[made["quantity"].isin(["within_class_sign", "between_classes_sign"])]
    made = pd.concat([made, single.assign(quantity=single["quantity"] + "_single", value=0.25)])
    rows = cells(texts.at_equal_training_loss({"all images": made, "few images": made[made["seed"] < 2]}))
    assert [row[1:4] for row in rows] == [["all images", "5 of 5", "10"], ["few images", "2 of 2", "10"]]
    assert rows[0][4].startswith("+0.80") and rows[0][5] == "+0.25"


def of_width(network, between):
    made = run(between=(0.0, between, between))
    return made.assign(network=network, dataset="a")


def test_does_it_take_capacity():
    made = pd.concat([of_width("fc-5", -0.3), of_width("fc-50", 0.3)])
    assert "in 1 of 2 widths: fc-50." in texts.does_it_take_capacity(made, ["fc-5", "fc-50"])
    rows = cells(texts.width_and_stiffness(made, ["fc-5", "fc-50"]))
    assert [row[0] for row in rows] == ["fc-5", "fc-50"]
    assert rows[0][5].startswith("0.0") and rows[1][5].startswith("100")


def test_the_rank_correlation_with_the_gap():
    stages = [run(within=(0.9, 0.8, 0.7), between=(0, 0.1, 0.2), validation=(2, 0.5, 0.9), training=(2, 0.4, 0.1))]
    stages.append(stages[0].assign(step=stages[0]["step"] + 1000))  # six stages, of which the first has step 0
    made = pd.concat(stages).assign(dataset="a")
    made = pd.concat([made, made[made["quantity"].isin(["within_class_sign", "between_classes_sign"])].assign(
        quantity=lambda rows: rows["quantity"].str.replace("sign", "cosine"))])
    row = cells(texts.stiffness_against_the_gap({"stages": (made, ["dataset"])}))[0]
    assert row[:2] == ["stages", "5"] and float(row[2].split()[0].replace("−", "-")) < 0
    assert float(row[3].split()[0].replace("−", "-")) > 0  # between classes it grows with the gap here


def test_what_mean_intensity_alone_gives_is_told():
    made = table(lambda *_: matrix(1, -0.5)).assign(dataset="a")
    made = made[made["step"] == 0]
    extra = [{"step": 0, "seed": seed, "dataset": "a", "quantity": name, "value": value} for seed in range(5)
             for name, value in (("intensity_probe_accuracy", 0.4), ("within_class_sign_intensity", 1.0),
                                 ("between_classes_sign_intensity", -0.2))]
    row = cells(texts.mean_intensity(pd.concat([made, pd.DataFrame(extra)])))[0]
    assert row[1:3] == ["40.0\N{NO-BREAK SPACE}%", "25.0\N{NO-BREAK SPACE}%"]
    assert row[4] == "+1.00" and row[6] == "−0.20"


def test_domains_through_training_and_by_other_distances():
    made = spaces(lambda *_: 0.5, lambda space, _: 0.5 if space == "input" else 0.4 - 0.1 * int(space[-1])
                  if space.startswith("layer") else 0.05)
    made = made[made["dataset"] == "a"]
    other = made[made["quantity"] == "stiff_domain_size_sign"]
    made = pd.concat([made, *(other.assign(quantity=f"{name}_stiff_domain_size_sign", value=1.0)
                              for name in ("l1", "l2"))])
    rows = cells(texts.other_distances(made))
    assert [row[1] for row in rows] == ["1 − cosine", "L1", "L2"] and rows[0][-1] == "−1.00" and rows[1][-1] == "+0.00"
    sizes = summaries.domain_sizes(made)
    sizes = pd.concat([sizes.assign(step=0), sizes.assign(step=50, value=sizes["value"] + 0.1)])
    assert all(row[3] == "3 of 3" for row in cells(texts.domains_through_training(sizes)))


def test_the_average_over_all_pairs_against_the_rate():
    within = sweep(lambda *_: 1.0, quantity="within_class_sign", datasets=("a",), spread=0)
    between = sweep(growth({"a": 0.2}), datasets=("a",))
    made = pd.concat([within, between, pd.DataFrame([{"class_a": 9.0}])])
    rows = cells(texts.average_against_the_rate(made))
    assert rows[0][2] == "+0.00" and rows[0][3] == "+0.20" and rows[0][4] == "+0.18"  # 9 of 10 cells


def test_networks_of_several_widths_can_be_drawn():
    made = networks(lambda *_: 0.9, lambda *_: 0.1)
    assert "fc-1" in drawn(charts.network_stiffness_points(made, ["fc-1", "fc-2"], "between_classes", title="t"))
