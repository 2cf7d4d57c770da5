"""Compute what the book publishes and is not stored: python -m stiffness_book.publish.results [OPTION] [NAME ...]

Which runs a notebook draws is said by `stiffness_book.figures`, from the values in its cell tagged `parameters`.
"""

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path
from unittest import mock

import pandas as pd

from stiffness_book import store, sweep
from stiffness_book.figures import experiments_of
from stiffness_book.publish.refresh import ROOT, NotebookError, sources
from stiffness_book.settings import Settings

README = ROOT / "README.md"
TOLERANCE = 1e-4  # of stiffness computed again; with the same libraries and kind of processor the numbers are equal
MARKS = "<!-- figures: written by make refresh -->", "<!-- end of figures -->"


def chosen(names: list[str]) -> list[Path]:
    """The notebooks whose names begin with the given ones, in the order given; all where none is."""
    found = [[source for source in sources() if source.stem.startswith(name)] for name in names or [""]]
    for name, notebooks in zip(names, found):
        if not notebooks:
            raise NotebookError(f"no notebook begins with {name}; there are {', '.join(p.stem for p in sources())}")
    return list(dict.fromkeys(source for notebooks in found for source in notebooks))


def wall_times(experiments: list[Settings]) -> dict[Settings, float]:
    """The seconds that the stored ones among the runs took. Reads only."""
    seconds = {}
    for experiment in dict.fromkeys(experiments):
        try:
            seconds[experiment] = store.load(store.path_of(experiment), experiment).attrs["wall_time_s"]
        except (FileNotFoundError, store.DamagedResult):
            continue
    return seconds


def overview(notebooks: list[Path]) -> pd.DataFrame:
    """A row for each notebook that has runs: runs, how many are missing, minutes of all, seconds of one."""
    rows = []
    for source in notebooks:
        runs = len(experiments_of(source))
        seconds = wall_times(experiments_of(source)).values()
        one = f"{min(seconds):,.0f} to {max(seconds):,.0f}" if seconds else ""
        if runs:
            rows.append({"figure": source.stem, "runs": runs, "missing": runs - len(seconds),
                         "minutes, stored runs": round(sum(seconds) / 60, 1), "seconds a run": one})
    return pd.DataFrame(rows)


def again(notebooks: list[Path]) -> pd.DataFrame:
    """Computes the quickest stored run of each notebook from nothing, elsewhere: its numbers, those that differ by more
    than the tolerance, the largest difference, and whether there are as many examples as there were."""
    quickest = {}
    for source in notebooks:
        if seconds := wall_times(experiments_of(source)):
            quickest[source.stem] = min(seconds, key=seconds.get)
    published = {run: store.load(store.path_of(run), run) for run in quickest.values()}
    with tempfile.TemporaryDirectory() as elsewhere, mock.patch.dict(os.environ, STIFFNESS_RESULTS=elsewhere):
        sweep.compute_missing(list(published))
        computed = {run: store.load(store.path_of(run), run) for run in published}
    rows = []
    for stem, run in quickest.items():
        keys = [name for name in published[run].columns if name != "value"]
        both = published[run].merge(computed[run], on=keys, how="outer", suffixes=("", "_again"), indicator=True)
        difference = (both["value"] - both["value_again"]).abs()
        one_alone = (both["_merge"] != "both") | (both["value"].isna() != both["value_again"].isna())
        rows.append({"figure": stem, "run": run.address, "numbers": len(both),
                     "different": int((one_alone | (difference > TOLERANCE)).sum()), "largest": difference.max(),
                     "same data": published[run].attrs["split_sizes"] == computed[run].attrs["split_sizes"]})
    return pd.DataFrame(rows)


def figures_table() -> str:
    """The README's table of the figures, with the time that their runs take on two cores."""
    lines = ["| figure | command | time on two cores |", "|---|---|---|"]
    pages = {source: experiments_of(source) for source in sources()}
    known = wall_times([run for runs in pages.values() for run in runs])  # once: pages have runs in common
    for source, runs in pages.items():
        heading = re.search(r"^# # (.*)", source.read_text(encoding="utf-8"), re.MULTILINE)[1]
        seconds = [known[run] for run in runs if run in known]
        command, time = f"`make results FIGURES={source.stem.split('_')[0]}`", "not all computed yet"
        if not runs:
            command, time = "none, it has no runs", ""
        elif len(seconds) == len(runs):
            cores = [0, 0]
            for wall_time in seconds:  # a run goes to the core that is free first
                cores = sorted([cores[0] + wall_time, cores[1]])
            time = f"{max(1, round(max(cores) / 60)):,} min, {len(runs)} run{'s' * (len(runs) > 1)}"
        lines.append(f"| [{heading}](notebooks/{source.stem}.ipynb) | {command} | {time} |")
    return "\n".join(lines)


def write_readme() -> None:
    start, end = MARKS
    text = README.read_text(encoding="utf-8")
    before, after = text.split(start)[0], text.split(end)[1]
    README.write_text(f"{before}{start}\n{figures_table()}\n{end}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="only notebooks whose names begin so (default: all)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="only say what is stored and what is missing")
    what.add_argument("--again", action="store_true", help="compute each notebook's quickest run again, and compare")
    what.add_argument("--readme", action="store_true", help="only write the README's table of figures")
    options = parser.parse_args()
    if options.readme:
        return write_readme()
    failure = None
    try:
        notebooks = chosen(options.names)
        if options.again:
            table = again(notebooks)
            print(table.to_string(index=False))
            other = "" if table["same data"].all() else ", and the data are not: there are more examples, or fewer"
            sys.exit(f"some numbers are not those published{other}" if table["different"].any() else None)
        if not options.list:
            sweep.compute_missing([experiment for source in notebooks for experiment in experiments_of(source)])
    except NotebookError as error:
        sys.exit(str(error))
    except (OSError, RuntimeError) as error:  # no data, or runs that failed: the table says what is there
        failure = str(error)
    except KeyboardInterrupt:
        failure = "interrupted; finished runs are stored, the same command goes on from there"
    print(overview(notebooks).to_string(index=False))
    sys.exit(failure)


if __name__ == "__main__":
    main()
