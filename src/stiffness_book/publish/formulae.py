"""Sphinx extension: formulae are pictures inside the page, so that a page needs no script and no font for them."""

import html
import re

import ziamath
from docutils import nodes
from sphinx.util.math import get_node_equation_number

SIZE = 16  # pixels for which a formula is drawn; on the page it has the size of the text around it


def picture(latex: str, inline: bool) -> str:
    """A formula as SVG in the colour and the size of the text, with its LaTeX as alternative text."""
    svg = ziamath.Latex(latex, size=SIZE, inline=inline, color="currentColor").svg()
    _, top, width, height = map(float, re.search(r'viewBox="([^"]*)"', svg)[1].split())  # the baseline is at 0
    place = f"width:{width / SIZE:.3f}em;height:{height / SIZE:.3f}em;vertical-align:{-(top + height) / SIZE:.3f}em"
    start = f'<svg role="img" aria-label="{html.escape(latex.strip())}" style="{place}" '
    return re.sub(r'<svg (.*?) width="[^"]*" height="[^"]*"', lambda found: start + found[1], svg, count=1)


def visit_math(self, node):
    self.body.append(self.starttag(node, "span", "", CLASS="math notranslate"))
    self.body.append(picture(node.astext(), inline=True) + "</span>")
    raise nodes.SkipNode


def visit_displaymath(self, node):
    self.body.append(self.starttag(node, "div", CLASS="math notranslate"))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append(picture(node.astext(), inline=False) + "</div>\n")
    raise nodes.SkipNode


def setup(app):
    ziamath.config.svg2 = False  # whose shared symbols would have the same ids in every formula
    app.add_html_math_renderer("pictures", (visit_math, None), (visit_displaymath, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
