"""What sensitivity and stiffness cost to measure, side by side in one process: python -m benchmarks.two_views

Writes two_views.json, which the page "Two views of generalisation" shows.
"""

from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np

from benchmarks import in_turn
from stiffness import class_stiffness, gradient_gram, jacobian_norm, transitions
from stiffness_book import networks

RESULTS = Path(__file__).with_name("two_views.json")
CASES = {"fully connected, 3 × 50, 28×28": ("fc-50-50-50", (28, 28, 1)),
         "fully connected, 500-300-100, 28×28": ("fc-500-300-100", (28, 28, 1)),
         "convolutional, 16-32-32, 32×32×3": ("cnn-16-32-32", (32, 32, 3))}
EXAMPLES, PATHS = 500, 30


def cases():
    rng = np.random.default_rng(0)
    for name, (network, shape) in CASES.items():
        kind, *widths = network.split("-")
        model = networks.build(SimpleNamespace(layers=(kind, tuple(map(int, widths))), seed=0), shape, 10)
        model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        x, y = rng.normal(size=(EXAMPLES, *shape)).astype("float32"), rng.integers(0, 10, EXAMPLES)
        paths = np.stack([np.roll(x[:PATHS], move, axis=2) for move in range(shape[1])], axis=1)
        yield name, ways_of(model, x, y, paths)


def ways_of(model, x, y, paths):
    return {"norm of the Jacobian": lambda: jacobian_norm(model, x),
            "transitions": lambda: transitions(model, paths),
            "stiffness, by sign and by cosine": lambda: both_kinds(gradient_gram(model, x, y), y)}


def both_kinds(gram, y):
    return [class_stiffness(s, y) for s in (gram.sign(), gram.cosine())]


if __name__ == "__main__":
    in_turn.write(RESULTS, cases(), examples=EXAMPLES, paths=PATHS)
