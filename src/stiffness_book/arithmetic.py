"""Sign stiffness as different arithmetics give it on the same weights; the exact one is `stiffness.gradient_gram`'s.

A network that is sure of its classes has loss gradients that are smaller than single precision can tell from 0.
"""

import keras
import numpy as np
import tensorflow as tf

from stiffness.gram import gradient_gram

CLIP = 1e-7  # the probability that Keras clips at, where a loss is given probabilities


def from_logits(labels, logits):
    """Keras's cross-entropy in single precision; a loss of Keras's own would be measured in double precision."""
    return keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)


def from_clipped_probabilities(labels, logits):
    """The cross-entropy of probabilities that are clipped, in single precision: no gradient passes a clipped one."""
    probabilities = tf.gather(tf.nn.softmax(logits), tf.cast(tf.reshape(labels, (-1,)), tf.int32), batch_dims=1)
    return -tf.math.log(tf.clip_by_value(probabilities, CLIP, 1 - CLIP))


def signs(model, x, y, arithmetic):
    """(n, n) sign stiffness of n examples by one of `table.ARITHMETICS`; a row is a gradient step on one example.

    float32: of the inner products of gradients that are computed in single precision from logits.
    clipped: the same from probabilities clipped at CLIP.
    step_RATE: of minus the change of each loss, in single precision, by a step of that size along one example's
    gradient: equation `sign` before the limit. Not symmetric, and 0 where the change rounds to 0.
    """
    kind, _, rate = arithmetic.partition("_")
    if kind == "step":
        return -np.sign(loss_changes(model, x, y, float(rate)))
    loss = {"float32": from_logits, "clipped": from_clipped_probabilities}[kind]
    return gradient_gram(model, x, y, loss=loss).sign()


def loss_changes(model, x, y, rate):
    """(n, n) the change of each example's loss (column) by a gradient step on each example (row), in single precision.

    The model's weights are put back exactly.
    """
    variables = [variable.value for variable in model.trainable_variables]
    kept = [tf.identity(variable) for variable in variables]
    x, y = tf.constant(x), tf.constant(y)

    @tf.function
    def losses_after(i, rate):
        with tf.GradientTape() as tape:
            loss = from_logits(y[i : i + 1], model(x[i : i + 1], training=False))
        for variable, gradient in zip(variables, tape.gradient(loss, variables)):
            variable.assign_sub(rate * gradient)
        after = from_logits(y, model(x, training=False))
        for variable, value in zip(variables, kept):
            variable.assign(value)
        return after

    before = losses_after(0, 0.0)  # by the same kernels, or rounding would differ where nothing has changed
    return np.stack([(losses_after(i, tf.constant(rate)) - before).numpy() for i in tf.range(len(y))])
