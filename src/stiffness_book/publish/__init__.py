"""The publishing pipeline: from notebooks/*.py to notebooks/*.ipynb and to the site."""
