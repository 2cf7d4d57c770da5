"""Turns examples into features, whose products are the Gram matrix: one forward and one backward pass of the model."""

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
from stiffness.engine.examples import NotFinite, at_outputs, check_finite, check_labels, check_loss, is_of_keras, take
from stiffness.engine.layers import MATRICES, SIDE, Factors, even, rule_of

SAMPLE = 2  # examples on which each layer's closed form is compared with the plain definition before it is used
SAMPLES = 4  # that many of these are tried where a layer has no gradient on the first
SAMPLE_TOLERANCE = 1e-3  # relative; far above rounding, far below any term left out
TOLERANCES = {"float16": 2e-2, "bfloat16": 1e-1}  # the same for models that compute in half precision
ROUNDING = 1e-9  # of the largest layer's part; where a layer's is less, it is not dropped for being another
CHUNK = 100  # examples that are differentiated at once; larger vectorised chunks are slower

_CHECKED = weakref.WeakKeyDictionary()  # model -> what its last checks found, the newest first
KEPT = 2  # of these: a model is often measured with two losses, or on two sets, in turn
GRAPHS = 16  # of a model that are kept, one for each shape of a chunk of examples or of a tile
SCALE_STEP = 16  # in powers of two; no multiple of it is near 1, where rounding would move many examples across
_SEEN, _EAGER = "seen once", "cannot be compiled"

log = logging.getLogger(__name__)


def blocks(n, block):
    """n examples in slices of that many."""
    return [slice(start, min(start + block, n)) for start in range(0, n, block)]


@contextmanager
def left_as_found(model):
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


class Engine:
    """Turns examples into features: {label of a layer: list of features, as in `stiffness.engine.layers`}.

    They come from the rule of each layer that has one which agrees with the plain definition on a few examples; the
    gradients of all other variables are computed as they are defined.
    """

    def __init__(self, model, loss, rows, columns, method):
        self.model, self.loss, self.method = model, loss, method
        # a model in half precision accumulates in float32
        self.dtype = np.dtype("float64" if any(v.dtype == "float64" for v in model.trainable_variables) else "float32")
        self.labels = _labels(model)
        groups = [] if method == "jacobian" else _groups(model)
        signature = _signature(model, loss, rows, columns, method)
        known = next((known for known in _CHECKED.get(model, ()) if known.signature == signature), None)
        if known:
            self.groups = [groups[number] for number in known.agree]
            self.output, self.width, self.length, self.working, self.per_pair = known.sizes
            self._check_labels(rows, columns)
            # what other Python code read when a graph was made may have changed; Keras's own reads what is signed
            self.graphs = known.graphs if _of_keras(model, loss) else {}
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
            signature = _signature(model, loss, rows, columns, method)  # now, as a first call sets attributes
            sizes = self.output, self.width, self.length, self.working, self.per_pair
            found = _Checked(signature, agree, sizes, self.vectorised, self.graphs)
            _CHECKED[model] = (found, *_CHECKED.get(model, ()))[:KEPT]
        sizes = sum(math.prod(v.shape) for v in self.rest)
        self.width, self.length, self.working = self.width + sizes, self.length + sizes, self.working + sizes

    def features(self, x, y, start, x_name):
        """(features, scales): the examples' gradients are those of the features times their scales, (n,).

        start, x_name: where the examples come from, for errors."""
        chunks, scales = zip(*[self._features(*take((x, y), c), start + c.start, x_name)
                               for c in blocks(len(y), self.chunk)])
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
        """(values, (losses, scales)): a value's gradient is that of the loss over its scale, a power of two not far
        from the largest entry at the model's outputs. So a sure network's examples have gradients that are not too
        small for single precision, and nothing is rounded."""
        prediction = self.model(x, training=False)
        losses, outputs, found = at_outputs(self.loss, y, prediction)
        precise = "float64" if self.loss.double else self.dtype.name
        outputs = [ops.reshape(output, (len(y), -1)) for output in outputs]
        found = [ops.reshape(ops.cast(slope, precise), (len(y), -1)) for slope in found]
        largest = functools.reduce(ops.maximum, [ops.max(ops.abs(slope), axis=1) for slope in found])
        steps = ops.round(ops.log2(ops.where(largest == 0, 1, largest)) / SCALE_STEP)
        scales = 2 ** (SCALE_STEP * steps)
        values = sum(ops.cast(ops.sum(output * ops.cast(slope / scales[:, None], output.dtype), axis=1), precise)
                     for output, slope in zip(outputs, found))
        return values, (losses, scales)

    def _differentiated(self, x, y, vectorised):
        """((losses, scales), [(n, *shape)]), the gradients of all variables without a closed form."""
        if vectorised:
            return autodiff.per_example(lambda: self._values(x, y), self.rest)
        _, others, gradients = zip(*[
            autodiff.gradients(lambda i=i: self._values(*take((x, y), slice(i, i + 1))), self.rest)
            for i in range(len(y))])
        return ([ops.concatenate(parts, axis=0) for parts in zip(*others)],
                [ops.stack(parts) for parts in zip(*gradients)])

    def _vectorises(self, rows):
        """Whether the backend can vectorise the jacobian, and does it right: TensorFlow does not for every layer, such
        as convolutions in groups."""
        sample = take(rows, slice(0, SAMPLE))
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

    def plan(self, budget, n, largest, kept=0, by_layer=False):
        """(block, held): how many examples a block has, and how many blocks' features fit in the budget at once.

        kept: bytes of it that are taken; by_layer: each layer's part of a tile is kept until the tile is done. Sets how
        many examples pass through the model at once: as many as need a quarter of the budget.
        """
        room = (budget - kept) // self.dtype.itemsize
        an_example = 2 * self.width  # its features as a row and as a column
        matrices = MATRICES + by_layer * len(set(self.labels.values()))
        least = self.working + an_example + matrices + self.per_pair  # what makes them, and a tile's matrices
        if room < least:
            raise ValueError(f"memory_budget is {budget} bytes; one tile needs at least "
                             f"{kept + least * self.dtype.itemsize}")
        self.chunk = max(1, min(room // 4 // max(self.working, 1), n, CHUNK if self.rest else n))
        room -= self.working * self.chunk
        sizes = np.arange(1, min(n, largest) + 1)
        need = an_example * sizes + matrices * sizes**2 + self.per_pair * np.minimum(sizes, SIDE) ** 2
        block = max(1, int(np.searchsorted(need, room // 4, side="right")))  # the rest holds further blocks
        block = even(n, block)
        self.chunk = even(block, self.chunk)
        spare = room - need[block - 1]
        return block, 1 + max(0, int(spare / (block * max(self.width, 1))))

    def _losses_and_parts(self, x, y):
        """(losses, scales, features of each group). From the second time on that examples of these shapes come, what
        makes them is one graph."""
        graph = self._graph((), (x, y), lambda: self._compiled_rightly(x, y))
        return self._run(graph, x, y) if graph else self._operation_by_operation(x, y)

    def _graph(self, kind, examples, make):
        """What make() returns, from the second time on that a nest of these shapes comes; None before."""
        key = kind, tuple((tuple(part.shape), str(part.dtype)) for part in keras.tree.flatten(examples))
        graph = self.graphs.pop(key, None)
        if graph is _SEEN and autodiff.compiled is not None:
            graph = make()
        self.graphs[key] = graph or _SEEN  # the newest last
        if len(self.graphs) > GRAPHS:
            del self.graphs[next(iter(self.graphs))]
        return None if graph in (None, _SEEN, _EAGER) else graph

    def products(self, left, right, kept=None):
        """(products, parts): (n, m), the sum over all layers, and by label what kept(part) returns of each one's part.

        left, right: of `features`; the same twice for a tile on the diagonal. From the second time on that features of
        these shapes come, the products of tensors are one graph."""
        labels = [label for label, features in left.items() if features]  # a layer that is never called has none
        if not labels:
            return 0, {}
        given = [[one.products(other) for one, other in zip(left[label], right[label]) if not one.compiles]
                 for label in labels]
        facts = [[replace(one, parts=()) for one in left[label] if one.compiles] for label in labels]
        sides = [[[one.parts for one in side[label] if one.compiles] for label in labels]
                 for side in ([left] if right is left else [left, right])]

        def tile(given, *sides):
            total, parts = None, []
            for terms, own, *layer in zip(given, facts, *sides):
                ones, *others = [[replace(fact, parts=tuple(part)) for fact, part in zip(own, side)]
                                 for side in autodiff.after(total, layer)]  # for memory, one layer after another
                part = autodiff.added([*terms, *(one.products(other) for one, other in zip(ones, *(others or [ones])))])
                total = part if total is None else total + part
                parts.append(kept(part) if kept else ())
            return total, parts

        graph = self._graph((len(sides), kept), (given, *sides), lambda: autodiff.compiled(tile, (given, *sides)))
        total, parts = (graph or tile)(given, *sides)
        return total, dict(zip(labels, parts))

    def _operation_by_operation(self, x, y):
        (losses, scales), calls = self._calls(lambda: self._values(x, y), len(y))
        # a layer's calls are let go before the next layer's features are made
        return losses, scales, [group.rule.features(calls.pop(0)) for group in self.groups]

    def _compiled_rightly(self, x, y):
        """What `_compiled` returns, or _EAGER where that fails or gives other gradients: some layers compute something
        else in a graph, such as Keras 3.15's Conv1D with the channels first."""
        sample = slice(0, SAMPLE)
        try:
            graph = self._compiled(x, y)
            fast = self._run(graph, x, y)[-1]
        except Exception as error:  # of any type: a layer or a loss that makes no graph
            log.debug("the forward pass is not compiled: %r", error)
            return _EAGER
        slow = self._operation_by_operation(*take((x, y), sample))[-1]
        fast, slow = ([ops.convert_to_numpy(feature.squares())[sample] for features in parts for feature in features]
                      for parts in (fast, slow))
        tolerance = self._tolerance(*self.model._flatten_layers()) * max(map(np.max, slow), default=0)
        if all(np.abs(one - other).max() <= tolerance for one, other in zip(fast, slow)):
            return graph
        log.debug("the forward pass is not compiled: the graph gives other gradients")
        return _EAGER

    def _compiled(self, x, y):
        """(graph, fixed) for `_run`: a function of examples like these, and what it returns that are no tensors."""
        n, fixed = len(y), []

        def function(x, y):
            (losses, scales), calls = self._calls(lambda: self._values(x, y), n)
            parts = []
            for group, own in zip(self.groups, calls):
                if group.rule.compiles:
                    features = group.rule.features([(layer, autodiff.after(d, a), d) for layer, a, d in own])
                    fixed.append([replace(feature, parts=()) for feature in features])
                    parts.append([feature.parts for feature in features])
                else:
                    fixed.append([group.layers.index(layer) for layer, _, _ in own])
                    parts.append([(a, d) for _, a, d in own])
            return losses, scales, parts

        return autodiff.compiled(function, (x, y)), fixed

    def _run(self, graph, x, y):
        graph, fixed = graph
        losses, scales, parts = graph(x, y)
        features = []
        for group, part, facts in zip(self.groups, parts, fixed):
            if group.rule.compiles:
                features.append([replace(fact, parts=tuple(own)) for own, fact in zip(part, facts)])
            else:
                features.append(group.rule.features([(group.layers[at], *own) for own, at in zip(part, facts)]))
        return losses, scales, features

    def _calls(self, values_of, n):
        """(other, calls) of a function that returns (values, other): for each group its calls (layer, recorded, d), d
        being the gradient at the output; it is that of the SUM of the values, which at example i's activation is that
        of its own value alone."""
        def forward(watch):
            with _tapped(self.groups, watch) as taps:
                return *values_of(), taps

        other, taps, deltas = autodiff.deltas(forward)
        calls = [[] for _ in self.groups]
        for ((number, layer), recorded, _), delta in zip(taps, deltas):
            if delta.shape[0] != n:
                raise _NotByExample(number)
            calls[number].append((layer, *keras.tree.map_structure(self._cast, (recorded, delta))))
        return other, calls

    def _cast(self, part):
        """Floats in the result's precision; the indices of an embedding as they are."""
        floats = hasattr(part, "dtype") and "float" in keras.backend.standardize_dtype(part.dtype)
        return ops.cast(part, self.dtype.name) if floats else part

    def _check_labels(self, rows, columns):
        check_labels(self.loss, "y", rows[1], self.output)
        if columns is not None:
            check_labels(self.loss, "y2", columns[1], self.output)

    def _check(self, rows, columns):
        """Refuses what is no loss for each example alone, and drops the groups whose closed form does not give the
        plain definition's Gram matrix: a kernel used outside its layer's call, a layer that mixes the first axis.
        Returns whether each group has a gradient on some of the examples tried."""
        examples, x_name = _sampled(rows, columns)
        for start in np.unique(np.linspace(0, max(len(examples[1]) - SAMPLE, 0), SAMPLES).astype(int)):
            x, y = take(examples, slice(start, start + SAMPLE))
            variables = [v for group in self.groups for v in group.variables.values()]
            singles = [take(x, slice(i, i + 1)) for i in range(len(y))]
            values, predictions, gradients = zip(*[
                autodiff.gradients(lambda one=one: self._projected(one), variables) for one in singles])
            if start == 0:
                self.output = getattr(predictions[0], "shape", None)
                self._check_labels(rows, columns)
                check_loss(self.loss, y, x_name, predictions, self.model.trainable_variables)
                if len(self.model.losses) > len(self.model._get_regularization_losses()):
                    raise ValueError("the model adds losses of its own (add_loss or an activity regulariser), which "
                                     "belong to a batch and to no example; remove them for measuring")
                self._keep_those_that_own(singles[0])
            together, calls = self._calls_by_example(x, len(y))
            self._check_alone(together, values, predictions)
            plain = {id(v): _products_of(parts) for v, parts in zip(variables, zip(*gradients))}
            if not self._keep_those_that_agree(calls, plain):
                return True
        return False

    def _keep_those_that_own(self, x):
        """Drops the groups with a variable that is used outside their layers' calls, however little it does there now:
        the weights may change."""
        def run(hidden):
            with _tapped(self.groups, lambda _, output: output, hidden):
                self.model(x, training=False)

        used = autodiff.reads(run)
        self.groups = [group for group in self.groups
                       if not any(id(variable.value) in used for variable in group.variables.values())]

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
                return self._calls(lambda: self._projected(x)[:1] * 2, n)
            except _NotByExample as error:
                del self.groups[error.args[0]]

    def _check_alone(self, together, alone, predictions):
        together, alone = ops.convert_to_numpy(together), np.concatenate([ops.convert_to_numpy(v) for v in alone])
        size = max(np.linalg.norm(ops.convert_to_numpy(self._cast(part)).astype(float))
                   for part in keras.tree.flatten(predictions))
        if np.abs(together - alone).max() > self._tolerance(*self.model._flatten_layers()) * size:
            raise ValueError(f"the model's output for example 0 depends on the examples beside it ({together[0]:g} in "
                             f"a batch of {len(together)}, {alone[0]:g} alone), so there is no per-example loss; look "
                             "for BatchNormalization or Dropout called with training=True")

    def _keep_those_that_agree(self, calls, plain):
        """Whether more examples are needed: some group has no gradient on these, or next to none and that unlike the
        plain one, which may be rounding. plain: {id of a variable: its part of the sample's Gram matrix}."""
        expected = [sum(plain[key] for key in group.variables) for group in self.groups]
        sizes = [np.abs(matrix).max() for matrix in expected]
        agree, self.width, self.length, self.working, self.per_pair, largest = [], 0, 0, 0, 0, 0
        unsure = False
        for group, own, matrix, size in zip(self.groups, calls, expected, sizes):
            try:
                features = group.rule.features(own) if own else []
                found = ops.convert_to_numpy(sum(feature.products(feature) for feature in features))
            except Exception as error:  # whatever a layer's shapes do to its rule, the jacobian is right
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
        self.groups, self.working = agree, self.working + largest  # one layer's features are made at a time
        return unsure

    @staticmethod
    def _tolerance(*layers):
        return max(TOLERANCES.get(layer.compute_dtype, SAMPLE_TOLERANCE) for layer in layers)


@dataclass(frozen=True)
class _Checked:
    """What the check of a model found; nothing in it keeps the model alive."""

    signature: tuple
    agree: tuple  # the numbers of the groups whose closed form is right
    sizes: tuple  # the shape of the model's output, and what `plan` needs
    vectorised: bool
    graphs: dict  # the shapes of a chunk of examples -> _SEEN, _EAGER, or what `_compiled` returns


def _signature(model, loss, rows, columns, method):
    """All that a check depends on but the weights: the attributes of every layer, the loss, the examples' shapes."""
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
    return tuple(layers), tuple(trained), tuple(examples), sample, method, _weakly(loss.source), own


def _of_keras(model, loss):
    """Whether all code that runs in the model and in the loss is Keras's own."""
    parts = []
    for layer in model._flatten_layers():
        parts += [layer, getattr(layer, "activation", None) or layer]
        if isinstance(layer, keras.layers.Lambda) or "call" in vars(layer):
            return False
    return is_of_keras(loss.source) and all(getattr(part, "__module__", "").startswith("keras.") for part in parts)


def _weakly(thing):
    try:
        return weakref.ref(thing)
    except TypeError:  # of a type that knows no weak references
        return thing


def _sampled(rows, columns):
    """The examples of which some are checked, and their name: two or more are needed to see that they mix."""
    return (rows, "x") if columns is None or len(rows[1]) >= SAMPLE else (columns, "x2")


def _products_of(gradients):
    """(n, n) of n gradients of any shape"""
    flat = [np.ravel(ops.convert_to_numpy(gradient)).astype(float) for gradient in gradients]
    with np.errstate(invalid="ignore"):  # of gradients that are not finite
        return np.array([[one @ other for other in flat] for one in flat])


class _NotByExample(Exception):
    """A layer's output whose first axis is not that of the examples; it holds the number of the layer's group."""


def _working(call):
    """Numbers an example while a call's features are made: activations and their gradients, as the tape keeps them
    before and after an activation function; and the patches of a convolution, with a copy."""
    layer, recorded, d = call
    shapes = [part.shape[1:] for part in (*keras.tree.flatten(recorded), d) if hasattr(part, "shape")]
    positions, channels = zip(*[(shape[:-1], shape[-1]) if getattr(layer, "data_format", "") != "channels_first" else
                                (shape[1:], shape[0]) for shape in shapes if shape])
    patches = min(map(math.prod, positions)) * max(channels) * math.prod(getattr(layer, "kernel_size", (0,)))
    return 4 * sum(map(math.prod, shapes)), 2 * patches


# --- the model's layers ---------------------------------------------------------------------------------------------


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
def _tapped(groups, watch, around=nullcontext):
    """Collects ((number of the group, layer), recorded, output) of every call of the groups' layers; the output is
    what watch(number of the call, output) makes of it. The calls run in the context around().

    A layer's `call`, and what its rule applies outside, are attributes of the instance for that time. They are set in
    `__dict__`, as Keras's attribute tracking would keep what it sees.
    """
    taps, found, thread = [], [], threading.get_ident()

    def tap_of(key):
        def tap(recorded, output):
            if threading.get_ident() != thread:  # another one runs the model at the same time
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
                instead = within(group.rule.tapped(layer, layer.call, tap_of((number, layer)),
                                                   getattr(layer, "activation", None)))
                found.append((attributes, {name: attributes[name] for name in ("call", *group.rule.without)
                                           if name in attributes}))
                attributes.update({name: None for name in group.rule.without if name in attributes}, call=instead)
        yield taps
    finally:
        for attributes, before in found:
            attributes.pop("call", None)
            attributes.update(before)
