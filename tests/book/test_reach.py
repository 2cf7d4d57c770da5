"""The built site below a path and from files: pages, charts, search, and the page of missing pages."""

import functools
import http.server
import threading
from pathlib import Path

import pytest

from stiffness_book.publish import reach
from tests.book.conftest import CHAPTERS, CHARTS

BELOW = "/some/where/"
PAGES = [*CHAPTERS, "index", "search", "genindex", "404"]


class Below(http.server.SimpleHTTPRequestHandler):
    """Serves the site below a path, and its page of missing pages for what it does not have, as hosts do."""

    def translate_path(self, path):
        return super().translate_path(path.removeprefix(BELOW)) if path.startswith(BELOW) else "/nowhere"

    def send_error(self, code, *_):
        body = Path(self.directory, "404.html").read_bytes()
        self.send_response(code)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def below(site):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Below, directory=site)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}{BELOW}"
        server.shutdown()
        thread.join()


@pytest.fixture(params=["below a path", "from files"])
def root(request, site, below):
    return below if request.param == "below a path" else f"{site.as_uri()}/"


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_page_is_sound_wherever_the_site_lies(name, root, visit):
    page, wrong = visit(f"{root}{name}.html", root)
    assert not wrong
    assert page.locator("article h1, .bd-search-container h1").first.is_visible()
    for formula in page.locator(".math svg").all()[:5]:
        assert formula.bounding_box()["width"] > 0
    for link in page.locator("nav.bd-links a, a.navbar-brand").all():
        assert link.evaluate("link => link.href").startswith(root)
    assert page.locator(f"{CHARTS}:not(.vega-embed)").count() == 0


@pytest.mark.parametrize("words, found", [
    ("install", "notebooks/own_model"), ("gram matrix", "book/method"), ("aardvark", None),
    ("stiff domain", "book/glossary.html#term-stiff-domain"),
])
def test_search_leads_to_pages(words, found, root, visit):
    page, wrong = visit(f"{root}search.html?q={words.replace(' ', '+')}", root)
    page.wait_for_function("document.querySelector('.search-summary')?.textContent.match(/found|did not match/)")
    links = page.locator("#search-results li a").all()
    assert bool(links) == bool(found)
    if found:
        assert any(link.evaluate("link => link.href").startswith(f"{root}{found}") for link in links)
        links[0].click()
        page.wait_for_load_state("networkidle")
        assert page.locator("article h1").is_visible() and not page.url.startswith(f"{root}search")
    assert not wrong


@pytest.mark.parametrize("name, width", [
    ("book/index", 1280), ("notebooks/fig05_class_stiffness_fashion", 390), ("404", 1280),
])
def test_the_search_dialog_opens_by_key_and_button(name, width, root, visit):
    page, wrong = visit(f"{root}{name}.html", root, viewport={"width": width, "height": 800})
    dialog = page.locator("dialog#pst-search-dialog")
    page.locator("button[class*=search-button]:visible").first.click()
    assert dialog.is_visible()
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    page.keyboard.press("Control+k")
    field, glass = dialog.locator("input"), dialog.locator("i").bounding_box()
    start = field.bounding_box()["x"] + float(field.evaluate("i => parseFloat(getComputedStyle(i).paddingLeft)"))
    assert glass["x"] + glass["width"] <= start, "the magnifying glass lies over the first letter"
    page.keyboard.type("install")
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results li a")
    assert page.url == f"{root}search.html?q=install"
    assert not wrong


@pytest.mark.parametrize("missing", ["nothing", "book/nothing.html", "notebooks/old/nothing.html"])
def test_a_missing_page_leads_to_the_others(missing, below, visit):
    page, _ = visit(f"{below}{missing}", below)
    assert page.get_by_role("heading", name="Page not found").is_visible()
    links = page.locator("article a, nav.bd-links a").evaluate_all("links => links.map(link => link.href)")
    assert f"{below}book/index.html" in links and all(link.startswith(below) for link in links)
    assert page.locator(".bd-sidebar-primary").evaluate("part => part.getBoundingClientRect().width") < 400  # has style
    assert page.locator("#pst-skip-link a").evaluate("link => link.href") == f"{below}{missing}#main-content"
    page.locator("article a").first.click()
    assert page.url == f"{below}book/index.html"


@pytest.mark.parametrize("published, address, root", [
    ("/book/", "/book/deep/er/nothing", "/book/"), ("/book/", "/else/where/404.html", "/else/where/"),
    ("", "/x/notebooks/a/b.html", "/x/"), ("", "/x/nothing", "/x/"), ("/", "/deep/er/nothing", "/"),
])
def test_a_missing_page_finds_its_root(published, address, root, browser):
    base = reach.BASE.format(published=f' href="{published}"' if published else "", folders="book|notebooks")
    with browser.new_context() as context:
        page = context.new_page()
        page.route("**/*", lambda route: route.fulfill(body=f"<head>{base}</head>", content_type="text/html"))
        page.goto(f"http://example.org{address}")
        assert page.evaluate("document.baseURI") == f"http://example.org{root}"
