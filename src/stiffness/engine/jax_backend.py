"""Automatic differentiation and matrix products with JAX."""

import jax
import keras

compiles = False
float64 = False  # unless switched on for the whole process


def check_eager():
    pass


def full_precision():
    return jax.default_matmul_precision("highest")


def inner(a, b):
    """(..., n, m): a_i . b_j for (..., n, k) and (..., m, k)."""
    return a @ jax.numpy.matrix_transpose(b)


def outer(a, d):
    """(n, i, o): the sum over t of a_t d_t^T, for (n, t, i) and (n, t, o)."""
    return jax.numpy.einsum("nti,nto->nio", a, d)


def sum_of(terms):
    return sum(terms[1:], terms[0])


def run_after(first, then):
    return then


def site():
    """What tensors belong to; JAX raises an error of its own for those that leave a loop's body."""
    return None


def watched_gradients(forward):
    """(other, [gradient]): of the sum that forward(watch) returns as (sum, other), with respect to watch(k, tensor)."""
    shapes, rest = [], []

    def run(watch):
        # discards what the model writes, such as the state of a random generator
        with keras.StatelessScope(collect_losses=True):
            total, other = forward(watch)
        leaves, structure = jax.tree.flatten(other)
        rest[:] = [structure, [None if isinstance(leaf, jax.Array) else leaf for leaf in leaves]]
        return total, [leaf for leaf in leaves if isinstance(leaf, jax.Array)]

    def shape_of(k, tensor):
        shapes.append((tensor.shape, tensor.dtype))
        return tensor

    jax.eval_shape(lambda: run(shape_of))
    zeros = [jax.numpy.zeros(*shape) for shape in shapes]
    found, tensors = jax.grad(lambda moved: run(lambda k, tensor: tensor + moved[k]), has_aux=True)(zeros)
    structure, leaves = rest
    tensors = iter(tensors)
    return jax.tree.unflatten(structure, [next(tensors) if leaf is None else leaf for leaf in leaves]), found


def gradients(function, variables):
    """For a function that returns (total, other): (other, the total's gradients)."""
    def total(trained):
        with keras.StatelessScope(state_mapping=list(zip(variables, trained)), collect_losses=True):
            return function()

    found, other = jax.grad(total, has_aux=True)([v.value for v in variables])
    return other, found


def map_examples(function, examples, in_graph=True):
    """function(one example's nest) for each example, stacked."""
    return jax.vmap(function)(examples)


def jacobian(function, variables):
    """[(n, *shape)]: the gradients of each of the values (n,) that the function returns, vectorised."""
    def values_of(trained):
        with keras.StatelessScope(state_mapping=list(zip(variables, trained))):
            return function()

    return jax.jacrev(values_of)([v.value for v in variables])


def derivatives_along_ones(function, variable):
    """For a function that returns tensors: the derivative of each in the direction of ones of the variable."""
    def of(value):
        with keras.StatelessScope(state_mapping=[(variable, value)]):
            return function()

    return jax.jvp(of, [variable.value], [jax.numpy.ones_like(variable.value)])[1]


def loss_gradients(losses_of, outputs):
    """(losses, [(n, *shape)]): the losses at these outputs and each loss's gradient with respect to them."""
    def total(outputs):
        losses = losses_of(outputs)
        return losses.sum(), losses

    found, losses = jax.grad(total, has_aux=True)(outputs)
    return losses, found


def input_jacobians(function, inputs):
    """(outputs, [(n, m, *shape)]): the function's outputs (n, m) and their derivatives with respect to each of the
    inputs, a nest of tensors (n, *shape). Each example's output depends on itself alone."""
    def one(example):
        with keras.StatelessScope():
            return function(keras.tree.map_structure(lambda part: part[None], example))[0]

    return function(inputs), keras.tree.flatten(jax.vmap(jax.jacrev(one))(inputs))
