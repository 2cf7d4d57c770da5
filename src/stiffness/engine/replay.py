"""The gradients of a layer without a closed form: its own call is repeated for one example at a time.

One pass through the whole model gives the inputs of the call, the results of the layers inside it, and the gradients d
with respect to all that leaves it: its output and the inputs of the layers inside it. With these held fixed,
g_i = d<d_i, what leaves the call of example i>/dw needs no other layer.
"""

import functools

import keras
from keras import ops

from stiffness.engine.backend import backend
from stiffness.engine.taps import EAGER, JACOBIAN, is_float, logits_of, patched


def repeated(call, owner, layout):
    """[(n, *shape)] for each of the owner's variables. layout: the place of the examples in each leaf of the call."""
    nest = (call.recorded, call.gradients)
    leaves = keras.tree.flatten(nest)
    varying = [k for k, place in enumerate(layout) if place is not None]
    others = owner.left_out(call.layer)

    def products(parts):
        """The products of what leaves a call with d."""
        own = list(leaves)
        for k, part in zip(varying, parts):
            own[k] = part
        (args, kwargs, results), d = keras.tree.pack_sequence_as(nest, own)
        left = [part for part in keras.tree.flatten(_left_by(call.layer, others, args, kwargs, results))
                if is_float(part)]  # other arguments, such as training=None, are filled in differently
        gradients = [part for part in keras.tree.flatten(d) if part is not None]
        return [ops.cast(part, gradient.dtype) * gradient for part, gradient in zip(left, gradients, strict=True)]

    if owner.way == JACOBIAN:
        def values():
            return sum(ops.sum(ops.reshape(part, (part.shape[0], -1)), axis=1)
                       for part in products([leaves[k] for k in varying]))

        return backend.jacobian(values, owner.variables)

    def one(parts):
        _, gradients = backend.gradients(lambda: (sum(map(ops.sum, products(parts))), ()), owner.variables)
        return [ops.zeros(v.shape, v.dtype) if g is None else g for g, v in zip(gradients, owner.variables)]

    return backend.map_examples(one, [by_example(leaves[k], layout[k]) for k in varying], in_graph=owner.way != EAGER)


def _left_by(layer, others, args, kwargs, results):
    """(the inputs of the calls inside, the outputs) of one example's call."""
    inside, results = [], iter(results)

    def recorded(*args, **kwargs):
        inside.append((args, kwargs))
        return next(results)

    with patched([(other, {"call": functools.wraps(other.call)(recorded)}) for other in others]):
        output = layer(*args, **kwargs)
    return inside, (output, logits_of(output))


def by_example(part, place):
    """(n, ...): the examples along the first axis, for a tensor whose axis place[0] holds place[1] rows of each.

    What follows the first axis is the tensor of a batch of one.
    """
    axis, rows = place
    n = part.shape[axis] // rows
    part = ops.reshape(part, (*part.shape[:axis], n, rows, *part.shape[axis + 1 :]))
    return ops.moveaxis(part, axis, 0) if axis else part
