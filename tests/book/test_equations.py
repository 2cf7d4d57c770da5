"""The theory page's equations, the docstrings that cite them and the tests that check them belong together."""

from stiffness_book import equations


def test_every_equation_has_a_test_and_every_mark_an_equation():
    assert set(equations.tests()) == set(equations.labels()) and equations.labels()


def test_every_equation_has_a_function_and_every_citation_an_equation():
    assert set(equations.functions()) == set(equations.labels())


def test_the_table_has_a_row_for_each_equation():
    header, _, *rows = equations.tests_table().splitlines()
    assert header == "| equation | functions | tests |"
    assert [row.split("`")[1] for row in rows] == equations.labels()
    assert "`class_stiffness`" in rows[3] and "`tests/library/test_measures.py`: `test_class_stiffness_by" in rows[3]
