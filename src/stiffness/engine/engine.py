"""Turns examples into features, whose products form the Gram matrix, by one forward and one backward pass."""

import functools
import logging
import math
import weakref
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, replace

import keras
import numpy as np
from keras import ops

from stiffness.engine.backend import backend
from stiffness.engine.examples import NotFinite, count_of, take
from stiffness.engine.features import MATRICES, SIDE, STRIP, Factors, even_size
from stiffness.engine.keras_private import added_losses, attached_logits, layers_of, own_variables
from stiffness.engine.losses import check_finite
from stiffness.engine.replay import by_example, repeated
from stiffness.engine.rules import attribute, rule_of
from stiffness.engine.taps import (
    CLOSED_FORM,
    EAGER,
    JACOBIAN,
    LAYER,
    MODEL,
    Call,
    Owner,
    Unreachable,
    is_float,
    is_tensor,
    readers_of,
    recorded_calls,
)

SAMPLE = 2  # examples on which each way is compared with the definition before it is used
SAMPLES = 4  # how many such samples are tried while a layer has no gradient on those before
LOSSES = 6  # examples on which the loss is checked
SAMPLE_TOLERANCE = 1e-3  # relative; far above rounding errors, far below any missing term
TOLERANCES = {"float16": 2e-2, "bfloat16": 1e-1}  # the same for layers that compute in half precision
ROUNDING = 1e-9  # relative to the largest part of the Gram matrix; smaller differences are rounding errors
CHUNK = 100  # examples whose gradients are computed at a time where a layer's call is repeated
SCALE_STEP = 16  # exponents of two between scales; they change far from 1, where most gradients are
CHECKS_KEPT = 2  # per model, which is often measured with two losses or on two sets in turn
GRAPHS_KEPT = 32  # per model: one for each shape of a chunk of examples, of a tile, and of a repeated call
_SEEN_ONCE, _NOT_COMPILABLE = "seen once", "cannot be compiled"
MEAN, SUM = "mean", "sum"  # of its examples' losses: what a batch's added losses are
_CHECKED = weakref.WeakKeyDictionary()  # model -> (_Checked, ...), the latest first

# attributes that every layer, or every model, has: what matters of them is in the signature in another way
_BOOKKEEPING = {of_model: frozenset(vars(kind())) - {"call", "activity_regularizer", "_remat_mode"}
                for of_model, kind in ((False, keras.layers.Layer), (True, keras.Model))}

log = logging.getLogger(__name__)


def slices_of(n, block):
    """Slices of at most `block` examples that cover n examples."""
    return [slice(start, min(start + block, n)) for start in range(0, n, block)]


@contextmanager
def restored_state(model):
    """Undoes what a forward pass may change: moving averages, the states of random generators."""
    def value(variable):
        return ops.convert_to_numpy(ops.copy(variable.value))

    weights = {id(v) for layer in layers_of(model) for v in own_variables(layer)}  # frozen or not
    before = [(v, value(v)) for v in model.non_trainable_variables if id(v) not in weights]
    try:
        yield
    finally:
        for variable, found in before:
            if not np.array_equal(value(variable), found):
                variable.assign(found)


@dataclass(frozen=True)
class _Checked:
    """What the check of a model found, and the graphs made since. Holds no reference to the model."""

    signature: tuple
    owners: tuple  # as `_Checked.found` makes them of owners
    spread: tuple  # numbers of owners
    sizes: tuple  # numbers that `plan` needs
    prediction: object  # the model's output for some examples, as KerasTensors
    added: str | None  # MEAN or SUM, if the model adds losses of its own
    graphs: dict  # key -> _SEEN_ONCE, _NOT_COMPILABLE, or a graph

    @staticmethod
    def found(owner, layers, variables):
        return (tuple(layers.index(layer) for layer in owner.layers),
                tuple(variables.index(id(v)) for v in owner.variables),
                owner.way, owner.rule, owner.layouts)


class Engine:
    """Turns examples into features: {label of a layer: list of features, as in `stiffness.engine.features`}.

    Each trainable variable has an owner: the layers whose calls give its gradients, by a closed form or by repetition.
    An owner's way is used if it agrees with the definition on a few examples; else the next one is tried.
    """

    def __init__(self, model, losses, rows, columns, method):
        self.model, self.losses, self.method = model, losses, method
        self.variables = model.trainable_variables
        # models in half precision accumulate in float32, too
        self.dtype = np.dtype("float64" if any(v.dtype == "float64" for v in self.variables) else "float32")
        self.layers = layers_of(model)
        self.labels = _labels(self.layers)
        signature = self._signature(rows, columns)
        known = next((known for known in _CHECKED.get(model, ()) if known.signature == signature), None)
        if known:
            self.owners = [Owner([self.layers[k] for k in layers], [self.variables[k] for k in variables], *rest)
                           for layers, variables, *rest in known.owners]
            self.spread = [self.owners[k] for k in known.spread]
            self.width, self.length, self.working, self.per_pair = known.sizes
            self.added, self.graphs = known.added, known.graphs
            self._check_labels(rows, columns, known.prediction)
        else:
            self.owners, self.spread, self.added, self.graphs = [], [], None, {}
            conclusive = self._check(rows, columns)
            repeating = [v.path for owner in self.owners if not owner.rule for v in owner.variables]
            if repeating and method == "closed-form":
                raise ValueError(f"there is no closed form for {', '.join(repeating)}; use method 'auto' or 'jacobian'")
            if repeating and method == "auto":
                ways = sorted({owner.way for owner in self.owners if not owner.rule})
                log.info("no closed form for %s: %s", ", ".join(repeating), ", ".join(ways))
            if conclusive:
                ids = list(map(id, self.variables))
                found = _Checked(self._signature(rows, columns),  # again, as a first call sets attributes
                                 tuple(_Checked.found(owner, self.layers, ids) for owner in self.owners),
                                 tuple(map(self.owners.index, self.spread)),
                                 (self.width, self.length, self.working, self.per_pair), self.prediction, self.added,
                                 self.graphs)
                _CHECKED[model] = (found, *_CHECKED.get(model, ()))[:CHECKS_KEPT]

    @property
    def compilable(self):
        """Whether a pass may run as a graph: other code than Keras's may read values that change unseen."""
        return (backend.compiles and _code_is_keras(self.layers) and self.losses.from_keras and not self.added
                and not any(owner.way == EAGER for owner in self.owners))

    @property
    def ways(self):
        """{label of a layer: how its gradients are computed}"""
        return {self.labels[id(v)]: owner.way for owner in self.owners for v in owner.variables}

    # --- features ---------------------------------------------------------------------------------------------------

    def features(self, x, y, start, x_name):
        """(features, scales): an example's gradient is that of its features times its scale. scales: (n,).

        start, x_name: where the examples come from, for error messages."""
        chunks, scales = [], []
        for c in slices_of(count_of(y), self.chunk):
            losses, scale, parts = self._losses_and_parts(*take((x, y), c))
            check_finite(losses, scale, start + c.start, x_name)
            chunks.append(_by_label(parts))
            scales.append(ops.convert_to_numpy(scale).astype(float))
        if len(chunks) == 1:
            return chunks[0], scales[0]
        return {label: [type(parts[0]).joined(parts) for parts in zip(*[chunk.pop(label) for chunk in chunks])]
                for label in list(chunks[0])}, np.concatenate(scales)

    def _losses_and_parts(self, x, y):
        """(losses, scales, [[(label, feature)] of each owner]), compiled if these shapes have occurred before."""
        if self.compilable:
            graph = self._graph("pass", (x, y), lambda: self._checked(
                self._compiled, lambda graph: _squares(self._run(graph, x, y)[-1]), x, y))
            if graph:
                return self._run(graph, x, y)
        return self._run_eagerly(x, y)

    def _run_eagerly(self, x, y):
        (losses, scales), calls = self._calls(lambda: self._total(x, y), count_of(y))
        return losses, scales, [self._parts(owner, calls) for owner in self.owners]

    def _calls(self, forward, n):
        other, calls = recorded_calls(self.owners, n, forward, self.spread)
        for call in calls:
            call.recorded, call.gradients = keras.tree.map_structure(self._cast, (call.recorded, call.gradients))
        return other, calls

    def _total(self, x, y):
        """(total, (losses, scales)): the sum over examples of the loss divided by its scale, up to a constant.

        The scale is a power of two near the largest entry of the loss's gradient at the outputs, so division by it is
        exact, and the gradients of examples classified with great confidence stay within single precision.
        """
        prediction = self.model(x, training=False)
        losses, outputs, found = self.losses.at_outputs(x, y, prediction)
        n, precise = count_of(y), "float64" if self.losses.double else self.dtype.name
        outputs = [ops.reshape(output, (n, -1)) for output in outputs]
        found = [ops.reshape(ops.cast(gradient, precise), (n, -1)) for gradient in found]
        largest = functools.reduce(ops.maximum, [ops.max(ops.abs(gradient), axis=1) for gradient in found])
        if self.added:
            scales = ops.where(ops.isfinite(largest), ops.ones_like(largest), largest)
        else:
            steps = ops.round(ops.log2(ops.where(largest == 0, 1, largest)) / SCALE_STEP)
            # no subnormal scale, which is flushed to 0
            steps = ops.maximum(steps, math.ceil(np.log2(np.finfo(precise).tiny) / SCALE_STEP))
            scales = 2 ** (SCALE_STEP * steps)
        total = sum(ops.cast(ops.sum(output * ops.cast(gradient / scales[:, None], output.dtype)), precise)
                    for output, gradient in zip(outputs, found))
        return total + ops.cast(self._added(n), precise), (losses, scales)

    def _cast(self, part):
        """Floats converted to the precision of the result; other types, such as indices of an embedding, unchanged."""
        return ops.cast(part, self.dtype.name) if is_float(part) else part

    def _parts(self, owner, calls):
        """[(label, feature)] of an owner."""
        own = [(call, layout) for call, layout in zip([call for call in calls if call.owner is owner], owner.layouts)]
        if owner.rule:
            label = self.labels[id(owner.variables[0])]
            calls = [call for pair in own for call in _calls_by_example(owner.rule, *pair)]
            return [(label, feature) for feature in owner.rule.features(calls)]
        totals = [0] * len(owner.variables)
        for number, (call, layout) in enumerate(own):
            found = self._repeated(owner, number, call, layout)
            totals = [self._cast(one) + total for one, total in zip(found, totals)]
        return [(self.labels[id(v)], Factors((ops.reshape(total, (total.shape[0], 1, -1)),)))
                for v, total in zip(owner.variables, totals) if own]

    def _repeated(self, owner, number, call, layout):
        """The gradients (n, *shape) of the owner's variables. A graph is made at once, as it is traced in any case."""
        function, tensors = repeated(call, owner, layout)
        if owner.way in (EAGER, JACOBIAN) or not backend.compiles or backend.site():  # no graphs, or inside one
            return function(*tensors)[0]
        plain = tuple(part if isinstance(part, str | int | float | None) else id(part)
                      for part in keras.tree.flatten((call.recorded, call.gradients)) if not is_tensor(part))
        key = "repeat", self.owners.index(owner), number, plain, _shapes(tensors)
        for _ in range(2):
            graph = self.graphs.get(key) or backend.compiled(function, tensors)
            gradients, outputs = graph(*tensors)
            if self._same(outputs, call, layout):  # other code than Keras's may read values that have changed since
                self._keep(key, graph)
                return gradients
            self.graphs.pop(key, None)
        raise Unreachable(owner)

    def _same(self, outputs, call, layout):
        """Whether the repeated call gave the recorded outputs."""
        leaves = keras.tree.flatten(call.outputs)
        recorded = [(part, place) for part, place in zip(leaves, layout[-len(leaves) :]) if is_float(part)]
        return all(_difference(by_example(part, place), output) <= self._tolerance([call.layer]) * _size(part)
                   for (part, place), output in zip(recorded, outputs))

    # --- graphs -----------------------------------------------------------------------------------------------------

    def _keep(self, key, graph):
        self.graphs.pop(key, None)
        self.graphs[key] = graph  # the latest last
        if len(self.graphs) > GRAPHS_KEPT:
            del self.graphs[next(iter(self.graphs))]

    def _graph(self, kind, examples, make):
        """The graph that make() returns, once a nest of these shapes has occurred before; None if there is none."""
        key = kind, _shapes(examples)
        graph = self.graphs.get(key)
        if graph is _SEEN_ONCE and backend.compiles:
            graph = make()
        self._keep(key, graph or _SEEN_ONCE)
        return None if graph in (None, _SEEN_ONCE, _NOT_COMPILABLE) else graph

    def _checked(self, graph_of, squares_of, x, y):
        """The graph that graph_of(x, y) returns, or _NOT_COMPILABLE if that fails or gives different gradients: some
        layers compute something else in a graph, such as Conv1D with channels first in Keras 3.15.

        squares_of(graph): the squared norms of the first examples by the graph.
        """
        sample = slice(0, SAMPLE)
        try:
            graph = graph_of(x, y)
            fast = ops.convert_to_numpy(squares_of(graph))[sample]
        except Exception as error:  # a layer that cannot be traced raises any type
            log.debug("the forward pass is not compiled: %r", error)
            return _NOT_COMPILABLE
        slow = ops.convert_to_numpy(_squares(self._run_eagerly(*take((x, y), sample))[-1]))
        if _difference(fast, slow) <= self._tolerance(self.layers) * _size(slow):
            return graph
        log.debug("the forward pass is not compiled: the graph gives other gradients")
        return _NOT_COMPILABLE

    def _compiled(self, x, y):
        """(graph, static) for `_run`: a function of examples of these shapes, and what it returns besides tensors."""
        static = []

        def function(x, y):
            (losses, scales), calls = self._calls(lambda: self._total(x, y), count_of(y))
            tensors, static[:] = [], []
            for owner in self.owners:
                if owner.rule and not owner.rule.compiles:
                    own = [call for call in calls if call.owner is owner]
                    static.append([self.layers.index(call.layer) for call in own])
                    tensors.append([(call.recorded, call.gradients) for call in own])
                else:
                    parts = self._parts(owner, calls)
                    static.append([(label, replace(feature, parts=())) for label, feature in parts])
                    tensors.append([feature.parts for _, feature in parts])
            return losses, scales, tensors

        return backend.compiled(function, (x, y)), static

    def _run(self, graph, x, y):
        graph, static = graph
        losses, scales, tensors = graph(x, y)
        parts = []
        for owner, own, settings in zip(self.owners, tensors, static):
            if owner.rule and not owner.rule.compiles:
                calls = [Call(owner, self.layers[k], *pair) for k, pair in zip(settings, own)]
                parts.append(self._parts(owner, calls))
            else:
                parts.append([(label, replace(setting, parts=tuple(part)))
                              for (label, setting), part in zip(settings, own)])
        return losses, scales, parts

    def products(self, left, right, kept=None):
        """[(rows, columns, products, parts)]: pieces of the tile, whose products are the sum over all layers, and
        {label: kept(the layer's part)}.

        left, right: as returned by `features`; the same object for a tile on the diagonal, of which the pieces cover
        what is on and above the diagonal. Runs as a compiled graph if these shapes have occurred before.
        """
        labels = [label for label, features in left.items() if features]  # layers that are never called have none
        if not labels:
            return []
        given = [[one.products(other) for one, other in zip(left[label], right[label]) if not one.compiles]
                 for label in labels]
        settings = [[replace(one, parts=()) for one in left[label] if one.compiles] for label in labels]
        sides = [[[one.parts for one in side[label] if one.compiles] for label in labels]
                 for side in ([left] if right is left else [left, right])]
        pieces = _pieces(left, right)

        def tile(given, *sides):
            sides = [[[replace(setting, parts=tuple(part)) for setting, part in zip(own, layer)]
                      for own, layer in zip(settings, side)] for side in sides]
            return _tile(given, sides[0], sides[-1], pieces, kept)

        graph = self._graph(("tile", len(sides), kept), (given, *sides),
                            lambda: backend.compiled(tile, (given, *sides)))
        found = (graph or tile)(given, *sides)
        return [(*piece, total, dict(zip(labels, parts))) for piece, (total, parts) in zip(pieces, found)]

    def products_at_once(self, x, y, kept):
        """(scales, pieces): what `features` and `products` give for one tile on the diagonal, in one graph, which takes
        less time for few examples; None where there is no such graph (yet)."""
        if not self.compilable or self.chunk < count_of(y) or any(
                owner.rule and not owner.rule.compiles for owner in self.owners):
            return None
        graph = self._graph(("all", kept), (x, y), lambda: self._checked(
            lambda x, y: self._all_in_one(x, y, kept), lambda graph: ops.diagonal(graph[0](x, y)[-1][0][0]), x, y))
        if graph is None:
            return None
        graph, (labels, pieces) = graph
        losses, scales, found = graph(x, y)
        check_finite(losses, scales, 0, "x")
        scales = ops.convert_to_numpy(scales).astype(float)
        return scales, [(*piece, total, dict(zip(labels, parts))) for piece, (total, parts) in zip(pieces, found)]

    def _all_in_one(self, x, y, kept):
        static = []

        def function(x, y):
            (losses, scales), calls = self._calls(lambda: self._total(x, y), count_of(y))
            features = _by_label([self._parts(owner, calls) for owner in self.owners])
            static[:] = list(features), _pieces(features, features)
            own = list(features.values())
            return losses, scales, _tile([[] for _ in own], own, own, static[1], kept)

        return backend.compiled(function, (x, y)), static

    # --- the plan ---------------------------------------------------------------------------------------------------

    def plan(self, budget, n, m, largest, kept=0, by_layer=False):
        """(rows, columns, held): examples per block of rows and of columns, and how many blocks of rows are held at
        once.

        Also sets `self.chunk`, the number of examples per pass through the model, which uses a quarter of the budget.
        kept: bytes of the budget that are already taken. by_layer: whether each layer's part of a tile is kept until
        the tile is complete.
        """
        room = (budget - kept) // self.dtype.itemsize
        matrices = MATRICES + by_layer * len(set(self.labels.values()))
        least = self.working + 2 * self.width + matrices + self.per_pair  # features of a row and a column, and a tile
        if room < least:
            raise ValueError(f"memory_budget is {budget} bytes; one tile needs at least "
                             f"{kept + least * self.dtype.itemsize}")
        repeating = any(not owner.rule for owner in self.owners)
        self.chunk = max(1, min(room // 4 // max(self.working, 1), max(n, m), CHUNK if repeating else max(n, m)))
        room -= self.working * self.chunk
        sizes = np.arange(1, min(max(n, m), largest) + 1)
        rows, columns = np.minimum(sizes, n), np.minimum(sizes, m)
        need = self.width * (rows + columns) + matrices * rows * columns + (
            self.per_pair * np.minimum(rows, SIDE) * np.minimum(columns, SIDE))
        block = max(1, int(np.searchsorted(need, room // 4, side="right")))  # the rest is for further blocks
        rows, columns = even_size(n, min(block, n)), even_size(m, min(block, m))
        self.chunk = even_size(max(rows, columns), self.chunk)
        spare = room - need[min(block, len(need)) - 1]
        return rows, columns, 1 + max(0, int(spare / (rows * max(self.width, 1))))

    # --- the check --------------------------------------------------------------------------------------------------

    def _check(self, rows, columns):
        """Finds the owners, and compares their ways with the definition on a few examples; raises if the loss is no
        per-example loss.

        Returns whether every owner has a gradient on some of the examples tried.
        """
        examples, x_name = _sampled(rows, columns)
        n = count_of(examples[1])
        self._check_losses(rows, columns, x_name)
        for start in np.unique(np.linspace(0, max(n - SAMPLE, 0), SAMPLES).astype(int)):
            pair = [int(start), min(int(start) + 1, n - 1)]  # of two examples, to see whether they mix
            singles = [take(examples[0], slice(i, i + 1)) for i in pair]
            plain = [backend.gradients(lambda one=one: self._random_projection(one), self.variables) for one in singles]
            if start == 0:
                self.owners = self._find_owners(singles[0], plain[0][1])
            if not self._settle(take(examples[0], pair), singles[0], plain):
                return True
        return False

    def _check_losses(self, rows, columns, x_name):
        examples, _ = _sampled(rows, columns)
        x, y = take(examples, slice(0, LOSSES))
        prediction = self.model(x, training=False)
        self.prediction = keras.tree.map_structure(lambda part: keras.KerasTensor(part.shape, part.dtype), prediction)
        self._check_labels(rows, columns, prediction)
        self.losses.check(x, y, prediction, x_name)
        self.added = self._kind_of_added(x, added_losses(self.model))

    def _kind_of_added(self, x, added):
        """MEAN or SUM: what the losses that the model added for the examples x are of each example's; None: no such."""
        if not added:
            return None
        batch, alone = float(sum(map(ops.sum, added))), []
        for i in range(count_of(x)):
            self.model(take(x, slice(i, i + 1)), training=False)
            alone.append(float(sum(map(ops.sum, added_losses(self.model)))))
        if self.losses.whole:
            raise ValueError("the model has its own compute_loss and adds losses (add_loss or an activity "
                             "regulariser), which cannot be told apart; pass loss=")
        for kind, value in ((MEAN, np.mean(alone)), (SUM, np.sum(alone))):
            if np.isclose(batch, value, rtol=1e-3, atol=1e-6):
                return kind
        raise ValueError(f"the losses that the model adds (add_loss or an activity regulariser) are {batch:g} for "
                         f"{len(alone)} examples together and {np.mean(alone):g} in the mean of each alone: they "
                         "belong to the batch, so there is no per-example loss; remove them for measuring")

    def _added(self, n):
        """The sum over n examples of the losses that the last call of the model added."""
        return (n if self.added == MEAN else 1) * sum(
            [ops.cast(ops.sum(loss), self.dtype.name) for loss in added_losses(self.model)]) if self.added else 0

    def _check_labels(self, rows, columns, prediction):
        self.losses.check_labels("y", rows[1], prediction)
        if columns is not None:
            self.losses.check_labels("y2", columns[1], prediction)

    def _random_projection(self, x):
        """(total, values): a number for each example that depends on all of the model's output, and their sum.

        The loss would not do: after training its gradients may be mere rounding errors, as may those of a softmax.
        """
        values = 0
        for seed, part in enumerate(keras.tree.flatten(self.model(x, training=False))):
            if is_float(part):
                part = part if attached_logits(part) is None else attached_logits(part)
                weights = np.random.default_rng(seed).normal(size=part.shape[1:]).reshape(-1).astype(self.dtype)
                values = values + ops.matmul(ops.reshape(self._cast(part), (part.shape[0], -1)), weights)
        return ops.sum(values) + self._added(count_of(x)), values

    def _find_owners(self, x, gradients):
        """The first way to try for each variable."""
        if self.method == "jacobian":
            return [Owner([self.model], list(self.variables), JACOBIAN)]
        hidden = {id(inner) for layer in self.layers if isinstance(layer, keras.layers.RNN)
                  for inner in layers_of(layer)[1:]}  # called in a loop, which tensors cannot leave
        readers = readers_of([layer for layer in self.layers if id(layer) not in hidden],
                             lambda: self.model(x, training=False))
        components, rest = [], []
        for v, gradient in zip(self.variables, gradients):
            found = readers.get(id(v), [])
            if not found and gradient is None:
                continue  # the output does not depend on it
            if not found or None in found:
                rest.append(v)
                continue
            joined = [found, [v]]
            for other in [other for other in components if any(layer in found for layer in other[0])]:
                components.remove(other)
                joined = [other[0] + [layer for layer in joined[0] if layer not in other[0]], other[1] + joined[1]]
            components.append(joined)
        return [self._first_owner(layers, variables) for layers, variables in components] + (
            [Owner([self.model], rest, MODEL)] if rest else [])

    @staticmethod
    def _first_owner(layers, variables):
        rule = _rule_for(layers, variables)
        return Owner(layers, variables, CLOSED_FORM if rule else LAYER, rule)

    def _settle(self, pair, single, plain):
        """Replaces owners whose way disagrees with the definition by the next way, until all agree.

        Returns whether more examples are needed, because an owner has no gradient on these, or one too small to
        compare. plain: of two examples, (their values, the gradients of all variables), by the definition.
        """
        alone = np.concatenate([ops.convert_to_numpy(values) for values, _ in plain])
        products = {id(v): _products_of(parts) for v, parts in zip(self.variables, zip(*[g for _, g in plain]))}
        while True:
            values, calls = self._sampled_calls(pair, single)
            self._check_independence(ops.convert_to_numpy(values), alone)
            failed, unsure = self._compared(calls, products)
            if not failed:
                return unsure
            for owner in failed:
                self._demote(owner)

    def _sampled_calls(self, pair, single):
        """(values, calls) for two examples. Sets the owners' layouts, and replaces owners that cannot be recorded."""
        while True:
            try:
                values, two = self._calls(lambda: self._random_projection(pair), 2)
                _, one = self._calls(lambda: self._random_projection(single), 1)
                for owner in self.owners:
                    owner.layouts = _layouts(owner, *[[call for call in calls if call.owner is owner]
                                                      for calls in (two, one)])
                return values, two
            except Unreachable as error:
                owner = error.args[0]
                if owner.rule and owner not in self.spread and error.args[1:]:
                    self.spread.append(owner)
                else:
                    self._demote(owner)
            except Exception as error:
                log.debug("recording failed: %r", error)
                owner = self._culprit(pair)
                if owner is None:
                    raise
                self._demote(owner)

    def _culprit(self, pair):
        """The first owner whose recording makes the model fail."""
        for owner in self.owners:
            try:
                recorded_calls([owner], 2, lambda: self._random_projection(pair), self.spread)
            except Exception:
                return owner
        return None

    def _demote(self, owner):
        """Replaces an owner by one with the next way: the layer's repeated call, or the model's."""
        names = ", ".join(v.path for v in owner.variables)
        log.debug("%s cannot be used for %s", owner.way, names)
        self.spread = [other for other in self.spread if other is not owner]
        place = self.owners.index(owner)
        if owner.way == CLOSED_FORM:
            self.owners[place] = Owner(owner.layers, owner.variables, LAYER)
            return
        if owner.way == EAGER:
            raise ValueError(f"the gradients of {names} cannot be computed: repeating the model's call for one example "
                             "at a time gives other gradients than the model itself; look for code that remembers "
                             "earlier calls")
        way = EAGER if owner.way == MODEL else MODEL
        same = [other for other in self.owners if other is owner or other.way == way]
        self.owners = [other for other in self.owners if other not in same]
        self.owners.append(Owner([self.model], [v for other in same for v in other.variables], way))

    def _check_independence(self, together, alone):
        if np.abs(together - alone).max() > self._tolerance(self.layers) * max(np.abs(alone).max(), 1e-3):
            raise ValueError(f"the model's output for example 0 depends on the examples beside it ({together[0]:g} in "
                             f"a batch of {len(together)}, {alone[0]:g} alone), so there is no per-example loss; look "
                             "for BatchNormalization or Dropout called with training=True")

    def _compared(self, calls, products):
        """([owner whose way disagrees], whether an owner's gradients were too small to compare). Sets the sizes.

        products: {id of a variable: its part of the sample's Gram matrix, by the definition}.
        """
        expected = [sum(products[id(v)] for v in owner.variables) for owner in self.owners]
        sizes = [np.abs(matrix).max() for matrix in expected]
        self.width, self.length, self.working, self.per_pair, largest = 0, 0, 0, 0, 0
        failed, unsure = [], False
        for owner, matrix, size in zip(self.owners, expected, sizes):
            try:
                features = [feature for _, feature in self._parts(owner, calls)]
                found = ops.convert_to_numpy(sum(feature.products(feature) for feature in features))
            except Exception as error:  # layers of unexpected shapes raise any type
                log.debug("%s of %s failed: %r", owner.way, owner.variables[0].path, error)
                failed.append(owner)
                continue
            if not np.isfinite(found).all():
                raise NotFinite(f"the gradients of {self.labels[id(owner.variables[0])]} are too large for "
                                f"{self.dtype}: the model's weights or activations are; look for a weight that has "
                                "diverged")
            difference, allowed = np.abs(found - matrix).max(), self._tolerance(owner.layers) * size
            if difference > max(allowed, ROUNDING * max(sizes)):
                failed.append(owner)
                continue
            unsure |= bool(size == 0 or difference > allowed)
            self.width += sum(feature.width() for feature in features)
            self.length += sum(feature.length() for feature in features)
            self.per_pair = max([self.per_pair, *[feature.per_pair() for feature in features]])
            for call in [call for call in calls if call.owner is owner]:
                activations, patches = _working(call)
                self.working, largest = self.working + activations, max(largest, patches)
        self.working += largest  # one layer's features are computed at a time
        return failed, unsure

    @staticmethod
    def _tolerance(layers):
        return max(TOLERANCES.get(layer.compute_dtype, SAMPLE_TOLERANCE) for layer in layers)

    def _signature(self, rows, columns):
        """Everything but the weights that a check depends on: attributes of layers and loss, the examples' shapes."""
        examples = [(part.shape[1:], part.dtype.str) for part in keras.tree.flatten(rows)]
        sample = min(SAMPLE, count_of(_sampled(rows, columns)[0][1]))
        losses = [(_Same(part.source), *map(_plain, getattr(part.source, "__dict__", {}).items()))
                  for part in self.losses.parts]
        return (tuple(map(_attributes, self.layers)), tuple(map(_Same, self.variables)), tuple(examples), sample,
                self.method, self.losses.whole, tuple(losses), _plain(self.losses.weights))


class _Same:
    """Equal only if it stands for the same object, which it does not keep alive."""

    __slots__ = ("number", "reference")

    def __init__(self, thing):
        self.number = id(thing)  # another object may have it later
        try:
            self.reference = weakref.ref(thing)
        except TypeError:  # its type does not support weak references
            self.reference = None

    def __eq__(self, other):
        return isinstance(other, _Same) and self.number == other.number and (
            self.reference is None or self.reference() is not None)


def _attributes(layer):
    """The layer's attributes, without those of Keras's own bookkeeping."""
    keeps = _BOOKKEEPING[isinstance(layer, keras.Model)]
    own = [(name, _plain(value)) for name, value in vars(layer).items() if name not in keeps and name[:6] != "_self_"]
    return type(layer), _Same(type(layer).call), layer.compute_dtype, layer.variable_dtype, tuple(own)


def _plain(value):
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, dict):
        return tuple((name, _plain(part)) for name, part in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    return _Same(value)


def _squares(parts):
    """(n,): the squared norms of the gradients of all owners, [[(label, feature)] of each]."""
    return sum(feature.squares() for own in parts for _, feature in own)


def _by_label(parts):
    """{label: [feature]} of [[(label, feature)] of each owner]"""
    features = {}
    for label, feature in [pair for own in parts for pair in own]:
        features.setdefault(label, []).append(feature)
    return features


def _pieces(left, right):
    """[(rows, columns)]: the pieces in which a tile is computed; left, right: {label: [feature]}.

    A tile on the diagonal consists of strips, because half of it would be a repeat.
    """
    n, m = (next(len(one) for own in side.values() for one in own) for side in (left, right))
    if left is right and all(isinstance(one, Factors) for own in left.values() for one in own):
        return [(rows, slice(rows.start, n)) for rows in slices_of(n, even_size(n, STRIP))]
    return [(slice(0, n), slice(0, m))]


def _tile(given, left, right, pieces, kept):
    """[(products, [kept(each layer's part)])] of each piece. left, right: the features of each layer; given: products
    of further features."""
    found, last = [], None
    for rows, columns in pieces:
        total, parts = None, []
        for terms, ones, others in zip(given, left, right):
            same = ones is others and len(pieces) == 1
            ones = [_some(one, rows, last) for one in ones]  # layer by layer, to save memory
            others = ones if same else [_some(other, columns, last) for other in others]
            part = backend.sum_of([*terms, *(one.products(other) for one, other in zip(ones, others))])
            total = last = part if total is None else total + part
            parts.append(kept(part) if kept else ())
        found.append((total, parts))
    return found


def _some(feature, examples, last):
    """The feature of some examples, which a graph uses only after computing `last`."""
    feature = replace(feature, parts=tuple(backend.run_after(last, feature.parts)))
    return feature if examples == slice(0, len(feature)) else feature[examples]


def _code_is_keras(layers):
    """Whether all code of the layers is Keras's own. Other code may read values that can change unseen."""
    for layer in layers:
        if isinstance(layer, keras.layers.Lambda) or "call" in vars(layer):
            return False
        for part in (layer, getattr(layer, "activation", None) or layer):
            if not getattr(part, "__module__", "").startswith("keras."):
                return False
    return True


def _rule_for(layers, variables):
    """The closed form of layers that share these variables, or None."""
    rules = {rule_of(layer) for layer in layers}
    rule = rules.pop()
    if rule is None or rules:
        return None
    known = {id(attribute(layer, name)) for layer in layers for name in rule.names}
    return rule if {id(v) for v in variables} <= known else None


def _labels(layers):
    """{id of a trainable variable: label of the layer that owns it}, with a different label for each layer."""
    labels, taken = {}, Counter()
    for layer in layers:
        own = [v for v in own_variables(layer) if v.trainable and id(v) not in labels]
        if own:
            path = own[0].path.rpartition("/")[0] or layer.name
            taken[path] += 1
            labels.update(dict.fromkeys(map(id, own), path if taken[path] == 1 else f"{path} ({taken[path]})"))
    return labels


def _layouts(owner, two, one):
    """For each call, where the examples are in each of its leaves: (axis, rows of each example), or None.

    two, one: the calls with two examples and with one. Raises Unreachable where they cannot be told apart.
    """
    if [call.layer for call in two] != [call.layer for call in one]:
        raise Unreachable(owner)
    layouts = []
    for call, other in zip(two, one):
        layout = [_place(owner, *parts) for parts in zip(_leaves(call), _leaves(other), strict=True)]
        gradients = zip(keras.tree.flatten(call.gradients), layout[-count(call.gradients) :])
        if any(place is None for part, place in gradients if part is not None):
            raise Unreachable(owner, "the same for all examples")
        layouts.append(layout)
    return layouts


def _leaves(call):
    return keras.tree.flatten((call.recorded, call.gradients))


def count(nest):
    return len(keras.tree.flatten(nest))


def _place(owner, two, one):
    if not is_tensor(two) or two.shape == one.shape:
        return None
    different = [axis for axis, sizes in enumerate(zip(two.shape, one.shape, strict=True)) if sizes[0] != sizes[1]]
    if len(different) != 1 or two.shape[different[0]] != 2 * one.shape[different[0]]:
        raise Unreachable(owner)
    return different[0], one.shape[different[0]]


def _calls_by_example(rule, call, layout):
    """[(layer, recorded, d)] with the examples along the first axis, for a call of a layer with a closed form."""
    nest = call.recorded, call.gradients
    leaves = [part if place in (None, (0, 1)) else by_example(part, place)
              for part, place in zip(_leaves(call), layout)]
    rows = {place[1] for place in layout if place}
    if rule.rows_apart and rows != {1}:
        return [(call.layer, *keras.tree.pack_sequence_as(nest, [leaf[:, row] for leaf in leaves]))
                for row in range(rows.pop())]
    return [(call.layer, *keras.tree.pack_sequence_as(nest, leaves))]


def _shapes(nest):
    return tuple((tuple(part.shape), str(part.dtype)) for part in keras.tree.flatten(nest))


def _difference(one, other):
    """The largest difference, where both are finite."""
    one, other = (ops.convert_to_numpy(part).astype(float) for part in (one, other))
    both = np.isfinite(one) & np.isfinite(other)
    return np.abs(one[both] - other[both]).max(initial=0)


def _size(part):
    part = ops.convert_to_numpy(part).astype(float)
    return np.abs(part[np.isfinite(part)]).max(initial=0)


def _sampled(rows, columns):
    """The examples from which some are checked, and their name. There must be two to see whether examples mix."""
    return (rows, "x") if columns is None or count_of(rows[1]) >= SAMPLE else (columns, "x2")


def _products_of(gradients):
    """(n, n): the products of n gradients of any shape; None is a gradient of zeros."""
    flat = [np.zeros(1) if gradient is None else np.ravel(ops.convert_to_numpy(gradient)).astype(float)
            for gradient in gradients]
    with np.errstate(invalid="ignore"):  # of gradients that are not finite
        return np.array([[one @ other if one.shape == other.shape else 0.0 for other in flat] for one in flat])


def _working(call):
    """(activations, patches): how many numbers per example exist while the features of a call are computed.

    The activations and their gradients, which the tape keeps before and after an activation function; and a
    convolution's patches and a copy of them.
    """
    shapes = [part.shape[1:] for part in _leaves(call) if is_tensor(part)]
    if call.owner.rule is None:
        return 4 * sum(map(math.prod, shapes)), 2 * sum(math.prod(v.shape) for v in call.owner.variables)
    layer = call.layer
    positions, channels = zip(*[(shape[:-1], shape[-1]) if getattr(layer, "data_format", "") != "channels_first" else
                                (shape[1:], shape[0]) for shape in shapes if shape])
    patches = min(map(math.prod, positions)) * max(channels) * math.prod(getattr(layer, "kernel_size", (0,)))
    return 4 * sum(map(math.prod, shapes)), 2 * patches
