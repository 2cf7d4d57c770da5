"""Stored runs: written whole, checked when read, set aside when damaged, computed when missing."""

import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from stiffness_book import data, store, sweep
from stiffness_book.experiment import Experiment

EXPERIMENT = Experiment(dataset="digits", network="fc-16", probe_size=30, train_size=200, stages=(0, 5))
REPOSITORY = store.REPOSITORY


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """A results folder with the run in it, computed once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STIFFNESS_RESULTS", str(tmp_path_factory.mktemp("computed")))
        sweep.table_of([EXPERIMENT], progress=False)
        return store.path_of(EXPERIMENT)


@pytest.fixture
def stored(computed, results_folder):
    results_folder.mkdir()
    return Path(shutil.copy(computed, results_folder))


def test_computed_once_then_read(stored):
    before = stored.read_bytes()  # the moment of computing is inside
    table = sweep.table_of([EXPERIMENT, EXPERIMENT], progress=False)
    assert stored.read_bytes() == before
    assert table["seed"].unique().tolist() == [0] and {*store.COLUMNS, "seed"} == {*table.columns}
    assert len(table) == 2 * len(store.load(stored))


def test_every_run_has_one_thread_whatever_ran_beside_it(stored):
    first = store.load(stored)
    assert first.attrs["threads"] == 1
    stored.unlink()
    other = Experiment(**EXPERIMENT.settings() | {"seed": 1})
    table = sweep.table_of([other, EXPERIMENT], progress=False)
    again = table[table["seed"] == 0].drop(columns="seed").reset_index(drop=True)
    pd.testing.assert_frame_equal(again, first, check_exact=True)
    assert store.provenance([other, EXPERIMENT])["threads"].tolist() == [1, 1]


def test_a_run_that_fails_is_named_and_loses_no_other(results_folder):
    failing = Experiment(**EXPERIMENT.settings() | {"probe_size": 590})
    with pytest.raises(RuntimeError, match=f"1 of 2 .*\n{failing.address}: ValueError: .* lower probe_size"):
        sweep.table_of([failing, EXPERIMENT], progress=False)
    assert store.stored(EXPERIMENT) is not None and store.stored(failing) is None


def without_data(experiment, *, progress):
    raise data.DataUnavailable(f"{experiment.dataset} is nowhere")


def test_missing_data_is_told_apart(results_folder, monkeypatch):
    monkeypatch.setattr(sweep, "compute", without_data)  # the process imports it from here
    with pytest.raises(data.DataUnavailable, match="digits is nowhere"):
        sweep.table_of([EXPERIMENT], progress=False)


def test_provenance_is_inside(stored):
    inside = pd.read_parquet(stored).attrs
    assert set(store.PROVENANCE) == inside.keys()
    assert inside["settings"] == EXPERIMENT.settings()
    assert inside["split_sizes"] == {"train": 200, "validation": 597}
    assert inside["class_names"] == list("0123456789") and inside["super_classes"] is None
    assert len(inside["commit"]) == 40 or inside["commit"] == "unknown"
    assert store.provenance([EXPERIMENT])["wall_time_s"].item() > 0


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    file = pq.ParquetFile(path)
    values = file.metadata.row_group(0).column(file.schema_arrow.get_field_index("value"))
    content = bytearray(path.read_bytes())
    # among the numbers, which have a checksum; the headers between them have none
    start = values.dictionary_page_offset or values.data_page_offset
    content[start + values.total_compressed_size - 9] ^= 0xFF
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


def foreign(path):
    pd.DataFrame({"a": [1]}).to_parquet(path)


def other_settings(path):
    table = pd.read_parquet(path)
    table.attrs["settings"]["seed"] = 7
    table.to_parquet(path)


def older_form(path):
    table = pd.read_parquet(path)
    del table.attrs["format"]
    table.drop(columns="space").to_parquet(path)


DAMAGES = {truncate: "not a readable result", flip: "not a readable result", empty: "not a readable result",
           foreign: "not a result of this project", other_settings: "a run of other settings",
           older_form: "another form"}


@pytest.mark.parametrize("damage, reason", DAMAGES.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_damaged_file_is_named_and_set_aside(stored, damage, reason):
    damage(stored)
    damaged = stored.read_bytes()
    with pytest.warns(UserWarning, match=f"{stored.name}.* {reason}.* set aside"):
        assert store.stored(EXPERIMENT) is None
    assert stored.with_suffix(".parquet.set-aside").read_bytes() == damaged and not stored.exists()


def test_a_damaged_file_is_computed_again(stored):
    whole = store.load(stored, EXPERIMENT)
    truncate(stored)
    with pytest.warns(UserWarning, match="computed again"):
        again = sweep.table_of([EXPERIMENT], progress=False)
    pd.testing.assert_frame_equal(again.drop(columns="seed"), whole)


def test_written_whole_or_not_at_all(stored, monkeypatch):
    before = stored.read_bytes()

    def interrupted(self, path, **_):
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(pd.DataFrame, "to_parquet", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.save(pd.DataFrame({"a": [1]}), stored)
    assert stored.read_bytes() == before and [p.name for p in stored.parent.iterdir()] == [stored.name]


def test_reading_and_drawing_do_not_import_tensorflow(stored):
    code = ("import sys, stiffness; from stiffness import charts, claims, notebook, results, summaries\n"
            f"sweep.table_of([store.experiment_of({str(stored)!r})])\n"
            "assert not {'tensorflow', 'keras'} & sys.modules.keys()")
    subprocess.run([sys.executable, "-c", code], check=True)


PUBLISHED = sorted((REPOSITORY / "results").glob("*.parquet"))


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_published_results_are_whole_and_from_a_clean_tree(path):
    experiment = store.experiment_of(path)
    assert path.stem == experiment.address
    assert store.load(path, experiment).attrs["dirty"] is False
    assert store.load(path).attrs["commit"] != "unknown"


def test_there_are_published_results():
    assert PUBLISHED
