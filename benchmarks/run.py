"""Measures every case in every way and stores the results: python -m benchmarks.run

Each record is stored when it is complete and is not measured again, so an interrupted run can be resumed. Each way of
each case runs in its own process, and the scripts of other libraries in their own environments.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.cases import CASES, PEERS, SMALL, WAYS

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).with_name("results.json")
WORK = ROOT / "_build" / "benchmarks"
SCRIPTS = Path(__file__).with_name("peers")
TOLERANCE = 1e-3  # relative difference from the closed form; rounding errors of float32 are far smaller
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow", "JAX_PLATFORMS": "cpu",
               "CUDA_VISIBLE_DEVICES": ""}  # all on the CPU
UV = [sys.executable, "-m", "uv"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="CASE", choices=[case.name for case in CASES],
                        default=[case.name for case in CASES], help="only these cases: %(choices)s")
    parser.add_argument("--ways", nargs="+", metavar="WAY", choices=["floor", *WAYS], default=["floor", *WAYS],
                        help="only these ways: %(choices)s")
    parser.add_argument("--redo", action="store_true", help="measure again what is stored")
    parser.add_argument("--small", action="store_true",
                        help=f"check every way on {SMALL} examples; stores nothing in {RESULTS.name}")
    parser.add_argument("--limit", type=int, default=600, metavar="SECONDS",
                        help="for a way of a case: start, warm-up and runs (default: %(default)s)")
    given = parser.parse_args()
    results = WORK / "small.json" if given.small else RESULTS
    work = WORK / "small" if given.small else WORK
    chosen = [(case, n, way) for case in CASES if case.name in given.only
              for n in ((SMALL,) if given.small else case.sizes) for way in case.ways(n) if way in given.ways]
    failed = bench(chosen, results, work, redo=given.redo or given.small, limit=given.limit)
    if failed:
        sys.exit("\n".join(failed))


def bench(chosen, results, work, redo, limit):
    """Measures each (case, n, way); returns a description of each failure that is not a result."""
    stored = read(results)
    if redo:
        keys = {(case.name, n, way) for case, n, way in chosen}
        stored["records"] = [r for r in stored["records"] if key(r) not in keys]
    missing = environments({way for _, _, way in chosen} & set(PEERS))
    failed = [f"{way} left out, as its environment could not be created: {words}" for way, words in missing.items()]
    for number, (case, n, way) in enumerate(chosen, start=1):
        folder = work / f"{case.name}-{n}"
        # failures of the closed form are our own, so they are tried again
        done = {key(r) for r in stored["records"] if r["way"] != "closed-form" or "reason" not in r}
        if way in missing or ((case.name, n, way) in done and not lost(case, n, way, folder, chosen, done)):
            continue
        if way in WAYS[1:] and not (folder / "gram.npy").exists():
            failed.append(f"{case.name}, {n:,} examples, {way}: not measured, because the closed form's matrix to "
                          "compare with is missing")
            continue
        print(f"[{number}/{len(chosen)}] {case.name}, {n:,} examples, {way}: ", end="", flush=True)
        record = {"case": case.name, "n": n, "way": way, **measured(case, n, way, folder, limit)}
        records = [r for r in stored["records"] if key(r) != key(record)] + [record]
        stored["records"] = sorted(records, key=place)
        write(results, stored)
        print(in_words(record), flush=True)
        if way == "closed-form" and "reason" in record:
            failed.append(f"{case.name}, {n:,} examples, {way}: {record['reason']}")
        difference = record.get("relative_difference")
        if difference is not None and not difference < TOLERANCE:
            failed.append(f"{case.name}, {n:,} examples: {way} does not give the closed form's matrix")
    return failed


def lost(case, n, way, folder, chosen, done):
    """Whether to measure the closed form again because its matrix, needed for comparison, is missing."""
    others = any((c, m) == (case, n) and (c.name, m, w) not in done for c, m, w in chosen)
    return others and way == "closed-form" and case.task == "gram" and not (folder / "gram.npy").exists()


def measured(case, n, way, folder, limit):
    """One record: what the process of the way stored, or why it stored nothing."""
    settings = folder / "settings.json"  # written last
    if not settings.exists() or json.loads(settings.read_text(encoding="utf-8")) != case.settings(n):
        shutil.rmtree(folder, ignore_errors=True)
        command = [sys.executable, "-m", "benchmarks.networks", case.name, str(n), str(folder)]
        made = subprocess.run(command, cwd=ROOT, env=os.environ | ENVIRONMENT, capture_output=True, text=True)
        if made.returncode:
            sys.exit(f"{case.name} could not be exported:\n{made.stderr}")
    outcome = folder / f"{way}.json"
    for old in (outcome, *([folder / "gram.npy"] if way == "closed-form" else [])):
        old.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.ours", way]
    if way in PEERS:
        script, *options = PEERS[way]
        command = [*UV, "run", "--quiet", "--script", str(SCRIPTS / script), *options]
    with open(folder / f"{way}.log", "w", encoding="utf-8") as log:
        ending = run([*command, str(folder), str(outcome)], log, limit)
    record = json.loads(outcome.read_text(encoding="utf-8")) if outcome.exists() else {}
    if ending and not record.get("seconds"):
        record["reason"] = ending
    if record.get("seconds"):
        record["median"] = statistics.median(record["seconds"])
    return record | {"finished": datetime.now(UTC).isoformat(timespec="seconds"), **checkout()}


def run(command, log, limit):
    """Runs the process of a way and returns a description of how it failed, or None."""
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | ENVIRONMENT, stdout=log, stderr=log,
                               start_new_session=True)  # so that uv and the script that it starts are killed together
    try:
        code = process.wait(limit)
    except subprocess.TimeoutExpired:
        return f"over the limit of {limit / 60:g} minutes"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if code in (0, None):
        return None
    name = signal.Signals(code - 128 if code > 128 else -code).name if code < 0 or code > 128 else f"code {code}"
    return f"its process ended with {name}"


def environments(ways):
    """Creates the environments in advance, so that no download is timed; returns uv's error messages."""
    failed = {}
    for way in sorted(ways):
        print(f"environment of {way}", flush=True)
        command = [*UV, "sync", "--quiet", "--script", str(SCRIPTS / PEERS[way][0])]
        made = subprocess.run(command, capture_output=True, text=True)
        if made.returncode:
            failed[way] = made.stderr.strip()
    return failed


def read(path):
    """The stored results, or new ones. Exits if they are of another machine, as ratios need a single one."""
    here = machine()
    if not path.exists():
        return {"machine": here, "started": datetime.now(UTC).isoformat(timespec="seconds"), "records": []}
    stored = json.loads(path.read_text(encoding="utf-8"))
    if stored["machine"] != here:
        sys.exit(f"{path} was measured on {stored['machine']}, and this is {here}: remove it to start again")
    return stored


def write(path, stored):
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, path)


def machine():
    """The processor, its cores, and its memory."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {"processor": model, "cores": os.cpu_count(), "memory_gb": round(memory / 1e9), "system": platform.system()}


def checkout():
    """The commit, and whether anything but results differs from it."""
    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changes = git("status", "--porcelain", "--", ".", ":!results", ":!benchmarks/*.json", ":!*.ipynb")
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(changes)}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": "unknown", "dirty": True}


def key(record):
    return record["case"], record["n"], record["way"]


def place(record):
    """The position of a record in the file: by case, number of examples, and way."""
    case = next(case for case in CASES if case.name == record["case"])
    return CASES.index(case), (*case.sizes, SMALL).index(record["n"]), ("floor", *WAYS).index(record["way"])


def in_words(record):
    if "median" not in record:
        return record.get("reason", "no outcome")
    words = f"{record['median']:.4g} s"
    if "peak_bytes" in record:
        words += f", {record['peak_bytes'] / 1e9:.2f} GB"
    if record.get("relative_difference") is not None:
        words += f", difference {record['relative_difference']:.1e}"
    return words + (f" ({record['reason']})" if "reason" in record else "")


if __name__ == "__main__":
    started = time.perf_counter()
    main()
    print(f"{(time.perf_counter() - started) / 60:.0f} minutes")
