"""What the page on a residual network says."""

import numpy as np

from stiffness_book import summaries
from stiffness_book.table import SUMMARIES
from stiffness_book.texts.tables import as_table, mean_of, yes_or_no
from stiffness_book.words import NETWORK_WORDS, WORDS, signed


def residual_in_a_sentence(tables, network, other, verdict):
    """The finding in sentences, beside another network. tables: of runs by data set, with the column network; verdict:
    on C13."""
    told, kind = [], NETWORK_WORDS[other.partition("-")[0]]
    for name, table in tables.items():
        own = table[table["network"] == network]
        losses = own["target_loss"].dropna()
        if losses.empty:
            told.append(f"on {name} it reached none of the training losses")
            continue
        start, end = _at_start(own), own[own["target_loss"] == losses.min()]
        beside = table[(table["network"] == other) & (table["target_loss"] == losses.min())]
        changes = [f"from {_signed(start, quantity)} to {_signed(end, quantity)} ({kind}: {_signed(beside, quantity)})"
                   for quantity in ("between_classes_sign", "within_class_sign")]
        told.append(f"on {name} stiffness between classes goes {changes[0]}, and within classes {changes[1]}")
    return (f"**Does a residual network show the same pattern?** {yes_or_no(verdict)}. By sign, from initialisation to "
            f"the lowest training loss, {'; '.join(told)}.")


def sizes_by_depth(tables, networks):
    """A table of the stiff domains in the first and the last representation at the lowest training loss, how they order
    with depth, and how they do before training. tables: of runs by data set, with the column network."""
    rows = []
    sizes = summaries.domains_at_lowest_loss(tables)
    for dataset in sizes["dataset"].unique():
        before = summaries.hidden_domains(_at_start(tables[dataset]))
        for network in networks:
            own = sizes[(sizes["dataset"] == dataset) & (sizes["network"] == network)]
            if own.empty:
                continue
            medians = own.groupby("depth")["value"].median()
            orders = [summaries.order_with_depth(found) for found in (own, before[before["network"] == network])]
            first, last = (f"{value:.2f}" if np.isfinite(value) else "none" for value in medians.iloc[[0, -1]])
            rows.append([dataset, network, f"{len(medians)}", first, last, *(
                mean_of(order, bounds=(-1, 1)) if order.notna().any() else "none" for order in orders),
                         f"{np.isinf(own['value']).sum()} of {len(own)}"])
    return as_table(["data", "network", "layers or blocks", "domain in the first", "in the last",
                     "rank correlation with depth", "the same before training", "never zero"], rows)


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


def _signed(rows, quantity):
    return signed(_mean(rows, quantity)) if len(rows) else "not measured"
