"""Stored runs: one Parquet file each, addressed by its settings, with its provenance inside."""

import contextlib
import multiprocessing
import os
import platform
import shutil
import subprocess
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pyarrow as pa
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from stiffness.experiment import Experiment

REPOSITORY = Path(__file__).resolve().parents[2]
FORMAT = 3  # of the table: what is measured and in which columns; files of another are computed again
COLUMNS = (
    "stage", "step", "target_loss", "quantity", "class_a", "class_b", "space", "distance", "probe_images", "value",
)
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


def runs(experiments, *columns, progress=True):
    """The tidy tables of several experiments in one; `compute_missing` is called first.

    columns: names of settings, such as "dataset", that become columns beside `seed`.
    """
    compute_missing(experiments, progress=progress)
    tables = [load(path_of(e), e).assign(**{name: getattr(e, name) for name in ("seed", *columns)})
              for e in experiments]
    together = pd.concat(tables, ignore_index=True)
    together.attrs = {}  # each table's own provenance; `provenance` has them all
    return together


def compute_missing(experiments, *, progress=True):
    """Computes the experiments that are not stored, and stores each as soon as it is done.

    A file that is damaged, of an older form or not of these settings is named in a warning, set aside (its name then
    ends in `.set-aside`), and computed again. The runs go side by side, one to a core (on a GPU one after the other),
    each in a process of its own with one thread, so that its numbers do not depend on how many cores there are.

    Where some fail the others are finished first. Then `stiffness.data.DataUnavailable` is raised where data is
    missing, for anything else RuntimeError, which names the experiments and what went wrong. A script calls this
    below `if __name__ == "__main__":`, as everything that starts processes.
    """
    missing = [e for e in dict.fromkeys(experiments) if stored(e) is None]
    if not missing:
        return
    failed = {}
    alone = len(missing) == 1  # then the bar is the run's own, over its steps
    workers = 1 if shutil.which("nvidia-smi") else min(os.cpu_count(), len(missing))
    threads = ThreadPoolExecutor(workers)  # they only wait for the processes
    bar = tqdm(total=len(missing), unit="run", disable=alone or not progress)
    try:
        futures = {threads.submit(_in_a_process, e, progress and alone): e for e in missing}
        for future in as_completed(futures):
            if error := future.exception():
                failed[futures[future]] = error
            bar.set_description(futures[future].address, refresh=False)
            bar.update()
    except KeyboardInterrupt:
        threads.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        threads.shutdown()
        bar.close()
    if failed:
        from stiffness.data import DataUnavailable  # needs scikit-learn, which drawing does without

        first = next(iter(failed.values()))
        unavailable = [error for error in failed.values() if isinstance(error, DataUnavailable)]
        causes = [f"{e.address}: {type(error).__name__}: {error}" for e, error in failed.items()]
        raise unavailable[0] if unavailable else RuntimeError(
            f"{len(failed)} of {len(missing)} missing runs failed\n" + "\n".join(causes)) from first


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


def compute(experiment, *, progress=True):
    """Trains and measures the experiment, here and with TensorFlow as it is set up, and stores its table."""
    from tensorflow.config.threading import get_intra_op_parallelism_threads

    from stiffness.training import train  # TensorFlow, which stored results do without

    started = time.perf_counter()
    table, of_data = train(experiment, progress=progress)
    table.attrs = {
        "format": FORMAT,
        "settings": experiment.settings(),
        **of_data,
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("stiffness", "keras", "tensorflow", "tensorflow-datasets", "numpy")},
        "device": _device(),
        "threads": get_intra_op_parallelism_threads() or os.cpu_count(),
        **_checkout(),
        "wall_time_s": round(time.perf_counter() - started, 1),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    save(table, path_of(experiment))
    return table


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
    if not set(COLUMNS) <= set(table.columns) or not set(PROVENANCE) <= set(table.attrs):
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


def _in_a_process(experiment, progress):
    spawn = multiprocessing.get_context("spawn")  # a forked TensorFlow hangs
    with ProcessPoolExecutor(1, spawn, initializer=_use_one_thread) as process:
        process.submit(compute, experiment, progress=progress).result()


def _use_one_thread():
    with _quiet_stderr():
        from tensorflow.config import threading
    threading.set_intra_op_parallelism_threads(1)
    threading.set_inter_op_parallelism_threads(1)
    threadpool_limits(1)  # NumPy's


@contextlib.contextmanager
def _quiet_stderr():
    """TensorFlow 2.21 greets on the file descriptor at every import, whatever its log level: amid a progress bar."""
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _device():
    from tensorflow.config import list_physical_devices

    kinds = [device.device_type for device in list_physical_devices()]
    return f"{platform.machine()}, {os.cpu_count()} cores, {'GPU' if 'GPU' in kinds else 'CPU'}"


def _checkout():
    """The commit that computed the run, and whether anything but derived files differed from it."""

    def git(*arguments):
        command = ["git", "-C", str(REPOSITORY), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--", ".", *DERIVED))}
    except (OSError, subprocess.CalledProcessError):  # no git, or no checkout
        return {"commit": "unknown", "dirty": True}
