"""Trains one experiment and measures it at its stages."""

import itertools
from math import gcd

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from tqdm import tqdm

from stiffness import data, models
from stiffness.callback import StiffnessCallback

FIXED_SET = 5000  # training examples on which the training loss of a stage is measured, in inference mode
STEPS_PER_EXECUTION = 50  # beyond this, longer executions are no faster


def train(experiment, *, progress=True):
    """Runs the experiment; returns its tidy table, and of its data the split sizes used and the class names.

    The table's columns are stage, step, target_loss (the stage loss that was awaited, else missing), quantity,
    class_a, class_b, value. Quantities: those of `StiffnessCallback`, and train_loss, train_accuracy (on a fixed
    subset of the training examples, with the labels that were trained on), validation_loss, validation_accuracy (on
    the whole validation split), all in inference mode. The same seed gives the same numbers on one machine.
    """
    dataset = data.standardise(data.load(experiment.dataset), unit_length=experiment.unit_length)
    train_split = _training_examples(dataset.train, experiment)
    keras.utils.set_random_seed(experiment.seed)
    model = models.build(experiment, dataset.train.inputs.shape[1:], dataset.num_classes)
    recorder = StageRecorder(experiment, dataset, train_split, progress)
    model.compile(
        optimizer=keras.optimizers.get({"class_name": experiment.optimizer,
                                        "config": {"learning_rate": experiment.learning_rate}}),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=_steps_per_execution(experiment),
    )
    batches = shuffled_batches(train_split, experiment.batch_size, experiment.seed)
    # one Keras epoch of all steps: the passes over the data are the pipeline's
    model.fit(batches, epochs=1, steps_per_epoch=_last_step(experiment), callbacks=[recorder],
              shuffle=False, verbose=0)
    return recorder.table, {
        "split_sizes": {"train": len(train_split), "validation": len(dataset.validation)},
        "class_names": list(dataset.class_names),
    }


def shuffled_batches(split, batch_size, seed):
    """An endless pipeline of (inputs, labels) batches; each pass over the data has a fresh order, fixed by the seed.

    The order is a pure function of seed and pass, so it depends on nothing that ran before. A last batch that would
    not be full is left out; as the order is fresh, no example is left out for good.
    """
    batches = len(split) // batch_size
    if batches == 0:
        raise ValueError(f"batch_size is {batch_size}; expected at most the {len(split)} training examples")

    def orders():
        for epoch in itertools.count():
            order = np.random.default_rng([seed, epoch]).permutation(len(split))
            yield order[: batches * batch_size].reshape(batches, batch_size)

    inputs, labels = tf.constant(split.inputs), tf.constant(split.labels)
    return (tf.data.Dataset.from_generator(orders, output_signature=tf.TensorSpec((batches, batch_size), tf.int64))
            .unbatch()
            .map(lambda chosen: (tf.gather(inputs, chosen), tf.gather(labels, chosen)))
            .prefetch(tf.data.AUTOTUNE))


class StageRecorder(StiffnessCallback):
    """Measures the stages of an experiment: stiffness on the probe set, and losses and accuracies."""

    def __init__(self, experiment, dataset, train_split, progress):
        probe = dataset.validation.take(
            data.probe_indices(dataset.validation.labels, experiment.probe_size, experiment.probe_seed))
        super().__init__(probe.inputs, probe.labels, num_classes=dataset.num_classes, steps=experiment.stages)
        rng = np.random.default_rng(experiment.probe_seed)
        size = min(FIXED_SET, len(train_split))
        self.splits = {"train": train_split.take(np.sort(rng.choice(len(train_split), size, replace=False))),
                       "validation": dataset.validation}
        self.awaited = list(experiment.stage_losses)
        self.check_every = experiment.check_every
        self.last_step = max(experiment.stages, default=0)
        self.bar = tqdm(total=_last_step(experiment), desc=experiment.address, unit="step", disable=not progress)

    @property
    def table(self):
        table = pd.DataFrame(self.rows).astype({"class_a": "Int16", "class_b": "Int16"})
        table["target_loss"] = table.get("target_loss", pd.Series(np.nan, table.index)).astype(float)
        table["stage"] = table["step"].rank(method="dense").astype(int) - 1
        return table[["stage", "step", "target_loss", "quantity", "class_a", "class_b", "value"]]

    def measure(self):
        rows = super().measure()
        for name, split in self.splits.items():
            loss, accuracy = _evaluate(self.model, split)
            rows += [{"quantity": f"{name}_loss", "value": loss}, {"quantity": f"{name}_accuracy", "value": accuracy}]
        return rows

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        step = self._step()
        self.bar.update(step - self.bar.n)
        if self.awaited and step % self.check_every == 0:
            loss, _ = _evaluate(self.model, self.splits["train"])
            while self.awaited and loss <= self.awaited[0]:
                target = self.awaited.pop(0)
                self.rows += [{"step": step, "target_loss": target, **row} for row in self.measure()]
        if not self.awaited and step >= self.last_step:
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        self.bar.close()


def _training_examples(split, experiment):
    if experiment.train_size is not None:
        if experiment.train_size > len(split):
            raise ValueError(f"train_size is {experiment.train_size}; {experiment.dataset} has {len(split)}")
        split = split.take(data.probe_indices(split.labels, experiment.train_size, experiment.seed))
    labels = data.permute_labels(split.labels, experiment.permuted_fraction, experiment.seed)
    return data.Split(split.inputs, labels)


def _last_step(experiment):
    last = experiment.max_steps if experiment.stage_losses else 0
    return max(last, *experiment.stages, 1)


def _steps_per_execution(experiment):
    """The longest execution that ends at every moment at which something is measured."""
    moments = [*experiment.stages, *([experiment.check_every, experiment.max_steps] if experiment.stage_losses else [])]
    common = gcd(*moments) or 1
    return max(k for k in range(1, min(common, STEPS_PER_EXECUTION) + 1) if common % k == 0)


def _evaluate(model, split):
    """Mean loss and accuracy in inference mode."""
    logits = model.predict(split.inputs, batch_size=1000, verbose=0)
    loss = keras.losses.sparse_categorical_crossentropy(split.labels, logits, from_logits=True)
    return float(np.mean(loss)), float(np.mean(logits.argmax(axis=1) == split.labels))
