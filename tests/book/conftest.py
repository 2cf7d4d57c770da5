"""One browser for all modules, as a process can have one synchronous Playwright at a time, and the built site."""

import functools
import http.server
import os
import shutil
import threading

import pytest
import yaml
from playwright.sync_api import sync_playwright

from stiffness_book.publish.refresh import ROOT
from stiffness_book.publish.site import make_site

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
CHAPTERS = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
CHARTS = 'div[id^="altair-viz-"]'


@pytest.fixture(scope="session")
def browser():
    if not CHROMIUM:
        if os.environ.get("CI") == "true":
            pytest.fail("no Chromium, which continuous integration needs")
        pytest.skip("no Chromium: install it or name it in CHROMIUM")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


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
            for number, chart in enumerate(page.locator(CHARTS).all()):  # each is drawn when it comes near the screen
                chart.scroll_into_view_if_needed()
                page.wait_for_function(f"document.querySelectorAll('{CHARTS}')[{number}].matches('.vega-embed')")
            page.evaluate("scrollTo(0, 0)")
        return page, wrong

    yield go
    for context in contexts:
        context.close()
