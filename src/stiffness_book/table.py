"""The tidy table of a run: its columns, the quantities in its rows, and what makes a table whole."""

from dataclasses import dataclass
from math import inf

import numpy as np

from stiffness_book.experiment import ARITHMETICS, HIGHEST_DEGREE, ORDERS, TEXT

COLUMNS = {"stage": "int64", "step": "int64", "target_loss": "float64", "quantity": "string", "class_a": "Int16",
           "class_b": "Int16", "space": "string", "distance": "float64", "probe_images": "Int32", "value": "float64"}
KINDS = ("sign", "cosine")  # of stiffness: of the first and of the third version of the paper
SUMMARIES = ("within_class", "between_classes")
PAIRS = ("all", "within_class")  # that a curve of stiffness against distance is over, each pair once
REGIMES = ("train_train", "train_validation")  # of pairs; the third, within the validation set, is everything else's
OTHER_DISTANCES = {"l1": "the L1 distance, over its mean", "l2": "the L2 distance, over its mean",
                   "angle": "the angle in radians"}  # beside 1 - cosine
SINGLE = "_single"  # ends the names of quantities measured with the loss in single precision
STIFFNESS = (-1, 1)  # the range of a sign, a cosine and their means
FARTHEST = 2  # the largest distance, 1 - cosine of opposite directions
BIN = 0.05  # the width of a bin of distance; the same for all runs, so that curves can be averaged over seeds
FEWEST_PAIRS = 20  # in a bin that is drawn, judged or searched for a zero: the mean of fewer signs is mostly noise
FEW_PROBES = 1000  # up to this size of the probe set, signs are also measured with the loss in single precision
ERROR_SIZES = (50, 100, 200, 500, 1000, 2000)  # of the probe set's subsets whose statistical error is stored
ROUNDING = 1e-6  # by which a mean may leave its range


@dataclass(frozen=True)
class Quantity:
    """What a row's value means, and which columns tell apart the rows that one stage has of it.

    may_be_missing: whether the value may be NaN. setting: the settings with this name in them have it; None: all.
    """

    meaning: str
    range: tuple[float, float]
    keys: tuple[str, ...] = ()
    may_be_missing: bool = False
    setting: str | None = None


def neighbours_in(order, kind):
    """The name of the stiffness between batches that follow each other in an order."""
    return f"neighbours_{order.replace(' ', '_')}_{kind}"


_POSITIVE = (0, inf)
_ZERO = "a gradient of zero has no cosine"
QUANTITIES = {
    **{f"class_stiffness_{kind}": Quantity(
        "entry of the class stiffness matrix", STIFFNESS, ("class_a", "class_b"), kind == "cosine")
       for kind in KINDS},
    **{f"{summary}_{kind}": Quantity("mean of the matrix's diagonal, or of its other entries", STIFFNESS, (),
                                     kind == "cosine")
       for summary in SUMMARIES for kind in KINDS},
    **{f"{summary}_{kind}_error": Quantity(
        "jackknife error of the summary for a class-balanced subset of the probe set with `probe_images` images",
        (0, 2), ("probe_images",), kind == "cosine") for summary in SUMMARIES for kind in KINDS},
    **{f"{summary}_sign{SINGLE}": Quantity(
        "the summary with the loss computed in single precision, where p - 1 is rounded", STIFFNESS)
       for summary in SUMMARIES},
    **{f"distance_curve_{pairs}_{kind}": Quantity(
        f"mean stiffness in the bin of width {BIN} whose centre is `distance`, by the representation `space`",
        STIFFNESS, ("space", "distance")) for pairs in PAIRS for kind in KINDS},
    **{f"distance_pairs_{pairs}": Quantity("number of pairs in the bin", (1, inf), ("space", "distance"))
       for pairs in PAIRS},
    "stiff_domain_size_sign": Quantity(
        "`zero_crossing` of the curve over all pairs; missing without one", (0, FARTHEST), ("space",), True),
    **{f"critical_length_{kind}": Quantity("`critical_length`; missing where the fitted line does not fall",
                                           (-inf, inf), ("space",), True) for kind in KINDS},
    **{f"{split}_{measure}": Quantity(
        f"{measure} in inference mode, "
        + ("on a fixed set of training examples" if split == "train" else "on the whole validation split"), bounds)
       for split in ("train", "validation") for measure, bounds in (("loss", _POSITIVE), ("accuracy", (0, 1)))},
    **{f"nested_class_stiffness_{kind}": Quantity(
        "entry of the class stiffness matrix of the nested probe set with `probe_images` images", STIFFNESS,
        ("class_a", "class_b", "probe_images"), kind == "cosine", "nested_probes") for kind in KINDS},
    **{f"nested_class_stiffness_sign_{arithmetic}": Quantity(
        f"the same in the arithmetic {arithmetic}", STIFFNESS, ("class_a", "class_b", "probe_images"),
        setting=arithmetic) for arithmetic in ARITHMETICS},
    **{f"nested_self_stiffness_sign_{arithmetic}": Quantity(
        f"mean sign of the pairs of one image with itself, of class `class_a`, in the arithmetic {arithmetic}: less "
        "than 1 by the share of gradients that are 0; in exact arithmetic it is 1", STIFFNESS,
        ("class_a", "probe_images"), setting=arithmetic) for arithmetic in ARITHMETICS},
    **{f"{summary}_{kind}_{regime}": Quantity(
        "the summary over pairs of training images, of as many as the probe set has" if regime == REGIMES[0] else
        "the summary over pairs of one of these training images and an image of the probe set", STIFFNESS, (),
        kind == "cosine", "regimes") for summary in SUMMARIES for kind in KINDS for regime in REGIMES},
    **{f"gram_{name}": Quantity(f"{meaning}, over the probe set's Gram matrix", bounds, (), False, "gram")
       for name, (meaning, bounds) in {
           "mean_norm": ("mean norm of a gradient", _POSITIVE),
           "mean_square_norm": ("mean of the diagonal, the squared norms", _POSITIVE),
           "mean_product": ("mean of the other entries", (-inf, inf)),
           "mean_product_within": ("mean of the other entries within classes", (-inf, inf)),
           "mean_product_between": ("mean of the entries between classes", (-inf, inf)),
           "lowest_product": ("lowest entry", (-inf, inf))}.items()},
    **{f"{name}_distance_curve_all_sign": Quantity(
        f"`distance_curve_all_sign` by {words}", STIFFNESS, ("space", "distance"),
        setting=name) for name, words in OTHER_DISTANCES.items()},
    **{f"{name}_distance_pairs_all": Quantity("number of pairs in the bin", (1, inf), ("space", "distance"),
                                              setting=name) for name in OTHER_DISTANCES},
    **{f"{name}_stiff_domain_size_sign": Quantity(
        f"`stiff_domain_size_sign` by {words}", (0, inf), ("space",), True, name)
       for name, words in OTHER_DISTANCES.items()},
    **{f"{summary}_sign_intensity": Quantity(
        "the summary with every pixel of a probe image replaced by the image's mean intensity", STIFFNESS,
        setting="intensity") for summary in SUMMARIES},
    "intensity_probe_accuracy": Quantity(
        "of a logistic regression from the mean intensity to the class, fitted on the fixed set of training examples, "
        "on the validation split", (0, 1), setting="intensity"),
    **{neighbours_in(order, kind): Quantity(
        "mean stiffness over pairs of training examples of two batches that follow each other from the coming step "
        f"on, where the order is {order}", STIFFNESS, (), kind == "cosine", "neighbours")
       for order in ORDERS for kind in KINDS},
    "validation_accuracy_of_class": Quantity("accuracy on the validation examples of class `class_a`", (0, 1),
                                             ("class_a",), setting="class_accuracy"),
    **{f"learnt_of_degree_{degree}": Quantity(
        f"how much of the labels' part of degree {degree} the network's outputs have, on the validation split: 0 for "
        "none, 1 for as much as the labels", (-inf, inf), setting=f"degree {degree}")
       for degree in range(1, HIGHEST_DEGREE + 1)},
    **{f"{summary}_{kind}_body": Quantity(
        "the summary with the gradient by the parameters before a transformer's head alone", STIFFNESS, (),
        kind == "cosine", "body") for summary in SUMMARIES for kind in KINDS},
    **{f"{part}_share": Quantity(f"the {part}'s share of the trace of the probe set's Gram matrix", (0, 1),
                                 setting="body") for part in ("head", "embedding")},
    "majority_accuracy": Quantity("of naming, for every example of the validation split, the commonest class of the "
                                  "training split", (0, 1), setting="majority"),
    "diverged": Quantity("1, at the step at which something was found not to be finite; the run ended there", (1, 1)),
}


class NotWhole(ValueError):
    """A table that is not all of what its run should have measured; the message says what is wrong."""


def spaces(experiment):
    """The names of the representations in which distances are measured: input, layer 1, ..., logits.

    Of pairs of sentences the input is how often they have each token, and a layer the vector of [CLS] after a block; of
    a pretrained network only input and logits.
    """
    _, widths = experiment.layers
    return ["input", *(f"layer {number}" for number in range(1, len(widths) + 1)), "logits"]


def in_single_precision(experiment):
    """Whether signs are also measured with the loss in single precision: not of many images, nor of text."""
    return experiment.probe_size <= FEW_PROBES and experiment.dataset not in TEXT


def error_sizes(experiment, num_classes):
    """The sizes of the probe set's subsets, and the whole, that have jackknife errors: three images of each class."""
    sizes = {size for size in ERROR_SIZES if size < experiment.probe_size}
    sizes |= {experiment.probe_size, *experiment.nested_probes}
    return sorted(size for size in sizes if size >= 3 * num_classes)


def check(table, experiment, provenance):
    """Raises NotWhole unless the table holds every quantity at every stage of the run, once, and within its range.

    provenance: the run's; its class names, its `unreached` stage losses and its step of divergence are compared too.
    """
    table = table.copy(deep=False)
    table.attrs = {}  # pandas copies them at every step, which takes most of the time
    check_columns(table, COLUMNS)
    table = table.astype({"quantity": "category", "space": "category"})  # texts take longer to compare
    num_classes = check_classes(provenance)
    diverged = table[table["quantity"] == "diverged"]
    _check_moments(table, experiment, provenance, diverged)
    check_values(table, QUANTITIES)
    _check_rows(table[table["quantity"] != "diverged"], experiment, num_classes)


def check_columns(table, columns):
    """Raises NotWhole unless these are the table's columns and their types."""
    if list(table.columns) != list(columns):
        raise NotWhole(f"its columns are {', '.join(map(str, table.columns))}; expected {', '.join(columns)}")
    for name, dtype in columns.items():
        if table[name].dtype != dtype:
            raise NotWhole(f"its column {name} is {table[name].dtype}; expected {dtype}")


def check_values(table, quantities):
    """Raises NotWhole unless every row is of a known quantity, and its value in that quantity's range."""
    if unknown := set(table["quantity"].dropna().unique()) - quantities.keys():
        raise NotWhole(f"it has the unknown quantities {', '.join(sorted(unknown))}")
    for name, values in table.groupby("quantity", observed=True)["value"]:
        quantity, values = quantities[name], values.to_numpy()
        missing = np.isnan(values)
        if missing.any() and not quantity.may_be_missing:
            raise NotWhole(f"{name} is missing in {missing.sum()} of {len(values)} rows")
        values = values[~missing]
        low, high = quantity.range
        if not (np.isfinite(values) & (values >= low - ROUNDING) & (values <= high + ROUNDING)).all():
            raise NotWhole(f"{name} is between {values.min():g} and {values.max():g}; "
                           f"expected finite numbers from {low:g} to {high:g}")
    if table["quantity"].isna().any():
        raise NotWhole("it has rows without a quantity")


def check_classes(provenance):
    """Raises NotWhole unless the provenance tells the classes and the sizes of the splits; returns their number."""
    names, groups = provenance["class_names"], provenance["super_classes"]
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        raise NotWhole(f"its class names are {names!r}; expected a list of names")
    if groups is not None and not (isinstance(groups, list) and len(groups) == len(names)):
        raise NotWhole(f"it has super-classes for {len(groups)} classes; expected {len(names)}")
    sizes = provenance["split_sizes"]
    if set(sizes) != {"train", "validation"} or not all(type(n) is int and n > 0 for n in sizes.values()):
        raise NotWhole(f"its split sizes are {sizes!r}; expected positive whole numbers of train and validation")
    return len(names)


def _check_moments(table, experiment, provenance, diverged):
    """The stages and losses that were measured are those of the settings, up to where the run ended."""
    step, unreached = provenance["diverged"], provenance["unreached"]
    if not isinstance(unreached, list) or set(unreached) - set(experiment.stage_losses):
        raise NotWhole(f"its unreached losses are {unreached!r}; expected some of {list(experiment.stage_losses)}")
    if diverged["step"].tolist() != ([] if step is None else [step]):
        raise NotWhole(f"its row of divergence does not agree with its provenance, {step!r}")
    measured = table[table["quantity"] != "diverged"]
    steps = sorted(measured.loc[measured["target_loss"].isna(), "step"].unique().tolist())
    losses = sorted(measured["target_loss"].dropna().unique().tolist(), reverse=True)
    expected = [at for at in experiment.stages if step is None or at < step]
    if steps != expected:
        raise NotWhole(f"it was measured at steps {steps}; expected {expected}")
    expected = [loss for loss in experiment.stage_losses if loss not in unreached]
    if losses != expected:
        raise NotWhole(f"it was measured at losses {losses}; expected {expected}, as {unreached} were not reached")
    ranks = table["step"].rank(method="dense") - 1
    if (table["stage"] != ranks).any():
        raise NotWhole("its stages are not numbered in the order of steps")


def _check_rows(table, experiment, num_classes):
    """Each stage has each row that it must have, once."""
    all_keys = ["class_a", "class_b", "space", "distance", "probe_images"]
    stages = len(table[["step", "target_loss"]].drop_duplicates())
    nested = len(experiment.nested_probes)
    asked = [*(["nested_probes"] if nested else []), *experiment.arithmetics, *experiment.also,
             *(f"degree {degree}" for degree in experiment.degrees)]
    expected = {  # by keys
        (): 1, ("class_a", "class_b"): num_classes**2, ("space",): len(spaces(experiment)),
        ("probe_images",): len(error_sizes(experiment, num_classes)),
        ("class_a", "class_b", "probe_images"): num_classes**2 * nested,
        ("class_a", "probe_images"): num_classes * nested, ("class_a",): num_classes,
    }
    grouped = table.groupby("quantity", observed=True)
    number = grouped.size().to_dict()
    filled = {name: dict(zip(all_keys, counts, strict=True))
              for name, *counts in grouped[all_keys].count().itertuples()}
    twice = set(table.loc[table.duplicated(["quantity", "step", "target_loss", *all_keys]), "quantity"])
    found = {key: grouped[key].unique().to_dict() for key in ("class_a", "class_b", "space", "probe_images")}
    known = {"class_a": range(num_classes), "class_b": range(num_classes), "space": spaces(experiment),
             "probe_images": error_sizes(experiment, num_classes)}
    for name, quantity in QUANTITIES.items():
        if name == "diverged" or (name.endswith(SINGLE) and not in_single_precision(experiment)):
            continue
        if quantity.setting not in (None, *asked):
            if name in number:
                raise NotWhole(f"it has {name}, which its settings do not ask for")
            continue
        if quantity.setting and stages and name not in number:
            raise NotWhole(f"{name} is missing")
        keys = list(quantity.keys)
        if name in number:
            if filled[name] != {key: number[name] if key in keys else 0 for key in all_keys}:
                raise NotWhole(f"{name} has keys that it should not have, or lacks some; "
                               f"expected {', '.join(keys) or 'none'}")
            if name in twice:
                raise NotWhole(f"{name} has rows twice")
            own = known | ({"probe_images": experiment.nested_probes} if name.startswith("nested_") else {})
            for key in set(keys) & own.keys():
                if unknown := set(found[key][name]) - set(own[key]):
                    raise NotWhole(f"{name} has the unknown {key} {', '.join(map(str, sorted(unknown)))}")
        rows = number.get(name, 0)
        if quantity.keys in expected and rows != stages * expected[quantity.keys]:
            raise NotWhole(f"{name} has {rows} rows; "
                           f"expected {expected[quantity.keys]} at each of {stages} stages")

    def rows_of(name):
        return table[table["quantity"] == name]

    for pairs in PAIRS:  # how many bins are filled depends on the data
        bins = ["step", "target_loss", "space", "distance"]
        curve, numbers = (rows_of(name)[bins].sort_values(bins, ignore_index=True)
                          for name in (f"distance_curve_{pairs}_sign", f"distance_pairs_{pairs}"))
        if not curve.equals(numbers):
            raise NotWhole(f"distance_curve_{pairs}_sign and distance_pairs_{pairs} have different bins")
        # the representation of a layer may have died, an input never
        if pairs == "all" and len(curve[curve["space"] == "input"].drop_duplicates(bins[:2])) != stages:
            raise NotWhole(f"distance_curve_{pairs}_sign lacks the input at some stage")
    entries = [rows_of(f"class_stiffness_{kind}").sort_values(["step", "target_loss", "class_a", "class_b"])
               for kind in KINDS] if stages else []
    if entries and (entries[0]["value"].to_numpy()[entries[1]["value"].isna()] != 0).any():
        raise NotWhole("cosines are missing where signs are not 0")
