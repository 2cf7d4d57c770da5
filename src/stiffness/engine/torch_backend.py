"""Automatic differentiation and matrix products with PyTorch."""

from contextlib import contextmanager

import keras
import torch
from torch.autograd import forward_ad

compiles = False
float64 = True


def check_eager():
    pass


@contextmanager
def full_precision():
    """Float32 matrix products without TensorFloat-32, and gradients even within torch.no_grad()."""
    found = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.enable_grad():
            yield
    finally:
        torch.set_float32_matmul_precision(found)


def inner(a, b):
    """(..., n, m): a_i . b_j for (..., n, k) and (..., m, k)."""
    return a @ b.mT


def outer(a, d):
    """(n, i, o): the sum over t of a_t d_t^T, for (n, t, i) and (n, t, o)."""
    return a.mT @ d


def sum_of(terms):
    return sum(terms[1:], terms[0])


def run_after(first, then):
    return then


def site():
    """What tensors belong to; in PyTorch there are no graphs or loops that they could not leave."""
    return None


def watched_gradients(forward):
    """(other, [gradient]): of the sum that forward(watch) returns as (sum, other), with respect to watch(k, tensor)."""
    found = []

    def watch(_, tensor):
        tensor = tensor.view_as(tensor) if tensor.requires_grad else tensor.detach().requires_grad_()
        found.append(tensor)
        return tensor

    total, other = forward(watch)
    return _detached(other), _gradients(total, found)


def gradients(function, variables):
    """For a function that returns (total, other): (other, the total's gradients)."""
    total, other = function()
    return _detached(other), _gradients(total, [v.value for v in variables])


def map_examples(function, examples, in_graph=True):
    """function(one example's nest) for each example, stacked: a loop, as torch.vmap cannot contain torch.autograd."""
    n = keras.tree.flatten(examples)[0].shape[0]
    found = [function(keras.tree.map_structure(lambda part, i=i: part[i], examples)) for i in range(n)]
    return keras.tree.map_structure(lambda *parts: torch.stack(parts), *found)


def jacobian(function, variables):
    """[(n, *shape)]: the gradients of each of the values (n,) that the function returns."""
    values, trained = function(), [v.value for v in variables]
    rows = [_gradients(value, trained, retain_graph=True) for value in values]
    return [torch.stack(parts) for parts in zip(*rows)]


def derivatives_along_ones(function, variable):
    """For a function that returns tensors: the derivative of each in the direction of ones of the variable;
    None for one that does not depend on it."""
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(variable.value.detach(), torch.ones_like(variable.value))
        with keras.StatelessScope(state_mapping=[(variable, dual)]):
            found = function()
        return _detached([forward_ad.unpack_dual(part).tangent for part in found])


def loss_gradients(losses_of, outputs):
    """(losses, [(n, *shape)]): the losses at these outputs and each loss's gradient with respect to them."""
    outputs = [output.detach().requires_grad_() for output in outputs]
    losses = losses_of(outputs)
    return losses.detach(), _gradients(losses.sum(), outputs)


def input_jacobians(function, inputs):
    """(outputs, [(n, m, *shape)]): the function's outputs (n, m) and their derivatives with respect to each of the
    inputs, a nest of tensors (n, *shape). Each example's output depends on itself alone."""
    inputs = keras.tree.map_structure(lambda part: part.detach().requires_grad_(), inputs)
    outputs, leaves = function(inputs), keras.tree.flatten(inputs)
    columns = [_gradients(column.sum(), leaves, retain_graph=True) for column in outputs.T]
    return outputs.detach(), [torch.stack(parts, dim=1) for parts in zip(*columns)]


def _gradients(total, tensors, retain_graph=False):
    """The gradients of a scalar with respect to tensors, zeros for those that it does not depend on."""
    if not tensors or not total.requires_grad:
        return [torch.zeros_like(tensor) for tensor in tensors]
    return list(torch.autograd.grad(total, tensors, retain_graph=retain_graph, materialize_grads=True))


def _detached(nest):
    return keras.tree.map_structure(lambda part: part.detach() if isinstance(part, torch.Tensor) else part, nest)
