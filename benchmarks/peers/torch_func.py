# /// script
# requires-python = ">=3.11,<3.15"
# dependencies = ["torch==2.13.0", "numpy==2.4.6"]
# ///
"""torch.func: vmap(grad), and the Gram matrix summed over parameters, whose gradients are freed one by one."""

import harness
import torch
import torch_networks
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F


def prepare(settings, weights, x, y):
    model, x = torch_networks.build(settings["network"], weights, x)
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    y = torch.from_numpy(y).long()

    def loss(parameters, x, y):
        return F.cross_entropy(functional_call(model, parameters, (x[None],)), y[None])

    gradients = vmap(grad(loss), in_dims=(None, 0, 0))

    def gram():
        parts = gradients(parameters, x, y)
        total = torch.zeros(len(x), len(x))
        for name in list(parts):
            part = parts.pop(name).flatten(1)
            total.addmm_(part, part.T)
        return total.numpy()

    return gram


if __name__ == "__main__":
    harness.main(prepare, ("torch", "numpy"))
