"""The registry of claims: each stands here once, under its id, with all that the pages and the tests say of it."""

import functools
import inspect
import re
from dataclasses import dataclass

CLAIMS = {}


class NotMeasured(Exception):
    """Raised by a rule whose runs lack what it judges, as when they diverged; the message says what."""


@dataclass(frozen=True)
class Verdict:
    """One claim judged on one page: what was measured, and the verdict."""

    claim: str
    measured: str
    verdict: str  # reproduced, partly, not reproduced, opposite or not measured


@dataclass(frozen=True)
class Claim:
    """A claim of a paper, and the rule that judges it.

    pages: the notebooks that judge it, the main one first, each with the data set that it is judged on, in words.
    """

    id: str
    source: str
    statement: str
    rule: str
    pages: dict[str, str]

    def key(self, page):
        """The name under which the page glues its verdict: C1 on the main page, C1-fig05 on another."""
        return self.id if page == next(iter(self.pages)) else f"{self.id}-{page.split('_')[0]}"


def claim(id, *, source, statement, pages):
    """Registers the decorated rule, whose docstring the page prints. The rule returns (measured, held, opposite).

    measured: text; held: whether each part of the claim holds; opposite: whether the opposite was measured. The
    decorated function returns a `Verdict`: reproduced if all parts hold, partly if some do.
    """
    def register(rule):
        if id in CLAIMS:
            raise ValueError(f"claim {id} is registered twice")
        CLAIMS[id] = Claim(id, source, statement, inspect.getdoc(rule), pages)

        @functools.wraps(rule)
        def judge(*arguments, **named):
            try:
                measured, held, opposite = rule(*arguments, **named)
            except NotMeasured as reason:
                return Verdict(id, str(reason), "not measured")
            held = list(held)
            verdict = ("opposite" if opposite else "reproduced" if all(held) else "partly" if any(held)
                       else "not reproduced")
            return Verdict(id, measured, verdict)

        return judge

    return register


def in_order():
    """All claims in the order of their ids: C1, C2, ..., C10, N1."""
    return sorted(CLAIMS.values(), key=lambda claim: (claim.id[0], int(re.search(r"\d+", claim.id)[0]), claim.id))


def scorecard():
    """The scorecard's table as Markdown: a row for each claim and page, with what the notebook has glued; what was
    measured is folded."""
    lines = [":::{list-table}", ":header-rows: 1", ":widths: 20 60 20", ":class: scorecard", ""]
    lines += _row("verdict", "claim", "where")
    for one in in_order():
        for page, data in one.pages.items():
            notebook = f"../notebooks/{page}.ipynb"
            first = one.key(page) == one.id
            statement = f"{one.statement} On {data}." if first else f"The same, on {data}."
            number = re.fullmatch(r"fig0?(\d+)_.*", page)
            name = f"Figure {number[1]}" if number else page.replace("_", " ").capitalize()
            lines += _row(f"{{glue:any}}`{notebook}::{one.key(page)}-verdict`",
                          f"**{one.id}**, {one.source}: {statement}",
                          f"[{name}]({notebook}), [its runs]({notebook}#the-runs)")
            lines[-1:-1] = ["", "    ```{dropdown} What was measured",
                            f"    {{glue:any}}`{notebook}::{one.key(page)}-measured`", "    ```"]
    return "\n".join([*lines, ":::"])


def _row(*cells):
    return [f"{'* -' if at == 0 else '  -'} {cell}" for at, cell in enumerate(cells)]
