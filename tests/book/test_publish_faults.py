"""Publishing, broken on purpose: builds and refreshes killed, two at once, kernels killed; the processes are real.

The small book is a copy of the packages with two notebooks, so nothing here can touch the real one.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import nbformat
import psutil
import pytest
import yaml

from stiffness_book.publish.refresh import ROOT

NOTEBOOK = """\
# %% [markdown]
# # {name}

# %%
import os
import time
from pathlib import Path

# %%
with open("../executed", "a") as log:
    log.write("{name}\\n")
while Path("../hold-{name}").exists():
    time.sleep(0.05)
print("{name} is done")
"""


class Book:
    def __init__(self, folder):
        self.folder, self.output = folder, folder / "out" / "html"
        self.processes = []

    def start(self, module, *arguments):
        """`python -m stiffness_book.publish.MODULE` on this book, with the processes that it starts in a group."""
        environment = os.environ | {"PYTHONPATH": str(self.folder / "src"), "PYTHONUNBUFFERED": "1"}
        environment.pop("STIFFNESS_RESULTS", None)
        process = subprocess.Popen([sys.executable, "-m", f"stiffness_book.publish.{module}", *arguments],
                                   cwd=self.folder, env=environment, start_new_session=True, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.processes.append(process)
        return process

    def build(self):
        return self.start("site", "--output", str(self.output))

    def executed(self):
        """The notebooks that have begun to be executed, in order."""
        log = self.folder / "executed"
        return log.read_text().split() if log.exists() else []

    def hold(self, name):
        (self.folder / f"hold-{name}").touch()

    def let_go(self, name):
        (self.folder / f"hold-{name}").unlink()

    def page(self, name):
        return (self.output / "notebooks" / f"{name}.html").read_text(encoding="utf-8")

    def left_behind(self):
        """What there is beside the site and its lock."""
        return {path.name for path in self.output.parent.iterdir()} - {"html", ".html.lock"}


@pytest.fixture
def book(tmp_path):
    folder = tmp_path / "small"
    for name in ("src", "assets"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("_config.yml", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    for name in ("book", "notebooks"):
        (folder / name).mkdir()
    (folder / "book" / "index.md").write_text("# A small book\n", encoding="utf-8")
    (folder / "book" / "references.bib").touch()
    names = ("one", "two")
    for name in names:
        (folder / "notebooks" / f"{name}.py").write_text(NOTEBOOK.format(name=name), encoding="utf-8")
    parts = [{"caption": "All", "chapters": [{"file": f"notebooks/{name}"} for name in names]}]
    toc = {"format": "jb-book", "root": "book/index", "parts": parts}
    (folder / "_toc.yml").write_text(yaml.safe_dump(toc), encoding="utf-8")
    small = Book(folder)
    yield small
    for process in small.processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)
    return value


def child(process, word):
    """The process that `process` has started and whose command holds the word; None where there is none."""
    assert process.poll() is None, process.communicate()
    for found in psutil.Process(process.pid).children(recursive=True):
        try:
            if word in found.cmdline():
                return found
        except psutil.Error:  # it has just ended
            continue
    return None


def ended(process):
    """What a process that ends by itself has written: its status, output and errors."""
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def test_a_killed_build_goes_on_with_what_it_has_executed(book):
    book.hold("two")
    first = book.build()
    wait_until(lambda: book.executed() == ["one", "two"])
    kernel = child(first, "ipykernel_launcher")
    first.kill()
    kernel.wait(timeout=30)  # ends with the build, alone
    book.let_go("two")

    second = book.build()  # no lock is left
    sphinx = wait_until(lambda: child(second, "--keep-going"))
    wait_until(lambda: list(book.output.parent.glob(".html-unfinished/build-*/html/*")))  # early: no page is there yet
    second.kill()
    assert sphinx.is_running()  # it still writes
    assert book.executed() == ["one", "two", "two"]
    assert not book.output.exists()

    status, out, err = ended(book.build())
    assert status == 0, err
    assert re.findall(r"^(run|keep) (\w+)", out, re.MULTILINE) == [("keep", "one"), ("keep", "two")]
    assert book.executed() == ["one", "two", "two"]
    assert "one is done" in book.page("one") and "two is done" in book.page("two")
    sphinx.wait(timeout=120)


def test_of_two_builds_at_once_the_second_is_refused(book):
    book.hold("two")
    first = book.build()
    wait_until(lambda: book.executed() == ["one", "two"])
    status, _, err = ended(book.build())
    assert status == 1
    assert err.strip() == f"process {first.pid} is writing {book.output}: wait until it ends, or stop it"
    book.let_go("two")
    status, _, err = ended(first)
    assert status == 0, err
    assert book.executed() == ["one", "two"]
    assert "one is done" in book.page("one") and "two is done" in book.page("two")
    assert not book.left_behind()


def test_what_is_no_site_is_refused_before_anything_is_executed(book):
    book.output.mkdir(parents=True)
    (book.output / "thesis.tex").touch()
    status, _, err = ended(book.build())
    assert status == 1 and "holds something other than a site: remove it or choose another --output" in err
    assert not book.executed() and [path.name for path in book.output.iterdir()] == ["thesis.tex"]


def test_a_notebook_whose_kernel_is_killed_stays_as_it_was(book):
    notebooks = book.folder / "notebooks"
    (notebooks / "one.ipynb").write_text("as it was", encoding="utf-8")
    book.hold("one")
    refresh = book.start("refresh")
    wait_until(lambda: book.executed() == ["one"])
    child(refresh, "ipykernel_launcher").kill()
    status, _, err = ended(refresh)
    assert status == 1
    assert re.search(r"one\.py, cell 3: its kernel died\. .* memory", err)
    assert err.splitlines()[-1] == "not refreshed, their .ipynb is as it was: one"
    assert (notebooks / "one.ipynb").read_text(encoding="utf-8") == "as it was"
    cells = nbformat.read(notebooks / "two.ipynb", as_version=4).cells
    assert cells[-1].outputs[0].text == "two is done\n"
    assert {path.name for path in notebooks.iterdir()} == {"one.py", "two.py", "one.ipynb", "two.ipynb"}


def test_a_build_whose_kernel_is_killed_names_the_notebook(book):
    book.hold("two")
    build = book.build()
    wait_until(lambda: book.executed() == ["one", "two"])
    child(build, "ipykernel_launcher").kill()
    status, _, err = ended(build)
    assert status == 1 and re.match(r"two\.py, cell 3: its kernel died\. .* memory", err.splitlines()[-1])
    assert not book.output.exists()


KILLED_WHILE_WRITING = """\
import os, signal
from stiffness_book.publish import refresh

os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # between writing and renaming
source, = refresh.sources(["one"])
refresh.write(refresh.derive(source), source.with_suffix(".ipynb"))
"""


def test_what_a_killed_refresh_leaves_is_removed_by_the_next(book):
    notebooks = book.folder / "notebooks"
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING],
                            env=os.environ | {"PYTHONPATH": str(book.folder / "src")})
    left, = notebooks.glob(".*")
    assert killed.returncode == -signal.SIGKILL and left.name == ".one.ipynb.partial"

    status, _, err = ended(book.start("refresh", "two"))
    assert status == 0, err
    assert {path.name for path in notebooks.iterdir()} == {"one.py", "two.py", "two.ipynb"}


def test_of_two_refreshes_at_once_the_second_is_refused(book):
    book.hold("one")
    first = book.start("refresh", "one")
    wait_until(lambda: book.executed() == ["one"])
    status, _, err = ended(book.start("refresh", "two"))
    assert status == 1
    assert err.startswith(f"process {first.pid} is writing {book.folder / 'notebooks'}: wait until it ends")
    assert book.executed() == ["one"]
    book.let_go("one")
    assert ended(first)[0] == 0


@pytest.mark.parametrize(("module", "words"), [("site", "the same command goes on"), ("refresh", "is as it was")])
def test_an_interrupt_stops_all_in_a_line_and_leaves_no_process(module, words, book):
    book.hold("one")
    process = book.start(module)
    wait_until(lambda: book.executed() == ["one"])
    kernel = child(process, "ipykernel_launcher")
    os.kill(process.pid, signal.SIGINT)
    status, _, err = ended(process)
    assert status == 1 and re.fullmatch(f"interrupted; .*{words}.*\n", err), err
    kernel.wait(timeout=30)
    assert book.executed() == ["one"]


def test_a_build_that_is_terminated_takes_its_kernel_with_it(book):
    book.hold("one")
    build = book.build()
    wait_until(lambda: book.executed() == ["one"])
    kernel = child(build, "ipykernel_launcher")
    build.terminate()
    status, _, err = ended(build)
    assert status == -signal.SIGTERM and not err
    kernel.wait(timeout=30)
