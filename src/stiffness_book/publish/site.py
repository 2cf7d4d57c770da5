"""Execute the notebooks and build the site: python -m stiffness_book.publish.site [--quick]"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import yaml
from papermill.exceptions import PapermillExecutionError

from stiffness_book.publish import generated
from stiffness_book.publish.refresh import NOTEBOOKS, QUIET, ROOT, NotebookError, derive, execute, sources, write

STAGED = ("_config.yml", "_toc.yml", "README.md", "assets", "book", "notebooks")
PROFILES = NOTEBOOKS / "profiles"
BANNER = (
    "Quick profile: every number on these pages comes from a short training on embedded data. "
    "They are not the published results."
)


def stage(folder: Path) -> None:
    """Copy what the book is made of, so that building never touches a tracked file."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in STAGED:
        origin = ROOT / name
        if origin.is_dir():
            shutil.copytree(origin, folder / name, ignore=shutil.ignore_patterns(".*", "__pycache__"))
        elif origin.is_file():
            shutil.copy(origin, folder / name)
    for page in (folder / "book").glob("*.md"):
        generated.fill(page)


def quick_profile(notebook: Path) -> dict:
    """The notebook's quick parameters. One that has parameters and no profile would train at full scale: an error."""
    tags = [tag for cell in nbformat.read(notebook, as_version=4).cells for tag in cell.metadata.get("tags", [])]
    if "parameters" not in tags:
        return {}
    profile = PROFILES / f"quick_{notebook.stem}.yaml"
    if not profile.is_file():
        raise NotebookError(f"{notebook.name} has parameters and no quick profile: write {profile.name}")
    return yaml.safe_load(profile.read_text(encoding="utf-8"))


def run_quick(notebook: Path) -> None:
    """Run a staged notebook by papermill, the way a reader would."""
    try:
        papermill.execute_notebook(
            notebook,
            notebook,
            parameters=quick_profile(notebook),
            cwd=NOTEBOOKS,
            kernel_name="python3",
            progress_bar=False,
            extra_arguments=QUIET,
        )
    except PapermillExecutionError as error:
        raise NotebookError(f"{notebook.name}, cell {error.cell_index + 1}:\n{error}") from None


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
    if output.exists() and any(output.iterdir()) and not (output / ".buildinfo").is_file():
        raise NotebookError(f"{output} holds something else than a site: choose another --output")
    shutil.rmtree(output, ignore_errors=True)
    # not the command jupyter-book, whose first line holds a path that is wrong once the folder was moved
    jupyter_book = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "config", "sphinx"]
    sphinx = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    sphinx += ["-d", str(source.with_name(source.name + "-doctrees"))]
    if banner:
        sphinx += ["-D", f"html_theme_options.announcement={banner}"]
    subprocess.run([*jupyter_book, str(source)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*sphinx, str(source), str(output)], cwd=ROOT, check=True)
    forward = output / "index.html"  # leads to the front page; without an icon's name browsers ask for one in vain
    forward.write_text('<link rel="icon" href="_static/favicon.svg" />\n' + forward.read_text(encoding="utf-8"))


def run_all(folder: Path, quick: bool, results: Path) -> None:
    """Execute every notebook into the staged folder."""
    staged = {source: folder / f"{source.stem}.ipynb" for source in sources()}
    if quick:
        shutil.rmtree(results, ignore_errors=True)
        results.mkdir(parents=True)
        os.environ["STIFFNESS_RESULTS"] = str(results)  # beside, never over, the published results
    for source, target in staged.items():
        print(f"run {source.stem}", flush=True)
        if quick:
            write(derive(source), target)
            run_quick(target)
        else:
            write(execute(source), target)


def make_site(output: Path, quick: bool = False, run: bool = True) -> Path:
    """Stage, execute, build; returns the page to open. `run=False` takes the notebooks as they are committed."""
    work = output.parent
    stage(work / "source")
    folder = work / "source" / "notebooks"
    if run:
        run_all(folder, quick, work / "results")
    for path in folder.glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        embed_pictures(notebook)
        write(notebook, path)
    build(work / "source", output, BANNER if quick else "")
    return output / "index.html"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="folder of the site (default: _build/html, _build/quick/html)")
    parser.add_argument("--quick", action="store_true", help="short trainings on embedded data, no stored results")
    options = parser.parse_args()
    default = ROOT / "_build" / "quick" / "html" if options.quick else ROOT / "_build" / "html"
    try:
        index = make_site((options.output or default).resolve(), options.quick)
    except NotebookError as error:
        sys.exit(str(error))
    except subprocess.CalledProcessError:
        sys.exit("the site did not build: see the warnings above")
    print(f"\nThe book: {index.as_uri()}")
    print("Open it in a browser as it is, or run `make serve`.")


if __name__ == "__main__":
    main()
