"""The README's Python runs as it is printed."""

import re

from stiffness_book.store import REPOSITORY


def test_python_examples_run(capsys):
    examples = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert examples
    for example in examples:
        exec(compile(example, "README.md", "exec"), {})
    within, between = map(float, capsys.readouterr().out.split())
    assert -1 <= between < within <= 1
