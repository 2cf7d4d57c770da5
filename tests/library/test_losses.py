"""A loss means what it means in `compile`: that of a batch of one example, by the model's own `compute_loss`."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from stiffness import gradient_gram
from tests.library.test_gram import CROSS_ENTROPY, examples


def one(nest, i):
    return keras.tree.map_structure(lambda part: ops.convert_to_tensor(part[i : i + 1]), nest)


def gradients(model, x, y):
    """(n, P): the gradients of `fit`'s loss of each example as a batch, without weight regularisation."""
    rows = []
    for i in range(len(keras.tree.flatten(x)[0])):
        with tf.GradientTape() as tape:
            example = one(x, i)
            loss = tf.reduce_sum(model.compute_loss(example, one(y, i), model(example, training=False)))
        found = tape.gradient(loss, [v.value for v in model.trainable_variables], unconnected_gradients="zero")
        rows.append(np.concatenate([np.ravel(tf.convert_to_tensor(part)) for part in found]).astype(float))
    return np.stack(rows)


def agrees(model, x, y, *, given=None, tolerance=1e-4):
    """Compares three measurements (the later ones compiled) with the gradients of `fit`'s loss."""
    model.compile("sgd", **given or {})
    g = gradients(model, x, y)
    norms = np.linalg.norm(g, axis=1)
    assert norms.max() > 0
    scale = np.outer(norms, norms) + 1e-30
    for _ in range(3):
        gram = gradient_gram(model, x, y)
        assert np.abs((gram.products - g @ g.T) / scale).max() < tolerance
        clear = np.abs(g @ g.T) / scale > 1e-5
        np.testing.assert_array_equal(gram.sign()[clear], np.sign(g @ g.T)[clear])
    if set(given) == {"loss"}:
        passed = gradient_gram(model, x, y, loss=given["loss"])
        np.testing.assert_allclose(passed.products / scale, gram.products / scale, atol=tolerance)


def regressor(units=1, activation=None):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((6,)), layers.Dense(5, "tanh"), layers.Dense(units, activation)])


X, Y = examples(12)
TWO = np.where(Y == 0, -1, 1)


def weighted(y_true, y_pred):
    """A value for each example."""
    return (1 + y_true[:, 0]) * ops.sum((y_true - y_pred) ** 2, axis=-1)


class Mean(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return ops.mean(ops.abs(y_true - y_pred) ** 1.5)


class Own(keras.losses.Loss):
    """Does not reduce as Keras does."""

    def __call__(self, y_true, y_pred, sample_weight=None):
        return ops.mean(ops.log(ops.cosh(ops.cast(y_true, "float32") - y_pred)))


@pytest.mark.parametrize("loss, labels, units, activation", [
    ("hinge", TWO, 1, None), ("hinge", TWO[:, None], 1, None), ("squared_hinge", Y.clip(0, 1), 1, None),
    ("mse", Y, 1, None), ("mse", Y[:, None], 1, None), ("mse", Y.astype("float64"), 1, None), ("mae", Y, 1, None),
    (keras.losses.mean_squared_error, Y, 1, None), (keras.losses.Huber(), Y, 1, None), ("log_cosh", Y, 1, None),
    ("binary_crossentropy", Y.clip(0, 1), 1, "sigmoid"), ("crossentropy", Y.clip(0, 1), 1, "sigmoid"),
    ("crossentropy", Y, 3, "softmax"), ("crossentropy", np.eye(3)[Y], 3, "softmax"),
    ("sparse_categorical_crossentropy", Y, 3, "softmax"), ("kl_divergence", np.eye(3)[Y] * 0.9 + 0.1 / 3, 3, "softmax"),
    (keras.losses.CategoricalFocalCrossentropy(from_logits=True), np.eye(3)[Y], 3, None),
    (keras.losses.CosineSimilarity(), X[:, :3], 3, None), (keras.losses.Dice(axis=-1), np.eye(3)[Y], 3, "softmax"),
    (weighted, X[:, :3] ** 2, 3, None), (lambda t, p: ops.mean((t - p) ** 2), X[:, :3], 3, None),
    (lambda t, p: ops.sum((t - p) ** 4), X[:, :3], 3, None), (Mean(), X[:, :3], 3, None), (Own(), X[:, :3], 3, None),
    (lambda t, p: tf.reduce_mean((t - p) ** 2, axis=-1), X[:, :3], 3, None),
], ids=lambda value: getattr(value, "name", getattr(value, "__name__", None)) if callable(value) else None)
def test_names_functions_and_objects(loss, labels, units, activation):
    agrees(regressor(units, activation), X, labels, given={"loss": loss})


@pytest.mark.parametrize("reduction", ["sum", "none", "sum_over_batch_size", "mean_with_sample_weight"])
def test_reductions_of_a_masked_sequence(reduction):
    inputs = keras.Input((5,), dtype="int32")
    hidden = layers.Embedding(7, 4, mask_zero=True)(inputs)
    model = keras.Model(inputs, layers.Dense(7)(layers.Dense(4, "tanh")(hidden)))
    x = np.random.default_rng(0).integers(1, 7, (6, 5))
    x[:, 3:] *= np.arange(6)[:, None] % 2
    agrees(model, x, np.roll(x, -1, axis=1), given={
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)})


def two_outputs(names=("first", "second"), as_dictionary=False):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    hidden = layers.Dense(5, "tanh")(inputs)
    outputs = [layers.Dense(3, name=names[0])(hidden), layers.Dense(1, name=names[1])(hidden)]
    return keras.Model(inputs, dict(zip(names, outputs)) if as_dictionary else outputs)


LABELS = [Y, X[:, 0]]
BY_NAME = dict(zip(("first", "second"), LABELS))


@pytest.mark.parametrize("as_dictionary", [False, True])
@pytest.mark.parametrize("given", [
    {"loss": [CROSS_ENTROPY, "mse"]}, {"loss": {"first": CROSS_ENTROPY, "second": "mse"}},
    {"loss": [CROSS_ENTROPY, "mse"], "loss_weights": [0.25, 3.0]},
    {"loss": {"first": CROSS_ENTROPY, "second": lambda t, p: ops.mean((t - p) ** 2)},
     "loss_weights": {"first": 0.5, "second": 2.0}},
], ids=["list", "dictionary", "weights", "weights by name"])
@pytest.mark.parametrize("labels", [LABELS, BY_NAME], ids=["list", "dictionary"])
def test_several_outputs(as_dictionary, given, labels):
    if as_dictionary and (isinstance(given["loss"], list) or labels is LABELS):
        pytest.skip("Keras does not take a list for a dictionary of outputs")
    agrees(two_outputs(as_dictionary=as_dictionary), X, labels, given=given)


def test_one_loss_for_several_outputs_and_none_for_one_of_them():
    agrees(two_outputs(), X, [X[:, :3], X[:, 0]], given={"loss": "mse"})
    agrees(two_outputs(), X, [Y, X[:, 0]], given={"loss": [None, "mse"]})


def test_labels_of_several_outputs_that_do_not_fit_are_named():
    for labels in ([Y], Y, [Y, Y, Y]):
        with pytest.raises(ValueError, match=r"do not have the same structure|y has"):
            gradient_gram(two_outputs(), X, labels, loss=[CROSS_ENTROPY, "mse"])
    with pytest.raises(ValueError, match="the label of example 0 of y is 3"):
        gradient_gram(two_outputs(), X, [Y * 0 + 3, X[:, 0]], loss=[CROSS_ENTROPY, "mse"])
    with pytest.raises(TypeError, match=r"loss is of type int; .*a list or dictionary of these, one for each output"):
        gradient_gram(two_outputs(), X, LABELS, loss=[CROSS_ENTROPY, 3])


class OwnLoss(keras.Model):
    """Its loss uses the inputs, too."""

    def __init__(self):
        super().__init__()
        self.hidden, self.head = layers.Dense(5, "tanh"), layers.Dense(6)

    def call(self, x):
        return self.head(self.hidden(x))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return ops.mean((y_pred - x) ** 2) + ops.mean(ops.abs(ops.cast(y, "float32")) * ops.mean(y_pred**2, axis=-1))


def test_an_overridden_compute_loss():
    model = OwnLoss()
    model(X[:1].astype("float32"))
    agrees(model, X.astype("float32"), Y, given={})


class UsualOverride(keras.Model):
    """Adds to what `compile` says, as Keras's guides do."""

    def __init__(self, part):
        super().__init__()
        self.dense, self.part = layers.Dense(3), part

    def call(self, x):
        return self.dense(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return super().compute_loss(x, y, y_pred, sample_weight, training) + self.part(self, y_pred)


def test_a_compute_loss_that_calls_the_usual_one():
    model = UsualOverride(lambda _, p: 0.1 * ops.mean(ops.sum(p**2, axis=-1)))
    model(X[:1].astype("float32"))
    agrees(model, X.astype("float32"), Y, given={"loss": "sparse_categorical_crossentropy"} | {"metrics": []})


@pytest.mark.parametrize("part, match", [
    (lambda _, p: ops.mean((p - ops.mean(p, axis=0)) ** 2), "compares examples with each other"),
    (lambda model, p: ops.sum(model.dense.kernel**2), "the loss uses .*kernel besides the model's output"),
    (lambda model, p: ops.std(p), "compares examples with each other"),
], ids=["deviations from the batch's mean", "weights", "deviation"])
def test_a_compute_loss_of_a_batch_is_refused(part, match):
    model = UsualOverride(part)
    model(X[:1].astype("float32"))
    model.compile("sgd", CROSS_ENTROPY)
    with pytest.raises(ValueError, match=match):
        gradient_gram(model, X.astype("float32"), Y)


def test_a_compute_loss_beside_added_losses_is_refused():
    class Both(UsualOverride):
        def call(self, x):
            self.add_loss(0.1 * ops.mean(x**2))
            return self.dense(x)

    model = Both(lambda _, p: 0.0)
    model(X[:1].astype("float32"))
    model.compile("sgd", CROSS_ENTROPY)
    with pytest.raises(ValueError, match="cannot be told apart; pass loss="):
        gradient_gram(model, X.astype("float32"), Y)


class Penalised(keras.layers.Layer):
    def __init__(self, penalty):
        super().__init__()
        self.penalty = penalty

    def call(self, inputs):
        self.add_loss(self.penalty(inputs))
        return inputs


@pytest.mark.parametrize("layer", [
    lambda: layers.Dense(4, "tanh", activity_regularizer="l2"), lambda: layers.ActivityRegularization(0.3),
    lambda: Penalised(lambda x: 0.2 * ops.mean(ops.sum(x**2, axis=-1))),
    lambda: Penalised(lambda x: 0.2 * ops.sum(ops.abs(x))),
], ids=["regulariser", "layer", "mean", "sum"])
def test_losses_that_the_model_adds(layer):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), layers.Dense(5, "tanh"), layer(), layers.Dense(3)])
    agrees(model, X, Y, given={"loss": CROSS_ENTROPY})


class Autoencoder(keras.Model):
    """A variational autoencoder at its mean, whose divergence is added in `call`."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = layers.Dense(4), layers.Dense(6)

    def call(self, x):
        mean, log_variance = ops.split(self.encoder(x), 2, axis=-1)
        self.add_loss(-0.5 * ops.mean(ops.sum(1 + log_variance - mean**2 - ops.exp(log_variance), axis=-1)))
        return self.decoder(mean)


def test_a_variational_autoencoder():
    model = Autoencoder()
    model(X[:1])
    agrees(model, X, X, given={"loss": "mse"})


def circle(y_true, y_pred):
    return keras.losses.circle(y_true, y_pred / ops.norm(y_pred, axis=-1, keepdims=True))


def triplet(y_true, y_pred):
    """The farthest example of the same class against the nearest of another: a value for a batch."""
    distance = ops.sum((y_pred[:, None] - y_pred[None]) ** 2, axis=-1)
    same = ops.cast(ops.equal(ops.reshape(y_true, (-1, 1)), ops.reshape(y_true, (1, -1))), distance.dtype)
    return ops.mean(ops.relu(ops.max(distance * same, axis=1) - ops.min(distance + 1e3 * same, axis=1) + 1))


@pytest.mark.parametrize("loss", [circle, triplet, lambda t, p: ops.std(p) + 0 * t[0, 0],
                                  lambda t, p: ops.sum((p - ops.mean(p, axis=0)) ** 2, axis=-1) + 0 * t[:, 0]],
                         ids=["circle", "triplet", "deviation", "centred"])
def test_a_loss_that_compares_examples_is_refused(loss):
    with pytest.raises(ValueError, match="no per-example loss"):
        gradient_gram(regressor(3), X, Y[:, None], loss=loss)


@pytest.mark.parametrize("loss", [circle, triplet, keras.losses.Circle()], ids=["circle", "triplet", "object"])
@pytest.mark.parametrize("n", [30, 3000])
def test_it_is_refused_on_examples_that_are_sorted_by_class(loss, n):
    x, y = np.random.default_rng(0).normal(size=(n, X.shape[1])), np.sort(np.arange(n) % 3)
    with pytest.raises(ValueError, match="no per-example loss"):
        gradient_gram(regressor(3), x, y[:, None], loss=loss)


@pytest.mark.parametrize("penalty", [lambda x: ops.std(x), lambda x: ops.max(x)], ids=["deviation", "maximum"])
def test_an_added_loss_that_compares_examples_is_refused(penalty):
    model = keras.Sequential([keras.Input((6,)), layers.Dense(5, "tanh"), Penalised(penalty), layers.Dense(3)])
    with pytest.raises(ValueError, match="they belong to the batch, so there is no per-example loss"):
        gradient_gram(model, X, Y, loss=CROSS_ENTROPY)


def test_a_scalar_loss_is_told(caplog):
    with caplog.at_level("INFO", "stiffness"):
        gradient_gram(regressor(3), X, X[:, :3], loss=lambda t, p: ops.mean((t - p) ** 2))
    assert any("returns one value for a batch, so it is computed for one example at a time" in record.getMessage()
               for record in caplog.records)


def test_a_very_sure_network_with_a_loss_of_its_own():
    # in single precision p - 1 of the label is 0 or a rounding error, and the other entries are below normal numbers
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), layers.Dense(8, "relu"), layers.Dense(3)])
    model.layers[-1].kernel.assign(model.layers[-1].kernel * 110)
    x = np.random.default_rng(0).normal(size=(40, 6)).astype("float32")
    y = np.argmax(model(x), axis=1)

    def own(y_true, y_pred):
        return keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)

    gram = gradient_gram(model, x, y, loss=own)
    assert set(np.unique(gram.sign())) <= {-1, 0, 1}
    assert np.isfinite(gram.norms).all() and np.isfinite(gram.products).all()
