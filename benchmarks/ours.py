"""Our own ways, each in its own process: python -m benchmarks.ours WAY FOLDER OUTCOME"""

import argparse
import time

import numpy as np

from benchmarks import floor, networks
from benchmarks.peers import harness
from stiffness import class_stiffness, cosine_class_stiffness, gradient_gram

PACKAGES = ("keras", "tensorflow", "numpy")
LONGEST = 4096  # rows of the products whose rate is measured; longer ones are no faster
CHECKED = 200  # number of examples on which the other tasks are checked against the plain definition


def closed_form(settings, weights, x, y):
    """`gradient_gram` with its default method."""
    model = networks.load(settings["network"], weights)
    classes = settings["network"]["classes"]

    def gram():
        return gradient_gram(model, x, y, loss=networks.LOSS).products

    def class_matrices():
        gram = gradient_gram(model, x, y, loss=networks.LOSS)
        return [class_stiffness(s(), y, num_classes=classes) for s in (gram.sign, gram.cosine)]

    def cosine_classes():
        return cosine_class_stiffness(model, x, y, y, loss=networks.LOSS)

    return {"gram": gram, "class-matrices": class_matrices, "cosine-classes": cosine_classes}[settings["task"]]


def jacobian(settings, weights, x, y):
    """`tape.jacobian`, vectorised, in chunks."""
    model = networks.load(settings["network"], weights)
    return lambda: gradient_gram(model, x, y, loss=networks.LOSS, method="jacobian").products


def loop(settings, weights, x, y):
    """The gradient of one example after another, compiled; then the product of the matrix of gradients with itself."""
    import tensorflow as tf

    model = networks.load(settings["network"], weights)
    variables = [v.value for v in model.trainable_variables]
    width = sum(int(np.prod(v.shape)) for v in variables)

    @tf.function(reduce_retracing=True)
    def gradient(x, y):
        with tf.GradientTape() as tape:
            loss = networks.LOSS(y, model(x, training=False))
        return tf.concat([tf.reshape(part, (-1,)) for part in tape.gradient(loss, variables)], axis=0)

    def gram():
        gradients = np.empty((len(x), width), "float32")
        inputs, labels = tf.constant(x), tf.constant(y)
        for i in range(len(x)):
            gradients[i] = gradient(inputs[i:i + 1], labels[i:i + 1])
        return gradients @ gradients.T

    return gram


def keep_gram(folder, gram):
    """Stores the matrix, with which the other ways are compared."""
    np.save(folder / "gram.npy", gram)


def against_definition(folder, _):
    """The largest absolute difference between closed form and plain definition, for the task on a few examples.

    Signs are compared where the cosine is well above rounding errors.
    """
    settings, (weights, x, y) = harness.settings(folder), harness.arrays(folder)
    classes = settings["network"]["classes"]
    model = networks.load(settings["network"], weights)
    x, y = x[:CHECKED], y[:CHECKED]
    plain = gradient_gram(model, x, y, loss=networks.LOSS, method="jacobian")
    expected = class_stiffness(plain.cosine(), y, num_classes=classes)
    if settings["task"] == "cosine-classes":
        found = cosine_class_stiffness(model, x, y, y, loss=networks.LOSS)
        return float(np.nanmax(np.abs(found - expected)))
    gram = gradient_gram(model, x, y, loss=networks.LOSS)
    clear = np.abs(plain.cosine()) > 1e-6
    if (gram.sign() != plain.sign())[clear].any():
        raise ValueError("signs differ from those of the plain definition")
    return float(np.nanmax(np.abs(class_stiffness(gram.cosine(), y, num_classes=classes) - expected)))


def floor_seconds(folder, outcome_path):
    """The floor in seconds, at the current rate of TensorFlow's matrix product; and the same with each product at the
    rate of its own shape."""
    settings, (_, x, _) = harness.settings(folder), harness.arrays(folder)
    shape = floor.fastest_shape(settings, x)
    rates = [rate(*shape) for _ in range(1 + harness.RUNS)][1:]
    multiplied, other = floor.operations(settings, x)
    apart = sum(count / rate(*each) for count, each in floor.products(settings, x))
    harness.write(outcome_path, {
        "seconds": [(multiplied + other) / each for each in rates], "operations": multiplied + other,
        "product": shape, "rate": float(np.median(rates)), "apart": apart + other / float(np.median(rates)),
        "versions": harness.versions(PACKAGES)})


def rate(m, k, n):
    """Operations per second of the product of two matrices, (m, k) and (k, n), whose longer sides are cut."""
    import tensorflow as tf

    m, k, n = min(m, LONGEST), min(k, 2 * LONGEST), min(n, LONGEST)
    left, right = tf.random.normal((m, k)), tf.random.normal((k, n))
    tf.matmul(left, right).numpy()
    started, products = time.perf_counter(), 0
    while products == 0 or time.perf_counter() - started < 0.2:  # a single small product is too short to time
        product = tf.matmul(left, right)
        products += 1
    product.numpy()
    return 2 * m * k * n * products / (time.perf_counter() - started)


if __name__ == "__main__":
    ways = {"closed-form": closed_form, "jacobian": jacobian, "loop": loop}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=[*ways, "floor"])
    arguments, rest = parser.parse_known_args()
    folder, outcome = harness.arguments(rest)
    if arguments.way == "floor":
        floor_seconds(folder, outcome)
    else:
        check = None
        if arguments.way == "closed-form":
            check = keep_gram if harness.settings(folder)["task"] == "gram" else against_definition
        harness.main(ways[arguments.way], PACKAGES, check, rest)
