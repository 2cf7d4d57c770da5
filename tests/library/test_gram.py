"""The engine against values computed by hand, the plain definition, and properties that every Gram matrix has."""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from stiffness import class_stiffness, gradient_gram
from stiffness.engine import definition, taps
from stiffness.engine.check import Check
from stiffness.engine.engine import _CHECKED
from stiffness.gram import cosine_class_stiffness
from tests.library.marks import slow

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


@pytest.mark.equation("gradient")
@pytest.mark.equation("sign")
@pytest.mark.equation("cosine")
@pytest.mark.parametrize("method", ["closed-form", "jacobian"])
def test_products_signs_and_cosines_by_hand(method):
    # L = (w x + b - y)^2, so g = 2 (w x + b - y) (x, 1); w = 2, b = 1
    # x = 1, y = 0: residual 3, g = (6, 6); x = -2, y = 1: residual -4, g = (16, -8); x = 0, y = 1: residual 0, g = 0
    model = straight_line(2.0, 1.0)
    gram = gradient_gram(model, [[1.0], [-2.0], [0.0]], [[0.0], [1.0], [1.0]], loss="mse", method=method)
    np.testing.assert_allclose(gram.products, [[72, 48, 0], [48, 320, 0], [0, 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(gram.norms, [72**0.5, 320**0.5, 0], rtol=1e-6)
    np.testing.assert_array_equal(gram.sign(), [[1, 1, 0], [1, 1, 0], [0, 0, 0]])
    cosine = 48 / (72 * 320) ** 0.5
    np.testing.assert_allclose(gram.cosine(), [[1, cosine, np.nan], [cosine, 1, np.nan], [np.nan] * 3], rtol=1e-6)


@pytest.mark.equation("gradient")
def test_the_plain_definition_by_hand():
    found = definition.products(straight_line(2.0, 1.0), keras.losses.MeanSquaredError(),
                                np.array([[1.0], [-2.0], [0.0]]), np.array([[0.0], [1.0], [1.0]]))
    np.testing.assert_allclose(found, [[72, 48, 0], [48, 320, 0], [0, 0, 0]], rtol=1e-6)


def test_a_gram_tells_its_size_and_how_it_was_made():
    x, y = examples(5)
    assert repr(gradient_gram(classifier(), x, y, loss=CROSS_ENTROPY)) == "Gram(5 x 5, closed form; symmetric)"
    assert repr(gradient_gram(classifier(), x, y, x[:2], y[:2], loss=CROSS_ENTROPY,
                              method="jacobian")) == "Gram(5 x 2, the jacobian of the model's call)"
    assert repr(gradient_gram(classifier(layers.PReLU()), x, y, loss=CROSS_ENTROPY)) == (
        "Gram(5 x 5, closed form, elementwise weights, all examples at once; symmetric)")


@pytest.mark.equation("gradient")
def test_products_of_two_sets_by_hand():
    model = straight_line(2.0, 1.0)
    gram = gradient_gram(model, [[1.0]], [[0.0]], [[-2.0], [0.0]], [[1.0], [2.0]], loss="mse")
    np.testing.assert_allclose(gram.products, [[48, -12]], rtol=1e-6)  # the last gradient is (0, -2)
    np.testing.assert_allclose(gram.norms2, [320**0.5, 2], rtol=1e-6)


@pytest.mark.equation("gradient")
def test_first_order_change_of_the_loss():
    # a real step of -eps g_1 changes L_2 by -eps g_1 . g_2, up to terms of order eps^2
    model = classifier(layers.Dense(5, "tanh", dtype="float64"), dtype="float64")
    x, y = examples(4)
    gram = gradient_gram(model, x, y, loss=CROSS_ENTROPY)
    weights, eps = model.get_weights(), 1e-6

    def losses():
        return keras.ops.convert_to_numpy(keras.losses.sparse_categorical_crossentropy(y, model(x), from_logits=True))

    before = losses()
    ends = np.cumsum([w.size for w in weights])[:-1]
    for one, gradient in enumerate(definition.gradients(model, CROSS_ENTROPY, x, y)):
        model.set_weights([w - eps * g.reshape(w.shape) for w, g in zip(weights, np.split(gradient, ends))])
        np.testing.assert_allclose((losses() - before) / -eps, gram.products[one], rtol=1e-4, atol=1e-5)
        model.set_weights(weights)


@pytest.mark.parametrize("activation", ["relu", "softmax", *slow("linear", "tanh", "gelu", "softplus")])
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
    """Moves positions into the batch axis, so that the rows of the inner layer are not examples."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)

    def call(self, inputs):
        return keras.ops.reshape(self.dense(keras.ops.reshape(inputs, (-1, 2))), (-1, 9))


def test_rows_that_are_parts_of_an_example_have_a_closed_form():
    agree(classifier(layers.Dense(6, "relu"), Mixing()), *examples(7), methods=("closed-form", "jacobian"))


@pytest.mark.parametrize("layer", [Tied(layers.Dense(4)), layers.PReLU()], ids=lambda layer: layer.name)
def test_the_jacobian_replaces_a_missing_closed_form(layer):
    model = classifier(layers.Dense(6, "relu"), layer)
    agree(model, *examples(7))
    with pytest.raises(ValueError, match="no closed form for"):
        gradient_gram(model, *examples(7), loss=CROSS_ENTROPY, method="closed-form")


@pytest.mark.parametrize("method, budget", [("closed-form", 4000), ("jacobian", 20_000), *slow(("jacobian", 4000))])
def test_tiles_change_nothing(method, budget):
    model, (x, y), (x2, y2) = classifier(layers.Dense(5, "tanh")), examples(23), examples(11, seed=1)
    for columns in ((), (x2, y2)):
        whole = gradient_gram(model, x, y, *columns, loss=CROSS_ENTROPY, method=method)
        tiled = gradient_gram(model, x, y, *columns, loss=CROSS_ENTROPY, method=method, memory_budget=budget)
        np.testing.assert_allclose(tiled.products, whole.products, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(tiled.norms2, whole.norms2, rtol=1e-5)


def test_compiled_tiles_have_the_right_shares_and_layers():
    model, (x, y), (x2, y2) = classifier(layers.Dense(5, "tanh")), examples(23), examples(11, seed=1)
    for columns in ((), (x2, y2)):
        plain = gradient_gram(model, x, y, *columns, loss=CROSS_ENTROPY, method="jacobian", per_layer=True)
        tiled = gradient_gram(model, x, y, *columns, loss=CROSS_ENTROPY, memory_budget=4000, per_layer=True)
        assert sum(callable(graph) for graph in _CHECKED[model][0].graphs.kept.values())
        assert list(tiled.layers) == list(plain.layers) and tiled.shares == pytest.approx(plain.shares, rel=1e-4)
        for label, matrix in plain.layers.items():
            np.testing.assert_allclose(tiled.layers[label], matrix, rtol=1e-4, atol=1e-6)


@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 10))
@settings(max_examples=15, deadline=None)
def test_properties_of_a_gram_matrix(seed, scale):
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


@pytest.mark.equation("sign")
@pytest.mark.equation("cosine")
def test_zero_gradient_has_sign_0_and_no_cosine():
    model, (x, _), y = classifier(layers.Dense(4, "tanh")), examples(5), np.array([1, 0, 2, 1, 0])
    gram = gradient_gram(model, x, y, loss=lambda t, p: keras.ops.cast(t != 2, "float32") * CROSS_ENTROPY.call(t, p))
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
def test_the_model_is_left_unchanged(fails):
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
    (dict(x=np.array([[1.0] * 6] * 3 + [[np.nan] * 6] + [[1.0] * 6] * 2)), "the loss of example 3 of x is nan"),
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


# --- the model is left unchanged ------------------------------------------------------------------------------------


class Interrupting(keras.layers.Layer):
    """Raises an error in its call on demand, after the layers before it have been called."""

    error = None

    def call(self, inputs):
        if self.error is not None:
            raise self.error
        return inputs


class Counting(keras.layers.Layer):
    """Writes to a variable in every call, in inference mode too."""

    def build(self, shape):
        self.calls = self.add_weight(shape=(), trainable=False, name="calls")

    def call(self, inputs):
        self.calls.assign_add(1)
        return inputs


def fitted():
    """(model, the layer that raises on demand), with every kind of state."""
    stop, dense = Interrupting(), layers.Dense(8, "relu")
    norm = layers.BatchNormalization()
    model = classifier(dense, Counting(), norm, layers.Dropout(0.5), layers.GaussianNoise(0.1),
                       layers.Reshape((4, 2)), layers.Conv1D(3, 2, activation="tanh"),
                       layers.SeparableConv1D(3, 2, activation="tanh"), stop, layers.LayerNormalization(),
                       layers.Flatten())
    model.layers[6].trainable = False
    model.compile("adam", CROSS_ENTROPY)
    model.fit(*examples(6), verbose=0, batch_size=3)
    return model, stop


def everything(model):
    own = [layer for layer in model._flatten_layers()]
    return ([v.numpy().tolist() for v in model.variables + model.optimizer.variables],
            [v.trainable for v in model.variables], [layer.trainable for layer in own],
            [{name: id(value) for name, value in vars(layer).items()} for layer in own if layer is not model],
            [getattr(layer, "activation", None) for layer in own], model.train_function, model.predict_function)


@pytest.mark.parametrize("where", ["nowhere", "loss", "layer"])
@pytest.mark.parametrize("error, method", [
    (ZeroDivisionError("stop"), "auto"), (KeyboardInterrupt("stop"), "jacobian"),
    *slow((KeyboardInterrupt("stop"), "auto"), (ZeroDivisionError("stop"), "jacobian")),
], ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else value)
def test_all_state_is_left_unchanged(where, error, method):
    model, stop = fitted()
    model.layers[0].call = model.layers[0].call  # an instance attribute, as wrappers set it
    x, y = examples(6)
    before, predicted = everything(model), model.predict_function

    def loss(t, p):
        if where == "loss" and len(t) > 2:  # after the checks on a few examples
            raise error
        return CROSS_ENTROPY.call(t, p)

    if where == "layer":
        stop.error = error
        before = everything(model)
    if where == "nowhere":
        gradient_gram(model, x, y, loss=loss, method=method)
    else:
        with pytest.raises(type(error), match="stop"):
            gradient_gram(model, x, y, loss=loss, method=method)
    assert everything(model) == before
    assert model.predict_function is predicted


# --- what is refused ------------------------------------------------------------------------------------------------


class InTraining(keras.layers.Layer):
    """Calls a layer in training mode, whatever the model is told."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def call(self, inputs):
        return self.inner(inputs, training=True)


@pytest.mark.parametrize("method", ["auto", "closed-form", "jacobian"])
@pytest.mark.parametrize("layer, match", [
    (lambda: InTraining(layers.BatchNormalization()), "BatchNormalization or Dropout called with training=True"),
    (lambda: InTraining(layers.Dropout(0.5)), "BatchNormalization or Dropout called with training=True"),
])
def test_models_without_a_per_example_loss_are_refused(layer, match, method):
    model = classifier(layers.Dense(8, "tanh"), layer())
    before = [v.numpy().tolist() for v in model.variables]
    with pytest.raises(ValueError, match=match):
        gradient_gram(model, *examples(6), loss=CROSS_ENTROPY, method=method)
    assert [v.numpy().tolist() for v in model.variables] == before


def test_a_loss_that_mixes_examples_is_refused():
    def centred(t, p):
        values = CROSS_ENTROPY.call(t, p)
        return values - keras.ops.mean(values)

    with pytest.raises(ValueError, match="no per-example loss; look for a mean or a normalisation"):
        gradient_gram(classifier(), *examples(6), loss=centred)


def test_weight_regularisation_is_not_in_the_loss_of_an_example():
    plain, regularised = (classifier(layers.Dense(4, kernel_regularizer=r)) for r in (None, "l2"))
    x, y = examples(6)
    np.testing.assert_array_equal(*(gradient_gram(m, x, y, loss=CROSS_ENTROPY).products for m in (plain, regularised)))


@pytest.mark.parametrize("change, error, match", [
    (dict(y=np.array([0, 1, 2, 3, 1, 0])), ValueError,
     "the label of example 3 of y is 3, out of range for the model's 3 classes: expected 0 to 2"),
    (dict(y=np.array([0, -1, 2, 0, 1, 0])), ValueError, "the label of example 1 of y is -1"),
    (dict(x2=np.ones((2, 6)), y2=np.array([0, 7])), ValueError, "the label of example 1 of y2 is 7"),
    (dict(y=np.eye(3)[[0, 1, 2, 0, 1, 2]]), ValueError, r"y has shape \(6, 3\), one-hot .* pass y.argmax"),
    (dict(loss="categorical_crossentropy"), ValueError, r"needs one-hot rows of 3; pass keras.utils.to_categorical"),
    (dict(loss=keras.losses.CategoricalCrossentropy()), ValueError, "needs one-hot rows of 3"),
    (dict(y=np.eye(3)[[0, 1, 2, 0, 1, 2]] * 2, loss=keras.losses.BinaryCrossentropy(from_logits=True)), ValueError,
     "the label of example 0 of y is 2.0, out of range for binary_crossentropy: expected 0 to 1"),
    (dict(x2=np.ones((2, 6)), y2=np.array([0])), ValueError, "x2 has 2 examples and y2 has 1"),
    (dict(memory_budget="much"), ValueError, "memory_budget is 'much'; expected a number of bytes or text such as"),
    (dict(memory_budget=None), TypeError, "memory_budget is of type NoneType"),
    (dict(loss=3), TypeError, "loss is of type int; expected a Keras loss"),
    (dict(y=None), ValueError, "y is missing; only a data set"),
    (dict(x=tf.data.Dataset.from_tensor_slices((np.ones((6, 6)), np.zeros(6, int), np.ones(6))).batch(2), y=None),
     ValueError, "sample weights have no part in the measure"),
    (dict(x=tf.data.Dataset.from_tensor_slices(np.ones((6, 6))).batch(2), y=None), ValueError, "whose elements are no"),
    (dict(x=tf.data.Dataset.from_tensor_slices((np.ones((0, 6)), np.zeros(0, int))).batch(2), y=None), ValueError,
     "x is empty"),
    (dict(x=tf.data.Dataset.from_tensor_slices((np.ones((6, 6)), np.zeros(6, int))).batch(2)), ValueError,
     "x is a data set, which brings its labels; leave y out"),
])
def test_arguments_that_do_not_fit_are_named(change, error, match):
    x, y = examples(6)
    with pytest.raises(error, match=match):
        gradient_gram(classifier(), **{"x": x, "y": y, "loss": CROSS_ENTROPY} | change)


@pytest.mark.parametrize("bad, method", [
    (0, "auto"), (250, "auto"), (1, "jacobian"), *slow((1, "auto"), (0, "jacobian"), (250, "jacobian"))])
def test_the_first_loss_that_is_not_finite_is_named(bad, method):
    x, y = examples(300, (6,))
    x[bad], x[290] = np.inf, np.nan
    for arguments, name in (((x, y), "x"), ((np.zeros((2, 6)), y[:2], x, y), "x2")):
        with pytest.raises(ValueError, match=f"the loss of example {bad} of {name} is (nan|inf|-inf)"):
            gradient_gram(classifier(layers.Dense(4, "tanh")), *arguments, loss=CROSS_ENTROPY, method=method,
                          memory_budget=50_000)


DENSE = lambda: classifier(layers.Dense(5, "tanh")), (6,)
IMAGE = lambda: classifier(layers.Conv2D(4, 3, activation="relu"), layers.Flatten(), inputs=(6, 6, 2)), (6, 6, 2)
RECURRENT = lambda: classifier(layers.LSTM(4), inputs=(5, 3)), (5, 3)


@pytest.mark.parametrize("model, shape, method", [
    (*DENSE, "auto"), (*DENSE, "jacobian"), (*IMAGE, "auto"),
    *slow((*IMAGE, "jacobian"), (*RECURRENT, "auto"), (*RECURRENT, "jacobian"))])
def test_the_minimum_budget_in_the_error_suffices(model, shape, method):
    model, (x, y) = model(), examples(4, shape)
    with pytest.raises(ValueError, match="memory_budget is 100 bytes; one tile needs at least") as told:
        gradient_gram(model, x, y, loss=CROSS_ENTROPY, method=method, memory_budget=100)
    least = int(str(told.value).split()[-1])
    with pytest.raises(ValueError, match="memory_budget"):
        gradient_gram(model, x, y, loss=CROSS_ENTROPY, method=method, memory_budget=least - 1)
    tiled = gradient_gram(model, x, y, loss=CROSS_ENTROPY, method=method, memory_budget=least).products
    np.testing.assert_allclose(tiled, gradient_gram(model, x, y, loss=CROSS_ENTROPY, method=method).products,
                               rtol=1e-4, atol=1e-6)


def test_a_layer_without_gradient_on_the_first_examples_is_checked_on_others():
    class Gated(keras.Model):
        """Uses its kernel outside the layer's call too, but only where the input is positive."""

        def __init__(self):
            super().__init__()
            self.dense, self.head = layers.Dense(6), layers.Dense(3)

        def call(self, x):
            return self.head(keras.ops.relu(x[:, :1]) * (self.dense(x) + x @ self.dense.kernel))

    x, y = examples(8)
    x[:2, 0] = -1
    x[2:, 0] = 1
    model = Gated()
    model(x)
    agree(model, x, y)
    with pytest.raises(ValueError, match="no closed form for"):
        gradient_gram(model, x, y, loss=CROSS_ENTROPY, method="closed-form")


# --- the layers' shares ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method, columns, budget", [
    ("auto", False, 20_000), ("auto", True, 20_000), ("jacobian", False, 2**30),
    *slow(("auto", False, 2**30), ("auto", True, 2**30), ("jacobian", False, 20_000), ("jacobian", True, 2**30),
          ("jacobian", True, 20_000))])
def test_the_layers_add_up(method, columns, budget):
    model = classifier(layers.Dense(5, "tanh"), layers.PReLU(), layers.Dense(4, "tanh"))
    (x, y), other = examples(13), examples(7, seed=1) if columns else ()
    gram = gradient_gram(model, x, y, *other, loss=CROSS_ENTROPY, method=method, per_layer=True, memory_budget=budget)
    assert set(gram.shares) == set(gram.layers) and len(gram.shares) == 4
    assert sum(gram.shares.values()) == pytest.approx(1) and min(gram.shares.values()) > 0
    np.testing.assert_allclose(sum(gram.layers.values()), gram.products, rtol=1e-4, atol=1e-6)
    if not columns:
        for label, matrix in gram.layers.items():
            assert np.trace(matrix) / np.trace(gram.products) == pytest.approx(gram.shares[label], rel=1e-4)


def test_freezing_the_head_removes_its_part():
    model = classifier(layers.Dense(5, "tanh"))
    x, y = examples(9)
    gram = gradient_gram(model, x, y, loss=CROSS_ENTROPY, per_layer=True)
    head = next(label for label in gram.layers if label.endswith(model.layers[-1].name))
    model.layers[-1].trainable = False
    without = gradient_gram(model, x, y, loss=CROSS_ENTROPY).products
    np.testing.assert_allclose(gram.products - gram.layers[head], without, rtol=1e-4, atol=1e-6)


def test_layers_are_kept_only_on_request():
    assert gradient_gram(classifier(), *examples(5), loss=CROSS_ENTROPY).layers == {}


# --- class matrices of cosines in linear time -----------------------------------------------------------------------


@pytest.mark.equation("class-stiffness")
@pytest.mark.parametrize("model, shape", [
    (lambda: classifier(layers.Dense(5, "tanh")), (6,)),
    (lambda: classifier(layers.Conv2D(4, 3, activation="tanh"), layers.BatchNormalization(), layers.Flatten(),
                        inputs=(6, 6, 2)), (6, 6, 2)),
    (lambda: classifier(layers.Dense(4, "tanh"), layers.PReLU()), (6,)),
    (lambda: classifier(layers.Embedding(5, 4), layers.Dense(4, "relu"), layers.Flatten(), inputs=(3,)), (3,)),
    *slow((lambda: classifier(layers.Dense(4, "tanh"), layers.LSTM(4), inputs=(3, 2)), (3, 2)),
          (lambda: classifier(layers.Dense(4, "tanh"), layers.Flatten(), inputs=(2, 9)), (2, 9))),
])
@pytest.mark.parametrize("budget", [2**30, 60_000])
def test_class_stiffness_of_cosines_in_linear_time(model, shape, budget):
    model, (x, y), (x2, y2) = model(), examples(40, shape), examples(17, shape, seed=1)
    if any(isinstance(layer, layers.Embedding) for layer in model.layers):
        x, x2 = (np.abs(part * 3).astype(int) % 5 for part in (x, x2))
    labels = np.arange(40) % 4
    labels[-1] = 6  # a class with one example, and two classes without any
    for columns, others in (((), ()), ((x2, y2), (y2,))):
        gram = gradient_gram(model, x, y, *columns, loss=CROSS_ENTROPY)
        expected = class_stiffness(gram.cosine(), labels, *others, num_classes=8)
        found = cosine_class_stiffness(model, x, y, labels, *columns, *others, loss=CROSS_ENTROPY, num_classes=8,
                                       memory_budget=budget)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.isnan(expected[5]).all()
    np.testing.assert_allclose(cosine_class_stiffness(model, x, y, loss=CROSS_ENTROPY),
                               class_stiffness(gradient_gram(model, x, y, loss=CROSS_ENTROPY).cosine(), y), atol=1e-5)


def test_zero_gradients_are_not_counted_in_class_stiffness():
    model, (x, y) = straight_line(2.0, 1.0), (np.arange(6.0)[:, None], np.zeros((6, 1)))
    y[2] = 2 * x[2] + 1  # no residual
    labels = np.arange(6) % 2
    gram = gradient_gram(model, x, y, loss="mse")
    assert gram.norms[2] == 0
    np.testing.assert_allclose(cosine_class_stiffness(model, x, y, labels, loss="mse"),
                               class_stiffness(gram.cosine(), labels), atol=1e-6)


@pytest.mark.parametrize("change, match", [
    (dict(labels=np.zeros(5, int)), "labels has 5 entries for 6 examples"),
    (dict(labels2=np.zeros(6, int)), "labels2 is given without x2"),
    (dict(num_classes=2), "label 2 is out of range for num_classes 2"),
    (dict(memory_budget=100), "memory_budget is 100 bytes; one tile needs at least"),
    (dict(num_classes=10**4, memory_budget=10**5), "memory_budget is 100000 bytes; one tile needs at least 84"),
])
def test_errors_of_cosine_class_stiffness(change, match):
    x, y = examples(6)
    with pytest.raises(ValueError, match=match):
        cosine_class_stiffness(classifier(), x, y, **{"labels": np.arange(6) % 3, "loss": CROSS_ENTROPY} | change)


def test_a_repeated_measurement_is_compiled_and_equal():
    model = classifier(layers.Dense(5, "tanh"), layers.LayerNormalization())
    x, y = examples(7)
    first, second, third = (gradient_gram(model, x, y, loss=CROSS_ENTROPY).products for _ in range(3))
    graphs = _CHECKED[model][0].graphs.kept
    assert [kind[0] for (kind, *_), graph in graphs.items() if isinstance(graph, tuple)] == ["all"]
    np.testing.assert_allclose(second, first, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(third, second)
    model.set_weights([w + 0.1 for w in model.get_weights()])  # a graph reads the current weights
    fourth = gradient_gram(model, x, y, loss=CROSS_ENTROPY).products
    assert _CHECKED[model][0].graphs.kept is graphs
    slow = gradient_gram(model, x, y, loss=CROSS_ENTROPY, method="jacobian").products
    np.testing.assert_allclose(fourth, slow, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("scale, checks", [(1e-6, 1), (0, 2)])
def test_a_layer_whose_small_gradient_agrees_is_checked_once(scale, checks, monkeypatch):
    inputs = keras.Input((6,))
    faint = layers.Rescaling(scale)(layers.Dense(3)(inputs))
    model = keras.Model(inputs, layers.Add()([faint, layers.Dense(3)(inputs)]))
    x, y = examples(6)
    found, check = [], Check.__init__
    monkeypatch.setattr(Check, "__init__", lambda self, *args: check(self, *args) or found.append(self.conclusive))
    for _ in range(2):
        gradient_gram(model, x, y, loss=CROSS_ENTROPY, method="closed-form")
    assert found == [scale > 0] * checks


OUTSIDE = {"scale": 1.0}


class ReadsPython(keras.Model):
    """Its output depends on values that its Python code reads, from itself and from elsewhere."""

    def __init__(self):
        super().__init__()
        self.dense, self.power = layers.Dense(3), 1

    def call(self, x):
        return self.dense(x**self.power * OUTSIDE["scale"])


def test_values_read_by_a_models_code_may_change_between_measurements():
    model = ReadsPython()
    x, y = examples(6)
    model(x)

    def copy_of(model):  # measuring by another method would discard the graphs
        other = ReadsPython()
        other.power = model.power
        other(x)
        other.set_weights(model.get_weights())
        return other

    for power, outside in ((1, 1.0), (2, 1.0), (2, 3.0), (1, 3.0)):
        model.power, OUTSIDE["scale"] = power, outside
        found = [gradient_gram(model, x, y, loss=CROSS_ENTROPY).products for _ in range(3)]  # the last one compiled
        slow = gradient_gram(copy_of(model), x, y, loss=CROSS_ENTROPY, method="jacobian").products
        for fast in found:
            np.testing.assert_allclose(fast, slow, rtol=1e-4, atol=1e-6)


def test_attributes_may_change_between_measurements():
    model = classifier(layers.Dense(5), layers.LeakyReLU(0.1))
    x, y = examples(6)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=7)
    y[0] = 0
    for slope, ignored in ((0.1, 7), (0.9, 7), (0.9, 0)):
        model.layers[1].negative_slope, loss.ignore_class = slope, ignored
        loss._fn_kwargs["ignore_class"] = ignored
        found = [gradient_gram(model, x, y, loss=loss).products for _ in range(3)]  # the last one compiled
        slow = gradient_gram(keras.models.clone_model(model, clone_function=lambda layer: layer), x, y, loss=loss,
                             method="jacobian").products
        for fast in found:
            np.testing.assert_allclose(fast, slow, rtol=1e-4, atol=1e-6)


def test_freezing_a_layer_between_measurements():
    model = classifier(layers.Dense(5, "tanh"), layers.Dense(4, "tanh"))
    x, y = examples(6)
    for _ in range(3):
        whole = gradient_gram(model, x, y, loss=CROSS_ENTROPY)
    model.layers[0].trainable = False
    assert gradient_gram(model, x, y, loss=CROSS_ENTROPY).norms[0] < whole.norms[0]
    agree(model, x, y)


def test_measuring_keeps_no_model_alive():
    model = classifier(layers.Dense(5, "tanh"))
    for _ in range(3):
        gradient_gram(model, *examples(4), loss=CROSS_ENTROPY)
    gone = weakref.ref(model)
    del model
    keras.backend.clear_session()
    gc.collect()
    assert gone() is None


def confident(dtype, factor, activation=None):
    """A network whose logits are scaled by a factor, so that 1 - p at the label is far below single precision."""
    model = classifier(layers.Dense(20, "relu", dtype=dtype), layers.Dense(20, "tanh", dtype=dtype), dtype=dtype)
    model.layers[-1].activation = keras.activations.get(activation)
    model.layers[-1].kernel.assign(model.layers[-1].kernel * factor)
    return model


def plain_cross_entropy(y, logits):
    """log(1 + sum over k != y of exp(z_k - z_y)), in which no nearly equal numbers are subtracted."""
    at_label = keras.ops.one_hot(y, logits.shape[1], dtype=logits.dtype)
    behind = logits - keras.ops.sum(logits * at_label, axis=1, keepdims=True)
    return keras.ops.log1p(keras.ops.sum(keras.ops.exp(behind) * (1 - at_label), axis=1))


@pytest.mark.parametrize("factor", [400, *slow(1, 50)])
@pytest.mark.parametrize("activation, loss", [
    (None, CROSS_ENTROPY), ("softmax", "categorical_crossentropy"),
    *slow((None, keras.losses.CategoricalCrossentropy(from_logits=True)),
          ("softmax", "sparse_categorical_crossentropy")),
])
def test_signs_of_a_confident_network(factor, activation, loss):
    x, _ = examples(40)
    exact, single = confident("float64", factor), confident("float32", factor, activation)
    exact.set_weights(single.get_weights())
    y = np.argmax(exact(x), axis=1)
    slow = definition.gradients(exact, plain_cross_entropy, x, y)
    norms = np.abs(slow).max(axis=1)
    norms *= np.linalg.norm(slow / norms[:, None], axis=1)  # their squares underflow even in double precision
    cosine = slow / norms[:, None]
    cosine = cosine @ cosine.T
    assert factor == 1 or norms.min() < {50: 1e-10, 400: 1e-80}[factor]
    labels = keras.utils.to_categorical(y, 3) if "sparse" not in str(getattr(loss, "name", loss)) else y
    for method in ("auto", "jacobian"):
        gram = gradient_gram(single, x, labels, loss=loss, method=method)
        np.testing.assert_array_equal(gram.sign(), np.sign(cosine))
        np.testing.assert_allclose(gram.cosine(), cosine, atol=1e-5)
        np.testing.assert_allclose(gram.norms, norms, rtol=1e-3)  # exp of the rounded logits


def test_products_of_confident_examples_may_underflow_but_not_their_signs():
    x, _ = examples(40)
    model = confident("float32", 150)
    gram = gradient_gram(model, x, np.argmax(model(x), axis=1), loss=CROSS_ENTROPY)
    assert gram.norms.min() < 1e-30 and (gram.norms > 0).all()
    assert (gram.products == 0).any() and (gram.sign() != 0).all()
    np.testing.assert_allclose(gram.products, gram.cosine() * np.outer(gram.norms, gram.norms), rtol=1e-4, atol=1e-37)


@pytest.mark.parametrize("method", ["auto", "jacobian"])
def test_a_loss_that_uses_the_weights_is_refused(method):
    model = classifier(layers.Dense(5, "tanh"))

    def loss(y, logits):
        return plain_cross_entropy(y, logits) + keras.ops.sum(model.layers[0].kernel ** 2)

    with pytest.raises(ValueError, match=r"the loss uses sequential.* besides the model's output"):
        gradient_gram(model, *examples(5), loss=loss, method=method)


def test_a_closed_form_checked_on_a_tiny_gradient_is_not_trusted_later():
    dense, gate = layers.Dense(4), keras.Variable(1e-4, trainable=False)

    class Gated(keras.layers.Layer):
        def call(self, x):
            return x + gate * Tied(dense)(x)

    inputs = keras.Input((4,))
    hidden = layers.Dense(4, "tanh")(dense(inputs))
    gated = Gated()
    gated.dense = dense
    model = keras.Model(inputs, layers.Dense(3)(gated(hidden)))
    x, y = examples(8, (4,))
    agree(model, x, y)
    gate.assign(1.0)
    agree(model, x, y)


def test_values_read_by_a_loss_may_change_for_unchecked_examples():
    model, weight = classifier(layers.Dense(5, "tanh")), [1.0, 1.0, 1.0]
    x, _ = examples(12)
    y = np.repeat([0, 1, 2], 4)

    def loss(y, logits):
        each = keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
        return each * keras.ops.take(keras.ops.convert_to_tensor(weight), keras.ops.cast(y, "int32"))

    norms = [gradient_gram(model, x, y, loss=loss).norms for _ in range(3)][-1]
    weight[2] = 10.0
    np.testing.assert_allclose(gradient_gram(model, x, y, loss=loss).norms[8:], 10 * norms[8:], rtol=1e-4)


@pytest.mark.parametrize("method", ["auto", "jacobian"])
def test_a_gradient_that_is_not_finite_is_named(method):
    model = straight_line(2.0, 1.0)

    def distance(y, prediction):  # its gradient is undefined at 0
        return keras.ops.sqrt(keras.ops.sum((y - prediction) ** 2, axis=-1))

    with pytest.raises(ValueError, match="the gradient of the loss of example 2 of x is nan; expected a finite number"):
        gradient_gram(model, [[1.0], [3.0], [0.0]], [[0.0], [0.0], [1.0]], loss=distance, method=method)


def test_a_custom_loss_may_be_named_like_one_of_keras():
    model = classifier()

    def weighted_sparse_categorical_crossentropy(y, logits):
        return 2 * keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)

    agree(model, *examples(5), loss=weighted_sparse_categorical_crossentropy)


def test_inputs_by_name_in_any_order():
    inputs = [keras.Input((1,), dtype="int32", name="b"), keras.Input((3,), name="a")]
    merged = layers.Concatenate()([keras.ops.cast(inputs[0], "float32"), inputs[1]])
    model = keras.Model(inputs, layers.Dense(3)(merged))
    x, y = examples(5, (3,))
    agree(model, {"a": x.astype("float32"), "b": np.arange(5)[:, None]}, y)


def test_outputs_of_two_precisions():
    inputs = keras.Input((6,))
    hidden = layers.Dense(5, "tanh")(inputs)
    model = keras.Model(inputs, [layers.Dense(3, dtype="float16")(hidden), layers.Dense(3)(hidden)])
    x, y = examples(6)
    agree(model, x, [y, y], loss=CROSS_ENTROPY, tolerance=1e-2)


class Unrolled(layers.Layer):
    """Reads the values of its inputs, which no graph can, and raises its kernel to a power that depends on them."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 3), name="kernel")

    def call(self, x):
        powers = [1 + int(np.abs(row).sum()) % 3 for row in np.asarray(x)]
        return keras.ops.concatenate([keras.ops.matmul(x[k : k + 1], self.kernel**power)
                                      for k, power in enumerate(powers)])


def test_code_that_runs_in_no_graph_is_measured_one_example_at_a_time():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([layers.Dense(4), Unrolled(), layers.Dense(3)])
    x, y = examples(6)
    model(x)
    gram = gradient_gram(model, x, y, loss=CROSS_ENTROPY)
    assert taps.EAGER in gram.ways.values()
    expected = gradient_gram(model, x, y, loss=CROSS_ENTROPY, method="jacobian").products
    np.testing.assert_allclose(gram.products, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
