"""What differs between Keras's backends: one file for each, with the same functions."""

import keras

name = keras.backend.backend()
if name == "tensorflow":
    from stiffness.engine import tensorflow_backend as backend
elif name == "jax":
    from stiffness.engine import jax_backend as backend
elif name == "torch":
    from stiffness.engine import torch_backend as backend
else:
    raise ImportError(f"Keras's backend is {name!r}; stiffness needs tensorflow, jax or torch: set KERAS_BACKEND")

__all__ = ["backend"]
