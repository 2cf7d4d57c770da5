"""The built site in Chromium: no other host, no console error, charts with marks and names, sliders that work."""

import functools
import html
import http.server
import re
import threading
from urllib.parse import unquote, urldefrag

import pytest
import yaml

from stiffness_book.publish.refresh import ROOT
from stiffness_book.publish.site import make_site

TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
CHAPTERS = [chapter["file"] for part in TOC["parts"] for chapter in part["chapters"]]
PAGES = [TOC["root"], *CHAPTERS, "index", "genindex", "search"]
CHARTS = 'div[id^="altair-viz-"]'

each_page = pytest.mark.parametrize("name", PAGES)


@pytest.fixture(scope="session")
def site(tmp_path_factory, browser):
    """The site from the committed notebooks, built once."""
    return make_site(tmp_path_factory.mktemp("site") / "html", run=False).parent


@pytest.fixture(scope="session")
def address(site):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def visit(browser):
    """Open an address; returns the page, its charts drawn, and a list of what went wrong while it loaded."""
    contexts = []

    def go(url, own, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page, wrong = context.new_page(), []
        here = (own, "data:", "blob:")
        page.on("request", lambda r: wrong.append(f"asks {r.url}") if not r.url.startswith(here) else 0)
        page.on("response", lambda r: wrong.append(f"{r.status} {r.url}") if r.status >= 400 else 0)
        page.on("console", lambda m: wrong.append(f"console: {m.text}") if m.type == "error" else 0)
        page.on("pageerror", lambda e: wrong.append(f"error: {e}"))
        page.goto(url)
        page.wait_for_load_state("networkidle")
        if options.get("java_script_enabled", True):
            drawn = f"[...document.querySelectorAll('{CHARTS}')].every(c => c.classList.contains('vega-embed'))"
            page.wait_for_function(drawn)
        return page, wrong

    yield go
    for context in contexts:
        context.close()


def marks(chart) -> int:
    return chart.locator("svg .role-mark > *").count()


def test_all_pages_are_known(site):
    built = {path.relative_to(site).with_suffix("").as_posix() for path in site.rglob("*.html")}
    assert {name for name in built if not name.startswith("_static/")} == set(PAGES)


@each_page
def test_page_is_sound(name, address, visit):
    page, wrong = visit(f"{address}{name}.html", address, viewport={"width": 1280, "height": 900})
    for chart in page.locator(CHARTS).all():
        assert marks(chart) > 0
        assert chart.get_attribute("aria-label").strip(), "the chart has no alternative text"
    for image in page.locator("article img").all():
        assert image.get_attribute("alt")
    for slider in page.locator("input[type=range]").all():
        picture = slider.locator("xpath=ancestor::div[contains(@class, 'vega-embed')]").locator("svg")
        before = picture.inner_html()
        slider.focus()
        slider.press("End" if slider.input_value() != slider.get_attribute("max") else "Home")
        page.wait_for_timeout(300)
        assert picture.inner_html() != before, f"{slider.get_attribute('name')} changes nothing"
    assert not wrong


CUT_OFF = """svg => {
    const frame = svg.getBoundingClientRect()
    const places = [...svg.querySelectorAll("text")].map(text => [text.textContent, text.getBoundingClientRect()])
    return places.filter(([_, at]) => at.left < frame.left - 1 || at.right > frame.right + 1).map(([text]) => text)
}"""


@each_page
def test_phone_page_does_not_scroll_sideways(name, address, visit):
    page, wrong = visit(f"{address}{name}.html", address, viewport={"width": 390, "height": 844}, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for svg in page.locator(f"{CHARTS} svg").all():
        assert not svg.evaluate(CUT_OFF), "the chart's texts are cut off"
    assert not wrong


@pytest.mark.parametrize("name", ["notebooks/fig05_class_stiffness_fashion", "notebooks/fig07_super_classes"])
def test_charts_follow_the_width_of_their_column(name, address, visit):
    page, wrong = visit(f"{address}{name}.html", address, viewport={"width": 1280, "height": 900})

    def width():
        page.wait_for_timeout(1000)  # the sidebar slides, and for a moment the page is far too wide
        sizes = page.locator(f"{CHARTS}.fit-x").evaluate_all(
            "boxes => boxes.map(box => [box.querySelector('svg').getBoundingClientRect().width, box.clientWidth])")
        for chart, column in sizes:
            assert chart == pytest.approx(column, abs=2)
        return sizes[0][1]

    page.set_viewport_size({"width": 390, "height": 900})
    narrow = width()
    page.set_viewport_size({"width": 1280, "height": 900})
    wide = width()
    page.locator("button.primary-toggle:visible").click()  # without the sidebar; the window stays as it is
    assert narrow < wide < width()
    assert not wrong


@pytest.mark.parametrize("name", [name for name in PAGES if name.startswith("notebooks/")])
def test_charts_follow_the_dark_page(name, address, visit):
    page, _ = visit(f"{address}{name}.html", address, color_scheme="dark")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    for svg in page.locator(f"{CHARTS} svg").all():
        assert svg.evaluate("s => getComputedStyle(s).backgroundColor") == "rgba(0, 0, 0, 0)"
        for text in svg.locator(".role-axis-label text").all()[:1]:
            assert text.evaluate("t => getComputedStyle(t).fill") == "rgb(232, 232, 238)"


@pytest.mark.parametrize("name", PAGES[:3])
def test_page_opens_as_a_file(name, site, visit):
    page, wrong = visit((site / f"{name}.html").as_uri(), site.as_uri())
    assert all(marks(chart) for chart in page.locator(CHARTS).all())
    assert not wrong


@pytest.mark.parametrize("name", [name for name in PAGES if name.startswith("notebooks/")])
def test_charts_show_without_javascript(name, address, visit):
    page, _ = visit(f"{address}{name}.html", address, java_script_enabled=False)
    for chart in page.locator(CHARTS).all():
        assert chart.locator("svg[role=img][aria-label]").bounding_box()["width"] > 100


def test_links_between_pages_resolve(site):
    broken = []
    for page in site.rglob("*.html"):
        for link in set(re.findall(r'<a [^>]*href="([^"]+)"', page.read_text(encoding="utf-8"))):
            url, fragment = urldefrag(html.unescape(link))
            if re.match("[a-z]+:", url):
                continue
            target = (page.parent / unquote(url)) if url else page
            anchor = f'id="{unquote(fragment)}"' if fragment else ""
            if not target.is_file() or (anchor and anchor not in target.read_text(encoding="utf-8")):
                broken.append(f"{page.relative_to(site)}: {link}")
    assert not broken


def test_vega_is_loaded_only_where_there_is_a_chart(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert ("vega.js" in text) == ("altair-viz-" in text)
