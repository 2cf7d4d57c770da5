# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["jax==0.5.3", "jaxlib==0.5.3", "neural-tangents==0.6.5", "numpy==1.26.4"]
# ///
"""neural-tangents with structured derivatives, in two ways.

With `--logits`: the kernel of the logits, (n, n, classes, classes), contracted with the losses' derivatives with
respect to the logits. Otherwise these derivatives are part of the function whose kernel is computed, which is (n, n).

JAX 0.5.3 is the newest version with which it can be imported.
"""

import sys

import harness
import jax
import jax_networks
import numpy as np
from jax import numpy as jnp
from jax._src import source_info_util
from jax.interpreters import ad

ad.source_info_util, ad.config = source_info_util, jax.config  # neural-tangents 0.6.5 looks for both in `ad`

import neural_tangents as nt  # noqa: E402


def kernel_of(function, axes):
    return nt.empirical_ntk_fn(
        function, trace_axes=axes, vmap_axes=0, implementation=nt.NtkImplementation.STRUCTURED_DERIVATIVES)


def prepare(settings, weights, x, y, logits_first=False):
    network = settings["network"] | {"one_hot": True}  # it has a rule for products, but none for row lookups

    def logits(weights, x):
        return jax_networks.apply(network, weights, x)

    def derivatives(weights, x, y):
        return jax.grad(lambda outputs: jax_networks.cross_entropy(outputs, y).sum())(logits(weights, x))

    @jax.jit
    def of_losses(weights, x, y):
        kernel = kernel_of(lambda weights, pair: (logits(weights, pair[0]) * pair[1]).sum(-1, keepdims=True), (1,))
        return kernel((x, derivatives(weights, x, y)), None, weights)

    @jax.jit
    def of_logits(weights, x, y):
        outer = derivatives(weights, x, y)
        return jnp.einsum("ijab,ia,jb->ij", kernel_of(logits, ())(x, None, weights), outer, outer)

    gram = of_logits if logits_first else of_losses
    weights = jax.device_put(weights)
    return lambda: np.asarray(gram(weights, x, y))


def prepare_logits(*case):
    return prepare(*case, logits_first=True)


if __name__ == "__main__":
    packages = ("jax", "jaxlib", "neural-tangents", "numpy")
    if "--logits" in sys.argv:
        sys.argv.remove("--logits")
        harness.main(prepare_logits, packages)
    else:
        harness.main(prepare, packages)
