"""Computes the runs that are missing and gives the tidy table of many."""

import contextlib
import multiprocessing
import os
import platform
import shutil
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from importlib.metadata import version

import pandas as pd
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from stiffness_book import store


def table_of(experiments, *columns, progress=True):
    """The tidy tables of several experiments in one; `compute_missing` is called first.

    columns: names of settings, such as "dataset", that become columns beside `seed`.
    """
    compute_missing(experiments, progress=progress)
    tables = [store.load(store.path_of(e), e).assign(**{name: getattr(e, name) for name in ("seed", *columns)})
              for e in experiments]
    together = pd.concat(tables, ignore_index=True)
    together.attrs = {}  # each table's own provenance; `provenance` has them all
    return together


def compute_missing(experiments, *, progress=True):
    """Computes the experiments that are not stored, and stores each as soon as it is done.

    A file that is damaged, of an older form or not of these settings is named in a warning, set aside (its name then
    ends in `.set-aside`), and computed again. The runs go side by side, one to a core (on a GPU one after the other),
    each in a process of its own with one thread, so that its numbers do not depend on how many cores there are.

    Where some fail the others are finished first. Then `stiffness_book.data.DataUnavailable` is raised where data is
    missing, for anything else RuntimeError, which names the experiments and what went wrong. A script calls this
    below `if __name__ == "__main__":`, as everything that starts processes.
    """
    missing = [e for e in dict.fromkeys(experiments) if store.stored(e) is None]
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
        from stiffness_book.data import DataUnavailable  # needs scikit-learn, which drawing does without

        first = next(iter(failed.values()))
        unavailable = [error for error in failed.values() if isinstance(error, DataUnavailable)]
        causes = [f"{e.address}: {type(error).__name__}: {error}" for e, error in failed.items()]
        raise unavailable[0] if unavailable else RuntimeError(
            f"{len(failed)} of {len(missing)} missing runs failed\n" + "\n".join(causes)) from first


def compute(experiment, *, progress=True):
    """Trains and measures the experiment, here and with TensorFlow as it is set up, and stores its table."""
    from tensorflow.config.threading import get_intra_op_parallelism_threads

    from stiffness_book.training import train  # TensorFlow, which stored results do without

    started = time.perf_counter()
    table, of_data = train(experiment, progress=progress)
    table.attrs = {
        "format": store.FORMAT,
        "settings": experiment.settings(),
        **of_data,
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("stiffness", "keras", "tensorflow", "tensorflow-datasets", "numpy")},
        "device": _device(),
        "threads": get_intra_op_parallelism_threads() or os.cpu_count(),
        **store.checkout(),
        "wall_time_s": round(time.perf_counter() - started, 1),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    store.save(table, store.path_of(experiment))
    return table


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
