"""Stored runs: one Parquet file each, named by its settings, with its provenance and a digest of everything inside.

They are kept in a folder, or at any address that fsspec knows, such as s3://bucket/results.
"""

import contextlib
import hashlib
import io
import json
import os
import platform
import socket
import subprocess
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import psutil
from fsspec.implementations.local import LocalFileSystem

from stiffness_book import kinds

REPOSITORY = Path(__file__).resolve().parents[2]
FORMAT = 4  # of the file; files of another are computed again
PROVENANCE = (
    "format", "settings", "split_sizes", "class_names", "super_classes", "diverged", "unreached", "versions", "device",
    "threads", "commit", "dirty", "wall_time_s", "finished", "digest",
)
# what runs and refreshing write themselves does not make a tree dirty
DERIVED = (":!results", ":!notebooks/*.ipynb", ":!benchmarks/*.json", ":!README.md")
PARTIAL = ".partial"  # ends the name of a file that is being written
PARTIAL_KEPT_FOR = 24 * 3600  # seconds, where its writer is on another host and may be alive


class DamagedResult(ValueError):
    """A result file that cannot be trusted; the message names it and says what is wrong."""


def location():
    """Where results are kept: STIFFNESS_RESULTS, else `results/` of the checkout, else `results/` here.

    An absolute path, or an address with a protocol.
    """
    if place := os.environ.get("STIFFNESS_RESULTS"):
        return place.rstrip("/") if "://" in place else str(Path(place).absolute())
    return str((REPOSITORY if (REPOSITORY / "pyproject.toml").exists() else Path.cwd()) / "results")


def path_of(experiment):
    """The path or address of the run's file, as a string."""
    return f"{location()}/{experiment.address}.parquet"


def stored(experiment):
    """The stored table, or None where there is none to trust.

    A file that cannot be trusted is named in a warning and set aside: its name then ends in `.set-aside`. Where that
    fails, as in a folder that is read-only, DamagedResult names the damage and the failure.
    """
    path = path_of(experiment)
    try:
        return load(path, experiment)
    except FileNotFoundError:
        return None
    except DamagedResult as damage:
        aside = path + ".set-aside"
        try:
            fs, place = fsspec.core.url_to_fs(path)
            if _is_local(fs):
                os.replace(place, place + ".set-aside")
            else:
                fs.mv(place, place + ".set-aside")
        except FileNotFoundError:  # another process has just set it aside
            return None
        except OSError as error:
            raise DamagedResult(f"{damage}; it could not be set aside ({error}): delete it, or set STIFFNESS_RESULTS "
                                "to a place that can be written to") from error
        warnings.warn(f"{damage}; set aside as {aside.rpartition('/')[2]} and computed again", stacklevel=2)
        return None


def save(table, path):
    """Writes the table and its `attrs` whole or not at all, and adds the digest to them.

    table: as `kinds.check` wants it; attrs: the provenance. Raises `table.NotWhole` for another.
    """
    table.attrs = {**table.attrs, "digest": digest(table)}
    kinds.check(table, kinds.from_settings(table.attrs["settings"]), table.attrs)
    file = io.BytesIO()
    table.to_parquet(file, index=False, compression="zstd")
    _write(path, file.getvalue())


class Saved:
    """What an unfinished run needs to go on, in a file beside its result, which is removed when that is stored.

    A state of other settings or of other versions than those of this process is not used.
    """

    def __init__(self, experiment):
        self.path = path_of(experiment) + ".saved"
        self.of = {"settings": experiment.settings(), "versions": versions()}
        self.started, self.before = time.monotonic(), 0.0

    @property
    def elapsed(self):
        """Seconds that the run has taken, those before it was stopped included."""
        return self.before + time.monotonic() - self.started

    def load(self):
        """The arrays and the facts that were saved last, or None."""
        fs, place = fsspec.core.url_to_fs(self.path)
        try:
            with np.load(io.BytesIO(fs.cat_file(place))) as kept:
                about = json.loads(kept["about"].tobytes())
                arrays = [kept[f"array_{number}"] for number in range(len(kept.files) - 1)]
        except FileNotFoundError:
            return None
        except Exception as error:  # whatever damage can bring about when it is decoded
            warnings.warn(f"{self.path} cannot be read ({error}): the run starts from its beginning", stacklevel=2)
            return None
        if about["of"] != self.of:
            return None
        self.before = about["elapsed"]
        return arrays, about["facts"]

    def save(self, arrays, facts):
        """facts: whatever JSON can hold."""
        about = json.dumps({"of": self.of, "elapsed": self.elapsed, "facts": facts}, default=lambda value: value.item())
        file = io.BytesIO()
        arrays = {f"array_{number}": array for number, array in enumerate(arrays)}
        np.savez(file, about=np.frombuffer(about.encode(), np.uint8), **arrays)
        _write(self.path, file.getvalue())

    def remove(self):
        fs, place = fsspec.core.url_to_fs(self.path)
        with contextlib.suppress(FileNotFoundError):
            fs.rm_file(place)


def versions():
    """The versions that a run's numbers depend on."""
    return {"python": platform.python_version()} | {
        name: version(name) for name in ("stiffness", "keras", "tensorflow", "tensorflow-datasets", "numpy")}


def _write(path, content):
    """Writes the bytes whole or not at all."""
    fs, path = fsspec.core.url_to_fs(str(path))
    if not _is_local(fs):
        fs.pipe_file(path, content)  # an object is stored whole or not at all
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    _remove_partial_files(os.path.dirname(path))
    partial = f"{path}.{socket.gethostname()}.{os.getpid()}{PARTIAL}"
    try:
        with open(partial, "wb") as opened:
            opened.write(content)
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.remove(partial)
        raise


def load(path, experiment=None):
    """The table at `path`, its provenance in `attrs`.

    Raises FileNotFoundError where there is none, and DamagedResult for one that is not whole, whose digest does not
    agree, or that is of other settings than `experiment`.
    """
    fs, place = fsspec.core.url_to_fs(str(path))
    content = fs.cat_file(place)
    try:
        return _decoded(content, path, experiment)
    except DamagedResult:
        raise
    except Exception as error:  # whatever damage can bring about when it is decoded
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DamagedResult(f"{path} is not a readable result ({reason})") from error


def experiment_of(path):
    """The settings of the run stored at `path`."""
    return kinds.from_settings(load(path).attrs["settings"])


def digest(table):
    """SHA-256 of the table's columns, types, values and missing entries, and of its `attrs` other than the digest."""
    of_run = {name: value for name, value in table.attrs.items() if name != "digest"}
    found = hashlib.sha256(json.dumps(of_run, sort_keys=True).encode())
    table = table.copy(deep=False)
    table.attrs = {}  # pandas copies them at every step
    for name, column in table.items():
        missing = column.isna()
        if column.dtype == "string":
            values = "\0".join(column.fillna("").to_numpy(object)).encode()
        else:
            values = column.fillna(0).to_numpy(column.dtype.name.lower()).tobytes()
        found.update(f"{name} {column.dtype} {len(column)} {len(values)}\n".encode())
        found.update(missing.to_numpy().tobytes())
        found.update(values)
    return found.hexdigest()


def checkout():
    """The commit that computed the run, and whether anything but derived files differed from it."""

    def git(*arguments):
        command = ["git", "-C", str(REPOSITORY), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != REPOSITORY:  # a copy inside some other repository
            return {"commit": "unknown", "dirty": True}
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--", ".", *DERIVED))}
    except (OSError, subprocess.CalledProcessError):  # no git, or no checkout
        return {"commit": "unknown", "dirty": True}


def is_running(pid):
    """Whether a process of this number is alive on this host."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _decoded(content, path, experiment):
    table = pd.read_parquet(io.BytesIO(content))
    of_run = table.attrs
    if "settings" in of_run and of_run.get("format") != FORMAT:
        raise DamagedResult(f"{path} has another format than this version's")
    if set(of_run) != set(PROVENANCE):
        raise DamagedResult(f"{path} is not a result of this project: its provenance is not complete")
    if of_run["digest"] != digest(table):
        raise DamagedResult(f"{path} is damaged: its digest does not agree with its content")
    try:
        own = kinds.from_settings(of_run["settings"])
    except (TypeError, ValueError) as error:
        raise DamagedResult(f"{path} holds settings that this version does not know ({error})") from error
    if experiment not in (None, own):
        raise DamagedResult(f"{path} holds a run of other settings than {experiment.address}")
    try:
        kinds.check(table, own, of_run)
    except ValueError as error:
        raise DamagedResult(f"{path} is not a whole result: {error}") from error
    return table


def _is_local(fs):
    return isinstance(fs, LocalFileSystem)


def _remove_partial_files(folder):
    """Removes what writers that were killed have left in the folder."""
    for partial in Path(folder).glob(f"*{PARTIAL}"):
        *_, host, pid, _ = partial.name.rsplit(".", 3)
        with contextlib.suppress(OSError):
            if host == socket.gethostname() and pid.isdecimal():
                dead = not is_running(int(pid))
            else:
                dead = time.time() - partial.stat().st_mtime > PARTIAL_KEPT_FOR
            if dead:
                partial.unlink()
