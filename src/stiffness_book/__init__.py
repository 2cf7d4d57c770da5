"""The machinery of the book "Stiffness, reproduced". It imports `stiffness`, never the other way round."""

import re
from importlib.metadata import PackageNotFoundError, requires, version


def check_installed(extra):
    """Raises ImportError that names the packages of an extra of `stiffness` that are not installed."""
    missing = []
    for requirement in requires("stiffness") or ():
        if re.search(rf"""extra == ['"]{extra}['"]""", requirement):
            name = re.match(r"[\w.-]+", requirement)[0]
            try:
                version(name)
            except PackageNotFoundError:
                missing.append(name)
    if missing:
        raise ImportError(f"stiffness_book needs {', '.join(missing)}: pip install 'stiffness[{extra}]'")


check_installed("notebook")
