"""What `pip install stiffness` brings: the wheel, installed without extras in an environment of its own, and used."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import stiffness

ROOT = Path(__file__).parents[1]
NOT_THERE = {"altair", "distributed", "ipykernel", "jupyter-book", "jupyter-core", "pandas", "scikit-learn", "scipy",
             "tensorflow-datasets"}
MEASURE = """\
import keras, numpy as np
from stiffness import class_stiffness, gradient_gram

keras.utils.set_random_seed(0)
model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(3)])
model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
x = np.random.default_rng(0).normal(size=(12, 4)).astype("float32")
y = np.arange(12) % 3
gram = gradient_gram(model, x, y)
stiffness_of_classes = class_stiffness(gram.sign(), y)
"""
REPORT = MEASURE + """
import json
from importlib.metadata import distributions, requires
import stiffness

print(json.dumps({
    "from": stiffness.__file__,
    "version": stiffness.__version__,
    "names": [name for name in dir(stiffness) if getattr(stiffness, name) is not None],
    "installed": sorted({found.metadata["Name"].lower().replace("_", "-") for found in distributions()}),
    "needed": [line for line in requires("stiffness") if "extra" not in line],
    "products": gram.products.tolist(),
    "classes": stiffness_of_classes.tolist(),
}))
"""


def run(*command, **options):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(command, capture_output=True, text=True, env=environment, **options)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    built = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    assert built.returncode == 0, built.stderr
    found, = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """The Python of an environment that has the wheel, in the lock's versions, and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    pins = re.findall(r"^[\w.-]+==.*?(?= *\\?$)", (ROOT / "requirements.lock").read_text("utf-8"), re.MULTILINE)
    (folder / "pins.txt").write_text("\n".join(pins), encoding="utf-8")
    uv = [sys.executable, "-m", "uv"]
    made = run(*uv, "venv", "--python", sys.executable, folder / "venv")
    assert made.returncode == 0, made.stderr
    python = folder / "venv" / "bin" / "python"
    installed = run(*uv, "pip", "install", "--python", python, "--constraints", folder / "pins.txt", wheel)
    if re.search("Failed to fetch|error sending request|network was disabled", installed.stderr):
        pytest.skip("no network, and uv's cache lacks a package: the bare environment cannot be installed")
    assert installed.returncode == 0, installed.stderr
    yield python
    shutil.rmtree(folder)  # TensorFlow is a gigabyte


@pytest.fixture(scope="module")
def report(python, tmp_path_factory):
    """What the bare environment prints, asked from a folder outside the repository."""
    done = run(python, "-W", "error", "-c", REPORT, cwd=tmp_path_factory.mktemp("elsewhere"))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_it_measures_the_same_as_here(report, python):
    assert Path(report["from"]).is_relative_to(python.parents[1])
    here = {}
    exec(MEASURE, here)
    np.testing.assert_allclose(report["products"], here["gram"].products, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(report["classes"], here["stiffness_of_classes"], rtol=1e-6)
    keras.backend.clear_session()


def test_its_version_is_that_of_the_wheel(report, wheel):
    assert report["version"] == wheel.name.split("-")[1]


def test_every_public_name_is_there_without_extras(report):
    assert {*stiffness.__all__} <= {*report["names"]}


def test_it_brings_keras_numpy_and_a_backend_and_no_more(report):
    assert {re.match(r"[\w-]+", line)[0] for line in report["needed"]} == {"keras", "numpy", "tensorflow"}
    assert {"keras", "numpy", "tensorflow", "stiffness"} <= {*report["installed"]}
    assert not NOT_THERE & {*report["installed"]}
    assert len(report["installed"]) <= 40, report["installed"]  # 33 when this was written, 30 of them TensorFlow's


@pytest.mark.parametrize("name", ["stiffness_book", "stiffness_book.store", "stiffness_book.publish.site"])
def test_the_book_without_its_extra_says_how_to_install_it(name, python, tmp_path):
    done = run(python, "-c", f"import {name}", cwd=tmp_path)
    *_, message = done.stderr.splitlines()
    assert done.returncode == 1
    assert re.match(r"ImportError: stiffness_book needs altair, .*: pip install 'stiffness\[notebook\]'", message)
