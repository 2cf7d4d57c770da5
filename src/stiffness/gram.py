"""Exact Gram matrices of per-example loss gradients, computed without forming the gradients.

For a Dense layer with input a_i and gradient d_i at its pre-activation, example i's gradient is the outer product
a_i d_i^T for the kernel and d_i for the bias, so the layer adds (a_i . a_j + 1) (d_i . d_j) to g_i . g_j. One batched
forward pass and one backward pass of the SUM of the losses give all a and d, because example i's loss depends only on
its own activations. The closed forms of the other kinds of layers are in `stiffness.engine.layers`.
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
from stiffness.engine.engine import Engine, restored_state, slices_of
from stiffness.engine.examples import NotFinite, check_norms, examples_of, is_dataset, per_example_loss, take
from stiffness.measures import _class_indices

METHODS = ("auto", "closed-form", "jacobian")
LARGEST_BLOCK = 1024  # examples along a side of a tile; larger tiles are no faster
SMALLEST_BLOCK = 375  # smaller tiles make the matrix products slower, so only a small memory budget leads to them
BLOCKS = 8  # per side of a symmetric matrix; the tiles that are computed then cover 9/16 of it

# A measurement temporarily replaces the calls of the model's layers and changes the precision of matrix products, so
# the measurements of a process run one after another.
MEASURING = threading.RLock()


@dataclass(frozen=True, eq=False, repr=False)
class Gram:
    """Inner products of loss gradients: products[i, j] = g_i . g_j, norms[i] = |g_i|, norms2[j] = |g_j|.

    All of them are stored relative to a scale per example: scaled[i, j] = products[i, j] / (scales[i] scales2[j]).
    The gradients of examples that a network classifies with great confidence can be too small for single precision;
    the sign and the cosine do not depend on the scales. `shares` maps each layer's path to its part of the trace of
    the rows' Gram matrix (the parts sum to 1). `layers` maps it to the layer's own (n, m) matrix if `per_layer` was
    set (these sum to `products`).
    """

    scaled: np.ndarray
    scales: np.ndarray
    scales2: np.ndarray
    scaled_norms: np.ndarray
    scaled_norms2: np.ndarray
    symmetric: bool  # whether rows and columns are the same examples
    method: str  # "closed-form", "jacobian", or "closed-form and jacobian"
    shares: dict = field(default_factory=dict)
    scaled_layers: dict = field(default_factory=dict)

    def __repr__(self):
        n, m = self.scaled.shape
        return f"Gram({n} x {m}, {self.method}{', symmetric' if self.symmetric else ''})"

    @cached_property
    def products(self):
        """(n, m): g_i . g_j, in units of loss^2 / weight^2. Raises NotFinite where one exceeds the precision."""
        return self._unscaled(self.scaled)

    @cached_property
    def layers(self):
        """{layer's path: (n, m)}, each layer's part of `products`; empty unless `per_layer` was set."""
        return {label: self._unscaled(matrix) for label, matrix in self.scaled_layers.items()}

    def _unscaled(self, matrix):
        with np.errstate(over="ignore", invalid="ignore"):  # both are reported below
            products = matrix * self.scales[:, None].astype(matrix.dtype)
            products *= self.scales2.astype(matrix.dtype)
        if products.size and not (np.isfinite(products.min()) and np.isfinite(products.max())):
            count = np.sum(~np.isfinite(products))
            raise NotFinite(f"{count} of {products.size} products are too large for {products.dtype}, because the "
                            "losses are; sign(), cosine() and the norms are still right, and a float64 model has room")
        return products

    @property
    def norms(self):
        """(n,): |g_i|, in units of loss / weight."""
        return self.scaled_norms * self.scales

    @property
    def norms2(self):
        """(m,): |g_j|, in units of loss / weight."""
        return self.scaled_norms2 * self.scales2

    def sign(self):
        """(n, m) in {-1, 0, 1}: sign(g_i . g_j), the stiffness of v1 (equation `sign`). No units."""
        return np.sign(self.scaled)

    def cosine(self):
        """(n, m) in [-1, 1]: g_i . g_j / (|g_i| |g_j|), the stiffness of v3 (equation `cosine`).

        NaN where a norm is 0. No units.
        """
        norms, norms2 = (np.where(norms > 0, norms, np.nan) for norms in (self.scaled_norms, self.scaled_norms2))
        cosine = self.scaled / norms[:, None]
        cosine /= norms2
        return np.clip(cosine, -1, 1, out=cosine)


def gradient_gram(model, x, y=None, x2=None, y2=None, *, loss=None, method="auto", memory_budget=2 * 2**30,
                  per_layer=False):
    """Gram matrix of the per-example loss gradients (equation `gradient`).

    products[i, j] = g_i . g_j with g_i = dL_i/dW, W being all trainable variables of the model. L_i is the unreduced
    loss of example i alone: g_i contains neither the factor 1/n of a batch's mean loss nor weight regularisation. If
    the loss has several values per example, as for a sequence, L_i is their mean over the positions that are not
    masked. The model runs in inference mode and is left exactly as it was.

    Args:
        model: a built Keras model.
        x: (n, ...), the rows' examples; a list or dictionary of arrays for several inputs; or a `tf.data.Dataset` of
            (x, y) batches, and then no y.
        y: (n, ...), the rows' labels.
        x2, y2: (m, ...) and (m, ...), the columns' examples and labels. None means x and y; the matrix is symmetric.
        loss: a Keras loss, its name, or a function of (y_true, y_pred) that returns one value per example. None means
            the loss of `compile`.
        method: "closed-form" uses the layers' closed forms, and raises if a layer has none. "jacobian" is automatic
            differentiation of every example. "auto" uses closed forms, and the jacobian for the variables without one.
        memory_budget: bytes for intermediate values; the result itself is not counted.
        per_layer: whether to keep each layer's own matrix, `Gram.layers`.

    Returns:
        `Gram`, whose products are float32, or float64 for a float64 model.

    Raises:
        ValueError, TypeError: an argument does not fit; the message names it and says what was expected.
        NotFinite (a ValueError): a loss or a gradient is infinite or NaN.
        RuntimeError: called inside a `tf.function` or a `tf.distribute` strategy, or while another thread trains the
            model.

    The first measurement of a model compares each layer's closed form with automatic differentiation on a few examples
    and uses those that agree. Later measurements rely on that as long as the layers, the loss and the shapes of the
    examples stay the same; from the second measurement of the same shapes on, they run as a compiled graph.

    Precision: where a model's confidence 1 - p is below single precision, Keras's (sparse) categorical cross-entropy
    is still exact if the model returns logits or, with TensorFlow, ends in a softmax activation. With other losses the
    signs of such examples are rounding errors.

    Source: Fort et al. v1, section 2. The module's docstring explains the closed form.

    >>> import keras
    >>> import numpy as np
    >>> from stiffness import gradient_gram
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    >>> model.set_weights([np.array([[2.0]]), np.array([1.0])])  # f(x) = 2 x + 1
    >>> gram = gradient_gram(model, np.array([[1.0], [-2.0]]), np.array([[0.0], [1.0]]), loss="mse")
    >>> gram
    Gram(2 x 2, closed-form, symmetric)
    >>> gram.products.tolist()  # of the gradients (6, 6) and (16, -8)
    [[72.0, 48.0], [48.0, 320.0]]
    >>> print(gram.cosine().round(2))
    [[1.   0.32]
     [0.32 1.  ]]
    """
    with _measuring(model, x, y, x2, y2, loss, method) as (engine, rows, columns):
        return _tiled(engine, rows, columns, memory_budget, per_layer)


def cosine_class_stiffness(model, x, y=None, labels=None, x2=None, y2=None, labels2=None, *, loss=None,
                           num_classes=None, method="auto", memory_budget=2 * 2**30):
    """Class stiffness matrix of cosines (equation `class-stiffness`), without the Gram matrix.

    C(a, b) = E[ cos(g_i, g_j) | label_i = a, label2_j = b, i != j ], where i = j occurs only if x2 is None. A mean of
    cosines is the product of two sums of unit gradients, so the time is linear in n: with S_a = sum of g_i / |g_i|
    over the n_a examples of class a, C(a, b) = S_a . S_b / (n_a n_b), and, if x2 is None,
    C(a, a) = (|S_a|^2 - n_a) / (n_a (n_a - 1)). The result is that of
    `class_stiffness(gradient_gram(...).cosine(), labels, labels2)`; zero gradients are not counted.

    Args:
        labels, labels2: (n,) and (m,) class indices of the examples x and x2. None means y and y2.
        num_classes: the number of classes Nc; None means the largest label + 1.
        All other arguments are those of `gradient_gram`.

    Returns:
        (Nc, Nc), without units; NaN where there is no pair.

    Raises:
        As `gradient_gram` and `class_stiffness`. The sums S_a hold num_classes times as many numbers as the model has
        weights; ValueError says how many bytes that is if it exceeds memory_budget.

    >>> import keras
    >>> import numpy as np
    >>> from stiffness import cosine_class_stiffness
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    >>> model.set_weights([np.array([[2.0]]), np.array([1.0])])
    >>> x, y = np.array([[1.0], [-2.0], [3.0]]), np.array([[0.0], [1.0], [1.0]])
    >>> cosine_class_stiffness(model, x, y, labels=[0, 0, 1], loss="mse").round(2).tolist()
    [[0.32, 0.8], [0.8, nan]]
    """
    with _measuring(model, x, y, x2, y2, loss, method) as (engine, rows, columns):
        same_examples = columns is None
        if same_examples and labels2 is not None:
            raise ValueError("labels2 is given without x2; they are the labels of the examples in x2")
        labels = _class_indices("labels", rows[1] if labels is None else labels, len(rows[1]))
        labels2 = labels if same_examples else _class_indices(
            "labels2", columns[1] if labels2 is None else labels2, len(columns[1]))
        largest = max(labels.max(), labels2.max())
        num_classes = int(largest) + 1 if num_classes is None else num_classes
        if largest >= num_classes:
            raise ValueError(f"label {largest} is out of range for num_classes {num_classes}")
        kept = (1 if same_examples else 2) * num_classes * engine.length * engine.dtype.itemsize
        n = max(len(labels), len(labels2))
        block, _ = engine.plan(memory_budget, n, n, kept)  # in large blocks each class has many examples
        sums, counts = _sums_of_unit_gradients(engine, rows, labels, num_classes, block, "x")
        sums2, counts2 = (sums, counts) if same_examples else _sums_of_unit_gradients(
            engine, columns, labels2, num_classes, block, "x2")
    C = sum((one @ other.T).astype(float) for one, other in zip(sums, sums2))
    pairs = np.outer(counts, counts2)
    if same_examples:  # the cosine of an example with itself is 1
        diagonal = np.diag_indices(num_classes)
        C[diagonal] -= counts
        pairs[diagonal] -= counts
    return np.divide(C, pairs, out=np.full_like(C, np.nan), where=pairs > 0)


def _sums_of_unit_gradients(engine, examples, labels, num_classes, block, x_name):
    """([(num_classes, p)] for each part of p weights, (num_classes,): how many gradients of each class are not 0)."""
    sums, counts = None, np.zeros(num_classes, int)
    for c in slices_of(len(labels), block):
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
    """Checks the arguments and yields (engine, rows, columns). Restores the model's state afterwards."""
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
    loss = per_example_loss(loss, model)
    rows = examples_of("x", x, "y", y, model)
    columns = None if x2 is None else examples_of("x2", x2, "y2", y2, model)
    with MEASURING, _not_trained(model), restored_state(model), autodiff.full_precision():
        yield Engine(model, loss, rows, columns, method), rows, columns


@contextmanager
def _not_trained(model):
    """Raises RuntimeError if the model's optimizer takes a step meanwhile, that is, in another thread."""
    before, failed = step_of(model), None
    try:
        yield
    except Exception as error:  # it may be a consequence of the training
        failed = error
    if step_of(model) != before:
        raise RuntimeError(f"the model was trained while it was measured: its optimizer was at step {before} and is at "
                           f"{step_of(model)}; measure before or after training, or from within, with StiffnessCallback"
                           ) from failed
    if failed:
        raise failed


def step_of(model):
    """The number of optimizer steps that the model has taken; None where it has no optimizer."""
    optimizer = getattr(model, "optimizer", None)
    return None if optimizer is None else int(ops.convert_to_numpy(ops.copy(optimizer.iterations.value)))


# --- tiles ----------------------------------------------------------------------------------------------------------


def _tiled(engine, rows, columns, memory_budget, per_layer):
    """The Gram matrix, tile by tile. The features of as many blocks of rows as the budget allows are kept in memory;
    each block of columns is multiplied with all of them, and so is computed once for each group of row blocks."""
    symmetric = columns is None
    columns = rows if symmetric else columns
    n, m = len(rows[1]), len(columns[1])
    # of a symmetric matrix only the tiles on and above the diagonal are computed, which saves more with more blocks
    several = min(max(n // SMALLEST_BLOCK, 1), BLOCKS) if symmetric else 1
    block, held = engine.plan(memory_budget, max(n, m), largest=min(-(-n // several), LARGEST_BLOCK),
                              by_layer=per_layer)
    row_blocks = slices_of(n, block)
    column_blocks = row_blocks if symmetric else slices_of(m, block)
    products = np.empty((n, m), engine.dtype)
    squares, squares2 = np.zeros(n, engine.dtype), np.zeros(m, engine.dtype)
    scales, scales2 = np.zeros(n), np.zeros(m)
    layers, traces = {}, Counter()

    def fill(group):  # a function, so that its features are freed before the next group's are computed
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

    for group in slices_of(len(row_blocks), held):
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
    return np.sqrt(np.maximum(squares, 0))  # rounding may make a square negative


def _squares(features, scales, traces, start, x_name):
    """(n,) squared norms divided by the squared scales; also adds each layer's part of the trace to `traces`."""
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
