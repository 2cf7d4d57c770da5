# /// script
# requires-python = ">=3.11,<3.15"
# dependencies = ["jax==0.10.2", "jaxlib==0.10.2", "numpy==2.4.6"]
# ///
"""JAX: vmap(grad) and the products, layer by layer, in one jit."""

import harness
import jax
import jax_networks
import numpy as np


def prepare(settings, weights, x, y):
    def loss(weights, x, y):
        return jax_networks.cross_entropy(jax_networks.apply(settings["network"], weights, x[None]), y[None])[0]

    @jax.jit
    def gram(weights, x, y):
        gradients = jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(weights, x, y)
        flat = [part.reshape(len(x), -1) for part in jax.tree.leaves(gradients)]
        return sum(part @ part.T for part in flat)

    weights = jax.device_put(weights)
    return lambda: np.asarray(gram(weights, x, y))


if __name__ == "__main__":
    harness.main(prepare, ("jax", "jaxlib", "numpy"))
