"""The registry of claims: each stands here once, under its id, with all that the pages and the tests say of it."""

import functools
import inspect
import re
from dataclasses import dataclass, field

from stiffness_book.claims.parts import Part, outcomes
from stiffness_book.claims.parts import verdict as verdict_on

CLAIMS = {}


class NotMeasured(Exception):
    """Raised by a rule whose runs lack what it judges, as when they diverged; the message says what."""


@dataclass(frozen=True)
class Verdict:
    """One claim judged on one page."""

    claim: str
    verdict: str  # reproduced, answered, partly, undecided, not reproduced, opposite or not measured
    parts: tuple[Part, ...] = ()
    note: str = ""  # what was measured beside the parts, or why nothing was

    @property
    def count(self):
        """How many parts hold: 2 of 3."""
        return f"{outcomes(self.parts).count('holds')} of {len(self.parts)}"

    @property
    def held(self):
        """How many parts hold, and how many show the reverse, in words; empty where all or none hold."""
        reverse = outcomes(self.parts).count("reverse")
        return f"{self.count} parts{f', {reverse} the reverse' * bool(reverse)}" if self.verdict == "partly" else ""

    @property
    def telling(self):
        """The part to show where there is room for one: the first that does not hold, or the first of all."""
        return next((part for part, outcome in zip(self.parts, outcomes(self.parts)) if outcome != "holds"),
                    self.parts[0] if self.parts else None)

    @property
    def measured(self):
        """Each part with its number, its interval, the paper's number and its outcome, as text."""
        told = [f"{part.name}: {in_words(part)}: {outcome}" for part, outcome in zip(self.parts, outcomes(self.parts))]
        return ". ".join(filter(None, ["; ".join(told), self.note]))


@dataclass(frozen=True)
class Claim:
    """A claim of a paper, and the rule that judges it.

    pages: the notebooks that judge it, the main one first, each with the data set that it is judged on, in words.
    question: the paper asks, and does not claim. before: the verdict by the rule that this book had first, by page;
    changed: why the rule was replaced.
    """

    id: str
    source: str
    statement: str
    rule: str
    pages: dict[str, str]
    question: bool = False
    before: dict[str, str] = field(default_factory=dict)
    changed: str = ""

    def key(self, page):
        """The name under which the page glues its verdict: C1 on the main page, C1-fig05 on another."""
        return self.id if page == next(iter(self.pages)) else f"{self.id}-{page.split('_')[0]}"


def claim(id, *, source, statement, pages, question=False, before=None, changed=""):
    """Registers the decorated rule, whose docstring the page prints. The rule returns a list of `Part`, or such a list
    and a note. The decorated function returns a `Verdict`.
    """
    def register(rule):
        if id in CLAIMS:
            raise ValueError(f"claim {id} is registered twice")
        CLAIMS[id] = Claim(id, source, statement, inspect.getdoc(rule), pages, question, before or {}, changed)

        @functools.wraps(rule)
        def judge(*arguments, **named):
            try:
                found = rule(*arguments, **named)
            except NotMeasured as reason:
                return Verdict(id, "not measured", note=str(reason))
            parts, note = found if isinstance(found, tuple) else (found, "")
            return Verdict(id, verdict_on(parts, question=question)[0], tuple(parts), note)

        return judge

    return register


def in_words(part):
    """A part's number with its interval, and the paper's, as text: +0.22 [+0.15, +0.29], the paper +0.24."""
    mean, low, high = ("unknown" if value != value else part.form(value) for value in (part.mean, *part.interval))
    inside = "the same in all runs" if part.at_a_bound else f"{low}, {high}"
    paper = "" if part.paper is None else f", the paper {part.form(part.paper)}"
    return f"{mean} [{inside}]{paper}"


def picture(part, width=150, height=22):
    """A part's number and interval as a small SVG: the line of no effect, the interval, our mean, the paper's ring."""
    low, high = part.interval
    values = [value for value in (part.mean, low, high, part.none, part.paper) if value is not None and value == value]
    start, end = min(*values, part.none - part.size), max(*values, part.none + part.size)
    room = 0.06 * (end - start)

    def x(value):
        return round(6 + (width - 12) * (value - start + room) / (end - start + 2 * room), 1)

    middle = height / 2
    marks = [f'<line class="none" x1="{x(part.none)}" x2="{x(part.none)}" y1="1" y2="{height - 1}"/>']
    if low == low:
        marks.append(f'<line class="interval" x1="{x(low)}" x2="{x(high)}" y1="{middle}" y2="{middle}"/>')
    if part.mean == part.mean:
        marks.append(f'<circle class="ours" cx="{x(part.mean)}" cy="{middle}" r="4"/>')
    if part.paper is not None:
        marks.append(f'<circle class="paper" cx="{x(part.paper)}" cy="{middle}" r="5"/>')
    return (f'<svg class="effect" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
            f'aria-label="{in_words(part)}; no effect would be {part.form(part.none)}">{"".join(marks)}</svg>')


def in_order():
    """All claims in the order of their ids: C1, C2, ..., C10, N1."""
    return sorted(CLAIMS.values(), key=lambda claim: (claim.id[0], int(re.search(r"\d+", claim.id)[0]), claim.id))


def scorecard():
    """The scorecard's table as Markdown: a row for each claim and page, with what the notebook has glued; what was
    measured, and how the verdict was before the rule was replaced, are folded."""
    lines = [":::{list-table}", ":header-rows: 1", ":widths: 17 42 28 13", ":class: scorecard", ""]
    lines += _row("verdict", "claim", "one number, and the paper’s", "where")
    for one in in_order():
        for page, data in one.pages.items():
            notebook = f"../notebooks/{page}.ipynb"
            first = one.key(page) == one.id
            statement = f"{one.statement} On {data}." if first else f"The same, on {data}."
            number = re.fullmatch(r"fig0?(\d+)_.*", page)
            name = f"Figure {number[1]}" if number else page.replace("_", " ").capitalize()
            lines += _row(f"{{glue:any}}`{notebook}::{one.key(page)}-verdict`",
                          f"**{one.id}**, {one.source}: {statement}",
                          f"{{glue:any}}`{notebook}::{one.key(page)}-number`",
                          f"[{name}]({notebook}), [its runs]({notebook}#the-runs)")
            before = [] if page not in one.before else [
                "", f"    By the first rule: *{one.before[page]}*. {one.changed}"]
            lines[-2:-2] = ["", "    ```{dropdown} What was measured",
                            f"    {{glue:any}}`{notebook}::{one.key(page)}-measured`", *before, "    ```"]
    return "\n".join([*lines, ":::"])


def _row(*cells):
    return [f"{'* -' if at == 0 else '  -'} {cell}" for at, cell in enumerate(cells)]
