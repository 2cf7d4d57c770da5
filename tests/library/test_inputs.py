"""Whatever `fit` takes is measured, or refused in words: the same examples in another form give the same matrix."""

import functools
import itertools
import tracemalloc

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from stiffness import cosine_class_stiffness, gradient_gram, gradient_norms, nearest_gradients
from tests.library.test_gram import CROSS_ENTROPY, classifier, examples

X, Y = examples(7)
X = X.astype("float32")


class Batches(keras.utils.PyDataset):
    def __init__(self, length=3):
        super().__init__()
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, i):
        return X[3 * i : 3 * i + 3], Y[3 * i : 3 * i + 3]


class Endless(Batches):
    @property
    def num_batches(self):
        return None


class Loader:
    """Iterable, as a data loader of PyTorch."""

    def __iter__(self):
        return iter([(X[:4], Y[:4]), (X[4:], Y[4:])])


def generator():
    yield X[:5], Y[:5]
    yield X[5:], Y[5:]


SLICES = tf.data.Dataset.from_tensor_slices((X, Y))


@pytest.mark.parametrize("data", [
    lambda: SLICES, lambda: SLICES.batch(3), lambda: SLICES.batch(3).prefetch(1), lambda: SLICES.repeat().take(7),
    lambda: SLICES.batch(2).filter(lambda x, y: True), Batches, generator, Loader, lambda: iter(zip(X, Y)),
    lambda: (X, Y), lambda: (tf.constant(X), tf.constant(Y)),
], ids=["unbatched", "batched", "prefetched", "repeated", "of unknown length", "PyDataset", "generator", "loader",
        "generator of examples", "tuple", "tuple of tensors"])
def test_sources_that_bring_their_labels(data):
    model = classifier(layers.Dense(5, "tanh"))
    plain = gradient_gram(model, X, Y, loss=CROSS_ENTROPY).products
    np.testing.assert_allclose(gradient_gram(model, data(), loss=CROSS_ENTROPY).products, plain, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(gradient_gram(model, X, Y, data(), loss=CROSS_ENTROPY).products, plain, rtol=1e-4,
                               atol=1e-6)


@pytest.mark.parametrize("data, match", [
    (lambda: SLICES.repeat(), r"x is an infinite data set; pass a finite part of it, x.take\(batches\)"),
    (lambda: SLICES.repeat().filter(lambda x, y: True).batch(3), r"x has given 2,00\d examples without an end"),
    (lambda: SLICES.batch(3).repeat(), "x is an infinite data set"),
    (Endless, "x is a PyDataset without an end; define its __len__ or num_batches"),
    (lambda: itertools.cycle([(X, Y)]), r"x has given 2,00\d examples without an end, so it may be infinite"),
    (lambda: iter([]), "x is empty"), (lambda: iter([(X, Y, Y)]), "sample weights have no part in the measure"),
    (lambda: iter([X]), r"whose elements are no \(x, y\) batches"),
])
def test_sources_without_an_end_or_without_labels_are_refused(data, match, monkeypatch):
    monkeypatch.setattr("stiffness.engine.examples.MOST", 2_000)
    with pytest.raises(ValueError, match=match):
        gradient_gram(classifier(), data(), loss=CROSS_ENTROPY)


def test_a_source_that_ends_may_be_long(monkeypatch):
    monkeypatch.setattr("stiffness.engine.examples.MOST", 4)
    model = classifier()
    expected = gradient_gram(model, X, Y, loss=CROSS_ENTROPY).products

    class Sized(Loader):
        def __len__(self):
            return 2

    for source in (SLICES.batch(5), Batches(), Sized()):
        found = gradient_gram(model, source, loss=CROSS_ENTROPY).products
        np.testing.assert_allclose(found, expected[: len(found), : len(found)], rtol=1e-5)
    with pytest.raises(ValueError, match="without an end"):  # it may have none
        gradient_gram(model, generator(), loss=CROSS_ENTROPY)


def test_images_of_bytes_with_the_scaling_inside():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6, 6, 1)), layers.Rescaling(1 / 255), layers.Conv2D(3, 3), layers.Flatten(),
                              layers.Dense(3)])
    images = np.random.default_rng(0).integers(0, 256, (7, 6, 6, 1)).astype("uint8")
    np.testing.assert_array_equal(gradient_gram(model, images, Y, loss=CROSS_ENTROPY).products,
                                  gradient_gram(model, images.astype("float32"), Y, loss=CROSS_ENTROPY).products)


@pytest.mark.parametrize("dtype", ["int64", "bool", "uint8", "float16"])
def test_tables_of_numbers_of_any_kind(dtype):
    table = (np.abs(X * 2).astype(int) % 3).astype(dtype)
    np.testing.assert_array_equal(gradient_gram(classifier(), table, Y, loss=CROSS_ENTROPY).products,
                                  gradient_gram(classifier(), table.astype("float32"), Y, loss=CROSS_ENTROPY).products)


@pytest.mark.parametrize("budget, number", [
    ("1GB", 10**9), ("1 GiB", 2**30), ("500MB", 5 * 10**8), ("1.5kB", 1500), ("2048", 2048), ("64B", 64), (1e6, 10**6)])
def test_a_memory_budget_as_text(budget, number):
    from stiffness.engine.examples import bytes_of

    assert bytes_of(budget) == number
    assert gradient_gram(classifier(), X, Y, loss=CROSS_ENTROPY, memory_budget="1MB").products.shape == (7, 7)
    with pytest.raises(ValueError, match="memory_budget is 64 bytes; one tile needs at least"):
        cosine_class_stiffness(classifier(), X, Y, loss=CROSS_ENTROPY, memory_budget="64B")


@pytest.mark.parametrize("labels", [np.eye(3)[Y], Y.astype(float), Y[:, None]])
def test_class_labels_in_any_form(labels):
    model = classifier(layers.Dense(5, "tanh"))
    plain = cosine_class_stiffness(model, X, Y, loss=CROSS_ENTROPY)
    np.testing.assert_allclose(cosine_class_stiffness(model, X, Y, labels, loss=CROSS_ENTROPY), plain, atol=1e-6)
    with pytest.raises(ValueError, match=r"labels holds 0.5"):
        cosine_class_stiffness(model, X, Y, np.full(7, 0.5), loss=CROSS_ENTROPY)


# --- many rows and few, norms alone, the nearest gradients ----------------------------------------------------------


@pytest.mark.parametrize("n, m", [(1, 40), (40, 1), (3, 40), (40, 3)])
@pytest.mark.parametrize("budget", ["100MB", 8000])
def test_few_rows_and_many_columns(n, m, budget):
    model, (x, y) = classifier(layers.Dense(5, "tanh"), layers.PReLU()), examples(40)
    whole = gradient_gram(model, x, y, loss=CROSS_ENTROPY)
    part = gradient_gram(model, x[:n], y[:n], x[:m], y[:m], loss=CROSS_ENTROPY, memory_budget=budget)
    np.testing.assert_allclose(part.products, whole.products[:n, :m], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(part.norms, whole.norms[:n], rtol=1e-5)
    np.testing.assert_allclose(part.norms2, whole.norms[:m], rtol=1e-5)


def test_one_row_and_many_columns_take_few_passes(monkeypatch):
    from stiffness.engine.engine import Engine

    passes, run = [], Engine._pass
    monkeypatch.setattr(Engine, "_pass", lambda self, x, y: passes.append(len(y)) or run(self, x, y))
    x, y = examples(3000)
    gradient_gram(classifier(layers.Dense(5, "tanh")), x[:1], y[:1], x, y, loss=CROSS_ENTROPY)
    assert len(passes) <= 5 and sum(passes) == 3001


@pytest.mark.parametrize("budget", ["100MB", 5000])
def test_norms_alone(budget):
    model, (x, y) = classifier(layers.Dense(5, "tanh"), layers.PReLU()), examples(40)
    np.testing.assert_allclose(gradient_norms(model, x, y, loss=CROSS_ENTROPY, memory_budget=budget),
                               gradient_gram(model, x, y, loss=CROSS_ENTROPY).norms, rtol=1e-5)


@pytest.mark.parametrize("by", ["cosine", "product"])
@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("budget", ["100MB", 6000])
def test_the_nearest_gradients(by, largest, budget):
    model, (x, y), (x2, y2) = classifier(layers.Dense(5, "tanh")), examples(23), examples(31, seed=1)
    for columns in ((), (x2, y2)):
        gram = gradient_gram(model, x, y, *columns, loss=CROSS_ENTROPY)
        s = gram.cosine() if by == "cosine" else gram.products.astype(float)
        if not columns:
            np.fill_diagonal(s, -np.inf if largest else np.inf)
        values, indices = nearest_gradients(model, x, y, *columns, k=4, by=by, largest=largest, loss=CROSS_ENTROPY,
                                            memory_budget=budget)
        expected = np.sort(s, axis=1)[:, ::-1][:, :4] if largest else np.sort(s, axis=1)[:, :4]
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(np.take_along_axis(s, indices, axis=1), values, rtol=1e-4, atol=1e-6)


def test_a_zero_gradient_is_nearest_to_none():
    def loss(y_true, y_pred):
        return keras.ops.cast(y_true != 2, "float32") * CROSS_ENTROPY.call(y_true, y_pred)

    y = np.array([0, 1, 2, 0, 1, 0, 1])
    values, indices = nearest_gradients(classifier(), X, y, k=6, loss=loss)
    assert np.isnan(values[2]).all() and (indices[2] == -1).all()
    assert (np.isnan(values).sum(axis=1) == [1, 1, 6, 1, 1, 1, 1]).all() and not (indices[:, :5] == 2).any()


@pytest.mark.parametrize("change, match", [
    (dict(k=0), "k is 0; expected 1 to 6, the number of examples to choose from"), (dict(k=7), "k is 7"),
    (dict(by="sign"), "by is 'sign'; expected 'cosine' or 'product'")])
def test_errors_of_nearest_gradients(change, match):
    with pytest.raises(ValueError, match=match):
        nearest_gradients(classifier(), X, Y, loss=CROSS_ENTROPY, **change)


def test_progress_is_shown_on_request_and_for_long_work_only(capsys):
    model, (x, y) = classifier(layers.Dense(5, "tanh")), examples(40)
    gradient_gram(model, x, y, loss=CROSS_ENTROPY, memory_budget=8000)
    assert not capsys.readouterr().err
    gradient_gram(model, x, y, loss=CROSS_ENTROPY, memory_budget=8000, verbose=1)
    shown = capsys.readouterr()
    assert "40 x 40 products, 6.4e-06 GB, in" in shown.err and "tile" in shown.out


def test_long_work_shows_its_progress_and_its_size_first(capsys, monkeypatch):
    monkeypatch.setattr("stiffness.engine.tiles.LONG", 0)
    monkeypatch.setattr("stiffness.engine.tiles.LARGE", 1000)
    model, (x, y) = classifier(layers.Dense(5, "tanh")), examples(40)
    gradient_gram(model, x, y, loss=CROSS_ENTROPY, memory_budget=8000)
    shown = capsys.readouterr()
    assert "40 x 40 products" in shown.err and "tile" in shown.out
    for measure in (gradient_norms, functools.partial(cosine_class_stiffness, labels=y)):
        monkeypatch.setattr("stiffness.engine.tiles.LARGE", 10)
        measure(model, x, y, loss=CROSS_ENTROPY, memory_budget=20_000, verbose=1)
        assert "in" in capsys.readouterr().err


def test_the_nearest_gradients_do_not_hold_all_columns():
    model, (x, y), (x2, y2) = classifier(layers.Dense(5, "tanh")), examples(200), examples(20_000, seed=1)
    gradient_norms(model, x, y, loss=CROSS_ENTROPY)
    tracemalloc.start()
    nearest_gradients(model, x, y, x2, y2, k=3, loss=CROSS_ENTROPY, memory_budget="2MB")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8e6  # all columns in single precision are 16 MB
