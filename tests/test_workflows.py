"""The workflows of GitHub Actions: pinned, with least permissions, and calling commands that there are."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
WRITES = {("book", "contents"), ("release", "id-token")}  # (workflow, permission), each of one job


def jobs(text):
    return yaml.safe_load(text)["jobs"].values()


def faults(name, text):
    """What is wrong with a workflow."""
    found = [f"{line.strip()} is not pinned by commit with its version" for line in text.splitlines()
             if "uses:" in line and not re.search(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)*$", line)]
    if yaml.safe_load(text).get("permissions") != {"contents": "read"}:
        found.append("its permissions are not read only")
    for job in jobs(text):
        found += [f"a job may {right} {scope}" for scope, right in job.get("permissions", {}).items()
                  if right != "read" and (name, scope) not in WRITES]
        found += ["a job has no timeout"] * ("timeout-minutes" not in job)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    found += [f"there is no make {target}" for target in re.findall(r"\bmake ([a-z-]+)", text) if target not in targets]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_workflow_is_pinned_and_may_do_little(path):
    assert not faults(path.stem, path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("before, after, fault", [
    ("actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2", "actions/checkout@v4", "not pinned"),
    ("contents: read", "contents: write", "not read only"), ("make test", "make tests", "no make tests"),
    ("    timeout-minutes: 60\n", "", "no timeout"),
    ("runs-on:", "permissions: {packages: write}\n    runs-on:", "packages"),
])
def test_a_planted_fault_is_found(before, after, fault):
    text = (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
    assert before in text
    assert any(fault in found for found in faults("test", text.replace(before, after)))


def test_what_is_to_run_when():
    # in YAML 1.1 the word "on" means true
    events = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))[True] for path in FILES}
    assert "pull_request" in events["test"] and events["book"]["push"] == {"branches": ["main"]}
    assert {"newest", "nightly"} == {name for name, on in events.items() if "schedule" in on}
    assert "release" in events["release"]


@pytest.mark.skipif(not shutil.which("actionlint"), reason="actionlint is not installed")
def test_actionlint_finds_nothing():
    done = subprocess.run(["actionlint", *FILES], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
