"""What the pages of Figures 2 to 7 say: how stiffness evolves through training, by class and by super-class."""

from itertools import product

from stiffness_book import blocks, summaries
from stiffness_book.claims.parts import CLEAR, SMALL
from stiffness_book.table import KINDS, STIFFNESS, SUMMARIES
from stiffness_book.texts.tables import as_table
from stiffness_book.words import WORDS, interval, percent, signed, signed3, small

# Figure 2

def losses_at_the_onset(dataset, table):
    """The losses and accuracies at the onset of over-fitting and at the last stage."""
    start, last = summaries.onset(table), summaries.first_and_last(table)[-1]
    train, validation = (summaries.loss_curves(table, [f"{name}_loss"]).set_index("step")["mean"]
                         for name in ("train", "validation"))
    accuracy = [interval(summaries.at(table, "validation_accuracy", step), percent) for step in (start, last)]
    return (
        f"**{dataset}.** The validation loss is lowest after {start:,} steps, at {validation[start]:.2f}, where the "
        f"training loss is {small(train[start])}; after {last:,} steps they are {validation[last]:.2f} and "
        f"{small(train[last])}. The training loss is lowest after {train.idxmin():,} steps, at {small(train.min())}. "
        f"The networks classify {accuracy[0]} of the validation images correctly at the onset, {accuracy[1]} at the "
        "last stage." + ("" if last > start else " So these runs do not over-fit."))


def stiffness_after_the_onset(table):
    """A table of how stiffness changes from the onset of over-fitting on."""
    rows = []
    for kind, summary in product(KINDS, SUMMARIES):
        stages = summaries.stiffness_curves(table, [f"{summary}_{kind}"]).set_index("step").loc[summaries.onset(table):]
        extremes = [f"{interval(stages.loc[step])}, {step:,} steps"
                    for step in (stages["mean"].idxmax(), stages["mean"].idxmin())]
        zero = stages.index[(stages["low"] <= 0) & (stages["high"] >= 0)]
        rows.append([f"{WORDS[summary]}, {kind}", interval(stages.iloc[0]), *extremes, interval(stages.iloc[-1]),
                     f"{zero[0]:,} steps" if len(zero) else "never"])
    return as_table(["from the onset on", "at the onset", "highest", "lowest", "at the last stage",
                   "interval first contains 0"], rows)


def negative_at_the_onset(tables):
    """A note on the data sets whose between-class stiffness is below 0 before it could fall towards it."""
    negative = [dataset for dataset, table in tables.items()
                if summaries.at(table, "between_classes_sign", summaries.onset(table))["mean"] < 0]
    return negative and (f"Between classes, stiffness is already negative at the onset ({', '.join(negative)}), so "
                         "that a fall leads away from 0. The rule still asks for a fall, because the paper shows one.")


def lowest_in_single_precision(dataset, table):
    """The lowest within-class sign stiffness with the loss in single precision, beside the exact one."""
    exact, single = (summaries.stiffness_curves(part, ["within_class_sign"]).set_index("step")
                     for part in (table, summaries.in_single_precision(table)))
    lowest = single["mean"].idxmin()
    return (f"**{dataset}.** Within classes, the lowest mean in single precision is {interval(single.loc[lowest])}, "
            f"after {lowest:,} steps; without rounding it is {interval(exact.loc[lowest])} there, and "
            f"{interval(exact.loc[exact['mean'].idxmin()])} at its lowest.")


def rounding_or_over_fitting(tables):
    """The finding in a sentence, on the data set that loses most of its stiffness to rounding. tables: {name: table}"""
    lowest = {}
    for dataset, table in tables.items():
        exact, single = (summaries.stiffness_curves(part, ["within_class_sign"]).set_index("step")["mean"]
                         for part in (table, summaries.in_single_precision(table)))
        step = single.idxmin()
        lowest[dataset] = single[step] - exact[step], step, single[step], exact[step]
    dataset = min(lowest, key=lowest.get)
    _, step, single, exact = lowest[dataset]
    share = (1 - exact) / (1 - single) if single < 1 else 1
    word = "mostly through rounding" if share < 0.5 else "mostly through over-fitting"
    return (f"**Does stiffness vanish through over-fitting, or through rounding?** In fully connected networks {word}: "
            f"on {dataset}, at its lowest, after {step:,} steps, stiffness within classes is {signed(single)} in "
            f"single precision and {signed(exact)} without rounding.")


# Figures 3, 5 and 6

def help_between_classes(dataset, table, *, cosine=True):
    """The finding in a sentence; cosine: and in a second one by cosine."""
    first, last = summaries.first_and_last(table)
    before, then = (summaries.at(table, "between_classes_sign", step) for step in (first, last))
    word = ("no, it harms them about as often as it helps" if then["low"] > -CLEAR and then["high"] < CLEAR else
            "yes" if then["low"] > 0 else "no, it harms them" if then["high"] < 0 else "not clearly")
    by_cosine = interval(summaries.at(table, "between_classes_cosine", last), signed3)
    return (f"**Does learning one class help with the others?** By sign, {word}: on {dataset}, stiffness between "
            f"classes goes from {signed(before['mean'])} before training to {interval(then)} after {last:,} steps."
            + f" By cosine, which says how strongly, it is then {by_cosine}." * cosine)


def over_fitting_within_classes(table):
    """Accuracy, losses and within-class stiffness at the lowest validation loss and at the last stage."""
    validation = summaries.loss_curves(table, ["validation_loss"]).set_index("step")["mean"]
    best, last = validation.idxmin(), summaries.first_and_last(table)[-1]
    within = [interval(summaries.at(table, "within_class_sign", step)) for step in (best, last)]
    accuracy = interval(summaries.at(table, "validation_accuracy", last), percent)
    return (f"After {last:,} steps the networks read {accuracy} of the validation images correctly. Their validation "
            f"loss is lowest after {best:,} steps, at {validation[best]:.3f}, and ends at {validation[last]:.3f}, "
            f"while within-class stiffness goes from {within[0]} to {within[1]}.")


def cosines_from_first_to_last(table):
    """The cosine stiffness at the first and at the last stage."""
    within, between = (
        " to ".join(interval(summaries.at(table, f"{summary}_cosine", step), signed3)
                    for step in summaries.first_and_last(table)) for summary in SUMMARIES)
    return f"From the first stage to the last it goes from {within} within classes, and from {between} between them."


def harmful_pairs(matrices, step):
    """How many pairs of classes harm each other at the step, and which least and most."""
    pairs = summaries.pairs_of_classes(matrices, step)
    lowest = ", ".join(f"{' and '.join(classes)} {interval(row)}" for classes, row in pairs.iloc[:3].iterrows())
    return (f"After {step:,} steps {(pairs['high'] < 0).sum()} of {len(pairs)} pairs of classes harm each other on "
            f"average: the interval of their sign stiffness lies below 0. The lowest are {lowest}; the highest is "
            f"{' and '.join(pairs.index[-1])} {interval(pairs.iloc[-1])}.")


def three_stages(table):
    """Accuracy at the last stage, and sign stiffness at the first, at the lowest validation loss and at the last."""
    best, (first, last) = summaries.onset(table), summaries.first_and_last(table)
    accuracy = interval(summaries.at(table, "validation_accuracy", last), percent)
    within, between = ([interval(summaries.at(table, f"{summary}_sign", step)) for step in (first, best, last)]
                       for summary in SUMMARIES)
    return (f"At the last stage, after {last:,} steps, {accuracy} of the validation images are classified correctly. "
            f"The validation loss is lowest after {best:,} steps. Within classes, sign stiffness is {within[0]} at the "
            f"first stage, {within[1]} there and {within[2]} at the last; between them {between[0]}, {between[1]} and "
            f"{between[2]}.")


def extreme_pairs(matrices, step):
    """The pairs of classes with the highest and the lowest sign stiffness at the step."""
    pairs = summaries.pairs_of_classes(matrices, step)
    return (f"After {step:,} steps the pair of classes with the highest mean sign stiffness is "
            f"{' and '.join(pairs.index[-1])} ({interval(pairs.iloc[-1])}), the one with the lowest "
            f"{' and '.join(pairs.index[0])} ({interval(pairs.iloc[0])}).")


# Figure 4

def the_same_of_every_image(table, num_classes):
    """Whether the networks come to give every image the same answer, and what that makes of the cosines."""
    last = summaries.first_and_last(table)[-1]
    within = summaries.stiffness_curves(table, ["within_class_cosine"]).set_index("step")["mean"]
    alike = [step for step in within.index if (within.loc[step:] > 0.99).all()]
    accuracy = interval(summaries.at(table, "validation_accuracy", last), percent)
    if not alike:
        return (f"The networks still tell images apart: they are right on {accuracy} of the validation images, and two "
                f"images of one class have gradients of cosine {within[last]:.3f}.")
    between = interval(summaries.at(table, "between_classes_cosine", last), signed3)
    return (
        f"How it comes about: from step {alike[0]:,} on, two images of one class have gradients of cosine "
        f"{within[last]:.3f}, and the networks are right on {accuracy} of the validation images. They have come to "
        "give the same answer for every image, so a step on an image depends on its label alone: it raises the "
        f"probability of one class and lowers that of the {num_classes - 1} others. If all classes had the same "
        f"probability and all hidden layers the same values, the cosine between classes would be −1/{num_classes - 1}, "
        f"{signed3(-1 / (num_classes - 1))}; measured is {between}.")


def labels_by_heart(table, train_size):
    """How many permuted labels the second network has learnt, and its stiffness then."""
    last = summaries.first_and_last(table)[-1]
    known = interval(summaries.at(table, "train_accuracy", last), percent)
    within, between = (interval(summaries.at(table, f"{summary}_sign", last)) for summary in SUMMARIES)
    return (f"The networks trained on {train_size:,} images know {known} of their permuted labels after {last:,} "
            f"steps. Their sign stiffness is then {within} within classes and {between} between them.")


def disappears_or_negative(table):
    """Whether stiffness between classes disappears or turns negative: the paper says both."""
    last = summaries.first_and_last(table)[-1]
    level = summaries.at(table, "between_classes_sign", last)
    found = ("negative, as in the figure" if level["high"] < -SMALL else
             "gone, as in the text" if abs(level[["low", "high"]]).max() < SMALL else "neither")
    return ("The paper says two things: its conclusion, that stiffness disappears when labels are permuted; its Figure "
            f"4, that it goes to −1 between classes, while it stays +1 within them. Here, after {last:,} steps, it is "
            f"{interval(level)} between classes: {found}. Within classes it is "
            f"{interval(summaries.at(table, 'within_class_sign', last))}.")


# Figure 7

def block_tests(by_sign):
    """A table of the differences that make blocks, with their p values. by_sign: as from `blocks.stages`."""
    rows = []
    for step in by_sign.loc[blocks.SUPER].index:
        row = [f"{step:,}"]
        for division in (blocks.SUPER, blocks.LIVING_OR_NOT):
            tested = by_sign.loc[(division, step)]
            row += [interval(tested, signed3), f"{tested['p']:.4f}"]
        rows.append(row)
    head = ["steps", "super-classes", "largest p of a run", "living / non-living", "largest p of a run"]
    return (as_table(head, rows) + f"\n\n{blocks.PERMUTATIONS:,} relabellings, the same for all matrices, so that p is "
            f"at least {1 / (1 + blocks.PERMUTATIONS):.4f}; for the living and the non-living, whole super-classes are "
            "relabelled.")


def super_classes_help_more(by_sign):
    """The finding in two sentences."""
    found = by_sign.loc[blocks.SUPER]
    peak, last = found["mean"].idxmax(), found.index[-1]
    word = ("Not clearly" if not found.loc[peak, "low"] > 0 else
            "Yes, for a while" if found.loc[last, "mean"] < found.loc[peak, "mean"] / 2 else "Yes")
    return (f"**Do classes of one kind help each other more?** {word}: after {peak:,} steps, sign stiffness between "
            "classes of one super-class exceeds that between classes of different ones by "
            f"{interval(found.loc[peak], signed3)}. Before training the difference is "
            f"{interval(found.iloc[0], signed3)}, after {last:,} steps {interval(found.loc[last], signed3)}.")


def differences_in_words(by_sign):
    """The super-classes' differences at each stage, for a chart's description."""
    return ", ".join(f"{row['mean']:.3f} after {step:,} steps" for step, row in by_sign.loc[blocks.SUPER].iterrows())


def strongest_super_classes(by_sign, matrices, super_classes, agreement):
    """The super-classes that help each other most and least at the peak, and the best clustering.

    matrices: rows of (step, kind, matrix), as from `blocks.arrangements`; agreement: as from `blocks.agreement`.
    """
    peak = by_sign.loc[blocks.SUPER, "mean"].idxmax()
    at_peak = next(C for step, kind, C in matrices if (step, kind) == (peak, "sign"))
    strongest = [f"{name.replace('_', ' ')} ({signed(difference)})"
                 for name, difference in blocks.by_group(at_peak, super_classes)]
    index = summaries.over_seeds(agreement[agreement["kind"] == "sign"], ["step"], bounds=STIFFNESS).set_index("step")
    best = index["mean"].idxmax()
    return (f"The super-classes' difference is largest after {peak:,} steps. Taken one by one, the super-classes whose "
            f"classes then help each other most, compared with the rest, are {', '.join(strongest[:3])}; least, "
            f"{', '.join(strongest[-3:])}. The clusters found in the matrix come closest to the super-classes after "
            f"{best:,} steps, with an adjusted Rand index of {interval(index.loc[best])}; 95 % of random divisions "
            f"stay below {agreement['chance'].max():.2f}.")


def validation_at_the_end(table):
    """The lowest validation loss, the last one, and the accuracy at the last stage."""
    last = summaries.first_and_last(table)[-1]
    validation = summaries.loss_curves(table, ["validation_loss"]).set_index("step")["mean"]
    accuracy = interval(summaries.at(table, "validation_accuracy", last), percent)
    return (f"The validation loss is lowest after {validation.idxmin():,} steps, at {validation.min():.2f}; after "
            f"{last:,} it is {validation[last]:.2f}, and {accuracy} of the validation images are classified correctly.")
