"""The book's charts: functions of a tidy table that return an Altair chart with its alternative text."""

from stiffness_book.charts.charts import *  # noqa: F403
