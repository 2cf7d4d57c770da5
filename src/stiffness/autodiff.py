"""The two backends' automatic differentiation behind one face: TensorFlow is the reference, JAX the alternative.

`forward` is a function of `perturb` that runs the model and returns (losses, taps): the losses are (n,), a tap is
(key, recorded, output), and where `perturb` is given, its k-th entry is added to the k-th output.
"""

import keras

BACKEND = keras.backend.backend()
if BACKEND not in ("tensorflow", "jax"):
    raise ImportError(f"Keras's backend is {BACKEND!r}; stiffness needs tensorflow or jax: set KERAS_BACKEND")


if BACKEND == "tensorflow":
    import tensorflow as tf

    def losses_and_deltas(forward):
        """(losses, taps, deltas): deltas[k] is the gradient of the summed loss at the k-th tap's output."""
        with tf.GradientTape() as tape:
            losses, taps = forward(None)
        outputs = [output for _, _, output in taps]
        return losses, taps, tape.gradient(losses, outputs, unconnected_gradients="zero")

    def per_example(losses_of, variables):
        """[(n, *shape)]: the gradient of each loss with respect to each variable, vectorised."""
        with tf.GradientTape() as tape:
            losses = losses_of()
        return tape.jacobian(losses, [v.value for v in variables], unconnected_gradients="zero")

    def one_by_one(losses_of, variables):
        """The same as `per_example`, a backward pass for each loss."""
        with tf.GradientTape(persistent=True) as tape:
            losses = tf.unstack(losses_of())
        rows = [tape.gradient(loss, [v.value for v in variables], unconnected_gradients="zero") for loss in losses]
        return [tf.stack([tf.convert_to_tensor(row[k]) for row in rows]) for k in range(len(variables))]

else:
    import jax

    def losses_and_deltas(forward):
        taps = []

        def outputs_alone():
            taps[:] = forward(None)[1]
            return [output for _, _, output in taps]

        zeros = [jax.numpy.zeros(o.shape, o.dtype) for o in jax.eval_shape(outputs_alone)]

        def total(perturb):
            losses, taps = forward(perturb)
            return losses.sum(), (losses, [recorded for _, recorded, _ in taps])

        deltas, (losses, recorded) = jax.grad(total, has_aux=True)(zeros)
        return losses, [(key, r, d) for (key, _, _), r, d in zip(taps, recorded, deltas)], deltas

    def per_example(losses_of, variables):
        def losses(values):
            with keras.StatelessScope(state_mapping=list(zip(variables, values))):
                return losses_of()

        return jax.jacrev(losses)([v.value for v in variables])

    one_by_one = per_example
