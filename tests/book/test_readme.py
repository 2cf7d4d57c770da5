"""The README's Python runs as it is printed, and its links lead somewhere."""

import re

from stiffness_book.store import REPOSITORY


def test_python_examples_run(capsys):
    examples = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert examples
    for example in examples:
        exec(compile(example, "README.md", "exec"), {})
    within, between = map(float, capsys.readouterr().out.split())
    assert -1 <= between < within <= 1


def test_links_lead_to_files():
    links = re.findall(r"\]\(([^)#]+)", (REPOSITORY / "README.md").read_text(encoding="utf-8"))
    files = [link for link in links if not re.match("[a-z]+:", link)]
    assert files and all((REPOSITORY / file).exists() for file in files)
