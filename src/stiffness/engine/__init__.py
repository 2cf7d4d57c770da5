"""How the Gram matrix is computed. To be read in this order:

- `definition`: what is computed, in a dozen lines, against which everything else is tested;
- `examples`, `losses`: what a model is measured on, in the forms that `fit` and `compile` take;
- `taps`: one forward and one backward pass that records the calls of layers;
- `rules`, `replay`: from a recorded call to the gradients of a layer's variables, in closed form or by repeating it;
- `features`: the form in which gradients are kept, and their products;
- `gradients`, `check`: which way is taken for which variable, and its comparison with the definition;
- `engine`, `tiles`: the compiled passes, and the matrix tile by tile.

`signature` and `graphs` tell whether a model is as it was checked, and keep what was compiled. `backend` has what
differs between TensorFlow, JAX and PyTorch, `keras_private` every private name of Keras.
"""
