"""Marks that several test modules use."""

import pytest


def slow(*cases):
    """Parameters whose kind other parameters cover, too."""
    return [pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow) for case in cases]
