"""Exact Gram matrices of per-example loss gradients, without the gradients.

For a Dense layer with input a_i and gradient d_i at its pre-activation, example i's gradient is the outer product
a_i d_i^T for the kernel and d_i for the bias, so the layer adds (a_i . a_j + 1) (d_i . d_j) to g_i . g_j. One batched
forward and one backward pass of the SUM of the losses give all a and d, as example i's loss depends on its own
activations alone. With positions (a sequence, a layer called twice) example i's gradient is sum_t a_it d_it^T.
"""

import copy
import functools
import logging
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

METHODS = ("auto", "closed-form", "jacobian")
SAMPLE = 2  # examples on which the closed form is checked against the tape before it is used
SAMPLE_TOLERANCE = 1e-3  # relative; far above rounding, far below any term left out

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Gram:
    """Inner products of loss gradients: products[i, j] = g_i . g_j, norms[i] = |g_i|, norms2[j] = |g_j|."""

    products: np.ndarray
    norms: np.ndarray
    norms2: np.ndarray

    def sign(self):
        """(n, m) in {-1, 0, 1}: sign(g_i . g_j), the stiffness of v1 (equation 2)."""
        return np.sign(self.products)

    def cosine(self):
        """(n, m) in [-1, 1]: g_i . g_j / (|g_i| |g_j|), the stiffness of v3 (equation 3). NaN where a norm is 0."""
        scale = self.norms[:, None] * self.norms2[None, :]
        cosine = np.divide(self.products, scale, out=np.full_like(self.products, np.nan), where=scale > 0)
        return np.clip(cosine, -1, 1)


def gradient_gram(model, x, y, x2=None, y2=None, *, loss=None, method="auto", memory_budget=2 * 2**30):
    """Gram matrix of the per-example loss gradients: products[i, j] = g_i . g_j, g_i = dL_i/dW (equation 1).

    W are all of the model's trainable variables; the model runs in inference mode and is left as it was found.
    L_i is the unreduced loss of example i alone, so neither the batch's mean nor added regularisation scales g_i.

    model: a built Keras model. x: (n, ...) and y: (n, ...), its examples. x2, y2: (m, ...) and (m, ...), the columns'
    examples; None takes x, y, and the matrix is symmetric. loss: a Keras loss, its name, or a function of
    (y_true, y_pred) that returns a value an example; None is the compiled model's. method: "closed-form" for layers
    that have one (Dense); "jacobian", the plain definition by `tf.GradientTape.jacobian`; "auto" is the closed form
    with the jacobian for the variables of all other layers. memory_budget: bytes for the intermediates of a tile.

    Returns `Gram`. Raises ValueError and TypeError that name what is wrong and what was expected.
    Source: Fort et al. v1, section 2; the closed form is the module's first paragraph.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; expected one of {', '.join(METHODS)}")
    if not model.built:
        raise ValueError("model is not built; call it on an example first, or give it an Input")
    if not model.trainable_variables:
        raise ValueError("model has no trainable variables, so the loss has no gradient; check its trainable flags")
    if (x2 is None) != (y2 is None):
        raise ValueError(f"{'x2' if y2 is None else 'y2'} is given alone; the columns need both x2 and y2")
    loss = _per_example(loss, model)
    rows = _examples("x", x, "y", y)
    columns = None if x2 is None else _examples("x2", x2, "y2", y2)
    sample = tuple(part[:SAMPLE] for part in rows)
    if method == "jacobian":
        engine = _Jacobian(model, loss)
    else:
        engine = _ClosedForm(model, loss, sample, strict=method == "closed-form")
    return _tiled(engine, rows, columns, sample, memory_budget)


# --- examples and losses ------------------------------------------------------------------------------------------


def _examples(x_name, x, y_name, y):
    x, y = np.asarray(x), np.asarray(y)
    if len(x) == 0:
        raise ValueError(f"{x_name} is empty; expected at least one example")
    if len(x) != len(y):
        raise ValueError(f"{x_name} has {len(x)} examples and {y_name} has {len(y)}; expected as many of each")
    return x, y


def _per_example(loss, model):
    """A function (y_true, y_pred) -> (n,) losses."""
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
        values = tf.convert_to_tensor(loss(y_true, y_pred))
        if values.shape.rank == 0 or values.shape[0] != len(y_true):
            raise ValueError(f"loss returned shape {tuple(values.shape)} for {len(y_true)} examples; "
                             "expected one value an example")
        values = tf.reduce_mean(tf.reshape(values, (len(y_true), -1)), axis=1)
        finite = np.isfinite(values)
        if not finite.all():
            first = int(np.argmin(finite))
            raise ValueError(f"the loss of example {first} is {float(values[first])}; expected a finite number: "
                             "look at its input and label, and at the weights")
        return values

    return per_example


# --- tiles ----------------------------------------------------------------------------------------------------------
# An engine turns examples into features: a list of tuples of factors. A factor is an (n, k) matrix; the Gram matrix
# of a tuple is the elementwise product of its factors' Gram matrices; that of the model is the sum over the list.


def _tiled(engine, rows, columns, sample, memory_budget):
    """The Gram matrix in tiles, so that two blocks' features and a tile's intermediates fit in the budget."""
    symmetric = columns is None
    columns = rows if symmetric else columns
    itemsize = engine.dtype.itemsize
    width = sum(factor.shape[1] for factors in engine.features(*sample) for factor in factors)
    feature_bytes = 2 * width * itemsize  # an example's features, and once more while they are made
    block = _block(memory_budget, 2 * feature_bytes, 3 * itemsize)
    row_blocks = _blocks(len(rows[0]), block)
    column_blocks = row_blocks if symmetric else _blocks(len(columns[0]), block)
    kept = len(columns[0]) * feature_bytes <= memory_budget // 2  # else they are made again for each row of tiles
    column_features = {}

    def features_of(c):
        if c.start in column_features:
            return column_features[c.start]
        features = engine.features(columns[0][c], columns[1][c])
        if kept:
            column_features[c.start] = features
        return features

    products = np.empty((len(rows[0]), len(columns[0])), engine.dtype)
    norms, norms2 = (np.empty(n, engine.dtype) for n in products.shape)
    for number, r in enumerate(row_blocks):
        left = features_of(r) if symmetric else engine.features(rows[0][r], rows[1][r])
        norms[r] = np.sqrt(_squares(left))
        for c in column_blocks[number:] if symmetric else column_blocks:
            right = left if symmetric and c == r else features_of(c)
            norms2[c] = np.sqrt(_squares(right))
            products[r, c] = _products(left, right)
            if symmetric:
                products[c, r] = products[r, c].T
    if symmetric:
        np.fill_diagonal(products, norms**2)  # one rounding for both, so that an example's cosine with itself is 1
    return Gram(products, norms, norms2)


def _block(budget, per_example, per_pair):
    """The largest b with per_example b + per_pair b^2 <= budget."""
    block = int((np.sqrt(per_example**2 + 4 * per_pair * budget) - per_example) / (2 * per_pair))
    if block < 1:
        raise ValueError(f"memory_budget is {budget} bytes; one tile needs at least {per_example + per_pair}")
    return block


def _blocks(n, block):
    return [slice(start, min(start + block, n)) for start in range(0, n, block)]


def _products(left, right):
    return sum(_hadamard(tf.matmul(a, b, transpose_b=True) for a, b in zip(one, other))
               for one, other in zip(left, right))


def _squares(features):
    return sum(_hadamard(tf.reduce_sum(factor**2, axis=1) for factor in factors) for factors in features)


def _hadamard(matrices):
    return functools.reduce(tf.multiply, matrices)


# --- the plain definition -------------------------------------------------------------------------------------------


class _Jacobian:
    """One feature of one factor: the gradients themselves, (n, P)."""

    chunk = 100  # larger vectorised chunks are slower

    def __init__(self, model, loss):
        self.model, self.loss, self.dtype = model, loss, _result_dtype(model)

    def features(self, x, y):
        parts = []
        for c in _blocks(len(x), self.chunk):
            with tf.GradientTape() as tape:
                losses = self.loss(y[c], self.model(x[c], training=False))
            parts.append(_flat_jacobian(tape, losses, self.model.trainable_variables, self.dtype))
        return [(tf.concat(parts, axis=0),)]


def _flat_jacobian(tape, losses, variables, dtype):
    """(n, P) of d losses / d variables; a variable that the loss does not reach has gradient zero."""
    parts = tape.jacobian(losses, [v.value for v in variables], unconnected_gradients="zero")
    return tf.concat([tf.cast(tf.reshape(part, (len(losses), -1)), dtype) for part in parts], axis=1)


def _result_dtype(model):
    """float64 for a model of doubles, else float32, in which half-precision models accumulate too."""
    return np.dtype("float64" if any(v.dtype == "float64" for v in model.trainable_variables) else "float32")


# --- the closed form ------------------------------------------------------------------------------------------------


class _ClosedForm:
    """For each Dense layer the factors (a, 1) and d; the jacobian for the variables that have no closed form."""

    def __init__(self, model, loss, sample, *, strict):
        self.model, self.loss, self.dtype = model, loss, _result_dtype(model)
        self.layers = _dense_layers(model)
        self.layers = [layer for layer in self.layers if self._agrees(layer, *sample)]
        covered = {id(v) for layer in self.layers for v in layer.trainable_variables}
        self.rest = [v for v in model.trainable_variables if id(v) not in covered]
        if self.rest:
            names = ", ".join(v.path for v in self.rest)
            if strict:
                raise ValueError(f"there is no closed form for {names}; use method 'auto' or 'jacobian'")
            log.info("no closed form for %s: their gradients are computed by the jacobian", names)

    def features(self, x, y):
        calls, losses, tape = self._record(self.layers, x, y, persistent=bool(self.rest))
        deltas = tape.gradient(losses, [[output for _, output in calls[id(layer)]] for layer in self.layers])
        features = []
        for layer, delta in zip(self.layers, deltas):
            a, d = self._positions([inputs for inputs, _ in calls[id(layer)]]), self._positions(delta)
            features += _factors(layer, a, d)
        if self.rest:
            features.append((_flat_jacobian(tape, losses, self.rest, self.dtype),))
        return features

    def _record(self, layers, x, y, persistent=False):
        # the gradient of `losses` sums over the examples; at example i's activation it is that of L_i alone
        with tf.GradientTape(persistent=persistent) as tape, _recording(layers) as calls:
            losses = self.loss(y, self.model(x, training=False))
        return calls, losses, tape

    def _positions(self, tensors):
        """(n, T, d): all positions of all of the layer's calls."""
        return tf.concat([tf.cast(tf.reshape(t, (t.shape[0], -1, t.shape[-1])), self.dtype) for t in tensors], axis=1)

    def _agrees(self, layer, x, y):
        """Whether the layer's calls account for its whole gradient: not so for a kernel that is used elsewhere too,
        for a layer that mixes examples, or for one that the model does not call."""
        calls, losses, tape = self._record([layer], x, y)
        inputs, outputs = zip(*calls[id(layer)]) if calls[id(layer)] else ((), ())
        variables = layer.trainable_variables
        deltas, sums = tape.gradient(losses, (list(outputs), [v.value for v in variables]))
        if not outputs or any(t is None or t.shape[0] != len(x) for t in deltas):
            return False
        a, d = self._positions(inputs), self._positions(deltas)
        for variable, found in zip(variables, sums):
            closed = tf.einsum("nti,nto->io", a, d) if variable is layer.kernel else tf.reduce_sum(d, axis=(0, 1))
            if tf.norm(closed - tf.cast(found, self.dtype)) > SAMPLE_TOLERANCE * tf.norm(closed):
                return False
        return True


def _dense_layers(model):
    """The Dense layers that own their trainable variables alone; subclasses may compute something else."""
    layers = model._flatten_layers()
    owners = Counter(id(v) for layer in layers for v in layer._trainable_variables)
    return [layer for layer in layers
            if type(layer) is keras.layers.Dense and layer.trainable_variables
            and {id(v) for v in layer.trainable_variables} <= {id(layer.kernel), id(layer.bias)}
            and all(owners[id(v)] == 1 for v in layer.trainable_variables)]


def _factors(layer, a, d):
    """The features of a Dense layer from its inputs a (n, T, d_in) and pre-activation gradients d (n, T, d_out)."""
    kernel, bias = layer.kernel.trainable, layer.use_bias and layer.bias.trainable
    if kernel and a.shape[1] == 1:
        a, d = a[:, 0], d[:, 0]
        return [(tf.pad(a, [[0, 0], [0, 1]], constant_values=1) if bias else a, d)]
    features = [(tf.reshape(tf.einsum("nti,nto->nio", a, d), (a.shape[0], -1)),)] if kernel else []
    return features + ([(tf.reduce_sum(d, axis=1),)] if bias else [])


@contextmanager
def _recording(layers):
    """Records (inputs, pre-activation output) of every call of the layers, by id; leaves the layers as they were.

    Works on `__dict__`, as Keras's attribute tracking would keep what it sees.
    """
    calls = {id(layer): [] for layer in layers}
    activations = {id(layer): layer.activation for layer in layers}
    try:
        for layer in layers:
            vars(layer).update(activation=None, call=_recorder(layer, activations[id(layer)], calls[id(layer)]))
        yield calls
    finally:
        for layer in layers:
            vars(layer).update(activation=activations[id(layer)])
            vars(layer).pop("call", None)


def _recorder(layer, activation, calls):
    call = layer.call

    def recorder(inputs, *args, **kwargs):
        output = call(inputs, *args, **kwargs)
        calls.append((inputs, output))
        return output if activation is None else activation(output)

    return recorder
