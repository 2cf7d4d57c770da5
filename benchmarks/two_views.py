"""What sensitivity and stiffness cost to measure, side by side in one process: python -m benchmarks.two_views

Writes two_views.json, which the page "Two views of generalisation" shows.
"""

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import tensorflow as tf

from stiffness import class_stiffness, gradient_gram, jacobian_norm, transitions
from stiffness_book import networks

RESULTS = Path(__file__).with_name("two_views.json")
CASES = {"fully connected, 3 × 50, 28×28": ("fc-50-50-50", (28, 28, 1)),
         "fully connected, 500-300-100, 28×28": ("fc-500-300-100", (28, 28, 1)),
         "convolutional, 16-32-32, 32×32×3": ("cnn-16-32-32", (32, 32, 3))}
EXAMPLES, PATHS, REPEATS = 500, 30, 7


def ways_of(model, x, y, paths):
    return {"norm of the Jacobian": lambda: jacobian_norm(model, x),
            "transitions": lambda: transitions(model, paths),
            "stiffness, by sign and by cosine": lambda: both_kinds(gradient_gram(model, x, y), y)}


def both_kinds(gram, y):
    return [class_stiffness(s, y) for s in (gram.sign(), gram.cosine())]


def main() -> None:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    rng, found = np.random.default_rng(0), {}
    for name, (network, shape) in CASES.items():
        kind, *widths = network.split("-")
        model = networks.build(SimpleNamespace(layers=(kind, tuple(map(int, widths))), seed=0), shape, 10)
        model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        x, y = rng.normal(size=(EXAMPLES, *shape)).astype("float32"), rng.integers(0, 10, EXAMPLES)
        paths = np.stack([np.roll(x[:PATHS], move, axis=2) for move in range(shape[1])], axis=1)
        ways = ways_of(model, x, y, paths)
        found[name] = {way: [] for way in ways}
        for repeat in range(REPEATS + 1):  # the first one compiles
            for way, measure in ways.items():
                start = time.perf_counter()
                measure()
                if repeat:
                    found[name][way].append(round(time.perf_counter() - start, 4))
        print(name, {way: float(np.median(seconds)) for way, seconds in found[name].items()}, flush=True)
    about = {"examples": EXAMPLES, "paths": PATHS, "threads": 1, "load": round(os.getloadavg()[0], 2),
             "started": datetime.now(UTC).isoformat(timespec="seconds")}
    RESULTS.write_text(json.dumps(about | {"seconds": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
