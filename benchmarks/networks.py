"""The networks in Keras, and their weights and examples as files that every library can read.

python -m benchmarks.networks CASE N FOLDER writes them.
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from benchmarks.cases import CASES

SEED = 0
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def build(network):
    """The untrained Keras model with logits as output. A variable's path is its name in the exported weights."""
    tokens = network["architecture"] == "transformer"
    inputs = keras.Input(network["input_shape"], dtype="int32" if tokens else "float32")
    outputs = {"mlp": _mlp, "cnn": _cnn, "resnet": _resnet, "transformer": _transformer}[network["architecture"]](
        network, inputs)
    return keras.Model(inputs, layers.Dense(network["classes"], name="head")(outputs))


def _mlp(network, x):
    for i, width in enumerate(network["widths"]):
        x = layers.Dense(width, activation="relu", name=f"dense{i}")(x)
    return x


def _cnn(network, x):
    for i, filters in enumerate(network["filters"]):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv{i}")(x)
        x = layers.MaxPooling2D()(x)
    return layers.Flatten()(x)


def _resnet(network, x):
    """ResNet20v1 (He et al., 2015, section 4.2) without batch normalisation; a 1x1 convolution where shapes change."""
    x = layers.Conv2D(network["filters"][0], 3, padding="same", activation="relu", name="stem")(x)
    for stage, filters in enumerate(network["filters"]):
        for block in range(network["blocks"]):
            name, stride = f"stage{stage}block{block}", 2 if stage and not block else 1
            y = layers.Conv2D(filters, 3, stride, padding="same", activation="relu", name=f"{name}a")(x)
            y = layers.Conv2D(filters, 3, padding="same", name=f"{name}b")(y)
            if stride > 1:
                x = layers.Conv2D(filters, 1, stride, padding="same", name=f"{name}shortcut")(x)
            x = layers.ReLU()(layers.Add()([x, y]))
    return layers.GlobalAveragePooling2D()(x)


def _transformer(network, tokens):
    """An encoder with normalisation after each part (Vaswani et al., 2017), and the mean over positions."""
    length, width, heads = network["input_shape"][0], network["width"], network["heads"]
    positions = ops.cumsum(ops.ones_like(tokens), axis=1) - 1
    x = layers.Add()([layers.Embedding(network["vocabulary"], width, name="tokens")(tokens),
                      layers.Embedding(length, width, name="positions")(positions)])
    for i in range(network["blocks"]):
        y = layers.MultiHeadAttention(heads, width // heads, name=f"attention{i}")(x, x)
        x = layers.LayerNormalization(epsilon=1e-5, name=f"norm{i}a")(layers.Add()([x, y]))
        y = layers.Dense(network["hidden"], activation="relu", name=f"expand{i}")(x)
        y = layers.Dense(width, name=f"contract{i}")(y)
        x = layers.LayerNormalization(epsilon=1e-5, name=f"norm{i}b")(layers.Add()([x, y]))
    return layers.GlobalAveragePooling1D()(x)


def export(case, n, folder):
    """Writes the case with n examples: settings.json, and arrays.npz with x, y, and each weight under its path."""
    keras.utils.set_random_seed(SEED)
    random = np.random.default_rng(SEED)
    weights = {}
    for variable in build(case.network).trainable_variables:
        value = np.asarray(variable)
        if value.ndim == 1:  # initial biases of 0 and scales of 1 would hide mistakes
            value = value + 0.1 * random.standard_normal(value.shape, "float32")
        weights[variable.path] = value
    folder.mkdir(parents=True, exist_ok=True)
    x = inputs(case.network, n, random)
    y = random.integers(case.network["classes"], size=n, dtype="int32")
    np.savez(folder / "arrays.npz", x=x, y=y, **weights)
    (folder / "settings.json").write_text(json.dumps(case.settings(n)), encoding="utf-8")


def inputs(network, n, random):
    """Standard normal images; or token k with probability proportional to 1 / (k + 1), as for words."""
    shape = (n, *network["input_shape"])
    if network["architecture"] != "transformer":
        return random.standard_normal(shape, "float32")
    odds = 1 / np.arange(1, network["vocabulary"] + 1)
    return random.choice(network["vocabulary"], size=shape, p=odds / odds.sum()).astype("int32")


def load(network, weights):
    """The Keras model with the exported weights."""
    model = build(network)
    for variable in model.trainable_variables:
        variable.assign(weights[variable.path])
    return model


if __name__ == "__main__":
    name, n, folder = sys.argv[1:]
    export(next(case for case in CASES if case.name == name), int(n), Path(folder))
