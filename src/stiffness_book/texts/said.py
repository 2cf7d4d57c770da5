"""What the page on the first version's text says: claims that it makes beside its figures."""

import numpy as np
import pandas as pd

from stiffness_book import summaries
from stiffness_book.table import OTHER_DISTANCES, STIFFNESS, SUMMARIES
from stiffness_book.texts.tables import as_table, mean_of
from stiffness_book.words import WORDS, percent, signed

_MEASURES = ("within_class_sign", "between_classes_sign", "within_class_cosine", "between_classes_cosine")


def width_and_stiffness(table, networks):
    """A table of what networks of several widths reach at the last stage. table: with the column network."""
    rows = []
    for network in networks:
        own = table[table["network"] == network]
        last = summaries.first_and_last(own)[-1]
        at_last = own[own["target_loss"].isna() & (own["step"] == last)]
        cells = at_last[(at_last["quantity"] == "class_stiffness_sign") & (at_last["class_a"] < at_last["class_b"])]
        positive = (cells["value"] > 0).groupby(cells["seed"]).mean()
        before = own[own["target_loss"].isna() & (own["step"] == 0)]
        rows.append([network, _mean(at_last, "train_loss", "{:.3f}".format, (0, np.inf)),
                     _mean(at_last, "validation_accuracy", percent, (0, 1)),
                     *(_mean(stage, "between_classes_sign") for stage in (before, at_last)),
                     mean_of(positive, percent, (0, 1))])
    return as_table(["network", "training loss", "validation accuracy", "between classes, at initialisation",
                     f"after {last:,} steps", "positive class pairs then"], rows)


def does_it_take_capacity(table, networks):
    """The finding in a sentence."""
    last = summaries.first_and_last(table)[-1]
    found = {}
    for network in networks:
        values = summaries.at_seeds(table[(table["network"] == network) & table["target_loss"].isna()],
                                    "between_classes_sign", last)
        found[network] = values
    positive = [network for network, values in found.items() if summaries.mean_and_interval(values)[1] > 0]
    narrow, wide = (mean_of(found[networks[place]], bounds=STIFFNESS) for place in (0, -1))
    return (f"After {last:,} steps stiffness between classes is positive, by its interval over runs, in "
            f"{len(positive)} of {len(networks)} widths{': ' + ', '.join(positive) if positive else ''}. It is "
            f"{narrow} in the narrowest network, {wide} in the widest.")


def stiffness_against_the_gap(parts):
    """A table of how stiffness goes with the gap between validation and training loss.

    parts: {what is compared: (table, columns that are alike among what is compared)}. The rank correlation is over the
    stages or runs that share these columns; the interval is over seeds, one of the columns or not.
    """
    rows = []
    for name, (table, alike) in parts.items():
        given = [column for column in ("dataset", "network", "learning_rate") if column in table]
        keys = list(dict.fromkeys(["step", "target_loss", "seed", *alike, *given]))
        wide = table[table["quantity"].isin([*_MEASURES, "train_loss", "validation_loss"]) & (table["step"] > 0)
                     ].assign(target_loss=lambda rows: rows["target_loss"].fillna(0)).pivot_table(
                         index=keys, columns="quantity", values="value").reset_index()
        wide["gap"] = wide["validation_loss"] - wide["train_loss"]
        cells, cases = [], 0
        for measure in _MEASURES:
            found = pd.Series({key: summaries.rank_correlation(group["gap"], group[measure])
                               for key, group in wide.groupby([*alike, "seed"]) if len(group) > 2})
            cases = len(found)
            by_seed = found.groupby(level=-1).mean()
            cells.append(mean_of(by_seed, bounds=STIFFNESS))
        rows.append([name, f"{cases}", *cells])
    return as_table(["compared", "rank correlations", "within classes, sign", "between classes, sign",
                     "within classes, cosine", "between classes, cosine"], rows)


def mean_intensity(table):
    """A table of what the mean intensity of an image alone gives at initialisation. table: with the column dataset."""
    rows = []
    for dataset, own in table.groupby("dataset", sort=False):
        classes = int(own["class_a"].max()) + 1
        rows.append([dataset, _mean(own, "intensity_probe_accuracy", percent, (0, 1)), percent(1 / classes),
                     *(_mean(own, f"{summary}_sign{of}")
                       for summary in SUMMARIES for of in ("", "_intensity"))])
    return as_table(["data", "accuracy of a linear probe on the mean intensity", "guessing",
                     *(f"{WORDS[summary]}, {of}" for summary in SUMMARIES for of in ("the images", "uniform images"))],
                    rows)


def domains_through_training(sizes):
    """How often stiff domains are larger at the last stage than at the first, by space. sizes: as from
    `summaries.domain_sizes`."""
    rows = sizes[sizes["quantity"] == "stiff_domain_size_sign"]
    first, last = rows["step"].min(), rows["step"].max()
    told = []
    for space, own in rows.groupby("space", sort=False):
        ends = [own[own["step"] == step].set_index("seed")["value"] for step in (first, last)]
        told.append([space, *(f"{one.median():.2f}" if np.isfinite(one.median()) else "none" for one in ends),
                     f"{int((ends[1] > ends[0]).sum())} of {len(ends[0])}"])
    return as_table(["space", "at initialisation, median", f"after {last:,} steps", "runs in which it has grown"], told)


def average_against_the_rate(table):
    """A table of the slopes of stiffness within classes, between them and over all pairs of classes against the rate.

    table: with the columns dataset and learning_rate.
    """
    rows = table[table["target_loss"].notna() & table["quantity"].isin([f"{summary}_sign" for summary in SUMMARIES])]
    keys = ["dataset", "target_loss", "learning_rate", "seed"]
    wide = rows.pivot_table(index=keys, columns="quantity", values="value").reset_index()
    classes = int(table["class_a"].max()) + 1
    wide["all pairs of classes"] = (wide["within_class_sign"] + (classes - 1) * wide["between_classes_sign"]) / classes
    told = []
    for (dataset, loss), own in wide.groupby(["dataset", "target_loss"], sort=False):
        cells = []
        for name in ("within_class_sign", "between_classes_sign", "all pairs of classes"):
            slopes = own.groupby("seed").apply(
                lambda run, name=name: summaries.slope_per_decade(run["learning_rate"], run[name])
                if run["learning_rate"].nunique() > 1 else np.nan, include_groups=False)
            cells.append(mean_of(slopes))
        told.append([dataset, f"{loss:g}", *cells])
    return as_table(["data", "training loss", "within classes", "between classes", "all pairs of classes"], told)


def other_distances(table):
    """A table of stiff domains by the cosine, the L1 and the L2 distance. table: of runs at one training loss."""
    cosine = summaries.domain_sizes(table)
    cosine = cosine[cosine["quantity"] == "stiff_domain_size_sign"]
    rows = []
    for name in ("1 − cosine", *OTHER_DISTANCES):
        sizes = cosine if name == "1 − cosine" else table[table["quantity"] == f"{name}_stiff_domain_size_sign"]
        for dataset, own in sizes.groupby("dataset", sort=False):
            by_space = own.groupby("space", sort=False)["value"].median()
            hidden = own[own["space"].str.startswith("layer ")]
            depth = hidden["space"].str.removeprefix("layer ").astype(int)
            filled = hidden["value"].fillna(np.inf)
            order = [summaries.rank_correlation(depth[chosen], filled[chosen]) for chosen in
                     (hidden["seed"] == seed for seed in sorted(set(hidden["seed"])))]
            rows.append([dataset, name.replace("l1", "L1").replace("l2", "L2"),
                         *(f"{value:.2f}" if np.isfinite(value) else "none" for value in by_space),
                         mean_of(order, bounds=STIFFNESS)])
    return as_table(["data", "distance", *by_space.index, "order of the hidden layers"], rows)


def _mean(table, quantity, form=signed, bounds=STIFFNESS):
    values = table.loc[table["quantity"] == quantity].groupby("seed")["value"].mean()
    return mean_of(values, form, bounds) if len(values) else "–"
