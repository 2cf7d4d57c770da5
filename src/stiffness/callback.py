"""Stiffness measured during any `model.fit`."""

import inspect
import re

import keras
import numpy as np

from stiffness.engine.examples import examples_of
from stiffness.engine.losses import loss_name
from stiffness.gram import gradient_gram, step_of
from stiffness.measures import between_classes, class_indices, class_stiffness, pandas_for, within_class

# losses of numbers, and part of the names of those of classes
REGRESSIONS = {"mean_squared_error", "mean_absolute_error", "mean_absolute_percentage_error",
               "mean_squared_logarithmic_error", "huber", "log_cosh", "poisson", "cosine_similarity"}
CLASSIFICATION = re.compile("crossentropy|hinge|kl_divergence")
COLUMNS = ["step", "quantity", "class_a", "class_b", "layer", "value"]


class StiffnessCallback(keras.callbacks.Callback):
    """Measures stiffness on a fixed probe set while a model trains (equations `class-stiffness`, `within`, `between`).

    Args:
        x, y: the probe set, for example 500 validation examples, balanced by class; whatever `gradient_gram` takes.
        labels: (n,) class indices or one-hot rows. None means y, if it gives each example one class: not the numbers of
            a regression, nor several labels.
        num_classes: the number of classes Nc; None means the largest label + 1.
        steps: the optimizer steps at which to measure; 0 is before the first one. None means before training and after
            every epoch.
        per_layer: whether to record each layer's share of the trace of the Gram matrix.
        loss, method, memory_budget: as in `gradient_gram`.

    `table` has one row per measured number: step, quantity, class_a, class_b, layer (missing where a quantity has
    none), value. The quantities, where KIND is sign or cosine:

    - class_stiffness_KIND, within_class_KIND and between_classes_KIND;
    - instead of these all_pairs_KIND, the mean over all pairs of different examples, where an example has no single
      class, as in a regression or in a sequence with a label at each position;
    - layer_share, each layer's share, with per_layer.

    The newest numbers without class and layer are also added to the logs of each epoch, for all callbacks of the fit.
    `table` raises ImportError without pandas. A later `fit` goes on counting the steps.

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

    def __init__(self, x, y=None, *, labels=None, num_classes=None, steps=None, per_layer=False, loss=None,
                 method="auto", memory_budget=2 * 2**30):
        super().__init__()
        self.x, self.y, self.labels = x, y, labels
        self.num_classes = num_classes
        self.steps = None if steps is None else set(steps)
        self.per_layer = per_layer
        self.loss, self.method, self.memory_budget = loss, method, memory_budget
        self.rows = []
        self._before = 0  # steps of optimizers that were replaced by a later `compile`
        self._read = False

    @property
    def table(self):
        """All measurements so far as a pandas data frame."""
        table = pandas_for("StiffnessCallback.table").DataFrame(self.rows, columns=COLUMNS)
        return table.astype({"class_a": "Int16", "class_b": "Int16"})

    def set_model(self, model):
        super().set_model(model)
        if self._read:
            return
        self.x, self.y = examples_of("x", self.x, "y", self.y, model)  # a data set is read once
        n = len(keras.tree.flatten(self.x)[0])
        if self.labels is not None:
            self.labels = class_indices("labels", self.labels, n)
        elif not isinstance(self.y, list | tuple | dict):
            self.labels = self._classes(n)
        self._read = True

    def _classes(self, n):
        """(n,): the class of each example by its label, or None where labels are not single classes."""
        try:
            labels = class_indices("y", self.y, n)
        except ValueError:
            return None
        loss = getattr(self.model, "loss", None) if self.loss is None else self.loss
        name = loss_name(loss) if isinstance(loss, str) or callable(loss) else ""
        if np.ndim(self.y) > 1 and np.shape(self.y)[1] > 1:  # one-hot, or a sequence of labels
            outputs = getattr(self.model, "output_shape", None)
            return None if isinstance(outputs, tuple) and outputs[1:] != np.shape(self.y)[1:] else labels
        numbers = name in REGRESSIONS or not (CLASSIFICATION.search(name) or labels.max() < n)
        return None if numbers and self.num_classes is None else labels

    def measure(self):
        """The rows of one measurement: dictionaries of quantity, value and, where it has them, class_a, class_b, layer.
        """
        gram = gradient_gram(self.model, self.x, self.y, loss=self.loss, method=self.method,
                             memory_budget=self.memory_budget)
        rows = self.rows_of({"sign": gram.sign(), "cosine": gram.cosine()})
        if self.per_layer:
            rows += [{"quantity": "layer_share", "layer": layer, "value": share}
                     for layer, share in gram.shares.items()]
        return rows

    def rows_of(self, stiffness):
        """The rows of one measurement from the stiffness of the probe examples: {"sign": (n, n), "cosine": (n, n)}."""
        rows = []
        for kind, s in stiffness.items():
            if self.labels is not None:
                C = class_stiffness(s, self.labels, num_classes=self.num_classes)
                rows += [{"quantity": f"class_stiffness_{kind}", "class_a": a, "class_b": b, "value": C[a, b]}
                         for a, b in np.ndindex(*C.shape)]
                rows.append({"quantity": f"within_class_{kind}", "value": within_class(C)})
                rows.append({"quantity": f"between_classes_{kind}", "value": between_classes(C)})
            else:
                rows.append({"quantity": f"all_pairs_{kind}",
                             "value": float(class_stiffness(s, np.zeros(len(s), int))[0, 0])})
        return rows

    def on_train_begin(self, logs=None):
        self._go_first()
        every, batches = self.model.steps_per_execution, self._batches_of_a_step()
        # steps during which no execution ends
        missed = sorted(step for step in self.steps or ()
                        if -(-step * batches // every) * every >= (step + 1) * batches)
        if missed:
            raise ValueError(f"steps {missed} are no multiples of the model's steps_per_execution, {every}; "
                             "compile it with a common divisor of the steps")
        last = self.rows[-1]["step"] if self.rows else None
        if last is not None and step_of(self.model) + self._before < last:
            self._before = last
        step = self._step()
        if step != last and (self.steps is None or step in self.steps):
            self._record(step)

    def _go_first(self):
        """Puts this callback before the others of the fit, so that loggers among them find its numbers in the logs."""
        frame = inspect.currentframe()
        while frame is not None:
            caller = frame.f_locals.get("self")
            if isinstance(caller, keras.callbacks.CallbackList) and self in caller.callbacks:
                caller.callbacks = [self, *[other for other in caller.callbacks if other is not self]]
                return
            frame = frame.f_back

    def _batches_of_a_step(self):
        """How many batches' gradients the optimizer accumulates for one step of the weights."""
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        return optimizer.gradient_accumulation_steps or 1

    def on_train_batch_end(self, batch, logs=None):
        step = self._step()
        if self.steps is not None and step in self.steps and not (self.rows and self.rows[-1]["step"] == step):
            self._record(step)

    def on_epoch_end(self, epoch, logs=None):
        if self.steps is None:
            self._record(self._step())
        if logs is not None and self.rows:
            logs.update({row["quantity"]: row["value"] for row in self.rows if not {"class_a", "layer"} & row.keys()})

    def _step(self):
        return self._before + step_of(self.model)

    def _record(self, step):
        self.rows += [{"step": step, **row} for row in self.measure()]
