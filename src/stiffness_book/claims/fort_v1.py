"""The claims of the first version of the stiffness paper (Fort, Nowak, Narayanan 2019), in the order of their ids.

A rule's docstring is printed on its page. Where the third version makes a claim too, its source says so.
"""

from itertools import combinations

import numpy as np
from scipy.integrate import trapezoid

from stiffness_book import blocks, published, summaries
from stiffness_book.claims.parts import ORDERED, SMALL, Part
from stiffness_book.claims.registry import NotMeasured, claim
from stiffness_book.summaries import (
    at_seeds,
    distance_curves,
    domain_sizes,
    onset,
    order_with_depth,
    probe_error,
    probe_errors,
    rank_correlation,
)
from stiffness_book.table import SUMMARIES
from stiffness_book.words import WORDS, name_of, percent, signed3

SHARE = {"bounds": (0.0, 1.0), "form": percent}
CLASS_FIGURES = {"fig03_class_stiffness_mnist": "MNIST", "fig05_class_stiffness_fashion": "Fashion-MNIST",
                 "fig06_class_stiffness_cifar10": "CIFAR-10, with a convolutional network"}
CLASS_FIGURES_BEFORE = dict.fromkeys(CLASS_FIGURES, "reproduced")


@claim("C1", source="v1",
       statement="Within-class stiffness is positive at initialisation and through most of training.",
       pages=CLASS_FIGURES, before=CLASS_FIGURES_BEFORE,
       changed="The first rule counted stages, most of which lie early in training; an untrained network passed it.")
def within_class_positive(table, figure=None):
    """Three parts, by sign stiffness. *Positive at initialisation*: within classes it is at least 0.1. *Positive
    through most of training*: the share of training steps in which it is positive exceeds one half by 0.1 or more;
    between two stages it is taken to change evenly. *More than between classes*: averaged over these steps, it exceeds
    that between classes by 0.1 or more, as positive values within classes
    [can be expected of any network](../book/method.md). A network whose training loss never halves is not judged.
    """
    first, *_ = steps = _steps(table)
    _require_learning(table)
    within, between = (_by_step(table, f"{summary}_sign") for summary in SUMMARIES)
    shown = _published_matrices(figure)
    return [
        _level("positive at initialisation", table, "within_class_sign", first,
               paper=shown and _within(shown[min(shown)])),
        Part.over("positive through most of training", _share_positive(within, steps), none=0.5, **SHARE),
        Part.over("more than between classes", _through_training(within - between, steps), bounds=(-2.0, 2.0)),
    ]


@claim("C2", source="v1",
       statement="Between-class stiffness is not consistent at initialisation, grows with training, and is positive "
                 "for most class pairs.",
       pages=CLASS_FIGURES, before=CLASS_FIGURES_BEFORE | {"fig06_class_stiffness_cifar10": "partly"},
       changed="What the first rule called consistent depended on the number of runs.")
def between_classes_grows(table, figure=None):
    """Three parts, by sign stiffness. *Grows*: it changes by at least +0.1 from initialisation to the last stage.
    *Positive for most class pairs*: at the last stage the share of positive class pairs exceeds one half by 0.1 or
    more. *Not consistent at initialisation*: two runs give a pair of classes the same sign in fewer than three of four
    cases, by 0.1 or more (the interval is the jackknife's over runs). A network whose training loss never halves is not
    judged.
    """
    first, *_, last = _steps(table)
    _require_learning(table)
    cells = table[(table["quantity"] == "class_stiffness_sign") & (table["class_a"] < table["class_b"])]
    positive = (cells["value"] > 0).where(cells["step"] == last).groupby(cells["seed"]).mean()
    shown = _published_matrices(figure)
    ends = shown and [shown[min(shown)], shown[max(shown)]]
    return [
        _change("grows", table, "between_classes_sign", first, last,
                paper=ends and _between(ends[1]) - _between(ends[0])),
        Part.over("positive for most class pairs", positive, none=0.5, **SHARE,
                  paper=ends and float((_apart(ends[1]) > 0).mean())),
        _agreement("not consistent at initialisation", cells[cells["step"] == first], expects="below", none=0.75,
                   **SHARE),
    ]


@claim("C3", source="v1",
       statement="With over-fitting, within-class stiffness falls towards 0; between-class stiffness plateaus, then "
                 "falls towards 0.",
       pages={"fig02_overfitting": "MNIST and Fashion-MNIST"}, before={"fig02_overfitting": "partly"},
       changed="By the first rule a plateau was whatever noise hid, and moving away from 0 could count as falling.")
def overfitting_loses_stiffness(table):
    """The onset of over-fitting is the stage with the lowest mean validation loss. Three parts for each data set, by
    sign stiffness. *Within-class falls*: from the onset to the last stage it falls by 0.1 or more. *Between-class
    plateaus*: from the onset to the stage halfway (in steps) to the last, the interval of its change lies within ±0.1.
    *Between-class falls*: its distance from 0 falls by 0.1 or more from the onset to the last stage. Runs whose
    validation loss is lowest at the first or the last stage do not over-fit, and are not judged.
    """
    parts, told = [], []
    for dataset, rows in table.groupby("dataset", sort=False):
        start, half, last = _over_fitting(rows)
        shown = _published_over_fitting() if dataset == name_of("mnist") else {}
        parts += [
            _change(f"within-class falls ({dataset})", rows, "within_class_sign", start, last, expects="below",
                    paper=shown.get("within")),
            _change(f"between-class plateaus ({dataset})", rows, "between_classes_sign", start, half,
                    expects="within"),
            _change(f"between-class falls ({dataset})", rows, "between_classes_sign", start, last, expects="below",
                    towards_0=True, paper=shown.get("between"))]
        told.append(f"{dataset}: onset after {start:,} steps, halfway {half:,}, last stage {last:,}")
    return parts, "; ".join(told)


@claim("C4", source="v1",
       statement="With permuted labels no positive between-class stiffness develops; it goes to −1.",
       pages={"fig04_permuted_labels": "MNIST"}, before={"fig04_permuted_labels": "reproduced"},
       changed="A network that was never trained passed half of the first rule.")
def permuted_labels_negative(table, figure=None):
    """Two parts, by sign stiffness between classes. *Goes negative*: from initialisation to the last stage it falls by
    0.1 or more; if its interval lies above +0.05 at any stage after initialisation, positive stiffness has
    developed, and the part is judged by that stage instead. *To −1*: at the last stage it lies within 0.1 of −1.
    """
    first, *later = _steps(table)
    last = later[-1]
    stages = {step: _level("", table, "between_classes_sign", step) for step in later}
    highest = max(later, key=lambda step: stages[step].mean)
    developed = stages[highest].interval[0] > SMALL
    shown = _published_matrices(figure)
    ends = shown and [_between(shown[step]) for step in (min(shown), max(shown))]
    return [
        _level("to −1", table, "between_classes_sign", last, expects="within", none=-1.0,
               paper=ends and ends[1]),
        _change("goes negative", table, "between_classes_sign", first, highest if developed else last,
                expects="below", paper=ends and ends[1] - ends[0]),
    ], f"highest after initialisation: {stages[highest].mean:+.2f}, after {highest:,} steps".replace("-", "−")


@claim("C5", source="v1 and v3",
       statement="CIFAR-100 shows super-class blocks early in training; in the third version also blocks of the living "
                 "and of the non-living.",
       pages={"fig07_super_classes": "CIFAR-100 {cite}`krizhevsky2009`"}, before={"fig07_super_classes": "partly"},
       changed="Blocks that an untrained network has already, from the likeness of images, counted as found.")
def super_class_blocks(tested, one_pass):
    """By sign stiffness, at the stage after initialisation and within the first pass over the training data at which
    classes of one group exceed others most. Two parts for each division. *Grown*: the difference has grown since
    initialisation by 0.05 or more. *Not by chance*: in every run fewer than 1 in 100 random relabellings of the classes
    reach the difference (p < 0.01). The living and the non-living are compared over pairs of different super-classes,
    whole super-classes being relabelled.
    """
    parts, told = [], []
    for division in (blocks.SUPER, blocks.LIVING_OR_NOT):
        by_step, p = divided(tested, division)
        early = [step for step in by_step if min(by_step) < step <= one_pass]
        if not early or by_step[early].isna().all(axis=None):
            raise NotMeasured("no stage within the first pass over the data was measured in any run")
        step = by_step[early].mean().idxmax()
        parts += block_parts(division, by_step, p, step)
        told.append(f"{division}: after {step:,} steps")
    return parts, f"{'; '.join(told)}; one pass is {one_pass:,} steps"


@claim("C6", source="v1",
       statement="At equal training loss, a higher learning rate gives higher between-class stiffness.",
       pages={"fig08_learning_rate": "MNIST"}, before={"fig08_learning_rate": "reproduced"},
       changed="The first rule put a straight line through curves that turn down at the highest rates.")
def higher_rate_is_stiffer(table, figure=None):
    """Two parts for each data set and training loss, by sign stiffness between classes. *Rises*: from the lowest to
    the highest learning rate it changes by at least +0.05. *Does not turn down*: the interval of its change from the
    rate at which it is highest to the highest rate lies within ±0.05. Where a run did not reach the loss, its seed is
    left out. A data set whose rates span less than a factor of ten is drawn, and not judged.
    """
    between = over_a_decade(_at_losses(table[table["quantity"] == "between_classes_sign"]))
    shown = _published_by_rate(figure)
    parts, tops = [], []
    for (dataset, loss), rows in between.groupby(["dataset", "target_loss"], sort=False):
        by_rate = rows.pivot(index="seed", columns="learning_rate", values="value")
        lowest, highest, peak = by_rate.columns[0], by_rate.columns[-1], by_rate.mean().idxmax()
        line = shown.get((dataset, loss))
        parts += [
            Part.over(f"rises ({dataset}, loss {loss:g})", by_rate[highest] - by_rate[lowest], size=SMALL,
                      bounds=(-2.0, 2.0), paper=None if line is None else float(line.iloc[-1] - line.iloc[0])),
            Part.over(f"does not turn down ({dataset}, loss {loss:g})", by_rate[highest] - by_rate[peak],
                      expects="within", size=SMALL, bounds=(-2.0, 2.0),
                      paper=None if line is None else float(line.iloc[-1] - line.max()))]
        tops.append(f"{peak:g} ({dataset}, loss {loss:g})")
    return parts, f"highest at the rates {', '.join(tops)}"


@claim("C7", source="v1",
       statement="Below a critical distance stiffness is positive, in every layer; deeper layers have smaller stiff "
                 "domains.",
       pages={"fig09_distance": "MNIST"}, before={"fig09_distance": "reproduced"},
       changed="Near pairs are mostly of one class: the first rule judged all pairs together, which confuses distance "
               "with class.")
def near_pairs_are_stiff(table):
    """Four parts for each data set, by sign stiffness in the nearest bin of distance, in the space (the input or a
    layer's representation) where it is lowest. *All pairs*, *pairs of one class* and *pairs of different classes* are
    positive there, by 0.05 or more. *Deeper layers have smaller domains*: Kendall's rank correlation, in each run,
    between a hidden layer's depth and the size of its stiff domain is −0.5 or less; a curve that never falls to zero
    has a size larger than any.
    """
    curves = distance_curves(table, ["dataset", "seed"])
    curves = curves[curves["kind"] == "sign"].sort_values("distance")
    nearest = curves.drop_duplicates(["dataset", "seed", "space", "pairs"])
    sizes = domain_sizes(table)
    sizes = sizes[(sizes["quantity"] == "stiff_domain_size_sign") & sizes["space"].str.startswith("layer ")]
    sizes = sizes.assign(depth=sizes["space"].str.removeprefix("layer ").astype(int))
    parts, told = [], []
    for dataset in table["dataset"].unique():
        rows = nearest[nearest["dataset"] == dataset]
        for pairs, words in (("all", "all pairs"), ("within_class", "pairs of one class"),
                             ("between_classes", "pairs of different classes")):
            by_space = rows[rows["pairs"] == pairs].pivot(index="seed", columns="space", values="mean")
            space = by_space.mean().idxmin()
            parts.append(Part.over(f"{words} ({dataset})", by_space[space], size=SMALL))
            told.append(f"{words} of {dataset} are least stiff by {space}")
        own = sizes[sizes["dataset"] == dataset]
        order = order_with_depth(own)
        parts.append(Part.over(f"deeper layers have smaller domains ({dataset})", order, expects="below", size=ORDERED))
    return parts, "; ".join(told)


@claim("C8a", source="v1",
       statement="The size of stiff domains grows with the learning rate: in input space.",
       pages={"fig10_domain_size": "MNIST"}, before={"fig10_domain_size": "partly"},
       changed="One rule for input space and layers; the paper’s own plot falls for some of them.")
def domain_grows_with_rate(table, figure=None):
    """One part for each data set and training loss, in input space: Kendall's rank correlation, in each seed's runs,
    between the learning rate and the size of the stiff domain (by sign, over all pairs) is at least +0.5. A curve that
    never falls to zero has a size larger than any, and those are equal. A data set whose rates span less than a factor
    of ten is drawn, and not judged.
    """
    return _domains_by_rate(table, lambda space: space == "input", figure)


@claim("C8b", source="v1",
       statement="The size of stiff domains grows with the learning rate: in the hidden layers' representations.",
       pages={"fig10_domain_size": "MNIST"})
def layer_domains_grow_with_rate(table, figure=None):
    """As for C8a, with the mean of the rank correlations over the hidden layers."""
    return _domains_by_rate(table, lambda space: space.startswith("layer "), figure)


@claim("C12a", source="v1",
       statement="150 probe images, or 1,000 where there are 100 classes, give a small statistical error.",
       pages={"probe_images": "MNIST and CIFAR-100"})
def first_probe_sets_suffice(tables):
    """As for C12b, with parts of the probe sets of 150 and of 1,000 images."""
    return _small_errors(tables, {10: 150, 100: 1000})


@claim("C12b", source="v3",
       statement="500 probe images, or 3,000 where there are 100 classes, give a small statistical error.",
       pages={"probe_images": "MNIST and CIFAR-100"}, before={"probe_images": "reproduced"},
       changed="The two versions use probe sets of different sizes, which are two claims.")
def probe_images_suffice(tables):
    """The error is half the 95 % interval that the choice of probe images gives sign stiffness: 1.96 times the
    stratified jackknife error. Two parts for each data set, within and between classes: the largest error of any stage
    is below 0.05, less than rounding to one decimal does; the interval is over runs.
    """
    return _small_errors(tables, {10: 500, 100: 3000})


@claim("C18", source="v1",
       statement="Stiffness falls with over-fitting for convolutional networks too.",
       pages={"fig06_class_stiffness_cifar10": "CIFAR-10", "fig07_super_classes": "CIFAR-100"})
def overfitting_loses_stiffness_of_cnns(table, figure=None):
    """As for C3, from the stage with the lowest mean validation loss to the last stage, by sign stiffness. *Within
    classes it falls*: it falls by 0.1 or more. *Between classes it falls*: its distance from 0 falls by 0.1 or
    more.
    """
    start, _, last = _over_fitting(table)
    shown = _published_matrices(figure)
    *_, before, after = sorted(shown) if shown else (None, None)
    return [
        _change("within classes it falls", table, "within_class_sign", start, last, expects="below",
                paper=shown and _within(shown[after]) - _within(shown[before])),
        _change("between classes it falls", table, "between_classes_sign", start, last, expects="below",
                towards_0=True, paper=shown and abs(_between(shown[after])) - abs(_between(shown[before]))),
    ], f"onset after {start:,} steps, last stage {last:,}" + (
        f"; the paper's changes are those from {before:,} to {after:,} images seen" if shown else "")


# Numbers of the runs

def _steps(table):
    """The steps of the stages, initialisation and one or more later ones."""
    steps = sorted(table.loc[table["quantity"] == "within_class_sign", "step"].unique())
    if len(steps) < 2:
        raise NotMeasured("no stage after initialisation was measured in any run")
    return steps


def _require_learning(table):
    losses = _by_step(table, "train_loss")
    if not (losses.min(axis=1) < losses.iloc[:, 0] / 2).all():
        raise NotMeasured("the training loss of a run never fell to half of what it was at initialisation")


def _by_step(table, quantity):
    """A row for each seed and a column for each step."""
    return table[table["quantity"] == quantity].pivot_table(index="seed", columns="step", values="value")


def _level(name, table, quantity, step, **expected):
    return Part.over(name, at_seeds(table, quantity, step), probe_error=probe_error(table, quantity, step), **expected)


def _change(name, table, quantity, first, last, *, towards_0=False, **expected):
    """The change from one stage to another; towards_0: of the distance from 0. The errors from the choice of probe
    images are added as if those of the two stages were independent, which is more than they are."""
    before, after = (at_seeds(table, quantity, step) for step in (first, last))
    error = np.hypot(*(probe_error(table, quantity, step) for step in (first, last)))
    values = after.abs() - before.abs() if towards_0 else after - before
    return Part.over(name, values, probe_error=error, bounds=(-2.0, 2.0), **expected)


def _share_positive(by_step, steps):
    """For each run the share of training steps in which a number that changes evenly between stages is positive."""
    values = by_step[steps].to_numpy()
    a, b = values[:, :-1], values[:, 1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        crossing = np.where(a != b, np.abs(a) / np.abs(a - b), 0)
    share = np.where(a > 0, np.where(b > 0, 1, crossing), np.where(b > 0, 1 - crossing, 0))
    lengths = np.diff(steps)
    return (share * lengths).sum(1) / lengths.sum()


def _through_training(by_step, steps):
    """For each run the mean over training steps."""
    return trapezoid(by_step[steps].to_numpy(), steps, axis=1) / (steps[-1] - steps[0])


def _agreement(name, cells, **expected):
    """In what share of cases two runs give a pair of classes the same sign; its error by leaving one run out."""
    signs = np.sign(cells.pivot(index="seed", columns=["class_a", "class_b"], values="value").to_numpy())
    alike = {(a, b): (signs[a] == signs[b]).mean() for a, b in combinations(range(len(signs)), 2)}
    if len(signs) < 3:
        return Part(name, np.mean(list(alike.values())) if alike else np.nan, np.nan, len(signs) - 1, **expected)
    without = [np.mean([value for pair, value in alike.items() if run not in pair]) for run in range(len(signs))]
    error = np.sqrt((len(signs) - 1) * np.var(without))
    return Part(name, float(np.mean(list(alike.values()))), float(error), len(signs) - 1, **expected)


def _over_fitting(table):
    """The steps of the onset of over-fitting, of the stage halfway to the last, and of the last."""
    first, *_, last = steps = _steps(table)
    start = onset(table)
    if start in (first, last):
        raise NotMeasured("the validation loss is lowest at the first or the last stage: the runs do not over-fit")
    return start, min((step for step in steps if step > start), key=lambda step: abs(step - (start + last) / 2)), last


def divided(tested, division):
    """Of the sign: the difference by run and step, and the largest p of a run by step."""
    rows = tested[(tested["kind"] == "sign") & (tested["division"] == division)]
    return rows.pivot(index="seed", columns="step", values="value"), rows.groupby("step")["p"].max()


def block_parts(division, by_step, p, step):
    first = min(by_step)
    return [Part.over(f"{division}: grown", by_step[step] - by_step[first], size=SMALL, form=signed3,
                      bounds=(-2.0, 2.0)),
            Part(f"{division}: not by chance, p", float(p[step]), 0.0, 1, expects="below", none=blocks.SIGNIFICANT,
                 size=0.0, bounds=(0.0, 1.0), form="{:.4f}".format)]


def _at_losses(table):
    rows = table[table["target_loss"].notna()]
    if rows.empty:
        raise NotMeasured("no run reached any of the training losses")
    return rows


def over_a_decade(rows):
    """As `summaries.over_a_decade`. Raises NotMeasured where nothing is left."""
    rows = summaries.over_a_decade(rows)
    if rows.empty:
        raise NotMeasured("the learning rates of no data set span a factor of ten")
    return rows


def _domains_by_rate(table, chosen, figure):
    sizes = domain_sizes(table)
    sizes = sizes[(sizes["quantity"] == "stiff_domain_size_sign") & sizes["space"].map(chosen)]
    sizes = over_a_decade(_at_losses(sizes))
    shown = _published_domains(figure, chosen)
    parts = []
    for (dataset, loss), rows in sizes.groupby(["dataset", "target_loss"], sort=False):
        order = rows.groupby(["seed", "space"]).apply(
            lambda run: rank_correlation(run["learning_rate"], run["value"]) if run["learning_rate"].nunique() > 1
            else np.nan, include_groups=False)
        parts.append(Part.over(f"{dataset}, loss {loss:g}", order.groupby("seed").mean(), size=ORDERED,
                               paper=shown.get((dataset, loss))))
    endless = np.isinf(sizes["value"])
    return parts, f"{endless.sum()} of {len(endless)} curves never fall to zero"


def _small_errors(tables, sizes):
    parts = []
    for name, table in tables.items():
        classes = int(table["class_a"].max()) + 1
        errors = probe_errors(table)
        errors = errors[(errors["kind"] == "sign") & (errors["probe_images"] == sizes.get(classes))]
        if errors.empty:
            raise NotMeasured(f"{name}: no errors of a probe set of {sizes.get(classes)} images are stored")
        for summary in SUMMARIES:
            largest = errors[errors["summary"] == summary].groupby("seed")["value"].max()
            parts.append(Part.over(f"{name}, {sizes[classes]:,} images, {WORDS[summary]}", largest, expects="below",
                                   none=SMALL, size=0.0, bounds=(0.0, 2.0), form="{:.3f}".format))
    return parts


# Numbers of the paper

def _published_matrices(figure):
    return None if figure is None else published.matrices(figure)


def _within(C):
    return float(np.diagonal(C).mean())


def _apart(C):
    return C[~np.eye(len(C), dtype=bool)]


def _between(C):
    return float(_apart(C).mean())


def _published_over_fitting():
    """The changes in Figure 2 from its marked onset to its last stage; self-pairs are counted there."""
    curves = published.curves(2)
    marked = curves.loc[curves["series"] == "overfitting line", "x"].iloc[0]

    def ends(series):
        line = curves[curves["series"] == series].set_index("x")["y"]
        return line.iloc[abs(line.index - marked).argmin()], line.iloc[-1]

    within, between = ends("same class"), ends("different class")
    return {"within": within[1] - within[0], "between": abs(between[1]) - abs(between[0])}


def _published_by_rate(figure):
    """Figure 8: for each data set and training loss, between-class stiffness by rate."""
    if figure is None:
        return {}
    return {key: rows.set_index("learning_rate")["value"].sort_index()
            for key, rows in published.stiffness_by_rate().groupby(["dataset", "target_loss"])}


def _published_domains(figure, chosen):
    """Figure 10: for each data set, at its training loss, the mean rank correlation of the size with the rate."""
    if figure is None:
        return {}
    curves = published.domains_by_rate()
    order = curves[curves["space"].map(chosen)].groupby(["dataset", "target_loss", "space"]).apply(
        lambda line: rank_correlation(line["learning_rate"], line["value"]), include_groups=False)
    return order.groupby(["dataset", "target_loss"]).mean().to_dict()
