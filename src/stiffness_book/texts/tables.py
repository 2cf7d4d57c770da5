"""Tables as Markdown, and what stands in their cells."""

import numpy as np

from stiffness_book.summaries import mean_and_interval
from stiffness_book.words import interval, signed


def mean_of(values, form=signed, bounds=(-np.inf, np.inf)):
    """The mean of one value a run with its interval, which ends at the bounds, as text."""
    mean, low, high = mean_and_interval(values)
    low, high = np.clip([low, high], *bounds)
    return interval({"mean": mean, "low": low, "high": high}, form)


def yes_or_no(verdict):
    """The answer to the question whether a claim holds, in a word or two."""
    return {"reproduced": "Yes", "not reproduced": "No", "opposite": "No", "undecided": "Not clearly",
            "not measured": "That is not known"}.get(verdict.verdict, "In part")


def as_table(head, rows):
    """The rows, each a list of texts, below their head."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))
