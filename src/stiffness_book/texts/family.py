"""What the page on the family of gradient measures says."""

import numpy as np
import pandas as pd

from stiffness_book import summaries
from stiffness_book.family import MEASURES, STIFFNESS
from stiffness_book.table import STIFFNESS as RANGE
from stiffness_book.texts.tables import as_table, mean_of
from stiffness_book.words import signed

SAME = 0.8  # of a rank correlation: two measures say the same


def correlations(rows, alike):
    """A table of the rank correlation of each measure with each kind of stiffness.

    rows: as from `family.measures`. alike: the columns that are alike among what is compared. The interval is over
    seeds.
    """
    told = []
    for name, words in MEASURES.items():
        found = [_by_case(rows, name, stiffness, alike) for stiffness in STIFFNESS]
        told.append([words, *("constant" if one.empty else mean_of(one.groupby(level=-1).mean(), bounds=RANGE)
                              for one in found)])
    return as_table(["measure", *STIFFNESS.values()], told)


def says_the_same(rows, alike):
    """The measures whose rank correlation with some kind of stiffness is strong, in a sentence."""
    strong = []
    for name, words in MEASURES.items():
        for stiffness, kind in STIFFNESS.items():
            mean = _by_case(rows, name, stiffness, alike).mean()
            if abs(mean) >= SAME:
                strong.append(f"{words} with stiffness {kind} ({signed(mean)})")
    return (f"these have a rank correlation of {SAME} or more, up or down: {'; '.join(strong)}." if strong else
            f"none of them has a rank correlation of {SAME} or more with any kind of stiffness.")


def _by_case(rows, name, stiffness, alike):
    """The rank correlation in each case with three values or more of a stiffness that varies, by the columns that are
    alike and the seed."""
    known = rows[rows[name].notna()]
    return pd.Series({key: summaries.rank_correlation(group[name], group[stiffness])
                      for key, group in known.groupby([*alike, "seed"])
                      if len(group) > 2 and np.ptp(group[stiffness]) > 1e-9}, dtype=float)
