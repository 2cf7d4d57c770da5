"""Networks trained many at a time against one by one, side by side in one process: python -m benchmarks.ensembles

Writes ensembles.json, which the page on the survey of many networks shows.
"""

from dataclasses import replace
from pathlib import Path

import keras

from benchmarks import in_turn
from stiffness_book import data, networks
from stiffness_book.sensitivity.ensemble import CONDITIONS, Ensemble
from stiffness_book.sensitivity.ensemble_training import STEPS_AT_ONCE, Training
from stiffness_book.training import shuffled_batches

RESULTS = Path(__file__).with_name("ensembles.json")
WIDTHS, DEPTH = (4, 40, 400), 3
RATES, TRAINED_ON = (3e-3, 1e-3, 3e-4), CONDITIONS[:2]  # six members
STEPS = 200


def cases():
    dataset = data.standardise(data.load("mnist"))
    split = data.training_examples(dataset, 1000, 0)
    for width in WIDTHS:
        ensemble = Ensemble(network="-".join(["fc", *[str(width)] * DEPTH]), learning_rates=RATES,
                            conditions=TRAINED_ON, steps=STEPS, check_every=STEPS)
        yield ensemble.network, ways_of(ensemble, split)


def ways_of(ensemble, split):
    model = networks.build(ensemble, split.inputs.shape[1:], 10, ensemble.activation)
    training = Training(ensemble, model, split, progress=False)
    alone = [one_by_one(ensemble, split, training.labels[member], rate)
             for member, (rate, _) in enumerate(ensemble.members)]

    def all_together():
        training.step = 0
        training.run()

    return {"together": all_together, "one by one": lambda: [train() for train in alone]}


def one_by_one(ensemble, split, labels, rate):
    """A network that Keras compiles and trains, with as many steps in one call: the function that trains it."""
    model = networks.build(ensemble, split.inputs.shape[1:], 10, ensemble.activation)
    model.compile(keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                  steps_per_execution=STEPS_AT_ONCE)
    batches = shuffled_batches(replace(split, labels=labels), ensemble.size_of_batch, ensemble.seed)
    return lambda: model.fit(batches, steps_per_epoch=STEPS, verbose=0)


if __name__ == "__main__":
    in_turn.write(RESULTS, cases(), networks=len(RATES) * len(TRAINED_ON), steps=STEPS,
                  batch_size=Ensemble.batch_size)
