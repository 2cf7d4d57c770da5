"""Sphinx extension: the site works below any path and from files, and where there is no page a reader finds the others.

The page of missing pages is served at addresses of any depth, so that its links cannot be relative to its own.
"""

from urllib.parse import urlparse

MISSING = """<h1>Page not found</h1>
<p>There is no page at this address. The <a href="book/index.html">front page</a> leads to all pages, and the
<a href="search.html">search</a> finds words on them.</p>"""

# A site is often served below another path than the published one. Links to places on the page stay on it.
BASE = """<base{published}>
<script>
  (() => {{
    const base = document.querySelector("base"), published = base.getAttribute("href"), here = location.pathname;
    if (!published || !here.startsWith(published) || here.endsWith("/404.html"))
      base.href = here.replace(/(?:(?:{folders})\\/.*|[^/]*)$/, "");
    addEventListener("DOMContentLoaded", () => document.querySelectorAll("a[href^='#']").forEach(link => {{
      link.href = here + link.getAttribute("href");
    }}));
  }})();
</script>"""

# Browsers let no script read another file, and the search would ask for the pages that it has found.
FROM_FILES = 'if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;'


def add_missing(app):
    return [("404", {"title": "Page not found", "body": MISSING}, "page.html")]


def prepare(app, pagename, templatename, context, doctree):
    if pagename == "search":
        app.add_js_file(None, body=FROM_FILES)
    if pagename == "404":
        published = urlparse(app.config.html_baseurl).path
        folders = "|".join(sorted({name.split("/")[0] for name in app.env.found_docs if "/" in name}))
        base = f' href="{published}"' if published else ""
        context["metatags"] = BASE.format(published=base, folders=folders) + context.get("metatags", "")


def setup(app):
    app.connect("html-collect-pages", add_missing)
    app.connect("html-page-context", prepare)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
