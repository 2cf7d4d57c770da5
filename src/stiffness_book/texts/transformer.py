"""What the page on transformers says."""

from stiffness_book import summaries
from stiffness_book.table import QUANTITIES, SUMMARIES
from stiffness_book.texts.tables import as_table, mean_of
from stiffness_book.words import WORDS, percent, signed

WHOLE_MNLI = {"train": 392_702, "validation": 9_815}  # the published pairs, of validation the matched ones


def pattern_of_transformers(tables, name):
    """The finding in a sentence. tables: those of the runs, by the network's name in words."""
    told = []
    for network, table in tables.items():
        first, *_, last = _stages(table)
        within, between = ([_mean(table, quantity, step, signed) for step in (first, last)]
                           for quantity in ("within_class_cosine", "between_classes_sign"))
        told.append(f"{network}, cosine stiffness within classes goes from {within[0]} to {within[1]} and sign "
                    f"stiffness between them from {between[0]} to {between[1]}")
    return (f"**Does a transformer behave like the networks on images?** On {name}, from initialisation to the last "
            f"stage: {'; '.join(told)}.")


def pairs_at_hand(provenance, dataset):
    """On how many pairs of sentences the runs are, and of MNLI, what share of it that is."""
    sizes = provenance["split_sizes"].iloc[0]
    told = f"The runs learn {sizes['train']:,} pairs and are tested on {sizes['validation']:,}."
    if dataset != "glue/mnli":
        return told
    if sizes == WHOLE_MNLI:
        return f"{told} That is all of MNLI."
    told += f" MNLI has {WHOLE_MNLI['train']:,} and {WHOLE_MNLI['validation']:,}."
    if sum(sizes.values()) != WHOLE_MNLI["validation"]:
        return told
    return (f"{told} The pairs here are those of its matched validation split, of which one in five is kept for "
            "validation. So the networks learn much less than is usual, and nearly every premise of the validation "
            "split also stands in the training split, with another hypothesis.")


def accuracy_beside_the_majority(tables):
    """A table of accuracies at the lowest validation loss and at the last stage."""
    rows = []
    for name, table in tables.items():
        for step in _stages(table)[1:]:
            measured = [_mean(table, quantity, step, form) for quantity, form in (
                ("train_loss", "{:.3g}".format), ("validation_loss", "{:.3g}".format), ("train_accuracy", percent),
                ("validation_accuracy", percent), ("majority_accuracy", percent))]
            rows.append([name, f"{step:,}", *measured])
    return (as_table(["network", "steps", "training loss", "validation loss", "training accuracy",
                      "validation accuracy", "always the commonest class"], rows)
            + "\n\nOf each network first the stage with the lowest mean validation loss, then the last. All are "
            "measured in inference mode, those of training on a fixed set of training pairs.")


def with_and_without_the_head(tables):
    """A table of stiffness by all parameters and by those before the head, and of the parts of the trace."""
    rows = []
    for name, table in tables.items():
        for step in _stages(table):
            cells = []
            for kind in ("cosine", "sign"):
                for summary in SUMMARIES:
                    both = (summaries.at(table, f"{summary}_{kind}{suffix}", step)["mean"] for suffix in ("", "_body"))
                    cells.append(" / ".join(map(signed, both)))
            shares = (percent(summaries.at(table, f"{part}_share", step)["mean"]) for part in ("head", "embedding"))
            rows.append([name, f"{step:,}", *cells, *shares])
    return (as_table(["network", "steps", *(f"{WORDS[summary]}, {kind}" for kind in ("cosine", "sign")
                                            for summary in SUMMARIES), "share of the head", "share of the embeddings"],
                     rows)
            + "\n\nMeans over the runs, by all parameters / without the head. The shares are of the trace of the Gram "
              "matrix, which is the sum of the squared norms of the gradients.")


def _mean(table, quantity, step, form):
    return mean_of(summaries.at_seeds(table, quantity, step), form, QUANTITIES[quantity].range)


def _stages(table):
    """The steps of the first stage, of the lowest mean validation loss and of the last stage, each once."""
    first, last = summaries.first_and_last(table)
    return list(dict.fromkeys((first, summaries.onset(table), last)))
