"""The charts hold the numbers that they are given, and render."""

import keras
import numpy as np
import pandas as pd
import pytest
import vl_convert

from stiffness import StiffnessCallback, plots


def values_of(chart):
    """The rows of all data of a chart."""
    return [row for rows in chart.to_dict()["datasets"].values() for row in rows if row]


def test_a_class_matrix_holds_every_number_under_its_names():
    C = np.random.default_rng(0).uniform(-1, 1, (3, 3))
    C[0, 2] = np.nan
    names = ["ankle boot", "bag", "coat"]
    chart = plots.class_matrix(C, names)
    cells = {(row["step"], row["loss"]): row["stiffness"] for row in values_of(chart)}
    assert len(cells) == 8 and ("ankle boot", "coat") not in cells
    for (step, loss), value in cells.items():
        assert value == pytest.approx(C[names.index(step), names.index(loss)], abs=1e-4)
    svg = vl_convert.vegalite_to_svg(chart.to_json())
    assert all(name in svg for name in names)
    assert chart.to_dict()["description"] == chart.description


@pytest.mark.parametrize("classes", [1, 15, 16, 100])
def test_matrices_of_all_sizes_are_drawn(classes):
    svg = vl_convert.vegalite_to_svg(plots.class_matrix(np.eye(classes)).to_json())
    assert svg.count(">+1.00<") == (classes if classes <= plots.NUMBERED else 0)


@pytest.mark.parametrize("C, names, message", [
    (np.zeros((2, 3)), None, r"C has shape \(2, 3\)"), (np.zeros(4), None, r"C has shape \(4,\)"),
    (np.eye(2), ["a"], "names are 1, 1 of them different; C has 2 classes"),
    (np.eye(2), ["a", "a"], "names are 2, 1 of them different"),
])
def test_bad_matrices_and_names_are_named(C, names, message):
    with pytest.raises(ValueError, match=message):
        plots.class_matrix(C, names)


@pytest.mark.parametrize("classes", [True, False])
def test_the_evolution_of_a_real_fit(classes):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 4))
    y = rng.integers(0, 3, 30) if classes else rng.normal(size=(30, 1))
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3 if classes else 1)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True) if classes else "mse")
    callback = StiffnessCallback(x, y)
    with pytest.raises(ValueError, match="no measurement yet"):
        plots.evolution(callback)
    model.fit(x, y, epochs=2, verbose=0, callbacks=[callback])
    chart = plots.evolution(callback)
    drawn = [(row["step"], row["stiffness"]) for row in values_of(chart)]
    names = ("within_class", "between_classes") if classes else ("all_pairs",)
    rows = callback.table[callback.table["quantity"].isin([f"{name}_{kind}" for name in names
                                                           for kind in ("sign", "cosine")])]
    assert len(drawn) == len(rows) == 6 * len(names)
    assert sorted(drawn) == sorted((step, round(value, 4)) for step, value in zip(rows["step"], rows["value"]))
    svg = vl_convert.vegalite_to_svg(chart.to_json())
    assert ("within classes" in svg) is classes and ("all pairs" in svg) is not classes


def test_a_table_from_a_file_is_drawn_too(tmp_path):
    table = pd.DataFrame({"step": [0, 5], "quantity": ["all_pairs_cosine"] * 2, "value": [0.1, np.nan]})
    table.to_csv(tmp_path / "table.csv")
    chart = plots.evolution(pd.read_csv(tmp_path / "table.csv"))
    assert [row["stiffness"] for row in values_of(chart)] == [0.1]
