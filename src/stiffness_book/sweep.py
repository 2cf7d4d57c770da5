"""Computes the runs that are missing, on Dask, and gives the tidy table of many runs."""

import contextlib
import gc
import logging
import os
import platform
import shutil
import sys
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import CancelledError
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec

import pandas as pd
import psutil
from dask.system import CPU_COUNT
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from stiffness_book import kinds, store
from stiffness_book.lease import clear, is_held, lease

SCHEDULER = "STIFFNESS_SCHEDULER"  # the environment variable with the address of an existing cluster
MEMORY_OF_A_RUN = 2 * 2**30  # bytes, about: CIFAR-10 with its largest network
TRIES = 3  # of a run whose worker dies
ANSWER_WITHIN = 10  # seconds, of a cluster's scheduler
POLL_EVERY = 1  # seconds between two looks at the workers, and at the runs of other sweeps


class SweepError(RuntimeError):
    """Some runs could not be computed; the message names each, with the reason."""


def table_of(experiments, *columns, progress=True):
    """The tidy tables of several experiments in one; missing runs are computed first, see `compute_missing`.

    columns: names of settings, such as "dataset", that become columns beside `seed`.
    """
    return with_provenance(experiments, *columns, progress=progress)[0]


def with_provenance(experiments, *columns, progress=True):
    """The same, and a table with a row of provenance for each experiment."""
    found = {e: store.stored(e) for e in dict.fromkeys(experiments)}
    if missing := [e for e, table in found.items() if table is None]:
        compute_missing(missing, progress=progress)
        found |= {e: store.load(store.path_of(e), e) for e in missing}
    tables = [found[e].assign(**{name: getattr(e, name) for name in ("seed", *columns)}) for e in experiments]
    together = pd.concat(tables, ignore_index=True)
    together.attrs = {}  # each run's own provenance is in the second table
    return together, pd.DataFrame([table.attrs for table in tables])


def compute_missing(experiments, *, scheduler=None, progress=True):
    """Computes the experiments that are not stored, the longest first; each is stored as soon as it is done.

    scheduler: the address of an existing Dask cluster's scheduler, such as "tcp://10.0.0.1:8786"; by default that in
    the environment variable STIFFNESS_SCHEDULER. Without one, a cluster of processes is started on this machine: one
    process a core, if there are 2 GB of memory for each, and one process where there is a GPU. Every process uses one
    thread, so the numbers do not depend on the number of cores.

    A run that another sweep is computing is waited for. A run whose worker dies is tried again, TRIES times in all.
    If runs fail, the others are still computed. Then DataUnavailable is raised if a data set is missing, and
    otherwise SweepError; both name the runs and the reasons. Raises ConnectionError if the cluster does not answer.

    A script must call this below `if __name__ == "__main__":`, as it must whatever starts processes.
    """
    missing = [e for e in dict.fromkeys(experiments) if store.stored(e) is None]
    if not missing:
        return
    scheduler = scheduler or os.environ.get(SCHEDULER)
    sweep = _Sweep(missing, progress, scheduler)
    try:
        with _cluster(scheduler, len(missing)) as client:
            sweep.run(client)
    finally:
        sweep.close()
    if sweep.failed:
        raise sweep.error()


def compute(experiment, *, progress=True):
    """Trains and measures the experiment in this process, with TensorFlow as it is set up, and stores its table."""
    from tensorflow.config.threading import get_intra_op_parallelism_threads

    saved = store.Saved(experiment)
    table, of_data = kinds.train(experiment, progress=progress, saved=saved)
    table.attrs = {
        "format": store.FORMAT,
        "settings": experiment.settings(),
        **of_data,
        "versions": store.versions(),
        "device": _device(),
        "threads": get_intra_op_parallelism_threads() or os.cpu_count(),
        **store.checkout(),
        "wall_time_s": round(saved.elapsed, 1),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    store.save(table, store.path_of(experiment))
    saved.remove()
    return table


class _Sweep:
    """Hands the runs to the workers of a cluster and follows them."""

    def __init__(self, experiments, progress, scheduler):
        self.name = uuid.uuid4().hex
        self.scheduler = scheduler
        self.costs = {e: e.cost for e in experiments}
        self.ready = sorted(experiments, key=self.costs.get)  # the longest is last, and taken first
        self.running = {}  # future: experiment
        self.elsewhere = set()  # experiments that other sweeps are computing
        self.deaths = Counter()  # of workers, by experiment
        self.failed = {}  # experiment: error
        self.fit = set()  # addresses of workers that have been checked
        alone = len(experiments) == 1 and not scheduler
        self.progress_of_a_run = progress and alone
        self.bar = tqdm(total=sum(self.costs.values()), smoothing=0, disable=alone or not progress,
                        bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left")

    def run(self, client):
        if not self.bar.disable and find_spec("bokeh"):
            print(f"dashboard: {client.dashboard_link}")
        while self.ready or self.running or self.elsewhere:
            self._submit(client)
            for future in self._finished():
                self._settle(client, self.running.pop(future), future)
            released = {e for e in self.elsewhere if not is_held(store.path_of(e), self.name)}
            self.elsewhere -= released
            self.ready += released
            self._show()

    def close(self):
        """Ends the progress bar, and clears the leases that killed workers have left."""
        self.bar.close()
        # a cluster's workers finish what they have begun
        for experiment in {*self.failed, *(() if self.scheduler else self.running.values())}:
            clear(store.path_of(experiment), self.name)

    def error(self):
        from stiffness_book.data import DataUnavailable  # needs scikit-learn, which stored results do without

        by_reason = {}
        for experiment, error in self.failed.items():
            by_reason.setdefault(f"{type(error).__name__}: {error}", []).append(experiment.address)
        lines = ["\n".join(addresses) + f": {reason}" for reason, addresses in by_reason.items()]
        unavailable = any(isinstance(error, DataUnavailable) for error in self.failed.values())
        error = (DataUnavailable if unavailable else SweepError)(
            f"{len(self.failed)} of {len(self.costs)} missing runs failed\n" + "\n".join(lines))
        error.__cause__ = next(iter(self.failed.values()))
        return error

    def _submit(self, client):
        workers = client.nthreads()
        if self.scheduler:
            _check_workers(client, workers.keys() - self.fit)
            self.fit |= workers.keys()
            room = len(self.ready)  # the cluster may grow with what is asked of it
        else:
            room = len(workers) - len(self.running)  # so that a worker that dies takes one run with it
        for _ in range(min(room, len(self.ready))):
            experiment = self.ready.pop()
            location = str(store.path_of(experiment)).rpartition("/")[0]
            future = client.submit(_run, experiment, self.name, location, self.progress_of_a_run,
                                   key=f"{experiment.address}-{uuid.uuid4().hex}", priority=self.costs[experiment])
            self.running[future] = experiment

    def _finished(self):
        from distributed import wait

        if not self.running:
            time.sleep(POLL_EVERY)
            return []
        try:
            return wait(list(self.running), timeout=POLL_EVERY, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            return []
        except CancelledError as error:
            raise ConnectionError(f"the connection to the scheduler at {self.scheduler} is lost; "
                                  "finished runs are stored") from error

    def _settle(self, client, experiment, future):
        from distributed import KilledWorker

        error = future.exception()
        if isinstance(error, KilledWorker):
            self.deaths[experiment] += error.allowed_failures + 1
            if self.deaths[experiment] < TRIES:
                self.ready.append(experiment)
                return
            error = MemoryError(f"its worker died, {self.deaths[experiment]} times; mostly that means that memory "
                                "ran out: close other programs, or use a machine or cluster with more memory")
        elif error is None:
            worker = future.result()
            if worker is None:
                self.elsewhere.add(experiment)
                return
            self._renew_grown(client, *worker)
            if store.stored(experiment) is None:
                error = FileNotFoundError(
                    f"its worker has stored it as {store.path_of(experiment)}, and on this machine it is not there: "
                    "set STIFFNESS_RESULTS to an address that is the same place for all machines")
        if error is not None:
            self.failed[experiment] = error
        self.bar.update(self.costs[experiment])

    def _renew_grown(self, client, worker, memory):
        """Replaces the process of a local worker that has kept much memory: TensorFlow keeps some of every run."""
        if not self.scheduler and self.ready and memory > MEMORY_OF_A_RUN:
            client.restart_workers([worker], raise_for_error=False)

    def _show(self):
        settled = len(self.costs) - len(self.ready) - len(self.running) - len(self.elsewhere)
        waiting = f", {len(self.elsewhere)} in another sweep" if self.elsewhere else ""
        self.bar.set_description_str(f"{settled} of {len(self.costs)} runs{waiting}", refresh=sys.stderr.isatty())


@contextlib.contextmanager
def _cluster(scheduler, runs):
    """A client of the scheduler at the address, or of a cluster of processes of its own."""
    from distributed import Client, LocalCluster  # a second of imports, which stored results do without
    from distributed.system import MEMORY_LIMIT

    if scheduler:
        try:
            client = Client(scheduler, timeout=ANSWER_WITHIN, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ConnectionError(f"no Dask scheduler answers at {scheduler!r}; expected an address such as "
                                  f"tcp://10.0.0.1:8786 ({error})") from error
        with client, client.as_current():
            yield client
        return
    workers = 1 if shutil.which("nvidia-smi") else min(CPU_COUNT, MEMORY_LIMIT // MEMORY_OF_A_RUN, runs)
    with (LocalCluster(n_workers=max(workers, 1), threads_per_worker=1, processes=True,
                       memory_limit=None,  # a worker near its limit would pause for good
                       dashboard_address="127.0.0.1:0",
                       silence_logs=logging.CRITICAL,
                       scheduler_kwargs={"allowed_failures": 0})  # the sweep counts them
          as cluster, Client(cluster, set_as_default=False) as client, client.as_current()):
        try:
            yield client
        except BaseException:
            for nanny in cluster.workers.values():  # closing would wait for the runs
                nanny.auto_restart = False
                with contextlib.suppress(TimeoutError):  # on a busy machine; the end of this process ends it
                    cluster.sync(nanny.kill, timeout=0.1)
            raise


def _check_workers(client, addresses):
    """Raises SweepError unless the workers at these addresses have this version of stiffness, and one thread each."""
    if not addresses:
        return
    here = version("stiffness")
    threads = client.nthreads()
    versions = client.run(version, "stiffness", workers=list(addresses), on_error="return")
    for address, there in versions.items():
        if there != here:
            raise SweepError(f"the worker {address} has stiffness {there}, and here it is {here}: install "
                             "stiffness[book,cluster] of this version in the cluster's environment")
        if threads.get(address, 1) != 1:
            raise SweepError(f"the worker {address} has {threads[address]} threads: start the cluster's workers with "
                             "one thread each, so that the numbers do not depend on the machine")


def _run(experiment, sweep, location, progress):
    """Computes the experiment in a worker, unless it has been stored meanwhile.

    Returns the worker's address and the bytes of memory that it holds; None if another sweep is computing the run.
    """
    from distributed import get_worker

    os.environ["STIFFNESS_RESULTS"] = location
    tqdm.set_lock(threading.RLock())  # its own is a semaphore between processes, which outlives a killed worker
    with lease(store.path_of(experiment), sweep) as mine:
        if not mine:
            return None
        if store.stored(experiment) is None:
            _use_one_thread()
            _forget_earlier_runs()
            compute(experiment, progress=progress)
    return get_worker().address, psutil.Process().memory_info().rss


def _use_one_thread():
    with _quiet_stderr():
        import tensorflow as tf
    tf.get_logger().setLevel("ERROR")  # advice about tf.function would break the line of progress
    if tf.config.threading.get_intra_op_parallelism_threads() != 1:  # can be set once, before TensorFlow is used
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    threadpool_limits(1)  # NumPy's


def _forget_earlier_runs():
    """Frees the models of runs before this one in the process, and starts the layers' names anew."""
    import keras

    keras.backend.clear_session()
    gc.collect()


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
