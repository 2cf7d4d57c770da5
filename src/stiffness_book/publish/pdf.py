"""The whole book as one PDF, printed by Chromium or Chrome: python -m stiffness_book.publish.pdf"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from stiffness_book.publish.refresh import ROOT, NotebookError
from stiffness_book.publish.site import make_site

PROGRAMS = ("chromium", "google-chrome", "chrome", "chromium-browser")


def browser() -> str:
    """The program that prints. Raises NotebookError where there is none."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), None)
    if not found:
        raise NotebookError("the PDF is printed by Chromium or Chrome, and there is none: install it, or name the "
                            "program in CHROMIUM")
    return found


def make_pdf(output: Path) -> Path:
    """Build the book as one page from the committed notebooks and print it. Charts are printed as their pictures."""
    program = browser()
    with tempfile.TemporaryDirectory() as folder:
        page = make_site(Path(folder, "html"), run=False, builder="singlehtml")
        output.parent.mkdir(parents=True, exist_ok=True)
        # of its own profile, so that a browser that is open is left alone
        command = [program, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile",
                   "--no-pdf-header-footer", "--blink-settings=scriptEnabled=false", f"--print-to-pdf={output}",
                   page.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode or not output.is_file():
            raise NotebookError(f"{program} did not print the book: {done.stderr.strip()[-500:]}")
    return output


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "_build" / "stiffness.pdf")
    try:
        print(f"\nThe book: {make_pdf(parser.parse_args().output.resolve())}")
    except NotebookError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
