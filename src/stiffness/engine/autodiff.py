"""Automatic differentiation with either backend: TensorFlow, the reference, or JAX.

`forward` is a function of `watch` that runs the model and returns (values, other, taps). The values are (n,), `other`
is passed through, and each tap is (key, recorded, output), where output is watch(k, output) for the k-th tapped layer
call.
"""

from contextlib import contextmanager

import keras

BACKEND = keras.backend.backend()
if BACKEND not in ("tensorflow", "jax"):
    raise ImportError(f"Keras's backend is {BACKEND!r}; stiffness needs tensorflow or jax: set KERAS_BACKEND")


if BACKEND == "tensorflow":
    import tensorflow as tf

    def check_eager():
        """Raises RuntimeError where TensorFlow is tracing a graph or running one replica of several."""
        if tf.inside_function():
            raise RuntimeError("stiffness cannot be measured inside a tf.function, where there are no values yet; "
                               "call it outside, for example between two training steps or in a callback")
        if tf.distribute.has_strategy():
            raise RuntimeError("stiffness cannot be measured inside the scope or a replica of a tf.distribute "
                               "strategy; call it outside, after the scope")

    WIDE = 1024  # from this length on einsum is faster than matmul, despite its overhead

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

    def sum_of(terms):
        return tf.add_n(terms) if len(terms) > 1 else terms[0]

    def outer(a, d):
        """(n, i, o): the sum over t of a_t d_t^T, for (n, t, i) and (n, t, o)."""
        return tf.matmul(a, d, transpose_a=True)

    def output_gradients(forward):
        """(other, taps, gradients): gradients[k] is d(sum of the values) / d(output of the k-th tap)."""
        def watch(_, output):
            tape.watch(output)
            return output

        # the tape watches only the tapped outputs: gradients of the weights would cost the most and are not needed
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            values, other, taps = forward(watch)
        outputs = [output for _, _, output in taps]
        return other, taps, tape.gradient(values, outputs, unconnected_gradients="zero")

    def compiled(function, examples):
        """The function traced as one graph, for examples of these shapes, a nest of arrays.

        It runs faster than eager operations, so tracing pays off when the shapes recur. The graph holds references to
        the weights, not to the model.
        """
        graph = tf.function(function).get_concrete_function(
            *keras.tree.map_structure(lambda part: tf.TensorSpec(part.shape, part.dtype), examples))
        return lambda *examples: graph(*keras.tree.map_structure(tf.convert_to_tensor, examples))

    def run_after(first, then):
        """The nest of tensors `then`, which a graph may use only after computing `first`, to limit its memory."""
        if first is None or tf.executing_eagerly():
            return then
        with tf.control_dependencies([first]):
            return keras.tree.map_structure(lambda part: tf.identity(part) if tf.is_tensor(part) else part, then)

    def variables_read(function):
        """The ids of the variables that function(unrecorded) reads outside of the contexts unrecorded()."""
        with tf.GradientTape() as tape:
            function(tape.stop_recording)
        return {id(variable) for variable in tape.watched_variables()}

    def gradients(function, variables):
        """For a function that returns (values, other): (values, other, gradients of the sum of the values)."""
        with tf.GradientTape() as tape:
            values, other = function()
        found = tape.gradient(values, [v.value for v in variables], unconnected_gradients="zero")
        return values, other, [tf.convert_to_tensor(gradient) for gradient in found]

    def per_example_gradients(function, variables):
        """For a function that returns (values, other): (other, [(n, *shape)]), each value's gradient, vectorised."""
        with tf.GradientTape() as tape:
            values, other = function()
        return other, tape.jacobian(values, [v.value for v in variables], unconnected_gradients="zero")

    def loss_gradients(losses_of, outputs):
        """(losses, [(n, *shape)]): the losses at these outputs and each loss's gradient with respect to them."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(outputs)
            losses = losses_of(outputs)
        return losses, tape.gradient(losses, outputs, unconnected_gradients="zero")

else:
    import jax

    compiled = None

    def check_eager():
        pass

    def run_after(first, then):
        return then

    def variables_read(function):
        return set()  # JAX does not record reads of variables

    def full_precision():
        return jax.default_matmul_precision("highest")

    def inner(a, b):
        return a @ jax.numpy.matrix_transpose(b)

    def sum_of(terms):
        return sum(terms[1:], terms[0])

    def outer(a, d):
        return jax.numpy.einsum("nti,nto->nio", a, d)

    def output_gradients(forward):
        keys = []

        def run(watch):
            with keras.StatelessScope():  # discards what the model writes, such as the state of a random generator
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

    def per_example_gradients(function, variables):
        def values_of(trained):
            with keras.StatelessScope(state_mapping=list(zip(variables, trained))):
                return function()

        found, other = jax.jacrev(values_of, has_aux=True)([v.value for v in variables])
        return other, found

    def loss_gradients(losses_of, outputs):
        def total(outputs):
            losses = losses_of(outputs)
            return losses.sum(), losses

        found, losses = jax.grad(total, has_aux=True)(outputs)
        return losses, found
