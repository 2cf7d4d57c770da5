"""Derive every notebooks/NAME.ipynb from notebooks/NAME.py, executed: python -m stiffness_book.publish.refresh"""

import argparse
import os
import sys
from pathlib import Path

import jupytext
import nbformat
import yaml
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parents[3]
NOTEBOOKS = ROOT / "notebooks"
QUIET = ["--IPKernelApp.log_level=40", "--IPKernelApp.capture_fd_output=False"]


class NotebookError(RuntimeError):
    """A notebook that did not run; the message names it and the cell."""


def sources(names: list[str] | None = None) -> list[Path]:
    """The text sources of the notebooks in the book's table of contents; or those of `names`: stems, files, paths."""
    if not names:
        parts = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]
        files = [ROOT / f"{chapter['file']}.py" for part in parts for chapter in part["chapters"]]
        return [file for file in files if file.parent == NOTEBOOKS]
    found = [NOTEBOOKS / (Path(name).stem + ".py") for name in names]
    for path in found:
        if not path.is_file():
            raise NotebookError(f"no such notebook: {path}; there are {', '.join(p.stem for p in sources())}")
    return found


def derive(source: Path) -> nbformat.NotebookNode:
    """Read a py:percent file as a notebook without outputs, with cell ids that stay the same."""
    notebook = jupytext.read(source)
    for number, cell in enumerate(notebook.cells, start=1):
        cell.id = f"cell-{number:02}"
    notebook.metadata.pop("jupytext", None)  # the .py file is the only source: no pairing back
    return notebook


def execute(source: Path) -> nbformat.NotebookNode:
    """Derive and run one notebook. Equal sources and results give equal bytes."""
    notebook = derive(source)
    client = NotebookClient(
        notebook,
        record_timing=False,
        timeout=None,
        extra_arguments=QUIET,
        resources={"metadata": {"path": str(NOTEBOOKS)}},
    )
    try:
        client.execute()
    except CellExecutionError as error:
        outputs = [[o.output_type for o in cell.get("outputs", [])] for cell in notebook.cells]
        failed = next((number for number, kinds in enumerate(outputs, 1) if "error" in kinds), "?")
        raise NotebookError(f"{source.name}, cell {failed}:\n{error}") from None
    notebook.metadata.get("language_info", {}).pop("version", None)  # of the Python that happened to run it
    return notebook


def write(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write the whole notebook or nothing."""
    nbformat.validate(notebook)
    partial = path.with_suffix(".ipynb.partial")
    nbformat.write(notebook, partial)
    os.replace(partial, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these notebooks (default: all)")
    failed = []
    try:
        chosen = sources(parser.parse_args().names)
    except NotebookError as error:
        sys.exit(str(error))
    for source in chosen:
        print(f"refresh {source.stem}", flush=True)
        try:
            write(execute(source), source.with_suffix(".ipynb"))
        except NotebookError as error:
            print(error, file=sys.stderr)
            failed.append(source.stem)
    if failed:
        sys.exit(f"not refreshed, their .ipynb is as it was: {', '.join(failed)}")


if __name__ == "__main__":
    main()
