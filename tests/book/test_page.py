"""What notebooks do before and after their story: parameters, runs that diverged, text that is not markup."""

import html
import subprocess
import sys

import nbformat
import papermill
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from stiffness_book import figures
from stiffness_book.experiment import Experiment
from stiffness_book.publish.refresh import NOTEBOOKS, derive, write

CELLS = ["""\
stages: list = [0, 5]
unit_length: bool = True
seeds: int = 1
""", """\
from stiffness_book import figures, page

parameters = page.start()
runs = figures.long_training(setting="v3", beside=False, datasets=["digits"], network="fc-8", train_size=100,
                             probe_size=30, **parameters)["v3"]
print(runs[0].unit_length, len(runs), list(runs[0].stages))
"""]


@pytest.fixture
def notebook(tmp_path):
    cells = [new_code_cell(source) for source in CELLS]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), tmp_path / "in.ipynb")
    return tmp_path / "in.ipynb"


def by_command(notebook, *options):
    """papermill as people call it: output of the notebook, and what it prints on its failure."""
    result = subprocess.run([sys.executable, "-m", "papermill", "--no-progress-bar", str(notebook),
                             str(notebook.with_name("out.ipynb")), *options], capture_output=True, text=True)
    printed = [output.text for cell in nbformat.read(notebook.with_name("out.ipynb"), 4).cells
               for output in cell.get("outputs", []) if output.output_type == "stream"]
    return "".join(printed), result.stderr


def test_parameters_arrive_as_they_are_meant(notebook):
    printed, _ = by_command(notebook, "-p", "unit_length", "false", "-y", "stages: [0, 7]", "-p", "seeds", "2")
    assert printed == "False 2 [0, 7]\n"


@pytest.mark.parametrize("options, error", [
    (["-p", "stages", "[0, 7]"], r"TypeError: stages is the text '[0, 7]'; expected a list"),
    (["-p", "seedz", "2"], "NameError: unknown parameter seedz; this notebook's are seeds, stages, unit_length"),
    (["-p", "unit_length", "maybe"], "TypeError: unit_length is 'maybe'; expected true or false")])
def test_parameters_that_cannot_be_meant_are_named(notebook, options, error):
    printed, told = by_command(notebook, *options)
    assert not printed and error in told


@pytest.mark.parametrize("seeds", [0, -2, "abc", 1.5, True])
def test_a_number_of_runs_that_is_none(seeds):
    with pytest.raises(ValueError, match=rf"seeds is {seeds!r}; expected the number of runs, 1 or more"):
        figures.at_equal_loss(setting="v1", beside=True, losses={"digits": [0.5]}, learning_rates=[0.1], seeds=seeds)


def test_what_is_shown_must_be_measured():
    with pytest.raises(ValueError, match="shown_stage is 7"):
        figures.super_classes(seeds=1, stages=[0, 5], shown_stage=7, super_classes=None, living=None)
    with pytest.raises(ValueError, match=r"shown_losses of digits is 0\.3"):
        figures.distance(setting="v1", beside=True, losses={"digits": [0.5]}, shown_losses={"digits": 0.3}, seeds=1)
    with pytest.raises(ValueError, match="probe_images is 20; expected one of nested_probes"):
        figures.rounding(compared=["all images"], dataset="digits", seeds=1, few_images=5, probe_images=20)
    with pytest.raises(ValueError, match="compared has long; expected some of all images, few images, images of"):
        figures.rounding(compared=["long"], dataset="digits", seeds=1, few_images=5, probe_images=30)


def test_a_figure_has_a_run_for_each_data_set_rate_and_seed():
    runs = figures.at_equal_loss(setting="v3", beside=True, losses={"digits": [0.5], "mnist": [0.3]},
                                 learning_rates=[0.1, 0.2], max_steps=50, seeds=2)
    assert list(runs) == ["v3", "v1"] and len(runs["v1"]) == 8 and runs["v1"][0].nested_probes == (150, 30)
    assert runs["v3"] == [Experiment(dataset=dataset, learning_rate=rate, seed=seed, stages=[0, 1825, 9125],
                                     stage_losses=losses, max_steps=50)
                    for dataset, losses in (("digits", [0.5]), ("mnist", [0.3])) for rate in (0.1, 0.2)
                    for seed in (0, 1)]


def test_the_setting_is_a_version_and_what_is_given_replaces_both():
    with pytest.raises(ValueError, match="setting is 'v2'; expected the version of the paper, v1 or v3"):
        figures.class_stiffness(setting="v2", beside=True, seeds=1)
    runs = figures.class_stiffness(setting="v1", beside=True, seeds=1, learning_rate=0.01, network=None, stages=None)
    assert [(version, run.network, run.learning_rate) for version, (run,) in runs.items()] == [
        ("v1", "fc-400-200-200-200-200-200", 0.01), ("v3", "fc-500-300-100", 0.01)]
    assert runs["v1"][0].stages[-1] == 179475 and runs["v1"][0].stage_losses
    (alone,) = figures.class_stiffness(setting="v1", beside=False, seeds=1, stages=[0, 5]).values()
    assert alone[0].stages == (0, 5) and not alone[0].stage_losses  # and so the run ends there
    memorising = figures.permuted_labels(setting="v1", beside=False, seeds=1, memorising_learning_rate=0.01,
                                         memorising_train_size=50)["memorising"][0]
    assert (memorising.network, memorising.train_size, memorising.learning_rate) == ("fc-500-300-100", 50, 0.01)


def markdown(notebook):
    return "\n\n".join(output.data["text/markdown"] for cell in notebook.cells for output in cell.get("outputs", [])
                       if "text/markdown" in output.get("data", {}))


SAID = """\
from stiffness_book import page

page.say("of class </script><script>alert(1)</script>, p < 0.01", "", "| a |\\n|---|\\n| 1 |")
"""


def test_html_in_a_text_is_shown_as_text(tmp_path):
    nbformat.write(new_notebook(cells=[new_code_cell(SAID)]), tmp_path / "in.ipynb")
    papermill.execute_notebook(tmp_path / "in.ipynb", tmp_path / "out.ipynb", kernel_name="python3", progress_bar=False)
    said = markdown(nbformat.read(tmp_path / "out.ipynb", 4))
    assert "<" not in said and "p &lt; 0.01" in said and html.unescape(said).count("</script>") == 2
    assert said.count("\n\n") == 1  # the empty text is not shown


def test_a_page_of_runs_that_diverge(tmp_path, results_folder):
    write(derive(NOTEBOOKS / "fig03_class_stiffness_mnist.py"), tmp_path / "in.ipynb")
    drawn = papermill.execute_notebook(
        tmp_path / "in.ipynb", tmp_path / "out.ipynb", cwd=tmp_path, progress_bar=False, parameters={
            "dataset": "digits", "network": "fc-60-40", "optimizer": "sgd", "learning_rate": 1000.0, "seeds": 2,
            "probe_size": 200, "stages": [0, 20, 100], "beside": False})
    said = markdown(drawn)
    assert "**2 of 2 runs diverged:**" in said and "seed 0 at step " in said
    assert "nan" not in said and "+1.00 [+1.00, +1.00] after 100" not in said
