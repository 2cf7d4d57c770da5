"""The examples in the public docstrings, run as they stand."""

import doctest
import inspect

import pytest

import stiffness
from stiffness import callback, gram, measures


@pytest.mark.parametrize("module", [callback, gram, measures], ids=lambda module: module.__name__)
def test_the_examples_of_the_docstrings(module):
    failed, tried = doctest.testmod(module)
    assert tried and not failed


def test_every_public_name_has_an_example():
    for name in stiffness.__all__:
        assert ">>> " in inspect.getdoc(getattr(stiffness, name)), name
