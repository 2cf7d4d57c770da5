"""Whether stiffness rises or falls with the learning rate, under every choice of how it is measured and compared."""

import itertools

import numpy as np
import pandas as pd

from stiffness_book import summaries
from stiffness_book.table import KINDS, STIFFNESS, SUMMARIES
from stiffness_book.versions import CONNECTED

RUN = ["dataset", "network", "optimizer", "learning_rate", "seed"]
TRAINING = ["dataset", "network", "optimizer"]  # the choices that are settings of the runs
# what is measured: of stiffness the pairs of images that are averaged, of distances how a size is read off
STIFFNESSES = {"between_classes": "between classes", "within_class": "within classes", "all": "all pairs of classes"}
SIZES = {"stiff_domain_size_sign": "stiff domain, sign", "critical_length_sign": "critical length, sign",
         "critical_length_cosine": "critical length, cosine"}
SPACES = ("input", "first layer", "last hidden layer")
AT = ("equal loss, earlier", "equal loss, later", "equal epoch, earlier", "equal epoch, later", "equal accuracy")
STIFFNESS_CHOICES = [*TRAINING, "at", "measure", "kind"]
SIZE_CHOICES = [*TRAINING, "at", "measure", "space"]
ORDER = {"at": AT, "measure": (*STIFFNESSES.values(), *SIZES.values()), "kind": KINDS, "space": SPACES}
RISES, FALLS, DIPS, PEAKS, NEITHER = TRENDS = ("rises", "falls", "falls, then rises", "rises, then falls",
                                               "no clear trend")
LEAST = 0.01  # of a change that counts, of stiffness and of a distance: the last digit that this book prints


def labelled(table):
    """The table with its networks and optimizers in words."""
    versions = {network: f"network of {version}" for version, network in CONNECTED.items()}
    return table.assign(network=table["network"].map(lambda name: versions.get(name, name)),
                        optimizer=table["optimizer"].map({"adam": "Adam", "sgd": "plain SGD"}))


def stiffness(table):
    """Stiffness at every stage: RUN, step, target_loss, measure (one of STIFFNESSES, in words), kind, value.

    All pairs of classes are the cells of the class stiffness matrix, those on its diagonal and the others.
    """
    names = [f"{summary}_{kind}" for summary in SUMMARIES for kind in KINDS]
    rows = table[table["quantity"].isin(names)]
    parts = rows["quantity"].str.rpartition("_")
    rows = rows.assign(measure=parts[0], kind=parts[2])
    wide = rows.pivot_table(index=[*RUN, "step", "target_loss", "kind"], columns="measure", values="value",
                            dropna=False).dropna(how="all")
    classes = int(table["class_a"].max()) + 1
    wide["all"] = (wide["within_class"] + (classes - 1) * wide["between_classes"]) / classes
    rows = wide.melt(ignore_index=False, value_name="value").reset_index()
    return rows.assign(measure=rows["measure"].map(STIFFNESSES))


def sizes(table):
    """Stiff domains and critical lengths at every stage: RUN, step, target_loss, measure (one of SIZES), space, value.

    As from `summaries.domain_sizes`: a size that is larger than any distance is infinite.
    """
    found = []
    for _, own in table.groupby(["network", "optimizer"], sort=False):
        rows = summaries.domain_sizes(own)
        layers = [space for space in rows["space"].unique() if space.startswith("layer ")]
        names = dict(zip(("input", layers[0], layers[-1]), SPACES))
        rows = rows[rows["space"].isin(names)]
        found.append(rows.assign(space=rows["space"].map(names), measure=rows["quantity"].map(SIZES)))
    return pd.concat(found)[[*RUN, "step", "target_loss", "measure", "space", "value"]]


def compared(rows, table):
    """The rows at the moments at which learning rates are compared, with the columns at (one of AT) and told.

    rows: as from `stiffness` or `sizes`; table: the runs' own, for their accuracies. For each training (TRAINING) the
    losses are the first and the last that every run has reached, the epochs the first and the last stage by steps after
    initialisation. The accuracy, on training images, is the highest whole per cent that every run has passed; between
    two stages values are taken to change evenly with the accuracy. A comparison that not all runs reach is left out.
    told: the loss, the stage or the accuracy, in words.
    """
    found = []
    for training in table[TRAINING].drop_duplicates().itertuples(index=False):
        of_training, own = (one[(one[TRAINING] == list(training)).all(axis=1)] for one in (table, rows))
        runs = len(own.drop_duplicates(RUN))
        by_loss = own[own["target_loss"].notna()].groupby("target_loss")
        reached = [loss for loss, there in by_loss if len(there.drop_duplicates(RUN)) == runs]
        for at, loss in zip(AT[:2], [max(reached), min(reached)] if len(reached) > 1 else []):
            found.append(own[own["target_loss"] == loss].assign(at=at, told=f"training loss {loss:g}"))
        by_step = own[own["target_loss"].isna() & (own["step"] > 0)]
        steps = sorted(set(by_step["step"]))
        for at, step in zip(AT[2:4], [steps[0], steps[-1]] if len(steps) > 1 else []):
            found.append(by_step[by_step["step"] == step].assign(at=at, told=f"after {step:,} steps"))
        found.append(_at_equal_accuracy(own, of_training[of_training["quantity"] == "train_accuracy"]))
    return pd.concat(found, ignore_index=True)


def trends(rows, choices):
    """How the value changes with the learning rate, by `choices`: mean, low, high, seeds, change, trend.

    mean, low, high: of the rank correlation of the rate with the value in the runs of each seed, with its 95 % interval
    over seeds. change: the median over seeds of the value at the highest rate minus that at the lowest, infinite where
    a size becomes larger than any distance. trend: DIPS where the value, in the runs of every seed, is smaller at a
    rate between the lowest and the highest than at both, by LEAST or more in the median, and PEAKS where it is larger;
    else RISES or FALLS where the interval lies on one side of 0 and the change is LEAST or more; else NEITHER. Sizes
    that are infinite in every run are left out.
    """
    endless = np.isinf(rows["value"]).groupby([rows[name] for name in choices]).transform("all")
    rows = rows[~endless]
    found = summaries.trends(rows, choices, "learning_rate", summaries.rank_correlation, bounds=STIFFNESS)
    ends = rows.sort_values("learning_rate").groupby([*choices, "seed"])["value"].agg(["first", "last"])
    changes = (ends["last"] - ends["first"]).where(ends["first"] != ends["last"], 0.0)  # also of two infinite sizes
    found = found[found["mean"].notna()].join(changes.groupby(choices).median().rename("change"), on=choices)
    rises = (found["low"] > 0) & (found["change"] >= LEAST)
    falls = (found["high"] < 0) & (found["change"] <= -LEAST)
    bends = rows.groupby(choices).apply(_bend, include_groups=False).rename("bend")
    bend = found.join(bends, on=choices)["bend"]
    found = found.assign(trend=np.select([bend == DIPS, bend == PEAKS, rises, falls], [DIPS, PEAKS, RISES, FALLS],
                                         NEITHER))
    places = {name: {option: place for place, option in enumerate(ORDER.get(name, found[name].unique()))}
              for name in choices}
    return found.sort_values(choices, key=lambda column: column.map(places[column.name]), ignore_index=True)


def counts(found):
    """How many cases of each measure have each of the TRENDS: a row for each measure, and kind or space."""
    measured = ["measure", "kind" if "kind" in found else "space"]
    rows = found.groupby([*measured, "trend"], sort=False).size().unstack(fill_value=0)
    return rows.reindex(columns=TRENDS, fill_value=0)


def turns(found, choices):
    """How often each choice turns the trend: choice, pairs, turned.

    pairs: of cases that differ in this choice alone; turned: of these, where one rises and the other falls.
    found: as from `trends`.
    """
    counts = []
    for choice in choices:
        others = [name for name in choices if name != choice]
        pairs = [set(pair) for _, alike in found.groupby(others)
                 for pair in itertools.combinations(alike["trend"], 2)]
        counts.append({"choice": choice, "pairs": len(pairs), "turned": pairs.count({RISES, FALLS})})
    return pd.DataFrame(counts)


def _bend(rows):
    """DIPS or PEAKS, or nothing, of the values of one case: see `trends`."""
    by_rate = rows.pivot(index="seed", columns="learning_rate", values="value")
    medians = by_rate.median()
    for bend, inner in ((DIPS, medians.idxmin()), (PEAKS, medians.idxmax())):
        if inner not in by_rate.columns[[0, -1]]:
            sections = by_rate[by_rate.columns[[0, -1]]].sub(by_rate[inner], axis=0) * (1 if bend == DIPS else -1)
            if (sections > 0).all(axis=None) and (sections.median() >= LEAST).all():
                return bend
    return ""


def _at_equal_accuracy(rows, accuracies):
    """The rows of one training at the accuracy that every run has passed."""
    stages = [*RUN, "step"]
    by_stage = accuracies.drop_duplicates(stages).set_index(stages)["value"]
    level = np.floor(100 * by_stage.groupby(RUN).max().min()) / 100
    rows = rows.drop_duplicates([name for name in rows if name not in ("target_loss", "value")])
    rows = rows.join(by_stage.rename("accuracy"), on=stages).sort_values("step")
    found = []
    for _, own in rows.groupby([name for name in rows if name not in ("step", "target_loss", "value", "accuracy")],
                               sort=False):
        there = own["accuracy"].to_numpy() >= level
        if there.any():
            after = int(there.argmax())
            before = max(after - 1, 0)
            (a, b), (x, y) = own["value"].iloc[[before, after]], own["accuracy"].iloc[[before, after]]
            share = (level - x) / (y - x) if y > x else 1.0
            value = a + share * (b - a) if np.isfinite([a, b]).all() else b
            found.append(own.iloc[[after]].assign(value=value))
    return pd.concat(found).drop(columns="accuracy").assign(at=AT[4], told=f"training accuracy {100 * level:.0f} %")
