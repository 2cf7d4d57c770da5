"""One network before and after training, measured along ellipses in input space and around training examples.

An ellipse goes through three points, and the plane of the three is that of the ellipse.
"""

import itertools
from dataclasses import dataclass
from math import inf, pi
from typing import ClassVar

import numpy as np

from stiffness_book.experiment import NETWORK, OPTIMIZERS
from stiffness_book.settings import Settings, one_of, require
from stiffness_book.table import NotWhole, check_classes, check_columns, check_values

DATASETS = ("mnist", "fashion_mnist", "cifar10", "cifar100", "digits")
# what the three points are: random inputs, or training examples
RANDOM, DIFFERENT, ONE = PATHS = ("random points", "different classes", "one class")
CORNERS = (60.0, 180.0, 300.0)  # degrees, at which an ellipse passes through its three points
STEPS_BETWEEN = 12  # steps between two angles in which changes of region are counted
RAYS = 8  # directions in the plane of three points, in which changes are counted from each of them outwards
# distances are shares of a point's mean distance to the other two: the middles of bins, and the steps in each
RAY_BIN = 0.05
DISTANCES = tuple(round(RAY_BIN * (number + 0.5), 3) for number in range(12))
RAY_STEPS = 10
SHADES = 12  # of linear regions in a picture, so that neighbours can be told apart
EXTENT = 1.3  # half the side of a picture, over the radius of the circle that holds the three points


@dataclass(frozen=True, kw_only=True)
class InputSpace(Settings):
    """Settings of one training run whose network is measured before and after training.

    triples: ellipses of each kind, and their three points. angles: on an ellipse, at which the norms are measured.
    grid: cells along each side of the picture of the plane through three training examples of different classes; 0 for
    none.
    """

    KIND: ClassVar[str] = "input space"

    dataset: str = "mnist"
    network: str = "fc-200-200-200-200"
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    batch_size: int = 100
    steps: int = 6000
    train_size: int | None = None  # None: the whole training split
    seed: int = 0
    triples: int = 20
    angles: int = 120
    grid: int = 0

    def __post_init__(self):
        super().__post_init__()
        one_of("dataset", self.dataset, DATASETS)
        require(NETWORK.fullmatch(self.network), "network", self.network,
                "a kind and its layers' widths, such as fc-200-200-200-200")
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "a positive number")
        for name in ("batch_size", "steps", "triples"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.train_size is None or self.train_size >= self.batch_size,
                "train_size", self.train_size, "None (all) or at least one batch")
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        require(self.angles >= 12 and self.angles % 6 == 0, "angles", self.angles,
                "a multiple of 6, 12 or more, so that the three points and the middles between them are among them")
        require(self.grid == 0 or 10 <= self.grid <= 500, "grid", self.grid, "0 (no picture) or from 10 to 500 cells")

    @property
    def cost(self):
        """A number that grows with the expected time of the run, comparable with that of an experiment."""
        kind, widths = self.layers
        weights = sum(before * after for before, after in itertools.pairwise(widths)) + sum(widths)
        measured = len(PATHS) * self.triples * (self.angles * 30 + 3 * RAYS * RAY_STEPS * len(DISTANCES))
        return weights * (100 if kind == "cnn" else 1) * (self.steps * self.batch_size + 2 * (measured + self.grid**2))

    @property
    def address(self):
        """The name of the run's result file, without its ending: readable, then a digest of the settings."""
        return (f"input-space-{self.dataset}-{self.network}-{self.optimizer}{self.learning_rate:g}-seed{self.seed}-"
                f"{self.digest}")


# Geometry

def ellipse(points, angles):
    """The places at these angles, in degrees, on the ellipse through three points.

    points: (3, ...), which the ellipse passes at 60, 180 and 300 degrees. Returns (angles, ...).
    """
    one, two, three = np.asarray(points, float)
    centre, u, v = (one + two + three) / 3, (one - 2 * two + three) / 3, (one - three) / 3**0.5
    turns = np.deg2rad(np.asarray(angles, float)).reshape(-1, *[1] * one.ndim)
    return centre + u * np.cos(turns) + v * np.sin(turns)


def plane(points):
    """The plane through three points (3, ...): its origin, which is the centre of the circle through them, and two
    directions of length 1 (2, ...), the first towards the first point.

    Raises ValueError for points on a line.
    """
    points = np.asarray(points, float)
    flat = points.reshape(3, -1)
    edges = flat[1:] - flat[0]
    products = edges @ edges.T
    if np.linalg.det(products) <= 1e-9 * products[0, 0] * products[1, 1]:
        raise ValueError("the three points lie on a line, so there is no plane and no circle through them")
    origin = flat[0] + np.linalg.solve(2 * products, np.diagonal(products)) @ edges
    first = flat[0] - origin
    first /= np.linalg.norm(first)
    second = flat[1] - origin - ((flat[1] - origin) @ first) * first
    second /= np.linalg.norm(second)
    return origin.reshape(points.shape[1:]), np.stack([first, second]).reshape(2, *points.shape[1:])


def in_plane(points):
    """(3, 2): the coordinates of three points in their plane, over the radius of the circle through them."""
    points = np.asarray(points, float)
    origin, directions = plane(points)
    places = (points - origin).reshape(3, -1) @ directions.reshape(2, -1).T
    return places / np.linalg.norm(places[0])


def grid_points(points, rows, size):
    """(len(rows), size, ...): the inputs in these rows of the picture of the plane through three points.

    The picture is a square about the origin of the plane, from -EXTENT to EXTENT in units of the circle's radius; row 0
    and column 0 have the lowest coordinates.
    """
    points = np.asarray(points, float)
    origin, (first, second) = plane(points)
    radius = np.linalg.norm(points[0] - origin)
    places = radius * EXTENT * ((2 * np.arange(size) + 1) / size - 1)
    shape = [1] * origin.ndim
    return origin + places[rows].reshape(-1, 1, *shape) * second + places.reshape(1, -1, *shape) * first


def rays(points, corner):
    """(RAYS, steps + 1, ...): paths from one of three points outwards, in evenly spread directions of their plane, and
    the length of one step of them."""
    points = np.asarray(points, float)
    _, (first, second) = plane(points)
    reach = np.mean([np.linalg.norm(points[corner] - other) for k, other in enumerate(points) if k != corner])
    steps = reach * RAY_BIN / RAY_STEPS * np.arange(len(DISTANCES) * RAY_STEPS + 1)
    turns = 2 * pi * np.arange(RAYS) / RAYS
    shape = [1] * first.ndim
    directions = np.cos(turns).reshape(-1, *shape) * first + np.sin(turns).reshape(-1, *shape) * second
    return points[corner] + directions[:, None] * steps.reshape(1, -1, *shape), steps[1]


# The table

COLUMNS = {"step": "int64", "quantity": "string", "path": "string", "triple": "Int16", "corner": "Int16",
           "angle": "float64", "distance": "float64", "row": "Int16", "column": "Int16", "value": "float64"}
KEYS = ("path", "triple", "corner", "angle", "distance", "row", "column")


@dataclass(frozen=True)
class Quantity:
    """What a row's value means, and which columns tell apart the rows that one moment has of it.

    fixed: it does not change by training, and stands at step 0 alone. picture: only a run with a picture has it.
    """

    meaning: str
    range: tuple[float, float]
    keys: tuple[str, ...] = ()
    fixed: bool = False
    picture: bool = False
    may_be_missing: bool = False


_ALONG = ("path", "triple", "angle")
QUANTITIES = {
    "norm": Quantity("Jacobian norm of the class probabilities at an angle, in degrees, of an ellipse", (0, inf),
                     _ALONG),
    "logit_norm": Quantity("the same of the logits less their mean, to which a sure softmax adds nothing", (0, inf),
                           _ALONG),
    "transitions": Quantity("changes of the code per radian from this angle to the next", (0, inf), _ALONG),
    "length": Quantity("of the ellipse, in units of the input", (0, inf), ("path", "triple"), fixed=True),
    "label": Quantity("class of a training example through which an ellipse passes", (0, inf),
                      ("path", "triple", "corner"), fixed=True),
    "ray_transitions": Quantity("changes of the code per unit of length, on rays from the points outwards in the plane "
                                "of the three, at a distance over the mean distance to the other two; the mean over "
                                "the rays of all points", (0, inf), ("path", "distance")),
    **{f"{split}_{measure}": Quantity(
        f"{measure} in inference mode, on {'the' if split == 'validation' else 'all'} {split} examples", bounds)
       for split in ("train", "validation") for measure, bounds in (("loss", (0, inf)), ("accuracy", (0, 1)))},
    "input": Quantity("number of the input, by its row and its columns with their channels, at a point of the first "
                      "ellipse", (-inf, inf), ("path", "corner", "row", "column"), fixed=True),
    "shade": Quantity(f"one of {SHADES} for each linear region of the plane: neighbours mostly have others",
                      (0, SHADES - 1), ("row", "column"), picture=True),
    "class": Quantity("the likeliest class in a cell of the plane", (0, inf), ("row", "column"), picture=True),
    "regions": Quantity("linear regions that the cells of the plane lie in", (1, inf), picture=True),
}


def angles_of(run):
    """The angles, in degrees, at which the run measures: 0, 3, 6, ..."""
    return 360 / run.angles * np.arange(run.angles)


def check(table, run, provenance):
    """Raises NotWhole unless the table holds every quantity, before and after training, once, and within its range.

    provenance: the run's; its class names and the sizes of its splits are looked at too.
    """
    table = table.copy(deep=False)
    table.attrs = {}
    check_columns(table, COLUMNS)
    classes = check_classes(provenance)
    check_values(table, QUANTITIES)
    if (steps := set(table["step"])) != {0, run.steps}:
        raise NotWhole(f"it was measured at steps {sorted(steps)}; expected 0 and {run.steps}")
    known = {"path": PATHS, "triple": range(run.triples), "corner": range(3), "angle": angles_of(run),
             "distance": DISTANCES}
    by_name = dict(iter(table.groupby("quantity")))
    for name, quantity in QUANTITIES.items():
        rows = by_name.get(name, table[:0])
        if quantity.picture and not run.grid:
            if len(rows):
                raise NotWhole(f"it has {name}, which its settings do not ask for")
            continue
        keys, others = list(quantity.keys), [key for key in KEYS if key not in quantity.keys]
        if rows[keys].isna().any(axis=None) or rows[others].notna().any(axis=None):
            raise NotWhole(f"{name} has keys that it should not have, or lacks some; "
                           f"expected {', '.join(keys) or 'none'}")
        if rows.duplicated(["step", *keys]).any():
            raise NotWhole(f"{name} has rows twice")
        own = {key: PATHS[1:] if (name, key) == ("label", "path") else known[key] for key in keys if key in known}
        if "row" in keys:
            square = range(run.grid)
            own |= {key: square if name != "input" else range(int(rows[key].max()) + 1 if len(rows) else 1)
                    for key in ("row", "column")}
        for key, values in own.items():
            if unknown := set(rows[key]) - set(values):
                raise NotWhole(f"{name} has the unknown {key} {', '.join(map(str, sorted(unknown)))}")
        moments = [0] if quantity.fixed else [0, run.steps]
        number = int(np.prod([len(values) for values in own.values()]))
        counts = rows["step"].value_counts().to_dict()
        if counts != {step: number for step in moments}:
            raise NotWhole(f"{name} has {len(rows)} rows; expected {number} at each of {len(moments)} moments")
    for name in ("label", "class"):
        values = by_name[name]["value"] if name in by_name else table["value"][:0]
        if (values >= classes).any():
            raise NotWhole(f"{name} is up to {values.max():g}; there are {classes} classes")
