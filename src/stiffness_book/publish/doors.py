"""Sphinx extension: the ways into a page (Colab, Binder, the repository), and what search engines and previews get.

Where no repository is known, there are no buttons, no canonical addresses and no sitemap.
"""

import html
from functools import partial
from importlib.metadata import version
from pathlib import Path

import nbformat
import vl_convert

from stiffness_book.publish.repository import git, repository

PREVIEW = "preview.png"  # beside the pages' style sheets
PREVIEWED = "notebooks/fig03_class_stiffness_mnist"  # whose first chart is the picture of link previews
LICENCE = "https://creativecommons.org/licenses/by/4.0/"


def configure(place, app, config):
    """The addresses, and what stands at the foot of each page. place: the repository, or None."""
    site = place.site if place else None
    config.html_baseurl = config.ogp_site_url = site or ""
    config.sitemap_url_scheme = "{link}"
    config.sitemap_excludes = ["404.html", "genindex.html", "search.html"]
    config.ogp_site_name = config.html_title
    config.ogp_social_cards = {"enable": False}
    config.ogp_image = f"{site}_static/{PREVIEW}" if site else None
    config.ogp_image_alt = "Stiffness between the classes of a data set, at several stages of training"
    built = " of ".join(filter(None, [git("rev-parse", "--short=12", "HEAD"), git("log", "-1", "--format=%cs")]))
    commit = f'<a href="{place.url}/tree/{place.commit}">{built}</a>' if place else html.escape(built)
    config.html_theme_options["extra_footer"] = (
        f"<p>Version {version('stiffness')}{f', commit {commit}' if built else ''}. "
        f'Code: MIT licence. Text, figures and results: <a href="{LICENCE}">CC BY 4.0</a>.</p>')


def add_buttons(place, app, pagename, templatename, context, doctree):
    """Add links to the buttons at the top of a page."""
    links = [("Repository", place.url, "The code of this book")]
    if pagename.startswith("notebooks/"):
        links = [("Colab", place.colab(pagename), "Run this page in Colab"),
                 ("Binder", place.binder(pagename), "Run this page on mybinder.org"), *links]
    context["header_buttons"][:0] = [{"type": "link", "text": text, "url": url, "tooltip": tooltip, "icon": ""}
                                     for text, url, tooltip in links if url]


def draw_preview(app, error):
    """The first chart of a page as a picture for link previews."""
    previewed = Path(app.srcdir, f"{PREVIEWED}.ipynb")
    if error or app.builder.format != "html" or not previewed.is_file():
        return
    notebook = nbformat.read(previewed, as_version=4)
    svg = next(output["data"]["image/svg+xml"] for cell in notebook.cells for output in cell.get("outputs", [])
               if "image/svg+xml" in output.get("data", {}))
    Path(app.outdir, "_static", PREVIEW).write_bytes(vl_convert.svg_to_png(svg, scale=1.5))


def setup(app):
    app.setup_extension("sphinxext.opengraph")
    place = repository()  # once: it asks git
    if place and place.site:
        app.setup_extension("sphinx_sitemap")
    if place:
        app.connect("html-page-context", partial(add_buttons, place), priority=502)  # after the theme's own
    app.connect("config-inited", partial(configure, place), priority=100)
    app.connect("build-finished", draw_preview)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
