"""Trains one network and measures how its output moves with its input, before and after."""

import time

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from tqdm import tqdm

from stiffness import jacobian_norm
from stiffness_book import data, networks
from stiffness_book.sensitivity.input_space import (
    COLUMNS,
    CORNERS,
    DIFFERENT,
    DISTANCES,
    ONE,
    RANDOM,
    RAY_STEPS,
    SHADES,
    STEPS_BETWEEN,
    angles_of,
    ellipse,
    grid_points,
    rays,
)
from stiffness_book.training import SAVE_EVERY, shuffled_batches

STEPS_PER_EXECUTION = 50
AT_ONCE = 1000  # examples in one pass
SMALL_LOGITS = 2.0**-20  # so small that the softmax is at its middle, where it is linear; a power of 2 rounds nothing
BINARY_DIGITS = 12  # of a stored norm, so that files are small: an error of one in 8,000
MEMORY = "64MB"  # for the Jacobians of many inputs at a time, without the activations of the pass


def train(run, *, progress=True, saved=None):
    """Trains and measures; returns the tidy table, described in `sensitivity.input_space`, and what is told of the data
    beside it, as `training.train` does.

    saved: a `store.Saved`, where a long training keeps its weights from time to time, and from which it goes on; its
    numbers are the same in both cases.

    Raises ValueError for sizes that the data does not have, FloatingPointError where training diverges.
    """
    dataset = data.standardise(data.load(run.dataset))
    split = data.training_examples(dataset, run.train_size, run.seed)
    model = networks.build(run, split.inputs.shape[1:], dataset.num_classes)
    model.compile(
        optimizer=keras.optimizers.get({"class_name": run.optimizer, "config": {"learning_rate": run.learning_rate}}),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"],
        steps_per_execution=next(k for k in range(STEPS_PER_EXECUTION, 0, -1) if run.steps % k == 0))
    measured = Measurement(model, run, split, dataset.validation)
    rows = measured.fixed_rows() + measured.rows(0)  # of a run that goes on too: its first weights are built anew
    _fit(model, run, split, progress, saved)
    rows += measured.rows(run.steps)
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS), {
        "diverged": None,
        "unreached": [],
        "split_sizes": {"train": len(split), "validation": len(dataset.validation)},
        "class_names": list(dataset.class_names),
        "super_classes": dataset.super_names and [dataset.super_names[index] for index in dataset.super_labels],
    }


def triples_of(split, run):
    """{kind of path: (triples, 3, ...) points} and {kind: (triples, 3) their labels}, the same for the same seed.

    Random points are noise with the mean and the variance of the standardised inputs.
    """
    rng = np.random.default_rng([run.seed, 2])
    classes, counts = np.unique(split.labels, return_counts=True)
    full = classes[counts >= 3]
    if len(classes) < 3 or not len(full):
        raise ValueError(f"{run.dataset} has {len(classes)} classes, {len(full)} of them with three training examples "
                         "or more; expected three classes, and one such class: raise train_size")
    chosen = {DIFFERENT: [], ONE: []}
    for _ in range(run.triples):
        chosen[DIFFERENT].append([rng.choice(np.flatnonzero(split.labels == c)) for c in rng.choice(classes, 3, False)])
        chosen[ONE].append(rng.choice(np.flatnonzero(split.labels == rng.choice(full)), 3, replace=False))
    noise = rng.normal(size=(run.triples, 3, *split.inputs.shape[1:])).round(2).astype(np.float32)
    return ({RANDOM: noise, **{kind: split.inputs[np.array(which)] for kind, which in chosen.items()}},
            {kind: split.labels[np.array(which)] for kind, which in chosen.items()})


class Measurement:
    """Measures the model as it is at the moment."""

    def __init__(self, model, run, split, validation):
        self.model, self.run, self.splits = model, run, {"train": split, "validation": validation}
        self.points, self.labels = triples_of(split, run)
        self.codes = codes(model)
        self.small = keras.Model(model.inputs, [model.outputs[0] * SMALL_LOGITS])

    def fixed_rows(self):
        """Rows of what training does not change."""
        rows = []
        for path, of_path in self.points.items():
            for triple, points in enumerate(of_path):
                along = ellipse(points, np.arange(0, 360, 0.25)).reshape(1440, -1)
                length = np.linalg.norm(along - np.roll(along, 1, axis=0), axis=1).sum()
                rows.append({"quantity": "length", "path": path, "triple": triple, "value": length})
        rows += [{"quantity": "label", "path": path, "triple": triple, "corner": corner, "value": label}
                 for path, labels in self.labels.items() for (triple, corner), label in np.ndenumerate(labels)]
        rows += [{"quantity": "input", "path": path, "corner": corner, "row": row, "column": column, "value": value}
                 for path, of_path in self.points.items()
                 for (corner, row, column), value in np.ndenumerate(of_path[0].reshape(3, of_path.shape[2], -1))]
        return [{"step": 0, **row} for row in rows]

    def rows(self, step):
        """Rows of what training changes."""
        rows = self.loss_rows() + self.along_rows() + self.ray_rows()  # losses tell of divergence
        if self.run.grid:
            rows += self.picture_rows()
        return [{"step": step, **row} for row in rows]

    def along_rows(self):
        """The norms at the angles of each ellipse, and the changes of the code between them."""
        rows, angles = [], angles_of(self.run)
        number = len(angles) * STEPS_BETWEEN
        fine = np.arange(number + 1) * 360 / number
        for path, of_path in self.points.items():
            places = np.concatenate([ellipse(points, angles) for points in of_path]).astype(np.float32)
            changes = [self.changes(ellipse(points, fine)).reshape(-1, STEPS_BETWEEN).sum(axis=1) for points in of_path]
            found = {"norm": rounded(self.norms(self.model, places)), "logit_norm": rounded(self.logit_norms(places)),
                     "transitions": np.concatenate(changes) * len(angles) / (2 * np.pi)}
            for name, values in found.items():
                rows += [{"quantity": name, "path": path, "triple": triple, "angle": angles[at], "value": value}
                         for (triple, at), value in np.ndenumerate(values.reshape(-1, len(angles)))]
        return rows

    def norms(self, model, inputs):
        return jacobian_norm(model, inputs, from_logits=True, memory_budget=MEMORY)

    def logit_norms(self, inputs):
        """The Jacobian norm of the logits less their mean: of the probabilities that very small logits give, of which
        the softmax is 1 / classes times these."""
        return self.norms(self.small, inputs) * self.model.output_shape[1] / SMALL_LOGITS

    def changes(self, path):
        """(k - 1,): by how many units the codes of neighbouring points of a path (k, ...) differ."""
        path = path.astype(np.float32)
        pieces = [self.codes(path[start : start + AT_ONCE + 1]) for start in range(0, len(path) - 1, AT_ONCE)]
        return np.concatenate([(piece[1:] != piece[:-1]).sum(axis=1) for piece in pieces])

    def ray_rows(self):
        """Changes of the code per unit of length around the points of each kind, by their distance."""
        rows = []
        for path, of_path in self.points.items():
            counts, lengths = np.zeros(len(DISTANCES)), 0.0
            for points in of_path:
                for corner in range(len(CORNERS)):
                    paths, step = rays(points, corner)
                    for one in paths:
                        counts += self.changes(one).reshape(-1, RAY_STEPS).sum(axis=1)
                        lengths += RAY_STEPS * step
            rows += [{"quantity": "ray_transitions", "path": path, "distance": distance, "value": value}
                     for distance, value in zip(DISTANCES, counts / lengths)]
        return rows

    def loss_rows(self):
        rows = []
        for name, split in self.splits.items():
            for measure, value in zip(("loss", "accuracy"),
                                      self.model.evaluate(split.inputs, split.labels, batch_size=AT_ONCE, verbose=0)):
                if not np.isfinite(value):
                    raise FloatingPointError(f"the {name} loss is {value}: training diverged; lower learning_rate, "
                                             f"{self.run.learning_rate:g}")
                rows.append({"quantity": f"{name}_{measure}", "value": value})
        return rows

    def picture_rows(self):
        """The linear regions and the classes of the plane through the first three examples of different classes."""
        size, points = self.run.grid, self.points[DIFFERENT][0]
        regions, classes = [], []
        for row in range(size):
            inputs = grid_points(points, [row], size)[0].astype(np.float32)
            regions.append(np.packbits(self.codes(inputs), axis=1))
            classes.append(np.asarray(self.model(inputs, training=False)).argmax(axis=1))
        region = np.unique(np.concatenate(regions), axis=0, return_inverse=True)[1].reshape(size, size)
        shades = np.random.default_rng([self.run.seed, 3]).integers(SHADES, size=region.max() + 1)
        return [{"quantity": "regions", "value": region.max() + 1},
                *({"quantity": name, "row": row, "column": column, "value": value}
                  for name, cells in (("shade", shades[region]), ("class", np.array(classes)))
                  for (row, column), value in np.ndenumerate(cells))]


def codes(model):
    """A function of inputs (k, ...) that gives (k, units): whether the output of each ReLU of a network from
    `networks.build` is positive, as it is where the unit's input is."""
    outputs = [layer.output for layer in model.layers
               if getattr(layer, "activation", None) is keras.activations.relu]
    units = keras.Model(model.inputs, outputs)

    @tf.function(input_signature=[tf.TensorSpec(model.input_shape)])
    def positive(inputs):
        found = units(inputs, training=False)
        found = found if isinstance(found, list | tuple) else [found]
        return tf.concat([tf.reshape(one, (tf.shape(inputs)[0], -1)) > 0 for one in found], axis=1)

    return lambda inputs: positive(inputs).numpy()


def rounded(values):
    """The values with so many binary digits."""
    digits, exponents = np.frexp(values)
    return np.ldexp(np.round(digits * 2**BINARY_DIGITS) / 2**BINARY_DIGITS, exponents)


def _fit(model, run, split, progress, saved):
    """Trains for so many steps, or for those that are left."""
    training = _Training(model, run, progress, saved)
    start = training.resume()
    if start < run.steps:  # one Keras epoch of all steps: the passes over the data are the pipeline's
        model.fit(shuffled_batches(split, run.batch_size, run.seed, start), epochs=1, steps_per_epoch=run.steps - start,
                  callbacks=[training], shuffle=False, verbose=0)


class _Training(keras.callbacks.Callback):
    """Shows how far the training is, and saves its weights from time to time."""

    def __init__(self, model, run, progress, saved):
        super().__init__()
        self.trained, self.saved, self.saved_at = model, saved, time.monotonic()
        self.bar = tqdm(total=run.steps, desc=run.address, unit="step", disable=not progress)

    @property
    def variables(self):
        return self.trained.variables + self.trained.optimizer.variables

    def resume(self):
        """Goes on from what was saved, if anything was, and returns the step."""
        found = self.saved.load() if self.saved else None
        if found is None:
            return 0
        arrays, facts = found
        self.trained.optimizer.build(self.trained.trainable_variables)
        for variable, value in zip(self.variables, arrays, strict=True):
            variable.assign(value)
        self.bar.update(facts["step"])
        return facts["step"]

    def on_train_batch_end(self, batch, logs=None):
        step = int(self.trained.optimizer.iterations)
        self.bar.update(step - self.bar.n)
        if self.saved and time.monotonic() - self.saved_at > SAVE_EVERY:
            self.saved.save([np.asarray(variable) for variable in self.variables], {"step": step})
            self.saved_at = time.monotonic()

    def on_train_end(self, logs=None):
        self.bar.close()
