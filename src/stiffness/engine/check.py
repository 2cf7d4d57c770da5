"""Finds a way for the gradients of each variable, and compares it with the definition on a few examples."""

import logging
import math

import keras
import numpy as np
from keras import ops

from stiffness.engine.backend import backend
from stiffness.engine.examples import NotFinite, count_of, take, to_numpy, varied
from stiffness.engine.gradients import MEAN, SUM, difference, leaves_of, numbers, size, tolerance
from stiffness.engine.keras_private import added_losses, layers_of
from stiffness.engine.rules import attribute, rule_of
from stiffness.engine.taps import (
    CLOSED_FORM,
    EAGER,
    ELEMENTWISE,
    JACOBIAN,
    LAYER,
    MODEL,
    Owner,
    Unreachable,
    is_float,
    is_tensor,
    readers_of,
    recorded_calls,
)

SAMPLE = 2  # examples on which each way is compared with the definition before it is used
SAMPLES = 4  # how many such samples are tried while a layer has no gradient on those before
LOSSES = 4  # examples on which the loss is checked, and whether the model's outputs are the same for each alone
ROUNDING = 1e-9  # relative to the largest part of the Gram matrix; smaller differences are rounding errors

log = logging.getLogger(__name__)


class Check:
    """Sets the owners of `gradients`, each with a way that agrees with the definition.

    Attributes: `conclusive`, whether every owner has a gradient on some of the examples tried; `prediction`, the
    model's output for some examples, as KerasTensors; `width`, `length`, `working` and `per_pair`, numbers that a plan
    needs.

    Raises if the loss is no per-example loss.
    """

    def __init__(self, gradients, rows, columns, method):
        self.gradients, self.model, self.method = gradients, gradients.model, method
        self.conclusive, self.prediction = False, None
        self.width = self.length = self.working = self.per_pair = 0
        examples, x_name = sampled(rows, columns)
        n = count_of(examples[1])
        self._check_losses(rows, columns, x_name)
        for start in np.unique(np.linspace(0, max(n - SAMPLE, 0), SAMPLES).astype(int)):
            pair = [int(start), min(int(start) + 1, n - 1)]  # of two examples, to see whether they mix
            singles = [take(examples[0], slice(i, i + 1)) for i in pair]
            plain = [backend.gradients(lambda one=one: self.gradients.random_projection(one), self.gradients.variables)
                     for one in singles]
            if start == 0:
                self.gradients.owners = self._find_owners(singles[0], plain[0][1])
            if not self._settle(take(examples[0], pair), singles[0], plain):
                self.conclusive = True
                return

    def _check_losses(self, rows, columns, x_name):
        examples, _ = sampled(rows, columns)
        places = sorted({0, *varied(examples[1], LOSSES)})  # the first ones are those that the ways are compared on
        x, y = take(examples, places)
        prediction, added = self.model(x, training=False), added_losses(self.model)
        self.prediction = keras.tree.map_structure(lambda part: keras.KerasTensor(part.shape, part.dtype), prediction)
        check_labels(self.gradients.losses, rows, columns, prediction)
        added_alone = self._check_each_alone(x, prediction, places)
        self.gradients.losses.check(x, y, prediction, places, x_name)
        self.gradients.added = self._kind_of_added(added, added_alone) if added else None

    def _check_each_alone(self, x, prediction, places):
        """[the losses that the model adds for each example alone]. Raises if an output depends on other examples."""
        added = []
        for i in range(count_of(x)):
            alone = self.model(take(x, slice(i, i + 1)), training=False)
            added.append(added_losses(self.model))
            for part, other in zip(keras.tree.flatten(prediction), keras.tree.flatten(alone)):
                if is_float(part) and difference(part[i], other[0]) > tolerance(self.gradients.layers) * size(part):
                    one, other = (np.ravel(numbers(values))[0] for values in (part[i], other))
                    raise _dependent(places[i], one, count_of(x), other)
        return added

    def _kind_of_added(self, added, added_alone):
        """MEAN or SUM: what the losses that the model adds for a batch are of those that it adds for each example."""
        batch, *alone = (float(sum(map(ops.sum, losses))) for losses in (added, *added_alone))
        if self.gradients.losses.whole:
            raise ValueError("the model has its own compute_loss and adds losses (add_loss or an activity "
                             "regulariser), which cannot be told apart; pass loss=")
        for kind, value in ((MEAN, np.mean(alone)), (SUM, np.sum(alone))):
            if np.isclose(batch, value, rtol=1e-3, atol=1e-6):
                return kind
        raise ValueError(f"the losses that the model adds (add_loss or an activity regulariser) are {batch:g} for "
                         f"{len(alone)} examples together and {np.mean(alone):g} in the mean of each alone: they "
                         "belong to the batch, so there is no per-example loss; remove them for measuring")

    def _find_owners(self, x, gradients):
        """The first way to try for each variable."""
        if self.method == "jacobian":
            return [Owner([self.model], list(self.gradients.variables), JACOBIAN)]
        hidden = {id(inner) for layer in self.gradients.layers if isinstance(layer, keras.layers.RNN)
                  for inner in layers_of(layer)[1:]}  # called in a loop, which tensors cannot leave
        readers = readers_of([layer for layer in self.gradients.layers if id(layer) not in hidden],
                             lambda: self.model(x, training=False))
        components, rest = [], []
        for v, gradient in zip(self.gradients.variables, gradients):
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
        return Owner(layers, variables, CLOSED_FORM if rule else ELEMENTWISE, rule)

    def _settle(self, pair, single, plain):
        """Replaces owners whose way disagrees with the definition by the next way, until all agree.

        Returns whether more examples are needed, because an owner has no gradient on these, or one too small to
        compare. plain: of two examples, (their values, the gradients of all variables), by the definition.
        """
        alone = np.concatenate([to_numpy(values) for values, _ in plain])
        found = list(zip(*[gradients for _, gradients in plain]))
        products = {id(v): _products_of(parts) for v, parts in zip(self.gradients.variables, found)}
        connected = {id(v) for v, parts in zip(self.gradients.variables, found)
                     if any(part is not None for part in parts)}
        while True:
            values, calls = self._sampled_calls(pair, single)
            self._check_independence(to_numpy(values), alone)
            failed, unsure = self._compared(calls, products, connected)
            if not failed:
                return unsure
            for owner in failed:
                self._demote(owner)

    def _sampled_calls(self, pair, single):
        """(values, calls) for two examples. Sets the owners' layouts, and replaces owners that cannot be recorded."""
        while True:
            try:
                values, two = self.gradients.calls(lambda: self.gradients.random_projection(pair), 2)
                _, one = self.gradients.calls(lambda: self.gradients.random_projection(single), 1)
                for owner in self.gradients.owners:
                    owner.layouts = _layouts(owner, *[[call for call in calls if call.owner is owner]
                                                      for calls in (two, one)])
                return values, two
            except Unreachable as error:
                owner = error.args[0]
                if owner.rule and owner not in self.gradients.spread and error.args[1:]:
                    self.gradients.spread.append(owner)
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
        for owner in self.gradients.owners:
            try:
                recorded_calls([owner], 2, lambda: self.gradients.random_projection(pair), self.gradients.spread)
            except Exception:
                return owner
        return None

    def _demote(self, owner):
        """Replaces an owner by one with the next way: the layer's repeated call, or the model's."""
        names = ", ".join(v.path for v in owner.variables)
        log.debug("%s cannot be used for %s", owner.way, names)
        self.gradients.spread = [other for other in self.gradients.spread if other is not owner]
        place = self.gradients.owners.index(owner)
        if owner.way in (CLOSED_FORM, ELEMENTWISE):
            way = ELEMENTWISE if owner.way == CLOSED_FORM else LAYER
            self.gradients.owners[place] = Owner(owner.layers, owner.variables, way)
            return
        if owner.way == EAGER:
            raise ValueError(f"the gradients of {names} cannot be computed: repeating the model's call for one example "
                             "at a time gives other gradients than the model itself; look for code that remembers "
                             "earlier calls")
        way = EAGER if owner.way == MODEL else MODEL
        same = [other for other in self.gradients.owners if other is owner or other.way == way]
        self.gradients.owners = [other for other in self.gradients.owners if other not in same]
        self.gradients.owners.append(Owner([self.model], [v for other in same for v in other.variables], way))

    def _check_independence(self, together, alone):
        if np.abs(together - alone).max() > tolerance(self.gradients.layers) * max(np.abs(alone).max(), 1e-3):
            raise _dependent(0, together[0], len(together), alone[0])

    def _compared(self, calls, products, connected):
        """([owner whose way disagrees], whether an owner's gradients were too small to compare). Sets the sizes.

        products: {id of a variable: its part of the sample's Gram matrix, by the definition}. connected: the ids of
        variables on which the output depends, though its gradient may be 0.
        """
        expected = [sum(products[id(v)] for v in owner.variables) for owner in self.gradients.owners]
        sizes = [np.abs(matrix).max() for matrix in expected]
        self.width, self.length, self.working, self.per_pair, largest = 0, 0, 0, 0, 0
        failed, unsure = [], False
        for owner, matrix, largest_entry in zip(self.gradients.owners, expected, sizes):
            try:
                features = [feature for _, feature in self.gradients.parts(owner, calls)]
                found = to_numpy(sum(feature.products(feature) for feature in features))
            except Exception as error:  # layers of unexpected shapes raise any type
                log.debug("%s of %s failed: %r", owner.way, owner.variables[0].path, error)
                failed.append(owner)
                continue
            if not np.isfinite(found).all():
                label = self.gradients.labels[id(owner.variables[0])]
                raise NotFinite(f"the gradients of {label} are too large for {self.gradients.dtype}: the model's "
                                "weights or activations are; look for a weight that has diverged")
            wrong, allowed = np.abs(found - matrix).max(), tolerance(owner.layers) * largest_entry
            if wrong > max(allowed, ROUNDING * max(sizes)):
                failed.append(owner)
                continue
            depends = any(id(v) in connected for v in owner.variables)
            unsure |= bool(depends and (largest_entry == 0 or wrong > allowed))
            self.width += sum(feature.width() for feature in features)
            self.length += sum(feature.length() for feature in features)
            self.per_pair = max([self.per_pair, *[feature.per_pair() for feature in features]])
            for call in [call for call in calls if call.owner is owner]:
                activations, patches = _working(call)
                self.working, largest = self.working + activations, max(largest, patches)
        self.working += largest  # one layer's features are computed at a time
        return failed, unsure


def _dependent(i, together, n, alone):
    return ValueError(f"the model's output for example {i} depends on the examples beside it ({together:g} in a batch "
                      f"of {n}, {alone:g} alone), so there is no per-example loss; look for BatchNormalization or "
                      "Dropout called with training=True, or for an operation that the backend computes incorrectly "
                      "for a batch")


def check_labels(losses, rows, columns, prediction):
    losses.check_labels("y", rows[1], prediction)
    if columns is not None:
        losses.check_labels("y2", columns[1], prediction)


def _rule_for(layers, variables):
    """The closed form of layers that share these variables, or None."""
    rules = {rule_of(layer) for layer in layers}
    rule = rules.pop()
    if rule is None or rules:
        return None
    known = {id(attribute(layer, name)) for layer in layers for name in rule.names}
    return rule if {id(v) for v in variables} <= known else None


def _layouts(owner, two, one):
    """For each call, where the examples are in each of its leaves: (axis, rows of each example), or None.

    two, one: the calls with two examples and with one. Raises Unreachable where they cannot be told apart.
    """
    if [call.layer for call in two] != [call.layer for call in one]:
        raise Unreachable(owner)
    layouts = []
    for call, other in zip(two, one):
        layout = [_place(owner, *parts) for parts in zip(leaves_of(call), leaves_of(other), strict=True)]
        gradients = zip(keras.tree.flatten(call.gradients), layout[-count(call.gradients) :])
        if any(place is None for part, place in gradients if part is not None):
            raise Unreachable(owner, "the same for all examples")
        layouts.append(layout)
    return layouts


def count(nest):
    return len(keras.tree.flatten(nest))


def _place(owner, two, one):
    if not is_tensor(two) or two.shape == one.shape:
        return None
    different = [axis for axis, sizes in enumerate(zip(two.shape, one.shape, strict=True)) if sizes[0] != sizes[1]]
    if len(different) != 1 or two.shape[different[0]] != 2 * one.shape[different[0]]:
        raise Unreachable(owner)
    return different[0], one.shape[different[0]]


def sampled(rows, columns):
    """The examples from which some are checked, and their name. There must be two to see whether examples mix."""
    return (rows, "x") if columns is None or count_of(rows[1]) >= SAMPLE else (columns, "x2")


def _products_of(gradients):
    """(n, n): the products of n gradients of any shape; None is a gradient of zeros."""
    flat = [np.zeros(1) if gradient is None else np.ravel(to_numpy(gradient)).astype(float)
            for gradient in gradients]
    with np.errstate(invalid="ignore"):  # of gradients that are not finite
        return np.array([[one @ other if one.shape == other.shape else 0.0 for other in flat] for one in flat])


def _working(call):
    """(activations, patches): how many numbers per example exist while the features of a call are computed.

    The activations and their gradients, which the tape keeps before and after an activation function; and a
    convolution's patches and a copy of them.
    """
    shapes = [part.shape[1:] for part in leaves_of(call) if is_tensor(part)]
    if call.owner.rule is None:
        return 4 * sum(map(math.prod, shapes)), 2 * sum(math.prod(v.shape) for v in call.owner.variables)
    layer = call.layer
    positions, channels = zip(*[(shape[:-1], shape[-1]) if getattr(layer, "data_format", "") != "channels_first" else
                                (shape[1:], shape[0]) for shape in shapes if shape])
    patches = min(map(math.prod, positions)) * max(channels) * math.prod(getattr(layer, "kernel_size", (0,)))
    return 4 * sum(map(math.prod, shapes)), 2 * patches
