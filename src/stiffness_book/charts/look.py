"""How the charts look, and how a notebook stores them: interactive HTML, a static picture and a description."""

import hashlib
import json
import re
from collections import Counter, defaultdict

import altair as alt
import vl_convert
from altair.vegalite.v6.display import VEGA_VERSION, VEGAEMBED_VERSION, VEGALITE_VERSION, spec_to_mimebundle

from stiffness.plots import SCALE

# one scale for every stiffness matrix of the book, so that colours compare across figures; 0 is its neutral middle
STIFFNESS_SCALE = alt.Scale(**SCALE)
CURVES = alt.Scale(scheme="tableau10")
MARK = "#9467bd"  # a marked value or step; legible on white and on black
CHOSEN = "#4c78a8"  # points that a choice holds, beside grey ones
GREY = "#888888"  # reference lines, legend symbols, unknown cells; legible on white and on black
FIRST_GRADIENT, SECOND_GRADIENT, STEP = "#1f77b4", "#d1660f", "#6b7280"  # the arrows of Figure 1

MAX_ROWS = 10_000  # of a chart: the matrix of ten classes at 28 stages, by sign and by cosine, has 5,600
PAGE_WIDTH = 560  # of the picture of a chart that fills its page
# SVG rather than canvas: style sheets (dark mode), screen readers and tests can reach the marks.
EMBED_OPTIONS = {"actions": False, "renderer": "svg"}
# Vega adapts a chart to its container when the window is resized, but not when the container alone changes, as when a
# sidebar folds or finishes sliding in. One shared timer redraws all charts of a page once.
REFIT = """
<script>
  new ResizeObserver(() => {
    clearTimeout(window.refitCharts);
    window.refitCharts = setTimeout(() => window.dispatchEvent(new Event("resize")), 100);
  }).observe(document.getElementById("%s"));
</script>
"""

_drawn = Counter()  # how often this kernel has drawn each specification


@alt.theme.register("stiffness", enable=False)
def theme() -> alt.theme.ThemeConfig:
    """Text large enough to read on a phone."""
    return {
        "config": {
            "axis": {"labelFontSize": 12, "titleFontSize": 13, "aria": False},
            "header": {"labelFontSize": 13, "titleFontSize": 13},
            "legend": {"labelFontSize": 12, "titleFontSize": 13, "aria": False},
            "mark": {"aria": False},  # the chart's description stands for all of its marks
            "text": {"fontSize": 12},
            "title": {"anchor": "start", "fontSize": 15, "subtitleFontSize": 13},
            "view": {"continuousWidth": 320, "continuousHeight": 300},
        }
    }


def render(spec: dict, **_options) -> dict[str, str]:
    """Turn a Vega-Lite specification into a mime bundle; running a notebook twice gives the same bytes.

    Texts of the specification, such as class names, cannot end the script that holds them: `<` is written as \\u003c.
    Raises ValueError if the chart has no description, which is its alternative text.
    """
    description = spec.get("description", "").strip()
    if not description:
        title = spec.get("title", "without title")
        title = title.get("text", title) if isinstance(title, dict) else title
        raise ValueError(f"chart {title!r} has no alternative text: give it .properties(description=...)")

    # Altair's own id is random. Two equal charts on one page still need two ids, hence the count.
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]
    _drawn[digest] += 1
    name = f"altair-viz-{digest}-{_drawn[digest]}"
    bundle = spec_to_mimebundle(
        spec,
        format="html",
        mode="vega-lite",
        template="universal",
        vega_version=VEGA_VERSION,
        vegalite_version=VEGALITE_VERSION,
        vegaembed_version=VEGAEMBED_VERSION,
        embed_options=dict(EMBED_OPTIONS),
        output_div=name,
    )
    before, data, after = bundle["text/html"].partition(json.dumps(spec))  # as Altair writes it
    if not data:
        raise RuntimeError("Altair writes specifications in a new way: adapt stiffness_book.charts.look.render")
    html = before + data.replace("<", "\\u003c") + after
    if spec.get("width") == "container":
        html += REFIT % name
    return {"text/html": html, "image/svg+xml": picture(spec), "text/plain": description}


def picture(spec: dict) -> str:
    """The chart as SVG, without what serves only a pointer or a reader of single marks."""
    if spec.get("width") == "container":
        spec = spec | {"width": PAGE_WIDTH}
    version = ".".join(VEGALITE_VERSION.split(".")[:2])
    return _lighter(vl_convert.vegalite_to_svg(spec, vl_version=version, config={"aria": False}))


def _lighter(svg: str) -> str:
    """The picture without invisible parts, and with coordinates to a hundredth of a pixel."""
    svg = re.sub(r'<g class="[^"]*_voronoi".*?</g>', "", svg, flags=re.DOTALL)
    svg = re.sub(r'<path[^>]* opacity="0"[^>]*/>', "", svg).replace(' aria-hidden="true"', "")
    svg = re.sub(r' (?:d|transform)="[^"]*"', lambda drawn: re.sub(
        r"\d+\.\d+", lambda number: f"{round(float(number[0]), 2):g}", drawn[0]), svg)
    return re.sub(r'(<g class="mark-rect[^>]*>)((?:<path d="[^"]*" fill="[^"]*"/>){200,})',
                  lambda cells: cells[1] + _by_colour(cells[2]), svg)


def _by_colour(cells: str) -> str:
    """The many cells of a heat map as one path for each colour, a sixth of the size."""
    paths = defaultdict(list)
    for path, colour in re.findall(r'd="([^"]*)" fill="([^"]*)"', cells):
        paths[colour].append(path)
    return "".join(f'<path d="{"".join(parts)}" fill="{colour}"/>' for colour, parts in paths.items())


def enable() -> None:
    """Make this the way in which Altair shows charts in the notebook that calls it."""
    alt.renderers.register("stiffness", render)
    alt.renderers.enable("stiffness")
    alt.theme.enable("stiffness")
    alt.data_transformers.enable("default", max_rows=MAX_ROWS)
