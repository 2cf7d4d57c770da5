"""Sweeps: workers killed, parents killed, two sweeps at once, clusters of others, and the same numbers in each case."""

import glob
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

from stiffness_book import data, kinds, lease, store, sweep
from stiffness_book.experiment import Experiment

TINY = {"dataset": "digits", "network": "fc-16", "probe_size": 30, "train_size": 200, "stages": (0, 5)}
RUNS = [Experiment(**TINY, seed=seed) for seed in range(3)]
LONG = [Experiment(**TINY | {"stages": (0, 10**6)}, seed=seed) for seed in range(3)]
SWEEP = """\
import signal, sys
from stiffness_book import sweep
from stiffness_book.experiment import Experiment

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
    try:
        sweep.compute_missing([Experiment(**settings) for settings in {settings}], progress=False)
    except KeyboardInterrupt:
        sys.exit("interrupted")
"""
COMPUTE = """\
from stiffness_book import sweep
from stiffness_book.experiment import Experiment

sweep._use_one_thread()
for settings in {settings}:
    sweep.compute(Experiment(**settings), progress=False)
"""


def start(code, experiments, folder, **options):
    """A process of its own that runs the code with these experiments and this results folder."""
    folder.mkdir(exist_ok=True)
    script = folder.parent / f"{folder.name}-{len(experiments)}-{time.monotonic_ns()}.py"
    script.write_text(code.format(settings=[e.settings() for e in experiments]), encoding="utf-8")
    return subprocess.Popen([sys.executable, script], env=os.environ | {"STIFFNESS_RESULTS": str(folder)},
                            stderr=subprocess.PIPE, text=True, **options)


def wait_until(condition, seconds=240):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)
    return value


def leases(folder):
    return glob.glob(f"{folder}/*.lease-*")


def owner(experiment):
    """What the newest lease of the run says of its owner; None where there is none."""
    for path in sorted(leases(Path(store.path_of(experiment)).parent), reverse=True):
        if experiment.address in path:
            try:
                return json.loads(Path(path).read_text())
            except (OSError, ValueError):  # just deleted, or just being written
                return None
    return None


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The tables of the runs, computed one after the other in one process, without a cluster."""
    folder = tmp_path_factory.mktemp("reference") / "results"
    process = start(COMPUTE, RUNS, folder)
    _, message = process.communicate()
    assert process.returncode == 0, message
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STIFFNESS_RESULTS", str(folder))
        return {run: store.load(store.path_of(run), run) for run in RUNS}


def assert_as_reference(runs, reference):
    for run in runs:
        table = store.load(store.path_of(run), run)
        assert table.attrs["threads"] == 1
        pd.testing.assert_frame_equal(table, reference[run], check_exact=True)


def test_a_killed_worker_takes_one_run_with_it_which_is_tried_again(results_folder, reference):
    killed = []

    def kill_one():
        found = wait_until(lambda: next(filter(None, map(owner, RUNS[:2])), None))
        os.kill(found["pid"], signal.SIGKILL)
        killed.append(found["pid"])

    killer = threading.Thread(target=kill_one)
    killer.start()
    sweep.compute_missing(RUNS[:2], progress=False)
    killer.join()
    assert len(killed) == 1
    assert_as_reference(RUNS[:2], reference)
    assert not leases(results_folder)


def test_a_run_that_always_kills_its_worker_is_reported(results_folder):
    fatal = LONG[0]
    killed, ended = set(), threading.Event()

    def kill_its_workers():
        while not ended.wait(0.02):
            if (found := owner(fatal)) and found["pid"] not in killed:
                os.kill(found["pid"], signal.SIGKILL)
                killed.add(found["pid"])

    killer = threading.Thread(target=kill_its_workers)
    killer.start()
    try:
        with pytest.raises(sweep.SweepError, match=rf"1 of 1 missing .*\n{fatal.address}: .*died, 3 times.* memory"):
            sweep.compute_missing([fatal], progress=False)
    finally:
        ended.set()
        killer.join()
    assert len(killed) == sweep.TRIES
    assert not leases(results_folder)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
def test_workers_end_with_their_parent(how, results_folder):
    parent = start(SWEEP, LONG, results_folder, start_new_session=True)
    workers = []
    try:
        wait_until(lambda: len(leases(results_folder)) >= min(os.cpu_count(), 2))
        workers = psutil.Process(parent.pid).children(recursive=True)
        os.killpg(parent.pid, how) if how is signal.SIGINT else os.kill(parent.pid, how)  # Ctrl-C goes to all
        _, message = parent.communicate(timeout=120)
        _, alive = psutil.wait_procs(workers, timeout=120)
        assert len(workers) >= 2 and not alive
    finally:
        for process in [parent, *workers]:
            if process.is_running() if isinstance(process, psutil.Process) else process.poll() is None:
                process.kill()
    if how is signal.SIGINT:
        assert message.strip() == "interrupted" and not list(results_folder.iterdir())
    for run in LONG:  # what it had begun is free at once
        with lease.lease(store.path_of(run), "another sweep") as mine:
            assert mine
    assert not leases(results_folder)


@pytest.mark.parametrize("runs", [RUNS[:1], pytest.param(RUNS, marks=pytest.mark.slow)], ids=len)
def test_two_sweeps_at_once_compute_each_run_once(runs, results_folder, reference):
    both = [start(SWEEP, runs, results_folder) for _ in range(2)]
    first = {}  # the file that was there first, by name: a second one would be another file
    while any(process.poll() is None for process in both):
        for path in results_folder.glob("*.parquet"):
            first.setdefault(path.name, path.stat().st_ino)
        time.sleep(0.02)
    for process in both:
        _, message = process.communicate()
        assert process.returncode == 0, message
    assert len(first) == len(runs)
    assert first == {path.name: path.stat().st_ino for path in results_folder.iterdir()}
    assert_as_reference(runs, reference)


def held_by(path, **changes):
    """Writes the lease of another sweep."""
    content = {"sweep": "other", "host": "elsewhere", "pid": os.getpid(), "renewed": time.time()} | changes
    Path(f"{path}.lease-1").write_text(json.dumps(content))


def test_a_lease_is_had_by_one(tmp_path):
    path = str(tmp_path / "run.parquet")
    with lease.lease(path, "one") as mine:
        assert mine and lease.is_held(path, "two")
        with lease.lease(path, "two") as other:
            assert not other
    assert not lease.is_held(path, "two") and not list(tmp_path.iterdir())


@pytest.mark.parametrize("changes, free", [
    ({}, False), ({"renewed": time.time() - 2 * lease.EXPIRES_AFTER}, True), ({"sweep": "mine"}, True),
    ({"host": socket.gethostname()}, False), ({"host": socket.gethostname(), "pid": 2**22 + 1}, True),
], ids=["renewed elsewhere", "not renewed", "of the same sweep", "alive on this host", "dead on this host"])
def test_the_lease_of_a_dead_owner_is_taken_over(changes, free, tmp_path):
    path = str(tmp_path / "run.parquet")
    held_by(path, **changes)
    assert lease.is_held(path, "mine") is not free
    with lease.lease(path, "mine") as mine:
        assert mine is free
        if free:
            with lease.lease(path, "third") as third:
                assert not third
    assert len(list(tmp_path.iterdir())) == (0 if free else 1)


def test_a_lease_whose_writer_was_killed_before_it_wrote_is_taken_over_in_time(tmp_path):
    empty = tmp_path / "run.parquet.lease-1"
    empty.touch()
    assert lease.is_held(str(tmp_path / "run.parquet"), "mine")
    os.utime(empty, (0, 0))
    assert not lease.is_held(str(tmp_path / "run.parquet"), "mine")


def test_a_lease_is_renewed(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "RENEWED_EVERY", 0.05)
    path = str(tmp_path / "run.parquet")
    with lease.lease(path, "one"):
        before = Path(f"{path}.lease-1").read_text()
        wait_until(lambda: Path(f"{path}.lease-1").read_text() not in ("", before), seconds=5)


@pytest.fixture
def scheduler(tmp_path):
    """The address of a scheduler started on the command line, and a function that starts workers."""
    processes = []

    def dask(*arguments, **environment):
        command = [sys.executable, "-m", "distributed.cli.dask_" + arguments[0], *arguments[1:]]
        with open(tmp_path / f"{arguments[0]}-{len(processes)}.log", "w") as log:  # to be read when a test fails
            processes.append(subprocess.Popen(command, cwd=tmp_path, env=os.environ | environment,
                                              stdout=log, stderr=log))

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    dask("scheduler", "--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--dashboard-address", "127.0.0.1:0")
    yield address, lambda threads=1, **environment: dask(
        "worker", address, "--nthreads", str(threads), "--no-dashboard", "--no-nanny", **environment)
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_an_existing_cluster_computes_the_same_numbers(scheduler, results_folder, reference, monkeypatch):
    address, start_worker = scheduler
    start_worker()
    monkeypatch.setenv("STIFFNESS_SCHEDULER", address)
    sweep.compute_missing(RUNS[-1:], progress=False)
    assert_as_reference(RUNS[-1:], reference)
    start_worker(threads=2)
    with pytest.raises(sweep.SweepError, match="has 2 threads: start the cluster's workers with one thread each"):
        wait_for_workers(address, 2)
        sweep.compute_missing(RUNS, progress=False)


def test_a_worker_with_another_version_of_stiffness_is_refused(scheduler, results_folder, tmp_path):
    address, start_worker = scheduler
    other = tmp_path / "path" / "stiffness-0.0.1.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: stiffness\nVersion: 0.0.1\n")
    start_worker(PYTHONPATH=os.pathsep.join([str(other.parent), *sys.path]))
    with pytest.raises(sweep.SweepError, match=r"has stiffness 0\.0\.1, and here it is "):
        sweep.compute_missing(RUNS[:1], scheduler=address, progress=False)


def wait_for_workers(address, number):
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(number, timeout=120)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nowhere", "spam://1.2.3.4:5"])
def test_a_wrong_address_is_an_error_within_seconds(address, results_folder, monkeypatch):
    monkeypatch.setattr(sweep, "ANSWER_WITHIN", 1)
    with pytest.raises(ConnectionError, match=f"no Dask scheduler answers at '{address}'"):
        sweep.compute_missing(RUNS, scheduler=address, progress=False)


def test_missing_data_is_told_apart_from_a_run_that_fails(results_folder, tmp_path, monkeypatch):
    prepared = tmp_path / "mnist" / "3.0.1"  # which says that it has shards, and has none
    prepared.mkdir(parents=True)
    splits = [{"name": name, "numBytes": "1", "shardLengths": ["7500"],
               "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"} for name in ("train", "test")]
    (prepared / "dataset_info.json").write_text(
        json.dumps({"name": "mnist", "version": "3.0.1", "fileFormat": "tfrecord", "splits": splits}))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(sweep, "CPU_COUNT", 1)  # one worker is enough, and quicker
    run = Experiment(**TINY | {"dataset": "mnist"})
    failing = Experiment(**TINY | {"probe_size": 590})
    with pytest.raises(data.DataUnavailable) as raised:
        sweep.compute_missing([run, failing], progress=False)
    assert str(raised.value).startswith("2 of 2 missing runs failed\n")
    assert f"{run.address}: DataUnavailable: mnist in {prepared} cannot be read" in str(raised.value)
    assert f"{failing.address}: ValueError" in str(raised.value)


def test_the_longest_runs_come_first():
    """The estimate agrees with the times that the published runs took."""
    runs = {path.stem: store.load(path).attrs for path in (store.REPOSITORY / "results").glob("*seed1-*.parquet")}
    table = pd.DataFrame([(kinds.from_settings(run["settings"]).cost, run["wall_time_s"])
                          for run in runs.values()], columns=["estimate", "seconds"])
    assert table.corr("spearman").loc["estimate", "seconds"] > 0.6


@pytest.mark.slow
def test_60_runs_while_a_worker_is_killed_every_few_seconds(results_folder, tmp_path, monkeypatch):
    runs = [Experiment(**TINY, seed=seed) for seed in range(60)]
    process = start(COMPUTE, runs, tmp_path / "alone")
    _, message = process.communicate()
    assert process.returncode == 0, message
    killed, ended = [], threading.Event()

    def kill_now_and_then():
        stored = 0
        while not ended.wait(0.02):
            done = len(list(results_folder.glob("*.parquet"))) if results_folder.exists() else 0
            if done >= stored + 3 and (found := next(filter(None, map(owner, runs)), None)):
                os.kill(found["pid"], signal.SIGKILL)
                killed.append(found["pid"])
                stored = done

    killer = threading.Thread(target=kill_now_and_then)
    killer.start()
    try:
        sweep.compute_missing(runs, progress=False)
    finally:
        ended.set()
        killer.join()
    assert len(killed) >= 10 and len({*killed}) == len(killed)
    tables = [store.load(store.path_of(run), run) for run in runs]
    monkeypatch.setenv("STIFFNESS_RESULTS", str(tmp_path / "alone"))
    for run, table in zip(runs, tables):
        pd.testing.assert_frame_equal(table, store.load(store.path_of(run), run), check_exact=True)
    assert {path.name for path in results_folder.iterdir()} == {f"{run.address}.parquet" for run in runs}


@pytest.mark.slow
def test_a_worker_that_has_kept_much_memory_is_replaced(results_folder, monkeypatch):
    seen = set()
    ended = threading.Event()

    def watch():
        while not ended.wait(0.02):
            seen.update(found["pid"] for found in map(owner, RUNS) if found)

    watcher = threading.Thread(target=watch)
    watcher.start()
    monkeypatch.setattr(sweep, "MEMORY_OF_A_RUN", 2**20)
    try:
        sweep.compute_missing(RUNS, progress=False)
    finally:
        ended.set()
        watcher.join()
    assert len(seen) >= len(RUNS) - 1
