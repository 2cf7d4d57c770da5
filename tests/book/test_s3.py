"""Results on S3, against a server that this test starts: the same code as for a folder."""

import logging
import threading

import fsspec
import pytest
from moto.server import ThreadedMotoServer

from stiffness_book import lease, store, sweep
from stiffness_book.experiment import Experiment

RUN = Experiment(dataset="digits", network="fc-16", probe_size=30, train_size=200, stages=(0, 5))


@pytest.fixture(scope="module")
def bucket():
    """A bucket of a server on this machine; the workers find it through their environment."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "name",
                            "AWS_SECRET_ACCESS_KEY": "word", "AWS_DEFAULT_REGION": "us-east-1"}.items():
            patch.setenv(name, value)
        fs = fsspec.filesystem("s3", skip_instance_cache=True)
        fs.mkdir("book")
        yield fs
    server.stop()


@pytest.fixture
def results(bucket, monkeypatch):
    monkeypatch.setenv("STIFFNESS_RESULTS", "s3://book/results")


def objects(fs):
    fs.invalidate_cache()
    return sorted(name.removeprefix("book/results/") for name in fs.find("book/results"))


def test_a_sweep_stores_and_reads_on_s3_and_sets_damaged_objects_aside(bucket, results):
    name = f"{RUN.address}.parquet"
    table = sweep.table_of([RUN], progress=False)
    assert objects(bucket) == [name] and set(table["step"]) == {0, 5}
    assert sweep.with_provenance([RUN])[1]["threads"].tolist() == [1]

    path = f"book/results/{name}"
    whole = bucket.cat_file(path)
    bucket.pipe_file(path, whole[:-100])
    with pytest.warns(UserWarning, match=f"{name}.* set aside"):
        assert store.stored(RUN) is None
    assert objects(bucket) == [f"{name}.set-aside"]
    assert bucket.cat_file(f"{path}.set-aside") == whole[:-100]


def test_a_lease_on_s3_is_had_by_one(bucket, results):
    path = f"{store.path_of(RUN)}-leased"
    had, together, over = [], threading.Barrier(6), threading.Barrier(6)

    def take(sweep):
        together.wait()
        with lease.lease(path, sweep) as mine:
            had.append(mine)
            over.wait()

    threads = [threading.Thread(target=take, args=(f"sweep {number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(had) == [False] * 5 + [True]
    assert not [name for name in objects(bucket) if "lease" in name]
