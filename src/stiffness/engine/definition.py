"""The plain definition of the Gram matrix. It is slow; all other ways of computing it are tested against it."""

import keras
import numpy as np
import tensorflow as tf


def gradients(model, loss, x, y):
    """(n, P): row i is g_i, the gradient of example i's loss with respect to all P trainable weights."""
    rows = []
    for i in range(len(y)):
        example = keras.tree.map_structure(lambda part, i=i: part[i : i + 1], x)
        with tf.GradientTape() as tape:
            value = loss(y[i : i + 1], model(example, training=False))
        parts = tape.gradient(value, [v.value for v in model.trainable_variables], unconnected_gradients="zero")
        rows.append(np.concatenate([np.ravel(tf.convert_to_tensor(part)) for part in parts]))
    return np.stack(rows)


def products(model, loss, x, y):
    """(n, n): g_i . g_j as in equation `gradient` of the theory page."""
    g = gradients(model, loss, x, y)
    return g @ g.T
