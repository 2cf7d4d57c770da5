# /// script
# requires-python = ">=3.11,<3.15"
# dependencies = ["torch==2.13.0", "backpack-for-pytorch==1.7.1", "numpy==2.4.6"]
# ///
"""BackPACK: BatchGrad, with a hook that adds each layer to the Gram matrix when the backward pass reaches it.

Convolutions use its memory-saving algorithm, which was faster here. Two module extensions are our own, written as its
documentation shows: it has none for LayerNorm, and that for Embedding loops over the vocabulary.
"""

import harness
import torch
import torch_networks
from backpack import backpack, extend
from backpack.core.derivatives.convnd import weight_jac_t_save_memory
from backpack.extensions import BatchGrad
from backpack.extensions.firstorder.base import FirstOrderModuleExtension
from torch.nn import Embedding, LayerNorm
from torch.nn import functional as F


class BatchGradLayerNorm(FirstOrderModuleExtension):
    """The gradients of scale and shift, summed over the positions."""

    def __init__(self):
        super().__init__(params=["weight", "bias"])

    def weight(self, extension, module, g_inp, g_out, quantities):
        normal = F.layer_norm(module.input0, module.normalized_shape, eps=module.eps)
        return (g_out[0] * normal).flatten(1, -2).sum(1)

    def bias(self, extension, module, g_inp, g_out, quantities):
        return g_out[0].flatten(1, -2).sum(1)


class BatchGradEmbedding(FirstOrderModuleExtension):
    """The gradient at each position, added to the row of its token."""

    def __init__(self):
        super().__init__(params=["weight"])

    def weight(self, extension, module, g_inp, g_out, quantities):
        tokens, (delta,) = module.input0, g_out
        rows = torch.zeros(len(tokens), *module.weight.shape)
        return rows.scatter_add_(1, tokens[..., None].expand_as(delta), delta)


def prepare(settings, weights, x, y):
    model, x = torch_networks.build(settings["network"], weights, x)
    extend(model)
    y = torch.from_numpy(y).long()
    extension = BatchGrad()
    extension.set_module_extension(LayerNorm, BatchGradLayerNorm())
    extension.set_module_extension(Embedding, BatchGradEmbedding(), overwrite=True)

    def gram():
        total = torch.zeros(len(x), len(x))

        def add(module):
            for parameter in module.parameters(recurse=False):
                part = parameter.grad_batch.flatten(1)
                total.addmm_(part, part.T)
                del parameter.grad_batch

        with backpack(extension, extension_hook=add), weight_jac_t_save_memory():
            F.cross_entropy(model(x), y, reduction="sum").backward()
        return total.numpy()

    return gram


if __name__ == "__main__":
    harness.main(prepare, ("torch", "backpack-for-pytorch", "numpy"))
