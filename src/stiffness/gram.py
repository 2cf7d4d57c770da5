"""Exact Gram matrices of per-example loss gradients, without the gradients.

For a Dense layer with input a_i and gradient d_i at its pre-activation, example i's gradient is the outer product
a_i d_i^T for the kernel and d_i for the bias, so the layer adds (a_i . a_j + 1) (d_i . d_j) to g_i . g_j. One batched
forward and one backward pass of the SUM of the losses give all a and d, as example i's loss depends on its own
activations alone. The other kinds of layers are in `stiffness.layers`; what has no closed form is differentiated.
"""

import copy
import logging
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field

import keras
import numpy as np
from keras import ops

from stiffness import autodiff
from stiffness.layers import Factors, rule_of

METHODS = ("auto", "closed-form", "jacobian")
SAMPLE = 2  # examples on which each layer's closed form is compared with the plain definition before it is used
SAMPLE_TOLERANCE = 1e-3  # relative; far above rounding, far below any term left out
CHUNK = 100  # examples whose gradients are computed at once; larger vectorised chunks are slower

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Gram:
    """Inner products of loss gradients: products[i, j] = g_i . g_j, norms[i] = |g_i|, norms2[j] = |g_j|.

    `shares` maps each layer's path to its part of the trace of the rows' Gram matrix (the parts sum to 1), and
    `layers`, where asked for, to its own (n, m) matrix (these sum to `products`).
    """

    products: np.ndarray
    norms: np.ndarray
    norms2: np.ndarray
    shares: dict = field(default_factory=dict)
    layers: dict = field(default_factory=dict)

    def sign(self):
        """(n, m) in {-1, 0, 1}: sign(g_i . g_j), the stiffness of v1 (equation 2)."""
        return np.sign(self.products)

    def cosine(self):
        """(n, m) in [-1, 1]: g_i . g_j / (|g_i| |g_j|), the stiffness of v3 (equation 3). NaN where a norm is 0."""
        scale = self.norms[:, None] * self.norms2[None, :]
        cosine = np.divide(self.products, scale, out=np.full_like(self.products, np.nan), where=scale > 0)
        return np.clip(cosine, -1, 1, out=cosine)


def gradient_gram(model, x, y=None, x2=None, y2=None, *, loss=None, method="auto", memory_budget=2 * 2**30,
                  per_layer=False):
    """Gram matrix of the per-example loss gradients: products[i, j] = g_i . g_j, g_i = dL_i/dW (equation 1).

    W are all of the model's trainable variables; the model runs in inference mode and is left as it was found.
    L_i is the unreduced loss of example i alone: neither the batch's mean nor weight regularisation is in g_i. A loss
    of several numbers an example (a sequence's) counts by their mean.

    model: a built Keras model. x: (n, ...) and y: (n, ...), its examples; x may be a list or dictionary of inputs, or
    a `tf.data.Dataset` of (x, y) batches, without y. x2, y2: (m, ...) and (m, ...), the columns' examples; None takes
    x, y, and the matrix is symmetric. loss: a Keras loss, its name, or a function of (y_true, y_pred) that returns a
    value an example; None is the compiled model's. method: "closed-form" for layers that have one; "jacobian", the
    plain definition by automatic differentiation; "auto" is the closed form, with the jacobian for the variables of
    all other layers. memory_budget: bytes for the intermediates of a tile. per_layer: keep each layer's own matrix.

    Returns `Gram`. Raises ValueError and TypeError that name what is wrong and what was expected.
    Source: Fort et al. v1, section 2; the closed form is the module's first paragraph.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; expected one of {', '.join(METHODS)}")
    if not model.built:
        raise ValueError("model is not built; call it on an example first, or give it an Input")
    if not model.trainable_variables:
        raise ValueError("model has no trainable variables, so the loss has no gradient; check its trainable flags")
    if (x2 is None) != (y2 is None) and not _is_dataset(x2):
        raise ValueError(f"{'x2' if y2 is None else 'y2'} is given alone; the columns need both x2 and y2")
    loss = _per_example(loss, model)
    rows = _examples("x", x, "y", y, model)
    columns = None if x2 is None else _examples("x2", x2, "y2", y2, model)
    with _left_as_found(model):
        sample = _take(rows, slice(0, SAMPLE))
        for examples in (rows, columns):
            _check_labels(loss, model, examples, sample)
        _check_per_example(loss, model, sample)
        engine = _Jacobian(model, loss) if method == "jacobian" else _ClosedForm(
            model, loss, sample, strict=method == "closed-form")
        return _tiled(engine, rows, columns, sample, memory_budget, per_layer)


# --- examples and losses ------------------------------------------------------------------------------------------


def _is_dataset(x):
    return hasattr(x, "as_numpy_iterator")


def _examples(x_name, x, y_name, y, model):
    """(x, y) as NumPy arrays, x perhaps nested."""
    if _is_dataset(x):
        batches = list(x.as_numpy_iterator())
        if not batches or len(batches[0]) < 2:
            raise ValueError(f"{x_name} is a data set of no (x, y) batches; expected batches of both")
        x, y = (keras.tree.map_structure(lambda *parts: np.concatenate(parts), *part)
                for part in list(zip(*batches))[:2])
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


def _take(examples, which):
    return keras.tree.map_structure(lambda part: part[which], examples)


def _per_example(loss, model):
    """A function (y_true, y_pred) -> (n,) losses; its attribute `given` is the loss itself."""
    if loss is None:
        loss = getattr(model, "loss", None)
        if loss is None:
            raise ValueError("model is not compiled with a loss and none is given; pass loss=, such as "
                             "keras.losses.SparseCategoricalCrossentropy(from_logits=True)")
    loss = keras.losses.get(loss)
    if isinstance(loss, keras.losses.Loss):
        loss = copy.copy(loss)
        loss.reduction = "none"  # "mean" would scale every gradient with the batch

    def per_example(y_true, y_pred):
        values = ops.convert_to_tensor(loss(y_true, y_pred))
        if values.ndim == 0 or values.shape[0] != len(y_true):
            raise ValueError(f"loss returned shape {tuple(values.shape)} for {len(y_true)} examples; "
                             "expected one value an example")
        return ops.mean(ops.reshape(values, (len(y_true), -1)), axis=1)

    per_example.given = loss
    return per_example


def _check_labels(loss, model, examples, sample):
    """Names labels that do not fit the loss, before it fails or answers NaN somewhere inside."""
    given = loss.given
    name = given.name if isinstance(given, keras.losses.Loss) else getattr(given, "__name__", "")
    if examples is None or not name.endswith("categorical_crossentropy"):
        return
    classes, y = model(sample[0], training=False).shape[-1], examples[1]
    one_hot = y.ndim > 1 and y.shape[-1] == classes > 1
    if name.startswith("sparse"):
        if one_hot:
            raise ValueError(f"labels have shape {y.shape}, one-hot for {classes} classes, and the loss is {name}; "
                             "pass y.argmax(axis=-1), or CategoricalCrossentropy")
        wrong = np.flatnonzero(((y < 0) | (y >= classes)).reshape(len(y), -1).any(axis=1))
        if len(wrong):
            raise ValueError(f"the label of example {wrong[0]} is {y[wrong[0]]}, out of range for the model's "
                             f"{classes} classes: expected 0 to {classes - 1}")
    elif not one_hot:
        raise ValueError(f"labels have shape {y.shape} and the loss is {name}, which needs one-hot rows of {classes}; "
                         "pass keras.utils.to_categorical(y), or SparseCategoricalCrossentropy")


def _check_per_example(loss, model, sample):
    """Refuses what is not a loss for each example alone."""
    def losses(which):
        x, y = _take(sample, which)
        return ops.convert_to_numpy(loss(y, model(x, training=False)))

    together = losses(slice(None))
    alone = np.concatenate([losses(slice(i, i + 1)) for i in range(len(together))])
    if np.isfinite(together).all() and not np.allclose(together, alone, rtol=1e-3, atol=1e-6):
        raise ValueError(f"the loss of example 0 is {together[0]:g} beside another example and {alone[0]:g} alone, so "
                         "it is no per-example loss; look for BatchNormalization with training=True, or a loss that "
                         "mixes examples")
    if len(model.losses) > len(model._get_regularization_losses()):
        raise ValueError("the model adds losses of its own (add_loss or an activity regulariser), which belong to a "
                         "batch and to no example; remove them for measuring")


def _check_finite(losses, start):
    losses = ops.convert_to_numpy(losses)
    finite = np.isfinite(losses)
    if not finite.all():
        first = int(np.argmin(finite))
        raise ValueError(f"the loss of example {start + first} is {losses[first]}; expected a finite number: "
                         "look at its input and label, and at the weights")


@contextmanager
def _left_as_found(model):
    """Undoes what a forward pass may write: moving averages, the states of random generators."""
    def value(variable):
        return ops.convert_to_numpy(ops.copy(variable.value))

    before = [(v, value(v)) for v in model.non_trainable_variables]
    try:
        yield
    finally:
        for variable, found in before:
            if not np.array_equal(value(variable), found):
                variable.assign(found)


# --- tiles ----------------------------------------------------------------------------------------------------------
# An engine turns examples into features: {layer's path: list of features}, each with `products` and `squares`.


def _tiled(engine, rows, columns, sample, memory_budget, per_layer):
    """The Gram matrix in tiles, so that two blocks' features and a tile's intermediates fit in the budget."""
    symmetric = columns is None
    columns = rows if symmetric else columns
    n, m = len(rows[1]), len(columns[1])
    itemsize = engine.dtype.itemsize
    width = sum(feature.width() for features in engine.features(*sample, 0).values() for feature in features)
    feature_bytes = 2 * width * itemsize  # an example's features, and once more while they are made
    block = _block(memory_budget, 2 * feature_bytes, 3 * itemsize)
    row_blocks = _blocks(n, block)
    column_blocks = row_blocks if symmetric else _blocks(m, block)
    kept = m * feature_bytes <= memory_budget // 2  # else they are made again for each row of tiles
    column_features = {}

    def features_of(c):
        if c.start in column_features:
            return column_features[c.start]
        features = engine.features(*_take(columns, c), c.start)
        if kept:
            column_features[c.start] = features
        return features

    products = np.empty((n, m), engine.dtype)
    squares, squares2 = np.empty(n, engine.dtype), np.empty(m, engine.dtype)
    layers, traces = {}, Counter()
    for number, r in enumerate(row_blocks):
        left = features_of(r) if symmetric else engine.features(*_take(rows, r), r.start)
        parts = {path: _sum(feature.squares() for feature in features) for path, features in left.items()}
        traces.update({path: float(part.sum()) for path, part in parts.items()})
        squares[r] = sum(parts.values())
        for c in column_blocks[number:] if symmetric else column_blocks:
            right = left if symmetric and c == r else features_of(c)
            if not symmetric and r.start == 0:
                squares2[c] = sum(_sum(f.squares() for f in features) for features in right.values())
            products[r, c] = 0
            for path, features in left.items():
                part = _sum(one.products(other) for one, other in zip(features, right[path]))
                products[r, c] += part
                if per_layer:
                    matrix = layers.setdefault(path, np.zeros((n, m), engine.dtype))
                    matrix[r, c] = part
                    if symmetric:
                        matrix[c, r] = part.T
            if symmetric:
                products[c, r] = products[r, c].T
    if symmetric:
        squares2 = squares
        np.fill_diagonal(products, squares)  # one rounding for both, so that an example's cosine with itself is 1
    trace = sum(traces.values())
    shares = {path: part / trace for path, part in traces.items()} if trace else {}
    return Gram(products, np.sqrt(squares), np.sqrt(squares2), shares, layers)


def _sum(arrays):
    return sum(ops.convert_to_numpy(array) for array in arrays)


def _block(budget, per_example, per_pair):
    """The largest b with per_example b + per_pair b^2 <= budget."""
    block = int((np.sqrt(per_example**2 + 4 * per_pair * budget) - per_example) / (2 * per_pair))
    if block < 1:
        raise ValueError(f"memory_budget is {budget} bytes; one tile needs at least {per_example + per_pair}")
    return block


def _blocks(n, block):
    return [slice(start, min(start + block, n)) for start in range(0, n, block)]


# --- the plain definition -------------------------------------------------------------------------------------------


class _Jacobian:
    """One feature for each variable: its gradients themselves, (n, P)."""

    def __init__(self, model, loss, variables=None):
        self.model, self.loss, self.dtype = model, loss, _result_dtype(model)
        self.variables = model.trainable_variables if variables is None else variables

    def features(self, x, y, start):
        blocks = []
        for c in _blocks(len(y), CHUNK):
            blocks.append(self.gradients(*_take((x, y), c), start + c.start, autodiff.per_example))
        return {path: [Factors((ops.concatenate(parts, axis=0),)) for parts in zip(*(block[path] for block in blocks))]
                for path in blocks[0]}

    def gradients(self, x, y, start, differentiate):
        """{layer's path: [(n, 1, p)]}"""
        def losses():
            return self.loss(y, self.model(x, training=False))

        _check_finite(losses(), start)
        by_layer = {}
        for variable, gradient in zip(self.variables, differentiate(losses, self.variables)):
            gradient = ops.cast(ops.reshape(gradient, (len(y), 1, -1)), self.dtype.name)
            by_layer.setdefault(_layer_path(variable), []).append(gradient)
        return by_layer


def _layer_path(variable):
    return variable.path.rpartition("/")[0] or variable.path


def _result_dtype(model):
    """float64 for a model of doubles, else float32, in which half-precision models accumulate too."""
    return np.dtype("float64" if any(v.dtype == "float64" for v in model.trainable_variables) else "float32")


# --- the closed form ------------------------------------------------------------------------------------------------


class _ClosedForm:
    """The features of `stiffness.layers` for each layer that has a rule; the jacobian for all other variables."""

    def __init__(self, model, loss, sample, *, strict):
        self.model, self.loss, self.dtype = model, loss, _result_dtype(model)
        self.layers = _layers_with_rules(model)
        self.layers = self._that_agree(sample)
        covered = {id(v) for layer, _ in self.layers for v in layer._trainable_variables}
        rest = [v for v in model.trainable_variables if id(v) not in covered]
        self.rest = _Jacobian(model, loss, rest) if rest else None
        if rest:
            names = ", ".join(v.path for v in rest)
            if strict:
                raise ValueError(f"there is no closed form for {names}; use method 'auto' or 'jacobian'")
            log.info("no closed form for %s: their gradients are computed by the jacobian", names)

    def features(self, x, y, start):
        features = {layer.path: rule.features(layer, records)
                    for (layer, rule), records in zip(self.layers, self._records(x, y, start))}
        if self.rest:
            for path, parts in self.rest.features(x, y, start).items():
                features[path] = features.get(path, []) + parts
        return features

    def _records(self, x, y, start):
        """For each layer, (recorded, d) of every call, d being the gradient at the output; it is that of the SUM of
        the losses, which at example i's activation is that of L_i alone."""
        def forward(perturb):
            with _tapped(self.layers, perturb) as taps:
                return self.loss(y, self.model(x, training=False)), taps

        losses, taps, deltas = autodiff.losses_and_deltas(forward)
        _check_finite(losses, start)
        records = [[] for _ in self.layers]
        for (key, recorded, _), delta in zip(taps, deltas):
            if delta.shape[0] != len(y):
                raise _NotByExample(self.layers[key][0].path)
            records[key].append((self._cast(recorded), ops.cast(delta, self.dtype.name)))
        return records

    def _cast(self, recorded):
        """Floats in the result's precision; the indices of an embedding as they are."""
        floats = "float" in keras.backend.standardize_dtype(recorded.dtype) if hasattr(recorded, "dtype") else False
        return ops.cast(recorded, self.dtype.name) if floats else recorded

    def _that_agree(self, sample):
        """The layers whose closed form gives the sample's Gram matrix. Not so for a kernel that is used outside its
        layer's call, a layer that moves examples along its first axis, one that the model does not call."""
        while True:
            try:
                records = self._records(*sample, 0)
                break
            except _NotByExample as error:
                self.layers = [(layer, rule) for layer, rule in self.layers if layer.path != str(error)]
        variables = [v for layer, _ in self.layers for v in layer._trainable_variables if v.trainable]
        plain = _Jacobian(self.model, self.loss, variables)
        gradients = iter([g for parts in plain.gradients(*sample, 0, autodiff.one_by_one).values() for g in parts]
                         if variables else [])
        agree = []
        for (layer, rule), calls in zip(self.layers, records):
            own = [Factors((next(gradients),)) for v in layer._trainable_variables if v.trainable]
            if calls and self._same(own, layer, rule, calls):
                agree.append((layer, rule))
        return agree

    def _same(self, own, layer, rule, calls):
        expected = _sum(factors.products(factors) for factors in own)
        try:
            found = _sum(feature.products(feature) for feature in rule.features(layer, calls))
        except Exception as error:  # whatever a layer's shapes do to its rule, the jacobian is right
            log.debug("the closed form of %s failed: %s", layer.path, error)
            return False
        return np.abs(found - expected).max() <= SAMPLE_TOLERANCE * np.abs(expected).max()


class _NotByExample(Exception):
    """A layer's output whose first axis is not that of the examples."""


def _layers_with_rules(model):
    """(layer, rule) of the layers that own their trainable variables alone and have a rule for all of them."""
    layers = model._flatten_layers()
    owners = Counter(id(v) for layer in layers for v in layer._trainable_variables)
    found = []
    for layer in layers:
        own, rule = [v for v in layer._trainable_variables if v.trainable], rule_of(layer)
        if own and rule is not None:
            known = {id(getattr(layer, name, None)) for name in rule.names}
            if all(owners[id(v)] == 1 and id(v) in known for v in own):
                found.append((layer, rule))
    return found


@contextmanager
def _tapped(layers, perturb):
    """Collects (index of the layer, recorded, output) of every call of the layers; leaves them as they were.

    Works on `__dict__`, as Keras's attribute tracking would keep what it sees.
    """
    taps, found = [], [dict(vars(layer)) for layer, _ in layers]

    def tap_of(key):
        def tap(recorded, output):
            if perturb is not None:
                output = output + perturb[len(taps)]
            taps.append((key, recorded, output))
            return output

        return tap

    try:
        for key, (layer, rule) in enumerate(layers):
            instead = rule.tapped(layer, layer.call, tap_of(key), getattr(layer, "activation", None))
            vars(layer).update({name: None for name in rule.without if name in vars(layer)}, call=instead)
        yield taps
    finally:
        for (layer, _), before in zip(layers, found):
            vars(layer).clear()
            vars(layer).update(before)
