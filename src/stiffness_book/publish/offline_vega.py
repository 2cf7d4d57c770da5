"""Sphinx extension: Vega comes with the site, so that no page asks another host for it."""

from pathlib import Path

import vl_convert
from altair.vegalite.v6.display import VEGA_VERSION, VEGAEMBED_VERSION, VEGALITE_VERSION

CDN = "https://cdn.jsdelivr.net/npm/"


def write_bundle(app, error):
    """Vega, Vega-Lite and vega-embed from vl-convert, in one file."""
    if error or app.builder.format != "html":
        return
    bundle = vl_convert.javascript_bundle(vl_version=".".join(VEGALITE_VERSION.split(".")[:2]))
    # Altair's HTML downloads each library unless VEGA_DEBUG says that it is there. The bundle declares names at
    # its top level, so it is wrapped in a function.
    present = (
        f'var VEGA_DEBUG = {{vega_version: "{VEGA_VERSION}", vegalite_version: "{VEGALITE_VERSION}", '
        f'vegaembed_version: "{VEGAEMBED_VERSION}"}};\n'
    )
    target = Path(app.outdir, "_static", "vega.js")
    target.write_text(f"{present}(function () {{\n{bundle}\n}})();\n", encoding="utf-8")


def use_bundle(app, pagename, templatename, context, doctree):
    """Load the file on the pages that have a chart, and take the addresses of the CDN out of them."""
    body = context.get("body", "")
    if "altair-viz-" in body:
        app.add_js_file("vega.js")
        context["body"] = body.replace(CDN, "")


def setup(app):
    app.connect("html-page-context", use_bundle)
    app.connect("build-finished", write_bundle)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
