"""What differs between Keras's backends: one file for each, with the same functions."""

import keras

BACKEND = keras.backend.backend()
if BACKEND == "tensorflow":
    from stiffness.engine import tensorflow_backend as backend
elif BACKEND == "jax":
    from stiffness.engine import jax_backend as backend
else:
    raise ImportError(f"Keras's backend is {BACKEND!r}; stiffness needs tensorflow or jax: set KERAS_BACKEND")

__all__ = ["BACKEND", "backend"]
