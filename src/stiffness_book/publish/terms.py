"""Sphinx extension: where a page first uses a term of the glossary, the word leads to its entry."""

import re
from functools import lru_cache
from itertools import groupby

from docutils import nodes
from sphinx import addnodes

# What is in these is no running text, or leads elsewhere.
LEFT_OUT = (nodes.title, nodes.rubric, nodes.reference, nodes.literal, nodes.literal_block, nodes.caption, nodes.thead,
            nodes.math, nodes.math_block, nodes.raw, nodes.citation, nodes.term, addnodes.glossary)
SPACE = r"[\s-]+"


@lru_cache(maxsize=1)
def entries(env):
    """{a term as `pattern` names it: (its page, its anchor, the first sentence of its definition)}."""
    found = {}
    for page in sorted({page for (kind, _), (page, _) in env.domains["std"].objects.items() if kind == "term"}):
        for entry in env.get_doctree(page).findall(nodes.definition_list_item):
            terms = [term for term in entry.findall(nodes.term) if term["ids"]]
            if terms:
                meaning = entry.next_node(nodes.definition).astext().replace("\n", " ")
                place = page, terms[0]["ids"][0], re.split(r"(?<=\.) ", meaning)[0]
                found |= {term.astext(): place for term in terms}
    return found


def pattern(term):
    """A term in lower case or upper case, in the singular or the plural, with spaces or hyphens, as one group."""
    *words, last = map(re.escape, re.split(SPACE, re.sub("(?<=ss)es$|(?<!s)s$", "", term)))
    last = rf"{last[:-1]}(?:x|ces)" if last.endswith("matrix") else rf"{last}(?:e?s)?"
    return f"({SPACE.join([*words, last])})"


def running_text(node):
    """The pieces of running text below a node, in order. Line breaks, which are pieces of their own, join them."""
    pieces = []
    for is_text, group in groupby(node.children, lambda child: isinstance(child, nodes.Text)):
        group = list(group)
        pieces += [nodes.Text("".join(group))] if is_text else group
    node[:] = pieces
    for child in pieces:
        if isinstance(child, nodes.Text):
            yield child
        elif not isinstance(child, LEFT_OUT):
            yield from running_text(child)


def link_terms(app, doctree, docname):
    known = entries(app.env)
    if not known:
        return
    names = sorted(known, key=len, reverse=True)  # the longest one counts: not "stiffness" in "class stiffness"
    expression = re.compile(rf"(?<![\w-])(?:{'|'.join(map(pattern, names))})(?![\w-])", re.IGNORECASE)
    done = {place for place in known.values() if place[0] == docname}
    for text in running_text(doctree):
        parts, end = [], 0
        for use in expression.finditer(text):
            place = known[names[use.lastindex - 1]]
            if place in done:
                continue
            done.add(place)
            page, anchor, meaning = place
            parts += [nodes.Text(text[end : use.start()]),
                      nodes.reference("", use[0], internal=True, reftitle=meaning, classes=["term"],
                                      refuri=f"{app.builder.get_relative_uri(docname, page)}#{anchor}")]
            end = use.end()
        if parts:
            number = next(k for k, child in enumerate(text.parent) if child is text)
            text.parent[number : number + 1] = [*parts, nodes.Text(text[end:])]


def setup(app):
    app.connect("doctree-resolved", link_terms)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
