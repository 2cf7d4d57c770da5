"""Sphinx extension: the ways from a page to Colab, to Binder and to the repository, where there is one."""

from stiffness_book.publish.repository import repository


def add_buttons(app, pagename, templatename, context, doctree):
    """Add links to the buttons at the top of a page."""
    if (found := repository()) is None:
        return
    links = [("Repository", found.url, "The code of this book")]
    if pagename.startswith("notebooks/"):
        links = [("Colab", found.colab(pagename), "Run this page in Colab"),
                 ("Binder", found.binder(pagename), "Run this page on mybinder.org"), *links]
    buttons = [{"type": "link", "text": text, "url": url, "tooltip": tooltip, "icon": ""}
               for text, url, tooltip in links if url]
    context["header_buttons"][:0] = buttons


def setup(app):
    app.connect("html-page-context", add_buttons, priority=502)  # after the theme's own
    return {"parallel_read_safe": True, "parallel_write_safe": True}
