"""What the page on the order of the training data says."""

import numpy as np

from stiffness_book.summaries import against_shuffled, by_stage
from stiffness_book.table import STIFFNESS, neighbours_in
from stiffness_book.texts.tables import as_table, mean_of
from stiffness_book.words import percent

CHANGE = (-2, 2)  # the range of a change of stiffness


def order_and_stiffness(tables, verdict):
    """The finding in a sentence. tables: those of the runs by data set, with the column order; verdict: on C17."""
    name, table = next(iter(tables.items()))
    told = [f"{mean_of(by_stage(own, 'between_classes_sign').mean(axis=1), bounds=STIFFNESS)} {order}"
            for order, own in table.groupby("order", sort=False)]
    return (f"**Does stiffness reflect the order of the training data?** It does in {verdict.count} comparisons with "
            f"shuffled data. Between classes, averaged over training, it is {', '.join(told)} ({name}).")


def outcomes_by_order(tables):
    """A table of what training in each order leads to at the last stage, and of the accuracies within the last pass."""
    rows = []
    for name, table in tables.items():
        last = table.loc[table["quantity"] != "diverged", "step"].max()
        for order, own in table.groupby("order", sort=False):
            at_last = own[own["step"] == last]
            ends = [mean_of(at_last.loc[at_last["quantity"] == quantity, "value"], form, bounds)
                    for quantity, form, bounds in (
                        ("train_loss", "{:.3f}".format, (0, np.inf)), ("validation_loss", "{:.3f}".format, (0, np.inf)),
                        ("validation_accuracy", percent, (0, 1)))]
            accuracies = by_stage(own, "validation_accuracy").mean()
            rows.append([name, order, *ends, f"{percent(accuracies.min())} to {percent(accuracies.max())}"])
    return as_table(["data", "order", "training loss", "validation loss", "validation accuracy",
                     "its means at the stages"], rows)


def changes_by_order(tables):
    """A table of how stiffness differs from that of the shuffled runs, averaged over the stages of training."""
    rows = []
    for name, table in tables.items():
        for order in dict.fromkeys(table.loc[table["order"] != "shuffled", "order"]):
            rows.append([name, order, *(mean_of(against_shuffled(table, order, quantity), bounds=CHANGE)
                                        for quantity in ("within_class_sign", "between_classes_sign",
                                                         "within_class_cosine", "between_classes_cosine"))])
    return as_table(["data", "order", "within classes, sign", "between classes, sign", "within classes, cosine",
                     "between classes, cosine"], rows)


def neighbours_by_order(tables, kind):
    """A table of the stiffness between batches that follow each other, and what it is compared with."""
    rows = []
    for name, table in tables.items():
        shuffled = table[table["order"] == "shuffled"]
        for order, own in table.groupby("order", sort=False):
            cases = ((own, order), (own, "shuffled"), (shuffled, order))
            rows.append([name, order, *(mean_of(by_stage(runs, neighbours_in(of, kind)).mean(axis=1), bounds=STIFFNESS)
                                        for runs, of in cases)])
    return as_table(["data", "trained in the order", "neighbours in time", "random batches",
                     "the neighbours, in a network trained shuffled"], rows)
