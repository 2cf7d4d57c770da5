"""The arrows between the parts: notebooks -> stiffness_book -> stiffness, and back nowhere; drawing needs no Keras."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
LIBRARY, BOOK = SRC / "stiffness", SRC / "stiffness_book"
STANDARD = sys.stdlib_module_names
BACKENDS = {"tensorflow", "jax", "torch"}
HEAVY = {"tensorflow", "keras", "jax", "torch"}
DRAWING = ("blocks", "charts", "claims", "figures", "page", "summaries", "table")  # those of them that there are


def imports(folder):
    """(file, line, package, in a function?) of every import in the folder's files, wherever in the file it stands."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        later = {id(node) for function in ast.walk(tree)
                 if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                 for node in ast.walk(function)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module if not node.level else folder.name]
            elif (isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__"))
                  and isinstance(node.args[0], ast.Constant)):
                modules = [node.args[0].value]
            else:
                continue
            found += [(path.name, node.lineno, module.partition(".")[0], id(node) in later) for module in modules]
    return found


def outside(folder, everywhere, in_functions=()):
    """The imports in the folder's files of anything but the packages allowed everywhere, or in functions only."""
    return [f"{name}:{line} imports {package}" for name, line, package, later in imports(folder)
            if package not in everywhere and not (later and package in in_functions)]


def test_the_library_needs_keras_numpy_and_a_backend():
    charts = {"pandas", "altair"}  # of the extra `plot`
    assert not outside(LIBRARY, STANDARD | BACKENDS | {"stiffness", "keras", "numpy"}, charts)


def declared():
    """The packages whose distributions the project names as its own needs, or those of the extra `book`."""
    project = tomllib.loads((SRC.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    needed = project["dependencies"] + extras["book"] + extras["notebook"] + extras["plot"]
    names = {re.match(r"[\w-]+", line)[0].lower() for line in needed}
    return {package for package, owners in packages_distributions().items() if names & {o.lower() for o in owners}}


# each comes with the distribution named, which cannot do without it
BROUGHT = {"dask": "distributed", "psutil": "distributed", "yaml": "jupyter-book", "nbformat": "nbclient",
           "IPython": "ipykernel", "myst_nb": "jupyter-book", "sphinx": "jupyter-book", "docutils": "jupyter-book"}


def test_the_book_imports_what_its_extra_names():
    assert not outside(BOOK, STANDARD | {"stiffness_book", "stiffness"} | declared() | BROUGHT.keys())


@pytest.mark.parametrize("planted", [
    "import stiffness_book", "from stiffness_book.store import load", "import pandas", "from pandas import DataFrame",
    "def f():\n    from stiffness_book import store", "def f():\n    import sklearn.datasets",
    "class A:\n    import pandas", "try:\n    import pandas\nexcept ImportError:\n    pass",
    "from notebooks import one", "from importlib import import_module\nimport_module('stiffness_book')",
])
def test_a_planted_import_is_found(planted, tmp_path):
    allowed = STANDARD | {"stiffness", "numpy"}
    (tmp_path / "fine.py").write_text("import os.path, numpy.linalg\nfrom stiffness import gram\nfrom . import other\n"
                                      "def f():\n    import pandas\n", encoding="utf-8")
    assert not outside(tmp_path, allowed | {tmp_path.name}, {"pandas"})
    (tmp_path / "planted.py").write_text(planted, encoding="utf-8")
    found, = outside(tmp_path, allowed | {tmp_path.name}, {"pandas"})
    assert re.match(r"planted\.py:\d imports (stiffness_book|pandas|sklearn|notebooks)", found)


def heavy_after(modules, *path):
    """The heavy packages that a fresh process holds after it has imported the modules."""
    code = (f"import sys; sys.path[:0] = {path!r}\nfor name in {modules!r}: __import__(name)\n"
            f"print(*({HEAVY!r} & sys.modules.keys()))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def drawing_modules():
    files = [file for name in DRAWING for file in [BOOK / f"{name}.py", *(BOOK / name).rglob("*.py")] if file.is_file()]
    return [".".join(file.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__") for file in files]


def test_what_draws_imports_no_keras(tmp_path):
    modules = drawing_modules()
    assert {"stiffness_book.charts.curves", "stiffness_book.claims", "stiffness_book.table"} <= {*modules}
    assert not heavy_after(modules)
    (tmp_path / "keras.py").touch()  # as good as the real one, and quick
    (tmp_path / "planted.py").write_text("def f():\n    import keras\nf()\n", encoding="utf-8")
    assert heavy_after(["planted"], str(tmp_path)) == {"keras"}


def test_private_names_of_keras_stand_in_one_file():
    found = [path.name for path in LIBRARY.rglob("*.py") if "keras.src" in path.read_text(encoding="utf-8")]
    assert found == ["keras_private.py"]


def test_the_backends_have_the_same_functions():
    names = {}
    for backend in BACKENDS:
        tree = ast.parse((LIBRARY / "engine" / f"{backend}_backend.py").read_text(encoding="utf-8"))
        names[backend] = {node.name: [argument.arg for argument in node.args.args] for node in tree.body
                          if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")}
    compiling = names["tensorflow"].pop("compiled")  # the only one that has graphs to keep
    assert compiling and names["tensorflow"] == names["jax"] == names["torch"]


def test_attributes_are_born_where_an_object_is_made():
    classes = [(path.name, node) for path in LIBRARY.rglob("*.py")
               for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ClassDef)]
    assert len(classes) > 20
    for name, node in classes:
        set_in = {method.name: {part.attr for part in ast.walk(method) if isinstance(part, ast.Attribute)
                                and isinstance(part.ctx, ast.Store) and ast.unparse(part.value) == "self"}
                  for method in node.body if isinstance(method, ast.FunctionDef)}
        later = set().union(*set_in.values()) - set_in.get("__init__", set())
        assert not later, f"{name}: {node.name} sets {later} outside __init__"
