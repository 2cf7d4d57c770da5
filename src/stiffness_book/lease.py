"""Leases: which sweep is computing a run now, so that two sweeps on one store do not compute the same run twice.

A lease is a small file beside the result, ADDRESS.parquet.lease-1, created atomically. Its owner renews it every half
minute and deletes it at the end. The lease of a dead owner is passed over, not deleted, since two sweeps might do so
at once: whoever creates the file with the next number has the run.
"""

import contextlib
import itertools
import json
import os
import socket
import threading
import time

import fsspec

from stiffness_book.store import is_running

RENEWED_EVERY = 30  # seconds
EXPIRES_AFTER = 300  # seconds without renewal; the clocks of two machines must differ by less


@contextlib.contextmanager
def lease(path, sweep):
    """Holds the lease of the result at `path` for the sweep of that name; yields whether it could be had.

    It cannot be had while another owner is alive. An owner is dead if its process is gone (seen on its own host only),
    if it has not renewed the lease for EXPIRES_AFTER seconds, or if it belongs to the same sweep: a sweep gives a run
    to another worker only after the death of the first.
    """
    fs, path = fsspec.core.url_to_fs(path)
    passed = []
    while not _create(fs, file := _file(path, len(passed) + 1), sweep):
        owner = _read(fs, file)
        if owner is None:  # released since, or two sweeps came at once and the store refused both
            time.sleep(0.1)
        elif _is_dead(owner, sweep):
            passed.append(file)
        else:
            yield False
            return
    released = threading.Event()
    renewal = threading.Thread(target=_renew, args=(fs, file, sweep, released), daemon=True)
    renewal.start()
    try:
        yield True
    finally:
        released.set()
        renewal.join()
        _delete(fs, [*passed, file])


def is_held(path, sweep):
    """Whether a live owner of another sweep holds the lease of the result at `path`. Changes nothing."""
    return any(not _is_dead(owner, sweep) for _, owner in _owners(path))


def owner_of(path):
    """The host, process and sweep that hold the lease of the result at `path`, or held it when they died; or None."""
    return next((owner for _, owner in _owners(path)), None)


def clear(path, sweep):
    """Deletes the leases of the result at `path` that killed workers of this sweep have left."""
    fs, _ = fsspec.core.url_to_fs(path)
    _delete(fs, [file for file, owner in _owners(path) if owner.get("sweep") == sweep])


def _file(path, number):
    return f"{path}.lease-{number}"


def _owners(path):
    fs, path = fsspec.core.url_to_fs(path)
    for number in itertools.count(1):
        owner = _read(fs, _file(path, number))
        if owner is None:
            return
        yield _file(path, number), owner


def _write(fs, file, sweep, mode):
    owner = {"sweep": sweep, "host": socket.gethostname(), "pid": os.getpid(), "renewed": time.time()}
    with fs.open(file, mode) as opened:
        opened.write(json.dumps(owner).encode())


def _create(fs, file, sweep):
    """Whether this call created the file. Of several at once only one does."""
    fs.makedirs(fs._parent(file), exist_ok=True)
    try:
        _write(fs, file, sweep, "xb")
    except FileExistsError:
        return False
    return True


def _read(fs, file):
    """The owner named by the file; None where there is no such file."""
    try:
        return json.loads(fs.cat_file(file))
    except FileNotFoundError:
        return None
    except ValueError:  # just being written, or its writer was killed before it had written
        with contextlib.suppress(FileNotFoundError):
            return {"renewed": fs.modified(file).timestamp()}
    return None


def _is_dead(owner, sweep):
    if owner.get("sweep") == sweep or time.time() - owner["renewed"] > EXPIRES_AFTER:
        return True
    return owner.get("host") == socket.gethostname() and not is_running(owner["pid"])


def _renew(fs, file, sweep, released):
    while not released.wait(RENEWED_EVERY):
        with contextlib.suppress(OSError):  # the connection is lost for now; the next renewal may succeed
            _write(fs, file, sweep, "wb")


def _delete(fs, files):
    for file in files:
        with contextlib.suppress(OSError):
            fs.rm_file(file)
