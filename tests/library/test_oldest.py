"""The library's tests with the oldest versions of its dependencies that pyproject.toml allows."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = ["test_gram.py", "test_layers.py", "test_losses.py", "test_inputs.py", "test_callback.py", "test_faults.py"]


@pytest.mark.slow
def test_the_oldest_versions_that_are_allowed(tmp_path):
    uv, python = [sys.executable, "-m", "uv"], tmp_path / "venv" / "bin" / "python"
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, tmp_path / "venv"], check=True)
    installed = subprocess.run([*uv, "pip", "install", "--quiet", "--python", python, "--resolution", "lowest-direct",
                                ROOT, "pytest>=8", "hypothesis>=6.100", "scipy>=1.13", "pandas>=2.2"],
                               capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"the oldest versions cannot be installed here: {installed.stderr.strip().splitlines()[-1]}")
    versions = subprocess.run([python, "-c", "import keras; print(keras.__version__)"], capture_output=True, text=True,
                              env=os.environ | {"PYTHONPATH": ""})
    assert in_order(versions.stdout.split()[-1]) < in_order(keras.__version__)
    done = subprocess.run([python, "-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider", "-W", "default",
                           *[f"tests/library/{name}" for name in TESTS]], cwd=ROOT, capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stdout[-5000:]


def in_order(version):
    return tuple(map(int, version.split(".")))
