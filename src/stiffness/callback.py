"""Stiffness measured during any `model.fit`."""

import keras
import numpy as np

from stiffness.gram import gradient_gram, step_of
from stiffness.measures import between_classes, class_stiffness, pandas_for, within_class


class StiffnessCallback(keras.callbacks.Callback):
    """Measures stiffness on a fixed probe set while a model trains (equations `class-stiffness`, `within`, `between`).

    Args:
        x, y: the probe set, for example 500 validation examples, balanced by class.
        labels: (n,) class indices. None means y, as indices or one-hot rows.
        num_classes: the number of classes Nc; None means the largest label + 1.
        steps: the optimizer steps at which to measure; 0 is before the first one. None means before training and after
            every epoch.
        loss, method: as in `gradient_gram`.

    `table` has one row per measured number: step, quantity, class_a, class_b (missing for summaries), value. The
    quantities are class_stiffness_KIND, within_class_KIND and between_classes_KIND, where KIND is sign or cosine. The
    newest summaries are also added to the logs of each epoch. `table` raises ImportError without pandas.

    With compile(steps_per_execution=k) Keras calls callbacks after every k-th step only; ValueError names steps that
    are not multiples of k. Subclasses may use `measure`, which returns the rows of one measurement, and `rows_of`,
    which makes them of its sign and cosine matrices.

    >>> import keras
    >>> import numpy as np
    >>> from stiffness import StiffnessCallback
    >>> keras.utils.set_random_seed(0)
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    >>> model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    >>> x, y = np.array([[1.0, 0.0], [1.0, 1.0], [-1.0, 0.0], [-1.0, 1.0]]), np.array([0, 0, 1, 1])
    >>> stiffness = StiffnessCallback(x, y)
    >>> _ = model.fit(x, y, epochs=2, verbose=0, callbacks=[stiffness])
    >>> sorted(set(stiffness.table.step))
    [0, 1, 2]
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
        """All measurements so far as a pandas data frame."""
        table = pandas_for("StiffnessCallback.table").DataFrame(
            self.rows, columns=["step", "quantity", "class_a", "class_b", "value"])
        return table.astype({"class_a": "Int16", "class_b": "Int16"})

    def measure(self):
        """The rows of one measurement: dictionaries of quantity, value and, for matrix entries, class_a and class_b."""
        gram = gradient_gram(self.model, self.x, self.y, loss=self.loss, method=self.method)
        return self.rows_of({"sign": gram.sign(), "cosine": gram.cosine()})

    def rows_of(self, stiffness):
        """The rows of one measurement from the stiffness of the probe examples: {"sign": (n, n), "cosine": (n, n)}."""
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
                             "compile it with a common divisor of the steps")
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
