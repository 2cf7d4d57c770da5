"""The machinery of the book "Stiffness, reproduced". It imports `stiffness`, never the other way round."""

import re
from importlib.metadata import PackageNotFoundError, requires, version


def _missing():
    """The packages of the extra `book` that are not installed."""
    for requirement in requires("stiffness") or ():
        if re.search(r"""extra == ['"]book['"]""", requirement):
            name = re.match(r"[\w.-]+", requirement)[0]
            try:
                version(name)
            except PackageNotFoundError:
                yield name


if missing := [*_missing()]:
    raise ImportError(f"stiffness_book needs {', '.join(missing)}: pip install 'stiffness[book]'")
