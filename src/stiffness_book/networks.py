"""The papers' networks."""

import random

import keras
from keras import layers


def build(experiment, input_shape, num_classes, activation="relu"):
    """The experiment's network, untrained, with logits (n, num_classes) as its output.

    Initialised as by Keras's defaults after `keras.utils.set_random_seed(experiment.seed)`, but from a generator of its
    own: other threads, such as a Dask worker's, draw from the global one.
    The layers whose outputs are the network's representations are named layer_1, layer_2, ... and logits.
    """
    kind, widths = experiment.layers
    generator, hidden = random.Random(experiment.seed), []

    def seeded():
        return {"kernel_initializer": keras.initializers.GlorotUniform(seed=generator.randint(1, 10**9))}

    for number, width in enumerate(widths, start=1):
        if kind == "fc":
            hidden.append(layers.Dense(width, activation=activation, name=f"layer_{number}", **seeded()))
        else:  # pooling pads, so that an image of one pixel passes too
            hidden += [layers.Conv2D(width, 3, padding="same", activation=activation, **seeded()),
                       layers.MaxPooling2D(2, padding="same", name=f"layer_{number}")]
    hidden.insert(0 if kind == "fc" else len(hidden), layers.Flatten())
    return keras.Sequential([keras.Input(input_shape), *hidden,
                             layers.Dense(num_classes, name="logits", **seeded())])


def representations(model):
    """A model of a network from `build` that returns all its representations: {"layer 1": ..., "logits": ...}."""
    named = {layer.name.replace("_", " "): layer.output for layer in model.layers
             if layer.name == "logits" or layer.name.startswith("layer_")}
    return keras.Model(model.inputs, named)
