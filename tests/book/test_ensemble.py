"""Networks trained together: as networks trained alone, their measurements, what is refused, and going on after a stop.
"""

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from stiffness import gradient_gram, jacobian_norm, transitions
from stiffness_book import data, networks, orders, store, sweep
from stiffness_book.sensitivity import ensemble_training
from stiffness_book.sensitivity.ensemble import CONDITIONS, QUANTITIES, Ensemble, check
from stiffness_book.sensitivity.ensemble_training import area, parts, source_pixels
from stiffness_book.table import NotWhole

SMALL = {"dataset": "digits", "network": "fc-12-8", "train_size": 200, "steps": 60, "check_every": 20, "probe_size": 40,
         "points": 60, "paths": 3, "shift": 1}
OPTIMIZERS = {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD,
              "momentum": lambda rate: keras.optimizers.SGD(rate, momentum=0.9)}


def trained(**settings):
    """The ensemble's training, run to its end; its {moment: (step, weights)} by member; and its training examples."""
    ensemble = Ensemble(**SMALL | settings)
    dataset = data.standardise(data.load("digits"))
    split = data.training_examples(dataset, ensemble.train_size, 0)
    model = networks.build(ensemble, split.inputs.shape[1:], 10, ensemble.activation)
    training = ensemble_training.Training(ensemble, model, split, progress=False)
    return training, training.run(), split


def alone(ensemble, split, labels, rate):
    """The weights of one network that Keras trains in the same way, batch by batch, on images that do not move."""
    model = networks.build(ensemble, split.inputs.shape[1:], 10, ensemble.activation)
    model.compile(OPTIMIZERS[ensemble.optimizer](rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    done = 0
    for batches in orders.passes(len(split), ensemble.size_of_batch, ensemble.seed):
        for batch in batches:
            if done == ensemble.steps:
                return model
            model.train_on_batch(split.inputs[batch], labels[batch])
            done += 1


@pytest.mark.parametrize("settings", [
    {"optimizer": "adam", "learning_rates": (1e-3, 1e-2)},
    {"optimizer": "sgd", "learning_rates": (0.1, 0.02), "activation": "hard_tanh"},
    {"optimizer": "momentum", "learning_rates": (0.02, 0.05), "batch_size": None, "network": "fc-9", "seed": 3},
], ids=lambda settings: settings["optimizer"])
def test_members_are_networks_that_keras_trains_alone(settings):
    training, found, split = trained(**settings, conditions=CONDITIONS[:2])
    assert len(found) == 4
    for (rate, condition), labels, moments in zip(training.ensemble.members, training.labels, found):
        assert (labels == split.labels).all() == (condition == "true labels")
        expected = alone(training.ensemble, split, labels, rate).get_weights()
        step, weights = moments["end"]
        assert step == 60
        for one, other in zip(weights, expected, strict=True):
            np.testing.assert_allclose(one, other, atol=2e-4 * abs(other).max() + 1e-6)
        start = networks.build(training.ensemble, split.inputs.shape[1:], 10).get_weights()
        assert abs(weights[0] - start[0]).max() > 0.01  # it was trained


def test_a_member_does_not_depend_on_the_others():
    _, together, _ = trained(learning_rates=(1e-3, 1e-2))
    for number, (rate, condition) in enumerate(Ensemble(**SMALL, learning_rates=(1e-3, 1e-2)).members):
        _, (by_itself,), _ = trained(learning_rates=(rate,), conditions=(condition,))
        for one, other in zip(together[number]["end"][1], by_itself["end"][1]):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_translated_images_are_moved_by_whole_pixels():
    sources = source_pixels((3, 4, 2), 1)
    image = np.random.default_rng(0).normal(size=(3, 4, 2))
    assert len(sources) == 9
    expected = {np.roll(image, (down, right), (0, 1)).tobytes() for down in (-1, 0, 1) for right in (-1, 0, 1)}
    assert {image.ravel()[source].tobytes() for source in sources} == expected
    training, _, split = trained(conditions=("translated",), steps=1)
    inputs = split.inputs[:20].reshape(20, -1)
    first, again, other = (training.moved(inputs, step).numpy() for step in (5, 5, 6))
    assert (first == again).all() and (first != other).any()
    shifted = {image.ravel()[source].tobytes() for image in split.inputs[:20] for source in source_pixels((8, 8, 1), 1)}
    assert all(image.tobytes() in shifted for image in first) and (first != inputs).any()


def test_fitted_is_the_first_check_at_which_all_labels_are_right():
    training, found, split = trained(learning_rates=(0.02,), conditions=("true labels",), steps=400)
    step, weights = found[0]["fitted"]
    assert step % 20 == 0 and step < 400
    model = networks.build(training.ensemble, split.inputs.shape[1:], 10)
    model.set_weights(weights)
    assert (model.predict(split.inputs, verbose=0).argmax(1) == split.labels).all()
    _, (before,), _ = trained(learning_rates=(0.02,), conditions=("true labels",), steps=step - 20)
    model.set_weights(before["end"][1])
    assert (model.predict(split.inputs, verbose=0).argmax(1) != split.labels).any()


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    ensemble = Ensemble(**SMALL | {"steps": 200}, learning_rates=(0.02,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STIFFNESS_RESULTS", str(tmp_path_factory.mktemp("results")))
        sweep.compute(ensemble, progress=False)
        table = store.load(store.path_of(ensemble), ensemble)
        assert store.experiment_of(store.path_of(ensemble)) == ensemble
    return ensemble, table


def test_what_is_measured_is_what_the_library_measures(stored):
    ensemble, table = stored
    training, found, split = trained(steps=200, learning_rates=(0.02,))
    dataset = data.standardise(data.load("digits"))
    model = networks.build(ensemble, split.inputs.shape[1:], 10)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    points = dataset.validation.take(data.balanced_indices(dataset.validation.labels, 60, 0))
    probe = dataset.validation.take(data.balanced_indices(dataset.validation.labels, 40, 0))
    trained_on = data.balanced_indices(split.labels, 40, 0)
    for member, moments in enumerate(found):
        model.set_weights(moments["end"][1])
        rows = table[(table["member"] == member) & (table["moment"] == "end")].set_index("quantity")["value"]
        predicted = model.predict(dataset.validation.inputs, verbose=0).argmax(1)
        assert rows["test_accuracy"] == pytest.approx((predicted == dataset.validation.labels).mean())
        norms = jacobian_norm(model, points.inputs)
        assert rows["jacobian_norm"] == pytest.approx(norms.mean(), rel=1e-3)
        images = dataset.validation.inputs[data.balanced_indices(dataset.validation.labels, 3, 0)]
        each = [transitions(model, np.stack([np.roll(image, k, axis=1) for k in range(8)])) for image in images]
        assert rows["transitions"] == pytest.approx(np.mean(each), rel=0.02)
        sign = gradient_gram(model, probe.inputs, probe.labels, loss=loss).sign()
        other = probe.labels[:, None] != probe.labels
        counted = [sign[(probe.labels == a)[:, None] & (probe.labels == b)].mean()
                   for a in range(10) for b in range(10) if a != b]
        assert rows["between_classes_sign"] == pytest.approx(np.mean(counted), abs=0.02) and other.any()
        wrong = model.predict(points.inputs, verbose=0).argmax(1) != points.labels
        assert rows["auc_norm"] == pytest.approx(roc_auc_score(wrong, norms), abs=0.01)
        cosine = gradient_gram(model, points.inputs, points.labels, split.inputs[trained_on],
                               training.labels[member][trained_on], loss=loss).cosine()
        assert rows["auc_stiffness_cosine_true"] == pytest.approx(
            roc_auc_score(wrong, -np.nan_to_num(cosine).mean(1)), abs=0.01)


def test_an_area_counts_pairs():
    rng = np.random.default_rng(0)
    scores, wrong, groups = rng.integers(0, 6, 80), rng.random(80) < 0.3, rng.integers(0, 3, 80)
    pairs = [(scores[i] > scores[j]) + (scores[i] == scores[j]) / 2
             for i in range(80) for j in range(80) if wrong[i] and not wrong[j] and groups[i] == groups[j]]
    assert area(scores, wrong, groups) == pytest.approx(np.mean(pairs))
    assert area(scores, wrong, np.zeros(80)) == pytest.approx(roc_auc_score(wrong, scores))
    assert np.isnan(area(scores, np.zeros(80, bool), groups))
    assert parts(np.array([5.0, 1.0, 3.0, 2.0] * 5), 10).tolist().count(0) == 2


def test_a_stopped_ensemble_goes_on_with_the_same_numbers(tmp_path, monkeypatch, stored):
    ensemble, table = stored
    monkeypatch.setenv("STIFFNESS_RESULTS", str(tmp_path))
    monkeypatch.setattr(ensemble_training, "SAVE_EVERY", 0)

    class Stopped(Exception):
        pass

    save = ensemble_training.Training.save

    def stopping(self):
        save(self)
        if self.step == 120:
            raise Stopped

    monkeypatch.setattr(ensemble_training.Training, "save", stopping)
    with pytest.raises(Stopped):
        sweep.compute(ensemble, progress=False)
    monkeypatch.setattr(ensemble_training.Training, "save", save)
    steps = []
    original = ensemble_training.Training.check
    monkeypatch.setattr(ensemble_training.Training, "check", lambda self: (steps.append(self.step), original(self)))
    again = sweep.compute(ensemble, progress=False)
    assert steps == [140, 160, 180, 200]
    assert again.equals(table)
    assert not list(tmp_path.glob("*.saved"))


def test_a_member_that_diverges_does_not_stop_the_others():
    ensemble = Ensemble(**SMALL | {"optimizer": "sgd"}, learning_rates=(0.1, 1e30), conditions=("true labels",))
    table, facts = ensemble_training.train(ensemble, progress=False)
    assert table.loc[table["member"] == 1, "quantity"].tolist() == ["diverged"]
    assert (table["member"] == 0).sum() > 60
    check(table, ensemble, facts)


@pytest.mark.parametrize("damage, match", [
    (lambda table: table[table["quantity"] != "jacobian_norm"], "0 rows of jacobian_norm"),
    (lambda table: table[table["member"] != 1], "members .0, 2.; expected 3"),
    (lambda table: table[(table["member"] > 0) | (table["moment"] != "end")], "has the moments fitted; expected end"),
    (lambda table: table.assign(value=table["value"].where(table["quantity"] != "test_accuracy", 1.5)), "from 0 to 1"),
    (lambda table: table.assign(quantity=table["quantity"].replace("transitions", "turns")), "quantities turns"),
    (lambda table: table[table["decile"].isna() | (table["decile"] != 4)], "9 rows of error_by_norm"),
    (lambda table: table.assign(step=table["step"] + 1000), "at steps"),
    (lambda table: table.drop(columns="decile"), "its columns are"),
    (lambda table: pd.concat([table, table.iloc[:1]]), "rows twice"),
    (lambda table: table.assign(decile=table["decile"] + 1), "deciles are not those from 0 to 9"),
    (lambda table: table.assign(moment=table["moment"].replace("end", "last")), "has the moments .*last"),
])
def test_a_damaged_table_is_refused(stored, damage, match):
    ensemble, table = stored
    check(table, ensemble, table.attrs)
    damaged = damage(table)
    with pytest.raises(NotWhole, match=match):
        check(damaged, ensemble, table.attrs)


@pytest.mark.parametrize("wrong, match", [
    ({"network": "cnn-8"}, "network is 'cnn-8'; expected a fully connected network"),
    ({"activation": "gelu"}, "activation is 'gelu'; known are relu, hard_tanh"),
    ({"optimizer": "adamw"}, "optimizer is 'adamw'; known are adam, momentum, sgd"),
    ({"conditions": ("noise",)}, "conditions is 'noise'; known are true labels"),
    ({"learning_rates": ()}, "learning_rates is .*; expected one or more, each once"),
    ({"learning_rates": (0.1, -1)}, "learning_rates is .*; expected positive"),
    ({"batch_size": 2000}, "batch_size is 2000; expected None"),
    ({"probe_size": 2000}, "probe_size is 2000; expected at most train_size"),
    ({"points": 5}, "points is 5; expected at least 10"),
    ({"steps": 0}, "steps is 0; expected at least 1"),
])
def test_settings_that_make_no_sense(wrong, match):
    with pytest.raises(ValueError, match=match):
        Ensemble(**wrong)


def test_every_quantity_says_what_it_is():
    assert all(quantity.meaning for quantity in QUANTITIES.values())
    assert Ensemble().address.startswith("ensemble-mnist-fc-50-relu-adam-batch-50-seed0-")
    assert len(Ensemble(learning_rates=(0.1, 0.2)).members) == 6
    assert Ensemble(seed=1).address != Ensemble().address != Ensemble(batch_size=None).address
