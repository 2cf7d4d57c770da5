"""Jacobian norms against finite differences, changes of linear region against codes that are written out plainly."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from stiffness import jacobian_norm, transitions


def normal(*shape, scale=1.0, seed=0):
    return np.random.default_rng(seed).normal(0, scale, shape)


def classifiers():
    """{name: (a classifier in double precision, the shape of its input)}"""
    def dense(last):
        return [layers.Dense(7, activation="tanh"), layers.Dense(5, activation="relu"), layers.Dense(3, **last)]

    def images(last):
        return [layers.Conv2D(4, 3, padding="same", activation="relu"), layers.MaxPooling2D(2), layers.Flatten(),
                layers.Dense(3, **last)]

    softmax = {"activation": "softmax"}
    return {
        "logits": ([*dense({})], (6,)), "probabilities": ([*dense(softmax)], (6,)),
        "images, logits": ([*images({})], (4, 4, 2)), "images, probabilities": ([*images(softmax)], (4, 4, 2)),
        "a softmax layer": ([*dense({}), layers.Softmax()], (6,)),
        "two classes": ([layers.Dense(4, activation="relu"), layers.Dense(1, activation="sigmoid")], (6,)),
        "two classes, logits": ([layers.Dense(4, activation="relu"), layers.Dense(1)], (6,)),
    }


def built(parts, shape, dtype="float64"):
    keras.utils.set_random_seed(0)
    with_dtype = [keras.layers.deserialize(keras.layers.serialize(layer) | {"config": layer.get_config() | {
        "dtype": dtype}}) for layer in parts]
    return keras.Sequential([keras.Input(shape, dtype=dtype), *with_dtype])


def probabilities(model, x, name):
    output = keras.ops.convert_to_numpy(model(x, training=False))
    if "logits" in name:
        output = np.concatenate([np.zeros_like(output), output], axis=1) if output.shape[1] == 1 else output
        output = np.exp(output - output.max(axis=1, keepdims=True))
        return output / output.sum(axis=1, keepdims=True)
    return np.concatenate([1 - output, output], axis=1) if output.shape[1] == 1 else output


def by_finite_differences(model, x, name, step=1e-6):
    """|d p / d x|, one input number after the other."""
    squares = np.zeros(len(x))
    for index in np.ndindex(*x.shape[1:]):
        moved = np.zeros(x.shape[1:])
        moved[index] = step
        difference = probabilities(model, x + moved, name) - probabilities(model, x - moved, name)
        squares += ((difference / (2 * step)) ** 2).sum(axis=1)
    return np.sqrt(squares)


@pytest.mark.equation("jacobian-norm")
@pytest.mark.parametrize("name", classifiers())
def test_jacobian_norms_are_those_of_finite_differences(name):
    parts, shape = classifiers()[name]
    model, x = built(parts, shape), normal(9, *shape)
    from_logits = False if name == "a softmax layer" else None
    expected = by_finite_differences(model, x, name)
    assert np.median(expected) > 1e-2
    for budget in (2**30, 5000):  # at once, and in chunks
        found = jacobian_norm(model, x, from_logits=from_logits, memory_budget=budget)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_a_sure_softmax_loses_nothing(activation):
    model = keras.Sequential([keras.Input((1,)), layers.Dense(2, activation=activation)])
    model.set_weights([np.array([[0.0, 1.0]]), np.zeros(2)])
    x = np.array([0.0, 5.0, 40.0, 200.0])  # float32 knows 1 - p to 17, and p itself to 100
    expected = np.sqrt(2) * np.exp(-x) / (1 + np.exp(-x)) ** 2
    np.testing.assert_allclose(jacobian_norm(model, x[:, None]), expected, rtol=1e-5)
    np.testing.assert_allclose(jacobian_norm(model, -x[:, None]), expected, rtol=1e-5)


def test_several_inputs_and_whole_numbers():
    one, other = keras.Input((2,), name="one"), keras.Input((3,), name="other")
    model = keras.Model([one, other], layers.Dense(2)(layers.Concatenate()([one, other])))
    a, b = normal(4, 2), normal(4, 3, seed=1)
    joined = keras.Sequential([keras.Input((5,)), layers.Dense(2)])
    joined.set_weights(model.get_weights())
    expected = jacobian_norm(joined, np.concatenate([a, b], axis=1))
    np.testing.assert_allclose(jacobian_norm(model, {"one": a, "other": b}), expected, rtol=1e-6)
    np.testing.assert_allclose(jacobian_norm(model, [a, b]), expected, rtol=1e-6)
    whole = np.arange(15).reshape(3, 5)
    np.testing.assert_allclose(jacobian_norm(joined, whole), jacobian_norm(joined, whole.astype(float)))


def test_logits_or_probabilities_are_told_by_the_loss():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4), layers.Lambda(lambda z: tf.nn.softmax(z))])
    x = normal(5, 3)
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=False))
    told = jacobian_norm(model, x)
    np.testing.assert_allclose(told, jacobian_norm(model, x, from_logits=False))
    assert not np.allclose(told, jacobian_norm(model, x, from_logits=True))


@pytest.mark.parametrize("make, x, error, message", [
    (lambda: keras.Sequential([keras.Input((2, 2)), layers.Dense(3)]), np.ones((2, 2, 2)), ValueError,
     r"output has shape \(2, 2, 3\); expected one output \(n, classes\)"),
    (lambda: keras.Sequential([layers.Dense(3)]), np.ones((2, 2)), ValueError, "model is not built"),
    (lambda: "model", np.ones((2, 2)), TypeError, "model is of type str"),
    (lambda: keras.Sequential([keras.Input((2,)), layers.Dense(3)]), None, ValueError, "x is missing"),
    (lambda: keras.Sequential([keras.Input((2,)), layers.Dense(3)]), np.ones((0, 2)), ValueError, "x has 0 examples"),
    (lambda: keras.Sequential([keras.Input((2,)), layers.Embedding(5, 2), layers.Flatten(), layers.Dense(3)]),
     np.ones((2, 2), int), ValueError, "no derivative with respect to x"),
    (lambda: keras.Sequential([keras.Input((2,)), layers.Dense(3), layers.Lambda(lambda z: z - tf.reduce_mean(z))]),
     normal(3, 2), ValueError, "example 0 of x depends on the other examples"),
    (lambda: keras.Sequential([keras.Input((2,)), layers.Dense(3)]), np.array([[1.0, np.nan]]), ValueError,
     "the Jacobian of example 0 of x is not finite")])
def test_what_has_no_jacobian_norm(make, x, error, message):
    with pytest.raises(error, match=message):
        jacobian_norm(make(), x)


def test_rounding_of_large_logits_is_no_dependence_on_other_examples():
    rounded = layers.Lambda(lambda z: 1000.0 * z + 1e-4 * tf.cast(tf.shape(z)[0], tf.float32))
    model = keras.Sequential([keras.Input((3,)), layers.Dense(3, kernel_initializer="identity"), rounded])
    assert np.isfinite(jacobian_norm(model, np.eye(3, dtype="float32"))).all()  # of each three logits two are 0


def test_outputs_that_are_no_probabilities():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(3)])
    with pytest.raises(ValueError, match="pass from_logits=True"):
        jacobian_norm(model, normal(4, 2, scale=3), from_logits=False)


# Linear regions

def residual(start):
    hidden = layers.Dense(8)(start)
    return layers.ReLU()(layers.Add()([start, layers.Dense(start.shape[-1])(layers.LeakyReLU()(hidden))]))


NETWORKS = {  # input shape, and from the input to the output
    "dense": ((5,), lambda x: layers.Dense(3)(layers.Dense(9, "relu")(layers.Dense(12, "relu")(x)))),
    "softmax": ((5,), lambda x: layers.Dense(3, "softmax")(layers.Activation("relu")(layers.Dense(12)(x)))),
    "residual": ((5,), lambda x: layers.Dense(3)(residual(residual(x)))),
    "normalised": ((5,), lambda x: layers.Dense(3)(layers.ReLU()(layers.BatchNormalization()(layers.Dense(9)(x))))),
    "convolutional": ((5, 5, 2), lambda x: layers.Dense(3)(layers.Flatten()(
        layers.Conv2D(4, 3, activation="relu")(layers.Conv2D(3, 3, padding="same", activation="relu")(x))))),
    "max pooling": ((6, 6, 1), lambda x: layers.Dense(3)(layers.Dense(8, "relu")(layers.Flatten()(
        layers.MaxPooling2D(2)(layers.Conv2D(3, 3, padding="same", activation="relu")(x)))))),
    "max pooling that pads": ((5, 7), lambda x: layers.Dense(3)(layers.Dense(40, "relu")(layers.Flatten()(
        layers.MaxPooling1D(3, strides=2, padding="same")(x))))),
    "global maxima": ((4, 3), lambda x: layers.Dense(8, "relu")(layers.GlobalMaxPooling1D()(layers.Dense(6)(x)))),
    "maximum": ((5,), lambda x: layers.Dense(30, "relu")(layers.Maximum()([layers.Dense(9)(x), layers.Dense(9)(x)]))),
    "minimum": ((5,), lambda x: layers.Dense(30, "relu")(layers.Minimum()([layers.Dense(9)(x), layers.Dense(9)(x)]))),
}


def network(name, dtype="float64"):
    keras.utils.set_random_seed(1)
    shape, make = NETWORKS[name]
    keras.config.set_floatx(dtype)
    try:
        start = keras.Input(shape)
        model = keras.Model(start, make(start))
    finally:
        keras.config.set_floatx("float32")
    rng = np.random.default_rng(2)
    for weight in model.weights:  # biases and moving averages that matter
        moved = rng.normal(0, 0.3, weight.shape)
        weight.assign(weight + (np.abs(moved) if "variance" in weight.path else moved))
    return model, shape


def plain_codes(model, x):
    """The codes of all ReLU units, from a model of the inputs of each."""
    inputs = []
    for layer in model.layers:
        if isinstance(layer, layers.ReLU | layers.LeakyReLU | layers.Activation):
            inputs.append(layer.input)
        elif getattr(getattr(layer, "activation", None), "__name__", "") == "relu":
            copy = type(layer).from_config(layer.get_config() | {"activation": "linear", "name": f"{layer.name}_in"})
            inputs.append(copy(layer.input))
            copy.set_weights(layer.get_weights())
    found = keras.Model(model.input, inputs)(x, training=False)
    found = found if isinstance(found, list) else [found]
    return np.concatenate([keras.ops.convert_to_numpy(part).reshape(len(x), -1) > 0 for part in found], axis=1)


def line(ends, number):
    shares = np.linspace(0, 1, number).reshape(-1, *[1] * ends[0].ndim)
    return ends[0] + shares * (ends[1] - ends[0])


@pytest.mark.equation("transitions")
@pytest.mark.parametrize("name", NETWORKS)
def test_transitions_are_changes_of_the_code(name):
    model, shape = network(name)
    path = normal(7, *shape, scale=2)
    codes = plain_codes(model, path)
    steps = [int(np.abs(codes[i].astype(int) - codes[(i + 1) % 7].astype(int)).sum()) for i in range(7)]
    assert sum(steps) > 0
    for budget in (2**30, 4000):
        assert transitions(model, path, memory_budget=budget) == sum(steps)
    assert transitions(model, path, closed=False) == sum(steps[:-1])
    assert transitions(model, np.stack([path, path[::-1]])).tolist() == [sum(steps)] * 2


@pytest.mark.parametrize("name", NETWORKS)
def test_the_sampled_count_converges_to_the_exact_one(name):
    model, shape = network(name)
    ends = [normal(2, *shape, scale=3, seed=seed) for seed in range(3)]
    exact = [transitions(model, two, closed=False, exact=True) for two in ends]
    counts = np.array([[transitions(model, line(two, number), closed=False) for two in ends]
                       for number in (2, 10, 100, 10_001)])
    assert (np.diff(counts, axis=0) >= 0).all() and counts[-1].tolist() == exact
    if name in ("dense", "residual", "convolutional", "max pooling"):  # units of later layers change several times
        assert sum(exact) > counts[0].sum()
    assert transitions(model, ends[0], closed=False, exact=True, memory_budget=3000) == exact[0]
    triangle = np.concatenate([ends[0], ends[1][:1]])
    assert transitions(model, triangle, exact=True) == sum(
        transitions(model, triangle[[a, b]], closed=False, exact=True) for a, b in ((0, 1), (1, 2), (2, 0)))


def test_the_exact_count_in_single_precision():
    model, shape = network("dense", "float32")
    ends = normal(2, *shape, scale=2)
    assert transitions(model, ends, closed=False, exact=True) == transitions(model, line(ends, 10_001), closed=False)


def test_the_model_is_left_as_it_was():
    model, shape = network("residual")
    before = [dict(vars(layer)) for layer in model.layers]
    transitions(model, normal(3, *shape))
    with pytest.raises(TypeError):
        transitions(model, np.array([["a"] * 5] * 2))
    assert [dict(vars(layer)) for layer in model.layers] == before


class Own(keras.layers.Layer):
    def call(self, x):
        return x**2


@pytest.mark.parametrize("parts, message", [
    ([layers.Dense(3, activation="tanh"), layers.Dense(2)], "activation that is not piecewise linear stands before"),
    ([layers.Dense(3, activation="gelu"), layers.Dense(2, activation="softmax")], "not piecewise linear stands before"),
    ([layers.LayerNormalization(), layers.Dense(2)], r"\(LayerNormalization\) is not known to be piecewise linear"),
    ([Own(), layers.Dense(2)], r"\(Own\) is not known to be piecewise linear"),
    ([layers.ReLU(max_value=6), layers.Dense(2)], "has a maximum or a threshold")])
def test_networks_without_linear_regions(parts, message):
    model = keras.Sequential([keras.Input((4,)), *parts])
    with pytest.raises(ValueError, match=message):
        transitions(model, np.ones((3, 4)))
    assert model(np.ones((1, 4))).shape == (1, 2)


def test_what_a_functional_model_computes_outside_of_layers():
    start = keras.Input((4,))
    with pytest.raises(ValueError, match=r"operation relu.* \(Relu\) of the model is not known to be linear"):
        transitions(keras.Model(start, layers.Dense(2)(keras.ops.relu(start))), np.ones((3, 4)))
    model = keras.Model(start, layers.Dense(2)(layers.Dense(3, "relu")(start + start)))
    assert transitions(model, np.zeros((3, 4))) == 0


@pytest.mark.parametrize("path, message", [
    (np.ones((1, 5)), "path has 1 point; expected two or more"), (np.ones((2, 3, 4, 5)), "path has shape"),
    (np.ones(5), r"path has shape \(5,\); expected \(k, 5\) or several of these")])
def test_paths_that_are_none(path, message):
    model, _ = network("dense")
    with pytest.raises(ValueError, match=message):
        transitions(model, path)
