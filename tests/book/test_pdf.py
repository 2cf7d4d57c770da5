"""The whole book as one PDF, and pages on paper."""

import re

import pytest

from stiffness_book.publish import pdf
from stiffness_book.publish.refresh import NotebookError
from tests.book.conftest import CHAPTERS, CHARTS, TOC

PAPER = {"width": 658, "height": 979}  # what the margins of A4 leave, in pixels


def test_without_a_browser_it_says_what_to_install(monkeypatch):
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setattr(pdf.shutil, "which", lambda _: None)
    with pytest.raises(NotebookError, match="install it, or name the program in CHROMIUM"):
        pdf.browser()


@pytest.fixture(scope="module")
def printed(site, tmp_path_factory):
    output = tmp_path_factory.mktemp("pdf") / "book.pdf"
    pdf.print_book(site, output)
    return output.read_bytes()


@pytest.fixture(scope="module")
def book(site, browser):
    """The page that is printed, as it is laid out on paper."""
    path = site / "as-one-page.html"
    path.write_text(pdf.one_page(site, dict.fromkeys(CHAPTERS, 1)), encoding="utf-8")
    with browser.new_context(viewport=PAPER, color_scheme="dark") as context:
        page = context.new_page()
        page.emulate_media(media="print")
        page.goto(path.as_uri())
        yield page
    path.unlink()


@pytest.mark.slow
def test_each_chapter_starts_on_a_page_of_its_own(printed):
    numbers = pdf.page_numbers(printed)
    starts = [numbers[name] for name in CHAPTERS]
    assert starts[0] == 2 and starts == sorted(set(starts))  # after the title and the contents
    pages = [int(count) for count in re.findall(rb"/Type /Pages[^>]*?/Count (\d+)", printed)]
    assert 60 < max(pages) < 200
    assert set(re.findall(rb"/MediaBox \[0 0 (\d+)[.\d]* (\d+)[.\d]*\]", printed)) == {(b"594", b"841")}  # A4


@pytest.mark.slow
def test_links_of_the_pdf_lead_to_its_pages_or_to_the_web(printed):
    places = set(re.findall(rb"/(\S+) \[\d+ 0 R /XYZ", printed))
    links = re.findall(rb"/Dest /(\S+)", printed)
    assert len(links) > 100 and set(links) <= places
    assert all(url.startswith(b"https://") for url in re.findall(rb"/URI \((.*?)\)", printed))
    assert printed.count(b"/Title (") > 2 * len(CHAPTERS)  # the outline has the sections, too


@pytest.mark.slow
def test_the_contents_name_each_chapter_with_its_page(site, printed):
    numbers = pdf.page_numbers(printed)
    contents = pdf.one_page(site, numbers).split("</section>")[0]
    told = re.findall(r'<a href="#([^"]*)">([^<]+)</a><span class="page-number">(\d+)</span>', contents)
    assert [(name, int(number)) for name, _, number in told] == [(name, numbers[name]) for name in CHAPTERS]
    assert "Version" in contents and all(part["caption"] in contents for part in TOC["parts"])


@pytest.mark.slow
def test_the_printed_page_links_to_places_that_it_has(book):
    broken = book.evaluate("""() => [...document.querySelectorAll("a[href^='#']")].map(link => link.hash.slice(1))
        .filter(id => !document.getElementById(decodeURIComponent(id)))""")
    twice = book.evaluate("""() => { const ids = [...document.querySelectorAll("[id]")].map(part => part.id);
        return ids.filter((id, place) => ids.indexOf(id) !== place) }""")
    assert not broken and not twice
    assert not book.locator("script").count()


@pytest.mark.slow
def test_figures_tables_and_formulae_have_room_on_paper(book, site):
    charts = sum((site / f"{name}.html").read_text(encoding="utf-8").count('<div id="altair-viz-') for name in CHAPTERS)
    assert book.locator(f"{CHARTS} > svg").count() == charts > 40
    for chart in book.locator(f"{CHARTS} > svg").all():
        box = chart.bounding_box()
        assert 100 < box["width"] <= PAPER["width"] and box["height"] < PAPER["height"]
    cut = book.evaluate("""() => [...document.querySelectorAll("article div[id^='altair-viz-'], article table")]
        .filter(part => getComputedStyle(part).breakInside !== "avoid" && !part.matches(".scorecard"))
        .map(part => part.outerHTML.slice(0, 100))""")
    wide = book.evaluate("""() => [...document.querySelectorAll("table, pre, div.math svg")]
        .filter(part => part.getBoundingClientRect().right > innerWidth + 1)
        .map(part => part.outerHTML.slice(0, 200))""")
    assert not cut and not wide
    assert book.evaluate("document.documentElement.scrollWidth") <= PAPER["width"]


@pytest.mark.slow
def test_nothing_on_paper_is_for_pressing_and_what_is_folded_is_shown(book):
    for selector in ("button", "input", ".headerlink", "a.door", ".cell:not(.tag_parameters) > details"):
        assert not any(part.is_visible() for part in book.locator(selector).all()), selector
    shown = book.evaluate("document.body.innerText")
    assert not re.search(r"^(Show the code|Code|Data and picture|Play|Print to PDF)$", shown, re.MULTILINE)
    details = book.locator("details.verdict-details, .scorecard details").all()
    assert len(details) > 20 and all(part.evaluate("d => d.lastElementChild.checkVisibility()") for part in details)
    assert book.get_by_text("The rule.").first.is_visible()
    assert book.locator(".tag_parameters pre").first.is_visible()


@pytest.mark.slow
def test_paper_is_light(book, site, browser):
    ink = book.locator("article p").first.evaluate("p => getComputedStyle(p).color")
    assert max(map(int, re.findall(r"\d+", ink))) < 100
    with browser.new_context(color_scheme="dark") as context:
        page = context.new_page()
        page.goto((site / "book" / "scorecard.html").as_uri())
        theme = "document.documentElement.dataset.theme"
        page.evaluate(f"addEventListener('beforeprint', () => {{ window.printed = {theme} }})")
        page.pdf()
        assert page.evaluate(f"[window.printed, {theme}]") == ["light", "dark"]
