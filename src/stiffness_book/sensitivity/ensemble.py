"""Networks of one shape that are trained together: their settings, and the columns and quantities of their table.

A network is measured at two moments: `fitted`, the first check at which it has every training label right, if there is
one, and `end`. A row of the table is one measured number of one network at one moment.
"""

import itertools
from dataclasses import dataclass
from math import inf

from stiffness_book.experiment import NETWORK, check_dataset
from stiffness_book.settings import Settings, one_of, require
from stiffness_book.table import (
    KINDS,
    STIFFNESS,
    SUMMARIES,
    NotWhole,
    Quantity,
    check_classes,
    check_columns,
    check_values,
)

ACTIVATIONS = ("relu", "hard_tanh", "tanh")
OPTIMIZERS = ("adam", "momentum", "sgd")
CONDITIONS = ("true labels", "random labels", "translated")  # translated: true labels, images moved in every batch
MOMENTS = ("fitted", "end")
DECILES = 10
ALIKE = 10  # test points, neighbours by margin, that count as having the same
COLUMNS = {"member": "int64", "moment": "string", "step": "int64", "quantity": "string", "decile": "Int16",
           "value": "float64"}
# by what it may be told which test points the network has wrong: larger numbers, or smaller ones, for those
PREDICTORS = {
    "norm": "norm of the Jacobian",
    "norm_per_softmax": "norm, over the softmax’s",
    "margin": "margin",
    **{f"stiffness_{kind}{among}{label}": f"stiffness, {kind}, {those}{which}"
       for label, which in (("", ""), ("_true", ", true label"))
       for among, those in (("", "all"), ("_class", "same label")) for kind in KINDS},
}
SMALLER_IS_WRONG = tuple(name for name in PREDICTORS if not name.startswith("norm"))
DRAWN = ("norm", "margin", "stiffness_cosine")  # whose deciles are stored
_POSITIVE = (0, inf)
QUANTITIES = {
    **{f"{split}_{measure}": Quantity(
        f"{measure} in inference mode, on "
        + ("the training examples, as they are stored" if split == "train" else "the whole validation split"), bounds)
       for split in ("train", "test") for measure, bounds in (("loss", _POSITIVE), ("accuracy", (0, 1)))},
    "jacobian_norm": Quantity("mean of `jacobian_norm` over test points", _POSITIVE),
    "jacobian_norm_median": Quantity("median of it", _POSITIVE),
    "transitions": Quantity("mean of `transitions` on closed paths of an image moved round horizontally, pixel by "
                            "pixel, over test images; missing for units without a code", _POSITIVE, (), True),
    **{f"{summary}_{kind}{regime}": Quantity(
        "mean of the class stiffness matrix's diagonal, or of its other entries, over pairs of "
        + ("test images" if not regime else "a test and a training image"), STIFFNESS, (), kind == "cosine")
       for summary in SUMMARIES for kind in KINDS for regime in ("", "_train_validation")},
    **{f"auc{control}_{name}": Quantity(
        f"area under the curve of telling wrong test points by their {words}"
        + (f", among the same {ALIKE} by margin" if control else "")
        + "; missing where there are none to tell", (0, 1), (), True)
       for name, words in PREDICTORS.items() for control in ("", "_at_equal_margin")},
    **{f"error_by_{name}": Quantity(
        f"share of wrong test points in the `decile`, from 0, by {PREDICTORS[name]}", (0, 1), ("decile",))
       for name in DRAWN},
    "diverged": Quantity("1: something was not finite, and nothing is measured", (1, 1)),
}


@dataclass(frozen=True, kw_only=True)
class Ensemble(Settings):
    """Settings of networks of one shape that are trained on the same batches from the same initial weights.

    Its members are the conditions at each learning rate. See `Settings` for errors.
    """

    KIND = "ensemble"

    dataset: str = "mnist"
    network: str = "fc-50"
    activation: str = "relu"
    optimizer: str = "adam"  # momentum: that of Polyak, 0.9
    learning_rates: tuple[float, ...] = (1e-3,)
    conditions: tuple[str, ...] = CONDITIONS
    batch_size: int | None = 50  # None: all training examples
    train_size: int = 1000  # class-balanced, the same ones for every seed
    steps: int = 3000
    check_every: int = 100  # steps between two looks at the training accuracy
    shift: int = 3  # pixels by which an image is moved at most, each way, where the condition is translated
    seed: int = 0  # of the initial weights, the order, the permutation of labels and the translations
    probe_size: int = 300  # test images, and as many training images, whose pairs are measured
    points: int = 500  # test images at which the Jacobian is taken
    paths: int = 30  # test images that are moved round

    def __post_init__(self):
        super().__post_init__()
        check_dataset(self.dataset)
        require(NETWORK.fullmatch(self.network) and self.network.startswith("fc"), "network", self.network,
                "a fully connected network, such as fc-50-50")
        one_of("activation", self.activation, ACTIVATIONS)
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        for condition in self.conditions:
            one_of("conditions", condition, CONDITIONS)
        for name in ("learning_rates", "conditions"):
            values = getattr(self, name)
            require(values and len(set(values)) == len(values), name, values, "one or more, each once")
        require(all(rate > 0 for rate in self.learning_rates), "learning_rates", self.learning_rates,
                "positive numbers")
        for name in ("train_size", "steps", "check_every", "shift", "probe_size", "paths"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.points >= DECILES, "points", self.points, f"at least {DECILES}")
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        require(self.probe_size <= self.train_size, "probe_size", self.probe_size, "at most train_size")
        require(1 <= self.size_of_batch <= self.train_size, "batch_size", self.batch_size,
                "None (all training examples), or from 1 to train_size")

    @property
    def members(self):
        """(learning rate, condition) of each member, in the order of their numbers."""
        return list(itertools.product(self.learning_rates, self.conditions))

    @property
    def size_of_batch(self):
        return self.batch_size or self.train_size

    @property
    def cost(self):
        """A number that grows with the expected time, in the units of `Experiment.cost`."""
        _, widths = self.layers
        weights = 1000 * widths[0] + sum(before * after for before, after in itertools.pairwise(widths)) + 10_000
        return len(self.members) * weights * (self.steps * self.size_of_batch + 30 * self.points) / 3

    @property
    def address(self):
        """The name of the result file, without its ending: readable, then a digest of the settings."""
        batch = self.batch_size or "full"
        return (f"ensemble-{self.dataset}-{self.network}-{self.activation}-{self.optimizer}-batch-{batch}"
                f"-seed{self.seed}-{self.digest}")


def check(table, ensemble, provenance):
    """Raises NotWhole unless every member has every quantity once, at each moment that it has."""
    table = table.copy(deep=False)
    table.attrs = {}
    check_columns(table, COLUMNS)
    check_classes(provenance)
    check_values(table, QUANTITIES)
    members = dict(iter(table.groupby("member")))
    if set(members) != set(range(len(ensemble.members))):
        raise NotWhole(f"it has the members {sorted(members)}; expected {len(ensemble.members)}, from 0")
    for member, rows in members.items():
        moments = set(rows["moment"])
        if rows["quantity"].tolist() == ["diverged"]:
            continue
        if rows["moment"].isna().any() or moments - set(MOMENTS) or MOMENTS[-1] not in moments:
            raise NotWhole(f"member {member} has the moments {', '.join(map(str, moments))}; expected "
                           f"{MOMENTS[-1]}, and {MOMENTS[0]} where it had every label right")
        for moment, steps in rows.groupby("moment")["step"].unique().items():
            if len(steps) != 1 or not 0 < steps[0] <= ensemble.steps:
                raise NotWhole(f"member {member} is {moment} at steps {steps.tolist()}; expected one step")
    measured = table[table["quantity"] != "diverged"]
    by_tenth = measured["quantity"].isin([name for name, quantity in QUANTITIES.items() if quantity.keys])
    known = measured["decile"].isin(range(DECILES)).fillna(False)
    if (by_tenth & ~known).any() or (measured["decile"].notna() & ~by_tenth).any():
        raise NotWhole(f"its deciles are not those from 0 to {DECILES - 1} of the quantities that have them")
    keys = ["member", "moment", "quantity"]
    if measured.duplicated([*keys, "decile"]).any():
        raise NotWhole("it has rows twice")
    counts = measured.groupby(keys).size().unstack(fill_value=0)
    for name, quantity in QUANTITIES.items():
        expected = DECILES if quantity.keys else 1
        found = counts[name] if name in counts else counts.iloc[:, 0] * 0
        if name != "diverged" and (found != expected).any():
            member, moment = found.index[(found != expected).argmax()]
            raise NotWhole(f"member {member} has {found.loc[member, moment]} rows of {name}, {moment}; "
                           f"expected {expected}")
