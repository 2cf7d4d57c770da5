"""Stored runs: written whole, checked when read, set aside when damaged, computed when missing."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from stiffness import results
from stiffness.experiment import Experiment

EXPERIMENT = Experiment(dataset="digits", network="fc-16", probe_size=30, train_size=200, stages=(0, 5))
REPOSITORY = results.REPOSITORY


@pytest.fixture
def stored(results_folder):
    results.runs([EXPERIMENT], progress=False)
    return results.path_of(EXPERIMENT)


def test_computed_once_then_read(stored, monkeypatch):
    monkeypatch.setattr(results, "compute", lambda *_, **__: pytest.fail("computed again"))
    table = results.runs([EXPERIMENT], progress=False)
    assert table["seed"].unique().tolist() == [0] and {*results.COLUMNS, "seed"} == {*table.columns}


def test_provenance_is_inside(stored):
    inside = pd.read_parquet(stored).attrs
    assert set(results.PROVENANCE) == inside.keys()
    assert inside["settings"] == EXPERIMENT.settings()
    assert inside["split_sizes"] == {"train": 200, "validation": 597}
    assert len(inside["commit"]) == 40 or inside["commit"] == "unknown"
    assert results.provenance([EXPERIMENT])["wall_time_s"].item() > 0


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 10] ^= 0xFF
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


def foreign(path):
    pd.DataFrame({"a": [1]}).to_parquet(path)


def other_settings(path):
    table = pd.read_parquet(path)
    table.attrs["settings"]["seed"] = 7
    table.to_parquet(path)


@pytest.mark.parametrize("damage", [truncate, flip, empty, foreign, other_settings])
def test_a_damaged_file_is_named_set_aside_and_computed_again(stored, damage):
    whole = results.load(stored, EXPERIMENT)
    damage(stored)
    damaged = stored.read_bytes()
    with pytest.warns(UserWarning, match=f"{stored.name}.* set aside"):
        again = results.runs([EXPERIMENT], progress=False)
    assert stored.with_suffix(".parquet.set-aside").read_bytes() == damaged
    pd.testing.assert_frame_equal(again.drop(columns="seed"), whole)


def test_written_whole_or_not_at_all(stored, monkeypatch):
    before = stored.read_bytes()

    def interrupted(self, path, **_):
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(pd.DataFrame, "to_parquet", interrupted)
    with pytest.raises(KeyboardInterrupt):
        results.save(pd.DataFrame({"a": [1]}), stored)
    assert stored.read_bytes() == before and [p.name for p in stored.parent.iterdir()] == [stored.name]


def test_reading_and_drawing_do_not_import_tensorflow(stored):
    code = ("import sys, stiffness; from stiffness import charts, claims, notebook, results, summaries\n"
            f"results.runs([results.experiment_of({str(stored)!r})])\n"
            "assert not {'tensorflow', 'keras'} & sys.modules.keys()")
    subprocess.run([sys.executable, "-c", code], check=True)


PUBLISHED = sorted((REPOSITORY / "results").glob("*.parquet"))


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_published_results_are_whole_and_from_a_clean_tree(path):
    experiment = results.experiment_of(path)
    assert path.stem == experiment.address
    assert results.load(path, experiment).attrs["dirty"] is False
    assert results.load(path).attrs["commit"] != "unknown"


def test_there_are_published_results():
    assert PUBLISHED
