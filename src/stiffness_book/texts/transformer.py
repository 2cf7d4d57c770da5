"""What the page on transformers says."""

from stiffness_book import summaries
from stiffness_book.claims.parts import CLEAR
from stiffness_book.table import QUANTITIES, SUMMARIES
from stiffness_book.texts.tables import as_table, mean_of, yes_or_no
from stiffness_book.words import WORDS, interval, listed, percent, signed

WHOLE_MNLI = {"train": 392_702, "validation": 9_815}  # the published pairs, of validation the matched ones
LOSSES = ["train_loss", "validation_loss"]


def pattern_of_transformers(tables, name, verdict):
    """The finding in sentences. tables: those of the runs, by the network's name in words; verdict: on C11."""
    told = []
    for network, table in tables.items():
        *_, last = stages = _stages(table)
        within, between = ([summaries.at(table, quantity, step)["mean"] for step in stages]
                           for quantity in ("within_class_cosine", "between_classes_sign"))
        inside, across = (listed(map(signed, values)) for values in (within, between))
        lowest = f", after {stages[1]:,} steps (lowest validation loss)" if len(stages) > 2 else ""
        told.append(f"*{network[0].upper()}{network[1:]}*, before training{lowest} and after {last:,} steps, stiffness "
                    f"within classes is {inside} by cosine, and between classes {across} by sign.")
        if len(stages) > 2 and between[1] <= between[0] and between[2] >= between[1] + CLEAR:
            told.append("Between classes it grows only while the network over-fits.")
    return (f"**Does a transformer behave like the networks on images?** {yes_or_no(verdict)}. On {name}: "
            f"{' '.join(told)}")


def pairs_at_hand(provenance, dataset):
    """On how many pairs of sentences the runs are, and of MNLI, what share of it that is."""
    sizes = provenance["split_sizes"].iloc[0]
    told = f"The networks train on {sizes['train']:,} pairs and are validated on {sizes['validation']:,}."
    if dataset != "glue/mnli":
        return told
    if sizes == WHOLE_MNLI:
        return f"{told} That is all of MNLI."
    told += (f" MNLI has {WHOLE_MNLI['train']:,} training pairs and {WHOLE_MNLI['validation']:,} matched validation "
             "pairs.")
    if sum(sizes.values()) == WHOLE_MNLI["validation"]:
        told += (" Only the latter are at hand here. Four in five of them serve for training, which is "
                 f"{percent(sizes['train'] / WHOLE_MNLI['train'])} of what MNLI has for it. Nearly every validation "
                 "pair shares its first sentence with a training pair, whose second sentence is another.")
    return told


def what_transformers_learn(tables):
    """What each network has learnt at the last stage, in sentences: its training pairs, and others."""
    told = []
    for network, table in tables.items():
        last = summaries.first_and_last(table)[-1]
        trained, new, majority = (summaries.at(table, quantity, last)["mean"] for quantity in (
            "train_accuracy", "validation_accuracy", "majority_accuracy"))
        by_heart = trained > 1 - CLEAR and new < majority + CLEAR / 2
        told.append(f"*{network[0].upper()}{network[1:]}*: after {last:,} steps {percent(trained)} of the training "
                    f"pairs are classified correctly and {percent(new)} of new ones; the commonest class alone would "
                    f"give {percent(majority)}."
                    + (" So it learns its training pairs by heart, and nothing that helps with others: what it shows "
                       "is to be compared with [permuted labels](fig04_permuted_labels.ipynb) too."
                       if by_heart else ""))
    return "\n\n".join(told)


def accuracy_beside_the_majority(tables):
    """A table of losses and accuracies at initialisation, at the lowest validation loss and at the last stage."""
    rows = []
    for name, table in tables.items():
        losses = summaries.loss_curves(table, LOSSES).set_index(["quantity", "step"])
        for step in _stages(table):
            rows.append([name, f"{step:,}",
                         *(interval(losses.loc[(quantity, step)], "{:.3f}".format) for quantity in LOSSES),
                         *(_at(table, quantity, step, percent) for quantity in (
                             "train_accuracy", "validation_accuracy", "majority_accuracy"))])
    return (as_table(["network", "steps", "training loss", "validation loss", "training accuracy",
                      "validation accuracy", "always the commonest class"], rows)
            + "\n\nFor each network: before training, at the stage with the lowest mean validation loss, and at the "
            "last stage. Means of losses are geometric. All is measured in inference mode, and on a fixed set of the "
            "training pairs.")


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
                                            for summary in SUMMARIES), "the head’s share", "the embeddings’ share"],
                     rows)
            + "\n\nMeans over the runs, from all parameters / without those of the head. The shares are of the squared "
              "norms of the gradients, summed over the probe set.")


def _at(table, quantity, step, form=signed):
    return mean_of(summaries.at_seeds(table, quantity, step), form, QUANTITIES[quantity].range)


def _stages(table):
    """The steps of the first stage, of the lowest mean validation loss and of the last stage, each once."""
    first, last = summaries.first_and_last(table)
    return list(dict.fromkeys((first, summaries.onset(table), last)))
