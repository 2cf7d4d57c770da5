"""Where a page first uses a term of the glossary, the word leads to its entry."""

import re
import subprocess
import sys
from collections import Counter

import pytest

from stiffness_book.publish.refresh import ROOT
from tests.book.conftest import CHAPTERS

LINK = re.compile(r'<a class="term reference internal" href="([^"]*)" title="([^"]*)">([^<]*)</a>')
GLOSSARY = """
# Glossary

```{glossary}
probe set
  The examples whose pairs are measured. There are few. A matrix is none.

class matrix
class stiffness
  Means over a probe set, for two classes each.

stiffness
  A sign.
```
"""
PAGE = """
# A probe set in a heading

| probe set | stiffness |
|---|---|
| 500 | 1 |

`probe set` and [a probe set](https://example.org). *Probe
sets*, then another probe set. The class matrices have class-stiffness, and Stiffness is next; unstiffness is no word,
nor is stiffness-free.

```
class stiffness
```
"""


def test_the_first_use_of_a_term_is_linked(tmp_path):
    source, output = tmp_path / "source", tmp_path / "html"
    source.mkdir()
    (source / "index.md").write_text(GLOSSARY + "\n```{toctree}\npage\nplain\n```\n", encoding="utf-8")
    (source / "page.md").write_text(PAGE, encoding="utf-8")
    (source / "plain.md").write_text("# No term\n\nNothing.\n", encoding="utf-8")
    subprocess.run([sys.executable, "-m", "sphinx", "-C", "-q", "-W", "-b", "html", str(source), str(output), "-D",
                    "extensions=myst_parser,stiffness_book.publish.terms"],
                   check=True, env={"PYTHONPATH": str(ROOT / "src")})
    assert LINK.findall((output / "page.html").read_text(encoding="utf-8")) == [
        ("index.html#term-probe-set", "The examples whose pairs are measured.", "Probe\nsets"),
        ("index.html#term-class-matrix", "Means over a probe set, for two classes each.", "class matrices"),
        ("index.html#term-stiffness", "A sign.", "Stiffness"),
    ]
    assert not LINK.search((output / "index.html").read_text(encoding="utf-8"))
    assert not LINK.search((output / "plain.html").read_text(encoding="utf-8"))


# The texts of a page that are read as sentences, and the names of each entry of the glossary.
RUNNING = """() => {
    const article = document.querySelector("article").cloneNode(true);
    const rest = "h1, h2, h3, h4, a:not(.term), code, pre, figcaption, .caption, thead, .math, script, style, summary, "
        + ".citation, .output.text_html, span.output"
    article.querySelectorAll(rest).forEach(part => part.replaceWith(" | "));
    article.querySelectorAll("p, li, td, dd").forEach(part => part.append(" | "));
    return article.textContent;
}"""
ENTRIES = """() => [...document.querySelectorAll("dl.glossary > dd")].map(meaning => {
    const names = [];
    for (let name = meaning.previousElementSibling; name?.matches("dt"); name = name.previousElementSibling)
        names.unshift([name.firstChild.textContent.trim(), name.id]);
    return [names, meaning.textContent];
})"""


@pytest.fixture(scope="module")
def opened(site, browser):
    with browser.new_context(java_script_enabled=True) as context:
        page = context.new_page()

        def go(name):
            page.goto((site / f"{name}.html").as_uri())
            return page

        yield go


def used(text, entries):
    """The anchors of the entries whose names a text uses; a longer name is found before one that is part of it."""
    names = {name: entry[0][0][1] for entry in entries for name, _ in entry[0]}
    found = set()
    for name in sorted(names, key=len, reverse=True):
        single = re.sub("(?<=ss)es$|(?<!s)s$", "", name).replace(" ", r"[\s-]+").replace("-f", r"[\s-]+f")
        expression = rf"(?<![\w-])({single}(e?s)?|{single[:-1]}ces)(?![\w-])"
        text, times = re.subn(expression, "|", text, flags=re.IGNORECASE)
        found |= {names[name]} if times else set()
    return found


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_page_has_one_link_to_each_term_that_it_uses(name, opened):
    entries = opened("book/glossary").evaluate(ENTRIES)
    assert len(entries) > 20
    page = opened(name)
    linked = Counter(link.evaluate("a => a.hash.slice(1)") for link in page.locator("article a.term").all())
    expected = set() if name in ("book/glossary", "book/references") else used(page.evaluate(RUNNING), entries)
    assert linked == Counter(dict.fromkeys(expected, 1))
    assert not page.locator(":is(h1, h2, h3, h4, code, pre, figcaption, thead, dt, a) a.term").count()


def test_the_glossary_is_in_order_and_in_sentences(opened):
    entries = opened("book/glossary").evaluate(ENTRIES)
    first = [names[0][0].lower() for names, _ in entries]
    assert first == sorted(first, key=lambda name: name.replace("-", ""))
    for names, meaning in entries:
        assert re.fullmatch(r"[A-Z+].*\.", meaning.strip(), re.DOTALL), names


def test_a_term_looks_quiet_and_tells_its_meaning(opened):
    term = opened("book/method").locator("article a.term", has_text="Probe set").first
    assert term.get_attribute("title") == "The examples whose pairs are measured."
    look, around = term.evaluate("""a => [a, a.parentElement].map(part => {
        const { color, textDecorationStyle } = getComputedStyle(part);
        return [color, textDecorationStyle]; })""")
    assert look == [around[0], "dotted"]
    term.click()
    assert term.page.url.endswith("book/glossary.html#term-probe-set")
