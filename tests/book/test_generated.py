"""Parts of pages that are written by code."""

import pkgutil
from collections import Counter

import pytest

from stiffness_book.claims import CLAIMS
from stiffness_book.publish import generated
from stiffness_book.publish.refresh import NOTEBOOKS, ROOT


def numbers(_):
    return "\n1, 2, 3\n"


def test_a_marker_becomes_what_its_function_writes(tmp_path, monkeypatch):
    monkeypatch.setitem(generated.GENERATED, "numbers", f"{__name__}:numbers")
    page = tmp_path / "page.md"
    page.write_text("before\n\n<!-- generated: numbers -->\n\nafter\n", encoding="utf-8")
    generated.fill(page, tmp_path)
    assert page.read_text(encoding="utf-8") == "before\n\n1, 2, 3\n\nafter\n"


def test_an_unknown_marker_is_named_with_its_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- generated: nothing -->\n", encoding="utf-8")
    with pytest.raises(KeyError, match=r"page\.md has a marker for 'nothing'"):
        generated.fill(page, tmp_path)


def test_every_generated_part_has_its_marker_and_is_not_empty():
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "book").glob("*.md"))
    assert set(generated.MARKER.findall(pages)) == set(generated.GENERATED)
    for function in generated.GENERATED.values():
        assert pkgutil.resolve_name(function)(NOTEBOOKS).strip()


def test_every_verdict_is_counted_once():
    found = generated.verdicts(NOTEBOOKS)
    assert set(found) == {claim.key(page) for claim in CLAIMS.values() for page in claim.pages}
    told = generated.counted_verdicts(NOTEBOOKS)
    assert set(found.values()) <= set(generated.SAID)
    assert f"{len(found)} verdicts" in told
    for name, count in Counter(found.values()).items():
        assert f"{count} {generated.SAID[name].partition('?')[0]}" in told
