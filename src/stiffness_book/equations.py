"""Which function computes each equation of the theory page, and which tests check it.

A docstring of the library cites "equation `LABEL`"; a test has the mark `@pytest.mark.equation("LABEL")`.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LABEL = re.compile(r"^:label: (\S+)$", re.MULTILINE)
CITED = re.compile(r"equation\s+`([\w-]+)`")


def labels() -> list[str]:
    """The labels of the theory page's equations, in their order."""
    return LABEL.findall((ROOT / "book" / "theory.md").read_text(encoding="utf-8"))


def functions() -> dict[str, list[str]]:
    """{label: the library's public functions and methods whose docstrings cite it}"""
    found: dict[str, list[str]] = {}
    for _, name, node in _functions(sorted((ROOT / "src" / "stiffness").glob("*.py"))):
        for label in CITED.findall(ast.get_docstring(node) or ""):
            found.setdefault(label, []).append(name)
    return found


def tests() -> dict[str, list[tuple[str, str]]]:
    """{label: (file, test) of the tests that are marked with it}"""
    found: dict[str, list[tuple[str, str]]] = {}
    for file, name, node in _functions(sorted((ROOT / "tests").rglob("*.py"))):
        for call in node.decorator_list:
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.equation":
                found.setdefault(ast.literal_eval(call.args[0]), []).append((file, name))
    return found


def tests_table() -> str:
    """A Markdown table with a row for each equation: its number, its functions, its tests."""
    rows = ["| equation | functions | tests |", "|---|---|---|"]
    cited, marked = functions(), tests()
    for label in labels():
        by_file: dict[str, list[str]] = {}
        for file, name in marked.get(label, []):
            by_file.setdefault(file, []).append(f"`{name}`")
        names = "; ".join(f"`{file}`: {', '.join(those)}" for file, those in by_file.items())
        rows.append(f"| {{eq}}`{label}` | {', '.join(f'`{name}`' for name in cited.get(label, []))} | {names} |")
    return "\n".join(rows)


def _functions(paths):
    """(file, name, node) of each function, and as Class.method of each method."""
    for path in paths:
        for outer in ast.parse(path.read_text(encoding="utf-8")).body:
            for node in ast.walk(outer):
                if isinstance(node, ast.FunctionDef):
                    name = node.name if node is outer else f"{getattr(outer, 'name', '')}.{node.name}"
                    yield path.relative_to(ROOT).as_posix(), name, node
