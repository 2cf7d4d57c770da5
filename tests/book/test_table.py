"""The quantities of a result: those that are measured are those that are described."""

import re
from pathlib import Path

from stiffness import StiffnessCallback
from stiffness_book import data, networks, table
from stiffness_book.experiment import Experiment


def test_the_callbacks_quantities_are_known():
    split = data.standardise(data.load("digits")).validation
    chosen = data.balanced_indices(split.labels, 30, 0)
    model = networks.build(Experiment(network="fc-8"), (8, 8, 1), 10)
    model.compile("adam", loss="sparse_categorical_crossentropy")
    callback = StiffnessCallback(split.inputs[chosen], split.labels[chosen], num_classes=10)
    callback.set_model(model)
    assert {row["quantity"] for row in callback.measure()} <= table.QUANTITIES.keys()


def test_every_quantity_is_described():
    for name, quantity in table.QUANTITIES.items():
        assert quantity.meaning and quantity.range[0] <= quantity.range[1], name
        assert set(quantity.keys) <= table.COLUMNS.keys()


def test_columns_are_listed_once():
    listed = [path for path in Path(table.__file__).parent.rglob("*.py")
              if re.search(r'"class_a",? .*"class_b",? .*"space"', path.read_text(encoding="utf-8"), re.DOTALL)
              and "probe_images\": \"Int32" in path.read_text(encoding="utf-8")]
    assert [path.name for path in listed] == ["table.py"]
