"""Sphinx extension: pages are light, and nothing on them comes from another host.

Vega comes with the site, in one file, and is loaded when a chart comes near the screen; until then the chart's picture
stands in its place. The theme's script of icons and the icons that no page has are left out.
"""

import json
import re
from pathlib import Path

import vl_convert
from altair.vegalite.v6.display import VEGALITE_VERSION

CHART = re.compile(r'<script type="text/javascript">\s*var VEGA_DEBUG.*?}\)\(\s*(?={)', re.DOTALL)
ICON_SCRIPT = re.compile(r'\s*<script [^>]*fontawesome\.js[^>]*></script>')
ICON_RULE = re.compile(r'((?:\.fa-[\w-]+:before,?)+)\{content:"[^"]*"\}')
DESIGN_RULE = re.compile(r"(?<=[{};/])((?:\.sd-[\w-]+[^{},]*,?)+)\{[^{}]*\}")
UNUSED = ("_static/scripts/fontawesome.js*", "_static/**/*.map", "_static/vendor/**/*.ttf", "_static/locales/**/*.*",
          "_static/**/locales/**/*.*")


def defer_charts(app, pagename, templatename, context, doctree):
    """In place of Altair's script for each chart: its specification, which charts.js draws."""
    body = context.get("body", "")
    if "altair-viz-" not in body:
        return
    app.add_js_file("charts.js", loading_method="defer")
    parts, place, decoder = [], 0, json.JSONDecoder()
    for script in CHART.finditer(body):
        spec, end = decoder.raw_decode(body, script.end())
        options, end = decoder.raw_decode(body, re.compile(r"\s*,\s*").match(body, end).end())
        data = json.dumps([spec, options], separators=(",", ":")).replace("<", "\\u003c")
        parts += [body[place : script.start()], f'<script type="application/json" class="chart">{data}</script>']
        place = body.index("</script>", end) + len("</script>")
    context["body"] = "".join([*parts, body[place:]])


def lighten(app, error):
    """Writes Vega, and takes out of the built site what no page uses."""
    if error or app.builder.format != "html":
        return
    site = Path(app.outdir)
    bundle = vl_convert.javascript_bundle(vl_version=".".join(VEGALITE_VERSION.split(".")[:2]))
    # it declares names at its top level
    (site / "_static" / "vega.js").write_text(f"(function () {{\n{bundle}\n}})();\n", encoding="utf-8")
    used = set()
    for page in site.rglob("*.html"):
        text = ICON_SCRIPT.sub("", page.read_text(encoding="utf-8"))
        text = text.replace('<div role="list" class="citation-list">', '<div class="citation-list">')  # has no items
        page.write_text(text, encoding="utf-8")
        used.update(re.findall(r"\b(?:fa|sd)-[\w-]+", text))
    for script in (site / "_static").rglob("*.js"):  # the theme's scripts may set an icon
        used.update(re.findall(r"\bfa-[\w-]+", script.read_text(encoding="utf-8")) if script.name != "vega.js"
                    and "fontawesome" not in script.name else ())
    style = site / "_static" / "styles" / "pydata-sphinx-theme.css"

    def kept(rule):
        return rule[0] if used & set(re.findall(r"fa-[\w-]+", rule[1])) else ""

    def designed(rule):  # a part of a selector applies where its first class is used
        return rule[0] if used & set(re.findall(r"(?:^|,)\.(sd-[\w-]+)", rule[1])) else ""

    style.write_text(ICON_RULE.sub(kept, style.read_text(encoding="utf-8")), encoding="utf-8")
    for style in (site / "_static").glob("sphinx-design*.css"):
        style.write_text(DESIGN_RULE.sub(designed, style.read_text(encoding="utf-8")), encoding="utf-8")
    for pattern in UNUSED:
        for path in site.glob(pattern):
            path.unlink()


def setup(app):
    app.connect("html-page-context", defer_charts)
    app.connect("build-finished", lighten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
