"""Execute the notebooks and build the site: python -m stiffness_book.publish.site [--quick]

Everything is made in a hidden folder beside the output and put in its place when it is whole. A build that was
interrupted goes on with the notebooks that it had executed, as long as nothing that they depend on has changed.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import papermill
import yaml

from stiffness_book.figures import experiments_of
from stiffness_book.publish import colab, generated
from stiffness_book.publish.lock import Locked, locked
from stiffness_book.publish.refresh import (
    NOTEBOOKS,
    QUIET,
    ROOT,
    NotebookError,
    derive,
    execute,
    named_failures,
    sources,
    write,
)
from stiffness_book.publish.repository import INSTALL, Repository, repository
from stiffness_book.settings import Settings
from stiffness_book.sweep import SweepError, compute_missing

STAGED = ("_config.yml", "_toc.yml", "README.md", "assets", "book", "notebooks")
PROFILES = NOTEBOOKS / "profiles"
BANNER = (
    "Quick profile: every number on these pages comes from a short training on embedded data. "
    "They are not the published results."
)


def stage(folder: Path) -> None:
    """Copy what the book is made of, so that building never touches a tracked file."""
    folder.mkdir(parents=True)
    for name in STAGED:
        origin = ROOT / name
        if origin.is_dir():
            shutil.copytree(origin, folder / name, ignore=shutil.ignore_patterns(".*", "__pycache__"))
        elif origin.is_file():
            shutil.copy(origin, folder / name)


def quick_profile(notebook: Path) -> dict:
    """The notebook's quick parameters. One that has parameters and no profile would train at full scale: an error."""
    tags = [tag for cell in nbformat.read(notebook, as_version=4).cells for tag in cell.metadata.get("tags", [])]
    if "parameters" not in tags:
        return {}
    profile = PROFILES / f"quick_{notebook.stem}.yaml"
    if not profile.is_file():
        raise NotebookError(f"{notebook.name} has parameters and no quick profile: write {profile.name}")
    return yaml.safe_load(profile.read_text(encoding="utf-8"))


def quick_experiments() -> list[Settings]:
    """The runs of all quick profiles, each once: computed together, they share the workers."""
    profiles = {source: PROFILES / f"quick_{source.stem}.yaml" for source in sources()}
    return list(dict.fromkeys(run for source, profile in profiles.items() if profile.is_file()
                              for run in experiments_of(source, **yaml.safe_load(profile.read_text(encoding="utf-8")))))


def run_quick(notebook: Path) -> None:
    """Run a staged notebook by papermill, the way a reader would."""
    with named_failures(notebook.name) as on_cell_start:
        papermill.execute_notebook(
            notebook,
            notebook,
            parameters=quick_profile(notebook),
            cwd=NOTEBOOKS,
            kernel_name="python3",
            progress_bar=False,
            extra_arguments=QUIET,
            on_cell_start=on_cell_start,
        )


def embed_pictures(notebook: nbformat.NotebookNode) -> None:
    """Put each chart's SVG into its empty div: seen without JavaScript; vega-embed replaces it when it loads."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            for mime in [mime for mime in data if mime.endswith("text/html")]:
                picture = data.get(mime.replace("text/html", "image/svg+xml"))
                label = data.get(mime.replace("text/html", "text/plain"), "")
                if picture:
                    data[mime] = with_picture(data[mime], picture, label)


def point_at(repository: Repository | None, notebook: nbformat.NotebookNode) -> None:
    """Give a notebook the cell that sets up Colab, and its installing line the repository's address."""
    if repository is None:
        return
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace(INSTALL, repository.install("plot"))
    notebook.cells.insert(0, colab.setup_cell(repository))


def with_picture(html: str, svg: str, label: str) -> str:
    """One chart's HTML with its picture inside; ids in the picture get the chart's id as prefix."""
    div = re.search(r'<div id="(altair-viz-[^"]+)"></div>', html)
    if not div:
        return html
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{div[1]}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{div[1]}-\1)", svg)
    quoted = label.strip("'").replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{quoted}" ', 1)
    return html.replace(div[0], f'<div id="{div[1]}">{svg}</div>')


def build(source: Path, output: Path, banner: str = "") -> None:
    """Sphinx over the staged folder. A warning fails the build, after all warnings were shown."""
    # not the command jupyter-book, whose first line holds a path that is wrong once the folder was moved
    jupyter_book = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "config", "sphinx"]
    sphinx = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    sphinx += ["-d", str(source.with_name("doctrees"))]
    if banner:
        sphinx += ["-D", f"html_theme_options.announcement={banner}"]
    subprocess.run([*jupyter_book, str(source)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*sphinx, str(source), str(output)], cwd=ROOT, check=True)
    forward = output / "index.html"  # leads to the front page; without an icon's name browsers ask for one in vain
    forward.write_text('<link rel="icon" href="_static/favicon.svg" />\n' + forward.read_text(encoding="utf-8"))


def digest_of(source: Path, results: Path | None) -> str:
    """Changes with every file that an executed notebook depends on: its own, the packages, the lock, the results."""
    files = [source, PROFILES / f"quick_{source.stem}.yaml", ROOT / "requirements.lock"]
    for folder in ("src", "benchmarks"):
        files += sorted(path for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".csv", ".json"))
    if results:
        files += sorted(results.glob("*.parquet"))
    digest = hashlib.sha256(sys.version.encode())
    for path in files:
        if path.is_file():
            digest.update(str(path.relative_to(ROOT)).encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def run_all(folder: Path, work: Path, quick: bool) -> None:
    """Execute every notebook into the staged folder, or take it from an interrupted build where nothing has changed."""
    if quick:  # beside, never over, the published results
        os.environ["STIFFNESS_RESULTS"] = str(work / f"results-{digest_of(ROOT / 'README.md', None)}")
        compute_missing(quick_experiments())
    can_resume = quick or "STIFFNESS_RESULTS" not in os.environ  # results elsewhere may change unseen
    results = None if quick else ROOT / "results"
    for source in sources():
        target = folder / f"{source.stem}.ipynb"
        executed = work / f"{source.stem}-{digest_of(source, results)}.ipynb"
        if can_resume and executed.is_file():
            print(f"keep {source.stem}, executed before the interruption", flush=True)
            shutil.copy(executed, target)
            continue
        print(f"run {source.stem}", flush=True)
        if quick:
            write(derive(source), target)
            run_quick(target)
        else:
            write(execute(source), target)
        # the name again: a notebook whose results were missing has added them
        shutil.copy(target, work / "copying")
        os.replace(work / "copying", work / f"{source.stem}-{digest_of(source, results)}.ipynb")


def make_site(output: Path, quick: bool = False, run: bool = True) -> Path:
    """Stage, execute, build; returns the page to open. `run=False` takes the notebooks as they are committed.

    Raises NotebookError when a notebook fails or `output` holds anything but a site, and Locked while another
    build writes to the same output.
    """
    work = output.with_name(f".{output.name}-unfinished")
    with locked(output.with_name(f".{output.name}.lock"), str(output)):
        if output.exists() and not (output / ".buildinfo").is_file() and (output.is_file() or any(output.iterdir())):
            raise NotebookError(f"{output} holds something other than a site: remove it or choose another --output")
        for left in work.glob("build-*"):  # by a build that was killed
            shutil.rmtree(left, ignore_errors=True)
        work.mkdir(exist_ok=True)
        # a name that nobody had: the Sphinx of a killed build may still be writing
        folder = Path(tempfile.mkdtemp(prefix="build-", dir=work))
        try:
            stage(folder / "source")
            notebooks = folder / "source" / "notebooks"
            if run:
                run_all(notebooks, work, quick)
            for page in (folder / "source" / "book").glob("*.md"):
                generated.fill(page, notebooks)
            place = repository()
            for path in notebooks.glob("*.ipynb"):
                notebook = nbformat.read(path, as_version=4)
                embed_pictures(notebook)
                point_at(place, notebook)
                write(notebook, path)
            build(folder / "source", folder / "html", BANNER if quick else "")
            if output.exists():
                os.replace(output, folder / "replaced")
            os.replace(folder / "html", output)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(work, ignore_errors=True)
    return output / "index.html"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="folder of the site (default: _build/html, _build/quick/html)")
    parser.add_argument("--quick", action="store_true", help="short trainings on embedded data, no stored results")
    options = parser.parse_args()
    default = ROOT / "_build" / "quick" / "html" if options.quick else ROOT / "_build" / "html"
    try:
        index = make_site((options.output or default).resolve(), options.quick)
    except (NotebookError, Locked, SweepError) as error:
        sys.exit(str(error))
    except subprocess.CalledProcessError:
        sys.exit("the site did not build: see the warnings above")
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on from the notebooks that it has executed")
    print(f"\nThe book: {index.as_uri()}")
    print("Open it in a browser as it is, or run `make serve`.")


if __name__ == "__main__":
    main()
