"""Times one way of computing a Gram matrix, in a process of its own. Needs only NumPy."""

import argparse
import contextlib
import json
import os
import platform
import resource
import sys
import time
import traceback
from importlib.metadata import version
from pathlib import Path

import numpy as np

RUNS = 5  # at least, and up to MOST_RUNS of short ones in SHORT seconds
MOST_RUNS, SHORT = 25, 3
ENOUGH = 60  # seconds, after which no further run is started; the first is always run
MEMORY_SHARE = 0.8  # of the machine's memory that a way may allocate before it counts as out of memory


class Unsupported(Exception):
    """The library does not support this case; the message says what it lacks."""


def main(prepare, packages, check=None, argv=None):
    """Measures the function that `prepare(settings, weights, x, y)` returns, and stores the outcome.

    That function takes no arguments and computes the (n, n) float32 matrix from the NumPy arrays x and y. One-time work
    belongs in `prepare`; compilation at the first call counts as warm-up. packages: whose versions are recorded.
    check(folder, result) returns the difference to report; None compares with the closed form's matrix.
    """
    folder, path = arguments(argv)
    limit_memory()
    outcome = {"versions": versions(packages)}
    try:
        measure(prepare, check or difference, folder, path, outcome)
    except Exception as error:
        outcome["reason"] = reason(error)
        if not isinstance(error, Unsupported):
            traceback.print_exc()
    write(path, outcome)


def measure(prepare, check, folder, path, outcome):
    weights, x, y = arrays(folder)
    run = prepare(settings(folder), weights, x, y)
    outcome["parameters"] = int(sum(weight.size for weight in weights.values()))
    outcome["start_bytes"] = peak_bytes()
    started = time.perf_counter()
    result = run()
    outcome["warm_up"] = time.perf_counter() - started
    seconds = outcome["seconds"] = []
    while sum(seconds) < (ENOUGH if len(seconds) < RUNS else SHORT) and len(seconds) < MOST_RUNS:
        del result  # otherwise the peak would include two of them
        started = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - started)
        outcome["peak_bytes"] = peak_bytes()
        write(path, outcome)  # in case the time limit ends the process during the next run
    outcome["relative_difference"] = check(folder, result)


def arguments(argv=None):
    """The folder of the case and the file for the outcome."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("outcome", type=Path)
    given = parser.parse_args(argv)
    return given.folder, given.outcome


def settings(folder):
    return json.loads((folder / "settings.json").read_text(encoding="utf-8"))


def arrays(folder):
    """The weights by name, the examples x and the labels y."""
    with np.load(folder / "arrays.npz") as stored:
        weights = dict(stored)
    x, y = weights.pop("x"), weights.pop("y")
    return weights, x, y


def versions(packages):
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def difference(folder, gram):
    """max |gram - closed form| / max |closed form|."""
    reference = np.load(folder / "gram.npy")
    if gram.shape != reference.shape:
        raise ValueError(f"the matrix has shape {gram.shape}; expected {reference.shape}")
    return float(np.abs(gram - reference).max() / np.abs(reference).max())


def limit_memory():
    """Makes running out of memory an error in this process rather than the end of another one."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    with contextlib.suppress(ValueError, OSError):  # not every system has this limit
        resource.setrlimit(resource.RLIMIT_DATA, (int(MEMORY_SHARE * total), hard))


def peak_bytes():
    """Peak resident memory of this process, without its children."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def reason(error):
    if isinstance(error, Unsupported):
        return str(error)
    text = str(error).strip().splitlines()
    words = f"{type(error).__name__}: {text[0][:200] if text else ''}"
    memory = ("memory", "oom", "resource_exhausted", "resourceexhausted", "bad_alloc")
    return f"out of memory ({words})" if any(word in words.lower() for word in memory) else words


def write(path, outcome):
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(outcome), encoding="utf-8")
    os.replace(partial, path)
