"""The committed notebooks: in sync with their sources, executed, checked digit by digit, and open to parameters."""

import copy
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest
import yaml

from stiffness_book import figures, store
from stiffness_book.experiment import Experiment
from stiffness_book.publish import refresh
from stiffness_book.publish import results as publishing
from stiffness_book.publish.refresh import NOTEBOOKS, NotebookError, derive, execute, sources, write
from stiffness_book.publish.site import quick_experiments, quick_profile, run_quick

SANITIZE = Path(__file__).parents[1] / "nbval_sanitize.cfg"
each_notebook = pytest.mark.parametrize("source", sources(), ids=lambda path: path.stem)


def committed(source: Path) -> nbformat.NotebookNode:
    return nbformat.read(source.with_suffix(".ipynb"), as_version=4)


def content(notebook: nbformat.NotebookNode) -> list[tuple]:
    return [(cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in notebook.cells]


def test_every_notebook_has_a_source():
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == {path.stem for path in sources()}


@each_notebook
def test_pair_is_in_sync(source):
    assert content(committed(source)) == content(derive(source)), f"run: make refresh ({source.stem})"


@each_notebook
def test_every_code_cell_was_executed(source):
    # nbval passes a notebook whose outputs were cleared: this does not
    cells = [cell for cell in committed(source).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert outputs
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]  # no warning among the figures


@each_notebook
def test_every_chart_is_stored_three_ways(source):
    outputs = [output.get("data", {}) for cell in committed(source).cells for output in cell.get("outputs", [])]
    for data in outputs:
        for mime in data:
            if mime.endswith("text/html") and "altair-viz-" in data[mime]:
                assert data[mime.replace("text/html", "image/svg+xml")].startswith("<svg")
                assert data[mime.replace("text/html", "text/plain")].strip()


SMALL = """\
# %%
import altair as alt

from stiffness_book.charts import look

look.enable()
print(f"{0.125:.3f}")

# %%
alt.Chart(alt.InlineData(values=[{"a": 0.731}])).mark_point().encode(x="a:Q").properties(description="One point.")
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A notebook with one printed number and one chart, executed."""
    source = tmp_path_factory.mktemp("small") / "small.py"
    source.write_text(SMALL, encoding="utf-8")
    return execute(source)


def nbval(path: Path) -> subprocess.CompletedProcess:
    """nbval in a process of its own, as strict as in `make test`."""
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-sanitize-with", str(SANITIZE), str(path)]
    return subprocess.run(command, cwd=path.parent, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("old", "new", "passes"),
    [("0.125", "0.125", True), ("0.125", "0.126", False), ('{"a": 0.731}', '{"a": 0.732}', False)],
    ids=["unchanged", "printed digit", "chart datum"],
)
def test_nbval_sees_one_changed_digit(small, tmp_path, old, new, passes):
    changed = copy.deepcopy(small)
    found = 0
    for cell in changed.cells:
        for output in cell.get("outputs", []):
            for holder, key in ((output, "text"), (output.get("data", {}), "text/html")):
                if old in holder.get(key, ""):
                    found += 1
                    holder[key] = holder[key].replace(old, new)
    assert found == 1
    write(changed, tmp_path / "small.ipynb")
    result = nbval(tmp_path / "small.ipynb")
    assert (result.returncode == 0) == passes, result.stdout


def test_refresh_is_deterministic(small, tmp_path):
    (tmp_path / "small.py").write_text(SMALL, encoding="utf-8")
    assert nbformat.writes(execute(tmp_path / "small.py")) == nbformat.writes(small)


def test_failing_notebook_is_named_with_its_cell(tmp_path):
    source = tmp_path / "broken.py"
    source.write_text("# %%\nx = 1\n\n# %%\n1 / 0\n", encoding="utf-8")
    with pytest.raises(NotebookError, match=r"broken\.py, cell 2"):
        execute(source)


def test_a_chart_that_cannot_be_shown_fails_its_notebook(tmp_path):
    source = tmp_path / "broken.py"
    code = "# %%\nclass Broken:\n    def _repr_mimebundle_(self, **_):\n        return 1 / 0\n\ndisplay(Broken())\n"
    source.write_text(code, encoding="utf-8")
    with pytest.raises(NotebookError, match=r"broken\.py, cell 1:\nZeroDivisionError"):
        execute(source)


@pytest.fixture(scope="module")
def shared_results(tmp_path_factory):
    """One folder for all notebooks, as in `make quick`: runs that several of them draw are computed once."""
    return tmp_path_factory.mktemp("results")


EACH_PUSH = ("fig03_class_stiffness_mnist", "fig08_learning_rate", "stiffness_from_scratch")  # the others are slow


@pytest.mark.parametrize("source", [
    pytest.param(source, id=source.stem, marks=() if source.stem in EACH_PUSH else pytest.mark.slow)
    for source in sources()])
def test_runs_with_its_quick_profile(source, tmp_path, shared_results, monkeypatch):
    monkeypatch.setenv("STIFFNESS_RESULTS", str(shared_results))
    notebook = tmp_path / f"{source.stem}.ipynb"
    write(derive(source), notebook)
    expected = {run.address for run in figures.experiments_of(source, **quick_profile(notebook))}
    before = {path.stem for path in shared_results.glob("*.parquet")}
    run_quick(notebook)
    # the notebook draws the runs that its function names, and no others
    assert {path.stem for path in shared_results.glob("*.parquet")} == before | expected
    assert expected <= {run.address for run in quick_experiments()}


def test_a_misspelt_parameter_is_an_error(tmp_path, results_folder):
    write(derive(NOTEBOOKS / "fig03_class_stiffness_mnist.py"), tmp_path / "in.ipynb")
    with pytest.raises(papermill.PapermillExecutionError, match="unknown parameter datasett"):
        papermill.execute_notebook(tmp_path / "in.ipynb", tmp_path / "out.ipynb", parameters={"datasett": "digits"},
                                   cwd=tmp_path, progress_bar=False)


def test_a_notebook_with_parameters_needs_a_quick_profile(tmp_path):
    write(derive(NOTEBOOKS / "fig03_class_stiffness_mnist.py"), tmp_path / "new.ipynb")
    with pytest.raises(NotebookError, match=r"new\.ipynb has parameters and no quick profile: write quick_new\.yaml"):
        quick_profile(tmp_path / "new.ipynb")


@each_notebook
def test_a_notebook_draws_the_runs_of_its_function(source):
    code = "\n".join(cell.source for cell in derive(source).cells if cell.cell_type == "code")
    assert ("page.start()" in code and "figures." in code) == (source.stem in figures.FIGURES)
    if source.stem in figures.FIGURES:
        assert f"figures.{figures.FIGURES[source.stem].__name__}(**parameters)" in code
        assert figures.experiments_of(source)


def test_the_readme_has_the_figures_and_their_computing_time():
    assert publishing.figures_table() in publishing.README.read_text(encoding="utf-8"), "run: make refresh"


RUNS = """\
# %% [markdown]
# # Figure {0}: a test

# %% tags=["parameters"]
seeds: int = {0}

# %%
raise SystemExit("drawing is not for here")
"""


def runs(*, seeds):
    return [Experiment(dataset="digits", network="fc-8", probe_size=30, train_size=100, stages=[0], seed=seed)
            for seed in range(seeds)]


@pytest.fixture
def two_figures(tmp_path, monkeypatch, results_folder):
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    for number in (1, 2):
        (notebooks / f"fig0{number}_test.py").write_text(RUNS.format(number), encoding="utf-8")
        monkeypatch.setitem(figures.FIGURES, f"fig0{number}_test", runs)
    chapters = [{"file": "book/index"}, *({"file": f"notebooks/fig0{number}_test"} for number in (1, 2))]
    (tmp_path / "_toc.yml").write_text(yaml.safe_dump({"parts": [{"chapters": chapters}]}), encoding="utf-8")
    monkeypatch.setattr(refresh, "ROOT", tmp_path)
    monkeypatch.setattr(refresh, "NOTEBOOKS", notebooks)


def make_results(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["results", *arguments])
    publishing.main()


def test_results_are_computed_for_the_chosen_figures(two_figures, monkeypatch, capsys):
    def table():
        lines = capsys.readouterr().out.splitlines()[1:]
        return [line.split()[:3] for line in lines]

    for arguments, expected in (
        (["--list"], [["fig01_test", "1", "1"], ["fig02_test", "2", "2"]]),
        (["fig01"], [["fig01_test", "1", "0"]]),
        (["--list", "fig02", "fig01"], [["fig02_test", "2", "1"], ["fig01_test", "1", "0"]]),  # they share a run
    ):
        with pytest.raises(SystemExit) as end:
            make_results(monkeypatch, *arguments)
        assert end.value.code is None and table() == expected
    rows = publishing.figures_table().splitlines()[2:]
    assert rows[0] == (
        "| [Figure 1: a test](notebooks/fig01_test.ipynb) | `make results FIGURES=fig01` | 1 min, 1 run |")
    assert rows[1].endswith("| not all computed yet |")


def test_a_run_computed_again_is_compared_with_the_published_one(two_figures, monkeypatch, capsys, results_folder):
    with pytest.raises(SystemExit):
        make_results(monkeypatch, "fig01")
    path, = results_folder.glob("*.parquet")
    for change, message, different in ((0, None, "0"), (0.01, "some numbers are not those published", "1")):
        table = store.load(path)
        table.loc[3, "value"] += change
        store.save(table, path)
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            make_results(monkeypatch, "--again", "fig01")
        assert end.value.code == message
        assert capsys.readouterr().out.splitlines()[-1].split()[3] == different
    assert list(results_folder.iterdir()) == [path]


def test_an_unknown_figure_is_an_error(two_figures, monkeypatch):
    with pytest.raises(SystemExit, match="no notebook begins with fig9; there are fig01_test, fig02_test"):
        make_results(monkeypatch, "fig9")
