import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported

import pytest


@pytest.fixture
def results_folder(tmp_path, monkeypatch):
    """An empty results folder, so that no test reads or writes the published one."""
    monkeypatch.setenv("STIFFNESS_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"
