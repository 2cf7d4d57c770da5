"""What the page on the family of gradient measures says."""

import pandas as pd

from stiffness_book import summaries
from stiffness_book.family import MEASURES, STIFFNESS
from stiffness_book.table import STIFFNESS as RANGE
from stiffness_book.texts.tables import as_table
from stiffness_book.words import interval, signed

SAME = 0.8  # of a rank correlation: two measures say the same


def correlations(rows, alike):
    """A table of the rank correlation of each measure with each kind of stiffness.

    rows: as from `family.measures`. alike: the columns that are alike among what is compared. The interval is over
    seeds.
    """
    told = []
    for name, words in MEASURES.items():
        row = [words]
        for stiffness in STIFFNESS:
            known = rows[rows[name].notna()]
            found = pd.Series({key: summaries.rank_correlation(group[name], group[stiffness])
                               for key, group in known.groupby([*alike, "seed"]) if _varies(group[stiffness])})
            if found.empty:
                row.append("constant")
                continue
            mean, low, high = summaries.mean_and_interval(found.groupby(level=-1).mean())
            row.append(interval({"mean": mean, "low": max(low, RANGE[0]), "high": min(high, RANGE[1])}))
        told.append(row)
    return as_table(["measure", *STIFFNESS.values()], told)


def _varies(values):
    """Whether there are three values or more, and not all the same."""
    return len(values) > 2 and values.max() - values.min() > 1e-9


def says_the_same(rows, alike):
    """The measures whose rank correlation with some kind of stiffness is strong, in a sentence."""
    strong = []
    for name, words in MEASURES.items():
        for stiffness, kind in STIFFNESS.items():
            known = rows[rows[name].notna()]
            found = [summaries.rank_correlation(group[name], group[stiffness])
                     for _, group in known.groupby([*alike, "seed"]) if _varies(group[stiffness])]
            mean = sum(found) / len(found) if found else 0
            if abs(mean) >= SAME:
                strong.append(f"{words} with stiffness {kind} ({signed(mean)})")
    return (f"these have a rank correlation of {SAME} or more, up or down: {'; '.join(strong)}." if strong else
            f"none of them has a rank correlation of {SAME} or more with any kind of stiffness.")
