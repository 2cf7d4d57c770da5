"""The engine: a checked model, its graphs, and how much of the work fits into memory at a time."""

import logging
import weakref
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from keras import ops

from stiffness.engine.backend import backend
from stiffness.engine.check import SAMPLE, Check, check_labels, sampled
from stiffness.engine.examples import count_of, take, to_numpy
from stiffness.engine.features import MATRICES, SIDE, STRIP, Factors, even_size
from stiffness.engine.gradients import Gradients, Upstream, difference, size, tolerance
from stiffness.engine.graphs import NOT_COMPILABLE
from stiffness.engine.keras_private import layers_of, own_variables
from stiffness.engine.losses import check_finite
from stiffness.engine.signature import code_is_keras, signature_of
from stiffness.engine.taps import EAGER, Call, Owner

CHUNK = 100  # examples whose gradients are computed at a time where a layer's call is repeated
CHECKS_KEPT = 8  # per model, which may be measured with several losses, on several sets, in turn

_CHECKED = weakref.WeakKeyDictionary()  # model -> [_Checked], the latest first

log = logging.getLogger(__name__)


def slices_of(n, block):
    """Slices of at most `block` examples that cover n examples."""
    return [slice(start, min(start + block, n)) for start in range(0, n, block)]


@contextmanager
def restored_state(model):
    """Undoes what a forward pass may change: moving averages, the states of random generators."""
    def value(variable):
        return to_numpy(ops.copy(variable.value))

    weights = {id(v) for layer in layers_of(model) for v in own_variables(layer)}  # frozen or not
    before = [(v, value(v)) for v in model.non_trainable_variables if id(v) not in weights]
    try:
        yield
    finally:
        for variable, found in before:
            if not np.array_equal(value(variable), found):
                variable.assign(found)


@dataclass(frozen=True)
class Plan:
    """How much of the work is done at a time."""

    rows: int  # examples in a block of rows
    columns: int  # and in one of columns
    held: int  # blocks of rows whose features are held at once
    chunk: int  # examples in a pass through the model


@dataclass(frozen=True)
class _Checked:
    """What the check of a model found, and the graphs made since. Holds no reference to the model."""

    signature: tuple
    owners: tuple  # (indices of layers, indices of variables, way, rule, layouts) of each
    spread: tuple  # indices of owners
    added: str | None
    graphs: object
    prediction: object  # as `Check` has it, as are the following numbers
    width: int
    length: int
    working: int
    per_pair: int

    @classmethod
    def of(cls, signature, gradients, check):
        layers = {id(layer): k for k, layer in enumerate(gradients.layers)}
        variables = {id(v): k for k, v in enumerate(gradients.variables)}
        owners = tuple(([layers[id(layer)] for layer in owner.layers], [variables[id(v)] for v in owner.variables],
                        owner.way, owner.rule, owner.layouts) for owner in gradients.owners)
        return cls(signature, owners, tuple(map(gradients.owners.index, gradients.spread)), gradients.added,
                   gradients.graphs, check.prediction, check.width, check.length, check.working, check.per_pair)

    def restore(self, gradients):
        gradients.owners = [Owner([gradients.layers[k] for k in layers], [gradients.variables[k] for k in variables],
                                  *rest) for layers, variables, *rest in self.owners]
        gradients.spread = [gradients.owners[k] for k in self.spread]
        gradients.added, gradients.graphs = self.added, self.graphs


class Engine:
    """Turns examples into features: {label of a layer: list of features, as in `stiffness.engine.features`}.

    A model is checked once; later engines of the same model rely on that, and on the graphs made since, as long as
    everything but its weights stays as it was.
    """

    def __init__(self, model, losses, rows, columns, method):
        self.gradients = Gradients(model, losses)
        self.dtype = self.gradients.dtype
        known = self._known(rows, columns, method)
        if known:
            known.restore(self.gradients)
            check_labels(losses, rows, columns, known.prediction)
        else:
            known = self._checked(rows, columns, method)
        self.width, self.length, self.working, self.per_pair = known.width, known.length, known.working, known.per_pair
        self.compilable = (backend.compiles and not known.added
                           and not any(owner.way == EAGER for owner in self.gradients.owners))
        self.fuses = self.compilable and all(owner.rule and owner.rule.fuses for owner in self.gradients.owners)
        # other code than Keras's may read values that change unseen, which a graph would not notice
        self.foreign = not (code_is_keras(self.gradients.layers) and losses.from_keras)

    def _signature(self, rows, columns, method):
        sample = min(SAMPLE, count_of(sampled(rows, columns)[0][1]))
        gradients = self.gradients
        return signature_of(gradients.layers, gradients.variables, gradients.losses, rows, sample, method)

    def _known(self, rows, columns, method):
        signature = self._signature(rows, columns, method)
        return next((known for known in _CHECKED.get(self.gradients.model, ()) if known.signature == signature), None)

    def _checked(self, rows, columns, method):
        check = Check(self.gradients, rows, columns, method)
        repeating = [owner for owner in self.gradients.owners if not owner.rule]
        names = ", ".join(v.path for owner in repeating for v in owner.variables)
        if repeating and method == "closed-form":
            raise ValueError(f"there is no closed form for {names}; use method 'auto' or 'jacobian'")
        if repeating and method == "auto":
            log.info("no closed form for %s: %s", names, ", ".join(sorted({owner.way for owner in repeating})))
        # the signature again, as a first call sets attributes
        found = _Checked.of(self._signature(rows, columns, method), self.gradients, check)
        if check.conclusive:
            model = self.gradients.model
            _CHECKED[model] = [found, *_CHECKED.get(model, ())][:CHECKS_KEPT]
        return found

    @property
    def ways(self):
        """{label of a layer: how its gradients are computed}"""
        return {self.gradients.labels[id(v)]: owner.way for owner in self.gradients.owners for v in owner.variables}

    # --- features ---------------------------------------------------------------------------------------------------

    def features(self, x, y, chunk, start, x_name):
        """(features, scales): an example's gradient is that of its features times its scale. scales: (n,).

        chunk: examples per pass. start, x_name: where the examples come from, for error messages."""
        chunks, scales = [], []
        for c in slices_of(count_of(y), chunk):
            found, parts = self._pass(*take((x, y), c))
            check_finite(found.losses, found.scales, range(start + c.start, start + c.stop), x_name)
            chunks.append(_by_label(parts))
            scales.append(to_numpy(found.scales).astype(float))
        if len(chunks) == 1:
            return chunks[0], scales[0]
        return {label: [type(parts[0]).joined(parts) for parts in zip(*[chunk.pop(label) for chunk in chunks])]
                for label in list(chunks[0])}, np.concatenate(scales)

    def _pass(self, x, y):
        """What `Gradients.of` returns, by a graph if there can be one."""
        graph = self.compilable and self.gradients.graphs.get("pass", (x, y), lambda: self._right(
            self._compiled, lambda graph: _squares(self._run(graph, x, y)[-1]), x, y))
        if not graph:
            return self.gradients.of(x, y)
        found = self._run(graph, x, y)
        return found if self._is_current(found[0], x, y) else self.gradients.of(x, y)

    def _is_current(self, found, x, y):
        """Whether what a graph found is what the model's and the loss's code gives now; else all graphs are dropped."""
        if not self.foreign:
            return True
        now = self.gradients.upstream(x, y)
        pairs = [(now.losses, found.losses), *zip(now.outputs, found.outputs), *[
            (one * now.scales[:, None], other * found.scales[:, None])
            for one, other in zip(now.gradients, found.gradients)]]
        if all(difference(one, other) <= tolerance(self.gradients.layers) * size(one) for one, other in pairs):
            return True
        log.debug("the code of the model or of the loss gives other values than before, so its graphs are dropped")
        self.gradients.graphs.kept.clear()
        return False

    def _right(self, graph_of, squares_of, x, y):
        """The graph that graph_of(x, y, fused) returns, or NOT_COMPILABLE if that fails or gives different gradients:
        some layers compute something else in a graph, such as Conv1D with channels first in Keras 3.15.

        squares_of(graph): the squared norms of the first examples by the graph.
        """
        sample = slice(0, SAMPLE)
        slow = to_numpy(_squares(self.gradients.of(*take((x, y), sample))[-1]))
        for fused in [True, False] if self.fuses else [False]:
            try:
                graph = graph_of(x, y, fused)
                fast = to_numpy(squares_of(graph))[sample]
            except Exception as error:  # a layer that cannot be traced raises any type
                log.debug("the forward pass is not compiled%s: %r", " by XLA" * fused, error)
                continue
            if difference(fast, slow) <= tolerance(self.gradients.layers) * size(slow):
                return graph
            log.debug("the forward pass is not compiled%s: the graph gives other gradients", " by XLA" * fused)
        return NOT_COMPILABLE

    def _compiled(self, x, y, fused):
        """(graph, static) for `_run`: a function of examples of these shapes, and what it returns besides tensors."""
        static = []

        def function(x, y):
            found, calls = self.gradients.calls(lambda: self.gradients.total(x, y), count_of(y))
            tensors, static[:] = [], []
            for owner in self.gradients.owners:
                if owner.rule and not owner.rule.compiles:
                    own = [call for call in calls if call.owner is owner]
                    static.append([self.gradients.layers.index(call.layer) for call in own])
                    tensors.append([(call.recorded, call.gradients) for call in own])
                else:
                    parts = self.gradients.parts(owner, calls)
                    static.append([(label, replace(feature, parts=())) for label, feature in parts])
                    tensors.append([feature.parts for _, feature in parts])
            return tuple(found), tensors

        return backend.compiled(function, (x, y), fused), static

    def _run(self, graph, x, y):
        graph, static = graph
        found, tensors = graph(x, y)
        parts = []
        for owner, own, settings in zip(self.gradients.owners, tensors, static):
            if owner.rule and not owner.rule.compiles:
                calls = [Call(owner, self.gradients.layers[k], *pair) for k, pair in zip(settings, own)]
                parts.append(self.gradients.parts(owner, calls))
            else:
                parts.append([(label, replace(setting, parts=tuple(part)))
                              for (label, setting), part in zip(settings, own)])
        return Upstream(*found), parts

    # --- products ---------------------------------------------------------------------------------------------------

    def products(self, left, right, kept=None):
        """[(rows, columns, products, parts)]: pieces of the tile, whose products are the sum over all layers, and
        {label: kept(the layer's part)}.

        left, right: as returned by `features`; the same object for a tile on the diagonal, of which the pieces cover
        what is on and above the diagonal.
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

        graph = self.gradients.graphs.get(("tile", len(sides), kept), (given, *sides), lambda: backend.compiled(
            tile, (given, *sides), self.fuses)) if backend.compiles else tile
        found = graph(given, *sides)
        return [(*piece, total, dict(zip(labels, parts))) for piece, (total, parts) in zip(pieces, found)]

    def products_at_once(self, x, y, kept):
        """(scales, pieces): what `features` and `products` give for one tile on the diagonal, in one pass and graph,
        which takes less time for few examples; None where there is no such graph."""
        if not self.compilable or any(
                owner.rule and not owner.rule.compiles for owner in self.gradients.owners):
            return None
        graph = self.gradients.graphs.get(("all", kept), (x, y), lambda: self._right(
            lambda x, y, fused: self._all_in_one(x, y, kept, fused),
            lambda graph: ops.diagonal(graph[0](x, y)[-1][0][0]), x, y))
        if graph is None:
            return None
        graph, (labels, pieces) = graph
        upstream, found = graph(x, y)
        upstream = Upstream(*upstream)
        check_finite(upstream.losses, upstream.scales, range(count_of(y)), "x")
        if not self._is_current(upstream, x, y):
            return None
        return to_numpy(upstream.scales).astype(float), [
            (*piece, total, dict(zip(labels, parts))) for piece, (total, parts) in zip(pieces, found)]

    def _all_in_one(self, x, y, kept, fused):
        static = []

        def function(x, y):
            upstream, calls = self.gradients.calls(lambda: self.gradients.total(x, y), count_of(y))
            features = _by_label([self.gradients.parts(owner, calls) for owner in self.gradients.owners])
            static[:] = list(features), _pieces(features, features)
            own = list(features.values())
            return tuple(upstream), _tile([[] for _ in own], own, own, static[1], kept)

        return backend.compiled(function, (x, y), fused), static

    # --- the plan ---------------------------------------------------------------------------------------------------

    def plan(self, budget, n, m, largest, kept=0, by_layer=False):
        """The `Plan`. kept: bytes of the budget that are already taken. by_layer: whether each layer's part of a tile
        is kept until the tile is complete."""
        room = (budget - kept) // self.dtype.itemsize
        matrices = MATRICES + by_layer * len(set(self.gradients.labels.values()))
        least = self.working + 2 * self.width + matrices + self.per_pair  # features of a row and a column, and a tile
        if room < least:
            raise ValueError(f"memory_budget is {budget} bytes; one tile needs at least "
                             f"{kept + least * self.dtype.itemsize}")
        repeating = any(not owner.rule for owner in self.gradients.owners)
        # a pass uses a quarter of the budget
        chunk = max(1, min(room // 4 // max(self.working, 1), max(n, m), CHUNK if repeating else max(n, m)))
        room -= self.working * chunk
        sizes = np.arange(1, min(max(n, m), largest) + 1)
        rows, columns = np.minimum(sizes, n), np.minimum(sizes, m)
        need = self.width * (rows + columns) + matrices * rows * columns + (
            self.per_pair * np.minimum(rows, SIDE) * np.minimum(columns, SIDE))
        block = max(1, int(np.searchsorted(need, room // 4, side="right")))  # the rest is for further blocks
        rows, columns = even_size(n, min(block, n)), even_size(m, min(block, m))
        spare = room - need[min(block, len(need)) - 1]
        return Plan(rows, columns, 1 + max(0, int(spare / (rows * max(self.width, 1)))),
                    even_size(max(rows, columns), chunk))


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
