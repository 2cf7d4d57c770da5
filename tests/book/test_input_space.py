"""Runs in input space: their settings, what they measure against plain definitions, and what a whole table is."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from stiffness import transitions
from stiffness_book import data, kinds, networks, store, sweep
from stiffness_book.sensitivity import input_space, near_data
from stiffness_book.sensitivity import input_space_training as training
from stiffness_book.sensitivity.input_space import DIFFERENT, DISTANCES, ONE, PATHS, RANDOM, InputSpace
from stiffness_book.table import NotWhole

TINY = {"dataset": "digits", "network": "fc-6-5", "steps": 40, "batch_size": 16, "train_size": 200, "triples": 2,
        "angles": 12, "grid": 10, "seed": 1}
PROVENANCE = {"class_names": [*"0123456789"], "super_classes": None, "split_sizes": {"train": 200, "validation": 597}}


@pytest.fixture(scope="module")
def computed():
    run = InputSpace(**TINY)
    return run, *training.train(run, progress=False)


@pytest.fixture(scope="module")
def untrained():
    """The tiny network before training, its training split and what measures it."""
    run = InputSpace(**TINY)
    dataset = data.standardise(data.load(run.dataset))
    split = data.training_examples(dataset, run.train_size, run.seed)
    model = networks.build(run, (8, 8, 1), 10)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return run, model, split, training.Measurement(model, run, split, dataset.validation)


# Settings

@pytest.mark.parametrize("changed, message", [
    ({"dataset": "glue/mnli"}, "dataset is 'glue/mnli'; known are mnist"),
    ({"network": "resnet"}, "network is 'resnet'; expected a kind and its layers' widths"),
    ({"optimizer": "lion"}, "optimizer is 'lion'; known are adam, sgd"),
    ({"learning_rate": 0}, "learning_rate is 0.0; expected a positive number"),
    ({"steps": 0}, "steps is 0; expected at least 1"),
    ({"angles": 20}, "angles is 20; expected a multiple of 6"),
    ({"grid": 5}, "grid is 5; expected 0 \\(no picture\\) or from 10"),
    ({"grid": 900}, "grid is 900"),
    ({"train_size": 3}, "train_size is 3; expected None"),
    ({"seed": -1}, "seed is -1; expected 0 or more"),
    ({"triples": 1.5}, "triples is 1.5; expected a whole number"),
])
def test_bad_settings_are_named_with_the_remedy(changed, message):
    with pytest.raises((TypeError, ValueError), match=message):
        InputSpace(**TINY | changed)


def test_it_is_a_kind_of_run():
    run = InputSpace(**TINY)
    assert kinds.from_settings(run.settings()) == run and run.settings()["kind"] == "input space"
    assert run.address.startswith("input-space-digits-fc-6-5-adam0.001-seed1-")
    assert InputSpace(**TINY | {"steps": 400}).cost > run.cost
    assert InputSpace(**TINY | {"learning_rate": 1e-3}).digest == run.digest


@pytest.mark.parametrize("changed, message", [
    ({"train_size": 5000}, "train_size is 5000; digits has 1200"),
    ({"train_size": 20, "batch_size": 10}, "0 of them with three training examples or more"),
])
def test_sizes_that_the_data_does_not_have(changed, message):
    with pytest.raises(ValueError, match=message):
        training.train(InputSpace(**TINY | changed), progress=False)


# Geometry

def test_an_ellipse_passes_through_its_points():
    points = np.random.default_rng(0).normal(size=(3, 4, 2))
    assert np.allclose(input_space.ellipse(points, [60, 180, 300]), points)
    angles = np.linspace(0, 360, 7)
    centre, u, v = points.mean(0), (points[0] - 2 * points[1] + points[2]) / 3, (points[0] - points[2]) / 3**0.5
    for angle, place in zip(angles, input_space.ellipse(points, angles)):
        assert np.allclose(place, centre + u * np.cos(angle * np.pi / 180) + v * np.sin(angle * np.pi / 180))


def test_a_plane_holds_its_points():
    points = np.random.default_rng(1).normal(size=(3, 4, 2))
    origin, directions = input_space.plane(points)
    flat = directions.reshape(2, -1)
    assert np.allclose(flat @ flat.T, np.eye(2))
    distances = [np.linalg.norm(point - origin) for point in points]
    assert np.allclose(distances, distances[0])  # on one circle
    places = input_space.in_plane(points)
    assert np.allclose(origin + distances[0] * (places @ flat).reshape(points.shape), points)
    assert np.allclose(places[0], [1, 0]) and np.allclose(np.linalg.norm(places, axis=1), 1)
    with pytest.raises(ValueError, match="lie on a line"):
        input_space.plane(np.array([[0.0, 0], [1, 1], [3, 3]]))


def test_a_grid_is_centred_on_the_circle():
    points = np.random.default_rng(2).normal(size=(3, 5))
    origin, directions = input_space.plane(points)
    cells = input_space.grid_points(points, range(4), 4)
    assert cells.shape == (4, 4, 5) and np.allclose(cells.mean(axis=(0, 1)), origin)
    radius = np.linalg.norm(points[0] - origin)
    first = origin - 0.75 * input_space.EXTENT * radius * directions.sum(axis=0)
    assert np.allclose(cells[0, 0], first)
    assert np.allclose(cells[0, 1] - cells[0, 0], input_space.EXTENT * radius / 2 * directions[0])


def test_rays_start_at_their_point_and_reach_so_far():
    points = np.random.default_rng(3).normal(size=(3, 5))
    paths, step = input_space.rays(points, 1)
    reach = (np.linalg.norm(points[1] - points[0]) + np.linalg.norm(points[1] - points[2])) / 2
    assert paths.shape[0] == input_space.RAYS and np.allclose(paths[:, 0], points[1])
    assert np.allclose(np.linalg.norm(paths[:, -1] - points[1], axis=1), 0.6 * reach)
    assert np.allclose(np.linalg.norm(np.diff(paths, axis=1), axis=2), step)
    assert np.linalg.matrix_rank(paths.reshape(-1, 5) - points[1], tol=1e-9) == 2


# Measurements, each against its plain definition

def test_triples_have_the_classes_that_they_say(untrained):
    run, _, split, _ = untrained
    points, labels = training.triples_of(split, run)
    again, _ = training.triples_of(split, run)
    assert all(np.array_equal(points[path], again[path]) for path in PATHS)
    for triple in range(run.triples):
        assert len(set(labels[DIFFERENT][triple])) == 3 and len(set(labels[ONE][triple])) == 1
        for path in (DIFFERENT, ONE):
            assert len(np.unique(points[path][triple].reshape(3, -1), axis=0)) == 3
            for point, label in zip(points[path][triple], labels[path][triple]):
                where = np.flatnonzero((split.inputs == point).all(axis=(1, 2, 3)))
                assert label in split.labels[where]
    assert abs(points[RANDOM].std() - 1) < 0.2


def plain_norm(model, x, softmax=True):
    x = tf.convert_to_tensor(x[None].astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(x)
        logits = model(x)
        output = tf.nn.softmax(logits) if softmax else logits - tf.reduce_mean(logits, axis=1, keepdims=True)
    return float(np.linalg.norm(tape.jacobian(output, x).numpy()))


def test_norms_along_an_ellipse(untrained, computed):
    _, model, _, measured = untrained
    table = computed[1]
    for path in PATHS:
        for name in ("norm", "logit_norm"):
            rows = table[(table["quantity"] == name) & (table["path"] == path) & (table["triple"] == 1)
                         & (table["step"] == 0)].sort_values("angle")
            assert rows["angle"].tolist() == [30 * k for k in range(12)]
            places = input_space.ellipse(measured.points[path][1], rows["angle"])
            plain = [plain_norm(model, place, name == "norm") for place in places]
            assert rows["value"].tolist() == pytest.approx(plain, rel=2e-3)


def plain_codes(model, x):
    found, outputs = [], x.reshape(1, -1).astype(float)
    for layer in (model.get_layer("layer_1"), model.get_layer("layer_2")):
        kernel, bias = (weight.numpy().astype(float) for weight in layer.weights)
        inputs = outputs @ kernel + bias
        found.append(inputs[0] > 0)
        outputs = np.maximum(inputs, 0)
    return np.concatenate(found)


def test_codes_are_those_of_the_definition(untrained):
    _, model, split, measured = untrained
    codes = measured.codes(split.inputs[:9])
    assert np.array_equal(codes, [plain_codes(model, x) for x in split.inputs[:9]])
    convolutional = networks.build(InputSpace(**TINY | {"network": "cnn-3-2"}), (8, 8, 1), 10)
    found = training.codes(convolutional)(split.inputs[:4])
    outputs = [np.asarray(convolutional.layers[0](split.inputs[:4]))]
    outputs.append(np.asarray(convolutional.layers[2](convolutional.layers[1](outputs[0]))))
    assert np.array_equal(found, np.concatenate([one.reshape(4, -1) > 0 for one in outputs], axis=1))


def test_transition_densities_add_up_to_the_closed_count(untrained, computed):
    """By the library too: at the same places, and exactly along the straight lines between them."""
    run, model, _, measured = untrained
    table, number = computed[1], TINY["angles"] * input_space.STEPS_BETWEEN
    for path in PATHS:
        rows = table[(table["quantity"] == "transitions") & (table["path"] == path) & (table["triple"] == 0)
                     & (table["step"] == 0)]
        counted = rows["value"].sum() * 2 * np.pi / run.angles
        places = input_space.ellipse(measured.points[path][0], 360 / number * np.arange(number))
        assert counted == pytest.approx(transitions(model, places))
        assert abs(counted - transitions(model, places, exact=True)) <= 0.05 * counted


def test_counts_on_rays(untrained, computed):
    _, model, _, measured = untrained
    table = computed[1]
    counts, length = np.zeros(len(DISTANCES)), 0
    for points in measured.points[ONE]:
        for corner in range(3):
            paths, step = input_space.rays(points, corner)
            for path in paths:
                codes = np.array([plain_codes(model, x.astype(np.float32)) for x in path])
                for at in range(len(DISTANCES)):
                    piece = codes[at * 10 : at * 10 + 11]
                    counts[at] += (piece[1:] != piece[:-1]).sum()
                length += 10 * step
    rows = table[(table["quantity"] == "ray_transitions") & (table["path"] == ONE) & (table["step"] == 0)]
    assert rows.sort_values("distance")["value"].to_numpy() == pytest.approx(counts / length, abs=1.01 / length)


def test_long_paths_are_counted_in_pieces(untrained, monkeypatch):
    _, _, _, measured = untrained
    path = input_space.ellipse(measured.points[RANDOM][0], np.arange(90))
    whole = measured.changes(path)
    monkeypatch.setattr(training, "AT_ONCE", 7)
    assert np.array_equal(measured.changes(path), whole) and len(whole) == 89


def test_regions_of_the_plane(untrained, computed):
    _, model, _, measured = untrained
    table = computed[1].assign(seed=1)
    points = measured.points[DIFFERENT][0]
    cells = input_space.grid_points(points, range(10), 10).reshape(100, 8, 8, 1).astype(np.float32)
    codes = [plain_codes(model, cell).tobytes() for cell in cells]
    shades = near_data.picture(table, "shade", near_data.BEFORE).ravel()
    regions = table[(table["quantity"] == "regions") & (table["step"] == 0)]["value"].item()
    assert regions == len(set(codes))
    for code in set(codes):  # one shade a region
        assert len({shade for shade, other in zip(shades, codes) if other == code}) == 1
    assert len(set(shades)) > 3
    classes = near_data.picture(table, "class", near_data.BEFORE).ravel()
    assert np.array_equal(classes, np.asarray(model(cells)).argmax(axis=1))


def test_what_is_stored_of_the_points(untrained, computed):
    measured = untrained[-1]
    table = computed[1].assign(seed=1)
    for path in PATHS:
        stored = near_data.first_ellipse(table, path, 1)
        assert np.allclose(stored, measured.points[path][0][..., 0])
    labels = [near_data.labels_of(table, DIFFERENT, triple, 1) for triple in range(2)]
    assert labels == measured.labels[DIFFERENT].tolist()
    around = input_space.ellipse(measured.points[ONE][0], np.linspace(0, 360, 5000)).reshape(5000, -1)
    length = np.linalg.norm(np.diff(around, axis=0), axis=1).sum()
    rows = table[(table["quantity"] == "length") & (table["path"] == ONE) & (table["triple"] == 0)]
    assert rows["value"].item() == pytest.approx(length, rel=1e-4)


def test_losses_are_of_all_examples(untrained, computed):
    _, model, split, _ = untrained
    rows = computed[1][computed[1]["step"] == 0].set_index("quantity")["value"]
    loss = keras.losses.sparse_categorical_crossentropy(split.labels, model(split.inputs), from_logits=True)
    assert rows["train_loss"] == pytest.approx(float(np.mean(loss)), rel=1e-5)
    trained = computed[1][computed[1]["step"] == 40].set_index("quantity")["value"]
    assert trained["train_loss"] < rows["train_loss"]


def test_rounding_keeps_three_digits():
    values = np.array([0, 1e-300, 1.23456789e-12, 0.333333, 7, 123456.789])
    rounded = training.rounded(values)
    assert rounded == pytest.approx(values, rel=2e-4)
    assert all(int(value.hex().split(".")[1].split("p")[0] or "0", 16) % 2**40 == 0 for value in rounded)


# Whole runs

def test_the_same_seed_gives_the_same_numbers(computed):
    run, table, facts = computed
    pd.testing.assert_frame_equal(training.train(run, progress=False)[0], table)
    assert facts["split_sizes"] == {"train": 200, "validation": 597} and facts["diverged"] is None


def test_a_stopped_run_goes_on_with_the_same_numbers(computed, results_folder, monkeypatch):
    run, table, _ = computed
    monkeypatch.setattr(training, "SAVE_EVERY", 0)
    monkeypatch.setattr(training, "STEPS_PER_EXECUTION", 10)
    save = store.Saved.save

    def save_and_stop(self, arrays, about):
        save(self, arrays, about)
        if about["step"] == 20:
            raise KeyboardInterrupt

    monkeypatch.setattr(store.Saved, "save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        training.train(run, progress=False, saved=store.Saved(run))
    monkeypatch.setattr(store.Saved, "save", save)
    starts = []
    batches = training.shuffled_batches
    monkeypatch.setattr(training, "shuffled_batches", lambda *a: starts.append(a[-1]) or batches(*a))
    went_on = training.train(run, progress=False, saved=store.Saved(run))[0]
    assert starts == [20]
    pd.testing.assert_frame_equal(went_on, table)


def test_a_run_is_stored_and_read(results_folder):
    run = InputSpace(**TINY | {"grid": 0, "steps": 10})
    sweep.compute(run, progress=False)
    table = store.load(store.path_of(run), run)
    assert "shade" not in set(table["quantity"]) and set(table["step"]) == {0, 10}


def test_divergence_is_told_with_the_remedy():
    with pytest.raises(FloatingPointError, match="training diverged; lower learning_rate, 1e"):
        training.train(InputSpace(**TINY | {"learning_rate": 1e30, "optimizer": "sgd"}), progress=False)


# Damaged tables

def damaged(table, how):
    def first(name):
        return table.index[table["quantity"] == name][0]

    changed = table.copy()
    if how == "lacks an angle":
        return changed.drop(index=first("norm"))
    if how == "twice":
        return pd.concat([changed, changed.loc[[first("regions")]]], ignore_index=True)
    column, name, value = how
    changed.loc[first(name), column] = value
    return changed


@pytest.mark.parametrize("how, message", [
    ("lacks an angle", "norm has 143 rows; expected 72 at each of 2 moments"),
    ("twice", "regions has rows twice"),
    (("value", "norm", -1.0), "norm is between -1 and"),
    (("value", "transitions", np.nan), "transitions is missing in 1 of"),
    (("value", "train_accuracy", 1.5), "train_accuracy is between"),
    (("angle", "norm", 31.0), "norm has the unknown angle 31.0"),
    (("path", "norm", "a straight line"), "norm has the unknown path a straight line"),
    (("path", "label", RANDOM), "label has the unknown path random points"),
    (("corner", "norm", 1), "norm has keys that it should not have"),
    (("distance", "ray_transitions", 0.5), "ray_transitions has the unknown distance 0.5"),
    (("value", "label", 10.0), "label is up to 10; there are 10 classes"),
    (("value", "shade", 99.0), "shade is between"),
    (("row", "class", 10), "class has the unknown row 10"),
    (("step", "input", 40), "input has 576 rows; expected 576 at each of 1 moments"),
    (("quantity", "norm", "speed"), "unknown quantities speed"),
    (("step", "norm", 7), "measured at steps \\[0, 7, 40\\]; expected 0 and 40"),
])
def test_a_damaged_table_is_refused(computed, how, message):
    run, table, _ = computed
    input_space.check(table, run, PROVENANCE)
    with pytest.raises(NotWhole, match=message):
        input_space.check(damaged(table, how), run, PROVENANCE)


def test_a_picture_that_was_not_asked_for_is_refused(computed):
    with pytest.raises(NotWhole, match="it has shade, which its settings do not ask for"):
        input_space.check(computed[1], InputSpace(**TINY | {"grid": 0}), PROVENANCE)
    run, table, _ = computed
    with pytest.raises(NotWhole, match="shade has 0 rows; expected 100 at each of 2 moments"):
        input_space.check(table[table["quantity"] != "shade"], run, PROVENANCE)
