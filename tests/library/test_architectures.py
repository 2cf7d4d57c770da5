"""Random architectures from a seeded generator against the plain definition."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from tests.library.test_layers import agrees

EXAMPLES = 5
ACTIVATIONS = ("linear", "relu", "tanh", "gelu", "softplus", "sigmoid", "softmax")
PICTURE = ("Conv2D", "Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose", "MaxPooling2D", "residual")
SEQUENCE = ("Conv1D", "causal", "SeparableConv1D", "Conv1DTranspose", "attention", "attention", "einsum", "residual")
ANYWHERE = ("Dense", "Dense", "shared", "LayerNormalization", "RMSNormalization", "GroupNormalization",
            "BatchNormalization", "nested")


@st.composite
def architectures(draw):
    """The settings of an architecture: its input, and its layers with their arguments."""
    rank = draw(st.sampled_from(("vector", "sequence", "picture", "tokens")))
    kinds = ANYWHERE + {"vector": (), "picture": PICTURE}.get(rank, SEQUENCE)
    hidden = draw(st.lists(st.fixed_dictionaries({
        "kind": st.sampled_from(kinds), "width": st.sampled_from((2, 4, 6)), "size": st.integers(1, 3),
        "strides": st.integers(1, 2), "padding": st.sampled_from(("valid", "same")), "bias": st.booleans(),
        "groups": st.integers(1, 2), "activation": st.sampled_from(ACTIVATIONS), "frozen": st.integers(0, 9).map(
            lambda k: k == 0)}), min_size=1, max_size=3))
    return {"rank": rank, "hidden": hidden, "dtype": draw(st.sampled_from(("float32", "float64"))),
            "head": draw(st.sampled_from(("flat", "pooled"))), "seed": draw(st.integers(0, 10**6))}


def layer_of(s, hidden, dtype):
    """Calls one more layer on `hidden`, with arguments adapted to its shape."""
    kind, width, activation = s["kind"], s["width"], s["activation"]
    common = {"activation": activation, "use_bias": s["bias"], "dtype": dtype}
    fits = min(hidden.shape[1:-1], default=9) >= s["size"]
    padding = s["padding"] if fits else "same"
    window = {"kernel_size": s["size"], "padding": padding, "strides": s["strides"], **common}
    channels = hidden.shape[-1]
    groups = s["groups"] if channels % s["groups"] == width % s["groups"] == 0 else 1
    made = None
    if kind == "Dense":
        made = layers.Dense(width, **common)
    elif kind in ("Conv1D", "Conv2D"):
        made = getattr(layers, kind)(width, groups=groups, **window)
    elif kind == "causal":
        made = layers.Conv1D(width, **window | {"padding": "causal", "strides": 1, "dilation_rate": s["groups"]})
    elif kind.endswith("Transpose"):
        made = getattr(layers, kind)(width, **window)
    elif kind == "DepthwiseConv2D":
        made = layers.DepthwiseConv2D(depth_multiplier=s["groups"], **window)
    elif kind.startswith("Separable"):
        made = getattr(layers, kind)(width, depth_multiplier=s["groups"], **window)
    elif kind == "MaxPooling2D":
        made = layers.MaxPooling2D(2, padding="same", dtype=dtype)
    elif kind == "einsum":
        made = layers.EinsumDense("...x,xyz->...yz", (2, width), activation, bias_axes="yz" if s["bias"] else None,
                                  dtype=dtype)
    elif kind == "GroupNormalization":
        made = layers.GroupNormalization(groups if channels % groups == 0 else 1, dtype=dtype)
    elif kind.endswith("Normalization"):
        made = getattr(layers, kind)(dtype=dtype)
    elif kind == "nested":
        made = keras.Sequential([keras.Input(hidden.shape[1:], dtype=dtype), layers.Dense(width, **common),
                                 layers.LayerNormalization(dtype=dtype)])
    elif kind == "attention":
        made = layers.MultiHeadAttention(s["groups"], 2, use_bias=s["bias"], dtype=dtype)
        outputs = layers.Add(dtype=dtype)([hidden, made(hidden, hidden, use_causal_mask=padding == "same")])
    elif kind == "residual":
        made = layers.Dense(channels, **common)
        outputs = layers.Add(dtype=dtype)([hidden, made(hidden)])
    elif kind == "shared":
        made = layers.Dense(channels, **common)
        outputs = made(made(hidden))
    if kind not in ("attention", "residual", "shared"):
        outputs = made(hidden)
    if kind == "einsum":
        outputs = layers.Reshape((*hidden.shape[1:-1], 2 * width), dtype=dtype)(outputs)
    if s["frozen"] and made.trainable_variables:
        made.trainable_variables[0].trainable = False
    return outputs


def model_of(architecture):
    rank, dtype = architecture["rank"], architecture["dtype"]
    shape = {"vector": (4,), "sequence": (5, 4), "picture": (5, 5, 2), "tokens": (5,)}[rank]
    inputs = hidden = keras.Input(shape, dtype="int32" if rank == "tokens" else dtype)
    if rank == "tokens":
        hidden = layers.Embedding(7, 4, dtype=dtype)(hidden)
    for s in architecture["hidden"]:
        hidden = layer_of(s, hidden, dtype)
    if architecture["head"] == "flat" or rank == "vector":
        hidden = layers.Flatten(dtype=dtype)(hidden)
    else:
        pooling = layers.GlobalAveragePooling2D if rank == "picture" else layers.GlobalAveragePooling1D
        hidden = pooling(dtype=dtype)(hidden)
    return keras.Model(inputs, layers.Dense(3, dtype=dtype)(hidden))


@given(architecture=architectures())
@settings(max_examples=15, derandomize=True, deadline=None, database=None)
def test_random_architectures(architecture):
    check(architecture)


@pytest.mark.slow
@given(architecture=architectures())
@settings(max_examples=200, derandomize=True, deadline=None, database=None)
def test_many_random_architectures(architecture):
    check(architecture)


def check(architecture):
    keras.backend.clear_session()
    keras.utils.set_random_seed(architecture["seed"])
    model, rng = model_of(architecture), np.random.default_rng(architecture["seed"])
    x = rng.integers(0, 7, (EXAMPLES, 5)) if architecture["rank"] == "tokens" else rng.normal(
        size=(EXAMPLES, *model.input_shape[1:])).astype(architecture["dtype"])
    times = 1 + (architecture["seed"] % 4 == 0)  # compiling takes longer than everything else, so only sometimes
    agrees(model, x, rng.integers(0, 3, EXAMPLES), times=times)
