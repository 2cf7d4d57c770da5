"""The whole book as one PDF, printed by Chromium or Chrome: python -m stiffness_book.publish.pdf"""

import argparse
import html
import os
import posixpath
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from stiffness_book.publish.refresh import ROOT, NotebookError
from stiffness_book.publish.site import make_site

PROGRAMS = ("chromium", "google-chrome", "chrome", "chromium-browser")


def browser() -> str:
    """The program that prints. Raises NotebookError where there is none."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), None)
    if not found:
        raise NotebookError("the PDF is printed by Chromium or Chrome, and there is none: install it, or name the "
                            "program in CHROMIUM")
    return found


def chapter(site: Path, name: str) -> str:
    """A page's article, in which ids end with the page's name and links to pages lead to where they are printed."""
    text = (site / f"{name}.html").read_text(encoding="utf-8")
    article = re.search(r"(?s)<article.*?</article>", text)[0]
    article = re.sub(r"(?s)<script.*?</script>", "", article)  # charts are printed as their pictures
    folder = posixpath.dirname(name)

    def place(found):
        address, _, anchor = found[2].partition("#")
        if re.match("[a-z]+:", address):
            return found[0]
        target = posixpath.normpath(posixpath.join(folder, address)).removesuffix(".html") if address else name
        return f'{found[1]}"#{anchor}{"--" if anchor else ""}{target}"'

    article = re.sub(r'(\bhref=)"([^"]*)"', place, article)
    article = re.sub(r'\bid="([^"]*)"', rf'id="\1--{name}"', article)
    article = re.sub(r"url\(#([^)]*)\)", rf"url(#\1--{name})", article)
    return article.replace("<article ", f'<article id="{name}" ', 1)


def one_page(site: Path, numbers: dict[str, int]) -> str:
    """The HTML of the book: title, contents with the pages' numbers as far as they are known, all chapters."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    front = (site / f"{toc['root']}.html").read_text(encoding="utf-8").replace("../_static/", "_static/")
    parts = [("", [toc["root"]])]
    parts += [(part["caption"], [entry["file"] for entry in part["chapters"]]) for part in toc["parts"]]
    chapters = {name: chapter(site, name) for _, names in parts for name in names}
    contents = []
    for caption, names in parts:
        contents += [f'<p class="part">{caption}</p>' if caption else "", "<ol>"]
        for name in names:
            title = re.search(r"(?s)<h1>(.*?)<a class=\"headerlink", chapters[name])[1]
            contents.append(f'<li><a href="#{name}">{title}</a>'
                            f'<span class="page-number">{numbers.get(name, "")}</span></li>')
        contents.append("</ol>")
    title = html.escape(yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["title"])
    styles = re.findall('<link[^>]* rel="stylesheet"[^>]*>', front)
    made = re.findall(r'(?s)<p class="component-author">.*?</p>|(?<=<div class="extra_footer">).*?</p>', front)
    return "\n".join(['<!DOCTYPE html><html lang="en" data-theme="light"><head><meta charset="utf-8">',
                      f"<title>{title}</title>", *styles, "</head><body>",
                      f'<section class="title-page"><h1>{title}</h1>', *made, "<h2>Contents</h2>", *contents,
                      "</section>", *chapters.values(), "</body></html>"])


def page_numbers(pdf: bytes) -> dict[str, int]:
    """{name of a place that a link leads to: the number of its page}, as Chromium writes them."""
    pages = re.findall(rb"(\d+) 0 obj\s*<</Type /Page\b", pdf)
    places = re.findall(rb"/(?!Dest )(\S+) \[(\d+) 0 R /XYZ", pdf)
    escaped = re.compile("#([0-9a-fA-F]{2})")
    return {escaped.sub(lambda code: chr(int(code[1], 16)), name.decode()): pages.index(page) + 1
            for name, page in places}


def print_book(site: Path, output: Path) -> None:
    """Print a built site as one page; twice, as the contents get their numbers from what was printed."""
    program, page, numbers = browser(), site / "book.html", {}
    with tempfile.TemporaryDirectory() as profile:  # of its own, so that a browser that is open is left alone
        command = [program, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}",
                   "--no-pdf-header-footer", "--generate-pdf-document-outline", f"--print-to-pdf={output}",
                   page.as_uri()]
        for _ in range(2):
            page.write_text(one_page(site, numbers), encoding="utf-8")
            output.unlink(missing_ok=True)
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode or not output.is_file():
                raise NotebookError(f"{program} did not print the book: {done.stderr.strip()[-500:]}")
            numbers = page_numbers(output.read_bytes())
    page.unlink()


def make_pdf(output: Path) -> Path:
    """Build the book from the committed notebooks and print it."""
    browser()
    with tempfile.TemporaryDirectory() as folder:
        site = make_site(Path(folder, "html"), run=False).parent
        output.parent.mkdir(parents=True, exist_ok=True)
        print_book(site, output)
    return output


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "_build" / "stiffness.pdf")
    try:
        print(f"\nThe book: {make_pdf(parser.parse_args().output.resolve())}")
    except NotebookError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
