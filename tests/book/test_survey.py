"""What the pages on many trained networks compute, against the definitions written out plainly, and what they say."""

import itertools

import numpy as np
import pytest
from scipy.stats import kendalltau, sem
from tables import trained_networks

from stiffness_book import claims, sweep, texts
from stiffness_book.sensitivity import survey
from stiffness_book.sensitivity.ensemble import CONDITIONS, Ensemble


def noisy(seed=0):
    rng = np.random.default_rng(seed)
    return trained_networks(lambda row: 0.1 + 0.7 * (row["condition"] == "random labels") + rng.normal(0, 0.02),
                            lambda row: 10 / row["width"] * rng.lognormal(0, 0.3))


def test_the_published_survey_has_over_a_thousand_networks_that_differ():
    runs = survey.ensembles(datasets=["mnist", "cifar10", "fashion_mnist"], widths=[4, 400, 12, 40, 120], depths=[1, 3],
                            seeds=1)
    assert sum(len(run.members) for run in runs) == 1080 and len({run.address for run in runs}) == len(runs) == 180
    assert {run.layers[1] for run in runs} >= {(4,), (400, 400, 400)}
    assert {run.optimizer for run in runs} == {"adam", "momentum", "sgd"}
    assert {run.size_of_batch for run in runs} == {50, 1000}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    runs = [Ensemble(dataset="digits", network=network, learning_rates=(0.02, 0.01), train_size=100, steps=150,
                     check_every=50, probe_size=20, points=20, paths=2, batch_size=batch)
            for network in ("fc-16", "fc-32") for batch in (25, None)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STIFFNESS_RESULTS", str(tmp_path_factory.mktemp("results")))
        yield runs, survey.networks(runs)[0], sweep.table_of(runs, "address")


def test_a_row_for_each_network_and_moment(measured):
    runs, networks, table = measured
    ends = networks[networks["moment"] == "end"]
    assert len(ends) == 4 * 6 and set(ends["condition"]) == set(CONDITIONS)
    assert set(ends["batch"]) == {"mini", "full"} and set(ends["width"]) == {16, 32}
    for _, row in networks.iterrows():
        run = next(run for run in runs if run.address == row["address"])
        assert run.members[row["member"]] == (row["learning_rate"], row["condition"])
        own = table[(table["address"] == row["address"]) & (table["member"] == row["member"])
                    & (table["moment"] == row["moment"])]
        value = own.set_index("quantity")["value"]
        assert row["jacobian_norm"] == value["jacobian_norm"]
        assert row["gap"] == pytest.approx(value["train_accuracy"] - value["test_accuracy"])
        tenth = own[(own["quantity"] == "error_by_margin") & (own["decile"] == 3)]["value"].item()
        assert row["error_by_margin 3"] == tenth


def test_pairs_differ_in_one_thing():
    found = noisy()
    for factor, (setting, one, other) in survey.FACTORS.items():
        both = survey.pairs(found, factor)
        expected = [(a.Index, b.Index) for a, b in itertools.product(found.itertuples(), repeat=2)
                    if (getattr(a, setting), getattr(b, setting)) == (one, other)
                    and all(getattr(a, name) == getattr(b, name) for name in survey.SETTINGS if name != setting)
                    and (setting == "condition" or a.condition != "translated")]
        assert len(both) == len(expected) > 0
        norms = sorted((found.loc[a, "jacobian_norm"], found.loc[b, "jacobian_norm"]) for a, b in expected)
        assert sorted(zip(both["jacobian_norm_one"], both["jacobian_norm_other"])) == norms


def test_pairs_have_every_training_label_right_or_almost_where_images_move():
    found = noisy()
    translated = found["condition"] == "translated"
    almost = found.assign(train_accuracy=np.where(translated, 0.96, 1.0))
    assert len(survey.pairs(almost, "augmentation")) == len(survey.pairs(found, "augmentation"))
    assert survey.pairs(almost.assign(train_accuracy=np.where(translated, 1.0, 0.96)), "augmentation").empty
    assert len(survey.right(almost)) == (~translated).sum()


def test_correlations_are_kendalls_and_errors_know_of_shapes():
    found = noisy()[lambda rows: rows["dataset"] == "a"]
    tau, error, shapes = survey.correlation(found, "jacobian_norm")
    assert tau == pytest.approx(kendalltau(found["jacobian_norm"], found["gap"]).statistic) and shapes == 8
    # copies of a network in every shape tell nothing new
    copied = survey.correlation(found.loc[found.index.repeat(4)], "jacobian_norm")
    assert copied[0] == pytest.approx(tau, abs=0.05) and copied[1] == pytest.approx(error, rel=0.35)
    missing = survey.correlation(found, "transitions")
    relu = found[found["activation"] == "relu"]
    assert missing[0] == pytest.approx(kendalltau(relu["transitions"], relu["gap"]).statistic)
    assert np.isnan(survey.correlation(found[:3], "jacobian_norm")[0])


def test_correlations_among_alike_networks():
    found = noisy()[lambda rows: rows["dataset"] == "a"]
    tau, error, shapes = survey.correlation_within(found, "jacobian_norm")
    by_shape = [np.mean([kendalltau(rows["jacobian_norm"], rows["gap"]).statistic
                         for _, rows in shape.groupby("condition")]) for _, shape in found.groupby(["width", "depth"])]
    assert (tau, error, shapes) == pytest.approx((np.mean(by_shape), sem(by_shape), 8))


def test_a_paradox_of_simpsons_is_told():
    # random labels raise both; among alike networks the gap falls where the norm rises
    found = trained_networks(lambda row: 0.8 * (row["condition"] == "random labels") + row["learning_rate"]
                             + 0.01 * (row["batch"] == "full") + 0.002 * (row["activation"] == "relu"),
                             lambda row: 10 ** (row["condition"] == "random labels") - row["learning_rate"]
                             - 0.01 * (row["batch"] == "full") - 0.002 * (row["activation"] == "relu"))
    found = found[found["condition"] != "translated"]
    rows = survey.correlation_rows(found, {"jacobian_norm": "norm"}).set_index(["dataset", "kind"])["mean"]
    assert rows["a", "all"] > 0 and rows["a", "without random labels"] < -0.9 > rows["a", "alike networks"]
    said = texts.changes_with_the_stratum(found, "jacobian_norm")
    assert "to −1.00 (a)" in said and said.endswith("It clearly turns round on a and b: that is Simpson’s paradox.")
    assert "It does not clearly turn round" in texts.changes_with_the_stratum(noisy(), "jacobian_norm")


def test_what_is_explained_is_judged_on_other_shapes():
    rng = np.random.default_rng(1)
    found = noisy().assign(within_class_sign=lambda rows: -np.log(rows["gap"]),
                           between_classes_sign=rng.normal(size=288))
    found = found[found["dataset"] == "a"]
    assert survey.explained(found, ["within_class_sign"]) > 0.95
    assert survey.explained(found, ["between_classes_sign"]) < 0.05
    rows = survey.explained_rows(found[found["activation"] == "relu"])
    means = rows.set_index(["name", "kind"])["mean"]
    for kind in ("all networks", "without random labels"):
        assert means["all ten", kind] > 0.9 and means["stiffness", kind] > 0.9 > means["sensitivity", kind] + 0.3
        assert means["stiffness, added to sensitivity", kind] == pytest.approx(
            means["all ten", kind] - means["sensitivity", kind])
    assert rows["high"].max() <= 1
    assert survey.explained_rows(found[found["activation"] == "hard_tanh"]).empty  # which have no transitions
    told = texts.what_each_explains(rows)
    assert "sensitivity alone explains is −0.01 (a)" in told and "stiffness alone explains +1.00 (a)" in told
    assert texts.what_each_explains(rows.iloc[:0]) == ""


def test_sizes():
    found = trained_networks(lambda row: 1 / row["width"], lambda row: row["width"])
    assert set(survey.size_correlations(found, "gap")) == {-1.0} and set(survey.size_correlations(
        found, "jacobian_norm")) == {1.0}
    assert survey.size_correlations(found[found["width"] < 30], "gap").empty
    curves = survey.by_width(found)
    at = curves[(curves["dataset"] == "a") & (curves["width"] == 8) & (curves["quantity"] == "gap")]
    assert at["mean"].item() == pytest.approx(1 / 8) and at["seeds"].item() == 2 * 3 * 2 * 3


def cells(table):
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[2:]]


def test_what_the_pages_say():
    found = trained_networks(lambda row: 1 / row["width"], lambda row: 2 / row["width"])
    said = texts.norm_and_gap(found, claims.norm_correlates_with_gap(found))
    assert "? It does. Over 288 networks that fit every training label" in said.replace("**", "")
    assert "Over 288 networks" in said and "Without random labels it is +1.00 (a) and +1.00 (b), and among" in said
    assert "Without random labels, networks with more transitions have" in texts.transitions_and_gap(found)
    assert cells(texts.networks_trained(found))[0] == ["a", "true labels", "48", "48", "0.01 to 0.12", "0.013 to 0.25"]
    within = cells(texts.within_each_setting(found, "jacobian_norm"))
    assert within[0] == ["labels and images", "random labels", "+1.00, 48", "+1.00, 48"]
    assert [row[1:] for row in within if row[0] == "width"] == [
        [width, "+0.00, 36", "+0.00, 36"] for width in ("8", "24", "64", "160")]
    assert cells(texts.sizes_and_sensitivity(found))[0][2:] == ["−1.00", "−1.00"]
    sided = cells(texts.sides_of_the_diagonal(found))
    assert sided[0][:4] == ["random labels / true labels", "a", "48", "0.0\N{NO-BREAK SPACE}%"]
    factors = texts.factors_and_norm(found, claims.factors_change_the_norm(found))
    assert "Random labels do not raise it on all data: ×1.00 (a) and ×1.00 (b). Full batches" in factors
    rows = cells(texts.factors_by_data(claims.factors_change_the_norm(found)))
    assert rows[0] == ["random labels / true labels", "×1.00, fails", "×1.00, fails"]
    higher = trained_networks(norm=lambda row: 10.0 ** (row["condition"] == "random labels") * row["width"])
    assert "Random labels raise it: ×10 (a) and ×10 (b)." in texts.factors_and_norm(
        higher, claims.factors_change_the_norm(higher))
    wrong = texts.wrong_points(found, claims.norm_tells_wrong_points(found))
    assert "? It does. Of a wrong and a right point" in wrong.replace("**", "")
    assert "has the larger norm with probability 0.80 (a) and 0.80 (b), and the smaller margin" in wrong
    assert "still tell as much as 0.80 (a) and 0.80 (b)" in texts.left_of_the_doubt(found)
    assert cells(texts.areas_under_the_curve(found))[0][:2] == ["norm of the Jacobian", "0.80"]
    better = texts.which_predicts_better(found)
    assert better.endswith("generalisation gap are +1.00 and −1.00 (a); +1.00 and −1.00 (b).")
    cost = texts.cost_of_two_views({"seconds": {"net": {"norm of the Jacobian": [1, 2, 3], "transitions": [4, 4, 5]}}})
    assert cells(cost)[1] == ["net", "transitions", "4.000", "4.000 to 5.000", "2.00"] and "Stiffness" not in cost
    speed = texts.speed_of_ensembles({"seconds": {"fc-4": {"together": [1, 2, 2], "one by one": [8, 8, 6]}}})
    assert cells(speed) == [["fc-4", "2.00", "8.00", "4.0 (3.0 to 8.0)"]]
