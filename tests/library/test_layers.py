"""Every kind of layer against the plain definition, `stiffness.engine.definition`."""

import inspect
import logging

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from stiffness import class_stiffness, gradient_gram
from stiffness.engine import definition
from stiffness.engine.features import Convolved, Factors, patches_of
from stiffness.engine.rules import _axes, _kernel_gradients, rule_of
from stiffness.engine.taps import CLOSED_FORM, ELEMENTWISE, LAYER, MODEL
from stiffness.gram import cosine_class_stiffness
from tests.library.marks import slow

CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype="float64")  # loses no precision
TOLERANCE = {"float32": 1e-4, "float64": 1e-9}
DTYPES = ["float32", *slow("float64")]


def newer(name):
    """Skips a test where Keras does not have this layer yet."""
    return pytest.mark.skipif(not hasattr(layers, name), reason=f"this version of Keras has no {name}")


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def agrees(model, x, y, loss=CROSS_ENTROPY, method="closed-form", tolerance=None, perturbed=True, times=2, **options):
    """Compares the Gram matrix with the plain definition's, twice, as the second measurement runs compiled. All
    variables are perturbed first, so that none is exactly 0 or 1."""
    rng = np.random.default_rng(0)
    if perturbed:
        for v in model.variables:
            if "float" in v.dtype:
                v.assign(np.abs(v.numpy() + rng.normal(scale=0.2, size=v.shape)) if "variance" in v.path
                         else v.numpy() + rng.normal(scale=0.2, size=v.shape))
    found = [gradient_gram(model, x, y, loss=loss, method=method, **options) for _ in range(times)]
    g = definition.gradients(model, loss, x, y).astype("float64")
    tolerance = tolerance or TOLERANCE[found[0].products.dtype.name]
    norms = np.linalg.norm(g, axis=1)
    scale = np.outer(norms, norms)
    assert norms.min() > 0
    clear = np.abs(g @ g.T / scale) > (1e-6 if tolerance <= 1e-4 else 0.1)
    for gram in found:
        assert np.abs((gram.products - g @ g.T) / scale).max() < tolerance
        np.testing.assert_allclose(gram.norms, norms, rtol=tolerance)
        np.testing.assert_array_equal(gram.sign()[clear], np.sign(g @ g.T)[clear])
    return found[0]


def classifier(shape, *hidden, dtype="float32"):
    """The layers, as functions of dtype, followed by an output of three classes."""
    return keras.Sequential([keras.Input(shape, dtype=dtype), *[make(dtype) for make in hidden],
                             layers.Flatten(dtype=dtype), layers.Dense(3, dtype=dtype)])


def examples(n, *shape, dtype="float32", classes=3):
    rng = np.random.default_rng(1)
    return rng.normal(size=(n, *shape)).astype(dtype), rng.integers(0, classes, n)


def tokens(n, length=5, vocabulary=7):
    rng = np.random.default_rng(2)
    return rng.integers(0, vocabulary, (n, length)), rng.integers(0, 3, n)


def check(layer, shape, dtype="float32", n=5, **options):
    """Tests a layer between Dense layers, so that the gradient of its input matters too."""
    def before(dtype):
        return layers.Dense(shape[-1], "tanh", dtype=dtype)

    model = classifier(shape, before, layer, dtype=dtype)
    return agrees(model, *examples(n, *shape, dtype=dtype), **options)


# --- linear maps ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["linear", "relu", "gelu", "softmax", *slow(
    "relu6", "leaky_relu", "elu", "selu", "celu", "silu", "mish", "tanh", "sigmoid", "hard_sigmoid", "softplus",
    "softsign", "log_softmax", "exponential", "squareplus", "sparsemax")])
def test_dense_of_every_activation(activation):
    check(lambda dtype: layers.Dense(6, activation, dtype=dtype), (4,))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4), (9, 4)])
@pytest.mark.parametrize("bias", [True, *slow(False)])
def test_dense_over_positions(shape, bias, dtype):
    check(lambda dtype: layers.Dense(6, "tanh", use_bias=bias, dtype=dtype), shape, dtype)


def test_dense_whose_activation_is_a_layer():
    check(lambda dtype: layers.Dense(6, layers.LeakyReLU(0.3), dtype=dtype), (4,))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("equation, shape, output, bias", [
    ("ab,bc->ac", (4,), 6, "c"),
    ("abc,cde->abde", (3, 4), (3, 2, 3), "de"),
    ("abde,dec->abc", (3, 2, 4), (3, 5), "c"),
    ("abc,bcd->abd", (3, 4), (3, 6), "bd"),
    ("abc,bd->adc", (3, 4), (5, 4), "d"),
    ("...x,xyz->...yz", (2, 3, 4), (5, 2), "yz"),
    *slow(
        ("ab,bc->ac", (4,), 6, None),
        ("abc,cd->abd", (3, 4), (3, 6), "d"),
        ("abc,bcd->abd", (3, 4), (3, 6), "d"),
        ("abc,dc->abd", (3, 4), (3, 6), "d"),
        ("...x,xy->...y", (3, 4), 6, "y"),
        ("...x,xyz->...zy", (3, 4), (2, 5), "y"),
    ),
])
def test_einsum_dense(equation, shape, output, bias, dtype):
    if equation == "...x,xyz->...yz" and tf.__version__ < "2.19":
        pytest.skip("TensorFlow 2.18 computes this einsum incorrectly for a batch, which is refused in words")
    check(lambda dtype: layers.EinsumDense(equation, output, "tanh", bias_axes=bias, dtype=dtype), shape, dtype)


CONVOLUTIONS = [
    (layers.Conv1D, (8, 4), dict(kernel_size=3, padding="same", strides=2)),
    (layers.Conv1D, (8, 4), dict(kernel_size=3, padding="causal", dilation_rate=2)),
    (layers.Conv1D, (7, 4), dict(kernel_size=4, padding="same", groups=2)),
    (layers.Conv2D, (6, 7, 4), dict(kernel_size=(3, 2), padding="same", strides=(2, 3))),
    (layers.Conv2D, (6, 7, 4), dict(kernel_size=(3, 2), dilation_rate=2)),
    (layers.Conv2D, (5, 5, 4), dict(kernel_size=3, groups=2, use_bias=False)),
    (layers.Conv2D, (2, 2, 4), dict(kernel_size=2)),
    (layers.Conv3D, (4, 5, 4, 2), dict(kernel_size=2, padding="same", strides=2)),
]
MORE_CONVOLUTIONS = [
    *[(layers.Conv1D, (8, 4), dict(kernel_size=3, padding=padding, strides=strides, dilation_rate=dilation))
      for padding in ("valid", "same", "causal") for strides, dilation in ((1, 1), (2, 1), (1, 2))],
    *[(layers.Conv2D, (6, 7, 4), dict(kernel_size=(3, 2), padding=padding, strides=strides, dilation_rate=dilation))
      for padding in ("valid", "same") for strides, dilation in ((1, 1), (2, 1), ((2, 3), 1), (1, 2))],
    (layers.Conv2D, (5, 5, 4), dict(kernel_size=1, strides=2)),
    (layers.Conv3D, (4, 5, 4, 2), dict(kernel_size=(1, 2, 3))),
]
TRANSPOSED = [
    (layers.Conv1DTranspose, (5, 4), dict(kernel_size=3, padding="same", strides=2)),
    (layers.Conv2DTranspose, (4, 5, 4), dict(kernel_size=(2, 3), strides=2, padding="same", use_bias=False)),
    (layers.Conv3DTranspose, (2, 3, 3, 4), dict(kernel_size=2, strides=2, padding="same")),
]
MORE_TRANSPOSED = [
    (layers.Conv1DTranspose, (5, 4), dict(kernel_size=3)),
    (layers.Conv2DTranspose, (4, 5, 4), dict(kernel_size=3, strides=2)),
    (layers.Conv2DTranspose, (4, 5, 4), dict(kernel_size=2, strides=3)),
    (layers.Conv2DTranspose, (4, 5, 4), dict(kernel_size=3, strides=2, padding="same", output_padding=1)),
]


def conv_id(case):
    return getattr(case, "__name__", None) or ("-".join(map(str, case.values())) if isinstance(case, dict) else "")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind, shape, settings", [*CONVOLUTIONS, *slow(*MORE_CONVOLUTIONS)], ids=conv_id)
def test_convolution(kind, shape, settings, dtype):
    check(lambda dtype: kind(4, activation="tanh", dtype=dtype, **settings), shape, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind, shape, settings", [
    (layers.DepthwiseConv1D, (8, 4), dict(kernel_size=3, dilation_rate=2, depth_multiplier=2)),
    (layers.DepthwiseConv2D, (6, 7, 4), dict(kernel_size=3, padding="same", depth_multiplier=2, use_bias=False)),
    (layers.DepthwiseConv2D, (6, 6, 4), dict(kernel_size=(2, 3), strides=2)),
    *slow(
        (layers.DepthwiseConv1D, (8, 4), dict(kernel_size=3, padding="same", strides=2)),
        (layers.DepthwiseConv2D, (6, 7, 4), dict(kernel_size=3)),
        (layers.DepthwiseConv2D, (6, 6, 4), dict(kernel_size=2, dilation_rate=2)),
    ),
], ids=conv_id)
def test_depthwise_convolution(kind, shape, settings, dtype):
    check(lambda dtype: kind(activation="tanh", dtype=dtype, **settings), shape, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind, shape, settings", [
    (layers.SeparableConv1D, (8, 4), dict(kernel_size=3, depth_multiplier=2, use_bias=False)),
    (layers.SeparableConv2D, (6, 6, 4), dict(kernel_size=3, padding="same", depth_multiplier=2, strides=2)),
    *slow(
        (layers.SeparableConv1D, (8, 4), dict(kernel_size=3, padding="same", strides=2)),
        (layers.SeparableConv2D, (6, 7, 4), dict(kernel_size=(3, 2))),
        (layers.SeparableConv2D, (6, 6, 4), dict(kernel_size=2, dilation_rate=2)),
    ),
], ids=conv_id)
def test_separable_convolution(kind, shape, settings, dtype):
    check(lambda dtype: kind(5, activation="tanh", dtype=dtype, **settings), shape, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind, shape, settings", [*TRANSPOSED, *slow(*MORE_TRANSPOSED)], ids=conv_id)
def test_transposed_convolution(kind, shape, settings, dtype):
    check(lambda dtype: kind(3, activation="tanh", dtype=dtype, **settings), shape, dtype)


@pytest.mark.parametrize("settings", [
    dict(kernel_size=(3, 3)), dict(kernel_size=(2, 3), padding="same"), dict(kernel_size=(3, 2), dilation_rate=2),
    dict(kernel_size=(1, 3), strides=(1, 2), padding="same"), dict(kernel_size=(2, 1), padding="same"),
    dict(kernel_size=(3, 2, 2), padding="same"), dict(kernel_size=(2, 3, 2), dilation_rate=(2, 1, 1)),
], ids=conv_id)
def test_kernel_gradients_by_offset_equal_those_from_patches(settings):
    rank = len(settings["kernel_size"])
    layer = (layers.Conv2D if rank == 2 else layers.Conv3D)(4, **settings)
    random = np.random.default_rng(0)
    x = random.normal(size=(3, *(7, 6, 5)[:rank], 2)).astype("float32")
    d = random.normal(size=layer(x).shape).astype("float32")
    axes = _axes(x, layer)
    plain = np.einsum("ntkc,ntf->nkcf", patches_of(x, axes), d.reshape(len(d), -1, 4))
    np.testing.assert_allclose(_kernel_gradients(x, d, axes), plain, atol=1e-4)


@pytest.fixture
def by_pixel_pairs(monkeypatch):
    """Convolutions use pairs of pixels at any cost."""
    monkeypatch.setattr(Convolved, "cost", lambda self: 0)


@pytest.mark.parametrize("kind, shape, settings", [
    *CONVOLUTIONS[3:5], TRANSPOSED[1],
    *slow(*CONVOLUTIONS[:3], *CONVOLUTIONS[5:], *MORE_CONVOLUTIONS, TRANSPOSED[0], TRANSPOSED[2], *MORE_TRANSPOSED),
], ids=conv_id)
def test_convolution_by_pixel_pairs(kind, shape, settings, by_pixel_pairs):
    check(lambda dtype: kind(4, activation="tanh", dtype=dtype, **settings), shape, "float64")


def test_convolution_by_pixel_pairs_in_slices(by_pixel_pairs, monkeypatch):
    model = classifier((6, 5, 2), lambda dtype: layers.Conv2D(4, 3, padding="same", activation="tanh"))
    (x, y), (x2, y2) = examples(11, 6, 5, 2), examples(7, 6, 5, 2)
    monkeypatch.setattr("stiffness.engine.features.SIDE", 3)
    for columns in ((), (x2, y2)):
        plain = gradient_gram(model, x, y, *columns, loss=CROSS_ENTROPY, method="jacobian").products
        for _ in range(3):  # the last one compiled
            sliced = gradient_gram(model, x, y, *columns, loss=CROSS_ENTROPY, method="closed-form").products
            np.testing.assert_allclose(sliced, plain, rtol=1e-4, atol=1e-6)
        assert columns or (sliced == sliced.T).all()


def test_convolution_by_pixel_pairs_in_tiles(by_pixel_pairs):
    model = classifier((6, 5, 2), lambda dtype: layers.Conv2D(4, 3, padding="same", activation="tanh"))
    (x, y), (x2, y2) = examples(40, 6, 5, 2), examples(9, 6, 5, 2)
    by_kernels = gradient_gram(model, x, y, x2, y2, loss=CROSS_ENTROPY, method="jacobian")
    gram = gradient_gram(model, x, y, x2, y2, loss=CROSS_ENTROPY, method="closed-form", memory_budget=100_000)
    np.testing.assert_allclose(gram.products, by_kernels.products, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose([*gram.norms, *gram.norms2], [*by_kernels.norms, *by_kernels.norms2], rtol=1e-4)
    C = cosine_class_stiffness(model, x, y, x2=x2, y2=y2, loss=CROSS_ENTROPY, method="closed-form")
    np.testing.assert_allclose(C, class_stiffness(gram.cosine(), y, y2), atol=1e-5)


def test_a_convolution_with_many_channels_uses_pixel_pairs():
    layer = layers.Conv2D(256, 3, padding="same")
    layer.build((None, 4, 4, 128))
    a, d = np.ones((2, 4, 4, 128), "float32"), np.ones((2, 4, 4, 256), "float32")
    assert [type(feature) for feature in rule_of(layer).features([(layer, a, d)])] == [Convolved, Factors]


@pytest.mark.parametrize("layer", [
    lambda: layers.Conv1D(3, 3, data_format="channels_first"),
    lambda: layers.Conv2D(3, 1, data_format="channels_first"),
    lambda: layers.Conv2D(5, 3, strides=2, padding="same", data_format="channels_first"),
    lambda: layers.DepthwiseConv2D(3, data_format="channels_first"),
    lambda: layers.SeparableConv2D(3, 3, data_format="channels_first"),
    lambda: layers.Conv2DTranspose(3, 3, data_format="channels_first"),
    lambda: layers.BatchNormalization(axis=1),
    lambda: layers.GroupNormalization(2, axis=1),
])
def test_channels_first(layer):
    layer = layer()
    shape = (4, 6) if isinstance(layer, layers.Conv1D) else (4, 7, 7)
    x, y = examples(4, *shape)
    model = keras.Sequential([keras.Input(shape), layer, layers.Flatten(), layers.Dense(3)])
    try:
        model(x[:1])
    except Exception as error:  # TensorFlow raises several types
        pytest.skip(f"the backend has no channels_first here: {type(error).__name__}")
    agrees(model, x, y)


def test_a_closed_form_that_does_not_apply_is_detected():
    # Keras adds this bias along the last axis, because its size equals the number of filters
    model = keras.Sequential([keras.Input((4, 6)), layers.Conv1D(4, 3, data_format="channels_first"),
                              layers.Flatten(), layers.Dense(3)])
    agrees(model, *examples(4, 4, 6), method="auto")
    with pytest.raises(ValueError, match="no closed form for"):
        agrees(model, *examples(4, 4, 6), perturbed=False)


# --- scale and shift ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("make, shape", [
    (lambda **k: layers.LayerNormalization(**k), (3, 6)),
    (lambda **k: layers.LayerNormalization(axis=[1, 2], **k), (3, 6)),
    (lambda **k: layers.LayerNormalization(center=False, **k), (3, 6)),
    pytest.param(lambda **k: layers.RMSNormalization(**k), (3, 6), marks=newer("RMSNormalization")),
    (lambda **k: layers.GroupNormalization(2, **k), (4, 4, 6)),
    (lambda **k: layers.GroupNormalization(3, center=False, **k), (6,)),
    (lambda **k: layers.BatchNormalization(**k), (4, 4, 6)),
    (lambda **k: layers.BatchNormalization(axis=1, **k), (3, 6)),
    (lambda **k: layers.BatchNormalization(scale=False, **k), (3, 6)),
    *slow(
        (lambda **k: layers.LayerNormalization(**k), (6,)),
        (lambda **k: layers.LayerNormalization(axis=1, **k), (3, 6)),
        (lambda **k: layers.LayerNormalization(axis=[-1, -2], **k), (2, 3, 6)),
        (lambda **k: layers.LayerNormalization(scale=False, **k), (3, 6)),
        (lambda **k: layers.RMSNormalization(axis=[1, 2], **k), (3, 6)),
        (lambda **k: layers.GroupNormalization(-1, **k), (4, 6)),
        (lambda **k: layers.BatchNormalization(**k), (6,)),
    ),
    pytest.param(lambda **k: layers.LayerNormalization(rms_scaling=True, **k), (3, 6), marks=[
        pytest.mark.slow, pytest.mark.filterwarnings("ignore:You passed `rms_scaling=True`, which is deprecated")]),
])
def test_normalisation(make, shape, dtype):
    # `agrees` perturbs the statistics of BatchNormalization too
    check(lambda dtype: make(dtype=dtype), shape, dtype)


# --- tables ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mask_zero", [False, True])
def test_embedding(mask_zero, dtype):
    model = keras.Sequential([keras.Input((5,), dtype="int32"),
                              layers.Embedding(7, 4, mask_zero=mask_zero, dtype=dtype),
                              layers.GlobalAveragePooling1D(dtype=dtype), layers.Dense(3, dtype=dtype)])
    agrees(model, *tokens(6))


def test_embedding_of_float_tokens_called_twice():
    inputs, embedding = [keras.Input((5,)), keras.Input((3,))], layers.Embedding(7, 4)
    both = layers.Concatenate(axis=1)([embedding(part) for part in inputs])
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(both)))
    (first, y), (second, _) = tokens(6), tokens(6, 3)
    agrees(model, [first.astype("float32"), second.astype("float32")], y)


@newer("ReversibleEmbedding")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("reverse", [True, False])
def test_reversible_embedding(tied, reverse, dtype):
    inputs = keras.Input((5,), dtype="int32")
    embedding = layers.ReversibleEmbedding(7, 4, tie_weights=tied, dtype=dtype)
    hidden = layers.Dense(4, "tanh", dtype=dtype)(embedding(inputs))
    outputs = embedding(hidden, reverse=True) if reverse else layers.Dense(7, dtype=dtype)(hidden)
    x, _ = tokens(6)
    agrees(keras.Model(inputs, outputs), x, np.roll(x, -1, axis=1))


# --- composite layers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("settings", [dict(value_dim=2, output_shape=5), *slow(dict(), dict(use_bias=False))])
def test_multi_head_attention(settings, dtype):
    inputs = keras.Input((4, 6), dtype=dtype)
    outputs = layers.MultiHeadAttention(2, 3, dtype=dtype, **settings)(inputs, inputs)
    model = keras.Model(inputs, layers.Dense(3, dtype=dtype)(layers.Flatten(dtype=dtype)(outputs)))
    agrees(model, *examples(5, 4, 6, dtype=dtype))


def test_grouped_query_attention():
    inputs = keras.Input((4, 6))
    outputs = layers.GroupQueryAttention(3, 4, 2)(inputs, inputs, use_causal_mask=True)
    agrees(keras.Model(inputs, layers.Dense(3)(layers.Flatten()(outputs))), *examples(5, 4, 6))


def test_a_masked_transformer_with_a_sequence_loss():
    inputs = keras.Input((5,), dtype="int32")
    hidden = layers.Embedding(7, 4, mask_zero=True)(inputs)
    hidden = layers.LayerNormalization()(hidden + layers.MultiHeadAttention(2, 2)(hidden, hidden))
    x, _ = tokens(6)
    x[:, 2:] *= np.arange(6)[:, None] % 2  # masks of two lengths
    x[:, 0] = 1
    agrees(keras.Model(inputs, layers.Dense(7)(hidden)), x, np.roll(x, -1, axis=1))


@pytest.mark.parametrize("make", [
    lambda: layers.Dense(4, "tanh"),
    lambda: layers.EinsumDense("ab,bc->ac", 4, "tanh", bias_axes="c"),
    lambda: layers.LayerNormalization(),
], ids=["Dense", "EinsumDense", "LayerNormalization"])
def test_shared_layer(make):
    shared, inputs = make(), keras.Input((4,))
    hidden = shared(layers.Dense(4, "tanh")(shared(inputs)))
    agrees(keras.Model(inputs, layers.Dense(3)(hidden)), *examples(6, 4))


def test_shared_convolution_on_two_sizes():
    shared, inputs = layers.Conv2D(2, 3, padding="same", activation="tanh"), keras.Input((6, 6, 2))
    hidden = shared(layers.MaxPooling2D()(shared(inputs)))
    agrees(keras.Model(inputs, layers.Dense(3)(layers.Flatten()(hidden))), *examples(5, 6, 6, 2))


class Twin(layers.Dense):
    """A Dense layer with another layer's kernel and its own bias."""

    def __init__(self, other):
        super().__init__(other.units, "tanh")
        self.other = [other]  # not a sublayer

    def build(self, input_shape):
        self._kernel = self.other[0]._kernel
        self.bias = self.add_weight(shape=(self.units,), name="bias")
        self.built = True


def test_variable_shared_by_two_layers():
    inputs, first = keras.Input((4,)), layers.Dense(4, "tanh")
    model = keras.Model(inputs, layers.Dense(3)(Twin(first)(first(inputs))))
    assert len(model.trainable_variables) == 5
    agrees(model, *examples(6, 4))


class Doubling(layers.Layer):
    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")

    def call(self, inputs):
        return inputs * self.scale


@pytest.mark.parametrize("layer, shape", [
    (lambda: layers.PReLU(), (4,)), (Doubling, (4,)), (lambda: layers.ConvLSTM1D(2, 3), (4, 6, 2)),
    (lambda: layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)]), (5, 4)),
], ids=["PReLU", "custom", "ConvLSTM1D", "stacked cells"])
def test_the_call_of_that_layer_only_is_repeated(layer, shape, caplog):
    layer = layer()
    with caplog.at_level(logging.INFO, "stiffness"):
        check(lambda dtype: layer, shape, method="auto")
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("stiffness")]
    assert len(lines) == 1
    assert lines[0].startswith("no closed form for ")
    named = lines[0].removeprefix("no closed form for ").split(":")[0].split(", ")
    assert sorted(named) == sorted(v.path for v in layer.trainable_variables)


@pytest.mark.parametrize("make", [
    lambda: layers.Conv2D(3, 3), lambda: layers.LayerNormalization(),
    *slow(lambda: layers.DepthwiseConv2D(3), lambda: layers.SeparableConv2D(3, 3),
          lambda: layers.EinsumDense("...x,xy->...y", 4, bias_axes="y")),
])
def test_frozen_variables_of_a_layer(make):
    built = make()
    built.build((None, 6, 6, 2))
    for number in range(len(built.trainable_variables)):
        layer = make()
        model = keras.Sequential([keras.Input((6, 6, 2)), layer, layers.Flatten(), layers.Dense(3)])
        layer.trainable_variables[number].trainable = False
        agrees(model, *examples(4, 6, 6, 2))


@pytest.mark.parametrize("shape", [(4,), (3, 4)])
def test_dense_with_lora(shape):
    layer = layers.Dense(5, "tanh")
    model = keras.Sequential([keras.Input(shape), layer, layers.Flatten(), layers.Dense(3)])
    layer.enable_lora(2)
    gram = agrees(model, *examples(5, *shape))
    assert len(model.trainable_variables) == 5
    assert sum(gram.shares.values()) == pytest.approx(1)


@pytest.mark.parametrize("make, shape", [
    (lambda: layers.EinsumDense("ab,bc->ac", 5, "tanh", bias_axes="c"), (4,)),
    (lambda: layers.EinsumDense("abc,cde->abde", (3, 2, 5), bias_axes="de"), (3, 4)),
    (lambda: layers.EinsumDense("abde,dec->abc", (3, 5)), (3, 2, 4)),
    (lambda: layers.EinsumDense("...x,xy->...y", 5), (3, 4)),
    (lambda: layers.Embedding(7, 4), (4,)),
    (lambda: layers.MultiHeadAttention(2, 3), (4, 6)),
])
def test_other_layers_with_lora(make, shape):
    layer, inputs = make(), keras.Input(shape)
    attends = isinstance(layer, layers.MultiHeadAttention)
    hidden = layer(inputs, inputs) if attends else layer(inputs)
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(hidden)))
    for part in layer._flatten_layers():
        if isinstance(part, layers.EinsumDense | layers.Embedding):
            has_alpha = "lora_alpha" in inspect.signature(part.enable_lora).parameters
            part.enable_lora(2, **{"lora_alpha": 3} if has_alpha else {})
    agrees(model, *(tokens(5, 4) if isinstance(layer, layers.Embedding) else examples(5, *shape)))


@pytest.mark.parametrize("equation", ["abc,bcd->abd", "ab,cb->ac"])
def test_convolutions_and_odd_einsums_with_lora_are_repeated(equation):
    layer = layers.EinsumDense(equation, (3, 5) if "d" in equation else 5)
    model = keras.Sequential([keras.Input((3, 4) if "d" in equation else (4,)), layer, layers.Flatten(),
                              layers.Dense(3)])
    layer.enable_lora(2)
    agrees(model, *examples(5, *model.input_shape[1:]), method="auto")
    model = keras.Sequential([keras.Input((6, 6, 2)), layers.Conv2D(3, 3), layers.Flatten(), layers.Dense(3)])
    model.layers[0].enable_lora(2)
    agrees(model, *examples(5, 6, 6, 2), method="auto")


# --- recurrent layers -----------------------------------------------------------------------------------------------


RECURRENT = [
    (layers.LSTM, dict()), (layers.GRU, dict()), (layers.SimpleRNN, dict(return_sequences=True)),
    (layers.GRU, dict(reset_after=False, go_backwards=True)), (layers.LSTM, dict(go_backwards=True, use_bias=False)),
    *slow((layers.LSTM, dict(return_sequences=True)), (layers.GRU, dict(use_bias=False, return_sequences=True)),
          (layers.GRU, dict(reset_after=False, use_bias=False)), (layers.SimpleRNN, dict(unroll=True)),
          (layers.LSTM, dict(unroll=True, recurrent_dropout=0.3, dropout=0.2)),
          (layers.SimpleRNN, dict(use_bias=False))),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind, settings", RECURRENT)
def test_recurrent_layer(kind, settings, dtype):
    check(lambda dtype: kind(4, dtype=dtype, **settings), (5, 4), dtype)


@pytest.mark.parametrize("kind, settings", [
    (layers.LSTM, dict(return_sequences=True)), (layers.GRU, dict()), *slow(
        (layers.SimpleRNN, dict(go_backwards=True, return_sequences=True)), (layers.LSTM, dict(go_backwards=True)))])
@pytest.mark.parametrize("both", [False, True])
def test_masked_recurrent_layer(kind, settings, both):
    inputs = keras.Input((5,), dtype="int32")
    layer = kind(3, **settings)
    hidden = (layers.Bidirectional(kind(3, **settings | {"go_backwards": False})) if both else layer)(
        layers.Embedding(7, 4, mask_zero=True)(inputs))
    hidden = layers.GlobalAveragePooling1D()(hidden) if settings.get("return_sequences") else hidden
    x, y = tokens(6)
    x[:, 2:] *= np.arange(6)[:, None] % 2  # padded after two tokens
    x[:, :2] = 1
    agrees(keras.Model(inputs, layers.Dense(3)(hidden)), x, y)


def test_states_passed_from_one_recurrent_layer_to_another():
    inputs = keras.Input((5, 4))
    hidden, *states = layers.LSTM(3, return_sequences=True, return_state=True)(inputs)
    outputs = layers.LSTM(3)(hidden, initial_state=states)
    agrees(keras.Model(inputs, layers.Dense(3)(outputs)), *examples(6, 5, 4))


def test_a_recurrent_layer_called_twice():
    inputs, shared = [keras.Input((5, 4)), keras.Input((3, 4))], layers.GRU(3)
    model = keras.Model(inputs, layers.Dense(3)(layers.Add()([shared(part) for part in inputs])))
    (first, y), (second, _) = examples(6, 5, 4), examples(6, 3, 4)
    agrees(model, [first, second], y)


# --- layers without a closed form -----------------------------------------------------------------------------------


class Mixture(layers.Layer):
    """Weights that are no elementwise factors: a kernel of its own, and a temperature inside a softmax."""

    def build(self, shape):
        self.mixing = self.add_weight(shape=(shape[-1], shape[-1]), name="mixing")
        self.temperature = self.add_weight(shape=(), initializer="ones", name="temperature")

    def call(self, inputs):
        return ops.softmax(ops.matmul(inputs, self.mixing) * self.temperature, axis=-1)


def test_weights_that_are_not_elementwise_are_repeated():
    model = keras.Sequential([keras.Input((4, 4)), layers.Dense(4, "tanh"), Mixture(), layers.Flatten(),
                              layers.Dense(3)])
    ways = agrees(model, *examples(5, 4, 4), method="auto", times=3).ways
    assert sorted(ways.values()) == [CLOSED_FORM, CLOSED_FORM, LAYER]


class ClassToken(layers.Layer):
    """Puts a learned token before the sequence and adds learned positions: two weights that all examples share."""

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, shape[-1]), name="token")
        self.positions = self.add_weight(shape=(shape[1] + 1, shape[-1]), name="positions")

    def call(self, inputs):
        token = ops.tile(self.token, (ops.shape(inputs)[0], 1, 1))
        return ops.concatenate([token, inputs], axis=1) + self.positions


class PositionsByNumber(layers.Layer):
    """Looks up positions that are the same for all examples."""

    def __init__(self, length, width):
        super().__init__()
        self.table = layers.Embedding(length, width)

    def call(self, inputs):
        return inputs + self.table(ops.arange(inputs.shape[1]))


class Scaled(layers.Layer):
    """A weight of its own beside large layers inside: their calls are left out when its own is repeated."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = layers.Dense(9, "tanh"), layers.Dense(4)
        self.norm = layers.LayerNormalization()

    def build(self, shape):
        self.scale = self.add_weight(shape=(), initializer="ones", name="gain")
        self.bias = self.add_weight(shape=(9,), name="offset")

    def call(self, inputs):
        hidden = self.inner(self.norm(inputs) * self.scale) + self.bias
        return inputs + self.scale * self.outer(ops.relu(hidden))


class Windows(layers.Layer):
    """Attention within windows: its layers see the windows of all examples as a batch."""

    def __init__(self):
        super().__init__()
        self.attention, self.norm = layers.MultiHeadAttention(2, 2), layers.LayerNormalization()

    def call(self, inputs):
        windows = ops.reshape(inputs, (-1, 2, inputs.shape[-1]))
        windows = self.norm(windows + self.attention(windows, windows))
        return ops.reshape(windows, (-1, *inputs.shape[1:]))


class Frames(layers.Layer):
    """A convolution of several images of each example."""

    def __init__(self):
        super().__init__()
        self.convolution = layers.Conv1D(2, 2, activation="tanh")

    def call(self, inputs):
        images = self.convolution(ops.reshape(inputs, (-1, 2, inputs.shape[-1])))
        return ops.reshape(images, (-1, inputs.shape[1] // 2, images.shape[-1]))


class TimeMajor(layers.Layer):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(4, "tanh")

    def call(self, inputs):
        return ops.transpose(self.dense(ops.transpose(inputs, (1, 0, 2))), (1, 0, 2))


@pytest.mark.parametrize("make, repeated", [
    (ClassToken, ["token", "positions"]), (lambda: PositionsByNumber(4, 4), []), (Scaled, ["gain", "offset"]),
    (Windows, []), (TimeMajor, []), (lambda: layers.PReLU(), ["alpha"]),
    (lambda: layers.SpectralNormalization(layers.Dense(4)), []),
    (lambda: layers.TimeDistributed(layers.Dense(4)), []), (Frames, []),
], ids=lambda value: getattr(value, "__name__", ""))
def test_layers_that_mix_axes_or_have_weights_of_their_own(make, repeated):
    model = keras.Sequential([keras.Input((4, 4)), layers.Dense(4, "tanh"), make(), layers.Flatten(), layers.Dense(3)])
    ways = agrees(model, *examples(5, 4, 4), method="auto", times=3).ways
    own = {v.path.rpartition("/")[0] for v in model.layers[1].trainable_variables if v.name in repeated}
    assert {label for label, way in ways.items() if way == ELEMENTWISE} == own
    assert set(ways.values()) <= {CLOSED_FORM, ELEMENTWISE}


class Traced(layers.Layer):
    """Its call is a graph of its own, in which a layer is called."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(4, "tanh")

    @tf.function
    def call(self, inputs):
        return self.dense(inputs)


def test_a_layer_called_inside_a_graph_of_its_own():
    model, (x, y) = keras.Sequential([Traced(), layers.Dense(3)]), examples(5, 4)
    model(np.zeros((9, 4)))  # TensorFlow keeps the weights of this call as constants in the graph for nine examples
    gram = agrees(model, x, y, method="auto")
    assert {"traced" in label: way for label, way in gram.ways.items()} == {False: CLOSED_FORM, True: MODEL}
    before = model(x).numpy()
    gradient_gram(model, x, y, loss=CROSS_ENTROPY)
    for v in model.trainable_variables:
        v.assign(2 * v)
    assert np.abs(model(x).numpy() - before).max() > 0.1  # no graph of the model's own has kept anything


def test_a_layer_called_in_a_loop():
    class Steps(layers.Layer):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(4, "tanh")

        def call(self, inputs):
            return tf.while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, self.dense(x)), (0, inputs))[1]

    model = keras.Sequential([keras.Input((4,)), layers.Dense(4), Steps(), layers.Dense(3)])
    gram = agrees(model, *examples(5, 4), method="auto")
    assert set(gram.ways.values()) == {CLOSED_FORM}  # TensorFlow runs the loop step by step


# --- models ---------------------------------------------------------------------------------------------------------


def two_inputs(names=("first", "second")):
    inputs = [keras.Input((4,), name=names[0]), keras.Input((3,), name=names[1])]
    hidden = layers.Concatenate()([layers.Dense(4, "tanh")(part) for part in inputs])
    return inputs, layers.Dense(3)(hidden)


def test_several_inputs():
    (first, y), (second, _) = examples(6, 4), examples(6, 3)
    inputs, outputs = two_inputs()
    as_list = agrees(keras.Model(inputs, outputs), [first, second], y)
    named = keras.Model({"first": inputs[0], "second": inputs[1]}, outputs)
    as_dictionary = agrees(named, {"first": first, "second": second}, y, perturbed=False)
    np.testing.assert_array_equal(as_list.products, as_dictionary.products)


def test_a_data_set_as_input():
    model, (x, y) = classifier((4,), lambda _: layers.Dense(5, "tanh")), examples(7, 4)
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(3)
    plain = agrees(model, x, y)
    np.testing.assert_array_equal(gradient_gram(model, data, loss=CROSS_ENTROPY).products, plain.products)
    both = gradient_gram(model, x, y, data, loss=CROSS_ENTROPY)
    np.testing.assert_allclose(both.products, plain.products, rtol=1e-4, atol=1e-6)


def test_a_data_set_of_dictionaries():
    (first, y), (second, _) = examples(7, 4), examples(7, 3)
    inputs, outputs = two_inputs()
    model = keras.Model({"first": inputs[0], "second": inputs[1]}, outputs)
    x = {"first": first, "second": second}
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(3)
    np.testing.assert_array_equal(gradient_gram(model, data, loss=CROSS_ENTROPY).products,
                                  agrees(model, x, y, perturbed=False).products)


class Residual(layers.Layer):
    def __init__(self, width):
        super().__init__()
        self.normalise = layers.LayerNormalization()
        self.inner, self.outer = layers.Dense(7, "gelu"), layers.Dense(width)

    def call(self, inputs):
        return inputs + self.outer(self.inner(self.normalise(inputs)))


class Subclassed(keras.Model):
    """Contains equal layer names, a nested model, and a weight of its own."""

    def __init__(self):
        super().__init__()
        self.blocks = [Residual(4), Residual(4)]
        self.body = keras.Sequential([keras.Input((4,)), layers.Dense(4, "tanh", name="same")])
        self.head = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="same")])

    def call(self, inputs):
        for block in self.blocks:
            inputs = block(inputs)
        return self.head(self.body(inputs))


def test_subclassed_and_nested_models():
    model, (x, y) = Subclassed(), examples(6, 4)
    model(x)
    gram = agrees(model, x, y, per_layer=True)
    assert len(gram.shares) == 8  # layers of the same name are distinguished
    np.testing.assert_allclose(sum(gram.layers.values()), gram.products, rtol=1e-4, atol=1e-5)


class WithWeight(keras.Model):
    def __init__(self):
        super().__init__()
        self.head = layers.Dense(3)
        self.scale = self.add_weight(shape=(4,), initializer="ones", name="scale")

    def call(self, inputs):
        return self.head(inputs * self.scale)


def test_a_model_with_a_weight_of_its_own():
    model, (x, y) = WithWeight(), examples(6, 4)
    model(x)
    agrees(model, x, y, method="auto")


@pytest.mark.parametrize("policy, tolerance", [("mixed_float16", 2e-2), ("mixed_bfloat16", 1e-1), ("bfloat16", 1e-1)])
def test_mixed_precision_accumulates_in_single_precision(policy, tolerance):
    model = keras.Sequential([keras.Input((6, 6, 2)), layers.Conv2D(3, 3, activation="tanh", dtype=policy),
                              layers.Flatten(dtype=policy), layers.LayerNormalization(dtype=policy),
                              layers.Dense(8, "tanh", dtype=policy), layers.Dense(3, dtype=policy)])
    gram = agrees(model, *examples(5, 6, 6, 2), tolerance=tolerance)
    assert gram.products.dtype == np.float32


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16"])
def test_a_loss_of_ones_own_in_half_precision(policy):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8, "tanh", dtype=policy), layers.Dense(3, dtype=policy)])
    x, y = examples(6, 4)
    agrees(model, x, np.eye(3)[y], loss=lambda y_true, y_pred: ops.sum((y_true - y_pred) ** 2, axis=-1), tolerance=1e-1)



@pytest.mark.parametrize("loss, outputs, labels", [
    (keras.losses.SparseCategoricalCrossentropy(True), 3, lambda rng: rng.integers(0, 3, (6, 5))),
    (keras.losses.CategoricalCrossentropy(True), 3, lambda rng: np.eye(3)[rng.integers(0, 3, (6, 5))]),
    (keras.losses.MeanSquaredError(), 2, lambda rng: rng.normal(size=(6, 5, 2))),
    (keras.losses.Huber(), 2, lambda rng: rng.normal(size=(6, 5, 2))),
    (keras.losses.BinaryCrossentropy(True), 1, lambda rng: rng.integers(0, 2, (6, 5, 1))),
    (keras.losses.SparseCategoricalCrossentropy(True, -1), 3, lambda rng: rng.integers(-1, 3, (6, 5))),
], ids=lambda case: getattr(case, "name", ""))
def test_losses_of_sequences(loss, outputs, labels):
    model = keras.Sequential([keras.Input((5, 4)), layers.Dense(4, "tanh"), layers.Dense(outputs)])
    agrees(model, examples(6, 5, 4)[0], labels(np.random.default_rng(0)), loss)


def test_a_loss_by_its_name_and_by_a_function():
    model, (x, y) = classifier((4,), lambda _: layers.Dense(5, "tanh")), examples(6, 4)
    target = np.eye(3, dtype="float32")[y]
    plain = agrees(model, x, target, keras.losses.MeanSquaredError())
    for loss in ("mse", keras.losses.mean_squared_error, lambda t, p: ops.mean((t - p) ** 2, axis=-1)):
        np.testing.assert_allclose(gradient_gram(model, x, target, loss=loss).products, plain.products, rtol=1e-5)


# --- keras-hub ------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_keras_hub_transformer_encoder():
    hub = pytest.importorskip("keras_hub", reason="keras_hub is not installed")
    inputs = keras.Input((6,), dtype="int32")
    hidden = hub.layers.TokenAndPositionEmbedding(11, 6, 8)(inputs)
    hidden = hub.layers.TransformerEncoder(12, 2)(hidden)
    hidden = hub.layers.TransformerEncoder(12, 2, normalize_first=True)(hidden)
    agrees(keras.Model(inputs, layers.Dense(3)(hidden[:, 0])), *tokens(5, 6, 11))


@pytest.mark.filterwarnings("ignore::UserWarning")  # of T5, about its mask
@pytest.mark.parametrize("name, settings", [
    ("LlamaBackbone", {"num_query_heads": 2, "num_key_value_heads": 1}),
    ("GemmaBackbone", {"num_query_heads": 2, "num_key_value_heads": 1, "head_dim": 4}),
    ("T5Backbone", {"num_heads": 2}),
])
def test_norms_of_keras_hub_are_measured_for_all_examples_at_once(name, settings):
    hub = pytest.importorskip("keras_hub", reason="keras_hub is not installed")
    backbone = getattr(hub.models, name)(vocabulary_size=11, num_layers=1, hidden_dim=8, intermediate_dim=12,
                                         **settings)
    output = backbone.output["decoder_sequence_output"] if isinstance(backbone.output, dict) else backbone.output
    model = keras.Model(backbone.input, layers.Dense(3)(output[:, -1]))
    ids, y = tokens(5, 6, 11)
    x = {name: np.ones_like(ids) if "mask" in name else ids for name in backbone.input}
    gram = agrees(model, x, y, method="auto", perturbed=False)
    norms = {way for label, way in gram.ways.items() if "norm" in label}
    assert norms and norms <= {CLOSED_FORM, ELEMENTWISE}, gram.ways


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_keras_hub_bert_classifier():
    hub = pytest.importorskip("keras_hub", reason="keras_hub is not installed")
    backbone = hub.models.BertBackbone(vocabulary_size=13, num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=12,
                                       max_sequence_length=6)
    model = hub.models.BertClassifier(backbone, num_classes=3, preprocessor=None)
    x, y = tokens(5, 6, 13)
    inputs = {"token_ids": x, "segment_ids": np.arange(30).reshape(5, 6) % 2, "padding_mask": np.ones_like(x)}
    inputs["padding_mask"][:, 4:] = np.arange(5)[:, None] % 2
    agrees(model, inputs, y)
