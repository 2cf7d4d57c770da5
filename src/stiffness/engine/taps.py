"""Records the calls of a model's layers during one forward pass, and watches the tensors whose gradients are needed.

Meanwhile `call`, and the attributes that a rule applies itself, are replaced on each layer, in its `__dict__`: Keras's
attribute tracking would store references to the replacements.
"""

import functools
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field

import keras
from keras import ops

from stiffness.engine.backend import backend
from stiffness.engine.keras_private import StatelessReads, attach_logits, attached_logits, layers_of


class Unreachable(Exception):
    """The calls of an owner's layers cannot be recorded, or not told apart by example. Holds the owner."""


_ABSENT = object()
CLOSED_FORM = "closed form"
ELEMENTWISE = "elementwise weights, all examples at once"
LAYER = "the layer's call, one example at a time"
MODEL = "the model's call, one example at a time"
EAGER = "the model's call, one example at a time, without a graph"
JACOBIAN = "the jacobian of the model's call"


@dataclass(eq=False)
class Owner:
    """Layers whose calls give the gradients of some variables: one layer, or several that share variables."""

    layers: list
    variables: list  # all trainable
    way: str  # one of those above
    rule: type | None = None  # the closed form, of `stiffness.engine.rules`
    layouts: list = field(default_factory=list)  # for each call, the place of the examples in each leaf

    def left_out(self, layer):
        """The layers inside one of the owner's layers that a repetition of its call leaves out."""
        # a recurrent layer calls its cell in a loop, which tensors cannot leave
        partly = self.way in (ELEMENTWISE, LAYER) and not isinstance(layer, keras.layers.RNN)
        return layers_of(layer)[1:] if partly else []


@dataclass(eq=False)
class Call:
    """One call of a layer: what its gradient needs besides the gradients with respect to what leaves the call."""

    owner: Owner
    layer: object
    recorded: object
    gradients: object


@dataclass
class _Frame:
    """A call of a replayed layer in progress: the calls of other layers inside it, which the replay leaves out."""

    layer: object = None
    results: list = field(default_factory=list)
    inputs: list = field(default_factory=list)


def is_tensor(part):
    return hasattr(part, "shape") and hasattr(part, "dtype") and not isinstance(part, keras.Variable)


def is_float(part):
    return is_tensor(part) and "float" in keras.backend.standardize_dtype(part.dtype)


def logits_of(output):
    return [attached_logits(part) for part in keras.tree.flatten(output)]


class _Taps:
    """The calls recorded so far, and the functions that record them."""

    def __init__(self, watch, n, spread):
        self.calls, self.frames, self._tensors = [], [], []
        self._watch, self._n, self._spread = watch, n, spread
        self._thread, self._site = threading.get_ident(), backend.site()

    def watch(self, nest):
        """The nest with its float tensors watched."""
        return keras.tree.map_structure(lambda part: self._watched(part) if is_float(part) else part, nest)

    def _watched(self, tensor):
        tensor = self._watch(len(self._tensors), tensor)
        self._tensors.append(tensor)
        return tensor

    def places(self, nest):
        """The nest with the place of each watched tensor among all of them; None for other parts."""
        places = {id(tensor): place for place, tensor in enumerate(self._tensors)}
        return keras.tree.map_structure(lambda part: places.get(id(part)), nest)

    def here(self, owner):
        """Whether this is the forward pass that is recorded, and not one of another thread."""
        if threading.get_ident() != self._thread:
            return False
        if backend.site() != self._site:
            raise Unreachable(owner)
        return True

    def tap(self, owner, layer, recorded, output):
        """Records a call of a layer with a closed form, and returns its output before the activation, watched."""
        if not self.here(owner):
            return output
        if owner in self._spread:
            recorded, output = keras.tree.map_structure(
                lambda part: self._for_each_example(part) if is_tensor(part) else part, (recorded, output))
        output = self.watch(output)
        self.calls.append(Call(owner, layer, recorded, output))
        return output

    def _for_each_example(self, part):
        part = part[0] if part.shape[0] == 1 else part
        return ops.broadcast_to(part, (self._n, *part.shape))

    def framed(self, owner, layer, call):
        """The layer's call for recording what a repetition of it needs."""
        @functools.wraps(call)
        def framed_call(*args, **kwargs):
            if not self.here(owner):
                return call(*args, **kwargs)
            self.frames.append(_Frame(layer))
            try:
                output = call(*args, **kwargs)
            finally:
                frame = self.frames.pop()
            logits = self.watch(logits_of(output))  # a loss may use these instead
            output = self.watch(output)
            for part, of_part in zip(keras.tree.flatten(output), logits):
                if of_part is not None:
                    attach_logits(part, of_part)
            outputs = output, logits
            self.calls.append(Call(owner, layer, (args, kwargs, frame.results), (frame.inputs, outputs)))
            return output

        return framed_call

    def inside(self, call, containers):
        """The call of a layer inside others that are repeated: {layer: its owner}."""
        @functools.wraps(call)
        def inside_call(*args, **kwargs):
            frame = self.frames[-1] if self.frames else None
            if frame is None or frame.layer not in containers or not self.here(containers[frame.layer]):
                return call(*args, **kwargs)
            args, kwargs = self.watch((args, kwargs))
            frame.inputs.append((args, kwargs))
            self.frames.append(_Frame())
            try:
                output = call(*args, **kwargs)
            finally:
                self.frames.pop()
            frame.results.append(output)
            return output

        return inside_call


@contextmanager
def patched(replacements):
    """Sets attributes on layers, given as [(layer, {name: value})], and restores what was there."""
    found = []
    try:
        for layer, values in replacements:
            attributes = vars(layer)
            found.append((attributes, {name: attributes.get(name, _ABSENT) for name in values}))
            attributes.update(values)
        yield
    finally:
        for attributes, before in reversed(found):
            attributes.update(before)
            for name in [name for name, value in before.items() if value is _ABSENT]:
                del attributes[name]


def recorded_calls(owners, n, forward, spread=()):
    """(other, [Call]) for forward() -> (total, other), which runs the model on n examples.

    spread: owners whose outputs are the same for all examples, so that each needs one of its own.
    """
    def run(watch):
        taps = _Taps(watch, n, spread)
        with _tapped(owners, taps):
            total, other = forward()
        return total, (other, [(call.owner, call.layer, call.recorded, taps.places(call.gradients))
                               for call in taps.calls])

    (other, calls), gradients = backend.watched_gradients(run)
    return other, [Call(owner, layer, recorded, keras.tree.map_structure(
        lambda place: None if place is None else gradients[place], places))
        for owner, layer, recorded, places in calls]


@contextmanager
def _tapped(owners, taps):
    calls, outside, inside = {}, {}, {}
    for owner in owners:
        for layer in owner.layers:
            if owner.rule:
                tap = functools.partial(taps.tap, owner, layer)
                calls[layer] = functools.wraps(layer.call)(
                    owner.rule.tapped(layer, layer.call, tap, getattr(layer, "activation", None)))
                outside[layer] = {name: None for name in owner.rule.applied_outside if name in vars(layer)}
            else:
                calls[layer] = taps.framed(owner, layer, layer.call)
                for other in owner.left_out(layer):
                    inside.setdefault(other, {})[layer] = owner
    for layer, containers in inside.items():
        calls[layer] = taps.inside(calls.get(layer, layer.call), containers)
    with patched([(layer, {**outside.get(layer, {}), "call": call}) for layer, call in calls.items()]):
        yield


def readers_of(layers, forward):
    """{id of a variable: [layer]}: in whose calls, but not in those of layers inside them, it is read by forward().

    None in a list stands for a read outside of all calls.
    """
    readers, stack = {}, [None]

    def noted(variable):
        found = readers.setdefault(id(variable), [])
        if stack[-1] not in found:
            found.append(stack[-1])

    def within(layer, call):
        @functools.wraps(call)
        def within_call(*args, **kwargs):
            stack.append(layer)
            try:
                return call(*args, **kwargs)
            finally:
                stack.pop()

        return within_call

    with patched([(layer, {"call": within(layer, layer.call)}) for layer in layers]), StatelessReads(noted):
        forward()
    return readers
