"""The examples and the loss of a measurement in one form, and in words what is wrong with them."""

import keras
import numpy as np
from keras import ops


def is_dataset(x):
    return hasattr(x, "as_numpy_iterator")


def examples_of(x_name, x, y_name, y, model):
    """(x, y) as NumPy arrays, x perhaps nested."""
    if is_dataset(x):
        if y is not None:
            raise ValueError(f"{x_name} is a data set, which brings its labels; leave {y_name} out")
        batches = list(x.as_numpy_iterator())
        if not batches:
            raise ValueError(f"{x_name} is empty; expected a data set of (x, y) batches")
        if not isinstance(batches[0], tuple) or len(batches[0]) != 2:
            raise ValueError(f"{x_name} is a data set of other elements than batches (x, y); sample weights have no "
                             "part in the measure: .map(lambda x, y, weights: (x, y))")
        x, y = (keras.tree.map_structure(lambda *parts: np.concatenate(parts), *part) for part in zip(*batches))
    elif y is None:
        raise ValueError(f"{y_name} is missing; only a data set of (x, y) batches does without")
    nested = isinstance(x, dict) or (isinstance(x, list | tuple) and all(hasattr(part, "shape") for part in x))
    x = keras.tree.map_structure(_array, x) if nested else _array(x)
    y = _array(y)
    for part in keras.tree.flatten(x):
        if len(part) == 0:
            raise ValueError(f"{x_name} is empty; expected at least one example")
        if len(part) != len(y):
            raise ValueError(f"{x_name} has {len(part)} examples and {y_name} has {len(y)}; expected as many of each")
    looks_up = any("embedding" in type(layer).__name__.lower() for layer in model._flatten_layers())
    for part, expected in zip(keras.tree.flatten(x), keras.tree.flatten(getattr(model, "inputs", None) or [])):
        if part.dtype.kind in "iub" and "float" in expected.dtype and not looks_up:
            raise TypeError(f"{x_name} has dtype {part.dtype} and the model's input {expected.name} is "
                            f"{expected.dtype}; scale it as for training, then {x_name}.astype('float32')")
    return x, y


def _array(part):
    return np.asarray(part) if isinstance(part, list | tuple | np.ndarray) else ops.convert_to_numpy(part)


def take(examples, which):
    return keras.tree.map_structure(lambda part: part[which], examples)


def per_example(loss, model):
    """A function (y_true, y_pred) -> (n,) losses; its attribute `given` is the loss itself, `source` as it came."""
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
        given, loss = loss, object.__new__(type(loss))  # copy.copy would make it from its configuration, without dtype
        vars(loss).update(vars(given), reduction="none")  # "mean" would scale every gradient with the batch

    def per_example(y_true, y_pred):
        n = y_true.shape[0]
        values = ops.convert_to_tensor(loss(y_true, y_pred))
        if values.ndim == 0 or values.shape[0] != n:
            raise ValueError(f"loss returned shape {tuple(values.shape)} for {n} examples; "
                             "expected one value an example")
        if values.ndim == 1:
            return values
        counted = ops.ones(values.shape, values.dtype)  # the mean is over what is neither masked nor ignored
        mask, ignored = getattr(y_pred, "_keras_mask", None), getattr(loss, "ignore_class", None)
        if mask is not None and mask.shape == values.shape:
            counted = counted * ops.cast(mask, values.dtype)
        if ignored is not None:
            counted = counted * ops.reshape(ops.cast(ops.not_equal(y_true, ignored), values.dtype), values.shape)
        values, counted = (ops.reshape(part, (n, -1)) for part in (values, counted))
        return ops.sum(values * counted, axis=1) / ops.maximum(ops.sum(counted, axis=1), 1)

    per_example.given, per_example.source = loss, source
    return per_example


def check_labels(loss, y_name, y, output):
    """Names labels that do not fit the loss, before it fails or answers NaN somewhere inside. output: the shape of the
    model's, None where it has several."""
    given = loss.given
    name = given.name if isinstance(given, keras.losses.Loss) else getattr(given, "__name__", "")
    if name == "binary_crossentropy" and ((y < 0) | (y > 1)).any():
        first = np.argwhere((y < 0) | (y > 1))[0]
        raise ValueError(f"the label of example {first[0]} of {y_name} is {y[tuple(first)]}, out of range for {name}: "
                         "expected 0 to 1")
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


def check_loss(loss, y, x_name, predictions):
    """Refuses a loss that mixes examples; predictions: one of each example in y."""
    predictions = keras.tree.map_structure(lambda *parts: ops.concatenate(parts, axis=0), *predictions)
    together = ops.convert_to_numpy(loss(y, predictions))
    check_finite(together, 0, x_name)
    alone = np.concatenate([loss(*take((y, predictions), slice(i, i + 1))) for i in range(len(y))])
    if not np.allclose(together, alone, rtol=1e-3, atol=1e-6):
        raise ValueError(f"the loss of example 0 is {together[0]:g} beside another example and {alone[0]:g} alone, so "
                         "it is no per-example loss; look for a mean or a normalisation over the batch in it")


def check_finite(losses, start, x_name):
    losses = ops.convert_to_numpy(losses)
    finite = np.isfinite(losses)
    if not finite.all():
        first = int(np.argmin(finite))
        raise ValueError(f"the loss of example {start + first} of {x_name} is {losses[first]}; expected a finite "
                         "number: look at its input and label, and at the weights")
