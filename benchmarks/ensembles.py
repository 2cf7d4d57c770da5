"""Networks trained many at a time against one by one, side by side in one process: python -m benchmarks.ensembles

Writes ensembles.json, which the page on the survey of many networks shows.
"""

import json
import os
import time
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from stiffness_book import data, networks, orders
from stiffness_book.sensitivity.ensemble import CONDITIONS, Ensemble
from stiffness_book.sensitivity.ensemble_training import STEPS_AT_ONCE, Training

RESULTS = Path(__file__).with_name("ensembles.json")
WIDTHS, DEPTH = (4, 40, 400), 3
RATES = (3e-3, 1e-3, 3e-4)  # with two conditions: six members
STEPS, REPEATS = 200, 7


def one_by_one(ensemble, split, labels, rate):
    """A network that Keras compiles and trains, with as many steps in one call: the function that trains it."""
    model = networks.build(ensemble, split.inputs.shape[1:], 10, ensemble.activation)
    model.compile(keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                  steps_per_execution=STEPS_AT_ONCE)
    batches = islice(chain.from_iterable(orders.passes(len(split), ensemble.size_of_batch, ensemble.seed)), STEPS)
    order = np.concatenate(list(batches))
    inputs, labels = split.inputs[order], labels[order]
    return lambda: model.fit(inputs, labels, batch_size=ensemble.size_of_batch, shuffle=False, verbose=0)


def main() -> None:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    dataset = data.standardise(data.load("mnist"))
    split = dataset.train.take(data.probe_indices(dataset.train.labels, 1000, 0))
    found = {}
    for width in WIDTHS:
        ensemble = Ensemble(network="-".join(["fc", *[str(width)] * DEPTH]), learning_rates=RATES,
                            conditions=CONDITIONS[:2], steps=STEPS, check_every=STEPS)
        model = networks.build(ensemble, split.inputs.shape[1:], 10, ensemble.activation)
        together = Training(ensemble, model, split, progress=False)
        alone = [one_by_one(ensemble, split, together.labels[member], rate)
                 for member, (rate, _) in enumerate(ensemble.members)]

        def all_together(training=together):
            training.step = 0
            training.run()

        ways = {"together": all_together, "one by one": lambda trained=alone: [train() for train in trained]}
        found[ensemble.network] = {way: [] for way in ways}
        for repeat in range(REPEATS + 1):  # the first one compiles
            for way, train in ways.items():
                start = time.perf_counter()
                train()
                if repeat:
                    found[ensemble.network][way].append(round(time.perf_counter() - start, 4))
        print(ensemble.network, {way: float(np.median(seconds)) for way, seconds in found[ensemble.network].items()},
              flush=True)
    about = {"networks": len(ensemble.members), "steps": STEPS, "batch_size": ensemble.batch_size, "threads": 1,
             "load": round(os.getloadavg()[0], 2), "started": datetime.now(UTC).isoformat(timespec="seconds")}
    RESULTS.write_text(json.dumps(about | {"seconds": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
