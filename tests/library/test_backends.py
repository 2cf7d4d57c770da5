"""Keras's other backends, where they are installed, give the same numbers as TensorFlow on the same weights."""

import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

CASES = ("dense", "picture", "sequence", "recurrent", "tied")


def case_of(name):
    """(model, x, y, loss) in the current backend, with weights that depend only on their shapes."""
    import keras
    from keras import layers

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 9)
    if name == "dense":
        inputs, shared = keras.Input((6,)), layers.Dense(6, "tanh")
        outputs = shared(layers.Dropout(0.5)(layers.BatchNormalization()(shared(inputs))))
    elif name == "picture":
        inputs = keras.Input((8, 8, 3))
        hidden = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(inputs)
        hidden = layers.GroupNormalization(2)(layers.SeparableConv2D(6, 2, activation="gelu")(hidden))
        hidden = layers.DepthwiseConv2D(2, padding="same")(layers.Conv2DTranspose(4, 3, strides=2)(hidden))
        outputs = layers.Flatten()(layers.Conv2D(4, 2, groups=2)(hidden))
    elif name == "sequence":
        inputs = keras.Input((5,), dtype="int32")
        hidden = layers.Embedding(7, 6, mask_zero=True)(inputs)
        # the sums hand the mask on: in a row that is masked as a whole the backends' attention has other derivatives
        hidden = layers.LayerNormalization()(layers.Add()([hidden, layers.MultiHeadAttention(2, 3)(hidden, hidden)]))
        hidden = layers.Add()([hidden, layers.Dense(6)(layers.Dense(8, "gelu")(hidden))])
        outputs = layers.GlobalAveragePooling1D()(hidden)
    elif name == "recurrent":
        inputs = keras.Input((5, 4))
        hidden = layers.PReLU(shared_axes=[1])(layers.Conv1D(4, 2, padding="causal")(inputs))
        outputs = layers.RMSNormalization()(layers.LSTM(5)(hidden))
    elif name == "tied":
        inputs, embedding = keras.Input((5,), dtype="int32"), layers.ReversibleEmbedding(7, 4)
        outputs = embedding(layers.Dense(4, "tanh")(embedding(inputs)), reverse=True)
        y = rng.integers(0, 7, (9, 5))
    model = keras.Model(inputs, outputs if name == "tied" else layers.Dense(3)(outputs))
    for v in model.variables:
        if "float" in v.dtype:
            v.assign(np.abs(rng.normal(1, 0.3, v.shape)) if "variance" in v.path else rng.normal(0, 0.4, v.shape))
    shape = model.input_shape[1:]
    x = rng.integers(0, 7, (9, *shape)) if name in ("sequence", "tied") else rng.normal(size=(9, *shape))
    return model, x, y, loss


def measured(cases):
    """{what: array} of the cases, in the current backend."""
    from stiffness import gradient_gram
    from stiffness.gram import cosine_class_stiffness

    found = {}
    for name in cases:
        model, x, y, loss = case_of(name)
        before = [v.numpy().copy() for v in model.variables]
        methods = ("auto", "jacobian") if name == "recurrent" else ("closed-form", "jacobian")
        for method in methods:
            found[f"{name} {method.replace('closed-form', 'auto')}"] = gradient_gram(
                model, x, y, loss=loss, method=method).products
        found[f"{name} tiled"] = gradient_gram(model, x, y, x[:4], y[:4], loss=loss, memory_budget=150_000).products
        found[f"{name} classes"] = cosine_class_stiffness(model, x, y, np.arange(9) % 2, loss=loss)
        for v, value in zip(model.variables, before):
            np.testing.assert_array_equal(v.numpy(), value)
        assert not any("call" in vars(layer) for layer in model._flatten_layers())
    return found


@pytest.mark.parametrize("cases", [CASES[:1], pytest.param(CASES[1:], marks=pytest.mark.slow)], ids=["dense", "others"])
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_give_the_same_numbers(backend, cases, tmp_path):
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    path = tmp_path / "found.npz"
    done = subprocess.run([sys.executable, "-m", "tests.library.test_backends", path, *cases], capture_output=True,
                          text=True, env=os.environ | {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"})
    assert done.returncode == 0, done.stderr
    theirs, ours = np.load(path), measured(cases)
    assert set(theirs) == set(ours)
    for what, expected in ours.items():
        scale = np.abs(expected).max()
        np.testing.assert_allclose(theirs[what] / scale, expected / scale, atol=1e-5, err_msg=what)


if __name__ == "__main__":
    np.savez(sys.argv[1], **measured(sys.argv[2:]))
