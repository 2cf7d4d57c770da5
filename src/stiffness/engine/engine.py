"""Turns examples into features, whose products form the Gram matrix, by one forward and one backward pass."""

import functools
import logging
import math
import threading
import weakref
from collections import Counter
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import keras
import numpy as np
from keras import ops

from stiffness.engine import autodiff
from stiffness.engine.examples import (
    NotFinite,
    check_finite,
    check_labels,
    check_loss,
    is_from_keras,
    losses_at_outputs,
    take,
)
from stiffness.engine.layers import MATRICES, SIDE, Factors, even_size, rule_of

SAMPLE = 2  # examples on which each layer's closed form is compared with automatic differentiation before it is used
SAMPLES = 4  # how many such samples are tried while a layer has no gradient on those before
SAMPLE_TOLERANCE = 1e-3  # relative; far above rounding errors, far below any missing term
TOLERANCES = {"float16": 2e-2, "bfloat16": 1e-1}  # the same for layers that compute in half precision
ROUNDING = 1e-9  # relative to the largest layer's part of the Gram matrix; smaller differences are rounding errors
CHUNK = 100  # examples per vectorised jacobian; larger chunks are slower

_CHECKED = weakref.WeakKeyDictionary()  # model -> (_Checked, ...), the latest first
CHECKS_KEPT = 2  # per model, which is often measured with two losses or on two sets in turn
GRAPHS_KEPT = 16  # per model: one for each shape of a chunk of examples or of a tile
SCALE_STEP = 16  # exponents of two between scales; they change far from 1, where most gradients are
_SEEN_ONCE, _NOT_COMPILABLE = "seen once", "cannot be compiled"

log = logging.getLogger(__name__)


def slices_of(n, block):
    """Slices of at most `block` examples that cover n examples."""
    return [slice(start, min(start + block, n)) for start in range(0, n, block)]


@contextmanager
def restored_state(model):
    """Undoes what a forward pass may change: moving averages, the states of random generators."""
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


class Engine:
    """Turns examples into features: {label of a layer: list of features, as in `stiffness.engine.layers`}.

    A layer's features come from its closed form if there is one that agrees with automatic differentiation on a few
    examples. The gradients of all other variables are computed by automatic differentiation.
    """

    def __init__(self, model, loss, rows, columns, method):
        self.model, self.loss, self.method = model, loss, method
        # models in half precision accumulate in float32, too
        self.dtype = np.dtype("float64" if any(v.dtype == "float64" for v in model.trainable_variables) else "float32")
        self.labels = _labels(model)
        groups = [] if method == "jacobian" else _groups(model)
        signature = _signature(model, loss, rows, columns, method)
        known = next((known for known in _CHECKED.get(model, ()) if known.signature == signature), None)
        if known:
            self.groups = [groups[number] for number in known.agree]
            self.output, self.width, self.length, self.working, self.per_pair = known.sizes
            self._check_labels(rows, columns)
            # other Python code than Keras's own may read values that the signature does not cover
            self.graphs = known.graphs if _is_from_keras(model, loss) else {}
        else:
            self.groups, self.graphs = list(groups), {}
            conclusive = self._check(rows, columns)
        covered = {key for group in self.groups for key in group.variables}
        self.rest = [v for v in model.trainable_variables if id(v) not in covered]
        if self.rest and method != "jacobian":
            names = ", ".join(v.path for v in self.rest)
            if method == "closed-form":
                raise ValueError(f"there is no closed form for {names}; use method 'auto' or 'jacobian'")
            if known is None:
                log.info("no closed form for %s: their gradients are computed by the jacobian", names)
        self.vectorised = known.vectorised if known else not self.rest or self._vectorises(rows)
        if known is None and conclusive:
            agree = tuple(groups.index(group) for group in self.groups)
            signature = _signature(model, loss, rows, columns, method)  # a first call sets attributes
            sizes = self.output, self.width, self.length, self.working, self.per_pair
            found = _Checked(signature, agree, sizes, self.vectorised, self.graphs)
            _CHECKED[model] = (found, *_CHECKED.get(model, ()))[:CHECKS_KEPT]
        sizes = sum(math.prod(v.shape) for v in self.rest)
        self.width, self.length, self.working = self.width + sizes, self.length + sizes, self.working + sizes

    def features(self, x, y, start, x_name):
        """(features, scales): an example's gradient is that of its features times its scale. scales: (n,).

        start, x_name: where the examples come from, for error messages."""
        chunks, scales = zip(*[self._features(*take((x, y), c), start + c.start, x_name)
                               for c in slices_of(len(y), self.chunk)])
        if len(chunks) == 1:
            return chunks[0], scales[0]
        return {label: [type(parts[0]).joined(parts) for parts in zip(*[chunk.pop(label) for chunk in chunks])]
                for label in list(chunks[0])}, np.concatenate(scales)

    def _features(self, x, y, start, x_name):
        features = {}
        if self.groups:
            losses, scales, parts = self._losses_and_parts(x, y)
            check_finite(losses, scales, start, x_name)
            features = {self.labels[group.key]: part for group, part in zip(self.groups, parts)}
        if self.rest:
            (losses, scales), gradients = self._differentiated(x, y, self.vectorised)
            check_finite(losses, scales, start, x_name)
            for variable, g in zip(self.rest, gradients):
                g = self._cast(ops.reshape(g, (len(y), 1, -1)))
                features.setdefault(self.labels[id(variable)], []).append(Factors((g,)))
        return features, ops.convert_to_numpy(scales).astype(float)

    def _values(self, x, y):
        """(values, (losses, scales)). A value's gradient is the loss's gradient divided by the scale.

        The scale is a power of two near the largest entry of the loss's gradient at the outputs, so division by it is
        exact, and the gradients of examples classified with great confidence stay within single precision.
        """
        prediction = self.model(x, training=False)
        losses, outputs, found = losses_at_outputs(self.loss, y, prediction)
        precise = "float64" if self.loss.double else self.dtype.name
        outputs = [ops.reshape(output, (len(y), -1)) for output in outputs]
        found = [ops.reshape(ops.cast(gradient, precise), (len(y), -1)) for gradient in found]
        largest = functools.reduce(ops.maximum, [ops.max(ops.abs(gradient), axis=1) for gradient in found])
        steps = ops.round(ops.log2(ops.where(largest == 0, 1, largest)) / SCALE_STEP)
        # no subnormal scale, which is flushed to 0
        steps = ops.maximum(steps, math.ceil(np.log2(np.finfo(precise).tiny) / SCALE_STEP))
        scales = 2 ** (SCALE_STEP * steps)
        values = sum(ops.cast(ops.sum(output * ops.cast(gradient / scales[:, None], output.dtype), axis=1), precise)
                     for output, gradient in zip(outputs, found))
        return values, (losses, scales)

    def _differentiated(self, x, y, vectorised):
        """((losses, scales), [(n, *shape)]): the gradients of all variables without a closed form."""
        if vectorised:
            return autodiff.per_example_gradients(lambda: self._values(x, y), self.rest)
        _, others, gradients = zip(*[
            autodiff.gradients(lambda i=i: self._values(*take((x, y), slice(i, i + 1))), self.rest)
            for i in range(len(y))])
        return ([ops.concatenate(parts, axis=0) for parts in zip(*others)],
                [ops.stack(parts) for parts in zip(*gradients)])

    def _vectorises(self, rows):
        """Whether the backend vectorises the jacobian, and correctly: TensorFlow fails for some layers, such as grouped
        convolutions."""
        sample = take(rows, slice(0, SAMPLE))
        looped = self._differentiated(*sample, False)[1]
        try:
            vectorised = self._differentiated(*sample, True)[1]
        except Exception as error:  # the backend raises many types
            log.info("the jacobian is computed example by example, because the backend cannot vectorise it: %s", error)
            return False
        tolerance = self._tolerance(*self.model._flatten_layers())
        size = max(np.abs(ops.convert_to_numpy(gradient)).max() for gradient in looped)
        same = all(np.abs(ops.convert_to_numpy(one - other)).max() <= tolerance * size
                   for one, other in zip(vectorised, looped))
        if not same:
            log.info("the jacobian is computed example by example, because the backend vectorises it incorrectly")
        return same

    def plan(self, budget, n, largest, kept=0, by_layer=False):
        """(block, held): the number of examples per block, and how many blocks' features fit into the budget at once.

        Also sets `self.chunk`, the number of examples per pass through the model, which uses a quarter of the budget.
        kept: bytes of the budget that are already taken. by_layer: whether each layer's part of a tile is kept until
        the tile is complete.
        """
        room = (budget - kept) // self.dtype.itemsize
        an_example = 2 * self.width  # features of a row and of a column
        matrices = MATRICES + by_layer * len(set(self.labels.values()))
        least = self.working + an_example + matrices + self.per_pair  # and a tile's matrices
        if room < least:
            raise ValueError(f"memory_budget is {budget} bytes; one tile needs at least "
                             f"{kept + least * self.dtype.itemsize}")
        self.chunk = max(1, min(room // 4 // max(self.working, 1), n, CHUNK if self.rest else n))
        room -= self.working * self.chunk
        sizes = np.arange(1, min(n, largest) + 1)
        need = an_example * sizes + matrices * sizes**2 + self.per_pair * np.minimum(sizes, SIDE) ** 2
        block = max(1, int(np.searchsorted(need, room // 4, side="right")))  # the rest is for further blocks
        block = even_size(n, block)
        self.chunk = even_size(block, self.chunk)
        spare = room - need[block - 1]
        return block, 1 + max(0, int(spare / (block * max(self.width, 1))))

    def _losses_and_parts(self, x, y):
        """(losses, scales, features of each group), from a compiled graph if these shapes have occurred before."""
        graph = self._graph((), (x, y), lambda: self._checked_graph(x, y))
        return self._run(graph, x, y) if graph else self._run_eagerly(x, y)

    def _graph(self, kind, examples, make):
        """The graph that make() returns, once a nest of these shapes has occurred before; None if there is none."""
        key = kind, tuple((tuple(part.shape), str(part.dtype)) for part in keras.tree.flatten(examples))
        graph = self.graphs.pop(key, None)
        if graph is _SEEN_ONCE and autodiff.compiled is not None:
            graph = make()
        self.graphs[key] = graph or _SEEN_ONCE  # the latest last
        if len(self.graphs) > GRAPHS_KEPT:
            del self.graphs[next(iter(self.graphs))]
        return None if graph in (None, _SEEN_ONCE, _NOT_COMPILABLE) else graph

    def products(self, left, right, kept=None):
        """(products, parts): (n, m), the sum over all layers, and {label: kept(the layer's part)}.

        left, right: as returned by `features`; the same object for a tile on the diagonal. Runs as a compiled graph if
        these shapes have occurred before.
        """
        labels = [label for label, features in left.items() if features]  # layers that are never called have none
        if not labels:
            return 0, {}
        given = [[one.products(other) for one, other in zip(left[label], right[label]) if not one.compiles]
                 for label in labels]
        settings = [[replace(one, parts=()) for one in left[label] if one.compiles] for label in labels]
        sides = [[[one.parts for one in side[label] if one.compiles] for label in labels]
                 for side in ([left] if right is left else [left, right])]

        def tile(given, *sides):
            total, parts = None, []
            for terms, own, *layer in zip(given, settings, *sides):
                ones, *others = [[replace(setting, parts=tuple(part)) for setting, part in zip(own, side)]
                                 for side in autodiff.run_after(total, layer)]  # layer by layer, to save memory
                pairs = zip(ones, *(others or [ones]))
                part = autodiff.sum_of([*terms, *(one.products(other) for one, other in pairs)])
                total = part if total is None else total + part
                parts.append(kept(part) if kept else ())
            return total, parts

        graph = self._graph((len(sides), kept), (given, *sides), lambda: autodiff.compiled(tile, (given, *sides)))
        total, parts = (graph or tile)(given, *sides)
        return total, dict(zip(labels, parts))

    def _run_eagerly(self, x, y):
        (losses, scales), calls = self._calls(lambda: self._values(x, y), len(y))
        # pop frees a layer's calls before the next layer's features are computed
        return losses, scales, [group.rule.features(calls.pop(0)) for group in self.groups]

    def _checked_graph(self, x, y):
        """What `_compiled` returns, or _NOT_COMPILABLE if that fails or gives different gradients: some layers compute
        something else in a graph, such as Conv1D with channels first in Keras 3.15."""
        sample = slice(0, SAMPLE)
        try:
            graph = self._compiled(x, y)
            fast = self._run(graph, x, y)[-1]
        except Exception as error:  # a layer or a loss that cannot be traced raises any type
            log.debug("the forward pass is not compiled: %r", error)
            return _NOT_COMPILABLE
        slow = self._run_eagerly(*take((x, y), sample))[-1]
        fast, slow = ([ops.convert_to_numpy(feature.squares())[sample] for features in parts for feature in features]
                      for parts in (fast, slow))
        tolerance = self._tolerance(*self.model._flatten_layers()) * max(map(np.max, slow), default=0)
        if all(np.abs(one - other).max() <= tolerance for one, other in zip(fast, slow)):
            return graph
        log.debug("the forward pass is not compiled: the graph gives other gradients")
        return _NOT_COMPILABLE

    def _compiled(self, x, y):
        """(graph, static) for `_run`: a function of examples of these shapes, and what it returns besides tensors."""
        n, static = len(y), []

        def function(x, y):
            (losses, scales), calls = self._calls(lambda: self._values(x, y), n)
            parts = []
            for group, own in zip(self.groups, calls):
                if group.rule.compiles:
                    features = group.rule.features([(layer, autodiff.run_after(d, a), d) for layer, a, d in own])
                    static.append([replace(feature, parts=()) for feature in features])
                    parts.append([feature.parts for feature in features])
                else:
                    static.append([group.layers.index(layer) for layer, _, _ in own])
                    parts.append([(a, d) for _, a, d in own])
            return losses, scales, parts

        return autodiff.compiled(function, (x, y)), static

    def _run(self, graph, x, y):
        graph, static = graph
        losses, scales, parts = graph(x, y)
        features = []
        for group, part, settings in zip(self.groups, parts, static):
            if group.rule.compiles:
                features.append([replace(setting, parts=tuple(own)) for own, setting in zip(part, settings)])
            else:
                features.append(group.rule.features([(group.layers[at], *own) for own, at in zip(part, settings)]))
        return losses, scales, features

    def _calls(self, values_of, n):
        """(other, calls) of a function that returns (values, other).

        calls: for each group its calls (layer, recorded, d), where d is the gradient of the SUM of the values with
        respect to the output. At example i's activations that is the gradient of its own value.
        """
        def forward(watch):
            with _tapped(self.groups, watch) as taps:
                return *values_of(), taps

        other, taps, deltas = autodiff.output_gradients(forward)
        calls = [[] for _ in self.groups]
        for ((number, layer), recorded, _), delta in zip(taps, deltas):
            if delta.shape[0] != n:
                raise _NotByExample(number)
            calls[number].append((layer, *keras.tree.map_structure(self._cast, (recorded, delta))))
        return other, calls

    def _cast(self, part):
        """Floats converted to the precision of the result; other types, such as indices of an embedding, unchanged."""
        floats = hasattr(part, "dtype") and "float" in keras.backend.standardize_dtype(part.dtype)
        return ops.cast(part, self.dtype.name) if floats else part

    def _check_labels(self, rows, columns):
        check_labels(self.loss, "y", rows[1], self.output)
        if columns is not None:
            check_labels(self.loss, "y2", columns[1], self.output)

    def _check(self, rows, columns):
        """Raises if the loss is no per-example loss. Drops the groups whose closed form disagrees with automatic
        differentiation, such as a kernel that is used outside its layer's call or a layer that mixes the first axis.

        Returns whether every group has a gradient on some of the examples tried.
        """
        examples, x_name = _sampled(rows, columns)
        for start in np.unique(np.linspace(0, max(len(examples[1]) - SAMPLE, 0), SAMPLES).astype(int)):
            x, y = take(examples, slice(start, start + SAMPLE))
            variables = [v for group in self.groups for v in group.variables.values()]
            singles = [take(x, slice(i, i + 1)) for i in range(len(y))]
            values, predictions, gradients = zip(*[
                autodiff.gradients(lambda one=one: self._random_projection(one), variables) for one in singles])
            if start == 0:
                self.output = getattr(predictions[0], "shape", None)
                self._check_labels(rows, columns)
                check_loss(self.loss, y, x_name, predictions, self.model.trainable_variables)
                if len(self.model.losses) > len(self.model._get_regularization_losses()):
                    raise ValueError("the model adds losses of its own (add_loss or an activity regulariser), which "
                                     "belong to a batch and not to an example; remove them for measuring")
                self._drop_groups_read_elsewhere(singles[0])
            together, calls = self._calls_by_example(x, len(y))
            self._check_independence(together, values, predictions)
            plain = {id(v): _products_of(parts) for v, parts in zip(variables, zip(*gradients))}
            if not self._drop_groups_that_disagree(calls, plain):
                return True
        return False

    def _drop_groups_read_elsewhere(self, x):
        """Drops the groups with a variable that is read outside their layers' calls, even without effect so far."""
        def run(unrecorded):
            with _tapped(self.groups, lambda _, output: output, unrecorded):
                self.model(x, training=False)

        used = autodiff.variables_read(run)
        self.groups = [group for group in self.groups
                       if not any(id(variable.value) in used for variable in group.variables.values())]

    def _random_projection(self, x):
        """(values, output): a number per example that depends on all of the model's output, and the output.

        The loss would not do: after training its gradients may be mere rounding errors.
        """
        prediction = self.model(x, training=False)
        total = 0
        for seed, part in enumerate(keras.tree.flatten(prediction)):
            weights = np.random.default_rng(seed).normal(size=part.shape[1:]).reshape(-1).astype(self.dtype)
            total = total + ops.matmul(ops.reshape(self._cast(part), (part.shape[0], -1)), weights)
        return total, prediction

    def _calls_by_example(self, x, n):
        while True:
            try:
                return self._calls(lambda: self._random_projection(x)[:1] * 2, n)
            except _NotByExample as error:
                del self.groups[error.args[0]]

    def _check_independence(self, together, alone, predictions):
        together, alone = ops.convert_to_numpy(together), np.concatenate([ops.convert_to_numpy(v) for v in alone])
        size = max(np.linalg.norm(ops.convert_to_numpy(self._cast(part)).astype(float))
                   for part in keras.tree.flatten(predictions))
        if np.abs(together - alone).max() > self._tolerance(*self.model._flatten_layers()) * size:
            raise ValueError(f"the model's output for example 0 depends on the examples beside it ({together[0]:g} in "
                             f"a batch of {len(together)}, {alone[0]:g} alone), so there is no per-example loss; look "
                             "for BatchNormalization or Dropout called with training=True")

    def _drop_groups_that_disagree(self, calls, plain):
        """Whether more examples are needed, because a group has no gradient on these, or one too small to compare.

        plain: {id of a variable: its part of the sample's Gram matrix by automatic differentiation}.
        """
        expected = [sum(plain[key] for key in group.variables) for group in self.groups]
        sizes = [np.abs(matrix).max() for matrix in expected]
        agree, self.width, self.length, self.working, self.per_pair, largest = [], 0, 0, 0, 0, 0
        unsure = False
        for group, own, matrix, size in zip(self.groups, calls, expected, sizes):
            try:
                features = group.rule.features(own) if own else []
                found = ops.convert_to_numpy(sum(feature.products(feature) for feature in features))
            except Exception as error:  # for layers of unexpected shapes there is the jacobian
                log.debug("the closed form of %s failed: %r", self.labels[group.key], error)
                continue
            if not np.isfinite(found).all():
                if self.method == "closed-form":
                    raise NotFinite(f"the gradients of {self.labels[group.key]} are too large for {self.dtype}: the "
                                    "model's weights or activations are; look for a weight that has diverged")
                log.debug("the closed form of %s is not finite", self.labels[group.key])
                continue
            difference, allowed = np.abs(found - matrix).max(), self._tolerance(*group.layers) * size
            if difference <= max(allowed, ROUNDING * max(sizes)):
                agree.append(group)
                unsure |= size == 0 or difference > allowed
                self.width += sum(feature.width() for feature in features)
                self.length += sum(feature.length() for feature in features)
                self.per_pair = max([self.per_pair, *[feature.per_pair() for feature in features]])
                for call in own:
                    activations, patches = _working(call)
                    self.working, largest = self.working + activations, max(largest, patches)
        self.groups, self.working = agree, self.working + largest  # one layer's features are computed at a time
        return unsure

    @staticmethod
    def _tolerance(*layers):
        return max(TOLERANCES.get(layer.compute_dtype, SAMPLE_TOLERANCE) for layer in layers)


@dataclass(frozen=True)
class _Checked:
    """What the check of a model found. Holds no reference to the model."""

    signature: tuple
    agree: tuple  # indices of the groups whose closed form is right
    sizes: tuple  # the shape of the model's output, and numbers that `plan` needs
    vectorised: bool
    graphs: dict  # shapes -> _SEEN_ONCE, _NOT_COMPILABLE, or a graph


def _signature(model, loss, rows, columns, method):
    """Everything but the weights that a check depends on: all layers' attributes, the loss, the examples' shapes."""
    def plain(value):
        if isinstance(value, dict):
            value = list(value.items())
        if isinstance(value, list | tuple):
            return tuple(map(plain, value))
        return value if value is None or isinstance(value, str | int | float) else id(value)

    layers = [(type(layer), id(type(layer).call), plain(vars(layer))) for layer in model._flatten_layers()]
    examples = [(part.shape[1:], part.dtype.str) for part in keras.tree.flatten(rows)]
    sample = len(_sampled(rows, columns)[0][1][:SAMPLE])
    trained = [id(v) for v in model.trainable_variables]
    own = plain(vars(loss.given)) if isinstance(loss.given, keras.losses.Loss) else None
    return tuple(layers), tuple(trained), tuple(examples), sample, method, _weak_reference(loss.source), own


def _is_from_keras(model, loss):
    """Whether all code in the model and in the loss is Keras's own."""
    parts = []
    for layer in model._flatten_layers():
        parts += [layer, getattr(layer, "activation", None) or layer]
        if isinstance(layer, keras.layers.Lambda) or "call" in vars(layer):
            return False
    return is_from_keras(loss.source) and all(getattr(part, "__module__", "").startswith("keras.") for part in parts)


def _weak_reference(thing):
    try:
        return weakref.ref(thing)
    except TypeError:  # its type does not support weak references
        return thing


def _sampled(rows, columns):
    """The examples from which some are checked, and their name. There must be two to see whether examples mix."""
    return (rows, "x") if columns is None or len(rows[1]) >= SAMPLE else (columns, "x2")


def _products_of(gradients):
    """(n, n): the products of n gradients of any shape."""
    flat = [np.ravel(ops.convert_to_numpy(gradient)).astype(float) for gradient in gradients]
    with np.errstate(invalid="ignore"):  # of gradients that are not finite
        return np.array([[one @ other for other in flat] for one in flat])


class _NotByExample(Exception):
    """The first axis of a layer's output is not that of the examples; holds the index of the layer's group."""


def _working(call):
    """(activations, patches): how many numbers per example exist while the features of a call are computed.

    The activations and their gradients, which the tape keeps before and after an activation function; and a
    convolution's patches and a copy of them.
    """
    layer, recorded, d = call
    shapes = [part.shape[1:] for part in (*keras.tree.flatten(recorded), d) if hasattr(part, "shape")]
    positions, channels = zip(*[(shape[:-1], shape[-1]) if getattr(layer, "data_format", "") != "channels_first" else
                                (shape[1:], shape[0]) for shape in shapes if shape])
    patches = min(map(math.prod, positions)) * max(channels) * math.prod(getattr(layer, "kernel_size", (0,)))
    return 4 * sum(map(math.prod, shapes)), 2 * patches


# --- the model's layers ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Group:
    """A layer with a closed form, or several with the same kind of closed form that share variables."""

    rule: type  # a class of `stiffness.engine.layers`
    layers: list
    variables: dict  # {id: variable}, all trainable

    @property
    def key(self):
        return next(iter(self.variables))


def _groups(model):
    """The groups that have a closed form for all of their trainable variables."""
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
    """{id of a trainable variable: label of the layer that owns it}, with a different label for each layer."""
    labels, taken = {}, Counter()
    for layer in model._flatten_layers():
        own = [v for v in layer._trainable_variables if v.trainable and id(v) not in labels]
        if own:
            path = own[0].path.rpartition("/")[0] or layer.name
            taken[path] += 1
            labels.update(dict.fromkeys(map(id, own), path if taken[path] == 1 else f"{path} ({taken[path]})"))
    return labels


@contextmanager
def _tapped(groups, watch, around=nullcontext):
    """Collects ((index of the group, layer), recorded, output) of every call of the groups' layers.

    The output is what watch(index of the call, output) makes of it. The calls run in the context around().

    Meanwhile `call`, and the attributes that the rule applies itself, are replaced on the instance, in its `__dict__`:
    Keras's attribute tracking would store references to the replacements.
    """
    taps, found, thread = [], [], threading.get_ident()

    def tap_of(key):
        def tap(recorded, output):
            if threading.get_ident() != thread:  # another thread runs the model meanwhile
                return output
            output = watch(len(taps), output)
            taps.append((key, recorded, output))
            return output

        return tap

    def within(call):
        @functools.wraps(call)
        def within_call(*args, **kwargs):
            with around():
                return call(*args, **kwargs)

        return within_call

    try:
        for number, group in enumerate(groups):
            for layer in group.layers:
                attributes = vars(layer)
                replacement = within(group.rule.tapped(layer, layer.call, tap_of((number, layer)),
                                                   getattr(layer, "activation", None)))
                found.append((attributes, {name: attributes[name] for name in ("call", *group.rule.applied_outside)
                                           if name in attributes}))
                attributes.update({name: None for name in group.rule.applied_outside if name in attributes},
                                  call=replacement)
        yield taps
    finally:
        for attributes, before in found:
            attributes.pop("call", None)
            attributes.update(before)
