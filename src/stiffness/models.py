"""The papers' networks."""

import keras


def build(experiment, input_shape, num_classes):
    """The experiment's network, untrained, with logits (n, num_classes) as its output. Initialised by Keras's seed."""
    _, widths = experiment.layers
    return keras.Sequential(
        [keras.Input(input_shape), keras.layers.Flatten()]
        + [keras.layers.Dense(width, activation="relu") for width in widths]
        + [keras.layers.Dense(num_classes)]
    )
