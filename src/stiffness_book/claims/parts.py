"""The parts of a claim: a measured number each, its interval, and what the claim expects of it.

A part holds only if its interval excludes that there is nothing, and the effect has a size that the rule names. So
neither noise nor a network that was never trained passes. Where the interval is too wide to tell, nothing is decided.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import t

from stiffness_book.summaries import LEVEL
from stiffness_book.words import signed

SMALL = 0.05  # of stiffness: half an interval; the most that rounding to one decimal changes
CLEAR = 0.1  # of stiffness, and of a share: the least that counts as an effect
ORDERED = 0.5  # of a rank correlation: the least that counts as an order
OUTCOMES = ("holds", "undecided", "fails", "reverse")


@dataclass(frozen=True)
class Part:
    """One part of a claim.

    mean, error, df: of the number, its standard error and the degrees of freedom (the number of runs less one).
    expects: "above" or "below" `none`, by `size` or more; or "within" `size` of it, with the whole interval.
    paper: the same number in the paper's figure, where it shows one. form: how the number is written.
    bounds: the number's own, at which the interval ends.
    """

    name: str
    mean: float
    error: float
    df: float
    expects: str = "above"
    none: float = 0.0
    size: float = CLEAR
    paper: float | None = None
    bounds: tuple[float, float] = (-1.0, 1.0)
    form: Callable[[float], str] = field(default=signed, repr=False)

    @classmethod
    def over(cls, name, values, *, probe_error=0.0, **expected):
        """A part whose number is the mean of one value a run. probe_error: the standard error that the choice of probe
        images gives the mean, which more runs do not lower; added in quadrature."""
        values = np.asarray(values, float)
        values = values[~np.isnan(values)]
        n = len(values)
        spread = values.std(ddof=1) / n**0.5 if n > 1 else np.nan
        return cls(name, float(values.mean()) if n else np.nan, float(np.hypot(spread, probe_error)), n - 1, **expected)

    @property
    def interval(self):
        """low, high at 95 %: Student's t; missing for a single run."""
        if not self.df >= 1 or np.isnan(self.error):
            return np.nan, np.nan
        half = t.ppf((1 + LEVEL) / 2, self.df) * self.error
        return max(self.mean - half, self.bounds[0]), min(self.mean + half, self.bounds[1])

    @property
    def at_a_bound(self):
        """Whether all runs gave the largest or the least number that there is: its interval has no width."""
        return self.error == 0 and self.mean in self.bounds

    @property
    def effect(self):
        """The distance from `none` in the expected direction, and its interval."""
        direction = -1 if self.expects == "below" else 1
        low, high = sorted(direction * (end - self.none) for end in self.interval)
        return direction * (self.mean - self.none), low, high

    @property
    def p(self):
        """The one-sided p value of an effect of 0, in the expected direction."""
        effect = self.effect[0]
        if self.error == 0:
            return 0.0 if effect > 0 else 1.0
        return float(t.sf(effect / self.error, self.df)) if self.df >= 1 else np.nan

    def outcome(self, excludes_none=None):
        """One of OUTCOMES. excludes_none: whether the effect is there, by a test of several parts together; by default
        whether this part's interval excludes `none`."""
        mean, low, high = self.effect
        if np.isnan(low) or np.isnan(high):
            return "undecided"
        if self.expects == "within":
            return "holds" if -self.size < low and high < self.size else (
                "fails" if low > self.size or high < -self.size else "undecided")
        if (low > 0 if excludes_none is None else excludes_none) and mean >= self.size:
            return "holds"
        if self.size > 0 and high < 0 and mean <= -self.size:  # a threshold that is missed has no reverse
            return "reverse"
        return "fails" if high < self.size else "undecided"


def difference(name, a, b, **expected):
    """A part whose number is the mean of a minus that of b, with the error and the degrees of freedom of Welch's test.
    """
    squares = [values.var(ddof=1) / len(values) for values in (a, b)]
    whole = sum(squares)
    df = whole**2 / sum(s**2 / (len(v) - 1) for s, v in zip(squares, (a, b))) if whole else min(len(a), len(b)) - 1
    return Part(name, float(a.mean() - b.mean()), float(whole**0.5), float(df), **{"bounds": (-2.0, 2.0), **expected})


def outcomes(parts):
    """The outcome of each part. Where several ask for an effect, Holm's procedure keeps the chance of even one that
    is there by accident below 2.5 %."""
    asked = [part for part in parts if part.expects != "within"]
    order = sorted(asked, key=lambda part: (np.isnan(part.p), part.p))
    there, still = {}, True
    for place, part in enumerate(order):
        still = bool(still and part.p <= (1 - LEVEL) / 2 / (len(order) - place))
        there[part.name] = still
    return [part.outcome(there.get(part.name)) for part in parts]


def by_outcome(parts):
    """{outcome: the names of the parts that have it, in words}."""
    found = list(zip(outcomes(parts), [part.name for part in parts]))
    return {outcome: ", ".join(name for own, name in found if own == outcome)
            for outcome in dict.fromkeys(outcome for outcome, _ in found)}


def verdict(parts, *, question=False):
    """The verdict on a claim from the outcomes of its parts: the word, and how many hold.

    reproduced (of a question: answered) if all hold; opposite if all that ask for an effect show the reverse; partly
    if some hold, one that asks for an effect among them: that nothing happens is not half of a claim that something
    does; undecided if none holds and one or more cannot be told; else not reproduced.
    """
    found = outcomes(parts)
    held = found.count("holds")
    asked = [outcome for part, outcome in zip(parts, found) if part.expects != "within"]
    if held == len(parts):
        word = "answered" if question else "reproduced"
    elif asked and set(asked) == {"reverse"}:
        word = "opposite"
    elif "holds" in (asked or found):
        word = "partly"
    else:
        word = "undecided" if "undecided" in (asked or found) else "not reproduced"
    return word, held
