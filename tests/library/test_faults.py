"""Bad input, broken models, threads and foreign contexts: each is really injected, and named in words."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from scipy import sparse

from stiffness import StiffnessCallback, class_stiffness, cosine_class_stiffness, gradient_gram, stiffness_vs_distance
from stiffness.engine.examples import NotFinite
from tests.library.test_gram import CROSS_ENTROPY, classifier, examples, straight_line

X, Y = examples(6)


def masked(array, entry):
    array = np.ma.array(array)
    array[entry] = np.ma.masked
    return array


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change, error, match", [
    (dict(y=np.array([0, 1, 2, 1.7, 0, 1])), ValueError, "the label of example 3 of y is 1.7, and the loss is sparse"),
    (dict(y=np.array([0, np.nan, 2, 1, 0, 1])), ValueError, "the label of example 1 of y is nan"),
    (dict(x2=X, y2=Y + 0.5), ValueError, "the label of example 0 of y2 is"),
    (dict(x=X + 1j), TypeError, "x has dtype complex128 and the model's input .* drop the imaginary part"),
    (dict(y=Y + 1j), TypeError, "y has dtype complex128, and the loss would drop the imaginary part"),
    (dict(x=masked(X, (2, 3))), ValueError, r"x is a masked array with 1 masked entries.*x.filled\(value\), or drop"),
    (dict(y=masked(Y, 4)), ValueError, "y is a masked array with 1 masked"),
    (dict(x2=masked(X, 1), y2=Y), ValueError, "x2 is a masked array with 6 masked"),
    (dict(y=np.array(["cat", "dog", "cat", "dog", "cat", "dog"])), TypeError, r"y holds text; .*np.unique\(y"),
    (dict(y=["cat", "dog"] * 3), TypeError, "y holds text"),
    (dict(y=tf.constant(["cat", "dog"] * 3)), TypeError, "y holds text"),
    (dict(x=np.full((6, 6), "a")), TypeError, "x holds text and the model's input .* is float32"),
    (dict(x=3.0), ValueError, "x is a scalar; expected an array with the examples along its first axis"),
    (dict(y=1), ValueError, "y is a scalar"),
    (dict(y=np.array(1)), ValueError, "y is a scalar"),
    (dict(x={"one": 3.0}), ValueError, "x is a scalar"),
    (dict(x=sparse.csr_matrix(X)), TypeError, r"x is a sparse matrix \(csr_matrix\); pass x.toarray\(\)"),
    (dict(y=sparse.coo_array(np.eye(6))), TypeError, r"y is a sparse matrix \(coo_array\)"),
    (dict(x=None), ValueError, "x is missing"),
    (dict(x=[None] * 6), TypeError, r"x holds Python objects \(NoneType\)"),
    (dict(x={"one": None}), TypeError, r"x holds Python objects \(NoneType\)"),
    (dict(y=[0, 1, None, 0, 1, 2]), TypeError, r"y holds Python objects \(NoneType, int\)"),
    (dict(y={"a": Y}), ValueError, "loss, labels and the model's outputs do not have the same structure"),
    (dict(x=[[1.0], [1.0, 2.0]]), ValueError, "x cannot be made an array"),
])
def test_input_that_is_no_array_of_numbers_is_named(change, error, match):
    with pytest.raises(error, match=match):
        gradient_gram(classifier(), **{"x": X, "y": Y, "loss": CROSS_ENTROPY} | change)


def test_a_model_that_is_none_is_named():
    with pytest.raises(TypeError, match="model is of type NoneType; expected a Keras model"):
        gradient_gram(None, X, Y, loss=CROSS_ENTROPY)


def test_masked_labels_of_class_stiffness_are_named():
    with pytest.raises(ValueError, match="labels is a masked array with 1 masked"):
        class_stiffness(np.eye(6), masked(Y, 4))


def test_input_of_other_kinds_is_taken_as_before():
    plain = gradient_gram(classifier(), X, Y, loss=CROSS_ENTROPY).products
    for x, y in ((np.ma.array(X), np.ma.array(Y)), (X.tolist(), Y.tolist()), (X, Y.astype(float)), (X, list(Y)),
                 (tf.constant(X), tf.constant(Y))):
        np.testing.assert_allclose(gradient_gram(classifier(), x, y, loss=CROSS_ENTROPY).products, plain, rtol=1e-6)


def test_models_of_text_and_of_complex_numbers_are_measured():
    words = keras.Input((2,), dtype="string")
    tokens = layers.StringLookup(vocabulary=["a", "b"])(words)
    text = keras.Model(words, layers.Dense(3)(layers.Flatten()(layers.Embedding(3, 4)(tokens))))
    x = np.array([["a", "b"], ["b", "b"], ["c", "a"]])
    gram = gradient_gram(text, x, [0, 1, 2], loss=CROSS_ENTROPY)
    by_tokens = keras.Model(tokens, text.output)
    np.testing.assert_allclose(gram.products, gradient_gram(by_tokens, np.array([[1, 2], [2, 2], [0, 1]]), [0, 1, 2],
                                                            loss=CROSS_ENTROPY).products, rtol=1e-5)

    wave = keras.Input((6,), dtype="complex64")
    size = layers.Lambda(lambda z: tf.abs(z), output_shape=(6,))(wave)
    spectrum = keras.Model(wave, layers.Dense(3)(size))
    found = gradient_gram(spectrum, (X + 1j).astype("complex64"), Y, loss=CROSS_ENTROPY).products
    straight = keras.Sequential([keras.Input((6,)), spectrum.layers[-1]])
    np.testing.assert_allclose(found, gradient_gram(straight, np.abs(X + 1j), Y, loss=CROSS_ENTROPY).products,
                               rtol=1e-4, atol=1e-6)


# --- numbers that are too large -------------------------------------------------------------------------------------


def diverged():
    model = classifier(layers.Dense(5, "relu"), layers.Dense(4, "relu"))
    kernel, *others = model.get_weights()
    kernel[0, 0] = 1e30
    model.set_weights([kernel, *others])
    x = np.abs(X)
    x[:2, 0] = 0  # these do not meet the large weight
    return model, x


@pytest.mark.parametrize("method", ["auto", "closed-form", "jacobian"])
def test_a_weight_that_has_diverged_is_named(method):
    model, x = diverged()
    match = "weights or activations are.* look for a weight that has diverged"
    with pytest.raises(NotFinite, match=match):
        gradient_gram(model, x[2:], Y[2:], loss=CROSS_ENTROPY, method=method)
    with pytest.raises(NotFinite, match=r"gradient of example 2 of x is (inf|nan) in float32"):
        gradient_gram(model, x, Y, loss=CROSS_ENTROPY, method="jacobian")
    with pytest.raises(NotFinite, match=r"gradient of example 2 of x2 is (inf|nan) in float32"):
        gradient_gram(model, x[:2], Y[:2], x, Y, loss=CROSS_ENTROPY)
    with pytest.raises(NotFinite, match=match):
        cosine_class_stiffness(model, x, Y, loss=CROSS_ENTROPY, method=method)


def test_a_weight_that_diverges_between_two_measurements_is_named():
    model, x = diverged()
    large, fine = model.get_weights(), [np.clip(w, -1, 1) for w in model.get_weights()]
    model.set_weights(fine)
    for _ in range(3):  # the last one compiled
        assert np.isfinite(gradient_gram(model, x, Y, loss=CROSS_ENTROPY, method="closed-form").products).all()
    model.set_weights(large)
    with pytest.raises(NotFinite, match=r"example 2 of x is (inf|nan) in float32 in layer sequential.*dense"):
        gradient_gram(model, x, Y, loss=CROSS_ENTROPY, method="closed-form")


@pytest.mark.parametrize("method", ["auto", "jacobian"])
def test_large_losses_whose_products_have_no_single_precision(method):
    model = straight_line(1.0, 0.0)
    x, y = [[1.0], [-3.0]], [[1e25], [-1e25]]  # g = 2 (x - y) (x, 1)
    gram = gradient_gram(model, x, y, loss="mse", method=method)
    g = np.array([[-2e25, -2e25], [-6e25, 2e25]])
    np.testing.assert_allclose(gram.norms, np.linalg.norm(g, axis=1), rtol=1e-6)
    np.testing.assert_array_equal(gram.sign(), [[1, 1], [1, 1]])
    np.testing.assert_allclose(gram.cosine(), [[1, 0.2**0.5], [0.2**0.5, 1]], rtol=1e-6)
    with pytest.raises(NotFinite, match=r"4 of 4 products are too large for float32.*sign\(\), cosine\(\)"):
        _ = gram.products


@pytest.mark.parametrize("method", ["auto", "jacobian"])
def test_large_weights_that_are_not_too_large_are_measured(method):
    model, x = diverged()
    weights = model.get_weights()
    weights[0][0, 0] = 1e15
    model.set_weights(weights)
    gram = gradient_gram(model, x, Y, loss=CROSS_ENTROPY, method=method)
    assert gram.norms.max() > 1e13 and np.isfinite(gram.products).all()


# --- threads and foreign contexts -----------------------------------------------------------------------------------


def test_threads_that_measure_one_fresh_model_wait_for_each_other():
    model = classifier(layers.Dense(8, "relu"), layers.LayerNormalization(), layers.Dense(5, "tanh"))
    before = [dict(vars(layer)) for layer in model.layers]
    start = threading.Barrier(4)

    def measure(_):
        start.wait()
        return [gradient_gram(model, X, Y, loss=CROSS_ENTROPY).products for _ in range(3)]

    with ThreadPoolExecutor(4) as pool:
        found = [products for several in pool.map(measure, range(4)) for products in several]
    assert [dict(vars(layer)) for layer in model.layers] == before
    plain = gradient_gram(model, X, Y, loss=CROSS_ENTROPY, method="jacobian").products
    for products in found:
        np.testing.assert_allclose(products, plain, rtol=1e-4, atol=1e-6)


def test_threads_that_measure_models_with_a_common_part_wait_for_each_other():
    inputs, trunk = keras.Input((6,)), keras.Sequential([layers.Dense(8, "relu"), layers.Dense(5, "tanh")])
    models = [keras.Model(inputs, layers.Dense(3)(trunk(inputs))) for _ in range(4)]
    start = threading.Barrier(4)

    def measure(model):
        start.wait()
        return [gradient_gram(model, X, Y, loss=CROSS_ENTROPY).products for _ in range(3)]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(measure, models))
    for model, several in zip(models, found):
        plain = gradient_gram(model, X, Y, loss=CROSS_ENTROPY, method="jacobian").products
        for products in several:
            np.testing.assert_allclose(products, plain, rtol=1e-4, atol=1e-6)


def test_a_model_whose_layers_another_model_trains_is_refused():
    inputs, trunk = keras.Input((6,)), layers.Dense(8, "relu")
    model, other = (keras.Model(inputs, layers.Dense(3)(trunk(inputs))) for _ in range(2))
    gradient_gram(model, X, Y, loss=CROSS_ENTROPY)
    other.compile("sgd", CROSS_ENTROPY)
    trained = threading.Event()

    def loss(y_true, y_pred):  # of the measured model: the other one is trained meanwhile
        if not trained.is_set():
            with ThreadPoolExecutor(1) as pool:
                pool.submit(other.fit, *examples(8), verbose=0).result()
            trained.set()
        return CROSS_ENTROPY(y_true, y_pred)

    waiting = threading.Event()
    threading.Thread(target=waiting.wait, daemon=True).start()  # a thread that is alive before and after
    with pytest.raises(RuntimeError, match="or another model trains its layers"):
        gradient_gram(model, X, Y, loss=loss)
    waiting.set()


def test_a_loss_may_measure_another_model_meanwhile():
    other, measured = classifier(layers.Dense(4, "tanh"), seed=1), []

    def loss(y, logits):
        measured.append(gradient_gram(other, X, Y, loss=CROSS_ENTROPY).norms)
        return keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)

    expected = gradient_gram(classifier(), X, Y, loss=CROSS_ENTROPY).products
    np.testing.assert_allclose(gradient_gram(classifier(), X, Y, loss=loss).products, expected, rtol=1e-4, atol=1e-6)
    assert measured


@pytest.mark.parametrize("method", ["auto", "jacobian"])
def test_a_model_that_another_thread_trains_is_refused(method):
    model = classifier(layers.Dense(8, "relu"), layers.Dense(5, "tanh"))
    model.compile("sgd", CROSS_ENTROPY)
    x, y = examples(64)
    model.fit(x, y, batch_size=4, verbose=0)
    begun, enough = threading.Event(), threading.Event()

    class Signals(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            begun.set()
            self.model.stop_training = enough.is_set()

    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(model.fit, x, y, batch_size=4, epochs=10**6, verbose=0, callbacks=[Signals()])
        try:
            assert begun.wait(60)
            with pytest.raises(RuntimeError, match=r"was trained while it was measured: .* measure before or after"):
                for _ in range(20):  # a measurement shorter than a step is right
                    gradient_gram(model, x, y, method=method)
        finally:
            enough.set()
        training.result(60)
    assert not any("call" in vars(layer) for layer in model.layers)
    np.testing.assert_allclose(gradient_gram(model, x, y, method=method).products,
                               gradient_gram(model, x, y, method="jacobian").products, rtol=1e-3, atol=1e-5)


def test_an_error_while_measuring_is_not_blamed_on_training():
    model = classifier()
    model.compile("sgd", CROSS_ENTROPY)
    with pytest.raises(ZeroDivisionError):
        gradient_gram(model, X, Y, loss=lambda t, p: 1 / 0)


def test_inside_a_tf_function_is_refused():
    model = classifier()

    @tf.function
    def step(x):
        return gradient_gram(model, x, Y, loss=CROSS_ENTROPY).products

    with pytest.raises(RuntimeError, match=r"inside a tf.function, .* call it outside"):
        step(tf.constant(X))


@pytest.mark.parametrize("measure", [gradient_gram, cosine_class_stiffness])
def test_inside_a_distribution_strategy_is_refused(measure):
    model, strategy = classifier(), tf.distribute.MirroredStrategy(["/cpu:0"])
    with strategy.scope(), pytest.raises(RuntimeError, match=r"tf.distribute strategy; call it outside"):
        measure(model, X, Y, loss=CROSS_ENTROPY)
    with pytest.raises(RuntimeError, match=r"inside the scope or a replica of a tf.distribute"):
        strategy.run(lambda: measure(model, X, Y, loss=CROSS_ENTROPY))
    measure(model, X, Y, loss=CROSS_ENTROPY)


def test_a_model_of_a_distribution_strategy_is_measured_while_it_trains():
    with tf.distribute.MirroredStrategy(["/cpu:0"]).scope():
        model = classifier(layers.Dense(4, "tanh"))
        model.compile("sgd", CROSS_ENTROPY)
    callback = StiffnessCallback(X, Y)
    model.fit(X, Y, epochs=1, verbose=0, callbacks=[callback])
    assert {row["step"] for row in callback.rows} == {0, 1}


def test_a_table_without_pandas_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)  # as where it is not installed
    with pytest.raises(ImportError, match=r"DistanceCurve.table\(\) .* pip install pandas"):
        stiffness_vs_distance(np.eye(3), np.eye(3)).table()
    with pytest.raises(ImportError, match=r"StiffnessCallback.table .* pip install pandas"):
        _ = StiffnessCallback(X, Y).table


def test_a_gradient_near_the_smallest_normal_number_has_a_sign():
    # p = exp(-85) of the wrong class is 1e-37, and p - 1 of the right one is 0 in single precision
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, use_bias=False)])
    model.set_weights([np.array([[85.0, 0.0]])])

    def in_single_precision(y_true, y_pred):
        return keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)

    gram = gradient_gram(model, np.array([[1.0], [0.01], [0.02]]), np.array([0, 1, 1]), loss=in_single_precision)
    assert (gram.sign()[1:, 1:] == 1).all() and (gram.products[1:, 1:] > 0).all()
    assert not np.isnan(gram.sign()).any() and np.isfinite(gram.products).all()
