"""Derive every notebooks/NAME.ipynb from notebooks/NAME.py, executed: python -m stiffness_book.publish.refresh"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jupytext
import nbformat
import yaml
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from papermill.exceptions import PapermillExecutionError

from stiffness_book.publish.lock import Locked, locked

ROOT = Path(__file__).resolve().parents[3]
NOTEBOOKS = ROOT / "notebooks"
QUIET = [
    # without the warning that the kernel listens on a TCP port, and without its own traceback of an interrupt
    "--IPKernelApp.log_level=50",
    "--IPKernelApp.capture_fd_output=False",  # TensorFlow's log of its start has times and process numbers
]


class NotebookError(RuntimeError):
    """A notebook that cannot be run or did not finish; the message names it and, if one failed, the cell."""


def sources(names: list[str] | None = None) -> list[Path]:
    """The text sources of the notebooks in the table of contents, or those of `names`, which may be stems or paths."""
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


@contextmanager
def named_failures(name: str) -> Iterator[Callable]:
    """Turn whatever stops a notebook into a NotebookError with its name and cell; gives the client's on_cell_start."""
    number, task, loop, interrupted = "?", None, None, False

    def interrupt():
        nonlocal interrupted
        interrupted = True
        task.cancel()

    def on_cell_start(cell, cell_index):
        nonlocal number, task, loop
        if interrupted:  # between two cells
            raise KeyboardInterrupt
        number, task, loop = cell_index + 1, asyncio.current_task(), asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():
            # in place of nbclient's handlers, which end the kernel, and then the next notebook would be run
            loop.add_signal_handler(signal.SIGINT, interrupt)
            loop.remove_signal_handler(signal.SIGTERM)

    try:
        yield on_cell_start
    except (Exception, asyncio.CancelledError) as error:
        if interrupted:
            raise KeyboardInterrupt from None
        if isinstance(error, CellExecutionError | PapermillExecutionError):
            raise NotebookError(f"{name}, cell {number}:\n{error}") from None
        if not isinstance(error, DeadKernelError):
            raise
        raise NotebookError(f"{name}, cell {number}: its kernel died. When the system kills a kernel, the machine "
                            "usually has too little memory: close other programs, or use smaller parameters") from None
    finally:
        if loop and not loop.is_closed() and threading.current_thread() is threading.main_thread():
            loop.remove_signal_handler(signal.SIGINT)


def execute(source: Path) -> nbformat.NotebookNode:
    """Derive and run one notebook. Equal sources and results give equal bytes."""
    notebook = derive(source)
    with named_failures(source.name) as on_cell_start:
        NotebookClient(
            notebook,
            record_timing=False,
            timeout=None,
            extra_arguments=QUIET,
            resources={"metadata": {"path": str(NOTEBOOKS)}},
            on_cell_start=on_cell_start,
            coalesce_streams=True,  # or what a busy machine prints would be split at random
        ).execute(stderr=subprocess.DEVNULL)  # TensorFlow's log of its start; what cells print is kept
    for number, cell in enumerate(notebook.cells, start=1):
        for output in cell.get("outputs", []):
            if output.output_type == "error":  # of a chart that could not be shown: the cell itself goes on
                raise NotebookError(f"{source.name}, cell {number}:\n{output.ename}: {output.evalue}")
    notebook.metadata.get("language_info", {}).pop("version", None)  # of the Python that happened to run it
    return notebook


def write(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write the whole notebook or nothing."""
    nbformat.validate(notebook)
    partial = path.with_name(f".{path.name}.partial")
    nbformat.write(notebook, partial)
    os.replace(partial, path)


def refresh(chosen: list[Path]) -> list[str]:
    """Execute the sources into their .ipynb files, one by one; returns the names of those that failed."""
    failed = []
    with locked(ROOT / "_build" / "refresh.lock", str(NOTEBOOKS)):
        for left in NOTEBOOKS.glob(".*.partial"):  # by a process that was killed
            left.unlink()
        for source in chosen:
            print(f"refresh {source.stem}", flush=True)
            try:
                write(execute(source), source.with_suffix(".ipynb"))
            except NotebookError as error:
                print(error, file=sys.stderr)
                failed.append(source.stem)
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these notebooks (default: all)")
    try:
        failed = refresh(sources(parser.parse_args().names))
    except (NotebookError, Locked) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("interrupted; the notebook that was running is as it was")
    if failed:
        sys.exit(f"not refreshed, their .ipynb is as it was: {', '.join(failed)}")


if __name__ == "__main__":
    main()
