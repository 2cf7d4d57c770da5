"""The networks in JAX, as functions of the exported weights."""

import jax
import jax.numpy as jnp


def apply(network, weights, x):
    """The logits (n, classes)."""
    return {"mlp": _mlp, "cnn": _cnn, "resnet": _resnet, "transformer": _transformer}[network["architecture"]](
        network, weights, x)


def cross_entropy(logits, y):
    """(n,) losses."""
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1)[:, 0]


def _linear(weights, name, x):
    return x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]


def _conv(weights, name, x, stride=1):
    return jax.lax.conv_general_dilated(
        x, weights[f"{name}/kernel"], (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    ) + weights[f"{name}/bias"]


def _norm(weights, name, x):
    centred = x - x.mean(-1, keepdims=True)
    normal = centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return normal * weights[f"{name}/gamma"] + weights[f"{name}/beta"]


def _mlp(network, weights, x):
    for i in range(len(network["widths"])):
        x = jax.nn.relu(_linear(weights, f"dense{i}", x))
    return _linear(weights, "head", x)


def _cnn(network, weights, x):
    for i in range(len(network["filters"])):
        x = jax.nn.relu(_conv(weights, f"conv{i}", x))
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return _linear(weights, "head", x.reshape(len(x), -1))


def _resnet(network, weights, x):
    x = jax.nn.relu(_conv(weights, "stem", x))
    for stage in range(len(network["filters"])):
        for block in range(network["blocks"]):
            name, stride = f"stage{stage}block{block}", 2 if stage and not block else 1
            y = _conv(weights, f"{name}b", jax.nn.relu(_conv(weights, f"{name}a", x, stride)))
            x = jax.nn.relu(y + (_conv(weights, f"{name}shortcut", x, stride) if stride > 1 else x))
    return _linear(weights, "head", x.mean((1, 2)))


def _transformer(network, weights, tokens):
    table = weights["tokens/embeddings"]
    x = jax.nn.one_hot(tokens, len(table)) @ table if network.get("one_hot") else table[tokens]
    x = x + weights["positions/embeddings"]
    for i in range(network["blocks"]):
        x = _norm(weights, f"norm{i}a", x + _attention(weights, f"attention{i}", x))
        y = _linear(weights, f"contract{i}", jax.nn.relu(_linear(weights, f"expand{i}", x)))
        x = _norm(weights, f"norm{i}b", x + y)
    return _linear(weights, "head", x.mean(1))


def _attention(weights, name, x):
    query, key, value = (
        jnp.einsum("ntd,dhk->nhtk", x, weights[f"{name}/{part}/kernel"]) + weights[f"{name}/{part}/bias"][:, None]
        for part in ("query", "key", "value"))
    scores = jnp.einsum("nhtk,nhsk->nhts", query, key) / query.shape[-1] ** 0.5
    mixed = jnp.einsum("nhts,nhsk->nthk", jax.nn.softmax(scores), value)
    output = f"{name}/attention_output"
    return jnp.einsum("nthk,hkd->ntd", mixed, weights[f"{output}/kernel"]) + weights[f"{output}/bias"]
