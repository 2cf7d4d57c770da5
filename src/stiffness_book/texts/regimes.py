"""What the page on regimes of pairs says: training images, validation images, and both."""

import numpy as np

from stiffness_book import summaries
from stiffness_book.table import KINDS, REGIMES, STIFFNESS, SUMMARIES
from stiffness_book.texts.tables import as_table
from stiffness_book.words import REGIME_WORDS, WORDS, interval, signed


def regimes_alike(tables):
    """The finding in a sentence. tables: those of the runs, by data set."""
    told = []
    for name, table in tables.items():
        rows = table[table["target_loss"].isna()]
        last = summaries.first_and_last(rows)[-1]
        within = [signed(summaries.at(rows, f"within_class_sign{suffix}", last)["mean"])
                  for suffix in (f"_{REGIMES[0]}", "")]
        told.append(f"on {name}, after {last:,} steps, stiffness within classes is {within[0]} for two training images "
                    f"and {within[1]} for two validation images")
    return f"**Do training images behave like others?** {'; '.join(told)[:1].upper()}{'; '.join(told)[1:]}."


def largest_differences(tables):
    """A table of how much the other regimes differ from pairs of validation images, at the stage where most."""
    rows = []
    for name, table in tables.items():
        table = table[table["target_loss"].isna()]
        for summary in SUMMARIES:
            for regime in REGIMES:
                row = [name, WORDS[summary], REGIME_WORDS[regime]]
                for kind in KINDS:
                    by_step = [table[table["quantity"] == f"{summary}_{kind}{suffix}"].pivot_table(
                        index="seed", columns="step", values="value") for suffix in (f"_{regime}", "")]
                    difference = by_step[0] - by_step[1]
                    step = difference.mean().abs().idxmax()
                    mean, low, high = summaries.mean_and_interval(difference[step])
                    low, high = np.clip([low, high], 2 * STIFFNESS[0], 2 * STIFFNESS[1])
                    row.append(f"{interval({'mean': mean, 'low': low, 'high': high})}, {step:,} steps")
                rows.append(row)
    return (as_table(["data", "stiffness", "pairs", "difference by sign", "difference by cosine"], rows)
            + "\n\nEach is the regime minus that of pairs of two validation images, at the stage at which the mean "
            "differs most.")
