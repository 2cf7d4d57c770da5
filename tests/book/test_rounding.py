"""Arithmetics beside each other and beside the paper: on made-up runs whose answer is known."""

import numpy as np
import pandas as pd
import pytest

from stiffness_book import charts, rounding, texts
from stiffness_book.experiment import ARITHMETICS

STEPS = (0, 100, 1000, 10_000, 100_000)
IMAGES = 12  # three of each of four classes


def nested(within_at, zero_at, seeds=3, between=0.2):
    """A run's rows. within_at: (arithmetic, step) -> within-class stiffness; zero_at: the share of zero gradients."""
    rows = []
    for seed in range(seeds):
        for step in STEPS:
            for arithmetic in ("exact", *ARITHMETICS):
                suffix = "" if arithmetic == "exact" else f"_{arithmetic}"
                at = {"seed": seed, "step": step, "target_loss": np.nan, "probe_images": IMAGES}
                C = np.where(np.eye(4, dtype=bool), within_at(arithmetic, step), between)
                if arithmetic == "step_1e-3":
                    C[0, 1] += 0.1
                rows += [at | {"quantity": f"nested_class_stiffness_sign{suffix}", "class_a": a, "class_b": b,
                               "value": C[a, b]} for a, b in np.ndindex(4, 4)]
                if suffix:
                    rows += [at | {"quantity": f"nested_self_stiffness_sign{suffix}", "class_a": c, "class_b": None,
                                   "value": 1 - zero_at(arithmetic, step)} for c in range(4)]
    return pd.DataFrame(rows).astype({"class_a": "Int16", "class_b": "Int16"})


def made():
    return nested(lambda arithmetic, step: 1.0 if arithmetic == "exact" or step < 1000 else 0.4,
                  lambda arithmetic, step: 0.5 * (arithmetic == "clipped" and step > 1000))


def test_curves_count_each_image_with_itself():
    found = rounding.curves(made(), IMAGES).set_index(["seed", "step", "arithmetic", "summary"])["value"]
    assert found[0, 10_000, "exact", "within_class"] == pytest.approx(1)
    assert found[0, 10_000, "float32", "within_class"] == pytest.approx((2 * 0.4 + 2 * 1) / 4)
    assert found[0, 10_000, "clipped", "within_class"] == pytest.approx((2 * 0.4 + 2 * 0.5) / 4)
    assert found[0, 0, "exact", "between_classes"] == pytest.approx(0.2)
    zeros = rounding.zero_gradients(made(), IMAGES)
    assert zeros[zeros["step"] == 100_000].groupby("arithmetic")["value"].mean().to_dict() == pytest.approx(
        {"clipped": 0.5, "float32": 0, "step_1e-3": 0, "step_1e-5": 0})


def test_distance_from_the_paper_is_the_mean_absolute_difference():
    found = rounding.curves(made(), IMAGES)
    paper = pd.DataFrame({"seen": [3200.0, 320_000.0, 1.0, 1e12] * 2, "value": [1.0, 0.5, 9.0, 9.0, 0.2, 0.2, 9.0, 9.0],
                          "summary": ["within_class"] * 4 + ["between_classes"] * 4, "error": 0.0,
                          "figure": 2})
    distances = rounding.distances(found, paper).groupby(["arithmetic", "summary"])["value"].mean()
    assert distances["exact", "within_class"] == pytest.approx(0.25)  # of two stages: the others are outside
    assert distances["float32", "within_class"] == pytest.approx(0.1)
    assert distances["exact", "between_classes"] == pytest.approx(0)


def test_the_papers_curves_are_read():
    assert rounding.published_curves("Fashion-MNIST").empty and rounding.published_losses("Fashion-MNIST").empty
    losses = rounding.published_losses("MNIST").groupby("quantity")["value"]
    assert losses.size().to_dict() == {"train_loss": 103, "validation_loss": 104} and (losses.min() > 0).all()
    paper = rounding.published_curves("MNIST")
    assert set(paper["summary"]) == {"within_class", "between_classes"} and len(paper) == 208
    assert (paper["error"] > 0).all() and paper["value"].between(-1, 1).all() and set(paper["figure"]) == {2}
    convolutional = rounding.published_curves("CIFAR-10").set_index(["summary", "seen"])["value"]
    assert len(convolutional) == 6 and convolutional["within_class", 1_584_000] == pytest.approx(0.02, abs=0.01)


def test_what_is_said_follows_the_runs():
    table = made()
    found = rounding.curves(table, IMAGES)
    paper = rounding.published_curves("MNIST")
    distances = rounding.distances(found, paper)
    stages = paper[paper["seen"].between(100 * 32, 100_000 * 32)].groupby("summary").size().max()
    said = texts.over_fitting_or_rounding(found, "MNIST")
    assert "Mostly float32: " in said and "is +1.00 if it is computed without rounding" in said
    assert "The paper's curve ends at +0.22." in said and "The paper" not in texts.over_fitting_or_rounding(found, "x")
    assert "+0.70 in float32 from logits, +0.45 from clipped probabilities" in said
    reverse = distances.assign(value=np.where(distances["arithmetic"] == "exact", 0.0, 1.0))
    nearest = texts.distances_from_the_paper({"a": reverse, "b": distances, "c": rounding.distances(found, found[:0])})
    assert f"| a | exact | {stages} | 0.00 | 0.00 |" in nearest
    assert "| b | float32" in nearest and "| c |" not in nearest
    assert "from the nearest to the farthest: *Figure 2*: a, exact (0.00); " in nearest
    both = texts.distances_from_the_paper({"a": distances, "b": distances.assign(figure=6)})
    assert both.count("*Figure") == 2 and both.index("; a, exact") < both.index("*Figure 6*: b, ")
    assert not texts.distances_from_the_paper({"c": rounding.distances(found, found[:0])})
    assert "| float32, probabilities clipped at 1e-7 | 50.0" in texts.zero_gradients_by_class(
        rounding.zero_gradients(table, IMAGES), IMAGES)
    told = texts.symmetric_or_not(rounding.matrices(table, IMAGES))
    assert "| exact | 0.00 | 0.00 |" in told and "step 1e-3 | 0.10 | 0.10 |" in told


def test_the_chart_tells_both_and_survives_nothing():
    found, paper = rounding.curves(made(), IMAGES), rounding.published_curves("MNIST")
    chart = charts.arithmetic_evolution(found, paper, rounding.WORDS, title="t").to_dict()
    assert "within classes, exact: 1.00 at the end" in chart["description"] and "the paper" in chart["description"]
    empty = charts.arithmetic_evolution(found[:0], paper, rounding.WORDS, title="t").to_dict()
    assert "no data" in empty["description"]
    without = charts.arithmetic_evolution(found, paper[:0], rounding.WORDS, title="t").to_dict()
    assert "the paper" not in without["description"] and "paper" not in str(without["title"])
