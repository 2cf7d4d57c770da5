"""Tidy tables as runs of the book give them, made up for the tests."""

import itertools

import numpy as np
import pandas as pd

from stiffness.measures import between_classes, within_class
from stiffness_book import harmonics, summaries
from stiffness_book.sensitivity import survey
from stiffness_book.sensitivity.ensemble import CONDITIONS, DRAWN, QUANTITIES
from stiffness_book.sensitivity.input_space import DISTANCES, PATHS, RANDOM
from stiffness_book.table import neighbours_in

STEPS = (0, 10, 100)
LOSSES, RATES = (0.3, 0.1), (1e-4, 1e-3, 1e-2)
PAIRS = [("cnn-1", "fc-1"), ("cnn-2", "fc-2")]
SUPER_CLASS_STEPS = (0, 10, 100, 1000)


def table(matrix_at, seeds=5, spread=0.01):
    """A run's table for each seed. matrix_at: (step, seed) -> (Nc, Nc) class stiffness; `spread` is added by seed."""
    rows = []
    for seed in range(seeds):
        for step in STEPS:
            C = np.asarray(matrix_at(step, seed)) + spread * (seed - (seeds - 1) / 2)
            for kind in ("sign", "cosine"):
                entries = {"step": step, "seed": seed}
                rows += [entries | {"quantity": f"class_stiffness_{kind}", "class_a": a, "class_b": b, "value": C[a, b]}
                         for a, b in np.ndindex(*C.shape)]
                rows += [entries | {"quantity": f"within_class_{kind}", "value": within_class(C)},
                         entries | {"quantity": f"between_classes_{kind}", "value": between_classes(C)}]
    return pd.DataFrame(rows).astype({"class_a": "Int16", "class_b": "Int16"})


def with_losses(rows, *, train, validation):
    """The table with these losses at its stages, in their order, in every run."""
    steps, seeds = sorted(rows["step"].unique()), sorted(rows["seed"].unique())
    losses = [{"step": step, "seed": seed, "quantity": f"{name}_loss", "value": loss}
              for name, values in (("train", train), ("validation", validation))
              for step, loss in zip(steps, values, strict=True) for seed in seeds]
    return pd.concat([rows, pd.DataFrame(losses)], ignore_index=True)


def matrix(within, between):
    return np.where(np.eye(4, dtype=bool), within, between)


def sweep(value_at, quantity="between_classes_sign", datasets=("a", "b"), seeds=5, spread=0.01, **columns):
    """A table of runs stopped at losses. value_at: (dataset, loss, rate) -> value; `spread` is added by seed."""
    return pd.DataFrame([
        {"dataset": dataset, "target_loss": loss, "learning_rate": rate, "seed": seed, "step": 100, "stage": 1,
         "quantity": quantity, "value": value_at(dataset, loss, rate) + spread * (seed - (seeds - 1) / 2), **columns}
        for dataset in datasets for loss in LOSSES for rate in RATES for seed in range(seeds)])


def growth(by_dataset):
    return lambda dataset, loss, rate: by_dataset[dataset] * np.log10(rate)


def spaces(stiffness_at, size_at, *, rates=(1e-3,), seeds=3):
    """A table with curves and sizes. stiffness_at: (space, distance) -> sign stiffness; size_at: (space, rate)."""
    rows = []
    for dataset in ("a", "b"):
        for rate in rates:
            for seed in range(seeds):
                run = {"dataset": dataset, "learning_rate": rate, "seed": seed, "target_loss": 0.1, "step": 100}
                for space in ("input", "layer 1", "layer 2", "layer 3", "logits"):
                    for distance in (0.025, 0.075, 0.125):
                        at = run | {"space": space, "distance": distance}
                        number = 5 if distance > 0.1 else 100
                        value = stiffness_at(space, distance) + 0.01 * seed
                        rows += [at | {"quantity": f"distance_curve_{pairs}_{kind}", "value": value}
                                 for pairs in ("all", "within_class") for kind in ("sign", "cosine")]
                        rows += [at | {"quantity": f"distance_pairs_{pairs}", "value": number / share}
                                 for pairs, share in (("all", 1), ("within_class", 4))]
                    rows += [run | {"space": space, "quantity": quantity, "value": size_at(space, rate)}
                             for quantity in summaries.SIZES]
    return pd.DataFrame(rows)


def networks(within, between, *, runs=3, spread=0.01):
    """A table of two pairs of networks at two losses. within, between: (network, loss) -> value."""
    return pd.DataFrame([
        {"network": network, "seed": seed, "target_loss": loss, "step": 100, "quantity": f"{summary}_{kind}",
         "value": at(network, loss) + spread * (seed - 1)}
        for network in ("cnn-1", "fc-1", "cnn-2", "fc-2") for loss in LOSSES for seed in range(runs)
        for summary, at in (("within_class", within), ("between_classes", between)) for kind in ("sign", "cosine")])


def by_kind(convolutional, connected):
    return lambda network, _: convolutional if network.startswith("cnn") else connected


def residual(within, between, *, losses=(2.3, 0.1), slope=-0.1, seeds=3):
    """A table of three networks that are alike, at initialisation and at a training loss. between: at both; losses: the
    training losses there; slope: of the size of the stiff domain against depth. Values may be functions."""
    def of(value):
        return value() if callable(value) else value

    rows = []
    for network, seed, (at, loss) in itertools.product(("resnet-20", "cnn-1", "fc-1"), range(seeds),
                                                       enumerate((np.nan, 0.1))):
        run = {"network": network, "seed": seed, "target_loss": loss, "step": 100 * at}
        rows += [run | {"quantity": f"{summary}_{kind}", "value": of(value) + 0.002 * seed}
                 for kind in ("sign", "cosine")
                 for summary, value in (("within_class", within), ("between_classes", between[at]))]
        rows += [run | {"quantity": "validation_accuracy", "value": 0.5},
                 run | {"quantity": "train_loss", "value": losses[at]}]
        for depth in range(1, 5):
            where = run | {"space": f"layer {depth}"}
            rows += [where | {"quantity": "stiff_domain_size_sign", "value": np.clip(0.5 + of(slope) * depth, 0, 2)},
                     *(where | {"quantity": quantity, "distance": 0.025, "value": value} for quantity, value in (
                         ("distance_curve_all_sign", 0.5), ("distance_pairs_all", 100)))]
    return pd.DataFrame(rows)


def probes(error_at, sizes=(50, 500), stages=(0, 100)):
    """A table of statistical errors. error_at: (step, summary) -> standard error with the whole probe set."""
    return pd.DataFrame([
        {"step": step, "seed": seed, "target_loss": np.nan, "probe_images": size, "quantity": f"{summary}_{kind}_error",
         "value": error_at(step, summary) * (sizes[-1] / size) ** 0.5}
        for step in stages for seed in range(2) for size in sizes for summary in ("within_class", "between_classes")
        for kind in ("sign", "cosine")])


def super_class_table(strength_at, seeds=3, sides=0.0):
    """Runs of 12 classes. strength_at: step -> what pairs of one super-class have more; sides: those of one side."""
    names, living = super_classes()
    group, side = np.array(names), np.isin(names, living)
    rows = []
    for seed, step, kind in itertools.product(range(seeds), SUPER_CLASS_STEPS, ("sign", "cosine")):
        rng = np.random.default_rng([seed, step])
        noise = rng.normal(0, 0.02, (12, 12))
        C = noise + noise.T + strength_at(step) * (group[:, None] == group) + sides * (side[:, None] == side)
        rows += [{"step": step, "seed": seed, "target_loss": np.nan, "quantity": f"class_stiffness_{kind}",
                  "class_a": a, "class_b": b, "value": C[a, b]} for a, b in np.ndindex(12, 12)]
    return pd.DataFrame(rows).astype({"class_a": "Int16", "class_b": "Int16"})


def super_classes():
    """Of twelve classes the super-class of each, and the super-classes on one side."""
    return [*"aabbccddeeff"], ["a", "b", "c"]


def both_precisions():
    """A run whose sign stiffness was measured exactly and with the loss in single precision."""
    def rows(quantity, value):
        return pd.DataFrame({"step": [0, 10], "seed": 0, "quantity": quantity, "value": [1.0, value]})

    return pd.concat([rows("within_class_sign", 0.9), rows("within_class_sign_single", 0.4),
                      rows("between_classes_sign", 0.3), rows("between_classes_sign_single", 0.2),
                      rows("train_loss", 0.1)])


def harmonic(size_at, *, degrees=(1, 2, 4), seeds=5, reached=True):
    """Runs on spherical harmonics. size_at: (length scale, step) -> size of the stiff domain; step 30 is at a loss."""
    rows = []
    for degree, seed, step in itertools.product(degrees, range(seeds), (0, 30, 100)):
        if step == 30 and not reached:
            continue
        run = {"degree": degree, "seed": seed, "step": step, "target_loss": 0.2 if step == 30 else np.nan}
        size = size_at(harmonics.length_scale(degree), step) + 0.002 * (seed - (seeds - 1) / 2)
        rows += [run | {"quantity": f"learnt_of_degree_{degree}", "value": step / 100},
                 run | {"quantity": "train_loss", "value": {0: 0.7, 30: 0.19, 100: 0.1}[step]}]
        for space in ("input", "layer 1"):
            at = run | {"space": space}
            rows += [at | {"quantity": "angle_stiff_domain_size_sign", "value": size},
                     at | {"quantity": "critical_length_cosine", "value": 1.5 + degree}]
            for angle in (0.025, 0.525, 1.025):
                rows += [at | {"distance": angle, "quantity": "angle_distance_pairs_all", "value": 100.0},
                         at | {"distance": angle, "quantity": "angle_distance_curve_all_sign", "value": 0.5 - angle}]
    return pd.DataFrame(rows)


def ordered(between_at, neighbours_at, *, losses=(2.3, 0.5, 0.1), orders=("shuffled", "by class", "hard first"),
            seeds=5):
    """Runs in several orders of the data. between_at: (order, step) -> stiffness between classes; neighbours_at:
    (order of training, order of the batches) -> stiffness between batches that follow each other."""
    rows = []
    for order, seed, (number, step) in itertools.product(orders, range(seeds), enumerate(STEPS)):
        run = {"order": order, "seed": seed, "step": step, "target_loss": np.nan}
        spread = 0.01 * (seed - (seeds - 1) / 2)
        values = {"train_loss": losses[number], "validation_loss": losses[number],
                  "validation_accuracy": 0.1 + step / 200, **{f"{summary}_{kind}": between_at(order, step) + spread
                     for summary in ("within_class", "between_classes") for kind in ("sign", "cosine")},
                  **{neighbours_in(of, kind): neighbours_at(order, of) + spread
                     for of in orders for kind in ("sign", "cosine")}}
        rows += [run | {"quantity": quantity, "value": value} for quantity, value in values.items()]
        rows += [run | {"quantity": "validation_accuracy_of_class", "class_a": c, "value": c / 4} for c in range(4)]
    return pd.DataFrame(rows)


def trained_networks(gap=lambda row: 0.1, norm=lambda row: 1.0, area=lambda quantity: 0.8, *, right=True, datasets="ab",
                     widths=(8, 24, 64, 160)):
    """A table of trained networks, the first that `survey.networks` gives. gap, norm: of a network's settings, a
    dictionary; area: of an area under the curve, by name. right: whether they have every training label right."""
    ways = [("relu", "mini"), ("relu", "full"), ("hard_tanh", "mini")]
    rows = []
    for dataset, depth, width, (activation, batch), rate, condition in itertools.product(
            datasets, (1, 3), widths, ways, (0.1, 0.01), CONDITIONS):
        row = {"dataset": dataset, "width": width, "depth": depth, "activation": activation, "optimizer": "adam",
               "batch": batch, "learning_rate": rate, "condition": condition, "seed": 0, "moment": "end"}
        row |= {"gap": gap(row), "jacobian_norm": norm(row), "train_accuracy": 1.0 if right else 0.5}
        row |= {"transitions": 10 * row["jacobian_norm"] if activation == "relu" else np.nan}
        row |= {measure: -row["gap"] / 2 for measure in survey.MEASURES if "class" in measure}
        row |= {name: area(name) for name in QUANTITIES if name.startswith("auc")}
        row |= {f"error_by_{name} {tenth}": tenth / 20 for name in DRAWN for tenth in range(10)}
        rows.append(row)
    return pd.DataFrame(rows)


def around_data(level_at, *, accuracy=1.0, seeds=5, triples=4, spread=0.01, grid=0):
    """Runs in input space. level_at: (path, nearness, trained) -> what all three measures are along ellipses, and the
    changes on rays: nearness is 1 at the points, and 0 midway between them or far away; `spread` is by seed."""
    rows = []
    for seed, step in itertools.product(range(seeds), (0, 100)):
        run = {"seed": seed, "step": step}
        factor = 10 ** (spread * (seed - (seeds - 1) / 2) * (step > 0))
        for path in PATHS:
            at = run | {"path": path}
            for triple, angle in itertools.product(range(triples), np.arange(0, 360, 5.0)):
                for quantity, place in (("norm", angle), ("logit_norm", angle), ("transitions", angle + 2.5)):
                    nearness = 0 if path == RANDOM else (1 + np.cos(np.deg2rad(3 * (place - 60)))) / 2
                    rows.append(at | {"triple": triple, "angle": angle, "quantity": quantity,
                                      "value": level_at(path, nearness, step > 0) * factor**nearness})
            rows += [at | {"distance": distance, "quantity": "ray_transitions",
                           "value": level_at(path, max(0, 1 - distance / 0.4) ** 0.1, step > 0) * factor}
                     for distance in DISTANCES]
            if step == 0:
                rows += [at | {"triple": triple, "quantity": "length", "value": 100 + 10 * len(path)}
                         for triple in range(triples)]
                rows += [at | {"corner": corner, "row": row, "column": column, "quantity": "input",
                               "value": np.sin(1 + corner * (1 + row) + 2 * column)}
                         for corner, row, column in np.ndindex(3, 4, 4)]
                rows += [at | {"triple": triple, "corner": corner, "quantity": "label", "value": corner}
                         for triple in range(triples) for corner in range(3) if path != RANDOM]
        rows += [run | {"quantity": f"{split}_accuracy", "value": accuracy if step else 0.1}
                 for split in ("train", "validation")]
        if grid:
            rows += [run | {"quantity": "regions", "value": 7 + step},
                     *(run | {"row": row, "column": column, "quantity": name, "value": (row + column) % 3}
                       for name in ("shade", "class") for row, column in np.ndindex(grid, grid))]
    return pd.DataFrame(rows)


def dips(depth):
    """A level that training lowers near the training points, by a factor of 10 to the power of the depth."""
    return lambda path, nearness, trained: 100 * 10.0 ** (-depth * trained * nearness * (path != RANDOM))
