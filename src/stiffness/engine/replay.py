"""The gradients of a layer without a closed form: its own call is repeated for one example at a time.

One pass through the whole model gives the inputs of the call, the results of the layers inside it, and the gradients d
with respect to all that leaves it: its output and the inputs of the layers inside it. With these held fixed,
g_i = d<d_i, what leaves the call of example i>/dw needs no other layer.
"""

import functools

import keras
from keras import ops

from stiffness.engine.backend import backend
from stiffness.engine.taps import EAGER, JACOBIAN, is_float, is_tensor, logits_of, patched


def repeated(call, owner, layout):
    """(function, tensors): function(*tensors) is ([(n, *shape)] for each variable, the outputs of the repeated calls).

    layout: the place of the examples in each leaf of the call.
    """
    nest = (call.recorded, call.gradients)
    leaves = keras.tree.flatten(nest)
    varying = [k for k, place in enumerate(layout) if place is not None]
    fixed = [k for k, leaf in enumerate(leaves) if is_tensor(leaf) and k not in varying]
    own = [leaf if not is_tensor(leaf) else None for leaf in leaves]
    layer, variables, others = call.layer, owner.variables, owner.left_out(call.layer)

    def terms(parts, same):
        """The products of what leaves a call with d, and its outputs."""
        leaves = list(own)
        for k, part in [*zip(varying, parts), *zip(fixed, same)]:
            leaves[k] = part
        (args, kwargs, results), d = keras.tree.pack_sequence_as(nest, leaves)
        left = _left_by(layer, others, args, kwargs, results)
        # other arguments, such as training=None, are filled in differently
        left_floats = [part for part in keras.tree.flatten(left) if is_float(part)]
        gradients = [part for part in keras.tree.flatten(d) if part is not None]
        products = [ops.cast(part, gradient.dtype) * gradient
                    for part, gradient in zip(left_floats, gradients, strict=True)]
        return products, [part for part in keras.tree.flatten(left[1]) if is_float(part)]

    def one_by_one(varied, same):
        def one(parts):
            def total():
                products, outputs = terms(parts, same)
                return sum(map(ops.sum, products)), outputs

            outputs, gradients = backend.gradients(total, variables)
            return [ops.zeros(v.shape, v.dtype) if g is None else g for g, v in zip(gradients, variables)], outputs

        return backend.map_examples(one, varied, in_graph=owner.way != EAGER)

    def at_once(parts, same):
        def values():
            products, outputs = terms(parts, same)
            return sum(ops.sum(ops.reshape(part, (part.shape[0], -1)), axis=1) for part in products), outputs

        outputs, gradients = backend.jacobian(values, variables)
        return gradients, outputs

    fixed_parts = [leaves[k] for k in fixed]
    if owner.way == JACOBIAN:
        return at_once, ([leaves[k] for k in varying], fixed_parts)
    return one_by_one, ([by_example(leaves[k], layout[k]) for k in varying], fixed_parts)


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
