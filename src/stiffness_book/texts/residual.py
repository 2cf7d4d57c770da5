"""What the page on a residual network says."""

import numpy as np

from stiffness_book import summaries
from stiffness_book.table import SUMMARIES
from stiffness_book.texts.tables import as_table, mean_of
from stiffness_book.words import WORDS, signed


def residual_in_a_sentence(tables, network):
    """The finding in a sentence. tables: of runs by data set, with the column network"""
    told = []
    for name, table in tables.items():
        own = table[table["network"] == network]
        losses = own["target_loss"].dropna()
        if losses.empty:
            told.append(f"on {name} it reached none of the training losses")
            continue
        start, end = _at_start(own), own[own["target_loss"] == losses.min()]
        within, between = ([_mean(rows, f"{summary}_sign") for rows in (start, end)] for summary in SUMMARIES)
        told.append(f"on {name}, sign stiffness between classes goes from {signed(between[0])} to "
                    f"{signed(between[1])}, and within them from {signed(within[0])} to {signed(within[1])}")
    return ("**Does a residual network show the same picture?** From initialisation to the lowest training loss, "
            f"{'; '.join(told)}.")


def sizes_by_depth(sizes, networks):
    """A table of the stiff domains in the first and the last representation, and how they order with depth.

    sizes: as from `summaries.domains_at_lowest_loss`.
    """
    rows = []
    for dataset in sizes["dataset"].unique():
        for network in networks:
            own = sizes[(sizes["dataset"] == dataset) & (sizes["network"] == network)]
            if own.empty:
                continue
            medians = own.groupby("depth")["value"].median()
            order = own.groupby("seed").apply(
                lambda run: summaries.rank_correlation(run["depth"], run["value"]), include_groups=False)
            first, last = (f"{value:.2f}" if np.isfinite(value) else "none" for value in medians.iloc[[0, -1]])
            rows.append([dataset, network, f"{len(medians)}", first, last, mean_of(order, bounds=(-1, 1)),
                         f"{np.isinf(own['value']).sum()} of {len(own)}"])
    return as_table(["data", "network", "layers or blocks", "domain in the first", "in the last",
                     "rank correlation with depth", "never zero"], rows)


def with_another_initialisation(tables, network, varied):
    """A table of stiffness before training and at each loss for both initialisations; empty without such runs."""
    rows = []
    for name, table in tables.items():
        for other in varied:
            theirs = table[table["network"] == other]
            moments = [None, *sorted(theirs["target_loss"].dropna().unique(), reverse=True)] if len(theirs) else []
            for loss in moments:
                for one in (network, other):
                    rows_of = table[table["network"] == one]
                    rows_of = _at_start(rows_of) if loss is None else rows_of[rows_of["target_loss"] == loss]
                    if rows_of.empty:
                        continue
                    rows.append([name, "start" if loss is None else f"loss {loss:g}", one,
                                 f"{_mean(rows_of, 'train_loss'):.2f}", *(
                                     mean_of(rows_of.loc[rows_of["quantity"] == f"{summary}_{kind}", "value"],
                                             bounds=(-1, 1)) for kind in ("sign", "cosine") for summary in SUMMARIES)])
    return rows and as_table(["data", "moment", "network", "training loss", *(
        f"{WORDS[summary]}, {kind}" for kind in ("sign", "cosine") for summary in SUMMARIES)], rows)


def _at_start(table):
    return table[table["target_loss"].isna() & (table["step"] == 0)]


def _mean(rows, quantity):
    return rows.loc[rows["quantity"] == quantity, "value"].mean()
