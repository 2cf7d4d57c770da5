"""Training: the same seed, the order of the data, the stages, and the callback that measures them."""

import gc
import itertools
import random
import weakref

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy.stats import spearmanr

from stiffness import (
    StiffnessCallback,
    between_classes,
    class_stiffness,
    critical_length,
    gradient_gram,
    zero_crossing,
)
from stiffness.measures import jackknife_errors
from stiffness_book import data, networks, store, sweep, training
from stiffness_book.experiment import Experiment
from stiffness_book.table import spaces

SMALL = {"dataset": "digits", "network": "fc-30-20", "probe_size": 50, "train_size": 400, "learning_rate": 3e-3}


def orders(n, batch_size, seed, epochs):
    """The order of the examples in each epoch, as the network meets them."""
    split = data.Split(np.arange(n), np.arange(n))
    batches = itertools.islice(training.shuffled_batches(split, batch_size, seed), epochs * (n // batch_size))
    return np.concatenate([inputs for inputs, _ in batches]).reshape(epochs, -1)


def test_a_pipeline_that_is_gone_keeps_no_data():
    """A process that computes many runs would otherwise hold the training images of all of them."""
    inputs = np.zeros((64, 3), np.float32)
    held = weakref.ref(inputs)
    split = data.Split(inputs, np.zeros(64, np.int64))
    next(iter(training.shuffled_batches(split, 8, seed=0)))
    del split, inputs
    gc.collect()
    assert held() is None


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
    assert first["value"].tolist() != other["value"].tolist()


@pytest.mark.parametrize("network", ["fc-20-10", "cnn-4-8"])
def test_initial_weights_are_keras_defaults_whatever_other_threads_draw(network):
    experiment = Experiment(dataset="digits", network=network, seed=7)
    kind, widths = experiment.layers
    keras.utils.set_random_seed(7)
    default = [keras.layers.Dense(width) if kind == "fc" else keras.layers.Conv2D(width, 3)
               for width in widths] + [keras.layers.Dense(10)]
    random.random()  # as another thread may
    with_weights = [layer for layer in networks.build(experiment, (8, 8, 1), 10).layers if layer.weights]
    for layer, keras_own in zip(with_weights, default, strict=True):
        np.testing.assert_array_equal(layer.kernel, keras_own.kernel_initializer(layer.kernel.shape))
        assert not np.any(layer.bias)


def residual_by_definition(model, x):
    """The representations of a residual network, from its weights alone, in the order in which they were made."""
    made = sorted((layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)),
                  key=lambda layer: int("0" + layer.name.removeprefix("conv2d").strip("_")))
    weights = [np.asarray(weight) for layer in (*made, model.get_layer("logits")) for weight in layer.weights]
    positions = keras.ops.convert_to_tensor(x)

    def convolved(x, stride=1):
        return keras.ops.conv(x, weights.pop(0), stride, "same") + weights.pop(0)

    x, spaces = keras.ops.relu(convolved(positions)), {"input": positions}
    while len(weights) > 2:
        width = weights[0].shape[-1]
        stride = 1 if width == x.shape[-1] else 2
        y = convolved(keras.ops.relu(convolved(x, stride)))
        x = keras.ops.relu((x if stride == 1 else convolved(x, stride)) + y)
        spaces[f"layer {len(spaces)}"] = x
    spaces["logits"] = keras.ops.mean(x, (1, 2)) @ weights[0] + weights[1]
    return {space: np.asarray(x) for space, x in spaces.items()}


@pytest.mark.parametrize("network, parameters", [("resnet-8", None), ("resnet-20", 271_690), ("resnet-20-he", 271_690)])
def test_a_residual_network_is_what_its_definition_says(network, parameters):
    experiment = Experiment(dataset="digits", network=network)
    model = networks.build(experiment, (32, 32, 3), 10)
    if parameters:  # of ResNet20 v1 with 10 classes, without batch normalisation
        assert model.count_params() == parameters
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    expected = residual_by_definition(model, x)
    assert list(expected) == spaces(experiment)
    found = networks.representations(model).predict(x, verbose=0)
    for space, values in expected.items():
        if space != "input":
            np.testing.assert_allclose(found[space], values, rtol=1e-4, atol=1e-4)
    assert [values.shape[1] for values in expected.values()][-3:] == ([8, 8, 10] if parameters else [16, 8, 10])
    kernels = [np.asarray(weight) for weight in model.weights if weight.name == "kernel"]
    assert len({kernel.ravel()[0] for kernel in kernels}) == len(kernels)  # each has a seed of its own
    largest = max(kernels, key=np.size)
    fans = np.prod(largest.shape[:-1]), np.prod(largest.shape[:-2]) * largest.shape[-1]
    variance = 2 / fans[0] if network.endswith("-he") else 2 / sum(fans)
    assert largest.var() == pytest.approx(variance, rel=0.1)
    again = networks.build(experiment, (32, 32, 3), 10)
    assert all((np.asarray(a) == np.asarray(b)).all() for a, b in zip(model.weights, again.weights, strict=True))


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


def test_a_run_in_which_no_loss_is_reached_says_so(results_folder):
    experiment = Experiment(**SMALL, stages=(), stage_losses=(1e-9,), check_every=5, max_steps=20)
    table = sweep.compute(experiment, progress=False)
    assert table.empty and table.attrs["unreached"] == [1e-9] and table.attrs["diverged"] is None
    assert store.stored(experiment).empty  # and is not computed again


@pytest.mark.parametrize("settings", [{"optimizer": "sgd", "learning_rate": 1e3, "network": "fc-60-40"},
                                      {"learning_rate": 1e30}],
                         ids=["sgd 1e3", "adam 1e30"])
def test_a_run_that_diverges_says_so_and_is_stored(settings, results_folder):
    experiment = Experiment(**SMALL | settings, stages=(0, 40, 80), stage_losses=(0.01,), max_steps=200)
    table = sweep.compute(experiment, progress=False)
    diverged = table[table["quantity"] == "diverged"]
    assert diverged["step"].tolist() == [table.attrs["diverged"]] and table.attrs["unreached"] == [0.01]
    assert 0 < table.attrs["diverged"] <= 80 and table["step"].max() == table.attrs["diverged"]
    assert not table["value"][~table["quantity"].str.contains("length|domain")].isna().any()
    pd.testing.assert_frame_equal(store.stored(experiment), table)  # and is not computed again


@pytest.mark.parametrize("probe_size", [5, 10, 19])
def test_a_probe_set_without_pairs_in_a_class_is_refused(probe_size):
    with pytest.raises(ValueError, match=f"probe_size is {probe_size}; digits has 10 classes, .* expected at least 20"):
        training.train(Experiment(**SMALL | {"probe_size": probe_size}), progress=False)


def test_losses_reached_at_one_check_share_its_measurement():
    table, _ = training.train(Experiment(**SMALL, stages=(), stage_losses=(2.0, 1.9), check_every=50, max_steps=500),
                              progress=False)
    first, second = (table[table["target_loss"] == target].drop(columns="target_loss") for target in (2.0, 1.9))
    pd.testing.assert_frame_equal(first.reset_index(drop=True), second.reset_index(drop=True))


def initial(network, **settings):
    """The network of a run before training, its probe set, and the table of the run's first stage."""
    experiment = Experiment(**SMALL | {"network": network, "stages": (0,)} | settings)
    table, _ = training.train(experiment, progress=False)
    dataset = data.standardise(data.load("digits"))
    probe = dataset.validation.take(
        data.balanced_indices(dataset.validation.labels, experiment.probe_size, experiment.probe_seed))
    keras.utils.set_random_seed(experiment.seed)
    model = networks.build(experiment, (8, 8, 1), 10)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model, probe, table, dataset


def layer_by_layer(model, x):
    """The representations, by the kinds of layers: after activations, and for convolutions after the pooling."""
    spaces, x = {"input": x}, keras.ops.convert_to_tensor(x)
    for layer in model.layers:
        x = layer(x, training=False)
        if isinstance(layer, keras.layers.Dense | keras.layers.MaxPooling2D):
            spaces["logits" if layer is model.layers[-1] else f"layer {len(spaces)}"] = x
    return {space: np.asarray(x).reshape(len(x), -1).astype(float) for space, x in spaces.items()}


@pytest.mark.parametrize("network, sizes", [("fc-30-20", [64, 30, 20, 10]), ("cnn-4-5-6-7", [64, 64, 20, 6, 7, 10])])
def test_stiffness_against_distance_in_every_space(network, sizes):
    model, probe, table, _ = initial(network)
    gram = gradient_gram(model, probe.inputs, probe.labels, method="jacobian")
    spaces = layer_by_layer(model, probe.inputs)
    assert table["space"].dropna().unique().tolist() == list(spaces)  # small images survive four poolings
    assert [vectors.shape[1] for vectors in spaces.values()] == sizes
    pairs = list(itertools.combinations(range(len(probe)), 2))
    edges = np.arange(41) / 20
    for space, vectors in spaces.items():
        rows = table[table["space"] == space]
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        distance = 1 - unit @ unit.T
        # pairs that rounding may put into either bin are few; the counts may differ by them
        for name, chosen in (("all", pairs), ("within_class", [p for p in pairs if len(set(probe.labels[[*p]])) == 1])):
            i, j = np.transpose(chosen)
            number = np.minimum(np.searchsorted(edges, distance[i, j], "right") - 1, 39)
            counts = rows[rows["quantity"] == f"distance_pairs_{name}"].set_index("distance")["value"]
            assert counts.sum() == len(chosen)
            for kind, s in (("sign", gram.sign()), ("cosine", gram.cosine())):
                curve = rows[rows["quantity"] == f"distance_curve_{name}_{kind}"].set_index("distance")["value"]
                assert curve.index.tolist() == counts.index.tolist()
                expected = {round(0.025 + 0.05 * b, 3): s[i, j][number == b] for b in set(number)}
                assert curve.index.tolist() == sorted(expected)
                assert counts.tolist() == [len(expected[centre]) for centre in curve.index]
                np.testing.assert_allclose(curve, [expected[centre].mean() for centre in curve.index], atol=1e-4)
            if name == "all":
                curve = rows[rows["quantity"] == "distance_curve_all_sign"].set_index("distance")["value"]
                enough = curve[counts >= 20]
                assert len(enough) < len(curve)
                np.testing.assert_equal(rows[rows["quantity"] == "stiff_domain_size_sign"]["value"].item(),
                                        zero_crossing(enough.index, enough))
        length = rows[rows["quantity"] == "critical_length_cosine"]["value"].item()
        assert length == pytest.approx(critical_length(gram.cosine(), distance, probe.labels), rel=1e-3, nan_ok=True)


def test_zero_vectors_have_no_distance():
    distance = training._distances(np.array([[1, 0], [0, 0], [0, 2], [3, 0]], "float32"))
    np.testing.assert_allclose(distance, [[0, np.nan, 1, 0], [np.nan] * 4, [1, np.nan, 0, 1], [0, np.nan, 1, 0]])


def test_statistical_errors_by_number_of_probe_images():
    model, probe, table, _ = initial("fc-30-20", probe_size=150)
    s = gradient_gram(model, probe.inputs, probe.labels).cosine()
    rows = table[table["quantity"] == "between_classes_cosine_error"].set_index("probe_images")["value"]
    assert rows.index.tolist() == [50, 100, 150]
    assert rows[150] == pytest.approx(jackknife_errors(s, probe.labels)[1], rel=1e-4)
    chosen = data.balanced_indices(probe.labels, 50, 0)
    assert rows[50] == pytest.approx(jackknife_errors(s[np.ix_(chosen, chosen)], probe.labels[chosen])[1], rel=1e-4)
    small = initial("fc-30-20", probe_size=20)[2]
    assert not small["quantity"].str.endswith("_error").any()  # two images a class: none can be left out


def test_losses_are_those_that_keras_measures_and_are_bounded_exactly():
    model, _, table, dataset = initial("cnn-4-4")
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    expected = model.evaluate(dataset.validation.inputs, dataset.validation.labels, batch_size=100, verbose=0)
    measured = table.set_index("quantity")["value"]
    assert measured[["validation_loss", "validation_accuracy"]].tolist() == pytest.approx(expected, rel=1e-5)
    evaluate = training.evaluation(model)
    whole = evaluate(dataset.train)
    assert evaluate(dataset.train, up_to=whole[0]) == whole
    assert evaluate(dataset.train, up_to=np.nextafter(whole[0], 0))[0] == np.inf


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
