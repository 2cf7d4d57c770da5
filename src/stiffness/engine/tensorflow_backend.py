"""Automatic differentiation and matrix products with TensorFlow, the reference."""

from contextlib import contextmanager

import keras
import tensorflow as tf

WIDE = 1024  # from this length on einsum is faster than matmul, despite its overhead
compiles = True
float64 = True


def check_eager():
    """Raises RuntimeError where TensorFlow is tracing a graph or running one replica of several."""
    if tf.inside_function():
        raise RuntimeError("stiffness cannot be measured inside a tf.function, where there are no values yet; "
                           "call it outside, for example between two training steps or in a callback")
    if tf.distribute.has_strategy():
        raise RuntimeError("stiffness cannot be measured inside the scope or a replica of a tf.distribute "
                           "strategy; call it outside, after the scope")


@contextmanager
def full_precision():
    """Float32 matrix products without TensorFloat-32, which accelerators use by default."""
    found = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(found)


def inner(a, b):
    """(..., n, m): a_i . b_j for (..., n, k) and (..., m, k)."""
    if a.shape[-1] < WIDE:
        return tf.matmul(a, b, transpose_b=True)
    return tf.einsum("...ik,...jk->...ij", a, b)


def outer(a, d):
    """(n, i, o): the sum over t of a_t d_t^T, for (n, t, i) and (n, t, o)."""
    return tf.matmul(a, d, transpose_a=True)


def sum_of(terms):
    return tf.add_n(terms) if len(terms) > 1 else terms[0]


def run_after(first, then):
    """The nest of tensors `then`, which a graph may use only after computing `first`, to limit its memory."""
    if first is None or tf.executing_eagerly():
        return then
    with tf.control_dependencies([first]):
        return keras.tree.map_structure(lambda part: tf.identity(part) if tf.is_tensor(part) else part, then)


def compiled(function, examples, fused=False):
    """The function traced as one graph, for examples of these shapes, a nest of arrays.

    It runs faster than eager operations, so tracing pays off when the shapes recur. The graph holds references to the
    weights, not to the model. fused: by XLA, which merges the elementwise operations between matrix products.
    """
    graph = tf.function(function, autograph=False, jit_compile=fused or None).get_concrete_function(
        *keras.tree.map_structure(lambda part: tf.TensorSpec(part.shape, part.dtype), examples))
    return lambda *examples: graph(*keras.tree.map_structure(tf.convert_to_tensor, examples))


def site():
    """What tensors belong to: one graph, or none. Tensors of a loop's body cannot leave it."""
    return None if tf.executing_eagerly() else id(tf.compat.v1.get_default_graph())


def watched_gradients(forward):
    """(other, [gradient]): of the sum that forward(watch) returns as (sum, other), with respect to watch(k, tensor)."""
    found = []

    def watch(_, tensor):
        tensor = tf.identity(tensor)
        tape.watch(tensor)
        found.append(tensor)
        return tensor

    # the tape watches only these tensors: gradients of the weights would cost the most and are not needed
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        total, other = forward(watch)
    return other, tape.gradient(total, found, unconnected_gradients="zero")


def gradients(function, variables):
    """For a function that returns (total, other): (other, the total's gradients); None for a variable without part."""
    with tf.GradientTape() as tape:
        total, other = function()
    found = tape.gradient(total, [v.value for v in variables])
    return other, [None if gradient is None else tf.convert_to_tensor(gradient) for gradient in found]


def map_examples(function, examples, in_graph=True):
    """function(one example's nest) for each example, stacked: a loop, in a graph or outside.

    Not tf.vectorized_map: with oneDNN, TensorFlow 2.21 corrupts the heap in some of the operations that it makes.
    """
    if not in_graph:
        found = [function(keras.tree.map_structure(lambda part, i=i: part[i], examples))
                 for i in range(keras.tree.flatten(examples)[0].shape[0])]
        return keras.tree.map_structure(lambda *parts: tf.stack(parts), *found)
    one = keras.tree.map_structure(lambda part: tf.TensorSpec(part.shape[1:], part.dtype), examples)
    traced = tf.function(function, autograph=False).get_concrete_function(one)
    kinds = keras.tree.map_structure(lambda part: tf.TensorSpec(part.shape, part.dtype), traced.structured_outputs)

    def loop(examples):
        return tf.map_fn(function, examples, fn_output_signature=kinds)

    return compiled(loop, (examples,))(examples) if tf.executing_eagerly() else loop(examples)


def jacobian(function, variables):
    """[(n, *shape)]: the gradients of each of the values (n,) that the function returns, vectorised."""
    with tf.GradientTape() as tape:
        values = function()
    return tape.jacobian(values, [v.value for v in variables], unconnected_gradients="zero")


def derivatives_along_ones(function, variable):
    """For a function that returns tensors: the derivative of each in the direction of ones of the variable;
    None for one that does not depend on it."""
    with tf.autodiff.ForwardAccumulator(variable.value, tf.ones_like(variable.value)) as accumulator:
        found = function()
    return [accumulator.jvp(part) for part in found]


def loss_gradients(losses_of, outputs):
    """(losses, [(n, *shape)]): the losses at these outputs and each loss's gradient with respect to them."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(outputs)
        losses = losses_of(outputs)
    return losses, tape.gradient(losses, outputs, unconnected_gradients="zero")


def input_jacobians(function, inputs):
    """(outputs, [(n, m, *shape)]): the function's outputs (n, m) and their derivatives with respect to each of the
    inputs, a nest of tensors (n, *shape); None for one without part. Each example's output depends on itself alone."""
    leaves = keras.tree.flatten(inputs)
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(leaves)
        outputs = function(inputs)
        total = tf.reduce_sum(outputs)
    # a jacobian is zeros where an output does not depend on the input, and cannot be told from one that is zero
    return outputs, [None if tape.gradient(total, leaf) is None else tape.batch_jacobian(outputs, leaf)
                     for leaf in leaves]
