"""Times several ways of one thing in turn, in one process on one thread."""

import json
import os
import time
from datetime import UTC, datetime

import numpy as np
import tensorflow as tf

REPEATS = 7


def seconds_of(cases):
    """{case: {way: seconds of each of REPEATS calls}}. cases: pairs of a name and {way: a function}, made one by one.

    Every round calls each way once, so that what else the machine does meets all of them.
    """
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    found = {}
    for case, ways in cases:
        seconds = found[case] = {way: [] for way in ways}
        for repeat in range(REPEATS + 1):  # the first one compiles
            for way, run in ways.items():
                started = time.perf_counter()
                run()
                if repeat:
                    seconds[way].append(round(time.perf_counter() - started, 4))
        print(case, {way: float(np.median(each)) for way, each in seconds.items()}, flush=True)
    return found


def write(path, cases, **about):
    """Measures the cases, and stores their seconds with what they are about."""
    about |= {"threads": 1, "load": round(os.getloadavg()[0], 2),
              "started": datetime.now(UTC).isoformat(timespec="seconds")}
    path.write_text(json.dumps(about | {"seconds": seconds_of(cases)}, indent=1) + "\n", encoding="utf-8")
