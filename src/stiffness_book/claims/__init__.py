"""The papers' claims, each judged by a rule that the program applies and the page prints."""

from stiffness_book.claims.rules import *  # noqa: F403
