"""The first cell of a built notebook, which sets up Colab: the package and the stored results of the page's commit."""

import nbformat

SETUP = '''\
# Set RECOMPUTE to True to train here, on a GPU if there is one, instead of drawing the stored results.
# In Colab this cell installs the package at the commit of this page, which takes a minute; elsewhere it does nothing.
RECOMPUTE = False

import os

if "COLAB_RELEASE_TAG" in os.environ and not os.path.isdir("{folder}"):
    import subprocess
    import sys
    from importlib.metadata import version

    def run(*command):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{{' '.join(command)}}:\\n{{done.stderr}}")

    run("git", "init", "--quiet", "{folder}")
    run("git", "-C", "{folder}", "fetch", "--quiet", "--depth", "1", "{url}", "{commit}")
    run("git", "-C", "{folder}", "checkout", "--quiet", "FETCH_HEAD")
    kept = [f"{{name}}=={{version(name)}}" for name in ("tensorflow", "keras", "numpy")]  # Colab's own
    run(sys.executable, "-m", "pip", "install", "--quiet", "--editable", "{folder}[notebook]", *kept)
    sys.path.insert(0, os.path.abspath("{folder}/src"))
    os.chdir("{folder}/notebooks")
if RECOMPUTE:
    os.environ["STIFFNESS_RESULTS"] = os.path.abspath("recomputed")'''


def setup_cell(repository):
    """The cell, of which pages show nothing."""
    code = SETUP.format(folder=repository.name.split("/")[1], url=repository.url, commit=repository.commit)
    cell = nbformat.v4.new_code_cell(code, metadata={"tags": ["remove-cell"]}, execution_count=None)
    cell.id = "colab"
    return cell
