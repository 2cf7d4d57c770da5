"""The papers' networks."""

import random

import keras
from keras import layers


def build(experiment, input_shape, num_classes):
    """The experiment's network, untrained, with logits (n, num_classes) as its output.

    Initialised as by Keras's defaults after `keras.utils.set_random_seed(experiment.seed)`, but from a generator of its
    own: other threads, such as a Dask worker's, draw from the global one. With -he in its name, the network has He's
    normal distribution instead.
    The layers whose outputs are the network's representations are named layer_1, layer_2, ... and logits.
    """
    kind, widths = experiment.layers
    generator, hidden = random.Random(experiment.seed), []
    he = experiment.network.endswith("-he")
    distribution = keras.initializers.HeNormal if he else keras.initializers.GlorotUniform

    def seeded():
        return {"kernel_initializer": distribution(seed=generator.randint(1, 10**9))}

    if kind == "resnet":
        inputs = keras.Input(input_shape)
        pooled = _residual(inputs, widths, seeded)
        return keras.Model(inputs, layers.Dense(num_classes, name="logits", **seeded())(pooled))
    for number, width in enumerate(widths, start=1):
        if kind == "fc":
            hidden.append(layers.Dense(width, activation="relu", name=f"layer_{number}", **seeded()))
        else:  # pooling pads, so that an image of one pixel passes too
            hidden += [layers.Conv2D(width, 3, padding="same", activation="relu", **seeded()),
                       layers.MaxPooling2D(2, padding="same", name=f"layer_{number}")]
    hidden.insert(0 if kind == "fc" else len(hidden), layers.Flatten())
    return keras.Sequential([keras.Input(input_shape), *hidden,
                             layers.Dense(num_classes, name="logits", **seeded())])


def _residual(inputs, widths, seeded):
    """ResNet v1 (He et al. 2015, section 4.2) as in Keras's example, without batch normalisation: a convolution, blocks
    of two convolutions that are added to their input, and the mean over positions. Where the width grows, the block
    takes every second position, and a 1x1 convolution brings its input to the new shape."""
    x = layers.Conv2D(widths[0], 3, padding="same", activation="relu", **seeded())(inputs)
    for number, (before, width) in enumerate(zip((widths[0], *widths), widths), start=1):
        stride = 1 if width == before else 2
        y = layers.Conv2D(width, 3, stride, padding="same", activation="relu", **seeded())(x)
        y = layers.Conv2D(width, 3, padding="same", **seeded())(y)
        if stride > 1:
            x = layers.Conv2D(width, 1, stride, padding="same", **seeded())(x)
        x = layers.ReLU(name=f"layer_{number}")(layers.Add()([x, y]))
    return layers.GlobalAveragePooling2D()(x)


def representations(model):
    """A model of a network from `build` that returns all its representations: {"layer 1": ..., "logits": ...}."""
    named = {layer.name.replace("_", " "): layer.output for layer in model.layers
             if layer.name == "logits" or layer.name.startswith("layer_")}
    return keras.Model(model.inputs, named)
