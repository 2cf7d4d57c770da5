"""Training: the same seed, the order of the data, the stages, and the callback that measures them."""

import itertools

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy.stats import spearmanr

from stiffness import StiffnessCallback, between_classes, class_stiffness, data, gradient_gram, training
from stiffness.experiment import Experiment

SMALL = {"dataset": "digits", "network": "fc-30-20", "probe_size": 50, "train_size": 400, "learning_rate": 3e-3}


def orders(n, batch_size, seed, epochs):
    """The order of the examples in each epoch, as the network meets them."""
    split = data.Split(np.arange(n), np.arange(n))
    batches = itertools.islice(training.shuffled_batches(split, batch_size, seed), epochs * (n // batch_size))
    return np.concatenate([inputs for inputs, _ in batches]).reshape(epochs, -1)


def test_every_epoch_has_a_fresh_order():
    # two orders can differ and yet be nearly one: their ranks must be unrelated
    for n in (1000, 60_000):
        for one, other in itertools.combinations(orders(n, 50, 0, 3), 2):
            assert sorted(one) == list(range(n))
            assert abs(spearmanr(np.argsort(one), np.argsort(other)).statistic) < 4 / n**0.5


def test_the_order_is_fixed_by_the_seed():
    np.testing.assert_array_equal(orders(100, 8, 5, 3), orders(100, 8, 5, 3))
    assert (orders(100, 8, 5, 1) != orders(100, 8, 6, 1)).any()


def test_the_same_seed_gives_the_same_numbers():
    experiment = Experiment(**SMALL, stages=(0, 5, 20))
    first, of_data = training.train(experiment, progress=False)
    np.random.default_rng().random()
    tf.random.uniform(())  # nothing that ran before counts
    second, _ = training.train(experiment, progress=False)
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    assert of_data["split_sizes"] == {"train": 400, "validation": 597}
    other, _ = training.train(Experiment(**SMALL, stages=(0, 5, 20), seed=1), progress=False)
    assert (first["value"] != other["value"]).any()


def test_stages_by_steps_and_by_losses():
    experiment = Experiment(**SMALL, stages=(0, 10), stage_losses=(1.0, 0.3), check_every=5, max_steps=500)
    table, _ = training.train(experiment, progress=False)
    losses = table[table["quantity"] == "train_loss"].set_index("step")
    assert losses.index[0] == 0 and 10 in losses.index
    for target, reached in losses.dropna(subset="target_loss").groupby("target_loss"):
        assert reached["value"].item() <= target and reached.index.item() % 5 == 0
    assert set(losses["target_loss"].dropna()) == {1.0, 0.3}
    assert losses.index.max() < 500  # training ends at the last stage
    assert table.groupby("step")["stage"].nunique().eq(1).all()


def test_a_loss_that_is_not_reached_ends_at_max_steps():
    table, _ = training.train(Experiment(**SMALL, stages=(0,), stage_losses=(1e-9,), check_every=5, max_steps=20),
                              progress=False)
    assert table["step"].unique().tolist() == [0] and table["target_loss"].isna().all()


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_it_learns(optimizer):
    table, _ = training.train(Experiment(**SMALL | {"learning_rate": {"adam": 3e-3, "sgd": 0.1}[optimizer]},
                                         optimizer=optimizer, stages=(0, 300)), progress=False)
    accuracy = table[table["quantity"] == "validation_accuracy"]["value"].tolist()
    assert accuracy[0] < 0.4 and accuracy[1] > 0.85


def test_permuted_labels_are_not_learnt():
    table, _ = training.train(Experiment(**SMALL, permuted_fraction=1.0, stages=(0, 300)), progress=False)
    assert table[table["quantity"] == "validation_accuracy"]["value"].max() < 0.3


@pytest.mark.parametrize("wrong, match", [({"train_size": 5000}, "train_size is 5000; digits has 1200"),
                                          ({"probe_size": 590}, "lower probe_size")])
def test_sizes_beyond_the_data(wrong, match):
    with pytest.raises(ValueError, match=match):
        training.train(Experiment(**SMALL | wrong), progress=False)


def digits_model(**compiled):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), **compiled)
    split = data.standardise(data.load("digits")).train
    return model, split.inputs[:320], split.labels[:320]


def test_the_callback_measures_what_the_functions_measure():
    model, x, y = digits_model()
    callback = StiffnessCallback(x[:40], y[:40], steps=[0, 7])
    model.fit(x, y, batch_size=32, epochs=1, verbose=0, callbacks=[callback])
    assert callback.table["step"].unique().tolist() == [0, 7]

    model, x, y = digits_model()
    expected = between_classes(class_stiffness(gradient_gram(model, x[:40], y[:40]).cosine(), y[:40]))
    first = callback.table.query("step == 0 and quantity == 'between_classes_cosine'")["value"].item()
    assert first == pytest.approx(expected, rel=1e-6)


def test_the_callback_measures_every_epoch_by_default_and_logs_it():
    model, x, y = digits_model()
    callback = StiffnessCallback(x[:40], keras.utils.to_categorical(y[:40], 10),
                                 loss=keras.losses.CategoricalCrossentropy(from_logits=True))
    history = model.fit(x, y, batch_size=32, epochs=2, verbose=0, callbacks=[callback])
    assert callback.table["step"].unique().tolist() == [0, 10, 20]
    logged = history.history["within_class_sign"]
    assert logged == callback.table.query("quantity == 'within_class_sign'")["value"].tolist()[1:]


def test_steps_between_two_executions_are_refused():
    model, x, y = digits_model(steps_per_execution=5)
    with pytest.raises(ValueError, match=r"steps \[7\] are no multiples of the model's steps_per_execution, 5"):
        model.fit(x, y, verbose=0, callbacks=[StiffnessCallback(x[:40], y[:40], steps=[5, 7])])
