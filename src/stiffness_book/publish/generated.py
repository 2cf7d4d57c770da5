"""The parts of pages that are written by code: a line `<!-- generated: NAME -->` in book/*.md becomes Markdown."""

import pkgutil
import re
from collections import Counter
from pathlib import Path

import nbformat
import yaml

from stiffness_book.publish.repository import ROOT, git, repository

MARKER = re.compile(r"^<!-- generated: (.+) -->$", re.MULTILINE)
VERDICT = re.compile(r'<span class="verdict [\w-]+">([\w ]+)</span>')

# The verdicts in the order in which they are counted, in words; "?" is the ending of a plural.
SAID = {"reproduced": "reproduced", "partly": "reproduced in part", "not reproduced": "not reproduced",
        "opposite": "the opposite of what was claimed", "undecided": "undecided", "answered": "question? answered",
        "not measured": "not measured yet"}

# Name of the part: the function of the folder of executed notebooks that returns its Markdown.
GENERATED: dict[str, str] = {
    "bibtex": "stiffness_book.publish.generated:bibtex",
    "equations": "stiffness_book.publish.generated:equations",
    "scorecard": "stiffness_book.publish.generated:scorecard",
    "verdicts": "stiffness_book.publish.generated:counted_verdicts",
}


def fill(page: Path, notebooks: Path) -> None:
    """Replace each marker in a staged page by what its function returns. A name that is not known is an error."""
    text = page.read_text(encoding="utf-8")
    for name in MARKER.findall(text):
        if name not in GENERATED:
            raise KeyError(f"{page.name} has a marker for '{name}', which is not among the generated parts: "
                           f"{', '.join(GENERATED) or 'there are none'}")
        written = pkgutil.resolve_name(GENERATED[name])(notebooks)
        text = text.replace(f"<!-- generated: {name} -->", written.strip())
    page.write_text(text, encoding="utf-8")


def bibtex(_):
    """How to cite the book: CITATION.cff as BibTeX, with the address and the commit where they are known."""
    cff, place = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8")), repository()
    fields = {"title": f"{{{cff['title']}}}", "author": " and ".join(f"{{{one['name']}}}" for one in cff["authors"]),
              "version": cff["version"], "year": git("log", "-1", "--format=%cs")[:4]}
    if place:
        fields |= {"url": place.site or place.url, "note": f"commit {place.commit[:12]}"}
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join(["```bibtex", "@software{stiffness,", *lines, "}", "```"])


def equations(_):
    """Which function computes each equation, and which tests check it."""
    from stiffness_book.equations import tests_table

    return tests_table()


def scorecard(_):
    """The table of all claims."""
    from stiffness_book.claims import scorecard

    return scorecard()


def counted_verdicts(notebooks):
    """How many verdicts there are of each kind, in a sentence."""
    counts = Counter(verdicts(notebooks).values())
    told = [f"{counts[word]} {said.replace('?', 's' * (counts[word] > 1))}" for word, said in SAID.items()
            if word in counts]
    kinds = " and ".join(filter(None, [", ".join(told[:-1]), told[-1]]))
    return f"**{counts.total()} verdicts on the papers' claims: {kinds}.**"


def verdicts(notebooks):
    """{name of a claim on a page: its verdict}, as the executed notebooks have glued them."""
    found = {}
    for path in sorted(Path(notebooks).glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                name = output.get("metadata", {}).get("scrapbook", {}).get("name", "")
                if name.endswith("-verdict"):
                    html = next(text for mime, text in output["data"].items() if mime.endswith("text/html"))
                    found[name.removesuffix("-verdict")] = VERDICT.search(html)[1]
    return found
