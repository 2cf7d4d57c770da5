"""The engine against values by hand, finite differences, its plain twin, and the laws that a Gram matrix obeys."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from stiffness import gradient_gram

CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def classifier(*hidden, inputs=(6,), seed=0, dtype="float32"):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input(inputs, dtype=dtype), *hidden, layers.Dense(3, dtype=dtype)])


def examples(n, shape=(6,), classes=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, *shape)), rng.integers(0, classes, n)


def straight_line(w, b):
    """The two-parameter model f(x) = w x + b."""
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1)])
    model.set_weights([np.array([[w]]), np.array([b])])
    return model


def agree(model, x, y, x2=None, y2=None, loss=CROSS_ENTROPY, methods=("auto", "jacobian"), tolerance=1e-4):
    fast, slow = (gradient_gram(model, x, y, x2, y2, loss=loss, method=m) for m in methods)
    scale = np.sqrt(np.outer(slow.norms**2, slow.norms2**2)) + 1e-30
    assert np.abs((fast.products - slow.products) / scale).max() < tolerance
    np.testing.assert_allclose(fast.norms, slow.norms, rtol=tolerance, atol=1e-12)
    np.testing.assert_allclose(fast.norms2, slow.norms2, rtol=tolerance, atol=1e-12)
    clear = np.abs(slow.products / scale) > 1e-6
    np.testing.assert_array_equal(fast.sign()[clear], slow.sign()[clear])
    return fast


@pytest.mark.parametrize("method", ["closed-form", "jacobian"])
def test_equation_1_by_hand(method):
    # L = (w x + b - y)^2, so g = 2 (w x + b - y) (x, 1); w = 2, b = 1
    # x = 1, y = 0: residual 3, g = (6, 6); x = -2, y = 1: residual -4, g = (16, -8); x = 0, y = 1: residual 0, g = 0
    model = straight_line(2.0, 1.0)
    gram = gradient_gram(model, [[1.0], [-2.0], [0.0]], [[0.0], [1.0], [1.0]], loss="mse", method=method)
    np.testing.assert_allclose(gram.products, [[72, 48, 0], [48, 320, 0], [0, 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(gram.norms, [72**0.5, 320**0.5, 0], rtol=1e-6)
    np.testing.assert_array_equal(gram.sign(), [[1, 1, 0], [1, 1, 0], [0, 0, 0]])
    cosine = 48 / (72 * 320) ** 0.5
    np.testing.assert_allclose(gram.cosine(), [[1, cosine, np.nan], [cosine, 1, np.nan], [np.nan] * 3], rtol=1e-6)


def test_equation_1_of_train_and_validation_by_hand():
    model = straight_line(2.0, 1.0)
    gram = gradient_gram(model, [[1.0]], [[0.0]], [[-2.0], [0.0]], [[1.0], [2.0]], loss="mse")
    np.testing.assert_allclose(gram.products, [[48, -12]], rtol=1e-6)  # the last gradient is (0, -2)
    np.testing.assert_allclose(gram.norms2, [320**0.5, 2], rtol=1e-6)


def test_first_order_change_of_the_loss():
    # a real step of -eps g_1 changes L_2 by -eps g_1 . g_2, up to terms of order eps^2
    model = classifier(layers.Dense(5, "tanh", dtype="float64"), dtype="float64")
    x, y = examples(4)
    gram = gradient_gram(model, x, y, loss=CROSS_ENTROPY)
    weights, eps = model.get_weights(), 1e-6

    def losses():
        return keras.ops.convert_to_numpy(keras.losses.sparse_categorical_crossentropy(y, model(x), from_logits=True))

    before = losses()
    for one in range(len(x)):
        with tf.GradientTape() as tape:
            loss = CROSS_ENTROPY(y[[one]], model(x[[one]]))
        step = tape.gradient(loss, model.trainable_weights)
        model.set_weights([w - eps * keras.ops.convert_to_numpy(g) for w, g in zip(weights, step)])
        np.testing.assert_allclose((losses() - before) / -eps, gram.products[one], rtol=1e-4, atol=1e-5)
        model.set_weights(weights)


@pytest.mark.parametrize("activation", ["linear", "relu", "tanh", "gelu", "softmax", "softplus"])
@pytest.mark.parametrize("bias", [True, False])
def test_closed_form_of_dense(activation, bias):
    model = classifier(layers.Dense(7, activation, use_bias=bias), layers.Dense(5, activation, use_bias=bias))
    agree(model, *examples(9), methods=("closed-form", "jacobian"))
    agree(model, *examples(9), *examples(4, seed=1), methods=("closed-form", "jacobian"))


def test_closed_form_in_double_precision():
    model = classifier(layers.Dense(7, "tanh", dtype="float64"), dtype="float64")
    assert agree(model, *examples(9), methods=("closed-form", "jacobian"), tolerance=1e-9).products.dtype == np.float64


def test_layer_called_twice_has_cross_terms():
    shared, inputs = layers.Dense(6, "tanh"), keras.Input((6,))
    model = keras.Model(inputs, layers.Dense(3)(shared(shared(inputs))))
    agree(model, *examples(8), methods=("closed-form", "jacobian"))


def test_dense_over_a_sequence():
    model = classifier(layers.Dense(4, "relu"), layers.Flatten(), inputs=(5, 2))
    agree(model, *examples(8, (5, 2)), methods=("closed-form", "jacobian"))


@pytest.mark.parametrize("frozen", ["layer", "kernel", "bias"])
def test_frozen_variables_do_not_count(frozen):
    model = classifier(layers.Dense(5, "tanh"), layers.Dense(4, "tanh"))
    {"layer": model.layers[0], "kernel": model.layers[0].kernel, "bias": model.layers[0].bias}[frozen].trainable = False
    thawed = classifier(layers.Dense(5, "tanh"), layers.Dense(4, "tanh"))
    x, y = examples(8)
    part = agree(model, x, y, methods=("closed-form", "jacobian"))
    assert (part.norms < gradient_gram(thawed, x, y, loss=CROSS_ENTROPY).norms).all()


class Tied(keras.layers.Layer):
    """Uses another layer's kernel outside that layer's own call."""

    def __init__(self, dense):
        super().__init__()
        self.dense = dense

    def call(self, inputs):
        return keras.ops.tanh(self.dense(inputs) @ keras.ops.transpose(self.dense.kernel))


class Mixing(keras.layers.Layer):
    """Moves positions into the batch axis, so that the inner layer's rows are no examples."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)

    def call(self, inputs):
        return keras.ops.reshape(self.dense(keras.ops.reshape(inputs, (-1, 2))), (-1, 9))


@pytest.mark.parametrize("layer", [Tied(layers.Dense(4)), Mixing(), layers.PReLU()], ids=lambda layer: layer.name)
def test_without_a_closed_form_the_jacobian_steps_in(layer):
    model = classifier(layers.Dense(6, "relu"), layer)
    agree(model, *examples(7))
    with pytest.raises(ValueError, match="no closed form for"):
        gradient_gram(model, *examples(7), loss=CROSS_ENTROPY, method="closed-form")


@pytest.mark.parametrize("method", ["closed-form", "jacobian"])
def test_tiles_change_nothing(method):
    model, (x, y), (x2, y2) = classifier(layers.Dense(5, "tanh")), examples(23), examples(11, seed=1)
    for columns in ((), (x2, y2)):
        whole = gradient_gram(model, x, y, *columns, loss=CROSS_ENTROPY, method=method)
        tiled = gradient_gram(model, x, y, *columns, loss=CROSS_ENTROPY, method=method, memory_budget=4000)
        np.testing.assert_allclose(tiled.products, whole.products, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(tiled.norms2, whole.norms2, rtol=1e-5)


@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 10))
@settings(max_examples=15, deadline=None)
def test_laws_of_a_gram_matrix(seed, scale):
    model = classifier(layers.Dense(4, "tanh"), seed=seed)
    x, y = examples(8, seed=seed)
    gram = gradient_gram(model, x, y, loss=CROSS_ENTROPY)
    np.testing.assert_array_equal(gram.products, gram.products.T)
    assert np.linalg.eigvalsh(gram.products).min() > -1e-4 * np.trace(gram.products)
    np.testing.assert_allclose(np.diag(gram.cosine()), 1, rtol=1e-6)
    assert set(np.unique(gram.sign())) <= {-1, 0, 1}

    order = np.random.default_rng(seed).permutation(len(x))
    permuted = gradient_gram(model, x[order], y[order], loss=CROSS_ENTROPY)
    np.testing.assert_allclose(permuted.products, gram.products[np.ix_(order, order)], rtol=1e-3, atol=1e-6)

    scaled = gradient_gram(model, x, y, loss=lambda t, p: scale * CROSS_ENTROPY.call(t, p))
    np.testing.assert_allclose(scaled.products, scale**2 * gram.products, rtol=1e-3, atol=1e-6 * scale**2)
    np.testing.assert_allclose(scaled.cosine(), gram.cosine(), atol=1e-4)


def test_zero_gradient_has_sign_0_and_no_cosine():
    model = classifier(layers.Dense(4, "tanh"))
    x, y = examples(5)
    weight = np.array([1, 1, 0, 1, 1], "float32")
    gram = gradient_gram(model, x, y, loss=lambda t, p: weight[: len(t)] * CROSS_ENTROPY.call(t, p))
    assert gram.norms[2] == 0 and (gram.sign()[2] == 0).all() and np.isnan(gram.cosine()[2]).all()


def test_the_reduction_of_the_loss_does_not_matter():
    model, (x, y) = classifier(), examples(6)
    grams = [gradient_gram(model, x, y, loss=keras.losses.SparseCategoricalCrossentropy(True, reduction=reduction))
             for reduction in ("sum", "none", "sum_over_batch_size")]
    np.testing.assert_array_equal(grams[0].products, grams[1].products)
    np.testing.assert_array_equal(grams[0].products, grams[2].products)


def test_the_compiled_loss_is_the_default():
    model, (x, y) = classifier(), examples(6)
    model.compile(loss=CROSS_ENTROPY)
    np.testing.assert_array_equal(gradient_gram(model, x, y).products,
                                  gradient_gram(model, x, y, loss=CROSS_ENTROPY).products)


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was_found(fails):
    model, (x, y) = classifier(layers.Dense(5, "relu")), examples(6)
    model.compile("adam", CROSS_ENTROPY)
    model.fit(x, y, verbose=0, batch_size=3)

    def state():
        return ([w.tolist() for w in model.get_weights()], [v.numpy().tolist() for v in model.optimizer.variables],
                [(sorted(vars(layer)), layer.activation, layer.trainable) for layer in model.layers],
                model.train_function)

    before, predicted = state(), model.predict(x, verbose=0)
    if fails:
        with pytest.raises(ZeroDivisionError):
            gradient_gram(model, x, y, loss=lambda t, p: 1 / 0)
    else:
        gradient_gram(model, x, y)
    assert state() == before
    np.testing.assert_array_equal(model.predict(x, verbose=0), predicted)


@pytest.mark.parametrize("change, match", [
    (dict(x=np.zeros((0, 6)), y=np.zeros(0, int)), "x is empty"),
    (dict(y=np.zeros(5, int)), "x has 6 examples and y has 5"),
    (dict(method="fast"), "method is 'fast'; expected one of auto"),
    (dict(loss=None), "not compiled with a loss"),
    (dict(x2=np.zeros((2, 6))), "x2 is given alone"),
    (dict(memory_budget=10), r"memory_budget is 10 bytes; one tile needs at least \d+"),
    (dict(loss=lambda t, p: keras.ops.mean(p)), "one value an example"),
    (dict(x=np.array([[1.0] * 6] * 3 + [[np.nan] * 6] + [[1.0] * 6] * 2)), "the loss of example 3 is nan"),
])
def test_errors_name_the_offender(change, match):
    x, y = examples(6)
    arguments = {"x": x, "y": y, "loss": CROSS_ENTROPY} | change
    with pytest.raises(ValueError, match=match):
        gradient_gram(classifier(), **arguments)


def test_a_model_that_is_not_built_or_all_frozen_is_named():
    x, y = examples(6)
    with pytest.raises(ValueError, match="not built"):
        gradient_gram(keras.Sequential([layers.Dense(3)]), x, y, loss=CROSS_ENTROPY)
    model = classifier()
    model.trainable = False
    with pytest.raises(ValueError, match="no trainable variables"):
        gradient_gram(model, x, y, loss=CROSS_ENTROPY)
