"""The papers' claims, each judged by a rule that the program applies and the page prints.

A rule is the docstring of its function, below the first line, so it stands beside the code that it describes.
"""

import inspect
from dataclasses import dataclass

import numpy as np
import pandas as pd

from stiffness.summaries import mean_and_interval, over_seeds


@dataclass(frozen=True)
class Verdict:
    """One row of the scorecard: what was claimed, what was measured, how it was judged."""

    claim: str
    statement: str
    measured: str
    verdict: str
    rule: str


def within_class_positive(table):
    """Within-class stiffness is positive at initialisation and through most of training.

    By within-class sign stiffness, positive meaning that its 95 % interval over seeds lies above 0:

    - reproduced: positive at initialisation and at more than half of the later stages
    - partly: one of the two
    - opposite: the interval lies below 0 at initialisation and at more than half of the later stages
    - not reproduced: anything else
    """
    stages = over_seeds(_summary(table, "within_class_sign"), ["step"]).set_index("step")
    first, later = stages.iloc[0], stages.iloc[1:]
    lowest = later["mean"].idxmin()
    measured = (f"{interval(first)} at initialisation; positive at {(later['low'] > 0).sum()} of {len(later)} later "
                f"stages, lowest {interval(stages.loc[lowest])} after {lowest:,} steps")
    held = [first["low"] > 0, (later["low"] > 0).mean() > 0.5]
    return _judged("C1", within_class_positive, measured, held,
                   opposite=first["high"] < 0 and (later["high"] < 0).mean() > 0.5)


def between_classes_grows(table):
    """Between-class stiffness is not consistent at initialisation, grows with training, is positive for most pairs.

    Three parts, by sign stiffness and 95 % intervals over seeds. *Not consistent at initialisation*: fewer than half of
    the class pairs have the same sign in every run. *Grows*: the interval of the change from initialisation to the last
    stage lies above 0. *Positive for most*: the interval of the share of class pairs that are positive at the last
    stage lies above one half.

    - reproduced: all three
    - partly: one or two
    - opposite: the interval of the change lies below 0
    - not reproduced: anything else
    """
    between = _summary(table, "between_classes_sign").pivot(index="seed", columns="step", values="value")
    change = _row(mean_and_interval(between.iloc[:, -1] - between.iloc[:, 0]))
    matrices = table[(table["quantity"] == "class_stiffness_sign") & (table["class_a"] < table["class_b"])]
    first = matrices[matrices["step"] == between.columns[0]]
    signs = np.sign(first["value"]).groupby([first["class_a"], first["class_b"]]).mean()
    consistent = (signs.abs() == 1).mean()
    last = matrices[matrices["step"] == between.columns[-1]]
    positive = _row(mean_and_interval((last["value"] > 0).groupby(last["seed"]).mean()))
    measured = (f"{interval(_row(mean_and_interval(between.iloc[:, 0])))} at initialisation, where {consistent:.0%} of "
                f"the class pairs have one sign in all runs; {interval(_row(mean_and_interval(between.iloc[:, -1])))} "
                f"after {between.columns[-1]:,} steps, a change of {interval(change)}; share of positive class pairs "
                f"then {interval(positive, percent)}")
    held = [consistent < 0.5, change["low"] > 0, positive["low"] > 0.5]
    return _judged("C2", between_classes_grows, measured, held, opposite=change["high"] < 0)


def permuted_labels_negative(table):
    """With permuted labels no positive between-class stiffness develops; it goes negative.

    Two parts, by sign stiffness and 95 % intervals over seeds. *None develops*: at no stage after initialisation does
    the interval lie above 0. *Goes negative*: at the last stage it lies below 0.

    - reproduced: both
    - partly: one
    - opposite: at the last stage the interval lies above 0
    - not reproduced: anything else
    """
    stages = over_seeds(_summary(table, "between_classes_sign"), ["step"]).set_index("step")
    later, last = stages.iloc[1:], stages.iloc[-1]
    highest = later["mean"].idxmax()
    measured = (f"{interval(last)} after {stages.index[-1]:,} steps; highest after initialisation "
                f"{interval(stages.loc[highest])}, after {highest:,} steps")
    held = [not (later["low"] > 0).any(), last["high"] < 0]
    return _judged("C4", permuted_labels_negative, measured, held, opposite=last["low"] > 0)


def signed(value, digits=2):
    """A stiffness as text: +0.22."""
    return f"{round(value, digits) + 0:+.{digits}f}".replace("-", "−")  # + 0 turns -0.0 into 0.0


def signed3(value):
    """A cosine as text, which is often small: +0.002."""
    return signed(value, 3)


def percent(value):
    """A share as text: 82.4 %."""
    return f"{100 * value:.1f} %"


def interval(row, as_text=signed):
    """A mean with its interval, as text: +0.22 [+0.15, +0.29]. The interval of a single run is unknown."""
    mean, low, high = ("unknown" if pd.isna(row[name]) else as_text(row[name]) for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def _row(triple):
    return dict(zip(("mean", "low", "high"), triple))


def _summary(table, quantity):
    return table[table["quantity"] == quantity]


def _judged(claim, rule, measured, held, *, opposite):
    verdict = "opposite" if opposite else "reproduced" if all(held) else "partly" if any(held) else "not reproduced"
    statement, text = inspect.getdoc(rule).split("\n\n", 1)
    return Verdict(claim, statement, measured, verdict, text)
