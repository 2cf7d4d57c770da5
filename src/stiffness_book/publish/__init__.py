"""The publishing pipeline: from notebooks/*.py to notebooks/*.ipynb and to the site."""

from stiffness_book import check_installed

check_installed("book")
