"""The loss of each example, with the meaning that a loss has in `compile`: that of a batch of this example alone."""

import logging

import keras
import numpy as np
from keras import ops

from stiffness.engine.backend import backend
from stiffness.engine.examples import NotFinite, take, to_numpy
from stiffness.engine.keras_private import (
    StructuredLoss,
    attach_logits,
    attached_logits,
    compiled_weights,
    compute_loss,
    get_keras_mask,
    get_loss,
    loss_settings,
    overrides_compute_loss,
    set_keras_mask,
    unreduced,
)
from stiffness.engine.taps import is_float

BY_SHAPE = ("crossentropy", "ce")  # which of the cross-entropies depends on the labels

log = logging.getLogger(__name__)


class Losses:
    """values(x, y, prediction): (n,) losses. loss: as given to `compile`; None: the compiled one.

    Keras's own losses are computed in double precision, whatever the precision of the model; not with JAX, which has
    none by default.
    """

    def __init__(self, model, loss):
        self.model, self.weights = model, None
        self.whole = loss is None and overrides_compute_loss(model)  # one function of x, y and the prediction
        if loss is None and not self.whole:
            loss, self.weights = getattr(model, "loss", None), compiled_weights(model)
            if loss is None:
                raise ValueError("model is not compiled with a loss and none is given; pass loss=, such as "
                                 "keras.losses.SparseCategoricalCrossentropy(from_logits=True)")
        self.parts = []  # of each loss function, in the order of `loss`
        if not self.whole:
            parts = keras.tree.map_structure(lambda one: None if one is None else self._part(one), loss)
            self.double = bool(self.parts) and all(part.double for part in self.parts)
            self._structured = StructuredLoss(parts, self.weights, getattr(model, "output_names", None),
                                              "float64" if self.double else keras.config.floatx())
        else:
            self.double = False

    def _part(self, loss):
        if not callable(loss) and not isinstance(loss, str):
            raise TypeError(f"loss is of type {type(loss).__name__}; expected a Keras loss, its name, a function of "
                            "(y_true, y_pred), or a list or dictionary of these, one for each output")
        self.parts.append(_Part(loss))
        return self.parts[-1]

    @property
    def from_keras(self):
        """Whether all code of the loss is Keras's own."""
        return not self.whole and all(part.from_keras for part in self.parts)

    def values(self, x, y, prediction):
        if self.whole:
            return backend.map_examples(
                lambda one: ops.sum(compute_loss(self.model, *keras.tree.map_structure(lambda t: t[None], one))),
                keras.tree.map_structure(ops.convert_to_tensor, (x, y, prediction)))
        return self._visited(lambda part, y_true, y_pred: part.values(y_true, y_pred), y, prediction)

    def _visited(self, visit, y, prediction):
        """The weighted sum of visit(part, y_true, y_pred)."""
        for part in self.parts:
            part.visit = visit
        return self._structured(y, prediction)

    def pairs(self, y, prediction):
        """[(part, y_true, y_pred)]: which labels and which output belong to which loss function."""
        single = not keras.tree.is_nested(y) and not keras.tree.is_nested(prediction)
        if single and len(self.parts) == 1:  # the usual case, without the search for the structure
            return [(self.parts[0], y, prediction)]
        found = []

        def visit(*pair):
            if not hasattr(pair[1], "dtype"):
                raise ValueError(f"labels {keras.tree.map_structure(np.shape, y)}, outputs "
                                 f"{keras.tree.map_structure(lambda part: tuple(part.shape), prediction)}")
            found.append(pair)
            return ops.zeros(())

        try:
            if not self.whole:
                self._visited(visit, y, prediction)
        except (KeyError, ValueError, TypeError) as error:
            raise ValueError("loss, labels and the model's outputs do not have the same structure: "
                             f"{error.args[0] if error.args else error}") from error
        return found

    def at_outputs(self, x, y, prediction):
        """(losses, outputs, gradients): the losses and their gradients (n, *shape) with respect to each model output.

        Where a model is very confident of the label, p - 1 is a rounding error, and so is the sign of all that follows.
        The entries p of the other classes are accurate, and a cross-entropy's gradient with respect to the logits sums
        to zero, so the entry of the label is minus their sum.
        """
        parts = [part for part in keras.tree.flatten(prediction) if is_float(part)]
        logits = [attached_logits(part) for part in parts]
        outputs = list({id(part): part for part in [*parts, *logits] if part is not None}.values())

        def losses_of(replacements):
            replacements = dict(zip(map(id, outputs), replacements))
            return self.values(x, y, replaced(prediction, lambda part: replacements[id(part)]))

        start = [ops.cast(ops.stop_gradient(output), "float64" if self.double else output.dtype) for output in outputs]
        losses, found = backend.loss_gradients(losses_of, start)
        found = dict(zip(map(id, outputs), found))
        used = [(part, labels, part.softmax_logits(output)) for part, labels, output in self.pairs(y, prediction)]
        for part, labels, output in used:
            if output is not None and sum(output is other for _, _, other in used) == 1:
                found[id(output)] = part.summing_to_zero(labels, found[id(output)])
        return losses, outputs, [ops.stop_gradient(found[id(output)]) for output in outputs]

    def check_labels(self, name, y, prediction):
        """Raises for labels that do not fit the loss, before it fails or returns NaN somewhere inside."""
        for part, labels, output in self.pairs(y, prediction):
            part.check_labels(name, labels, output)

    def check(self, x, y, prediction, places, x_name):
        """Raises for a loss that compares examples with each other or uses the weights. A few examples suffice.

        places: where the examples stand in x, for error messages."""
        def repeated(nest):  # so that losses of pairs or triplets find some of the same class
            return keras.tree.map_structure(lambda part: ops.concatenate([part, part], axis=0), nest)

        n = len(keras.tree.flatten(prediction)[0])
        together = to_numpy(self.values(*keras.tree.map_structure(repeated, (x, y, prediction))))
        check_finite(together[:n], None, places, x_name)
        alone = [self.values(*take((x, y, prediction), slice(i, i + 1))) for i in range(n)]
        alone = np.concatenate([to_numpy(value) for value in alone])
        if not np.allclose(together[:n], alone, rtol=1e-3, atol=1e-6):
            k = int(np.argmax(np.abs(together[:n] - alone)))
            raise ValueError(f"the loss of example {places[k]} is {together[k]:g} beside other examples and "
                             f"{alone[k]:g} alone, so it is no per-example loss; look for a mean or a normalisation "
                             "over the batch in it, or for a comparison of examples with each other")
        if self.whole:
            batch = float(to_numpy(compute_loss(self.model, *keras.tree.map_structure(
                ops.convert_to_tensor, (x, y, prediction)))))
            _check_batch("compute_loss", batch, alone)
        for part, *pair in self.pairs(*repeated((y, prediction))):
            part.check_batch(*pair)
        fixed = replaced(prediction, ops.stop_gradient)
        variables = self.model.trainable_variables
        _, gradients = backend.gradients(lambda: (ops.sum(self.values(x, y, fixed)), ()), variables)
        used = [v.path for v, gradient in zip(variables, gradients)
                if gradient is not None and np.any(to_numpy(gradient))]
        if used:
            raise ValueError(f"the loss uses {', '.join(used)} besides the model's output, so its gradient does not "
                             "flow through the output alone; move the part that uses them into the model")


class _Part(keras.losses.Loss):
    """One loss function of the structure given to `compile`. It is called by way of `visit`."""

    def __init__(self, given):
        super().__init__()
        self.source = given
        by_shape = isinstance(given, str) and given.lower() in BY_SHAPE
        self.given = given if by_shape else keras.losses.get(given)
        self.from_keras = by_shape or _is_from_keras(self.given)
        self.double = backend.float64 and self.from_keras
        self.by_batch = False  # whether it returns one value for a batch
        self.visit = None  # what a call means: a function of (part, y_true, y_pred)

    def __call__(self, y_true, y_pred, sample_weight=None):
        return self.visit(self, y_true, y_pred)

    def loss(self, y_true, y_pred):
        """The `keras.losses.Loss` that `compile` makes of it."""
        if not isinstance(self.given, keras.losses.Loss):
            self.given = get_loss(self.given, y_true, y_pred)
        return self.given

    def values(self, y_true, y_pred):
        """(n,): the losses, as `fit` computes them of each example alone."""
        loss = self.loss(y_true, y_pred)
        n = y_pred.shape[0]
        if self.double:
            y_pred = replaced(y_pred, lambda part: ops.cast(part, "float64"))
        values = unreduced(loss, "float64" if self.double else None)(y_true, y_pred)
        if values.ndim == 0 or values.shape[0] != n:
            return self._one_by_one(loss, y_true, y_pred)
        if values.ndim == 1:
            return values
        counted = ops.ones(values.shape, values.dtype)  # 0 for positions that are masked or ignored
        mask, ignored = get_keras_mask(y_pred), loss_settings(loss).get("ignore_class")
        if mask is not None and mask.shape == values.shape:
            counted = counted * ops.cast(mask, values.dtype)
        if ignored is not None:
            counted = counted * ops.reshape(ops.cast(ops.not_equal(y_true, ignored), values.dtype), values.shape)
        values, counted = (ops.reshape(part, (n, -1)) for part in (values, counted))
        total = ops.sum(values * counted, axis=1)
        if loss.reduction in ("sum", "none", None):
            return total
        return total / ops.maximum(ops.sum(counted, axis=1), 1)

    def _one_by_one(self, loss, y_true, y_pred):
        if not self.by_batch:
            self.by_batch = True
            log.info("the loss %s returns one value for a batch, so it is computed for one example at a time; "
                     "one that returns a value for each example is faster", loss.name)
        return backend.map_examples(
            lambda one: ops.sum(loss(*keras.tree.map_structure(lambda part: part[None], one))),
            keras.tree.map_structure(ops.convert_to_tensor, (y_true, y_pred)))

    def check_batch(self, y_true, y_pred):
        """Raises if the loss is one value for a batch and neither the mean nor the sum of its examples' losses."""
        if not self.by_batch:
            return
        loss, alone = self.loss(y_true, y_pred), to_numpy(self.values(y_true, y_pred))
        _check_batch(loss.name, float(to_numpy(ops.sum(loss(y_true, y_pred)))), alone)

    def softmax_logits(self, y_pred):
        """The output whose softmax one of Keras's cross-entropies takes; None with other losses."""
        if not self.from_keras or not loss_name(self.given).endswith("categorical_crossentropy"):
            return None
        settings = loss_settings(self.given)
        if settings.get("axis", -1) != -1 or not hasattr(y_pred, "shape"):
            return None
        return y_pred if settings.get("from_logits") else attached_logits(y_pred)

    def summing_to_zero(self, y, gradient):
        """The gradient with respect to the logits, with the label's entry computed from the others."""
        if loss_name(self.given).startswith("sparse"):
            labels = ops.reshape(ops.cast(y, "int32"), gradient.shape[:-1])
            at_label = ops.one_hot(labels, gradient.shape[-1], dtype=gradient.dtype)  # all zero for an ignored label
        else:
            y = ops.cast(y, gradient.dtype)
            at_label = ops.cast((y == 1) & (ops.sum(y, axis=-1, keepdims=True) == 1), gradient.dtype)
        others = gradient * (1 - at_label)
        return others - at_label * ops.sum(others, axis=-1, keepdims=True)

    def check_labels(self, y_name, y, y_pred):
        """y_pred: the outputs for some of the examples."""
        output = y_pred.shape
        name = loss_name(self.loss(y, y_pred)) if self.from_keras else ""
        if y.dtype.kind == "c" and (name or isinstance(self.given, keras.losses.Loss)):
            raise TypeError(f"{y_name} has dtype {y.dtype}, and the loss would drop the imaginary part; pass real "
                            "numbers")
        if name == "binary_crossentropy" and ((y < 0) | (y > 1)).any():
            raise ValueError(f"{_first(y_name, y, (y < 0) | (y > 1))}, out of range for {name}: expected 0 to 1")
        if name.startswith("sparse_") and y.dtype.kind not in "biu" and (y != np.floor(y)).any():
            raise ValueError(f"{_first(y_name, y, y != np.floor(y))}, and the loss is {name}: expected whole numbers, "
                             "the class indices")
        if not name.endswith("categorical_crossentropy"):
            return
        classes = output[-1]
        one_hot = y.ndim == len(output) and y.shape[-1] == classes > 1
        if name.startswith("sparse"):
            if one_hot:
                raise ValueError(f"{y_name} has shape {y.shape}, one-hot for {classes} classes, and the loss is "
                                 f"{name}; pass {y_name}.argmax(axis=-1), or CategoricalCrossentropy")
            wrong = ((y < 0) | (y >= classes)) & (y != loss_settings(self.given).get("ignore_class"))
            if wrong.any():
                raise ValueError(f"{_first(y_name, y, wrong)}, out of range for the model's {classes} classes: "
                                 f"expected 0 to {classes - 1}")
        elif not one_hot:
            raise ValueError(f"{y_name} has shape {y.shape} and the loss is {name}, which needs one-hot rows of "
                             f"{classes}; pass keras.utils.to_categorical({y_name}), or SparseCategoricalCrossentropy")


def _check_batch(name, batch, alone):
    """Raises if a batch's loss is neither the mean nor the sum of those of its examples alone."""
    if not np.any(np.isclose(batch, [alone.mean(), alone.sum()], rtol=1e-3, atol=1e-6)):
        raise ValueError(f"the loss {name} of {len(alone)} examples is {batch:g}, and the mean of their losses one by "
                         f"one is {alone.mean():g}: it compares examples with each other, so there is no per-example "
                         "loss; look for a normalisation over the batch or for pairs of examples in it")


def _first(y_name, y, wrong):
    first = np.argwhere(wrong)[0]
    return f"the label of example {first[0]} of {y_name} is {y[tuple(first)]}"


def _is_from_keras(loss):
    parts = (loss, getattr(loss, "fn", loss))
    return all((getattr(part, "__module__", None) or "").startswith("keras.") for part in parts)


def loss_name(given):
    """The name of the function that a loss of Keras computes, given as in `compile`; "" or another name for others."""
    given = keras.losses.get(given) if isinstance(given, str) and given.lower() not in BY_SHAPE else given
    return given if isinstance(given, str) else getattr(getattr(given, "fn", given), "__name__", "")


def replaced(prediction, replace):
    """The prediction with its float tensors replaced.

    Keeps what Keras attaches to them: the mask, and the logits, which its cross-entropies use instead of probabilities.
    """
    def one(part):
        if not is_float(part):
            return part
        new, logits = replace(part), attached_logits(part)
        if new is not part:
            set_keras_mask(new, get_keras_mask(part))
            if logits is not None:
                attach_logits(new, replace(logits))
        return new

    return keras.tree.map_structure(one, prediction)


def check_finite(losses, scales, places, x_name):
    """Raises NotFinite for the first loss or scale that is not finite. scales: those of the gradients, or None; places:
    where the examples stand in x."""
    for values, name in ((losses, "loss"), (scales, "gradient of the loss")):
        finite = True if values is None else np.isfinite(values := to_numpy(values))
        if not np.all(finite):
            first = int(np.argmin(finite))
            raise NotFinite(f"the {name} of example {places[first]} of {x_name} is {values[first]}; expected a finite "
                            "number: look at its input and label, and at the weights")
