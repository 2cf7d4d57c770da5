"""One process at a time: a lock file that the system releases however its owner ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Locked(RuntimeError):
    """Another process is writing there; the message names it."""


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path` or raise Locked at once. `what` names for the message what the owner is writing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read() or "unknown"
            raise Locked(f"process {owner} is writing {what}: wait until it ends, or stop it") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
