"""What the pages say of the paper beside the runs, of rounding, and of how the paper's pictures were made."""

from itertools import combinations, product

import numpy as np

from stiffness.measures import between_classes, within_class
from stiffness_book import pictures, published, rounding
from stiffness_book import protocol as protocols
from stiffness_book.claims import in_words, outcomes
from stiffness_book.table import STIFFNESS, SUMMARIES
from stiffness_book.texts.tables import as_table, mean_of
from stiffness_book.words import percent, signed, signed3

# Beside the paper

def agreement_with_the_paper(pairs):
    """A table of how well matrices agree with the paper's, beside how well two runs of this book agree. pairs: those of
    a `ClassFigure`; empty without them."""
    rows, repeated = [], []
    for images, (ours, theirs) in pairs.items():
        means = [f"{signed(within_class(C))}, {signed(between_classes(C))}" for C in (ours.mean(axis=0), theirs)]
        with_paper = [published.agreement(C, theirs) for C in ours]
        among = [published.agreement(a, b) for a, b in combinations(ours, 2)]
        repeated += [one["correlation_between"] for one in among]
        rows.append([f"{images:,}", *means, *(_mean_of(found, "correlation_between", signed)
                                              for found in (with_paper, among)),
                     *(_mean_of(found, "distance", "{:.2f}".format) for found in (with_paper, among))])
    chance = len(repeated) > 0 and np.nanmean(repeated) < 0.5
    return rows and (
        as_table(["images seen", "here: within, between", "the paper: within, between", "correlation with the paper",
                "correlation of two runs here", "difference from the paper", "difference of two runs here"], rows)
        + ("\n\nWhich class helps which is mostly chance on so few images: two runs of this book hardly agree on it "
           "either. The means within and between classes can be compared." if chance else "")
        + "\n\nCorrelations are over the cells between classes, differences are absolute and over all cells. Each "
        "compares one run of this book with the paper's, or with another run of this book: if the paper's run were "
        "another run of ours, both would be about the same. The paper's cells are read off its colours, to "
        f"±{published.MATRIX_ERROR}. Each image is also paired with itself in all of these.")


def super_classes_beside_the_paper(images, ours, theirs, super_classes):
    """How the runs' matrix of many classes agrees with the paper's. ours, theirs: as from `blocks.beside_the_paper`."""
    groups = np.asarray(super_classes)
    apart = ~np.eye(len(theirs), dtype=bool)
    alike = (groups[:, None] == groups) & apart
    rows = [[words, mean_of([C[chosen].mean() for C in ours], signed3), signed3(theirs[chosen].mean())]
            for words, chosen in (("two classes of one super-class", alike), ("all other pairs", apart & ~alike))]
    with_paper = [published.agreement(C, theirs) for C in ours]
    among = [published.agreement(a, b) for a, b in combinations(ours, 2)]
    return (as_table(["sign stiffness of", f"this book, {images:,} images seen", "the paper"], rows)
            + "\n\nOver all pairs of classes, one run of this book correlates with the paper's by "
            f"{_mean_of(with_paper, 'correlation_between', signed)}, and with another run of this book by "
            f"{_mean_of(among, 'correlation_between', signed)}. The paper's probe set has three images per class "
            "(inferred), so that each of its cells is the mean of nine signs.")


def _mean_of(found, name, form):
    """The mean of a number of several `published.agreement`s, as text; a dash where it is never defined."""
    values = [one[name] for one in found if not np.isnan(one[name])]
    return form(np.mean(values)) if values else "–"


def verdicts_beside(exact, single):
    """A table of the parts of one claim judged twice: without rounding, and in single precision."""
    rows = [[part.name, in_words(part), outcome, in_words(other), also] for part, outcome, other, also in zip(
        exact.parts, outcomes(exact.parts), single.parts, outcomes(single.parts))]
    return (f"By the same rule, the claim would be judged *{single.verdict}* in single precision; without rounding it "
            f"is *{exact.verdict}*.\n\n" + as_table(["part", "exact", "", "single precision", ""], rows))


def protocol(number, provenance, **compared):
    """A table of what the paper did for a figure, what this book did, and why they differ; arguments: as of
    `stiffness_book.protocol.protocol`."""
    return as_table(["", "the paper's first version", "this book", "why they differ"],
                  protocols.protocol(number, provenance, **compared))


def beside(versions):
    """What the section on the other version's settings draws. versions: of the runs, the chosen one first."""
    return {"v1": "The same with the network and the stages of the paper's first version.",
            "v3": "The same with the network of the paper's third version. When that was measured, at which rates and "
                  "losses, is not known: these are this book's.",
            None: "Only the runs of one version are drawn here: the parameter `beside` is false."
            }[next((version for version in list(versions)[1:] if version in ('v1', 'v3')), None)]


# Over-fitting or rounding

def over_fitting_or_rounding(found, dataset):
    """The finding in a sentence. found: as from `rounding.curves`."""
    last = found["step"].max()
    within = found[(found["summary"] == "within_class") & (found["step"] == last)].groupby("arithmetic")["value"].mean()
    named = {"float32": "in float32 from logits", "clipped": "from clipped probabilities",
             "step_1e-3": "by the float32 change of the loss with a step of 1e-3"}
    ends = ", ".join(f"{signed(within[name])} {words}" for name, words in named.items() if name in within)
    exact, rounded = within[rounding.EXACT], within["float32"]
    word = "Mostly float32" if rounded < 1 and 1 - exact < 0.5 * (1 - rounded) else "Not float32 alone"
    paper = rounding.published_curves(dataset)
    theirs = [f" The paper's curve ends at {signed(value)}."
              for value in paper.loc[paper["summary"] == "within_class", "value"].iloc[-1:]]
    return (f"**Does over-fitting lose stiffness, or does float32?** {word}: at the end of training, stiffness within "
            f"classes is {signed(exact)} if it is computed without rounding. From the same weights it is {ends}."
            + "".join(theirs))


def at_equal_training_loss(tables):
    """A table of sign stiffness where the training loss first comes down to each value. tables: {training: table}"""
    rows = []
    losses = sorted({loss for table in tables.values() for loss in table["target_loss"].dropna()}, reverse=True)
    for loss, (name, table) in product(losses, tables.items()):
        own = table[table["target_loss"] == loss]
        if len(own):
            means = [mean_of(own.loc[own["quantity"] == quantity, "value"], bounds=STIFFNESS) for quantity in (
                "within_class_sign", "within_class_sign_single", "between_classes_sign", "between_classes_sign_single")]
            rows.append([f"{loss:g}", name, f"{own['seed'].nunique()} of {table['seed'].nunique()}",
                         f"{own.groupby('seed')['step'].first().median():,.0f}", *means])
    told = []
    reached = {name: set(table["target_loss"].dropna()) for name, table in tables.items()}
    first = min(next(iter(reached.values())), default=None)  # at which the other trainings are told if they reach it
    for name, table in tables.items():
        if reached[name]:
            loss = first if first in reached[name] else min(reached[name])
            own = table[table["target_loss"] == loss]
            exact, single = (signed(own.loc[own["quantity"] == f"within_class_sign{suffix}", "value"].mean())
                             for suffix in ("", "_single"))
            told.append(f"with {name}, at a training loss of {loss:g} (after "
                        f"{own.groupby('seed')['step'].first().median():,.0f} steps), it is {exact}, and {single} in "
                        "float32 from logits")
    return (f"*Stiffness within classes*: {'; '.join(told)}.\n\n" if told else "") + as_table(
        ["training loss", "trained with", "runs that reached it", "steps, median", "within classes, exact", "float32",
         "between classes, exact", "float32"], rows)


def distances_from_the_paper(distances):
    """A table of how far each arithmetic's curves are from the paper's, and which comes nearest.

    distances: {training: as from `rounding.distances`}; those without a curve of the paper's are empty.
    """
    rows, nearest = [], {}
    for training, found in distances.items():
        for arithmetic, words in rounding.WORDS.items():
            own = found[found["arithmetic"] == arithmetic]
            if len(own):
                cells = [mean_of(own.loc[own["summary"] == summary, "value"], "{:.2f}".format) for summary in SUMMARIES]
                rows.append([training, words, f"{own['stages'].max()}", *cells])
                nearest.setdefault(own["figure"].iloc[0], {})[f"{training}, {words}"] = own["value"].mean()
    order = " ".join(f"*Figure {figure}*: " + "; ".join(
        f"{name} ({value:.2f})" for name, value in sorted(found.items(), key=lambda item: item[1])) + "."
        for figure, found in nearest.items())
    return rows and (
        "The mean absolute difference between a run's curve and the paper's, over the paper's stages: mean and "
        "interval over the runs. The paper's curve is one run on few images, so even the right arithmetic would not "
        "give 0.\n\n"
        + as_table(["trained with", "arithmetic", "stages", "within classes", "between classes"], rows)
        + f"\n\nOver both curves, from the nearest to the farthest: {order}")


def zero_gradients_by_class(zeros, images):
    """A table of the share of images whose pair with itself has the sign 0, at the last stage. zeros: as from
    `rounding.zero_gradients` on so many probe images."""
    last = zeros[zeros["step"] == zeros["step"].max()]
    wide = last.groupby(["arithmetic", "class_a"])["value"].mean().unstack()
    rows = [[rounding.WORDS[arithmetic], *(percent(value) for value in wide.loc[arithmetic])]
            for arithmetic in rounding.WORDS if arithmetic in wide.index]
    most = wide.idxmax(axis=1)
    same = most.nunique() == 1
    told = (f"In each of these no class has more than class {most.iloc[0]}, {percent(wide.max(axis=1).min())} to "
            f"{percent(wide.max(axis=1).max())}" if same else "The class with the most is not the same in all of these")
    return (as_table(["share of images whose pair with itself has the sign 0, class", *map(str, wide.columns)], rows)
            + f"\n\n{told}. In the paper's last matrix class 0 is all zeros. Of {images} probe images, "
            f"{images // len(wide.columns)} per class; the mean over the runs.")


def symmetric_or_not(found):
    """A table of how far late matrices are from symmetric. found: as from `rounding.matrices`."""
    rows = []
    for arithmetic, words in rounding.WORDS.items():
        own = {(seed, step): C for (seed, step, name), C in found.items() if name == arithmetic}
        if own:
            last = max(step for _, step in own)
            uneven = [np.abs(C - C.T).max() for (_, step), C in own.items() if step == last]
            rows.append([words, f"{np.mean(uneven):.2f}", f"{max(uneven):.2f}"])
    theirs = pictures.asymmetry()["largest"].max()
    return (as_table(["arithmetic", "largest difference of mirrored cells, mean over runs", "largest of a run"], rows)
            + f"\n\nThe paper's largest difference is {theirs:.2f}. An inner product cannot give one, whatever the "
            "arithmetic; the change of the loss by a finite step can.")


# What the pictures say

def inferred():
    """The inferences in a paragraph."""
    images, passes, matrices = pictures.images_a_class(), pictures.lengths_of_a_pass(), pictures.asymmetry()
    best = images.loc[images["distance"].idxmin()]
    uneven = matrices[matrices["differ"] > 0]
    zero = pictures.first_half_step()
    return (f"**Inferred.** The paper's Figure 2 measures {best['images']:.0f} images per class, not 15; each image is "
            f"also paired with itself; a pass over MNIST is {passes['step'].iloc[0]:,} images; {len(uneven)} of "
            f"{len(matrices)} matrices are not symmetric, although inner products of gradients would be; and from "
            f"{zero:,} images on, some gradients are exactly zero.")


def grids(images):
    """A table of how near Figure 2's values are to the grid of each number of images. images: as from `pictures`."""
    rows = [[f"{row.images}", f"{row.pairs:,}", f"{row.spacing:.4f}", f"{row.distance:.2f}", f"{row.p:.4f}"]
            for row in images.itertuples() if row.images <= 10 or row.images == images["images"].max()]
    best = images.loc[images["distance"].idxmin()]
    head = ["images per class", "pairs of images", "spacing of the grid", "distance from the grid", "p"]
    return (as_table(head, rows)
            + f"\n\nThe values lie on the grid of {best['images']:.0f} images per class, which is "
            f"{10 * best['images']:.0f} images in all. For more than about ten, the grid is finer than the error of "
            "reading, and nothing could be told.")


def with_or_without_self_pairs(pairs):
    """A table of how near Figure 2's early values within classes are to the grids with and without self-pairs."""
    rows = [[row.pairs, f"{row.number}", f"{row.values}", f"{row.distance:.2f}"] for row in pairs.itertuples()]
    return as_table(["", "pairs in all classes", "values below 1", "distance from the grid"], rows)


def passes(found):
    """A table of the printed stages and their greatest common divisors. found: as from `pictures.lengths_of_a_pass`."""
    rows = [[row.of, ", ".join(f"{images:,}" for images in row.stages), f"{row.step:,}",
             ", ".join(map(str, row.passes)), f"{row.batches:,}"] for row in found.itertuples()]
    return as_table(["data", "late stages, images seen", "greatest common divisor", "stage ÷ divisor: passes",
                   "batches of 32"], rows)


def mirrored(matrices):
    """A table of how far each matrix of Figures 3 to 6 is from symmetric. matrices: as from `pictures.asymmetry`."""
    rows = [[f"{row.figure}, {row.of}", f"{row.images:,}", f"{row.largest:.2f}", f"{row.differ} of 45",
             percent(row.zero), f"{row.diagonal:.2f}"] for row in matrices.itertuples()]
    return as_table(["figure", "images seen", "largest difference", "pairs of cells that differ", "cells at 0",
                   "mean diagonal"], rows)


def zeros(matrices, first):
    """What shows gradients of zero. matrices: as from `pictures.asymmetry`."""
    empty = matrices[matrices["zero_rows"].map(len) > 0]
    rows = "; ".join(f"Figure {row.figure} after {row.images:,} images, class {row.zero_rows[0]}" for row in
                     empty.itertuples())
    last = matrices[matrices["figure"] == 6].iloc[-1]
    ends = sorted(pictures.zero_gradients(last["diagonal"], 15))
    return (f"In the paper's Figure 2 the first value halfway between two values of the grid comes after {first:,} "
            f"images. Whole rows of zeros are in {rows}: there even the pairs of an image with itself are 0. The last "
            f"matrix of Figure 6 has a mean diagonal of {last['diagonal']:.2f}. With self-pairs counted and 15 images "
            "per class, "
            f"{percent(ends[0])} of the gradients are then zero if the signs of all other pairs cancel, and "
            f"{percent(ends[1])} if they agree.")


def two_figures(stages):
    """Figures 2 and 3 at equal images seen. stages: as from `pictures.equal_images`."""
    told = [f"after {row.images:,} images {row.figure_2:.2f} in Figure 2 and {row.figure_3:.2f} in Figure 3"
            for row in stages.itertuples()]
    return (f"Both show a fully connected network on MNIST at a learning rate of 0.001. Within classes stiffness is "
            f"{'; '.join(told)}.")
