"""What Colab gets: a first cell that installs the page's commit, keeps Colab's TensorFlow, and brings the results."""

import os
import subprocess
import sys
import time

import nbformat
import pytest

from stiffness_book.publish import colab
from stiffness_book.publish.refresh import NOTEBOOKS, ROOT
from stiffness_book.publish.repository import INSTALL, Repository, repository, web_address
from stiffness_book.publish.site import make_site, point_at

PLACE = Repository("https://github.com/Someone/a.book", "0" * 40)
RUN = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=None, resources={"metadata": {"path": "."}}).execute()
nbformat.write(notebook, "executed.ipynb")
"""


@pytest.mark.parametrize("remote, address", [
    ("git@github.com:Someone/a.book.git", PLACE.url), ("https://github.com/Someone/a.book", PLACE.url),
    ("https://me:secret@github.com/Someone/a.book.git", PLACE.url),
    ("ssh://git@github.com:22/Someone/a.book", PLACE.url),
    ("/somewhere/a.book", ""), ("../a.book", ""), ("file:///somewhere/a.book", ""), ("", ""),
])
def test_a_remote_has_a_web_address_or_none(remote, address):
    assert web_address(remote) == address


def test_the_repository_is_that_of_continuous_integration(monkeypatch):
    monkeypatch.setenv("GITHUB_REPOSITORY", "Fork/book")
    monkeypatch.setenv("GITHUB_SHA", "f" * 40)
    assert repository() == Repository("https://github.com/Fork/book", "f" * 40)


def test_addresses_of_a_page():
    page = "notebooks/fig01_concept"
    assert PLACE.colab(page) == (
        f"https://colab.research.google.com/github/Someone/a.book/blob/gh-pages/_sources/{page}.ipynb")
    assert PLACE.binder(page) == f"https://mybinder.org/v2/gh/Someone/a.book/{'0' * 40}?urlpath=lab/tree/{page}.ipynb"
    assert PLACE.site == "https://someone.github.io/a.book/"
    assert Repository("https://github.com/Me/me.github.io", "").site == "https://me.github.io/"
    elsewhere = Repository("https://example.org/a/b", "0")
    assert elsewhere.colab(page) is elsewhere.binder(page) is elsewhere.site is None


def test_no_source_holds_an_address_of_a_repository():
    for path in [*NOTEBOOKS.glob("*.*py*"), *(ROOT / "book").glob("*.md"), ROOT / "README.md"]:
        assert "git+http" not in path.read_text(encoding="utf-8"), path.name


def test_a_notebook_without_a_repository_stays_as_it_is():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(f"`{INSTALL}`")])
    point_at(None, notebook)
    assert notebook.cells[0].source == f"`{INSTALL}`" and len(notebook.cells) == 1
    point_at(PLACE, notebook)
    setup, text = notebook.cells
    assert text.source == f"`pip install 'stiffness[plot] @ git+{PLACE.url}@{PLACE.commit}'`"
    assert PLACE.url in setup.source and setup.metadata["tags"] == ["remove-cell"]


def test_a_published_site_points_at_its_repository(tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_REPOSITORY", "Fork/book")
    monkeypatch.setenv("GITHUB_SHA", "f" * 40)
    site = make_site(tmp_path / "html", run=False).parent
    page = (site / "notebooks" / "own_model.html").read_text(encoding="utf-8")
    place = repository()
    for address in (place.colab("notebooks/own_model"), place.binder("notebooks/own_model"), place.url):
        assert f'href="{address}"' in page
    assert f"git+{place.url}@{place.commit}" in page and "COLAB_RELEASE_TAG" not in page
    assert '<link rel="canonical" href="https://fork.github.io/book/notebooks/own_model.html"' in page
    assert 'property="og:site_name" content="Stiffness, reproduced"' in page and 'name="description"' in page
    assert "COLAB_RELEASE_TAG" in (site / "_sources" / "notebooks" / "own_model.ipynb").read_text(encoding="utf-8")
    assert "https://fork.github.io/book/notebooks/own_model.html" in (site / "sitemap.xml").read_text(encoding="utf-8")
    assert (site / "_static" / "preview.png").read_bytes().startswith(b"\x89PNG")
    assert '<base href="/book/">' in (site / "404.html").read_text(encoding="utf-8")
    assert "404" not in (site / "sitemap.xml").read_text(encoding="utf-8")


def test_the_cell_does_nothing_elsewhere(tmp_path, monkeypatch):
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    exec(colab.setup_cell(PLACE).source, {})
    assert not [*tmp_path.iterdir()] and dict(os.environ) == before


@pytest.mark.slow
@pytest.mark.parametrize("pins", [["tensorflow==2.18.*", "keras==3.8.*"], ["tensorflow", "keras"]],
                         ids=["oldest", "newest"])
def test_a_page_is_drawn_in_colab(pins, tmp_path):
    """The cell and a figure's notebook, in an environment that has TensorFlow and Jupyter and nothing of the book's."""
    def run(*command, **more):
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, **more)
        assert done.returncode == 0, done.stderr
        return done.stdout

    remote, python = tmp_path / "remote" / "book", tmp_path / "env" / "bin" / "python"
    run("git", "clone", "--quiet", "--bare", ROOT, remote)
    run(sys.executable, "-m", "uv", "venv", "--quiet", "--seed", "--python", sys.executable, tmp_path / "env")
    run(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", python, *pins, "ipykernel", "nbclient")
    versions = "from importlib.metadata import version; print(version('tensorflow'), version('keras'))"
    before = run(python, "-c", versions)

    notebook = nbformat.read(NOTEBOOKS / "fig03_class_stiffness_mnist.ipynb", as_version=4)
    expected = said(notebook)
    commit = run("git", "-C", ROOT, "rev-parse", "HEAD").strip()
    point_at(Repository(f"file://{remote}", commit), notebook)
    nbformat.write(notebook, tmp_path / "page.ipynb")
    (tmp_path / "content").mkdir()
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "STIFFNESS", "TFDS"))}
    started = time.perf_counter()
    run(python, "-c", RUN, tmp_path / "page.ipynb", cwd=tmp_path / "content", env=bare | {"COLAB_RELEASE_TAG": "any"})
    seconds = time.perf_counter() - started
    assert run(python, "-c", versions) == before  # Colab's own are kept
    assert (tmp_path / "content" / "book" / "results").is_dir()
    executed = nbformat.read(tmp_path / "content" / "executed.ipynb", as_version=4)
    assert said(executed) == expected and len(expected) > 3  # every measured number, from the stored results
    print(f"{seconds:.0f} s")


def said(notebook):
    """The paragraphs and tables that a notebook's code has written."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output.data["text/markdown"] for output in outputs if "text/markdown" in output.get("data", {})]
