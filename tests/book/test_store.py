"""Stored runs: written whole, checked when read, set aside when damaged, computed when missing.

Each damage is done to a real file.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from stiffness_book import figures, kinds, store, sweep
from stiffness_book.experiment import Experiment
from stiffness_book.publish.refresh import sources
from stiffness_book.table import COLUMNS

EXPERIMENT = Experiment(dataset="digits", network="fc-16", probe_size=30, train_size=200, stages=(0, 5))
FAILING = Experiment(**EXPERIMENT.settings() | {"probe_size": 590})
REPOSITORY = store.REPOSITORY


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A results folder with the run in it, computed once, and the error of a run before it, which fails."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STIFFNESS_RESULTS", str(tmp_path_factory.mktemp("computed")))
        patch.setattr(sweep, "CPU_COUNT", 1)  # one worker for both
        with pytest.raises(sweep.SweepError) as raised:
            sweep.compute_missing([FAILING, EXPERIMENT], progress=False)
        assert store.stored(FAILING) is None
        return Path(store.path_of(EXPERIMENT)), str(raised.value)


@pytest.fixture
def stored(swept, results_folder):
    results_folder.mkdir()
    return Path(shutil.copy(swept[0], results_folder))


def test_computed_once_then_read(stored):
    before = stored.read_bytes()  # the moment of computing is inside
    table = sweep.table_of([EXPERIMENT, EXPERIMENT], progress=False)
    assert stored.read_bytes() == before
    assert table["seed"].unique().tolist() == [0] and {*COLUMNS, "seed"} == {*table.columns}
    assert len(table) == 2 * len(store.load(stored))


def test_a_run_that_fails_is_named_and_loses_no_other(swept):
    path, message = swept
    assert re.search(rf"1 of 2 .*\n{FAILING.address}: ValueError: .* lower probe_size", message)
    assert path.is_file()


def test_provenance_is_inside(stored):
    inside = store.load(stored).attrs
    assert set(store.PROVENANCE) == inside.keys()
    assert inside["settings"] == EXPERIMENT.settings()
    assert inside["split_sizes"] == {"train": 200, "validation": 597}
    assert inside["class_names"] == list("0123456789") and inside["super_classes"] is None
    assert inside["diverged"] is None and inside["unreached"] == []
    assert len(inside["commit"]) == 40 or inside["commit"] == "unknown"
    assert inside["wall_time_s"] > 0


# --- damaged bytes ----------------------------------------------------------------------------------------------------


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    file = pq.ParquetFile(path)
    values = file.metadata.row_group(0).column(file.schema_arrow.get_field_index("value"))
    content = bytearray(path.read_bytes())
    start = values.dictionary_page_offset or values.data_page_offset
    content[start + values.total_compressed_size - 9] ^= 0xFF
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


def foreign(path):
    pd.DataFrame({"a": [1]}).to_parquet(path)


def other_settings(path):
    rewrite(path, settings={**EXPERIMENT.settings(), "seed": 7})


def older_format(path):
    rewrite(path, format=3)


def changed_number(path):
    table = pd.read_parquet(path)
    table.loc[5, "value"] += 1e-9
    table.to_parquet(path)


def changed_provenance(path):
    table = pd.read_parquet(path)
    table.attrs["device"] = "another"
    table.to_parquet(path)


def rewrite(path, table=None, **of_run):
    """The file with another table or provenance, and a digest that agrees with it."""
    table = pd.read_parquet(path) if table is None else table
    table.attrs = {**pd.read_parquet(path).attrs, **of_run}
    table.attrs["digest"] = store.digest(table)
    table.to_parquet(path)


DAMAGES = {truncate: "not a readable result", flip: "not a readable result|its digest", empty: "not a readable result",
           foreign: "not a result of this project", other_settings: "a run of other settings",
           older_format: "another format", changed_number: "its digest does not agree",
           changed_provenance: "its digest does not agree"}


@pytest.mark.parametrize("damage, reason", DAMAGES.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_damaged_file_is_named_and_set_aside(stored, damage, reason):
    damage(stored)
    damaged = stored.read_bytes()
    with pytest.warns(UserWarning, match=f"{stored.name}.* ({reason}).* set aside"):
        assert store.stored(EXPERIMENT) is None
    assert stored.with_suffix(".parquet.set-aside").read_bytes() == damaged and not stored.exists()


def refused_or_harmless(path, content, at, bit, whole):
    changed = bytearray(content)
    changed[at] ^= 1 << bit
    path.write_bytes(changed)
    try:
        table = store.load(path, EXPERIMENT)
    except store.DamagedResult as damage:
        assert path.name in str(damage)
        return
    pd.testing.assert_frame_equal(table, whole, check_exact=True)
    assert table.attrs == whole.attrs


def flips(content):
    """Places in the footer, then in the body."""
    footer = int.from_bytes(content[-8:-4], "little") + 8
    return range(len(content) - footer, len(content)), range(len(content) - footer)


def test_one_flipped_bit_is_refused_or_harmless(stored):
    whole, content = store.load(stored), stored.read_bytes()
    rng = np.random.default_rng(0)
    for places, number in zip(flips(content), (100, 50)):
        for at in rng.choice(places, number, replace=False):
            refused_or_harmless(stored, content, at, rng.integers(8), whole)


@pytest.mark.slow
def test_a_flipped_bit_in_each_byte_of_the_footer_is_refused_or_harmless(stored):
    whole, content = store.load(stored), stored.read_bytes()
    for at in flips(content)[0]:
        refused_or_harmless(stored, content, at, at % 8, whole)


def test_truncated_anywhere_is_refused(stored):
    content = stored.read_bytes()
    for length in np.random.default_rng(0).integers(0, len(content), 30):
        stored.write_bytes(content[:length])
        with pytest.raises(store.DamagedResult, match=stored.name):
            store.load(stored, EXPERIMENT)


# --- whole, but wrong -------------------------------------------------------------------------------------------------


def of(table, name):
    return table["quantity"] == name


WRONG_TABLES = {
    "no rows": (lambda t: t[:0], "was measured at steps"),
    "few rows": (lambda t: t[:519], "was measured at steps|rows; expected"),
    "a stage less": (lambda t: t[t["step"] == 0], r"steps .0.; expected .0, 5."),
    "a quantity less": (lambda t: t[~of(t, "train_loss")], "train_loss has 0 rows"),
    "a class pair less": (lambda t: t.drop(t.index[of(t, "class_stiffness_sign")][7]), "class_stiffness_sign has 199"),
    "all NaN": (lambda t: t.assign(value=np.nan), "is missing in"),
    "one NaN": (lambda t: t.assign(value=t["value"].mask(of(t, "validation_loss"))), "validation_loss is missing"),
    "infinite": (lambda t: t.assign(value=t["value"].mask(of(t, "train_loss"), np.inf)), "expected finite"),
    "beyond its range": (lambda t: t.assign(value=t["value"].mask(of(t, "train_accuracy"), 1.5)), "from 0 to 1"),
    "strings": (lambda t: t.assign(value=t["value"].astype("string")), "column value is string"),
    "rows twice": (lambda t: pd.concat([t, t], ignore_index=True), "rows twice"),
    "an extra column": (lambda t: t.assign(extra=1), "columns are .*extra"),
    "a column less": (lambda t: t.drop(columns="space"), "columns are"),
    "an unknown quantity": (lambda t: t.assign(quantity=t["quantity"].replace("train_loss", "loss")), "unknown"),
    "an unknown space": (lambda t: t.assign(space=t["space"].replace("layer 1", "layer 2")), "unknown space layer 2"),
    "other bins": (lambda t: t.drop(t.index[of(t, "distance_pairs_all")][3]), "different bins"),
}


@pytest.mark.parametrize("name", WRONG_TABLES)
def test_whole_but_wrong_is_refused(stored, name):
    change, reason = WRONG_TABLES[name]
    rewrite(stored, change(pd.read_parquet(stored)).reset_index(drop=True))
    with pytest.raises(store.DamagedResult, match=f"{stored.name}.*({reason})"):
        store.load(stored, EXPERIMENT)


DEEP = "[" * 100_000 + "]" * 100_000
ODD = {
    "3 class names of 10": {"class_names": ["a", "b", "c"]},
    "no class names": {"class_names": None},
    "super-classes of some": {"super_classes": ["a"]},
    "a negative split": {"split_sizes": {"train": -1, "validation": 597}},
    "settings null": {"settings": None},
    "settings a list": {"settings": []},
    "a number for the network": {"settings": {**EXPERIMENT.settings(), "network": 7}},
    "Infinity for a seed": {"settings": {**EXPERIMENT.settings(), "seed": float("inf")}},
    "an unknown setting": {"settings": {**EXPERIMENT.settings(), "colour": "red"}},
    "unreached a number": {"unreached": 1},
    "diverged unlike the table": {"diverged": 5},
    "diverged a text": {"diverged": "soon"},
    "format a list": {"format": []},
}


@pytest.mark.parametrize("name", ODD)
def test_odd_metadata_is_refused(stored, name):
    rewrite(stored, **ODD[name])
    with pytest.raises(store.DamagedResult, match=stored.name):
        store.load(stored, EXPERIMENT)
    with pytest.warns(UserWarning, match="set aside"):
        assert store.stored(EXPERIMENT) is None


@pytest.mark.parametrize("metadata", [b"null", b"[]", b"7", b"{", DEEP.encode(), b'{"format": Infinity}', b"\xff"],
                         ids=["null", "list", "number", "half", "deep nesting", "Infinity", "no text"])
def test_metadata_that_is_no_provenance_is_refused(stored, metadata):
    table = pq.read_table(stored)
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"PANDAS_ATTRS": metadata}), stored)
    with pytest.raises(store.DamagedResult, match=stored.name):
        store.load(stored, EXPERIMENT)


def test_a_table_that_is_not_whole_is_not_stored(stored, results_folder):
    table = store.load(stored)
    before = stored.read_bytes()
    with pytest.raises(ValueError, match="was measured at steps"):
        store.save(table[table["step"] == 0], stored)
    assert stored.read_bytes() == before


# --- writing ----------------------------------------------------------------------------------------------------------


def test_a_damaged_file_is_computed_again(stored):
    """And has the same numbers in a worker of its own as after another run."""
    whole = store.load(stored, EXPERIMENT)
    truncate(stored)
    with pytest.warns(UserWarning, match="computed again"):
        again = sweep.table_of([EXPERIMENT], progress=False)
    pd.testing.assert_frame_equal(again.drop(columns="seed"), whole, check_exact=True)
    assert [whole.attrs["threads"], store.load(stored, EXPERIMENT).attrs["threads"]] == [1, 1]


def test_a_damage_that_cannot_be_set_aside_is_named_first(stored):
    truncate(stored)
    code = ("from stiffness_book import kinds, store\n"
            f"store.stored(kinds.from_settings({EXPERIMENT.settings()!r}))")
    command = [sys.executable, "-c", code]
    if os.geteuid() == 0:  # may write to folders that are read-only, unless it gives that up
        if not shutil.which("setpriv"):
            pytest.skip("root may write to read-only folders, and there is no setpriv to give that up")
        command = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override", *command]
    stored.parent.chmod(0o555)
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    finally:
        stored.parent.chmod(0o755)
    assert done.returncode == 1
    assert re.search(rf"{stored.name} is not a readable result .*could not be set aside .*Permission denied.*: delete",
                     done.stderr.splitlines()[-1])
    assert list(stored.parent.iterdir()) == [stored]


def test_written_whole_or_not_at_all(stored, monkeypatch):
    table, before = store.load(stored), stored.read_bytes()

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.save(table, stored)
    assert stored.read_bytes() == before and [p.name for p in stored.parent.iterdir()] == [stored.name]


def test_a_full_disk_is_named_and_loses_nothing(stored):
    table, before = store.load(stored), stored.read_bytes()
    code = textwrap.dedent(f"""
        import resource, signal
        from stiffness_book import store
        table = store.load({str(stored)!r})
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        store.save(table, {str(stored)!r})
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and "OSError" in done.stderr and "too large" in done.stderr
    assert stored.read_bytes() == before and [p.name for p in stored.parent.iterdir()] == [stored.name]
    pd.testing.assert_frame_equal(store.load(stored), table)


def test_what_killed_writers_leave_is_removed(stored):
    code = textwrap.dedent(f"""
        import os, signal
        from stiffness_book import store
        table = store.load({str(stored)!r})
        os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # between writing and renaming
        store.save(table, {str(stored)!r})
    """)
    killed = subprocess.run([sys.executable, "-c", code])
    left = list(stored.parent.glob("*.partial"))
    assert killed.returncode == -signal.SIGKILL and len(left) == 1
    alive = stored.with_name(f"{stored.name}.{socket.gethostname()}.{os.getppid()}.partial")
    elsewhere, old = (stored.with_name(f"{stored.name}.{host}.1.partial") for host in ("elsewhere", "long-ago"))
    for path in (alive, elsewhere, old):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 1e6,) * 2)
    store.save(store.load(stored), stored.with_name("other.parquet"))
    assert {*stored.parent.glob("*.partial")} == {alive, elsewhere}


def test_a_copy_inside_another_repository_has_no_commit(tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    subprocess.run(["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty",
                    "-m", "of another project"], check=True)
    shutil.copytree(REPOSITORY / "src", tmp_path / "copy" / "src", ignore=shutil.ignore_patterns("__pycache__"))
    code = "from stiffness_book import store; print(store.REPOSITORY, store.checkout()['commit'])"
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "copy" / "src")}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert printed.stdout.split() == [str(tmp_path / "copy"), "unknown"]


def test_reading_and_drawing_do_not_import_tensorflow(stored):
    code = ("import sys, stiffness; from stiffness_book import charts, claims, page, store, summaries, sweep\n"
            f"sweep.table_of([store.experiment_of({str(stored)!r})])\n"
            "assert not {'tensorflow', 'keras'} & sys.modules.keys()")
    subprocess.run([sys.executable, "-c", code], check=True)


PUBLISHED = sorted((REPOSITORY / "results").glob("*.parquet"))


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_published_results_are_whole_and_from_a_clean_tree(path):
    table = store.load(path)
    assert path.stem == kinds.from_settings(table.attrs["settings"]).address
    assert table.attrs["dirty"] is False
    assert table.attrs["commit"] != "unknown"


def test_the_published_results_are_those_that_pages_draw():
    drawn = {run.address for source in sources() for run in figures.experiments_of(source)}
    assert drawn and {path.stem for path in PUBLISHED} == drawn
