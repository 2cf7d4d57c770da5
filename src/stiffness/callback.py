"""Stiffness inside any `model.fit`."""

import keras
import numpy as np

from stiffness.gram import gradient_gram, step_of
from stiffness.measures import between_classes, class_stiffness, pandas_for, within_class


class StiffnessCallback(keras.callbacks.Callback):
    """Measures stiffness on a fixed probe set while a model trains.

    x, y: the probe set, such as 500 validation examples, class-balanced. labels: (n,) class indices; None reads them
    from y (indices, or one-hot rows). steps: the optimiser steps to measure at, 0 being before the first one; None
    measures at the start and after every epoch. loss, method: as in `gradient_gram`.

    `table` holds a row for each measured number: step, quantity, class_a, class_b (missing for summaries), value.
    Quantities are class_stiffness_KIND, within_class_KIND and between_classes_KIND, KIND being sign or cosine.
    After an epoch the newest summaries are in its logs too. With compile(steps_per_execution=k) Keras reports every
    k-th step; steps that are no multiple of k are an error. Other callbacks may subclass this one: `measure` returns
    the rows of one stage, by `rows_of` its sign and cosine matrices.
    """

    def __init__(self, x, y, *, labels=None, num_classes=None, steps=None, loss=None, method="auto"):
        super().__init__()
        self.x, self.y = x, y
        labels = np.asarray(y if labels is None else labels)
        self.labels = labels.argmax(axis=1) if labels.ndim == 2 and labels.shape[1] > 1 else labels.reshape(-1)
        self.num_classes = num_classes
        self.steps = None if steps is None else set(steps)
        self.loss, self.method = loss, method
        self.rows = []

    @property
    def table(self):
        table = pandas_for("StiffnessCallback.table").DataFrame(
            self.rows, columns=["step", "quantity", "class_a", "class_b", "value"])
        return table.astype({"class_a": "Int16", "class_b": "Int16"})

    def measure(self):
        """The rows of this moment: dictionaries of quantity, value, and for matrix entries class_a and class_b."""
        gram = gradient_gram(self.model, self.x, self.y, loss=self.loss, method=self.method)
        return self.rows_of({"sign": gram.sign(), "cosine": gram.cosine()})

    def rows_of(self, stiffness):
        """The rows of a moment's stiffness between the probe examples: {"sign": (n, n), "cosine": (n, n)}."""
        rows = []
        for kind, s in stiffness.items():
            C = class_stiffness(s, self.labels, num_classes=self.num_classes)
            rows += [{"quantity": f"class_stiffness_{kind}", "class_a": a, "class_b": b, "value": C[a, b]}
                     for a, b in np.ndindex(*C.shape)]
            rows.append({"quantity": f"within_class_{kind}", "value": within_class(C)})
            rows.append({"quantity": f"between_classes_{kind}", "value": between_classes(C)})
        return rows

    def on_train_begin(self, logs=None):
        every = self.model.steps_per_execution
        missed = sorted(step for step in self.steps or () if step % every)
        if missed:
            raise ValueError(f"steps {missed} are no multiples of the model's steps_per_execution, {every}; "
                             "compile it with a common divisor")
        if self.steps is None or 0 in self.steps:
            self._record(0)

    def on_train_batch_end(self, batch, logs=None):
        step = self._step()
        if self.steps is not None and step in self.steps:
            self._record(step)

    def on_epoch_end(self, epoch, logs=None):
        if self.steps is None:
            self._record(self._step())
        if logs is not None and self.rows:
            logs.update({row["quantity"]: row["value"] for row in self.rows if "class_a" not in row})

    def _step(self):
        return step_of(self.model)

    def _record(self, step):
        self.rows += [{"step": step, **row} for row in self.measure()]
