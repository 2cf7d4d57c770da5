"""What the pages on ellipses and linear regions read off the tables, and what they say."""

import numpy as np
import pandas as pd
import pytest
from tables import around_data, dips

from stiffness_book import claims, figures, published, texts
from stiffness_book.sensitivity import near_data
from stiffness_book.sensitivity.input_space import DIFFERENT, ONE, PATHS, RANDOM, InputSpace
from stiffness_book.words import factor


def value(levels, **chosen):
    rows = levels
    for column, wanted in chosen.items():
        rows = rows[rows[column] == wanted]
    return rows["value"].tolist()


def test_levels_are_those_of_their_places():
    made = around_data(dips(2), seeds=1, triples=1, spread=0)
    levels = near_data.levels(made)
    at = {"path": DIFFERENT, "moment": near_data.AFTER, "seed": 0, "triple": 0}
    rows = made[(made["path"] == DIFFERENT) & (made["step"] > 0)]
    by = {name: rows[rows["quantity"] == name].set_index("angle")["value"] for name in ("norm", "transitions")}
    assert value(levels, measure="norm", place="at the points", **at) == pytest.approx([1])
    assert value(levels, measure="norm", place="between them", **at) == pytest.approx([100])
    assert value(levels, measure="norm", place="everywhere", **at) == pytest.approx(
        [np.exp(np.log(by["norm"]).mean())])
    near = [angle for angle in by["transitions"].index if min(abs(angle + 2.5 - c) for c in (60, 180, 300)) < 15]
    assert len(near) == 18
    assert value(levels, measure="transitions", place="at the points", **at) == pytest.approx(
        [by["transitions"][near].mean()])
    far = [angle for angle in by["transitions"].index if (angle + 2.5) % 120 < 15 or (angle + 2.5) % 120 > 105]
    assert value(levels, measure="transitions", place="between them", **at) == pytest.approx(
        [by["transitions"][far].mean()])


def test_norms_that_round_to_zero_have_a_logarithm():
    made = around_data(dips(2), seeds=2)
    made.loc[made["quantity"] == "norm", "value"] *= (made["step"] == 0)
    found = near_data.factors(made, "norm", DIFFERENT)
    assert np.isfinite(found[near_data.AFTER]).all()


def test_factors_are_medians_over_ellipses():
    made = around_data(dips(1), seeds=2, triples=3, spread=0)
    one = made["triple"].eq(1) & made["quantity"].eq("norm") & made["path"].eq(ONE) & made["angle"].isin([60, 180, 300])
    made.loc[one, "value"] *= 1e-9  # one ellipse of three is unlike the others
    found = near_data.factors(made, "norm", ONE)
    assert found[near_data.AFTER].tolist() == pytest.approx([-1, -1])
    assert found[near_data.BEFORE].tolist() == pytest.approx([0, 0])
    assert near_data.learnt(found).tolist() == pytest.approx([-1, -1])
    over = near_data.learnt(near_data.factors(made, "norm", DIFFERENT, RANDOM))
    assert over.tolist() == pytest.approx([1, 1])


def test_densities_near_and_far():
    made = around_data(lambda path, near, trained: 10.0 - 4 * trained * (near > 0), spread=0)
    found = near_data.densities(made)
    assert found[near_data.BEFORE, "near"].tolist() == [10.0] * 5
    assert found[near_data.AFTER, "near"].tolist() == pytest.approx([6.0] * 5)
    assert found[near_data.AFTER, "far"].tolist() == [10.0] * 5


@pytest.mark.parametrize("logarithm, text", [
    (0, "×1.00"), (-0.39, "×0.41"), (-4.68, "×2.1·10⁻⁵"), (5.3, "×200,000"), (-2.2, "×0.0063"), (1.5, "×32"),
    (8.1, "×1.3·10⁸"), (400, "×∞"), (-400, "×0"), (np.nan, "none")])
def test_factors_in_words(logarithm, text):
    assert factor(logarithm) == text


def test_the_papers_levels():
    levels = published.ellipse_levels()
    assert set(levels["path"]) == set(PATHS) and (levels["low"] <= levels["high"]).all()
    assert set(levels["place"]) <= {*near_data.PLACES, "everywhere"}


def test_the_answer_on_ellipses():
    deep, flat = around_data(dips(2)), around_data(dips(0))
    both = texts.less_sensitive_near_data(deep)
    assert "? The class probabilities are, where classes differ. " in both.replace("**", "")
    assert "training changes the Jacobian norm at the images by ×0.01" in both
    assert both.endswith("The Jacobian norm of the logits, before the softmax, falls too: ×0.01.")
    assert "hardly falls: ×1.00" in texts.less_sensitive_near_data(flat)
    assert "? In part. " in texts.less_sensitive_near_data(around_data(dips(0.2))).replace("**", "")
    assert "? No. " in texts.less_sensitive_near_data(flat).replace("**", "")
    assert texts.less_sensitive_near_data(deep, {"b": flat}).endswith("density of transitions changes by ×1.00 (b).")


def test_no_dip_of_the_transitions_is_asked_for_where_the_paper_has_none():
    names = [part.name for part in claims.low_near_the_data(around_data(dips(2))).parts]
    assert names == ["norm dip, different classes", "norm dip, one class", "norm higher at random",
                     "transitions dip, different classes", "transitions higher at random"]


def test_tables_of_levels_and_factors():
    tables = {"a": around_data(dips(2)), "b": around_data(dips(0))}
    levels = texts.levels_on_ellipses(tables).splitlines()
    assert len(levels) == 2 + 3 * 3 and levels[3].startswith("| a | different classes | 1 | 100 |")
    assert "| the paper, about | different classes | 0.01 to 1 | 5,000 | 62 to 70 | 155 to 170 |" in levels
    assert "| the paper, about | random points | 20,000 | 20,000 | 138 | 138 |" in levels
    rows = texts.dips(tables).splitlines()
    assert rows[2].startswith("| a | different classes | ×0.01 [") and rows[5].count("×1.00 [") == 3
    found = texts.dip_factors(tables)
    assert found["network"].tolist() == ["a"] * 3 + ["b"] * 3
    assert found.loc[0, "mean"] == pytest.approx(-2, abs=0.1) and found.loc[0, "low"] < -2 < found.loc[0, "high"]


def test_confidence_or_a_flatter_network():
    made = around_data(dips(2))
    assert "so the dip is in the logits too" in texts.confidence(made)
    logits = made["quantity"] == "logit_norm"
    assert "nearly all of the dip is the confidence" in texts.confidence(
        made.assign(value=made["value"].mask(logits, 3.0)))
    half = texts.confidence(made.assign(value=made["value"].mask(logits, made["value"] ** 0.5)))
    assert "part of the dip is in the logits too" in half
    assert texts.confidence(around_data(dips(0))).endswith("the norm of the logits by ×1.00.")


def test_lengths_and_accuracies():
    made = around_data(dips(1), accuracy=0.997)
    assert "230 through random points, 270 through images of different classes, 190 through images of one class" in (
        texts.ellipse_lengths(made))
    assert "a: 99.7\N{NO-BREAK SPACE}% of the training and 99.7" in texts.reached_accuracies({"a": made})


def test_the_answer_on_regions():
    said = texts.sparser_regions(around_data(dips(2))).replace("**", "")
    assert "? Yes. Near a training image, training changes the number of boundaries on a line by ×0.0" in said
    everywhere = around_data(lambda path, near, trained: 5.0 if trained else 10.0)
    said = texts.sparser_regions(everywhere).replace("**", "")
    assert "? Hardly. " in said and said.endswith("near a random point by ×0.50.")
    assert "everywhere: ×0.50 near them, ×0.50 far from them" in texts.sparser_everywhere(everywhere)
    assert not texts.sparser_everywhere(around_data(dips(2)))
    rows = texts.densities_near_and_far({"a": everywhere}).splitlines()
    assert len(rows) == 5 and rows[2].startswith("| a | different classes | 10.00 | 5.00 | 10.00 | 5.00 | ×0.50 [")


def test_other_networks_are_judged_by_the_same_rule():
    made = {"a": around_data(dips(2)), "b": around_data(lambda path, near, trained: 50.0 if trained else 100.0)}
    said = texts.by_the_same_rule({name: claims.regions_grow_sparser(table) for name, table in made.items()})
    assert said.splitlines()[-2:] == [
        "| a | reproduced | near the points, near over far, over random points | – | – |",
        "| b | partly, 1 of 3 parts | near the points | – | near over far, over random points |"]
    assert not texts.by_the_same_rule({})
    both = texts.sparser_regions(made["a"], {"b": made["b"]}, "fc-9")
    assert "In fc-9 they do, but not with every network" in both and "Near a training image it is ×0.50 for b." in both
    assert "? Yes. " in texts.sparser_regions(made["a"], {"c": made["a"]}).replace("**", "")


def test_regions_are_counted():
    made = around_data(dips(1), seeds=1, grid=6)
    assert texts.regions_counted(made) == (
        "The 36 cells of the picture lie in 7 linear regions before training, and in 107 after it; a region smaller "
        "than a cell may be missed. Near the images of this network’s planes, a line of length 1 crosses 100.00 "
        "boundaries before training and 10.32 after it.")
    assert near_data.picture(made, "shade", near_data.AFTER)[2].tolist() == [2, 0, 1, 2, 0, 1]


def test_runs_of_the_pages():
    given = {"network": "fc-8", "seeds": 2, "variations": {"slow": {"learning_rate": 1e-4, "seeds": 1}},
             "dataset": "digits", "steps": 10}
    runs = figures.ellipses(**given)
    assert runs == {"network": [InputSpace(dataset="digits", network="fc-8", steps=10, seed=seed) for seed in (0, 1)],
                    "slow": [InputSpace(dataset="digits", network="fc-8", steps=10, learning_rate=1e-4)]}
    more = figures.linear_regions(drawn="fc-4", grid=20, **given)
    assert more.pop("drawn") == [InputSpace(dataset="digits", network="fc-4", steps=10, grid=20)] and more == runs
    with pytest.raises(ValueError, match="a variation is named network"):
        figures.ellipses(**given | {"variations": {"network": {}}})


def test_first_ellipse_is_that_of_the_seed():
    made = pd.concat([around_data(dips(1), seeds=1), around_data(dips(1), seeds=1).assign(seed=1, value=0.0)])
    points = near_data.first_ellipse(made, DIFFERENT, 0)
    assert points.shape == (3, 4, 4) and points[1, 2, 3] == pytest.approx(np.sin(1 + 3 + 6))
    assert not near_data.first_ellipse(made, DIFFERENT, 1).any()
    assert near_data.labels_of(made, ONE, 1, 0) == [0, 1, 2]
