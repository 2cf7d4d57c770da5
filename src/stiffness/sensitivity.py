"""How a network's output moves with its input (Novak et al. 2018): Jacobian norms, and changes of linear region."""

from contextlib import contextmanager

import keras
import numpy as np
from keras import ops

from stiffness.engine.backend import backend
from stiffness.engine.engine import restored_state, slices_of
from stiffness.engine.examples import bytes_of, count_of, inputs_of, take, to_numpy
from stiffness.engine.gradients import difference, size, tolerance
from stiffness.engine.keras_private import attached_logits, layers_of, loss_settings
from stiffness.engine.taps import patched
from stiffness.gram import MEASURING, check_model

# what maps straight lines to straight lines, whatever its weights; a layer's activation is looked at apart
LINEAR = (
    "InputLayer", "Dense", "EinsumDense", "Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose",
    "Conv3DTranspose", "DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D", "AveragePooling1D",
    "AveragePooling2D", "AveragePooling3D", "GlobalAveragePooling1D", "GlobalAveragePooling2D",
    "GlobalAveragePooling3D", "BatchNormalization", "Normalization", "Rescaling", "Flatten", "Reshape", "Permute",
    "RepeatVector", "ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D", "Cropping1D", "Cropping2D", "Cropping3D",
    "UpSampling1D", "UpSampling2D", "UpSampling3D", "Add", "Subtract", "Average", "Concatenate", "Identity",
    "Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianNoise", "GaussianDropout",
    "AlphaDropout", "ActivityRegularization", "Activation")
LINEAR_OPERATIONS = ("Add", "Subtract", "Concatenate", "Reshape", "Transpose", "Mean", "Sum", "GetItem", "Squeeze",
                     "ExpandDims")
MAXIMA = ("MaxPooling1D", "MaxPooling2D", "MaxPooling3D", "GlobalMaxPooling1D", "GlobalMaxPooling2D",
          "GlobalMaxPooling3D", "Maximum", "Minimum")  # piecewise linear, but they are no units with a code
RELU_LAYERS = ("ReLU", "LeakyReLU", "PReLU")
RELUS = ("relu", "leaky_relu")
NEAR = 1e-9  # of the length of a segment: crossings that are closer than this to its ends are at the ends


def jacobian_norm(model, x, *, from_logits=None, memory_budget=2 * 2**30):
    """Norm of the input's Jacobian of the class probabilities, for each example (equation `jacobian-norm`).

    |J(x)| is the Frobenius norm of d p(x) / d x, p being the softmax of the model's logits: how far the probabilities
    move, at most, for a small change of the input. The model runs in inference mode and is left as it was.

    Args:
        model: a built Keras classifier with outputs (n, classes), or (n, 1) for two classes.
        x: (n, ...), the examples; a list or dictionary of arrays for several inputs, whose squared norms add up.
        from_logits: whether the outputs are logits. None: what the loss given to `compile` says; a model without one
            returns probabilities if it ends in a softmax or a sigmoid activation, and logits otherwise.
        memory_budget: for intermediate values, in bytes or as text such as "1GB".

    Returns:
        (n,) float64, in units of 1 / input.

    Raises:
        ValueError, TypeError: an argument does not fit; the message names it and says what was expected.

    Precision: the logits' Jacobian is computed in the model's precision, and the softmax in double precision from
    differences of logits, so that a norm is right also where the network is surer than single precision can hold.
    Probabilities are turned back into logits where Keras knows them: where softmax or sigmoid is the last activation.

    Source: Novak et al. 2018, section 3.1.

    >>> import keras
    >>> import numpy as np
    >>> from stiffness import jacobian_norm
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, activation="softmax")])
    >>> model.set_weights([np.array([[0.0, 2.0]]), np.zeros(2)])  # p = sigmoid(2 x), and 1 - p
    >>> jacobian_norm(model, np.array([[0.0], [1.0]])).round(3).tolist()  # sqrt(2) 2 p (1 - p)
    [0.707, 0.297]
    """
    backend.check_eager()
    budget = bytes_of(memory_budget)
    check_model(model)
    x = inputs_of("x", x, model)
    dtype = keras.backend.standardize_dtype(model.compute_dtype)
    x = keras.tree.map_structure(lambda part: part if part.dtype.kind == "f" else part.astype(dtype), x)
    n = count_of(x)
    with MEASURING, restored_state(model), backend.full_precision():
        logits_of = _logits(model, take(x, slice(0, 4)), from_logits)
        classes = logits_of(_tensors(x, slice(0, 1))).shape[-1]
        numbers = sum(part[0].size for part in keras.tree.flatten(x))
        # the Jacobian, its double precision and its product with the softmax's; the activations of a pass are less
        chunk = int(max(1, min(n, budget // (24 * (classes * numbers + 1)))))
        found = np.zeros(n)
        for where in slices_of(n, chunk):
            logits, parts = backend.input_jacobians(logits_of, _tensors(x, where))
            if any(part is None for part in parts):
                raise ValueError("the model's output has no derivative with respect to x, as that of an embedding has "
                                 "none with respect to tokens; leave out the layer, and pass what it returns")
            parts = [to_numpy(part).astype(float).reshape(len(part), classes, -1) for part in parts]
            found[where] = _softmax_norms(to_numpy(logits).astype(float), np.concatenate(parts, axis=2))
    if not np.isfinite(found).all():
        first = int(np.argmin(np.isfinite(found)))
        raise ValueError(f"the Jacobian of example {first} of x is not finite; look at its input and at the weights")
    return found


def transitions(model, path, *, closed=True, exact=False, memory_budget=2 * 2**30):
    """How often a path of inputs changes its linear region, counted unit by unit (equation `transitions`).

    t = sum over i of |c(z_i) - c(z_i+1)|_1, z_1 ... z_k being the path's points and c(z) the code of the network at z:
    for each unit with a ReLU 1 where its input is positive, else 0. The model runs in inference mode and is left as it
    was.

    Args:
        model: a built Keras model whose activations are ReLU, or leaky ReLU: fully connected, convolutional, residual;
            with pooling and normalisation. The last activation may be a softmax or a sigmoid, which has no code.
        path: (k, ...), the points, or (n, k, ...) for n paths.
        closed: whether the path returns from its last point to its first.
        exact: count all changes along the straight lines between neighbouring points. The points alone miss a unit that
            changes twice between two of them; the sampled count grows to this one as the points come closer.
        memory_budget: for intermediate values, in bytes or as text such as "1GB".

    Returns:
        The count, an int; or (n,) counts of n paths.

    Raises:
        ValueError, TypeError: an argument does not fit, or a layer is not known to be piecewise linear; the message
        names it.

    Source: Novak et al. 2018, section 3.2.

    >>> import keras
    >>> import numpy as np
    >>> from stiffness import transitions
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, activation="relu"), keras.layers.Dense(1)])
    >>> model.set_weights([np.array([[1.0, 1.0]]), np.array([0.0, -1.0]), np.ones((2, 1)), np.zeros(1)])
    >>> points = np.array([[-1.0], [0.5], [2.0]])  # the units turn on at 0 and at 1
    >>> transitions(model, points, closed=False), transitions(model, points)
    (2, 4)
    >>> transitions(model, points[[0, 2]], closed=False, exact=True)
    2
    """
    backend.check_eager()
    budget = bytes_of(memory_budget)
    check_model(model)
    path = np.asarray(path)
    if path.dtype.kind not in "fiub":
        raise TypeError(f"path has dtype {path.dtype}; expected numbers")
    inputs = getattr(model, "inputs", None) or []
    if len(inputs) != 1:
        raise ValueError(f"model has {len(inputs) or 'an unknown number of'} inputs; paths are those of one input")
    rank = len(inputs[0].shape)
    if path.ndim not in (rank, rank + 1):
        raise ValueError(f"path has shape {path.shape}; expected (k, {', '.join(map(str, inputs[0].shape[1:]))}) or "
                         "several of these")
    several = path if path.ndim == rank + 1 else path[None]
    if several.shape[1] < 2:
        raise ValueError(f"path has {several.shape[1]} point{'s' * (several.shape[1] != 1)}; expected two or more")
    several = several.astype(keras.backend.standardize_dtype(inputs[0].dtype))
    with MEASURING, restored_state(model), backend.full_precision(), _recorded(model) as record:
        along = _crossings if exact else _sampled
        counts = np.array([sum(along(record, points, budget) for points in _stretches(one, closed, exact))
                           for one in several], int)
    return counts if path.ndim == rank + 1 else int(counts[0])


# Jacobians

def _tensors(x, which):
    return keras.tree.map_structure(ops.convert_to_tensor, take(x, which))


def _logits(model, x, from_logits):
    """A function of inputs that gives logits (n, classes). x: a few examples, on which the outputs are looked at."""
    prediction = model(_tensors(x, slice(None)), training=False)
    if not hasattr(prediction, "shape") or len(prediction.shape) != 2:
        shape = keras.tree.map_structure(lambda part: tuple(part.shape), prediction)
        raise ValueError(f"the model's output has shape {shape}; expected one output (n, classes)")
    together = to_numpy(prediction)
    for i in range(len(together)):
        alone = to_numpy(model(_tensors(x, slice(i, i + 1)), training=False))[0]
        if difference(together[i], alone) > tolerance(layers_of(model)) * size(together[i]):
            raise ValueError(f"the output for example {i} of x depends on the other examples, so it has no Jacobian of "
                             "its own; look for a normalisation over the batch")
    attached = attached_logits(prediction) is not None
    if from_logits is None:
        loss = getattr(model, "loss", None)
        said = loss_settings(loss).get("from_logits") if isinstance(loss, keras.losses.Loss) else None
        from_logits = not attached if said is None or attached else said
    if not from_logits and not attached and ((together < 0) | (together > 1)).any():
        raise ValueError(f"the outputs are between {together.min():g} and {together.max():g}, and from_logits is "
                         "False; probabilities lie between 0 and 1: pass from_logits=True")
    single = together.shape[1] == 1

    def logits_of(inputs):
        output = model(inputs, training=False)
        if attached and not from_logits:
            logits = attached_logits(output)
        elif from_logits:
            logits = output
        else:  # any function whose softmax gives these probabilities
            logits = ops.log(output) - ops.log(1 - output) if single else ops.log(output)
        return ops.concatenate([ops.zeros_like(logits), logits], axis=1) if single else logits

    return logits_of


def _softmax_norms(logits, jacobians):
    """(n,): |d softmax(z) / d x| from logits z (n, C) and d z / d x (n, C, P), in double precision.

    d p_k / d x = p_k (D_k - sum_j p_j D_j), with D_k = d (z_k - z_top) / d x: for the top class D is 0 and the sum is
    over the others, so that nothing is lost where its probability is nearly 1.
    """
    examples = np.arange(len(logits))
    top = logits.argmax(axis=1)
    p = np.exp(logits - logits[examples, top][:, None])
    p /= p.sum(axis=1, keepdims=True)
    D = jacobians - jacobians[examples, top][:, None]
    mean = np.einsum("nk,nkp->np", p, D)
    return np.sqrt(np.einsum("nk,nkp->n", p**2, (D - mean[:, None]) ** 2))


# Linear regions

@contextmanager
def _recorded(model):
    """A function of inputs (k, ...) that runs the model and returns what its units did, in the order of the calls:
    [("unit", inputs of the ReLU)] and [("maximum", layer, inputs)]. The model's layers are restored afterwards."""
    found, last = [], []

    def recording(kind, layer, call):
        def recorded(inputs, *args, **kwargs):
            found.append((kind, layer, inputs))
            return call(inputs, *args, **kwargs)
        return recorded

    def ending(call):
        def recorded(*args, **kwargs):
            output = call(*args, **kwargs)
            last.append(output)
            return output
        return recorded

    def run(points):
        found.clear()
        last.clear()
        output = model(ops.convert_to_tensor(points), training=False)
        if any(part is not output for part in last):
            raise ValueError("an activation that is not piecewise linear stands before the model's output, so the "
                             "network has no linear regions; expected ReLU or leaky ReLU in all layers but the last")
        return [(kind, layer, keras.tree.map_structure(to_numpy, inputs)) for kind, layer, inputs in found]

    with patched([(layer, replacements) for layer in layers_of(model)
                  if (replacements := _replacements(model, layer, recording, ending))]):
        yield run


def _replacements(model, layer, recording, ending):
    """The attributes of a layer that are replaced to see what its units do; raises if it is not piecewise linear."""
    kind, found = type(layer).__name__, {}
    if isinstance(layer, keras.Model) and kind in ("Sequential", "Functional", "Model"):
        _check_operations(layer)
        return found
    if kind in RELU_LAYERS:
        _check_one_kink(layer)
        found["call"] = recording("unit", layer, layer.call)
    elif kind == "Softmax":
        found["call"] = ending(layer.call)
    elif kind in MAXIMA:
        found["call"] = recording("maximum", layer, layer.call)
    elif kind not in LINEAR or not type(layer).__module__.startswith("keras."):
        if layer is model or isinstance(layer, keras.Model):
            raise ValueError(f"model is a subclass of keras.Model ({kind}), whose code may be anything; "
                             "expected a Sequential or functional model")
        raise ValueError(f"layer {layer.name} ({kind}) is not known to be piecewise linear, so the network may "
                         "have no linear regions; expected ReLU networks of dense, convolution, pooling, "
                         "normalisation and merging layers")
    activation = getattr(layer, "activation", None)
    name = getattr(activation, "__name__", "")
    if activation is not None and name != "linear":
        found["activation"] = recording("unit", layer, activation) if name in RELUS else ending(activation)
    return found


def _check_operations(model):
    """Raises for what a functional model computes outside of layers, unless it is known to be linear."""
    for operation in getattr(model, "operations", []):
        if not isinstance(operation, keras.layers.Layer) and type(operation).__name__ not in LINEAR_OPERATIONS:
            raise ValueError(f"operation {operation.name} ({type(operation).__name__}) of the model is not known to be "
                             "linear, and no layer; expected layers, such as keras.layers.ReLU in place of ops.relu")


def _check_one_kink(layer):
    """Raises for a ReLU layer with another kink than that at 0."""
    if getattr(layer, "max_value", None) is not None or getattr(layer, "threshold", 0):
        raise ValueError(f"layer {layer.name} has a maximum or a threshold, so that a code of 0 and 1 does not tell "
                         "its linear pieces apart; expected a ReLU with one kink, at 0")


def _stretches(points, closed, exact):
    """The whole path, its first point repeated at its end if it is closed; or each straight line of it."""
    points = np.concatenate([points, points[:1]]) if closed else points
    return [points[i : i + 2] for i in range(len(points) - 1)] if exact else [points]


def _codes(record, points, budget):
    """(k, units): whether the input of each unit is positive, for points (k, ...)."""
    width = sum(inputs[0].size for kind, _, inputs in record(points[:1]) if kind == "unit")
    chunk = int(max(1, budget // (16 * (width + points[0].size + 1))))
    return np.concatenate([
        np.concatenate([inputs.reshape(len(inputs), -1) > 0 for kind, _, inputs in record(points[where])
                        if kind == "unit"] or [np.zeros((len(points[where]), 0), bool)], axis=1)
        for where in slices_of(len(points), chunk)])


def _sampled(record, points, budget):
    codes = _codes(record, points, budget)
    return int((codes[1:] != codes[:-1]).sum())


def _crossings(record, ends, budget):
    """The number of sign changes of all units' inputs on the line between two points.

    Layer by layer: between two kinks of the layers before, a unit's input is a straight line, so it changes its sign
    once if it has different signs at the two, and where it does so is the next layers' kink.
    """
    start, step = ends[0].astype(float), (ends[1] - ends[0]).astype(float)
    places, count = np.array([0.0, 1.0]), 0
    for number in range(len(record(ends[:1]))):
        kinks = []
        for left, right in _overlapping(len(places), record, number, ends, budget):
            at = places[left:right]
            points = (start + at.reshape(-1, *[1] * start.ndim) * step).astype(ends.dtype)
            kind, layer, inputs = record(points)[number]
            if kind == "unit":
                lines = inputs.reshape(len(at), -1).astype(float)
                changes = (lines[1:] > 0) != (lines[:-1] > 0)
                count += int(changes.sum())
                kinks.append(_zeros(at, lines, changes))
            else:
                kinks.append(_changes_of_maximum(at, layer, inputs))
        new = np.concatenate(kinks)
        places = np.unique(np.concatenate([places, new[(new > NEAR) & (new < 1 - NEAR)]]))
    return count


def _overlapping(number, record, which, ends, budget):
    """Stretches (left, right) of `number` places, each beginning with the last place of the one before."""
    inputs = keras.tree.flatten(record(ends[:1])[which][2])
    size = max(1, int(budget // (64 * sum(part[0].size for part in inputs))))
    return [(left, min(left + size + 1, number)) for left in range(0, number - 1, size)]


def _zeros(at, lines, changes):
    """Where lines (places, units) that change their sign between two places do so."""
    which, unit = np.nonzero(changes)
    left, right = lines[which, unit], lines[which + 1, unit]
    return at[which] + (at[which + 1] - at[which]) * left / (left - right)


def _changes_of_maximum(at, layer, inputs):
    """Where another of a window's values, which are straight lines between two places, becomes the largest."""
    values = _windows(layer, inputs).astype(float) * (-1 if type(layer).__name__ == "Minimum" else 1)
    found = []
    for one in range(values.shape[2]):
        for other in range(one):
            difference = values[:, :, one] - values[:, :, other]
            which, window = np.nonzero((difference[1:] > 0) != (difference[:-1] > 0))
            share = difference[which, window] / (difference[which, window] - difference[which + 1, window])
            there = values[which, window] + share[:, None] * (values[which + 1, window] - values[which, window])
            largest = there[:, one] >= there.max(axis=1) - 1e-6 * np.abs(there).max(axis=1, initial=0)
            found.append((at[which] + share * (at[which + 1] - at[which]))[largest])
    return np.concatenate(found) if found else np.zeros(0)


def _windows(layer, inputs):
    """(places, windows, values): the values of which the layer takes the largest, missing ones repeated."""
    kind = type(layer).__name__
    if kind in ("Maximum", "Minimum"):
        return np.stack([np.broadcast_to(part, np.broadcast_shapes(*[p.shape for p in inputs])).reshape(len(part), -1)
                         for part in inputs], axis=2)
    if layer.data_format == "channels_first":
        inputs = np.moveaxis(inputs, 1, -1)
    k, *space, channels = inputs.shape
    if kind.startswith("Global"):
        return np.moveaxis(inputs.reshape(k, -1, channels), 1, 2)
    sizes, strides = (tuple(np.broadcast_to(one, len(space))) for one in (layer.pool_size, layer.strides))
    places = []
    for extent, pool, stride in zip(space, sizes, strides):
        outside = max((-(-extent // stride) - 1) * stride + pool - extent, 0) if layer.padding == "same" else 0
        starts = np.arange(0, extent + outside - pool + 1, stride) - outside // 2
        places.append(np.clip(starts[:, None] + np.arange(pool), 0, extent - 1))  # (outputs, size)
    for axis, chosen in enumerate(places):
        inputs = np.take(inputs, chosen.ravel(), axis=1 + axis)
    shape = [k, *[number for chosen in places for number in chosen.shape], channels]
    windows = inputs.reshape(shape)
    order = [0, *range(1, 2 * len(space), 2), 2 * len(space) + 1, *range(2, 2 * len(space) + 1, 2)]
    return windows.transpose(order).reshape(k, -1, int(np.prod(sizes)))
