"""Exact Gram matrices of per-example loss gradients, without the gradients.

For a Dense layer with input a_i and gradient d_i at its pre-activation, example i's gradient is the outer product
a_i d_i^T for the kernel and d_i for the bias, so the layer adds (a_i . a_j + 1) (d_i . d_j) to g_i . g_j. One batched
forward and one backward pass of the SUM of the losses give all a and d, as example i's loss depends on its own
activations alone. The other kinds of layers are in `stiffness.layers`; what has no closed form is differentiated.
"""

import logging
import math
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field

import keras
import numpy as np
from keras import ops

from stiffness import autodiff
from stiffness.layers import Factors, rule_of
from stiffness.measures import _class_indices

METHODS = ("auto", "closed-form", "jacobian")
SAMPLE = 2  # examples on which each layer's closed form is compared with the plain definition before it is used
SAMPLES = 4  # that many of these are tried where a layer has no gradient on the first
SAMPLE_TOLERANCE = 1e-3  # relative; far above rounding, far below any term left out
TOLERANCES = {"float16": 2e-2, "bfloat16": 1e-1}  # the same for models that compute in half precision
ROUNDING = 1e-6  # of the largest layer's part; a layer whose whole gradient is rounding is not judged
CHUNK = 100  # examples that are differentiated at once; larger vectorised chunks are slower
LARGEST_BLOCK = 1024  # examples on a side of a tile; larger ones gain no speed

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
        norms, norms2 = (np.where(norms > 0, norms, np.nan) for norms in (self.norms, self.norms2))
        cosine = self.products / norms[:, None]
        cosine /= norms2
        return np.clip(cosine, -1, 1, out=cosine)


def gradient_gram(model, x, y=None, x2=None, y2=None, *, loss=None, method="auto", memory_budget=2 * 2**30,
                  per_layer=False):
    """Gram matrix of the per-example loss gradients: products[i, j] = g_i . g_j, g_i = dL_i/dW (equation 1).

    W are all of the model's trainable variables; the model runs in inference mode and is left as it was found.
    L_i is the unreduced loss of example i alone: neither the batch's mean nor weight regularisation is in g_i. A loss
    of several numbers an example (a sequence's) counts by their mean over what is not masked.

    model: a built Keras model. x: (n, ...) and y: (n, ...), its examples; x may be a list or dictionary of inputs, or
    a `tf.data.Dataset` of (x, y) batches, without y. x2, y2: (m, ...) and (m, ...), the columns' examples; None takes
    x, y, and the matrix is symmetric. loss: a Keras loss, its name, or a function of (y_true, y_pred) that returns a
    value an example; None is the compiled model's. method: "closed-form" for layers that have one; "jacobian", the
    plain definition by automatic differentiation; "auto" is the closed form, with the jacobian for the variables of
    all other layers. memory_budget: bytes for what is computed on the way, besides the result. per_layer: keep each
    layer's own matrix.

    Returns `Gram`. Raises ValueError and TypeError that name what is wrong and what was expected.
    Source: Fort et al. v1, section 2; the closed form is the module's first paragraph.
    """
    with _measuring(model, x, y, x2, y2, loss, method) as (engine, rows, columns):
        return _tiled(engine, rows, columns, memory_budget, per_layer)


def cosine_class_stiffness(model, x, y=None, labels=None, x2=None, y2=None, labels2=None, *, loss=None,
                           num_classes=None, method="auto", memory_budget=2 * 2**30):
    """Class stiffness matrix of cosines, C(a, b) = E[ cos(g_i, g_j) | label_i = a, label2_j = b, i != j ] (equation 4).

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
        block, _ = engine.plan(memory_budget, n, kept, largest=n)  # large blocks have many examples of each class
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
    for c in _blocks(len(labels), block):
        features = [f for fs in engine.features(*_take(examples, c), c.start, x_name).values() for f in fs]
        sums = sums or [np.zeros((num_classes, feature.length()), engine.dtype) for feature in features]
        norms = np.sqrt(ops.convert_to_numpy(sum(feature.squares() for feature in features)))
        for label in np.unique(labels[c]):
            members = np.flatnonzero((labels[c] == label) & (norms > 0))
            counts[label] += len(members)
            for total, feature in zip(sums, features):
                total[label] += ops.convert_to_numpy(feature.weighted_sum(members, 1 / norms[members]))
    return sums, counts


@contextmanager
def _measuring(model, x, y, x2, y2, loss, method):
    """(engine, rows, columns) of arguments that are in order; the model is left as it was found."""
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
    with _left_as_found(model), autodiff.full_precision():
        yield _Engine(model, loss, rows, columns, method), rows, columns


# --- examples and losses ------------------------------------------------------------------------------------------


def _is_dataset(x):
    return hasattr(x, "as_numpy_iterator")


def _examples(x_name, x, y_name, y, model):
    """(x, y) as NumPy arrays, x perhaps nested."""
    if _is_dataset(x):
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


def _take(examples, which):
    return keras.tree.map_structure(lambda part: part[which], examples)


def _per_example(loss, model):
    """A function (y_true, y_pred) -> (n,) losses; its attribute `given` is the loss itself."""
    if loss is None:
        loss = getattr(model, "loss", None)
        if loss is None:
            raise ValueError("model is not compiled with a loss and none is given; pass loss=, such as "
                             "keras.losses.SparseCategoricalCrossentropy(from_logits=True)")
    loss = keras.losses.get(loss) if isinstance(loss, str) else loss
    if not callable(loss):
        raise TypeError(f"loss is of type {type(loss).__name__}; expected a Keras loss, its name, or a function of "
                        "(y_true, y_pred)")
    if isinstance(loss, keras.losses.Loss):
        given, loss = loss, object.__new__(type(loss))  # copy.copy would make it from its configuration, without dtype
        vars(loss).update(vars(given), reduction="none")  # "mean" would scale every gradient with the batch

    def per_example(y_true, y_pred):
        n = len(y_true)
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
            counted = counted * (y_true != ignored).reshape(values.shape)
        values, counted = (ops.reshape(part, (n, -1)) for part in (values, counted))
        return ops.sum(values * counted, axis=1) / ops.maximum(ops.sum(counted, axis=1), 1)

    per_example.given = loss
    return per_example


def _check_labels(loss, y_name, y, prediction):
    """Names labels that do not fit the loss, before it fails or answers NaN somewhere inside."""
    given = loss.given
    name = given.name if isinstance(given, keras.losses.Loss) else getattr(given, "__name__", "")
    if not name.endswith("categorical_crossentropy") or not hasattr(prediction, "shape"):
        return
    classes = prediction.shape[-1]
    one_hot = y.ndim == prediction.ndim and y.shape[-1] == classes > 1
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


def _check_loss(loss, rows, columns, y, x_name, predictions):
    """Names labels that do not fit, and refuses a loss that mixes examples; predictions: one of each example in y."""
    predictions = keras.tree.map_structure(lambda *parts: ops.concatenate(parts, axis=0), *predictions)
    _check_labels(loss, "y", rows[1], predictions)
    if columns is not None:
        _check_labels(loss, "y2", columns[1], predictions)
    together = ops.convert_to_numpy(loss(y, predictions))
    _check_finite(together, 0, x_name)
    alone = np.concatenate([loss(*_take((y, predictions), slice(i, i + 1))) for i in range(len(y))])
    if not np.allclose(together, alone, rtol=1e-3, atol=1e-6):
        raise ValueError(f"the loss of example 0 is {together[0]:g} beside another example and {alone[0]:g} alone, so "
                         "it is no per-example loss; look for a mean or a normalisation over the batch in it")


def _check_finite(losses, start, x_name):
    losses = ops.convert_to_numpy(losses)
    finite = np.isfinite(losses)
    if not finite.all():
        first = int(np.argmin(finite))
        raise ValueError(f"the loss of example {start + first} of {x_name} is {losses[first]}; expected a finite "
                         "number: look at its input and label, and at the weights")


@contextmanager
def _left_as_found(model):
    """Undoes what a forward pass may write: moving averages, the states of random generators."""
    def value(variable):
        return ops.convert_to_numpy(ops.copy(variable.value))

    weights = {id(v) for layer in model._flatten_layers() for v in layer._trainable_variables}  # frozen or not
    before = [(v, value(v)) for v in model.non_trainable_variables if id(v) not in weights]
    try:
        yield
    finally:
        for variable, found in before:
            if not np.array_equal(value(variable), found):
                variable.assign(found)


# --- tiles ----------------------------------------------------------------------------------------------------------


def _blocks(n, block):
    return [slice(start, min(start + block, n)) for start in range(0, n, block)]


def _tiled(engine, rows, columns, memory_budget, per_layer):
    """The Gram matrix in tiles: as many blocks of rows as the budget allows are held and meet each block of columns."""
    symmetric = columns is None
    columns = rows if symmetric else columns
    n, m = len(rows[1]), len(columns[1])
    block, held = engine.plan(memory_budget, max(n, m))
    row_blocks = _blocks(n, block)
    column_blocks = row_blocks if symmetric else _blocks(m, block)
    products = np.empty((n, m), engine.dtype)
    squares, squares2 = np.zeros(n, engine.dtype), np.zeros(m, engine.dtype)
    layers, traces = {}, Counter()

    def fill(group):  # a function, so that these features are let go before the next ones are made
        lefts = [(r, engine.features(*_take(rows, r), r.start, "x")) for r in row_blocks[group]]
        if not symmetric:
            for r, left in lefts:
                squares[r] = _squares(left, traces)
        for c in column_blocks[group.start :] if symmetric else column_blocks:
            kept = [left for r, left in lefts if symmetric and r == c]
            right = kept[0] if kept else engine.features(*_take(columns, c), c.start, "x" if symmetric else "x2")
            if not symmetric and group.start == 0:
                squares2[c] = _squares(right, Counter())
            for r, left in lefts:
                if symmetric and c.start < r.start:
                    continue
                total = 0
                for label, features in left.items():
                    part = sum(one.products(other) for one, other in zip(features, right[label]))
                    total = total + part
                    if symmetric and r == c and features:
                        traces[label] += float(np.sum(ops.convert_to_numpy(ops.diagonal(part)), dtype=float))
                    if per_layer:
                        _place(layers.setdefault(label, np.empty((n, m), engine.dtype)), r, c, part, symmetric)
                _place(products, r, c, total, symmetric)

    for group in _blocks(len(row_blocks), held):
        fill(group)
    if symmetric:
        squares = squares2 = products.diagonal().copy()
    trace = sum(traces.values())
    shares = {label: part / trace for label, part in traces.items()} if trace else {}
    return Gram(products, np.sqrt(squares), np.sqrt(squares2), shares, layers)


def _squares(features, traces):
    """(n,) squared norms; adds each layer's part of their sum to its trace."""
    squares = 0
    for label, parts in features.items():
        part = ops.convert_to_numpy(sum(feature.squares() for feature in parts))
        squares = squares + part
        traces[label] += float(np.sum(part, dtype=float))
    return squares


def _place(matrix, r, c, part, symmetric):
    matrix[r, c] = ops.convert_to_numpy(part)
    if symmetric and r != c:
        matrix[c, r] = matrix[r, c].T


# --- the engine -----------------------------------------------------------------------------------------------------


class _Engine:
    """Turns examples into features: {label of a layer: list of features, as in `stiffness.layers`}.

    They come from the rule of each layer that has one which agrees with the plain definition on a few examples; the
    gradients of all other variables are computed as they are defined.
    """

    def __init__(self, model, loss, rows, columns, method):
        self.model, self.loss = model, loss
        # a model in half precision accumulates in float32
        self.dtype = np.dtype("float64" if any(v.dtype == "float64" for v in model.trainable_variables) else "float32")
        self.labels = _labels(model)
        self.groups = [] if method == "jacobian" else _groups(model)
        self._check(rows, columns)
        covered = {key for group in self.groups for key in group.variables}
        self.rest = [v for v in model.trainable_variables if id(v) not in covered]
        if self.rest and method != "jacobian":
            names = ", ".join(v.path for v in self.rest)
            if method == "closed-form":
                raise ValueError(f"there is no closed form for {names}; use method 'auto' or 'jacobian'")
            log.info("no closed form for %s: their gradients are computed by the jacobian", names)
        self.vectorised = not self.rest or self._vectorises(rows)
        sizes = sum(math.prod(v.shape) for v in self.rest)
        self.width, self.length, self.working = self.width + sizes, self.length + sizes, self.working + sizes

    def features(self, x, y, start, x_name):
        """start, x_name: where the examples come from, for errors."""
        features = {}
        if self.groups:
            losses, calls = self._calls(lambda: self.loss(y, self.model(x, training=False)), len(y))
            _check_finite(losses, start, x_name)
            for group in self.groups:  # a layer's calls are let go before the next layer's features are made
                features[self.labels[group.key]] = group.rule.features(calls.pop(0))
        chunks = []
        for c in _blocks(len(y), CHUNK) if self.rest else []:
            losses, gradients = self._differentiated(*_take((x, y), c), self.vectorised)
            _check_finite(losses, start + c.start, x_name)
            chunks.append([self._cast(ops.reshape(g, (g.shape[0], 1, -1))) for g in gradients])
        for variable, parts in zip(self.rest, zip(*chunks)):
            features.setdefault(self.labels[id(variable)], []).append(Factors((ops.concatenate(parts, axis=0),)))
        return features

    def _differentiated(self, x, y, vectorised):
        """(losses, [(n, *shape)]), the gradients of all variables without a closed form."""
        def losses_of(which):
            xs, ys = _take((x, y), which)
            return self.loss(ys, self.model(xs, training=False))

        if vectorised:
            return autodiff.per_example(lambda: losses_of(slice(None)), self.rest)
        losses, _, gradients = zip(*[autodiff.gradients(lambda i=i: (losses_of(slice(i, i + 1)), ()), self.rest)
                                     for i in range(len(y))])
        return ops.concatenate(losses, axis=0), [ops.stack(parts) for parts in zip(*gradients)]

    def _vectorises(self, rows):
        """Whether the backend can vectorise the jacobian, and does it right: TensorFlow does not for every layer, such
        as convolutions in groups."""
        sample = _take(rows, slice(0, SAMPLE))
        looped = self._differentiated(*sample, False)[1]
        try:
            vectorised = self._differentiated(*sample, True)[1]
        except Exception as error:  # of any type, from inside the backend
            log.info("the jacobian is computed example by example, as the backend does not vectorise it: %s", error)
            return False
        tolerance = self._tolerance(*self.model._flatten_layers())
        size = max(np.abs(ops.convert_to_numpy(gradient)).max() for gradient in looped)
        same = all(np.abs(ops.convert_to_numpy(one - other)).max() <= tolerance * size
                   for one, other in zip(vectorised, looped))
        if not same:
            log.info("the jacobian is computed example by example, as the backend does not vectorise it rightly")
        return same

    def plan(self, budget, n, kept=0, largest=LARGEST_BLOCK):
        """(block, held): how many examples a block has, and how many blocks' features fit in the budget at once."""
        room = (budget - kept) // self.dtype.itemsize
        an_example = 2 * self.width + self.working  # its features as a row and as a column, and what makes them
        least = an_example + 3  # and a tile's matrices
        if room < least:
            raise ValueError(f"memory_budget is {budget} bytes; one tile needs at least "
                             f"{kept + least * self.dtype.itemsize}")
        # the largest block with an_example * block + 3 * block**2 <= room / 4; what is left holds further blocks
        block = int((math.sqrt(an_example**2 + 3 * room) - an_example) / 6)
        block = max(1, min(block, n, CHUNK if self.rest else largest))
        spare = room - an_example * block - 3 * block**2
        return block, 1 + max(0, int(spare / (block * max(self.width, 1))))

    def _calls(self, values_of, n):
        """(values, calls): for each group its calls (layer, recorded, d), d being the gradient at the output; it is
        that of the SUM of the values, which at example i's activation is that of its own value alone."""
        def forward(watch):
            with _tapped(self.groups, watch) as taps:
                return values_of(), taps

        values, taps, deltas = autodiff.deltas(forward)
        calls = [[] for _ in self.groups]
        for ((number, layer), recorded, _), delta in zip(taps, deltas):
            if delta.shape[0] != n:
                raise _NotByExample(number)
            calls[number].append((layer, *keras.tree.map_structure(self._cast, (recorded, delta))))
        return values, calls

    def _cast(self, part):
        """Floats in the result's precision; the indices of an embedding as they are."""
        floats = hasattr(part, "dtype") and "float" in keras.backend.standardize_dtype(part.dtype)
        return ops.cast(part, self.dtype.name) if floats else part

    def _check(self, rows, columns):
        """Refuses what is no loss for each example alone, and drops the groups whose closed form does not give the
        plain definition's Gram matrix: a kernel used outside its layer's call, a layer that mixes the first axis."""
        examples, x_name = (rows, "x") if columns is None or len(rows[1]) >= SAMPLE else (columns, "x2")
        for start in np.unique(np.linspace(0, max(len(examples[1]) - SAMPLE, 0), SAMPLES).astype(int)):
            x, y = _take(examples, slice(start, start + SAMPLE))
            variables = [v for group in self.groups for v in group.variables.values()]
            singles = [_take(x, slice(i, i + 1)) for i in range(len(y))]
            values, predictions, gradients = zip(*[
                autodiff.gradients(lambda one=one: self._projected(one), variables) for one in singles])
            if start == 0:
                _check_loss(self.loss, rows, columns, y, x_name, predictions)
                if len(self.model.losses) > len(self.model._get_regularization_losses()):
                    raise ValueError("the model adds losses of its own (add_loss or an activity regulariser), which "
                                     "belong to a batch and to no example; remove them for measuring")
            together, calls = self._calls_by_example(x, len(y))
            self._check_alone(together, values, predictions)
            plain = {id(v): _products_of(parts) for v, parts in zip(variables, zip(*gradients))}
            if not self._keep_those_that_agree(calls, plain):
                break

    def _projected(self, x):
        """A number for each example that depends on all of the model's output, and the output. The loss would not do:
        after training its gradients may be rounding alone."""
        prediction = self.model(x, training=False)
        total = 0
        for seed, part in enumerate(keras.tree.flatten(prediction)):
            weights = np.random.default_rng(seed).normal(size=part.shape[1:]).reshape(-1).astype(self.dtype)
            total = total + ops.matmul(ops.reshape(self._cast(part), (part.shape[0], -1)), weights)
        return total, prediction

    def _calls_by_example(self, x, n):
        while True:
            try:
                return self._calls(lambda: self._projected(x)[0], n)
            except _NotByExample as error:
                del self.groups[error.args[0]]

    def _check_alone(self, together, alone, predictions):
        together, alone = ops.convert_to_numpy(together), np.concatenate([ops.convert_to_numpy(v) for v in alone])
        size = max(np.linalg.norm(ops.convert_to_numpy(self._cast(p))) for p in keras.tree.flatten(predictions))
        if np.abs(together - alone).max() > self._tolerance(*self.model._flatten_layers()) * size:
            raise ValueError(f"the model's output for example 0 depends on the examples beside it ({together[0]:g} in "
                             f"a batch of {len(together)}, {alone[0]:g} alone), so there is no per-example loss; look "
                             "for BatchNormalization or Dropout called with training=True")

    def _keep_those_that_agree(self, calls, plain):
        """Whether more examples are needed: some group has no gradient on these, which says nothing. plain: {id of a
        variable: its part of the sample's Gram matrix}."""
        expected = [sum(plain[key] for key in group.variables) for group in self.groups]
        sizes = [np.abs(matrix).max() for matrix in expected]
        agree, self.width, self.length, self.working, largest = [], 0, 0, 0, 0
        for group, own, matrix, size in zip(self.groups, calls, expected, sizes):
            try:
                features = group.rule.features(own) if own else []
                found = ops.convert_to_numpy(sum(feature.products(feature) for feature in features))
            except Exception as error:  # whatever a layer's shapes do to its rule, the jacobian is right
                log.debug("the closed form of %s failed: %r", self.labels[group.key], error)
                continue
            if np.abs(found - matrix).max() <= max(self._tolerance(*group.layers) * size, ROUNDING * max(sizes)):
                agree.append(group)
                self.width += sum(feature.width() for feature in features)
                self.length += sum(feature.length() for feature in features)
                for call in own:
                    activations, patches = _working(call)
                    self.working, largest = self.working + activations, max(largest, patches)
        self.groups, self.working = agree, self.working + largest  # one layer's features are made at a time
        return any(size == 0 for size in sizes)

    @staticmethod
    def _tolerance(*layers):
        return max(TOLERANCES.get(layer.compute_dtype, SAMPLE_TOLERANCE) for layer in layers)


def _products_of(gradients):
    """(n, n) of n gradients of any shape"""
    flat = [np.ravel(ops.convert_to_numpy(gradient)) for gradient in gradients]
    return np.array([[one @ other for other in flat] for one in flat], float)


class _NotByExample(Exception):
    """A layer's output whose first axis is not that of the examples; it holds the number of the layer's group."""


def _working(call):
    """Numbers an example while a call's features are made: activations and their gradients, as the tape keeps them
    before and after an activation function; and the patches of a convolution, with a copy."""
    layer, recorded, d = call
    sizes = [math.prod(part.shape[1:]) for part in (*keras.tree.flatten(recorded), d) if hasattr(part, "shape")]
    return 4 * sum(sizes), 2 * math.prod(getattr(layer, "kernel_size", (0,))) * min(sizes)


# --- layers ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Group:
    """A layer that has a rule, or several of the same rule that share variables; {id: variable}, all trainable."""

    rule: type
    layers: list
    variables: dict

    @property
    def key(self):
        return next(iter(self.variables))


def _groups(model):
    """The groups that have a rule for all of their layers' trainable variables."""
    groups = []
    for layer in model._flatten_layers():
        variables = {id(v): v for v in layer._trainable_variables if v.trainable}
        if not variables:
            continue
        rule = rule_of(layer)
        names = () if rule is None else rule.names
        known = variables.keys() <= {id(getattr(layer, name, None)) for name in names}
        group = _Group(rule if known else None, [layer], variables)
        for other in [other for other in groups if other.variables.keys() & variables.keys()]:
            groups.remove(other)
            group = _Group(group.rule if group.rule is other.rule else None, other.layers + group.layers,
                           other.variables | group.variables)
        groups.append(group)
    return [group for group in groups if group.rule is not None]


def _labels(model):
    """{id of a trainable variable: the label of the layer that owns it}; no two layers have the same."""
    labels, taken = {}, Counter()
    for layer in model._flatten_layers():
        own = [v for v in layer._trainable_variables if v.trainable and id(v) not in labels]
        if own:
            path = own[0].path.rpartition("/")[0] or layer.name
            taken[path] += 1
            labels.update(dict.fromkeys(map(id, own), path if taken[path] == 1 else f"{path} ({taken[path]})"))
    return labels


@contextmanager
def _tapped(groups, watch):
    """Collects ((number of the group, layer), recorded, output) of every call of the groups' layers; the output is
    what watch(number of the call, output) makes of it.

    A layer's `call`, and what its rule applies outside, are attributes of the instance for that time. They are set in
    `__dict__`, as Keras's attribute tracking would keep what it sees.
    """
    taps, found = [], []

    def tap_of(key):
        def tap(recorded, output):
            output = watch(len(taps), output)
            taps.append((key, recorded, output))
            return output

        return tap

    try:
        for number, group in enumerate(groups):
            for layer in group.layers:
                attributes = vars(layer)
                instead = group.rule.tapped(layer, layer.call, tap_of((number, layer)),
                                            getattr(layer, "activation", None))
                found.append((attributes, {name: attributes[name] for name in ("call", *group.rule.without)
                                           if name in attributes}))
                attributes.update({name: None for name in group.rule.without if name in attributes}, call=instead)
        yield taps
    finally:
        for attributes, before in found:
            attributes.pop("call", None)
            attributes.update(before)
