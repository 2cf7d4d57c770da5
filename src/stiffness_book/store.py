"""Stored runs: one Parquet file each, addressed by its settings, with its provenance inside."""

import contextlib
import os
import subprocess
import tempfile
import warnings
from pathlib import Path

import pandas as pd
import pyarrow as pa

from stiffness_book.experiment import Experiment
from stiffness_book.table import COLUMNS

REPOSITORY = Path(__file__).resolve().parents[2]
FORMAT = 3  # of the table: what is measured and in which columns; files of another are computed again
PROVENANCE = (
    "format", "settings", "split_sizes", "class_names", "super_classes", "versions", "device", "threads", "commit",
    "dirty", "wall_time_s", "finished",
)
# what runs and refreshing write themselves does not make a tree dirty
DERIVED = (":!results", ":!notebooks/*.ipynb", ":!benchmarks/results.json", ":!README.md")


class DamagedResult(ValueError):
    """A result file that cannot be trusted."""


def folder():
    """Where results are kept: STIFFNESS_RESULTS, else `results/` of the checkout, else `results/` here."""
    if "STIFFNESS_RESULTS" in os.environ:
        return Path(os.environ["STIFFNESS_RESULTS"])
    return (REPOSITORY if (REPOSITORY / "pyproject.toml").exists() else Path.cwd()) / "results"


def path_of(experiment):
    return folder() / f"{experiment.address}.parquet"


def provenance(experiments):
    """A row of provenance for each stored experiment."""
    return pd.DataFrame([load(path_of(e), e).attrs for e in experiments])


def stored(experiment):
    """The stored table, or None where there is none to trust."""
    path = path_of(experiment)
    if not path.exists():
        return None
    try:
        return load(path, experiment)
    except DamagedResult as damage:
        aside = path.with_suffix(".parquet.set-aside")
        path.replace(aside)
        warnings.warn(f"{damage}; set aside as {aside.name} and computed again", stacklevel=2)
        return None


def save(table, path):
    """Writes the table and its `attrs` whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    os.close(handle)
    try:
        table.to_parquet(partial, index=False, compression="zstd", write_page_checksum=True)
        os.chmod(partial, 0o644)  # mkstemp's file is its owner's alone
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.remove(partial)
        raise


def load(path, experiment=None):
    """The table at `path`, its provenance in `attrs`; raises DamagedResult unless whole and of these settings."""
    try:
        table = pd.read_parquet(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException, ValueError, KeyError) as error:
        raise DamagedResult(f"{path} is not a readable result ({str(error).splitlines()[0]})") from error
    if "settings" in table.attrs and table.attrs.get("format") != FORMAT:
        raise DamagedResult(f"{path} has another form than this version's")
    if not COLUMNS.keys() <= set(table.columns) or not set(PROVENANCE) <= set(table.attrs):
        raise DamagedResult(f"{path} is not a result of this project: it lacks columns or provenance")
    try:
        stored_experiment = Experiment(**table.attrs["settings"])
    except (TypeError, ValueError) as error:
        raise DamagedResult(f"{path} holds settings that this version does not know ({error})") from error
    if experiment not in (None, stored_experiment):
        raise DamagedResult(f"{path} holds a run of other settings than {experiment.address}")
    return table


def experiment_of(path):
    """The settings of the run stored at `path`."""
    return Experiment(**load(path).attrs["settings"])


def checkout():
    """The commit that computed the run, and whether anything but derived files differed from it."""

    def git(*arguments):
        command = ["git", "-C", str(REPOSITORY), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--", ".", *DERIVED))}
    except (OSError, subprocess.CalledProcessError):  # no git, or no checkout
        return {"commit": "unknown", "dirty": True}
