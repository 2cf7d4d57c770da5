"""`StiffnessCallback` in real fits."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from stiffness import StiffnessCallback, class_stiffness, gradient_gram
from tests.library.test_gram import CROSS_ENTROPY, classifier, examples

X, Y = examples(12)


def compiled(model, loss=CROSS_ENTROPY):
    model.compile("sgd", loss)
    return model


def test_a_later_fit_goes_on_counting():
    model = compiled(classifier(layers.Dense(4, "tanh")))
    callback = StiffnessCallback(X, Y)
    model.fit(X, Y, batch_size=4, epochs=2, verbose=0, callbacks=[callback])
    model.fit(X, Y, batch_size=4, epochs=1, verbose=0, callbacks=[callback])
    compiled(model)  # a new optimizer, whose steps start at 0
    model.fit(X, Y, batch_size=4, epochs=1, verbose=0, callbacks=[callback])
    table = callback.table
    assert table.step[table.quantity == "within_class_sign"].tolist() == [0, 3, 6, 9, 12]


@pytest.mark.parametrize("labels, one_class", [
    (Y, True), (np.eye(3)[Y], True), (Y.astype(float), True), (X[:, :1], False), (X[:, :3], False),
    ((X[:, :3] > 0).astype(int), False)], ids=["indices", "one-hot", "floats", "regression", "several", "multi-label"])
def test_labels_that_are_no_classes_are_not_turned_into_classes(labels, one_class):
    sparse = labels is Y or labels.ndim == 1
    units = 3 if sparse else labels.shape[1]
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4, "tanh"), layers.Dense(units)])
    callback = StiffnessCallback(X, labels)
    compiled(model, CROSS_ENTROPY if sparse else "mse").fit(X, labels, epochs=1, verbose=0, callbacks=[callback])
    table = callback.table[callback.table.step == 1].set_index("quantity").value
    assert ("within_class_sign" in table) == one_class and ("all_pairs_sign" in table) != one_class
    gram = gradient_gram(model, X, labels)
    if one_class:
        assert table["class_stiffness_sign"].to_numpy() == pytest.approx(class_stiffness(gram.sign(), Y).reshape(-1))
    else:
        off = ~np.eye(12, dtype=bool)
        assert table["all_pairs_cosine"] == pytest.approx(gram.cosine()[off].mean(), rel=1e-4)


@pytest.mark.parametrize("labels, units, loss, one_class", [
    (np.arange(12) * 1000, 1, "mse", False), (np.arange(12) % 3, 1, keras.losses.Huber(), False),
    (np.arange(12) * 1000, 1, lambda t, p: ops.abs(ops.reshape(t, (-1,)) - p[:, 0]), False),
    (np.arange(12) % 3, 1, "hinge", True),
    (np.arange(12) % 3, 3, lambda t, p: -ops.take_along_axis(p, ops.cast(t, "int32")[:, None], axis=1)[:, 0], True),
], ids=["prices", "small numbers", "own loss of large numbers", "hinge", "own loss of classes"])
def test_whole_numbers_are_classes_where_the_loss_takes_them_for_such(labels, units, loss, one_class):
    model = compiled(keras.Sequential([keras.Input((6,)), layers.Dense(units)]), loss)
    callback = StiffnessCallback(X, labels)
    model.fit(X, labels, epochs=1, verbose=0, callbacks=[callback])
    quantities = set(callback.table.quantity)
    assert ("within_class_sign" in quantities) == one_class and ("all_pairs_sign" in quantities) != one_class


def test_a_sequence_of_labels_is_no_class_and_labels_may_be_given():
    model = compiled(keras.Sequential([keras.Input((3, 2)), layers.Dense(4, "tanh"), layers.Dense(2)]))
    x, y = X.reshape(12, 3, 2), np.eye(3, dtype=int)[Y]  # its rows look like one-hot labels
    callback, given = StiffnessCallback(x, y), StiffnessCallback(x, y, labels=np.eye(3)[Y])
    model.fit(x, y, epochs=1, verbose=0, callbacks=[callback, given])
    assert "all_pairs_sign" in set(callback.table.quantity)
    C = given.table[(given.table.quantity == "class_stiffness_sign") & (given.table.step == 1)].value.to_numpy()
    assert pytest.approx(class_stiffness(gradient_gram(model, x, y).sign(), Y).reshape(-1)) == C


def test_a_data_set_a_budget_and_shares_of_layers():
    model = compiled(classifier(layers.Dense(4, "tanh")))
    callback = StiffnessCallback(tf.data.Dataset.from_tensor_slices((X, Y)).batch(5), memory_budget="1MB",
                                 per_layer=True)
    model.fit(X, Y, epochs=1, verbose=0, callbacks=[callback])
    table = callback.table
    shares = table[table.quantity == "layer_share"]
    assert shares.groupby("step").value.sum().tolist() == pytest.approx([1, 1])
    assert set(shares.layer) == set(gradient_gram(model, X, Y).shares)
    assert "within_class_cosine" in set(table.quantity)


@pytest.mark.parametrize("first", [True, False])
def test_its_columns_reach_every_logger_wherever_it_stands(first, tmp_path):
    model, callback = compiled(classifier(layers.Dense(4, "tanh"))), StiffnessCallback(X, Y)
    logger, seen = keras.callbacks.CSVLogger(tmp_path / "log.csv"), []
    other = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(set(logs)))
    history = model.fit(X, Y, epochs=2, verbose=0, validation_data=(X, Y), callbacks=(
        [callback, logger, other] if first else [logger, other, callback]))
    names = {f"{name}_{kind}" for name in ("within_class", "between_classes") for kind in ("sign", "cosine")}
    header, *rows = (tmp_path / "log.csv").read_text().splitlines()
    assert names <= set(header.split(",")) and len(rows) == 2 and "nan" not in rows[-1].lower()
    assert all(names <= logs for logs in seen) and len(seen) == 2
    assert names <= set(history.history) and history.history["within_class_sign"][-1] == next(
        row["value"] for row in callback.rows[::-1] if row["quantity"] == "within_class_sign")


@pytest.mark.parametrize("executed", [1, 3, 4])
def test_steps_of_an_optimizer_that_accumulates_gradients(executed):
    model = classifier(layers.Dense(5, "tanh"))
    (x, y), initial = examples(12), model.get_weights()
    model.compile(keras.optimizers.SGD(0.1, gradient_accumulation_steps=3), CROSS_ENTROPY,
                  steps_per_execution=executed)
    callback = StiffnessCallback(x, y, steps=[0, 1, 2])
    if executed == 4:  # it ends after 4, 8 and 12 batches: during the steps 1, 2 and 4
        model.fit(x, y, batch_size=1, epochs=1, shuffle=False, verbose=0, callbacks=[callback])
        assert callback.table["step"].unique().tolist() == [0, 1, 2]
        with pytest.raises(ValueError, match=r"steps \[3\] are no multiples"):
            model.fit(x, y, batch_size=1, verbose=0, callbacks=[StiffnessCallback(x, y, steps=[3])])
        return
    model.fit(x, y, batch_size=1, epochs=1, shuffle=False, verbose=0, callbacks=[callback])
    table = callback.table[callback.table["quantity"] == "within_class_cosine"].set_index("step")["value"]
    assert table.index.tolist() == [0, 1, 2]  # once each
    again = classifier(layers.Dense(5, "tanh"))
    again.set_weights(initial)
    again.compile(keras.optimizers.SGD(0.1), CROSS_ENTROPY)
    expected = StiffnessCallback(x, y, steps=[0, 1, 2])
    again.fit(x, y, batch_size=3, epochs=1, shuffle=False, verbose=0, callbacks=[expected])
    expected = expected.table[expected.table["quantity"] == "within_class_cosine"].set_index("step")["value"]
    np.testing.assert_allclose(table, expected, rtol=1e-3, atol=1e-5)
