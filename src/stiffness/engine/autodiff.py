"""The two backends' automatic differentiation behind one face: TensorFlow is the reference, JAX the alternative.

`forward` is a function of `watch` that runs the model and returns (values, other, taps): the values are (n,), other is
what comes along, and a tap is (key, recorded, output), its output being what `watch` made of the k-th tapped one:
watch(k, output).
"""

from contextlib import contextmanager

import keras

BACKEND = keras.backend.backend()
if BACKEND not in ("tensorflow", "jax"):
    raise ImportError(f"Keras's backend is {BACKEND!r}; stiffness needs tensorflow or jax: set KERAS_BACKEND")


if BACKEND == "tensorflow":
    import tensorflow as tf

    def check_eager():
        """Refuses to measure where TensorFlow records a graph or runs one replica of several."""
        if tf.inside_function():
            raise RuntimeError("stiffness cannot be measured inside a tf.function, which only records operations; call "
                               "it outside, such as between two training steps or in a callback")
        if tf.distribute.has_strategy():
            raise RuntimeError("stiffness cannot be measured inside the scope or a replica of a tf.distribute "
                               "strategy; call it outside, after the strategy's scope")

    WIDE = 1024  # from so many numbers on einsum, which starts later, is faster

    @contextmanager
    def full_precision():
        """Float32 matrix products in float32, also on accelerators that round their factors by default."""
        found = tf.config.experimental.tensor_float_32_execution_enabled()
        tf.config.experimental.enable_tensor_float_32_execution(False)
        try:
            yield
        finally:
            tf.config.experimental.enable_tensor_float_32_execution(found)

    def inner(a, b):
        """(..., n, m): a_i . b_j of (..., n, k) and (..., m, k)."""
        if a.shape[-1] < WIDE:
            return tf.matmul(a, b, transpose_b=True)
        return tf.einsum("...ik,...jk->...ij", a, b)

    def added(terms):
        return tf.add_n(terms) if len(terms) > 1 else terms[0]

    def outer(a, d):
        """(n, i, o): sum over t of a_t d_t^T, of (n, t, i) and (n, t, o)."""
        return tf.matmul(a, d, transpose_a=True)

    def deltas(forward):
        """(other, taps, deltas): deltas[k] is the gradient of the summed values at the k-th tap's output."""
        def watch(_, output):
            tape.watch(output)
            return output

        # the tape follows the tapped outputs alone: the gradients of the weights, which cost the most, are not made
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            values, other, taps = forward(watch)
        outputs = [output for _, _, output in taps]
        return other, taps, tape.gradient(values, outputs, unconnected_gradients="zero")

    def compiled(function, examples):
        """The function of examples like these, a nest of arrays, as one graph: twice as fast as operation by operation,
        and worth being traced for the second time. It keeps the weights alive, not the model."""
        graph = tf.function(function).get_concrete_function(
            *keras.tree.map_structure(lambda part: tf.TensorSpec(part.shape, part.dtype), examples))
        return lambda *examples: graph(*keras.tree.map_structure(tf.convert_to_tensor, examples))

    def after(first, then):
        """The nest of tensors `then`; a graph, which runs many operations at once, uses it not before `first`."""
        if first is None or tf.executing_eagerly():
            return then
        with tf.control_dependencies([first]):
            return keras.tree.map_structure(lambda part: tf.identity(part) if tf.is_tensor(part) else part, then)

    def reads(function):
        """The ids of the variables that function(hidden) reads, but for those it reads within hidden()."""
        with tf.GradientTape() as tape:
            function(tape.stop_recording)
        return {id(variable) for variable in tape.watched_variables()}

    def gradients(function, variables):
        """(values, other, gradients) of a function that returns (values, other): those of the summed values."""
        with tf.GradientTape() as tape:
            values, other = function()
        found = tape.gradient(values, [v.value for v in variables], unconnected_gradients="zero")
        return values, other, [tf.convert_to_tensor(gradient) for gradient in found]

    def per_example(function, variables):
        """(other, [(n, *shape)]) of a function that returns (values, other): the gradient of each value, vectorised."""
        with tf.GradientTape() as tape:
            values, other = function()
        return other, tape.jacobian(values, [v.value for v in variables], unconnected_gradients="zero")

    def slopes(losses_of, outputs):
        """(losses, [(n, *shape)]): the losses of these outputs, and each one's gradient there."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(outputs)
            losses = losses_of(outputs)
        return losses, tape.gradient(losses, outputs, unconnected_gradients="zero")

else:
    import jax

    compiled = None

    def check_eager():
        pass

    def after(first, then):
        return then

    def reads(function):
        return set()  # variables leave no trace

    def full_precision():
        return jax.default_matmul_precision("highest")

    def inner(a, b):
        return a @ jax.numpy.matrix_transpose(b)

    def added(terms):
        return sum(terms[1:], terms[0])

    def outer(a, d):
        return jax.numpy.einsum("nti,nto->nio", a, d)

    def deltas(forward):
        keys = []

        def run(watch):
            with keras.StatelessScope():  # what the model would write, such as the state of a generator, is dropped
                values, other, taps = forward(watch)
            keys[:] = [key for key, _, _ in taps]
            return values, other, [(recorded, output) for _, recorded, output in taps]

        def total(perturb):
            values, other, taps = run(lambda k, output: output + perturb[k])
            return values.sum(), (other, taps)

        outputs = jax.eval_shape(lambda: [output for _, output in run(lambda _, output: output)[-1]])
        zeros = [jax.numpy.zeros(output.shape, output.dtype) for output in outputs]
        found, (other, taps) = jax.grad(total, has_aux=True)(zeros)
        return other, [(key, *tap) for key, tap in zip(keys, taps)], found

    def gradients(function, variables):
        def total(trained):
            with keras.StatelessScope(state_mapping=list(zip(variables, trained))):
                values, other = function()
            return values.sum(), (values, other)

        found, (values, other) = jax.grad(total, has_aux=True)([v.value for v in variables])
        return values, other, found

    def per_example(function, variables):
        def values_of(trained):
            with keras.StatelessScope(state_mapping=list(zip(variables, trained))):
                return function()

        found, other = jax.jacrev(values_of, has_aux=True)([v.value for v in variables])
        return other, found

    def slopes(losses_of, outputs):
        def total(outputs):
            losses = losses_of(outputs)
            return losses.sum(), losses

        found, losses = jax.grad(total, has_aux=True)(outputs)
        return losses, found
