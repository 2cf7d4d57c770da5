"""The parts of pages that are written by code: a line `<!-- generated: NAME -->` in book/*.md becomes Markdown."""

import pkgutil
import re
from pathlib import Path

MARKER = re.compile(r"^<!-- generated: (.+) -->$", re.MULTILINE)

# Name of the part: the function without arguments that returns its Markdown, imported only when it is needed.
GENERATED: dict[str, str] = {
    "equations": "stiffness_book.equations:tests_table",
    "scorecard": "stiffness_book.claims:scorecard",
}


def fill(page: Path) -> None:
    """Replace each marker in a staged page by what its function returns. A name that is not known is an error."""
    text = page.read_text(encoding="utf-8")
    for name in MARKER.findall(text):
        if name not in GENERATED:
            raise KeyError(f"{page.name} has a marker for '{name}', which is not among the generated parts: "
                           f"{', '.join(GENERATED) or 'there are none'}")
        written = pkgutil.resolve_name(GENERATED[name])()
        text = text.replace(f"<!-- generated: {name} -->", written.strip())
    page.write_text(text, encoding="utf-8")
