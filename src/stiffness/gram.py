"""Exact Gram matrices of per-example loss gradients, without the gradients.

For a Dense layer with input a_i and gradient d_i at its pre-activation, example i's gradient is the outer product
a_i d_i^T for the kernel and d_i for the bias, so the layer adds (a_i . a_j + 1) (d_i . d_j) to g_i . g_j. One batched
forward and one backward pass of the SUM of the losses give all a and d, as example i's loss depends on its own
activations alone. The rules of the other kinds of layers are in `stiffness.engine.layers`.
"""

import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import keras
import numpy as np
from keras import ops

from stiffness.engine import autodiff
from stiffness.engine.engine import Engine, blocks, left_as_found
from stiffness.engine.examples import NotFinite, check_norms, examples_of, is_dataset, per_example, take
from stiffness.measures import _class_indices

METHODS = ("auto", "closed-form", "jacobian")
LARGEST_BLOCK = 1024  # examples on a side of a tile; larger ones gain no speed
SMALLEST_BLOCK = 375  # that a matrix is divided into by choice; the products of smaller ones are slower
# A measurement replaces the calls of the model's layers for a while, and sets the precision of matrix products.
ONE_AT_A_TIME = threading.RLock()
BLOCKS = 8  # with as many, the tiles are an eighth more than half of the matrix


@dataclass(frozen=True, eq=False, repr=False)
class Gram:
    """Inner products of loss gradients: products[i, j] = g_i . g_j, norms[i] = |g_i|, norms2[j] = |g_j|.

    They are kept over a scale of each example: scaled[i, j] = products[i, j] / (scales[i] scales2[j]). The products of
    examples that a network is sure of may be too small for single precision; the sign and the cosine need none.
    `shares` maps each layer's path to its part of the trace of the rows' Gram matrix (the parts sum to 1), and
    `layers`, where asked for, to its own (n, m) matrix (these sum to `products`).
    """

    scaled: np.ndarray
    scales: np.ndarray
    scales2: np.ndarray
    scaled_norms: np.ndarray
    scaled_norms2: np.ndarray
    symmetric: bool  # the columns' examples are the rows'
    method: str  # "closed-form", "jacobian", or both
    shares: dict = field(default_factory=dict)
    scaled_layers: dict = field(default_factory=dict)

    def __repr__(self):
        n, m = self.scaled.shape
        return f"Gram({n} x {m}, {self.method}{', symmetric' if self.symmetric else ''})"

    @cached_property
    def products(self):
        """(n, m): g_i . g_j"""
        return self._unscaled(self.scaled)

    @cached_property
    def layers(self):
        return {label: self._unscaled(matrix) for label, matrix in self.scaled_layers.items()}

    def _unscaled(self, matrix):
        with np.errstate(over="ignore", invalid="ignore"):  # 0 times infinity, below
            products = matrix * self.scales[:, None].astype(matrix.dtype)
            products *= self.scales2.astype(matrix.dtype)
        if products.size and not (np.isfinite(products.min()) and np.isfinite(products.max())):
            count = np.sum(~np.isfinite(products))
            raise NotFinite(f"{count} of {products.size} products are too large for {products.dtype}, as the losses "
                            "are; sign(), cosine() and the norms are not, or use a model in float64")
        return products

    @property
    def norms(self):
        """(n,): |g_i|"""
        return self.scaled_norms * self.scales

    @property
    def norms2(self):
        """(m,): |g_j|"""
        return self.scaled_norms2 * self.scales2

    def sign(self):
        """(n, m) in {-1, 0, 1}: sign(g_i . g_j), the stiffness of v1 (equation `sign`)."""
        return np.sign(self.scaled)

    def cosine(self):
        """(n, m) in [-1, 1]: g_i . g_j / (|g_i| |g_j|), the stiffness of v3 (equation `cosine`).

        NaN where a norm is 0.
        """
        norms, norms2 = (np.where(norms > 0, norms, np.nan) for norms in (self.scaled_norms, self.scaled_norms2))
        cosine = self.scaled / norms[:, None]
        cosine /= norms2
        return np.clip(cosine, -1, 1, out=cosine)


def gradient_gram(model, x, y=None, x2=None, y2=None, *, loss=None, method="auto", memory_budget=2 * 2**30,
                  per_layer=False):
    """Gram matrix of the per-example loss gradients: products[i, j] = g_i . g_j, g_i = dL_i/dW (equation `gradient`).

    W are all of the model's trainable variables; the model runs in inference mode and is left as it was found.
    L_i is the unreduced loss of example i alone: neither the batch's mean nor weight regularisation is in g_i. A loss
    of several numbers an example (a sequence's) counts by their mean over what is not masked. Where a model is so sure
    of a label that 1 - p is below single precision, Keras's (sparse) categorical cross-entropy is exact if the outputs
    are logits, or with TensorFlow a softmax activation's; of other losses the sign is rounding there.

    model: a built Keras model. x: (n, ...) and y: (n, ...), its examples; x may be a list or dictionary of inputs, or
    a `tf.data.Dataset` of (x, y) batches, without y. x2, y2: (m, ...) and (m, ...), the columns' examples; None takes
    x, y, and the matrix is symmetric. loss: a Keras loss, its name, or a function of (y_true, y_pred) that returns a
    value an example; None is the compiled model's. method: "closed-form" for layers that have one; "jacobian", the
    plain definition by automatic differentiation; "auto" is the closed form, with the jacobian for the variables of
    all other layers. memory_budget: bytes for what is computed on the way, besides the result. per_layer: keep each
    layer's own matrix.

    A model's first measurement compares the closed forms with the plain definition on a few examples, and uses those
    that agree; as long as the model's layers, loss and shapes of examples stay the same, later ones trust that, and run
    compiled once the same shapes have come twice.

    Returns `Gram`. Raises ValueError and TypeError that name what is wrong and what was expected.
    Source: Fort et al. v1, section 2; the closed form is the module's first paragraph.
    """
    with _measuring(model, x, y, x2, y2, loss, method) as (engine, rows, columns):
        return _tiled(engine, rows, columns, memory_budget, per_layer)


def cosine_class_stiffness(model, x, y=None, labels=None, x2=None, y2=None, labels2=None, *, loss=None,
                           num_classes=None, method="auto", memory_budget=2 * 2**30):
    """Class stiffness matrix of cosines (equation `class-stiffness`), without the Gram matrix.

    C(a, b) = E[ cos(g_i, g_j) | label_i = a, label2_j = b, i != j ].

    Exact, and linear in n in time, as a mean of cosines is a product of two means of unit gradients: with
    S_a = sum of g_i / |g_i| over the n_a examples i of class a, C(a, b) = S_a . S_b / (n_a n_b), and
    C(a, a) = (|S_a|^2 - n_a) / (n_a (n_a - 1)) without x2. Equal to
    `class_stiffness(gradient_gram(...).cosine(), labels, labels2)`: a zero gradient is not counted.

    labels: (n,) class indices, labels2: (m,); None takes y and y2. All else as in `gradient_gram`. Returns (Nc, Nc),
    NaN where no pair counts. The S_a are num_classes times as many numbers as the model has weights; a ValueError says
    what they need where that is more than memory_budget.
    """
    with _measuring(model, x, y, x2, y2, loss, method) as (engine, rows, columns):
        own = columns is None
        if own and labels2 is not None:
            raise ValueError("labels2 is given without x2; they are the labels of the examples in x2")
        labels = _class_indices("labels", rows[1] if labels is None else labels, len(rows[1]))
        labels2 = labels if own else _class_indices("labels2", columns[1] if labels2 is None else labels2,
                                                    len(columns[1]))
        largest = max(labels.max(), labels2.max())
        num_classes = int(largest) + 1 if num_classes is None else num_classes
        if largest >= num_classes:
            raise ValueError(f"label {largest} is out of range for num_classes {num_classes}")
        kept = (1 if own else 2) * num_classes * engine.length * engine.dtype.itemsize
        n = max(len(labels), len(labels2))
        block, _ = engine.plan(memory_budget, n, n, kept)  # large blocks have many examples of each class
        sums, counts = _sums_of_unit_gradients(engine, rows, labels, num_classes, block, "x")
        sums2, counts2 = (sums, counts) if own else _sums_of_unit_gradients(
            engine, columns, labels2, num_classes, block, "x2")
    C = sum((one @ other.T).astype(float) for one, other in zip(sums, sums2))
    pairs = np.outer(counts, counts2)
    if own:  # the cosine of an example with itself is 1
        diagonal = np.diag_indices(num_classes)
        C[diagonal] -= counts
        pairs[diagonal] -= counts
    return np.divide(C, pairs, out=np.full_like(C, np.nan), where=pairs > 0)


def _sums_of_unit_gradients(engine, examples, labels, num_classes, block, x_name):
    """([(num_classes, p)] for the parts p of the weights, how many gradients of each class are not zero)"""
    sums, counts = None, np.zeros(num_classes, int)
    for c in blocks(len(labels), block):
        layers, _ = engine.features(*take(examples, c), c.start, x_name)  # a unit gradient needs no scale
        features = [feature for parts in layers.values() for feature in parts]
        sums = sums or [np.zeros((num_classes, feature.length()), engine.dtype) for feature in features]
        squares = ops.convert_to_numpy(sum(feature.squares() for feature in features))
        check_norms(squares, c.start, x_name)
        norms = _root(squares)
        for label in np.unique(labels[c]):
            members = np.flatnonzero((labels[c] == label) & (norms > 0))
            counts[label] += len(members)
            for total, feature in zip(sums, features):
                total[label] += ops.convert_to_numpy(feature.weighted_sum(members, 1 / norms[members]))
    return sums, counts


@contextmanager
def _measuring(model, x, y, x2, y2, loss, method):
    """(engine, rows, columns) of arguments that are in order; the model is left as it was found."""
    autodiff.check_eager()
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; expected one of {', '.join(METHODS)}")
    if not isinstance(model, keras.layers.Layer):
        raise TypeError(f"model is of type {type(model).__name__}; expected a Keras model")
    if not model.built:
        raise ValueError("model is not built; call it on an example first, or give it an Input")
    if not model.trainable_variables:
        raise ValueError("model has no trainable variables, so the loss has no gradient; check its trainable flags")
    if (x2 is None) != (y2 is None) and not is_dataset(x2):
        raise ValueError(f"{'x2' if y2 is None else 'y2'} is given alone; the columns need both x2 and y2")
    loss = per_example(loss, model)
    rows = examples_of("x", x, "y", y, model)
    columns = None if x2 is None else examples_of("x2", x2, "y2", y2, model)
    with ONE_AT_A_TIME, _not_trained(model), left_as_found(model), autodiff.full_precision():
        yield Engine(model, loss, rows, columns, method), rows, columns


@contextmanager
def _not_trained(model):
    """Refuses what was measured while another thread trained the model, whose optimizer counts its steps."""
    before, failed = step_of(model), None
    try:
        yield
    except Exception as error:  # training breaks a measurement in many ways
        failed = error
    if step_of(model) != before:
        raise RuntimeError(f"the model was trained while it was measured: its optimizer was at step {before} and is at "
                           f"{step_of(model)}; measure before or after the training, or in it by StiffnessCallback"
                           ) from failed
    if failed:
        raise failed


def step_of(model):
    """The number of optimizer steps that the model has taken; None where it has no optimizer."""
    optimizer = getattr(model, "optimizer", None)
    return None if optimizer is None else int(ops.convert_to_numpy(ops.copy(optimizer.iterations.value)))


# --- tiles ----------------------------------------------------------------------------------------------------------


def _tiled(engine, rows, columns, memory_budget, per_layer):
    """The Gram matrix in tiles: as many blocks of rows as the budget allows are held and meet each block of columns."""
    symmetric = columns is None
    columns = rows if symmetric else columns
    n, m = len(rows[1]), len(columns[1])
    # of a symmetric matrix half is computed, but the whole tiles on the diagonal: so there are several blocks
    several = min(max(n // SMALLEST_BLOCK, 1), BLOCKS) if symmetric else 1
    block, held = engine.plan(memory_budget, max(n, m), largest=min(-(-n // several), LARGEST_BLOCK),
                              by_layer=per_layer)
    row_blocks = blocks(n, block)
    column_blocks = row_blocks if symmetric else blocks(m, block)
    products = np.empty((n, m), engine.dtype)
    squares, squares2 = np.zeros(n, engine.dtype), np.zeros(m, engine.dtype)
    scales, scales2 = np.zeros(n), np.zeros(m)
    layers, traces = {}, Counter()

    def fill(group):  # a function, so that these features are let go before the next ones are made
        lefts = []
        for r in row_blocks[group]:
            left, scales[r] = engine.features(*take(rows, r), r.start, "x")
            lefts.append((r, left))
            if not symmetric:
                squares[r] = _squares(left, scales[r], traces, r.start, "x")
        for c in column_blocks[group.start :] if symmetric else column_blocks:
            kept = [left for r, left in lefts if symmetric and r == c]
            if kept:
                right = kept[0]
            else:
                right, scales2[c] = engine.features(*take(columns, c), c.start, "x" if symmetric else "x2")
            if not symmetric and group.start == 0:
                squares2[c] = _squares(right, scales2[c], Counter(), c.start, "x2")
            for r, left in lefts:
                if symmetric and c.start < r.start:
                    continue
                of_rows = symmetric and r == c
                total, parts = engine.products(left, right, _whole if per_layer else ops.diagonal if of_rows else None)
                if of_rows:
                    check_norms(ops.diagonal(total), r.start, "x")
                _place(products, r, c, total, symmetric)
                for label, part in parts.items():
                    if per_layer:
                        _place(layers.setdefault(label, np.zeros((n, m), engine.dtype)), r, c, part, symmetric)
                    if of_rows:
                        squared = ops.convert_to_numpy(ops.diagonal(part) if per_layer else part)
                        traces[label] += float(squared @ scales[r]**2)

    for group in blocks(len(row_blocks), held):
        fill(group)
    if symmetric:
        squares = squares2 = products.diagonal().copy()
        scales2 = scales
    trace = sum(traces.values())
    shares = {label: part / trace for label, part in traces.items()} if trace else {}
    used = " and ".join(["closed-form"] * bool(engine.groups) + ["jacobian"] * bool(engine.rest))
    return Gram(products, scales, scales2, _root(squares), _root(squares2), symmetric, used, shares, layers)


def _whole(part):
    return part


def _root(squares):
    return np.sqrt(np.maximum(squares, 0))  # a sum of products may be rounded to below 0


def _squares(features, scales, traces, start, x_name):
    """(n,) squared norms over the squared scales; adds each layer's part of the norms' sum to its trace."""
    parts = {label: ops.convert_to_numpy(sum(feature.squares() for feature in parts))
             for label, parts in features.items()}
    squares = sum(parts.values())
    check_norms(squares, start, x_name)
    for label, part in parts.items():
        traces[label] += float(part @ scales**2)
    return squares


def _place(matrix, r, c, part, symmetric):
    matrix[r, c] = ops.convert_to_numpy(part)
    if symmetric and r != c:
        matrix[c, r] = matrix[r, c].T
