"""What a run measures only if its settings ask for it, against plain definitions; and runs that are stopped."""

import itertools

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from stiffness import between_classes, class_stiffness, gradient_gram, within_class, zero_crossing
from stiffness_book import arithmetic, data, harmonics, kinds, networks, orders, store, sweep, training
from stiffness_book.experiment import ALSO, ARITHMETICS, ORDERS, Experiment
from stiffness_book.table import REGIMES

RUN = Experiment(dataset="digits", network="fc-30-20", probe_size=80, nested_probes=(50, 30), train_size=400,
                 learning_rate=3e-3, stages=(0,), arithmetics=ARITHMETICS,
                 also=[name for name in ALSO if name != "body"])  # which only transformers have


@pytest.fixture(scope="module")
def measured():
    """The model before training, its probe set, its training examples, and the table of the run."""
    table, _ = training.train(RUN, progress=False)
    dataset = data.standardise(data.load("digits"))
    probe = dataset.validation.take(data.balanced_indices(dataset.validation.labels, RUN.probe_size, RUN.probe_seed))
    model = networks.build(RUN, (8, 8, 1), 10)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model, probe, training.training_examples(dataset, RUN), table


def nested(probe):
    """The indices of the nested probe sets."""
    fifty = data.balanced_indices(probe.labels, 50, RUN.probe_seed)
    return fifty, fifty[data.balanced_indices(probe.labels[fifty], 30, RUN.probe_seed)]


def entries(table, quantity, images):
    rows = table[(table["quantity"] == quantity) & (table["probe_images"] == images)]
    return rows.pivot(index="class_a", columns="class_b", values="value").to_numpy()


def test_nested_probe_sets(measured):
    model, probe, _, table = measured
    gram = gradient_gram(model, probe.inputs, probe.labels, method="jacobian")
    fifty, thirty = nested(probe)
    assert set(thirty) < set(fifty) and np.bincount(probe.labels[thirty]).tolist() == [3] * 10
    for images, chosen in ((50, fifty), (30, thirty)):
        for kind, s in (("sign", gram.sign()), ("cosine", gram.cosine())):
            expected = class_stiffness(s[np.ix_(chosen, chosen)], probe.labels[chosen])
            np.testing.assert_allclose(entries(table, f"nested_class_stiffness_{kind}", images), expected, atol=1e-5)


def test_arithmetics_on_the_nested_probe_sets(measured):
    model, probe, _, table = measured
    fifty, thirty = nested(probe)
    s = arithmetic.signs(model, probe.inputs[fifty], probe.labels[fifty], "step_1e-3")
    chosen = np.isin(fifty, thirty)
    expected = class_stiffness(s[np.ix_(chosen, chosen)], probe.labels[thirty])
    np.testing.assert_allclose(entries(table, "nested_class_stiffness_sign_step_1e-3", 30), expected, atol=1e-6)
    own = table[(table["quantity"] == "nested_self_stiffness_sign_step_1e-3") & (table["probe_images"] == 50)]
    assert own["value"].tolist() == pytest.approx([np.diagonal(s)[probe.labels[fifty] == c].mean() for c in range(10)])


def sure(factor):
    """A network whose last kernel is so large that its probabilities are 0 and 1 in single precision."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(3)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.layers[-1].kernel.assign(factor * model.layers[-1].kernel)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 6)).astype("float32")
    return model, x, np.asarray(model(x)).argmax(1)


def definition(model, x, y, loss):
    """The signs of the inner products of gradients of a loss in single precision, one example after another."""
    variables = [variable.value for variable in model.trainable_variables]
    gradients = []
    for i in range(len(x)):
        with tf.GradientTape() as tape:
            value = loss(tf.constant(y[i : i + 1]), model(x[i : i + 1]))
        parts = tape.gradient(value, variables)
        gradients.append(np.concatenate([np.ravel(part) for part in parts]).astype(float))
    gradients = np.stack(gradients)
    return np.sign(gradients @ gradients.T)


@pytest.mark.parametrize("factor", [1, 30, 200])
@pytest.mark.parametrize("name, loss", [("float32", arithmetic.from_logits),
                                        ("clipped", arithmetic.from_clipped_probabilities)])
def test_signs_from_logits_and_from_clipped_probabilities(name, loss, factor):
    model, x, y = sure(factor)
    found = arithmetic.signs(model, x, y, name)
    np.testing.assert_array_equal(found, definition(model, x, y, loss))
    exact = gradient_gram(model, x, y).sign()
    assert (np.diagonal(exact) == 1).all()
    assert (np.diagonal(found) == 0).any() == (factor > 1 if name == "clipped" else factor == 200)


@pytest.mark.parametrize("factor, rate", [(1, 1e-3), (30, 1e-3), (30, 1e-5)])
def test_changes_of_the_loss_by_a_step(factor, rate):
    model, x, y = sure(factor)
    weights = model.get_weights()
    found = arithmetic.loss_changes(model, x, y, rate)
    for before, after in zip(weights, model.get_weights()):
        np.testing.assert_array_equal(before, after)
    loss = model.loss
    for i in range(3):
        with tf.GradientTape() as tape:
            value = loss(y[i : i + 1], model(x[i : i + 1]))
        gradients = tape.gradient(value, [variable.value for variable in model.trainable_variables])
        before = arithmetic.from_logits(y, model(x)).numpy()
        for variable, gradient in zip(model.trainable_variables, gradients):
            variable.assign_sub(rate * gradient)
        np.testing.assert_allclose(found[i], arithmetic.from_logits(y, model(x)).numpy() - before, atol=2e-7)
        model.set_weights(weights)
    if factor == 1:  # where nothing rounds, the signs are the exact ones
        assert (arithmetic.signs(model, x, y, "step_1e-3") == gradient_gram(model, x, y).sign()).mean() > 0.95
    else:
        assert (found == 0).mean() > 0.1


def test_regimes_of_pairs(measured):
    model, probe, trained, table = measured
    chosen = trained.take(data.balanced_indices(trained.labels, len(probe), RUN.probe_seed))
    values = table.set_index("quantity")["value"]
    train = gradient_gram(model, chosen.inputs, chosen.labels, method="jacobian").cosine()
    C = class_stiffness(train, chosen.labels)
    assert values["within_class_cosine_train_train"] == pytest.approx(within_class(C), rel=1e-4)
    both = gradient_gram(model, chosen.inputs, chosen.labels, probe.inputs, probe.labels, method="jacobian").sign()
    C = class_stiffness(both, chosen.labels, probe.labels)
    assert values["between_classes_sign_train_validation"] == pytest.approx(between_classes(C), abs=1e-3)


def test_summaries_of_the_gram_matrix(measured):
    model, probe, _, table = measured
    K = gradient_gram(model, probe.inputs, probe.labels, method="jacobian").products
    pairs = [(i, j) for i in range(len(K)) for j in range(i)]
    same = [probe.labels[i] == probe.labels[j] for i, j in pairs]
    products = np.array([K[pair] for pair in pairs])
    expected = {"mean_norm": np.mean([K[i, i] ** 0.5 for i in range(len(K))]), "mean_square_norm": np.trace(K) / len(K),
                "mean_product": products.mean(), "mean_product_within": products[same].mean(),
                "mean_product_between": products[np.logical_not(same)].mean(), "lowest_product": products.min()}
    values = table.set_index("quantity")["value"]
    for name, value in expected.items():
        assert values[f"gram_{name}"] == pytest.approx(value, rel=1e-4), name


def test_what_mean_intensity_alone_gives(measured):
    model, probe, trained, table = measured
    flat = np.stack([np.full_like(image, image.mean()) for image in probe.inputs])
    C = class_stiffness(gradient_gram(model, flat, probe.labels, method="jacobian").sign(), probe.labels)
    values = table.set_index("quantity")["value"]
    assert values["within_class_sign_intensity"] == pytest.approx(within_class(C), abs=1e-3)
    assert values["between_classes_sign_intensity"] == pytest.approx(between_classes(C), abs=1e-3)
    digits = data.standardise(data.load("digits"))
    seen, new = ([image.mean() for image in images] for images in (trained.inputs, digits.validation.inputs))
    edges = np.quantile(seen, np.linspace(0, 1, 9)[1:-1])  # the best guess in each of eight ranges of intensity
    guess = [np.bincount(trained.labels[np.digitize(seen, edges) == b]).argmax() for b in range(8)]
    by_ranges = np.mean(np.array(guess)[np.digitize(new, edges)] == digits.validation.labels)
    assert values["intensity_probe_accuracy"] == pytest.approx(by_ranges, abs=0.05)
    assert values["intensity_probe_accuracy"] > 0.12


def in_order(split, order):
    """The numbers of the batches' examples of one pass, by the plain definition."""
    fresh = np.random.default_rng([RUN.seed, 0]).permutation(len(split))
    if order == "by class":
        fresh = [i for c in range(10) for i in fresh if split.labels[i] == c]
    elif order != "shuffled":
        easiest = sorted(range(len(split)), key=lambda i: -orders.easiness(split)[i])
        place = {i: number * 10 // len(split) for number, i in enumerate(easiest)}
        tenths = range(10) if order == "easy first" else range(9, -1, -1)
        fresh = [i for tenth in tenths for i in fresh if place[i] == tenth]
    return np.array(fresh)[: len(split) // 32 * 32].reshape(-1, 32)


@pytest.mark.parametrize("order", ["shuffled", "by class"])
def test_neighbours_in_time(measured, order):
    model, _, trained, table = measured
    batches = in_order(trained, order)
    values = table.set_index("quantity")["value"]
    signs, cosines = [], []
    for one, other in itertools.pairwise(batches[:8]):
        a, b = trained.take(one), trained.take(other)
        gram = gradient_gram(model, a.inputs, a.labels, b.inputs, b.labels)
        signs.append(gram.sign().mean())
        cosines.append(gram.cosine().mean())
    name = order.replace(" ", "_")
    assert values[f"neighbours_{name}_sign"] == pytest.approx(np.mean(signs), abs=1e-3)
    assert values[f"neighbours_{name}_cosine"] == pytest.approx(np.mean(cosines), abs=1e-5)


@pytest.mark.parametrize("order", ORDERS)
def test_a_run_meets_its_examples_in_its_order(measured, order):
    _, _, trained, _ = measured
    small = trained.take(np.arange(100))
    batches = in_order(small, order)
    found = training.shuffled_batches(small, 32, RUN.seed, groups=orders.groups(small, [order])[order])
    for expected, (inputs, labels) in zip(batches, found):
        np.testing.assert_array_equal(inputs, small.inputs[expected])
        np.testing.assert_array_equal(labels, small.labels[expected])


def test_accuracy_of_each_class(measured):
    model, _, _, table = measured
    validation = data.standardise(data.load("digits")).validation
    hit = np.asarray(model(validation.inputs)).argmax(1) == validation.labels
    found = table[table["quantity"] == "validation_accuracy_of_class"]
    assert found["class_a"].tolist() == list(range(10))
    assert found["value"].tolist() == pytest.approx([hit[validation.labels == c].mean() for c in range(10)], abs=0.02)


def test_what_is_learnt_of_each_degree():
    run = Experiment(dataset="harmonics-1+3-draw2", network="fc-20", probe_size=30, stages=(0, 50), also=("angle",))
    table, about = training.train(run, progress=False)
    assert about["class_names"] == ["negative", "positive"]
    learnt = table[table["quantity"].str.startswith("learnt")].pivot(index="step", columns="quantity", values="value")
    assert list(learnt.columns) == ["learnt_of_degree_1", "learnt_of_degree_3"] and learnt.loc[50].max() > 0.1
    raw, split = (dataset.validation for dataset in (data.load(run.dataset), data.standardise(data.load(run.dataset))))
    p = np.asarray(keras.ops.softmax(networks.build(run, (3, 1, 1), 2)(split.inputs)))
    for degree in (1, 3):
        part, = harmonics.components(raw.inputs, [degree], draw=2)
        expected = ((p[:, 1] - p[:, 0]) * part).mean() / (np.where(raw.labels, 1, -1) * part).mean()
        assert learnt.loc[0, f"learnt_of_degree_{degree}"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name, order", [("l1", 1), ("l2", 2), ("angle", None)])
def test_other_distances(measured, name, order):
    model, probe, _, table = measured
    sign = gradient_gram(model, probe.inputs, probe.labels, method="jacobian").sign()
    flat = probe.inputs.reshape(len(probe), -1)
    i, j = np.triu_indices(len(flat), 1)
    if name == "angle":
        unit = flat / np.linalg.norm(flat, axis=1, keepdims=True)
        distance = np.arccos((unit[i] * unit[j]).sum(1))
    else:
        distance = np.linalg.norm(flat[i] - flat[j], ord=order, axis=1)
        distance /= distance.mean()
    number = np.floor(distance / 0.05).astype(int)
    rows = table[table["space"] == "input"]
    curve, pairs = (rows[rows["quantity"] == f"{name}_distance_{what}"].set_index("distance")["value"]
                    for what in ("curve_all_sign", "pairs_all"))
    assert pairs.sum() == len(i) and abs(pairs[curve.index] - np.bincount(number)[np.unique(number)]).max() <= 2
    alike = [b for b in np.unique(number) if pairs[round(0.025 + 0.05 * b, 3)] == (number == b).sum()]
    assert len(alike) > 10  # rounding may put a pair into the next bin
    for b in alike:
        assert curve[round(0.025 + 0.05 * b, 3)] == pytest.approx(sign[i, j][number == b].mean(), abs=1e-5)
    filled = curve[pairs >= 20]
    np.testing.assert_equal(rows.loc[rows["quantity"] == f"{name}_stiff_domain_size_sign", "value"].item(),
                            zero_crossing(filled.index, filled))


def test_a_run_has_what_its_settings_ask_for_and_no_more(results_folder):
    plain = Experiment(**RUN.settings() | {"nested_probes": (), "arithmetics": (), "also": ()})
    assert plain.address != RUN.address
    table = sweep.compute(plain, progress=False)
    assert not any(name.startswith(("nested", "gram", "l1", "l2", "intensity", "angle", "neighbours", "learnt"))
                   or name.endswith((*REGIMES, "intensity", "of_class"))
                   for name in set(table["quantity"]))
    assert store.stored(plain) is not None
    sweep.compute(RUN, progress=False)
    whole = store.stored(RUN)
    for quantity in set(whole["quantity"]) - set(table["quantity"]):
        with pytest.raises(ValueError, match=quantity):
            kinds.check(whole[whole["quantity"] != quantity], RUN, whole.attrs)


class Stopped(Exception):
    pass


@pytest.mark.parametrize("network, order", [("cnn-4-6", "shuffled"), ("cnn-4-6", "hard first"),
                                            ("resnet-8", "shuffled")])
def test_a_run_that_is_stopped_goes_on_and_has_the_same_numbers(network, order, results_folder, monkeypatch):
    run = Experiment(dataset="digits", network=network, probe_size=30, train_size=400, stages=(0, 10, 30, 45),
                     stage_losses=(2.0, 1.0), check_every=5, max_steps=45, nested_probes=(20,),
                     also=("regimes", "neighbours"), order=order)
    expected, _ = training.train(run, progress=False)
    monkeypatch.setattr(training, "SAVE_EVERY", 0)
    goes_on = training.StageRecorder.on_train_batch_end
    for stop in (5, 15, 30, 40):

        def stopped(self, batch, logs=None, stop=stop):
            goes_on(self, batch, logs)
            if self._step() == stop:
                raise Stopped

        monkeypatch.setattr(training.StageRecorder, "on_train_batch_end", stopped)
        with pytest.raises(Stopped):
            sweep.compute(run, progress=False)
        assert store.stored(run) is None
    monkeypatch.setattr(training.StageRecorder, "on_train_batch_end", goes_on)
    monkeypatch.setattr(training, "SAVE_EVERY", 1e9)
    table = sweep.compute(run, progress=False)
    pd.testing.assert_frame_equal(table, expected, check_exact=True)
    assert not list(results_folder.glob("*.saved"))


def test_what_was_saved_by_other_settings_or_versions_or_is_damaged_is_not_used(results_folder, monkeypatch):
    saved = store.Saved(RUN)
    saved.save([np.arange(3.0)], {"step": 7})
    arrays, facts = store.Saved(RUN).load()
    assert arrays[0].tolist() == [0, 1, 2] and facts == {"step": 7}
    other = store.Saved(Experiment())
    other.path = saved.path
    assert other.load() is None
    with monkeypatch.context() as newer:
        newer.setattr(store, "versions", lambda: {"keras": "0"})
        assert store.Saved(RUN).load() is None
    with open(saved.path, "wb") as file:
        file.write(b"damaged")
    with pytest.warns(UserWarning, match="starts from its beginning"):
        assert store.Saved(RUN).load() is None
