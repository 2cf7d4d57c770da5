"""Converts the examples and the loss of a measurement to one form, and explains what is wrong with them."""

import keras
import numpy as np
from keras import ops
from keras.src.backend import get_keras_mask, set_keras_mask  # public in name only

from stiffness.engine import autodiff


class NotFinite(ValueError, FloatingPointError):
    """A loss or a gradient is infinite or NaN."""


def is_dataset(x):
    return hasattr(x, "as_numpy_iterator")


def examples_of(x_name, x, y_name, y, model):
    """(x, y) as NumPy arrays; x may be a nest of arrays."""
    if is_dataset(x):
        if y is not None:
            raise ValueError(f"{x_name} is a data set, which brings its labels; leave {y_name} out")
        batches = list(x.as_numpy_iterator())
        if not batches:
            raise ValueError(f"{x_name} is empty; expected a data set of (x, y) batches")
        if not isinstance(batches[0], tuple) or len(batches[0]) != 2:
            raise ValueError(f"{x_name} is a data set whose elements are no (x, y) batches; sample weights have no "
                             "part in the measure, drop them with .map(lambda x, y, weights: (x, y))")
        x, y = (keras.tree.map_structure(lambda *parts: np.concatenate(parts), *part) for part in zip(*batches))
    elif x is None:
        raise ValueError(f"{x_name} is missing; expected an array of examples")
    elif y is None:
        raise ValueError(f"{y_name} is missing; only a data set of (x, y) batches does without")
    # a list of arrays is read as several inputs of the model, a list of numbers as one array
    nested = isinstance(x, dict) or (isinstance(x, list | tuple) and all(getattr(part, "shape", ()) for part in x))
    x = keras.tree.map_structure(lambda part: _array(x_name, part), x) if nested else _array(x_name, x)
    y = _array(y_name, y)
    if _is_text(y):
        raise TypeError(f"{y_name} holds text; expected numbers: np.unique({y_name}, return_inverse=True)[1] gives "
                        "class indices")
    for part in keras.tree.flatten(x):
        if len(part) == 0:
            raise ValueError(f"{x_name} is empty; expected at least one example")
        if len(part) != len(y):
            raise ValueError(f"{x_name} has {len(part)} examples and {y_name} has {len(y)}; expected as many of each")
    looks_up = any("embedding" in type(layer).__name__.lower() for layer in model._flatten_layers())
    inputs = keras.tree.flatten(getattr(model, "inputs", None) or [])
    parts = [x.get(each.name) for each in inputs] if isinstance(x, dict) else keras.tree.flatten(x)
    for part, expected in zip(parts, inputs):
        if part is None:  # the keys of a dictionary need not be the names of the inputs
            continue
        if _is_text(part) and expected.dtype != "string":
            raise TypeError(f"{x_name} holds text and the model's input {expected.name} is {expected.dtype}; encode it "
                            "as for training")
        if part.dtype.kind == "c" and "complex" not in expected.dtype:
            raise TypeError(f"{x_name} has dtype {part.dtype} and the model's input {expected.name} is "
                            f"{expected.dtype}, which would drop the imaginary part; pass real numbers, such as the "
                            "real and imaginary parts as two channels")
        if part.dtype.kind in "iub" and "float" in expected.dtype and not looks_up:
            raise TypeError(f"{x_name} has dtype {part.dtype} and the model's input {expected.name} is "
                            f"{expected.dtype}; scale it as for training, then {x_name}.astype('float32')")
    return x, y


def _array(name, part):
    """The part as a NumPy array with the examples along its first axis."""
    if hasattr(part, "toarray"):  # of SciPy; NumPy would make an array of one object of it
        raise TypeError(f"{name} is a sparse matrix ({type(part).__name__}); pass {name}.toarray()")
    if np.ma.is_masked(part):
        raise ValueError(f"{name} is a masked array with {np.ma.count_masked(part)} masked entries, which are not "
                         f"supported; fill them, {name}.filled(value), or drop their examples")
    try:
        array = np.asarray(part) if isinstance(part, list | tuple | np.ndarray) else ops.convert_to_numpy(part)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} cannot be made an array ({error}); expected the examples along the first axis, all "
                         "of one shape") from error
    if array.dtype.kind == "O" and not _is_text(array):
        kinds = ", ".join(sorted({type(entry).__name__ for entry in array.flat}))
        raise TypeError(f"{name} holds Python objects ({kinds}); expected numbers")
    if array.ndim == 0:
        raise ValueError(f"{name} is a scalar; expected an array with the examples along its first axis")
    return array


def _is_text(array):
    return array.dtype.kind in "US" or (
        array.dtype.kind == "O" and array.size > 0 and all(isinstance(entry, str | bytes) for entry in array.flat))


def take(examples, which):
    return keras.tree.map_structure(lambda part: part[which], examples)


def per_example_loss(loss, model):
    """A function (y_true, y_pred) -> (n,) losses. Attributes: `source`, the argument; `given`, the unreduced loss.

    Keras's own losses are computed in double precision with TensorFlow, whatever the precision of the model.
    """
    if loss is None:
        loss = getattr(model, "loss", None)
        if loss is None:
            raise ValueError("model is not compiled with a loss and none is given; pass loss=, such as "
                             "keras.losses.SparseCategoricalCrossentropy(from_logits=True)")
    loss = keras.losses.get(loss) if isinstance(loss, str) else loss
    if not callable(loss):
        raise TypeError(f"loss is of type {type(loss).__name__}; expected a Keras loss, its name, or a function of "
                        "(y_true, y_pred)")
    source = loss
    if isinstance(loss, keras.losses.Loss):
        given, loss = loss, object.__new__(type(loss))  # copy.copy would lose its dtype
        vars(loss).update(vars(given), reduction="none")  # a mean would divide every gradient by the batch size
    double = autodiff.BACKEND == "tensorflow" and is_from_keras(loss)
    if double and isinstance(loss, keras.losses.Loss):
        loss._dtype = "float64"

    def losses_of(y_true, y_pred):
        n = y_true.shape[0]
        if double:
            y_pred = _replaced(y_pred, lambda part: ops.cast(part, "float64"))
        values = ops.convert_to_tensor(loss(y_true, y_pred))
        if values.ndim == 0 or values.shape[0] != n:
            raise ValueError(f"loss returned shape {tuple(values.shape)} for {n} examples; "
                             "expected one value per example")
        if values.ndim == 1:
            return values
        counted = ops.ones(values.shape, values.dtype)  # 0 for positions that are masked or ignored
        mask, ignored = get_keras_mask(y_pred), getattr(loss, "ignore_class", None)
        if mask is not None and mask.shape == values.shape:
            counted = counted * ops.cast(mask, values.dtype)
        if ignored is not None:
            counted = counted * ops.reshape(ops.cast(ops.not_equal(y_true, ignored), values.dtype), values.shape)
        values, counted = (ops.reshape(part, (n, -1)) for part in (values, counted))
        return ops.sum(values * counted, axis=1) / ops.maximum(ops.sum(counted, axis=1), 1)

    losses_of.given, losses_of.source, losses_of.double = loss, source, double
    return losses_of


def is_from_keras(loss):
    parts = (loss, getattr(loss, "fn", loss))
    return all((getattr(part, "__module__", None) or "").startswith("keras.") for part in parts)


def _name(given):
    return getattr(getattr(given, "fn", given), "__name__", "")


def _is_float(part):
    return hasattr(part, "dtype") and "float" in keras.backend.standardize_dtype(part.dtype)


def _replaced(prediction, replace):
    """The prediction with its float tensors replaced.

    Keeps what Keras attaches to them: the mask, and the logits, which its cross-entropies use instead of probabilities.
    """
    def one(part):
        if not _is_float(part):
            return part
        new, logits = replace(part), _logits(part)
        if new is not part:
            set_keras_mask(new, get_keras_mask(part))
            if logits is not None:
                new._keras_logits = replace(logits)
        return new

    return keras.tree.map_structure(one, prediction)


def _logits(part):
    return getattr(part, "_keras_logits", None)


def losses_at_outputs(loss, y, prediction):
    """(losses, outputs, gradients): the losses and their gradients (n, *shape) with respect to each model output.

    Where a model is very confident of the label, p - 1 is a rounding error, and so is the sign of all that follows. The
    entries p of the other classes are accurate, and a cross-entropy's gradient with respect to the logits sums to zero,
    so the entry of the label is minus their sum.
    """
    parts = [part for part in keras.tree.flatten(prediction) if _is_float(part)]
    outputs = list({id(part): part for part in [*parts, *map(_logits, parts)] if part is not None}.values())

    def losses_of(replacements):
        replacements = dict(zip(map(id, outputs), replacements))
        return loss(y, _replaced(prediction, lambda part: replacements[id(part)]))

    found = [ops.cast(ops.stop_gradient(output), "float64" if loss.double else output.dtype) for output in outputs]
    losses, found = autodiff.loss_gradients(losses_of, found)
    logits = _softmax_logits(loss.given, prediction)
    found = [_summing_to_zero(loss.given, y, gradient) if output is logits else gradient
             for output, gradient in zip(outputs, found)]
    return losses, outputs, [ops.stop_gradient(gradient) for gradient in found]


def _softmax_logits(given, prediction):
    """The output whose softmax one of Keras's cross-entropies takes; None with other losses."""
    if not is_from_keras(given) or not _name(given).endswith("categorical_crossentropy"):
        return None
    settings = getattr(given, "_fn_kwargs", {})
    if settings.get("axis", -1) != -1 or not hasattr(prediction, "shape"):
        return None
    return prediction if settings.get("from_logits") else _logits(prediction)


def _summing_to_zero(given, y, gradient):
    if _name(given).startswith("sparse"):
        labels = ops.reshape(ops.cast(y, "int32"), gradient.shape[:-1])
        at_label = ops.one_hot(labels, gradient.shape[-1], dtype=gradient.dtype)  # all zero for an ignored label
    else:
        y = ops.cast(y, gradient.dtype)
        at_label = ops.cast((y == 1) & (ops.sum(y, axis=-1, keepdims=True) == 1), gradient.dtype)
    others = gradient * (1 - at_label)
    return others - at_label * ops.sum(others, axis=-1, keepdims=True)


def check_labels(loss, y_name, y, output):
    """Raises for labels that do not fit the loss, before it fails or returns NaN somewhere inside.

    output: the shape of the model's output; None if it has several.
    """
    given = loss.given
    name = _name(given) if is_from_keras(given) else ""
    if y.dtype.kind == "c" and (name or isinstance(given, keras.losses.Loss)):
        raise TypeError(f"{y_name} has dtype {y.dtype}, and the loss would drop the imaginary part; pass real numbers")
    if name == "binary_crossentropy" and ((y < 0) | (y > 1)).any():
        first = np.argwhere((y < 0) | (y > 1))[0]
        raise ValueError(f"the label of example {first[0]} of {y_name} is {y[tuple(first)]}, out of range for {name}: "
                         "expected 0 to 1")
    if name.startswith("sparse_") and y.dtype.kind not in "biu" and (y != np.floor(y)).any():
        first = np.argwhere(y != np.floor(y))[0]
        raise ValueError(f"the label of example {first[0]} of {y_name} is {y[tuple(first)]}, and the loss is {name}: "
                         "expected whole numbers, the class indices")
    if not name.endswith("categorical_crossentropy") or output is None:
        return
    classes = output[-1]
    one_hot = y.ndim == len(output) and y.shape[-1] == classes > 1
    if name.startswith("sparse"):
        if one_hot:
            raise ValueError(f"{y_name} has shape {y.shape}, one-hot for {classes} classes, and the loss is {name}; "
                             f"pass {y_name}.argmax(axis=-1), or CategoricalCrossentropy")
        wrong = ((y < 0) | (y >= classes)) & (y != getattr(given, "ignore_class", None))
        if wrong.any():
            first = np.argwhere(wrong)[0]
            raise ValueError(f"the label of example {first[0]} of {y_name} is {y[tuple(first)]}, out of range for the "
                             f"model's {classes} classes: expected 0 to {classes - 1}")
    elif not one_hot:
        raise ValueError(f"{y_name} has shape {y.shape} and the loss is {name}, which needs one-hot rows of {classes}; "
                         f"pass keras.utils.to_categorical({y_name}), or SparseCategoricalCrossentropy")


def check_loss(loss, y, x_name, predictions, variables):
    """Raises for a loss that mixes examples or uses the weights. predictions: one for each example in y."""
    predictions = keras.tree.map_structure(lambda *parts: ops.concatenate(parts, axis=0), *predictions)
    together = ops.convert_to_numpy(loss(y, predictions))
    check_finite(together, None, 0, x_name)
    alone = np.concatenate([loss(*take((y, predictions), slice(i, i + 1))) for i in range(len(y))])
    if not np.allclose(together, alone, rtol=1e-3, atol=1e-6):
        raise ValueError(f"the loss of example 0 is {together[0]:g} beside another example and {alone[0]:g} alone, so "
                         "it is no per-example loss; look for a mean or a normalisation over the batch in it")
    fixed = keras.tree.map_structure(ops.stop_gradient, predictions)
    _, _, gradients = autodiff.gradients(lambda: (loss(y, fixed), ()), variables)
    used = [v.path for v, gradient in zip(variables, gradients) if np.any(ops.convert_to_numpy(gradient))]
    if used:
        raise ValueError(f"the loss uses {', '.join(used)} besides the model's output, so its gradient does not "
                         "flow through the output alone; move the part that uses them into the model")


def check_finite(losses, scales, start, x_name):
    """Raises NotFinite for the first loss or scale that is not finite. scales: those of the gradients, or None."""
    for values, name in ((losses, "loss"), (scales, "gradient of the loss")):
        finite = True if values is None else np.isfinite(values := ops.convert_to_numpy(values))
        if not np.all(finite):
            first = int(np.argmin(finite))
            raise NotFinite(f"the {name} of example {start + first} of {x_name} is {values[first]}; expected a finite "
                             "number: look at its input and label, and at the weights")


def check_norms(squares, start, x_name):
    """Raises NotFinite for squared norms that are infinite or NaN. squares: (n,).

    By the Cauchy-Schwarz inequality all products are finite if the squared norms are.
    """
    squares = ops.convert_to_numpy(squares)
    bad = np.flatnonzero(~np.isfinite(squares))
    if len(bad):
        raise NotFinite(f"the squared norm of the gradient of example {start + bad[0]} of {x_name} is "
                        f"{squares[bad[0]]} in {squares.dtype} (not finite for {len(bad)} of {len(squares)} examples "
                        "measured together): the model's weights or activations are too large, or a function in it "
                        "has no gradient there; look for a weight that has diverged")
