"""Exact Gram matrices of per-example loss gradients, computed without forming the gradients.

For a Dense layer with input a_i and gradient d_i at its pre-activation, example i's gradient is the outer product
a_i d_i^T for the kernel and d_i for the bias, so the layer adds (a_i . a_j + 1) (d_i . d_j) to g_i . g_j. One batched
forward pass and one backward pass of the SUM of the losses give all a and d, because example i's loss depends only on
its own activations. The closed forms of the other kinds of layers are in `stiffness.engine.rules`.
"""

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import keras
import numpy as np
from keras import ops

from stiffness.engine.backend import backend
from stiffness.engine.engine import Engine, restored_state, slices_of
from stiffness.engine.examples import NotFinite, brings_labels, bytes_of, count_of, examples_of
from stiffness.engine.losses import Losses
from stiffness.engine.tiles import Progress, all_products, block_of, largest_of_each_row, root, unit_sums
from stiffness.measures import class_indices

METHODS = ("auto", "closed-form", "jacobian")

# A measurement temporarily replaces the calls of the model's layers and changes the precision of matrix products, so
# the measurements of a process run one after another.
MEASURING = threading.RLock()


@dataclass(frozen=True, eq=False, repr=False)
class Gram:
    """Inner products of loss gradients: products[i, j] = g_i . g_j, norms[i] = |g_i|, norms2[j] = |g_j|.

    All of them are stored relative to a scale per example: scaled[i, j] = products[i, j] / (scales[i] scales2[j]).
    The gradients of examples that a network classifies with great confidence can be too small for single precision;
    the sign and the cosine do not depend on the scales. `ways` maps each layer's path to how its gradients were
    computed, `shares` to its part of the trace of the rows' Gram matrix (the parts sum to 1), and `layers` to its own
    (n, m) matrix if `per_layer` was set (these sum to `products`).
    """

    scaled: np.ndarray
    scales: np.ndarray
    scales2: np.ndarray
    scaled_norms: np.ndarray
    scaled_norms2: np.ndarray
    symmetric: bool  # whether rows and columns are the same examples
    ways: dict  # label of a layer -> how its gradients were computed
    shares: dict = field(default_factory=dict)
    scaled_layers: dict = field(default_factory=dict)

    def __repr__(self):
        n, m = self.scaled.shape
        return f"Gram({n} x {m}, {', '.join(sorted(set(self.ways.values())))}{'; symmetric' if self.symmetric else ''})"

    @cached_property
    def products(self):
        """(n, m): g_i . g_j, in units of loss^2 / weight^2. Raises NotFinite where one exceeds the precision."""
        return self._unscaled(self.scaled)

    @cached_property
    def layers(self):
        """{layer's path: (n, m)}, each layer's part of `products`; empty unless `per_layer` was set."""
        return {label: self._unscaled(matrix) for label, matrix in self.scaled_layers.items()}

    def _unscaled(self, matrix):
        if (self.scales == 1).all() and (self.scales2 == 1).all():
            return matrix
        with np.errstate(over="ignore", invalid="ignore"):  # both are reported below
            products = matrix * self.scales[:, None].astype(matrix.dtype)
            products *= self.scales2.astype(matrix.dtype)
        if products.size and not (np.isfinite(products.min()) and np.isfinite(products.max())):
            count, largest = np.sum(~np.isfinite(products)), max(self.shares, key=self.shares.get, default="the model")
            raise NotFinite(f"{count} of {products.size} products are too large for {products.dtype}, most of all in "
                            f"{largest}, because the losses are; sign(), cosine() and the norms are still right, and a "
                            "float64 model has room")
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
                  per_layer=False, verbose="auto"):
    """Gram matrix of the per-example loss gradients (equation `gradient`).

    products[i, j] = g_i . g_j with g_i = dL_i/dW, W being all trainable variables of the model. L_i is the loss that
    `fit` computes of a batch of example i alone, without weight regularisation: g_i does not contain the factor 1/n of
    a batch's mean loss, and a sequence's loss is the mean over the positions that are not masked, unless the loss
    reduces otherwise. The model runs in inference mode and is left exactly as it was.

    Args:
        model: a built Keras model.
        x: (n, ...), the rows' examples; a list or dictionary of arrays for several inputs; or whatever brings its
            labels, and then no y: a tuple (x, y), a `tf.data.Dataset`, a PyDataset, a generator, a data loader.
        y: (n, ...), the rows' labels; a list or dictionary of arrays for several outputs.
        x2, y2: (m, ...) and (m, ...), the columns' examples and labels. None means x and y; the matrix is symmetric.
        loss: as in `compile`: a Keras loss, its name, a function of (y_true, y_pred), or a list or dictionary of these
            for several outputs. None means the loss of `compile`, with its weights, or the model's own `compute_loss`.
            Losses that the model adds (`add_loss`, activity regularisers) count, if they are a mean or a sum over
            examples.
        method: "closed-form" uses the layers' closed forms, and raises if a layer has none. "jacobian" is automatic
            differentiation of all examples' losses. "auto" uses closed forms; a layer without one has its call
            repeated for one example at a time. `Gram.ways` tells which was used for which layer.
        memory_budget: for intermediate values, in bytes or as text such as "1GB"; the result itself is not counted.
        per_layer: whether to keep each layer's own matrix, `Gram.layers`.
        verbose: 1 shows the progress, 0 does not, "auto" does if the measurement takes long.

    Returns:
        `Gram`, whose products are float32, or float64 for a float64 model.

    Raises:
        ValueError, TypeError: an argument does not fit; the message names it and says what was expected.
        NotFinite (a ValueError): a loss or a gradient is infinite or NaN.
        RuntimeError: called inside a `tf.function` or a `tf.distribute` strategy, or while another thread trains the
            model.

    The first measurement of a model compares the way that is taken for each layer with the plain definition on a few
    examples, and takes another one where they disagree. Later measurements rely on that as long as the layers, the loss
    and the shapes of the examples stay the same. They run as a compiled graph, whose values are compared with those of
    the model's own code each time if that is not Keras's.

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
    Gram(2 x 2, closed form; symmetric)
    >>> gram.products.tolist()  # of the gradients (6, 6) and (16, -8)
    [[72.0, 48.0], [48.0, 320.0]]
    >>> print(gram.cosine().round(2))
    [[1.   0.32]
     [0.32 1.  ]]
    """
    budget = bytes_of(memory_budget)
    with _measuring(model, x, y, x2, y2, loss, method) as (engine, rows, columns):
        found = all_products(engine, rows, columns, budget, per_layer, verbose)
        return Gram(found.scaled, found.scales, found.scales2, root(found.squares), root(found.squares2),
                    columns is None, engine.ways, found.shares, found.layers)


def gradient_norms(model, x, y=None, *, loss=None, method="auto", memory_budget=2 * 2**30, verbose="auto"):
    """(n,): |g_i|, the norms of the per-example loss gradients (equation `gradient`), in units of loss / weight.

    They are those of `gradient_gram(model, x, y).norms`, without the products: the time is linear in n. The arguments
    and errors are those of `gradient_gram`.

    >>> import keras
    >>> import numpy as np
    >>> from stiffness import gradient_norms
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    >>> model.set_weights([np.array([[2.0]]), np.array([1.0])])  # f(x) = 2 x + 1
    >>> gradient_norms(model, np.array([[1.0], [-2.0]]), np.array([[0.0], [1.0]]), loss="mse").round(2).tolist()
    [8.49, 17.89]
    """
    budget = bytes_of(memory_budget)
    with _measuring(model, x, y, None, None, loss, method) as (engine, rows, _):
        n = count_of(rows[1])
        plan = engine.plan(budget, n, 1, n)
        progress = Progress(-(-n // plan.rows), n, 1, engine.dtype.itemsize, verbose)
        norms = np.zeros(n)
        for where in slices_of(n, plan.rows):
            block = block_of(engine, rows, where, plan.chunk, "x")
            norms[where] = root(block.squares) * block.scales
            progress.add()
        return norms


def nearest_gradients(model, x, y=None, x2=None, y2=None, *, k=10, by="cosine", largest=True, loss=None, method="auto",
                      memory_budget=2 * 2**30, verbose="auto"):
    """For each example of x, the k examples of x2 whose loss gradients are most like its own, or most opposed to it.

    A step on those lowers, or raises, its loss the most. Only k columns for each row are kept, so x2 may be large.

    Args:
        k: how many; at most the number of examples of x2.
        by: "cosine" (equation `cosine`) or "product", g_i . g_j (equation `gradient`), which favours large gradients.
        largest: False for the smallest values: the examples that are most opposed.
        All other arguments are those of `gradient_gram`. x2 None: the other examples of x.

    Returns:
        (values, indices): (n, k) each, the nearest first. NaN and -1 where an example has fewer than k others with a
        value: a zero gradient has no cosine.

    Raises:
        As `gradient_gram`; ValueError for k or by out of range.

    >>> import keras
    >>> import numpy as np
    >>> from stiffness import nearest_gradients
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    >>> model.set_weights([np.array([[2.0]]), np.array([1.0])])
    >>> x, y = np.array([[1.0], [-2.0], [3.0]]), np.array([[0.0], [1.0], [1.0]])
    >>> values, indices = nearest_gradients(model, x, y, k=1, loss="mse")
    >>> indices.tolist(), values.round(2).tolist()
    ([[2], [2], [0]], [[0.89], [0.71], [0.89]])
    """
    if by not in ("cosine", "product"):
        raise ValueError(f"by is {by!r}; expected 'cosine' or 'product'")
    budget, factor = bytes_of(memory_budget), 1 if largest else -1

    def value_of(left, right, products):
        if by == "product":
            return factor * products.astype(float) * left.scales[:, None] * right.scales
        norms, norms2 = (np.where(block.squares > 0, root(block.squares), np.nan) for block in (left, right))
        return factor * np.clip(products / norms[:, None] / norms2, -1, 1)

    with _measuring(model, x, y, x2, y2, loss, method) as (engine, rows, columns):
        most = count_of(rows[1]) - 1 if columns is None else count_of(columns[1])
        if not 1 <= k <= most:
            raise ValueError(f"k is {k}; expected 1 to {most}, the number of examples to choose from")
        values, indices = largest_of_each_row(engine, rows, columns, budget, k, value_of, verbose)
    return factor * values, indices


def cosine_class_stiffness(model, x, y=None, labels=None, x2=None, y2=None, labels2=None, *, loss=None,
                           num_classes=None, method="auto", memory_budget=2 * 2**30, verbose="auto"):
    """Class stiffness matrix of cosines (equation `class-stiffness`), without the Gram matrix.

    C(a, b) = E[ cos(g_i, g_j) | label_i = a, label2_j = b, i != j ], where i = j occurs only if x2 is None. A mean of
    cosines is the product of two sums of unit gradients, so the time is linear in n: with S_a = sum of g_i / |g_i|
    over the n_a examples of class a, C(a, b) = S_a . S_b / (n_a n_b), and, if x2 is None,
    C(a, a) = (|S_a|^2 - n_a) / (n_a (n_a - 1)). The result is that of
    `class_stiffness(gradient_gram(...).cosine(), labels, labels2)`; zero gradients are not counted.

    Args:
        labels, labels2: (n,) and (m,) class indices of the examples x and x2, or one-hot rows. None means y and y2.
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
    budget = bytes_of(memory_budget)
    with _measuring(model, x, y, x2, y2, loss, method) as (engine, rows, columns):
        same_examples = columns is None
        if same_examples and labels2 is not None:
            raise ValueError("labels2 is given without x2; they are the labels of the examples in x2")
        labels = class_indices("labels", rows[1] if labels is None else labels, count_of(rows[1]))
        labels2 = labels if same_examples else class_indices(
            "labels2", columns[1] if labels2 is None else labels2, count_of(columns[1]))
        largest = max(labels.max(), labels2.max())
        num_classes = int(largest) + 1 if num_classes is None else num_classes
        if largest >= num_classes:
            raise ValueError(f"label {largest} is out of range for num_classes {num_classes}")
        kept = (1 if same_examples else 2) * num_classes * engine.length * engine.dtype.itemsize
        n = max(len(labels), len(labels2))
        plan = engine.plan(budget, n, n, n, kept)  # in large blocks each class has many examples
        sums, counts = unit_sums(engine, rows, labels, num_classes, plan, "x", verbose)
        sums2, counts2 = (sums, counts) if same_examples else unit_sums(
            engine, columns, labels2, num_classes, plan, "x2", verbose)
    C = sum((one @ other.T).astype(float) for one, other in zip(sums, sums2))
    pairs = np.outer(counts, counts2)
    if same_examples:  # the cosine of an example with itself is 1
        diagonal = np.diag_indices(num_classes)
        C[diagonal] -= counts
        pairs[diagonal] -= counts
    return np.divide(C, pairs, out=np.full_like(C, np.nan), where=pairs > 0)


@contextmanager
def _measuring(model, x, y, x2, y2, loss, method):
    """Checks the arguments and yields (engine, rows, columns). Restores the model's state afterwards."""
    backend.check_eager()
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; expected one of {', '.join(METHODS)}")
    check_model(model)
    if not model.trainable_variables:
        raise ValueError("model has no trainable variables, so the loss has no gradient; check its trainable flags")
    if (x2 is None) != (y2 is None) and not brings_labels(x2):
        raise ValueError(f"{'x2' if y2 is None else 'y2'} is given alone; the columns need both x2 and y2")
    losses = Losses(model, loss)
    rows = examples_of("x", x, "y", y, model)
    columns = None if x2 is None else examples_of("x2", x2, "y2", y2, model)
    with MEASURING, _not_trained(model), restored_state(model), backend.full_precision():
        yield Engine(model, losses, rows, columns, method), rows, columns


def check_model(model):
    if not isinstance(model, keras.layers.Layer):
        raise TypeError(f"model is of type {type(model).__name__}; expected a Keras model")
    if not model.built:
        raise ValueError("model is not built; call it on an example first, or give it an Input")


@contextmanager
def _not_trained(model):
    """Raises RuntimeError if the model's weights change meanwhile, that is, in another thread."""
    def state():
        # by step and by weights: its layers may be trained as part of another model, and a step may be half done
        several = threading.active_count() > 1
        return step_of(model), [float(ops.sum(v)) for v in model.trainable_variables] if several else None

    before, failed = state(), None
    try:
        yield
    except Exception as error:  # it may be a consequence of the training
        failed = error
    if repr(state()) != repr(before):  # of text, in which NaN equals NaN
        raise RuntimeError(f"the model was trained while it was measured: its optimizer was at step {before[0]} and is "
                           f"at {step_of(model)}, or another model trains its layers; measure before or after training,"
                           " or from within, with StiffnessCallback") from failed
    if failed:
        raise failed


def step_of(model):
    """The number of optimizer steps that the model has taken; None where it has no optimizer."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return None
    steps = optimizer.iterations  # a variable, or of an optimizer that accumulates gradients a tensor
    return int(ops.convert_to_numpy(ops.copy(getattr(steps, "value", steps))))
