"""The built site in Chromium: no other host, no console error, charts with marks and names, sliders that work."""

import html
import io
import re
from pathlib import Path
from string import ascii_lowercase
from urllib.parse import unquote, urldefrag

import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe

from stiffness_book import figures, summaries, sweep
from stiffness_book.publish.refresh import ROOT
from tests.book.conftest import CHAPTERS, CHARTS

PAGES = [*CHAPTERS, "index", "genindex", "search", "404"]

each_page = pytest.mark.parametrize("name", PAGES)


COLOURED = """canvas => {
    const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height)
    return data.filter((value, k) => k % 4 == 3 && value > 0).length
}"""


def marks(chart) -> int:
    """The number of a chart's marks, or of coloured pixels where it is drawn on a canvas."""
    canvas = chart.locator("canvas")
    return canvas.evaluate(COLOURED) if canvas.count() else chart.locator("svg .role-mark > *").count()


def drawn(chart) -> str:
    """What a chart shows, as text."""
    canvas = chart.locator("canvas")
    return canvas.evaluate("canvas => canvas.toDataURL()") if canvas.count() else chart.locator("svg").inner_html()


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
    for slider in page.locator(f"{CHARTS} input[type=range]").all():
        chart = slider.locator("xpath=ancestor::div[contains(@class, 'vega-embed')]")
        before = drawn(chart)
        slider.focus()
        slider.press("End" if slider.input_value() != slider.get_attribute("max") else "Home")
        page.wait_for_timeout(300)
        assert drawn(chart) != before, f"{slider.get_attribute('name')} changes nothing"
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


@pytest.mark.parametrize("width, order", [(390, ["this book", "the paper"] * 4),
                                          (1280, ["this book"] * 4 + ["the paper"] * 4)])
def test_a_phone_shows_each_matrix_beside_the_papers(width, order, address, visit):
    page, wrong = visit(f"{address}notebooks/fig03_class_stiffness_mnist.html", address,
                        viewport={"width": width, "height": 900})
    said = page.locator(f"{CHARTS} svg").first.locator("tspan").all_text_contents()
    assert [text for text in said if text in ("this book", "the paper")] == order
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


def test_vega_is_loaded_only_when_a_chart_is_near(site, address, browser):
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert ("charts.js" in text) == ("altair-viz-" in text), path
    with browser.new_context(viewport={"width": 1280, "height": 400}) as context:
        page, asked = context.new_page(), []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{address}notebooks/stiffness_from_scratch.html")
        page.wait_for_load_state("networkidle")
        assert not [url for url in asked if "vega.js" in url]
        page.locator(CHARTS).last.scroll_into_view_if_needed()
        page.wait_for_function(f"[...document.querySelectorAll('{CHARTS}')].at(-1).matches('.vega-embed')")
        assert len([url for url in asked if "vega.js" in url]) == 1


def test_a_charts_numbers_and_picture_can_be_taken_home(address, visit):
    page, wrong = visit(f"{address}notebooks/fig03_class_stiffness_mnist.html", address)
    details = page.locator("details.chart-data").nth(1)  # of the chart with a slider
    details.locator("summary").click()
    taken = {}
    for kind in ("CSV", "SVG", "PNG"):
        with page.expect_download() as download:
            details.get_by_role("button", name=kind).click()
        taken[kind] = Path(download.value.path()).read_bytes()
        assert download.value.suggested_filename.endswith(f".{kind.lower()}")
    table = pd.read_csv(io.BytesIO(taken["CSV"]))
    runs = figures.experiments_of(ROOT / "notebooks" / "fig03_class_stiffness_mnist.py")
    stored = summaries.mean_matrices(sweep.table_of(runs), [*map(str, range(10))])

    def last(rows):
        rows = rows[(rows["kind"] == "sign") & (rows["step"] == 179475)].astype({"class_a": str, "class_b": str})
        return rows.set_index(["class_a", "class_b"])["mean"].sort_index()

    assert len(last(table)) == 100
    pd.testing.assert_series_equal(last(table), last(stored), atol=1e-3, rtol=0)
    assert taken["SVG"].startswith(b"<svg") and taken["PNG"].startswith(b"\x89PNG")
    assert details.locator("tbody tr").count() == min(len(table), 500)  # the file has all
    assert not wrong


@pytest.mark.parametrize("name", [name for name in CHAPTERS if name.split("/")[-1] in figures.FIGURES])
def test_every_chart_of_a_figure_has_a_numbered_caption(name, site):
    text = (site / f"{name}.html").read_text(encoding="utf-8")
    captions = re.findall(r'<p class="chart-caption" id="([^"]+)"><a href="#([^"]+)">([^<]+)\.</a> ([^<]+)</p>', text)
    assert len(captions) == len(re.findall(r'<div id="altair-viz-', text)) > 0
    assert len({id for id, *_ in captions}) == len(captions)
    number = re.search(r"/fig0?(\d+)_", name)
    for place, (id, link, label, caption) in enumerate(captions):
        letter = ascii_lowercase[place] if len(captions) > 1 else ""
        expected = f"Figure {number[1]}{letter}" if number else f"Chart {place + 1}"
        assert label == expected and id == link == label.lower().replace(" ", "-") and caption.endswith(".")


def test_a_slider_tells_its_stages_and_plays_them(address, visit):
    page, wrong = visit(f"{address}notebooks/fig03_class_stiffness_mnist.html", address)
    player = page.locator(".vega-bind.stages")
    slider, told, button = player.locator("input"), player.locator("output"), player.locator("button")
    assert told.inner_text() == slider.get_attribute("aria-valuetext") == "after 19,950 steps"
    slider.press("Home")
    assert told.inner_text() == slider.get_attribute("aria-valuetext") == "at initialisation"
    chart = page.locator(f"{CHARTS}:has(.stages)")
    first = drawn(chart)
    button.press("Enter")
    assert button.inner_text() == "Pause"
    page.wait_for_function("document.querySelector('.stages input').value === '2'")
    assert drawn(chart) != first
    slider.press("ArrowRight")  # whoever moves the slider has it
    assert button.inner_text() == "Play" and slider.input_value() == "3" and told.inner_text().startswith("after ")
    slider.press("End")
    button.click()  # at the end it plays from the beginning
    assert told.inner_text() == "at initialisation"
    assert not wrong


def test_the_slider_of_a_hundred_classes_is_quick_and_follows_the_theme(address, visit):
    page, _ = visit(f"{address}notebooks/fig07_super_classes.html", address, color_scheme="light")
    chart = page.locator(f"{CHARTS}:has(canvas)")
    chart.scroll_into_view_if_needed()
    browser = page.context.new_cdp_session(page)
    browser.send("Performance.enable", {"timeDomain": "threadTicks"})  # not the time that other programs take

    def seconds():
        return {one["name"]: one["value"] for one in browser.send("Performance.getMetrics")["metrics"]}["TaskDuration"]

    before = seconds()
    page.evaluate("""async () => {
        const slider = document.querySelector("input[name=stage]");
        for (let k = 0; k < 20; k++) {
            slider.value = k % (+slider.max + 1);
            slider.dispatchEvent(new Event("input", {bubbles: true}));
            await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
        }
    }""")
    assert 0.005 < (seconds() - before) / 20 < 0.1
    page.locator(".stages input").press("End")
    page.wait_for_timeout(300)
    light = drawn(chart)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.wait_for_timeout(1500)
    assert drawn(chart) != light and page.locator(".stages output").inner_text() == "after 9,000 steps"


def test_the_first_screen_shows_the_findings_and_the_doors(address, browser):
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        page.goto(f"{address}book/index.html")
        shown = page.locator(".first-screen").bounding_box()
        assert shown["y"] + shown["height"] < 900 and page.locator(".first-screen a.door").count() == 3
        for part in (".first-screen li", ".first-screen .moving-matrix .player"):
            assert page.locator(part).last.bounding_box()["y"] < 900


def test_the_matrix_on_the_front_page_moves(address, browser):
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{address}book/index.html")
        colours = "[...document.querySelectorAll('.moving-matrix .cell')].map(cell => cell.style.background).join()"
        page.wait_for_function("document.querySelector('.moving-matrix input').value === '2'")  # it plays by itself
        early = page.evaluate(colours)
        page.wait_for_function("document.querySelector('.moving-matrix button').textContent === 'Play'", timeout=30_000)
        last = page.evaluate(colours)
        assert early != last and page.locator(".moving-matrix output").inner_text().startswith("After 179,475 steps")
        page.locator(".moving-matrix input").press("Home")
        assert page.locator(".moving-matrix output").inner_text().startswith("At initialisation")
        page.locator(".moving-matrix button").click()
        page.wait_for_function("document.querySelector('.moving-matrix input').value === '1'")
    with browser.new_context(reduced_motion="reduce") as context:
        page = context.new_page()
        page.goto(f"{address}book/index.html")
        page.wait_for_timeout(2500)
        assert page.evaluate(colours) == last
        assert page.locator(".moving-matrix button").inner_text() == "Play"


@pytest.mark.parametrize("name", [name for name in PAGES if name not in ("index", "genindex", "search")])
def test_formulae_are_drawn_without_a_script(name, site):
    text = (site / f"{name}.html").read_text(encoding="utf-8")
    drawn = re.findall(r'<svg role="img" aria-label="[^"]*" style="width', text)
    assert text.count('class="math notranslate"') == len(drawn)
    assert not re.search(r"<script[^>]*mathjax", text, re.IGNORECASE)


def test_what_a_page_weighs(site, address, browser):
    """Bytes without compression: of a page with all that it loads, and before the front page's first paint."""
    weights = {}
    with browser.new_context() as context:
        for name in PAGES:
            page, sizes = context.new_page(), {}
            page.on("response", lambda response, sizes=sizes: sizes.update({response.url: len(response.body())}))
            page.goto(f"{address}{name}.html")
            page.wait_for_load_state("networkidle")
            page.evaluate("scrollTo(0, document.body.scrollHeight)")
            page.wait_for_load_state("networkidle")
            weights[name] = sum(sizes.values())
            page.close()
    heavy = {name: f"{weight / 1e6:.2f} MB" for name, weight in weights.items() if weight > 2.5e6}
    assert not heavy
    front = site / "book" / "index.html"
    styles = re.findall(r'<link[^>]*href="([^"?]*\.css)', front.read_text(encoding="utf-8"))
    needed = [front, *[front.parent / name for name in styles]]
    assert sum(path.stat().st_size for path in needed) < 600_000  # three seconds at 1.6 Mbit/s


@each_page
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_serious(name, width, address, visit):
    page, _ = visit(f"{address}{name}.html", address, viewport={"width": width, "height": 900})
    found = Axe().run(page).response["violations"]
    serious = [f"{rule['id']}: {node['html'][:200]}" for rule in found if rule["impact"] in ("serious", "critical")
               for node in rule["nodes"]]
    assert not serious


def test_the_scorecard_shows_the_claims_of_one_verdict(address, visit):
    page, _ = visit(f"{address}book/scorecard.html", address)
    rows = page.locator("table.scorecard tbody tr")
    for button in page.locator(".filter button").all():
        button.click()
        shown = {row.locator(".verdict").inner_text() for row in rows.all() if row.is_visible()}
        assert shown == {button.inner_text()} or (button.inner_text() == "all" and len(shown) > 1)


def test_all_code_of_a_page_is_shown_by_one_button(address, visit):
    page, _ = visit(f"{address}notebooks/fig03_class_stiffness_mnist.html", address)
    code = page.locator(".cell.tag_hide-input:not(.tag_parameters) pre")
    assert code.count() > 3 and not any(each.is_visible() for each in code.all())
    assert page.get_by_text("Parameters", exact=True).first.is_visible()
    page.get_by_role("button", name="Show the code").click()
    assert all(each.is_visible() for each in code.all())
    page.get_by_role("button", name="Hide the code").click()
    assert not any(each.is_visible() for each in code.all())
