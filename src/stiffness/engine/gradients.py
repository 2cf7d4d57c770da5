"""The per-example gradients of a model as features, from one forward and one backward pass."""

import functools
import math
from collections import Counter
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from stiffness.engine.examples import count_of, to_numpy
from stiffness.engine.features import Factors
from stiffness.engine.graphs import Graphs
from stiffness.engine.keras_private import added_losses, attached_logits, layers_of, own_variables
from stiffness.engine.replay import by_example, repeated
from stiffness.engine.taps import is_float, recorded_calls

TOLERANCE = 1e-3  # relative; far above rounding errors, far below any missing term
TOLERANCES = {"float16": 2e-2, "bfloat16": 1e-1}  # the same for layers that compute in half precision
SCALE_STEP = 16  # exponents of two between scales; they change far from 1, where most gradients are
MEAN, SUM = "mean", "sum"  # of its examples' losses: what a batch's added losses are


class Upstream(NamedTuple):
    """What a pass computes before its way back through the layers."""

    losses: object  # (n,)
    scales: object  # (n,): each gradient is that of the features times the scale
    outputs: list  # of (n, k): the model's outputs
    gradients: list  # of (n, k): of the losses with respect to the outputs, divided by the scales


class Gradients:
    """How the gradients of each trainable variable are computed (`owners`), and one pass that computes them."""

    def __init__(self, model, losses):
        self.model, self.losses = model, losses
        self.layers, self.variables = layers_of(model), model.trainable_variables
        # models in half precision accumulate in float32, too
        self.dtype = np.dtype("float64" if any(v.dtype == "float64" for v in self.variables) else "float32")
        self.labels = _labels(self.layers)
        self.owners = []  # every trainable variable that the output depends on has one
        self.spread = []  # owners whose output is the same for all examples
        self.added = None  # MEAN or SUM, if the model adds losses of its own
        self.graphs = Graphs()

    def of(self, x, y):
        """(`Upstream`, [[(label, feature)] of each owner]): an example's gradient is that of its features times its
        scale."""
        found, calls = self.calls(lambda: self.total(x, y), count_of(y))
        return Upstream(*found), [self.parts(owner, calls) for owner in self.owners]

    def calls(self, forward, n):
        other, calls = recorded_calls(self.owners, n, forward, self.spread)
        for call in calls:
            call.recorded, call.gradients = keras.tree.map_structure(self.cast, (call.recorded, call.gradients))
        return other, calls

    def total(self, x, y):
        """(total, `Upstream`): the sum over examples of the loss divided by its scale, up to a constant."""
        found = self.upstream(x, y)
        precise = found.gradients[0].dtype
        total = sum(ops.cast(ops.sum(output * ops.cast(gradient, output.dtype)), precise)
                    for output, gradient in zip(found.outputs, found.gradients))
        return total + ops.cast(self._added(count_of(y)), precise), found

    def upstream(self, x, y):
        """The losses and their gradients with respect to the model's outputs.

        A scale is a power of two near the largest entry of the loss's gradient at the outputs, so division by it is
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
        return Upstream(losses, scales, outputs, [gradient / scales[:, None] for gradient in found])

    def _added(self, n):
        """The sum over n examples of the losses that the last call of the model added."""
        return (n if self.added == MEAN else 1) * sum(
            [ops.cast(ops.sum(loss), self.dtype.name) for loss in added_losses(self.model)]) if self.added else 0

    def random_projection(self, x):
        """(total, values): a number for each example that depends on all of the model's output, and their sum.

        The loss would not do: after training its gradients may be mere rounding errors, as may those of a softmax.
        """
        values = 0
        for seed, part in enumerate(keras.tree.flatten(self.model(x, training=False))):
            if is_float(part):
                part = part if attached_logits(part) is None else attached_logits(part)
                weights = np.random.default_rng(seed).normal(size=part.shape[1:]).reshape(-1).astype(self.dtype)
                values = values + ops.matmul(ops.reshape(self.cast(part), (part.shape[0], -1)), weights)
        return ops.sum(values) + self._added(count_of(x)), values

    def cast(self, part):
        """Floats converted to the precision of the result; other types, such as indices of an embedding, unchanged."""
        return ops.cast(part, self.dtype.name) if is_float(part) else part

    def parts(self, owner, calls):
        """[(label, feature)] of an owner."""
        own = [(call, layout) for call, layout in zip([call for call in calls if call.owner is owner], owner.layouts)]
        if owner.rule:
            label = self.labels[id(owner.variables[0])]
            calls = [call for pair in own for call in _calls_by_example(owner.rule, *pair)]
            return [(label, feature) for feature in owner.rule.features(calls)]
        totals = [0] * len(owner.variables)
        for call, layout in own:
            found = repeated(call, owner, layout)
            totals = [self.cast(one) + total for one, total in zip(found, totals)]
        return [(self.labels[id(v)], Factors((ops.reshape(total, (total.shape[0], 1, -1)),)))
                for v, total in zip(owner.variables, totals) if own]


def tolerance(layers):
    return max(TOLERANCES.get(layer.compute_dtype, TOLERANCE) for layer in layers)


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


def _calls_by_example(rule, call, layout):
    """[(layer, recorded, d)] with the examples along the first axis, for a call of a layer with a closed form."""
    nest = call.recorded, call.gradients
    leaves = [part if place in (None, (0, 1)) else by_example(part, place)
              for part, place in zip(leaves_of(call), layout)]
    rows = {place[1] for place in layout if place}
    if rule.rows_apart and rows != {1}:
        return [(call.layer, *keras.tree.pack_sequence_as(nest, [leaf[:, row] for leaf in leaves]))
                for row in range(rows.pop())]
    return [(call.layer, *keras.tree.pack_sequence_as(nest, leaves))]


def leaves_of(call):
    return keras.tree.flatten((call.recorded, call.gradients))


def difference(one, other):
    """The largest difference, where both are finite."""
    one, other = map(numbers, (one, other))
    both = np.isfinite(one) & np.isfinite(other)
    return np.abs(one[both] - other[both]).max(initial=0)


def size(part):
    part = numbers(part)
    return np.abs(part[np.isfinite(part)]).max(initial=0)


def numbers(part):
    """The values in double precision as a NumPy array."""
    return to_numpy(part).astype(float)
