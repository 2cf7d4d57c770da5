"""The gradients of a layer without a closed form: its own call is repeated for one example at a time.

One pass through the whole model gives the inputs of the call, the results of the layers inside it, and the gradients d
with respect to all that leaves it: its output and the inputs of the layers inside it. With these held fixed,
g_i = d<d_i, what leaves the call of example i>/dw needs no other layer.

Where every number that leaves the call depends on one entry of a weight at most, the one at the same place along the
last axes, as with scales and offsets, the derivative in the direction of ones has all of these derivatives, for all
examples at once.
"""

import functools

import keras
from keras import ops

from stiffness.engine.backend import backend
from stiffness.engine.taps import EAGER, ELEMENTWISE, JACOBIAN, is_float, logits_of, patched


def repeated(call, owner, layout):
    """[(n, *shape)] for each of the owner's variables. layout: the place of the examples in each leaf of the call."""
    nest = (call.recorded, call.gradients)
    leaves = keras.tree.flatten(nest)
    varying = [k for k, place in enumerate(layout) if place is not None]
    whole = [leaves[k] for k in varying]
    others = owner.left_out(call.layer)

    def left_and_d(parts):
        """What leaves the call, and d for each of it."""
        own = list(leaves)
        for k, part in zip(varying, parts):
            own[k] = part
        (args, kwargs, results), d = keras.tree.pack_sequence_as(nest, own)
        left = [part for part in keras.tree.flatten(_left_by(call.layer, others, args, kwargs, results))
                if is_float(part)]  # other arguments, such as training=None, are filled in differently
        return left, [part for part in keras.tree.flatten(d) if part is not None]

    def products(parts):
        return [ops.cast(part, d.dtype) * d for part, d in zip(*left_and_d(parts), strict=True)]

    if owner.way == ELEMENTWISE:
        d = keras.tree.flatten(call.gradients)
        d = [(part, place) for part, place in zip(d, layout[-len(d) :]) if part is not None]
        found = []
        for v in owner.variables:
            derivatives = backend.derivatives_along_ones(lambda: left_and_d(whole)[0], v)
            found.append(sum(_summed(by_example(derivative * ops.cast(part, derivative.dtype), place), v.shape)
                             for derivative, (part, place) in zip(derivatives, d, strict=True)
                             if derivative is not None))
        return found

    if owner.way == JACOBIAN:
        def values():
            return sum(ops.sum(ops.reshape(part, (part.shape[0], -1)), axis=1) for part in products(whole))

        return backend.jacobian(values, owner.variables)

    def one(parts):
        _, gradients = backend.gradients(lambda: (sum(map(ops.sum, products(parts))), ()), owner.variables)
        return [ops.zeros(v.shape, v.dtype) if g is None else g for g, v in zip(gradients, owner.variables)]

    parts = [by_example(part, layout[k]) for k, part in zip(varying, whole)]
    return backend.map_examples(one, parts, in_graph=owner.way != EAGER)


def _left_by(layer, others, args, kwargs, results):
    """(the inputs of the calls inside, the outputs) of one example's call."""
    inside, results = [], iter(results)

    def recorded(*args, **kwargs):
        inside.append((args, kwargs))
        return next(results)

    with patched([(other, {"call": functools.wraps(other.call)(recorded)}) for other in others]):
        output = layer(*args, **kwargs)
    return inside, (output, logits_of(output))


def _summed(t, shape):
    """(n, *shape): the sum over all other axes of t, whose last ones are those of shape, or 1 there."""
    t = ops.sum(t, axis=tuple(range(1, t.ndim - len(shape)))) if t.ndim - 1 > len(shape) else t
    once = tuple(axis for axis, size in enumerate(shape, start=1) if size == 1)
    t = ops.sum(t, axis=once, keepdims=True) if once else t
    return ops.reshape(t, (t.shape[0], *shape))


def by_example(part, place):
    """(n, ...): the examples along the first axis, for a tensor whose axis place[0] holds place[1] rows of each.

    What follows the first axis is the tensor of a batch of one.
    """
    axis, rows = place
    n = part.shape[axis] // rows
    part = ops.reshape(part, (*part.shape[:axis], n, rows, *part.shape[axis + 1 :]))
    return ops.moveaxis(part, axis, 0) if axis else part
