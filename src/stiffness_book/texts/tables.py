"""Tables as Markdown."""


def as_table(head, rows):
    """The rows, each a list of texts, below their head."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))
