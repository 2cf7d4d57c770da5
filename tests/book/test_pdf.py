"""The whole book as one PDF."""

import re

import pytest

from stiffness_book.publish import pdf
from stiffness_book.publish.refresh import NotebookError


def test_without_a_browser_it_says_what_to_install(monkeypatch):
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setattr(pdf.shutil, "which", lambda _: None)
    with pytest.raises(NotebookError, match="install it, or name the program in CHROMIUM"):
        pdf.browser()


@pytest.mark.slow
def test_the_book_is_printed_with_its_figures(browser, tmp_path):
    printed = pdf.make_pdf(tmp_path / "book.pdf").read_bytes()
    pages = [int(count) for count in re.findall(rb"/Type /Pages[^>]*?/Count (\d+)", printed)]
    assert printed.startswith(b"%PDF") and max(pages) > 40
