"""What the figures of the papers show, as numbers.

Those of the stiffness paper's first version (Fort, Nowak, Narayanan 2019) were read off its pictures, pixel by pixel;
the paper prints no table. Each value has an error of reading, which is told beside it. Of the paper on sensitivity
(Novak et al. 2018) there are the levels of a figure, read off roughly. The files papers/*.csv hold the readings: facts
of the papers, with no text and no picture of them.
"""

from importlib.resources import files

import numpy as np
import pandas as pd

from stiffness_book.words import name_of

BATCH = 32  # images in a step: the paper's axes count images seen
PASS = 58_016  # images in a pass over the paper's training set, the last batch filled up; inferred from its stages
FIGURE_2_IMAGES = 30  # of its probe set, three a class; inferred (`stiffness_book.pictures`)
# the data of the figures that have one data set
DATA = {2: "mnist", 3: "mnist", 4: "mnist", 5: "fashion_mnist", 6: "cifar10", 7: "cifar100"}
DOMAIN_LOSS = 0.1  # the training loss of Figure 10
MATRIX_ERROR = 0.004  # of a cell of Figures 3 to 6: half of one of 256 colours; Figure 7's ten colours are exact


def ellipse_levels():
    """Figure 2 of Novak et al.: measure, path, place, low, high; roughly, and of a network that is not known here."""
    return _read("novak_figures.csv").drop(columns="figure")


def curves(figure):
    """The curves of Figure 2, 8, 9 or 10: panel, series, x, y, low and high (of a band, missing without one), error.

    x is the number of images seen (2), the learning rate (8, 10) or the cosine of two representations (9).
    error: half the width of what a reading may be off by.
    """
    table = _read("fort_v1_figures.csv")
    chosen = table[table["figure"] == figure].drop(columns="figure").reset_index(drop=True)
    if chosen.empty:
        raise ValueError(f"figure is {figure!r}; curves were read off Figures "
                         f"{', '.join(map(str, sorted(table['figure'].unique())))}")
    return chosen.assign(error=_errors(figure, chosen))


def matrices(figure):
    """The class stiffness matrices of Figure 3, 4, 5, 6 or 7: {images seen: (Nc, Nc)}, C[a, b] of a step on class a."""
    table = _read("fort_v1_matrices.csv")
    chosen = table[table["figure"] == figure]
    if chosen.empty:
        raise ValueError(f"figure is {figure!r}; matrices were read off Figures "
                         f"{', '.join(map(str, sorted(table['figure'].unique())))}")
    return {int(images): rows.pivot(index="class_a", columns="class_b", values="value").to_numpy()
            for images, rows in chosen.groupby("iteration")}


def stiffness_by_rate():
    """Figure 8: dataset, target_loss, learning_rate, value, low, high (of a band whose meaning is not told)."""
    rows = curves(8)
    return pd.DataFrame({"dataset": rows["panel"].map(_dataset),
                         "target_loss": rows["series"].str.partition("=")[2].astype(float),
                         "learning_rate": rows["x"], "value": rows["y"], "low": rows["low"], "high": rows["high"]})


def stiffness_by_distance():
    """Figure 9: dataset, space, distance (1 - cosine), value."""
    rows = curves(9)
    return pd.DataFrame({"dataset": rows["panel"].map(_dataset), "space": rows["series"].replace("layer 0", "input"),
                         "distance": 1 - rows["x"], "value": rows["y"]})


def domains_by_rate():
    """Figure 10: dataset, target_loss, space, learning_rate, value (1 - cosine at the first crossing)."""
    rows = curves(10)
    return pd.DataFrame({"dataset": rows["panel"].map(_dataset), "target_loss": DOMAIN_LOSS,
                         "space": rows["series"].str.removesuffix(" space"), "learning_rate": rows["x"],
                         "value": rows["y"]})


def with_self_pairs(C, images_a_class, self_stiffness=1.0):
    """A class stiffness matrix over different images as it would be with each image also paired with itself.

    The paper's equation 6 counts these pairs, and its Figure 2 counts two images of a class once, not in both orders
    (`stiffness_book.pictures`): of n images there are n (n - 1) / 2 pairs of two images, and n of one with itself.
    self_stiffness: the mean sign of those, a number or (Nc,): 1 unless gradients are 0.
    """
    C = np.array(C, float)
    own = np.diag_indices(len(C))
    C[own] = ((images_a_class - 1) * C[own] + 2 * np.asarray(self_stiffness)) / (images_a_class + 1)
    return C


def without_self_pairs(C, images_a_class):
    """The inverse of `with_self_pairs` where no gradient is 0."""
    C = np.array(C, float)
    own = np.diag_indices(len(C))
    C[own] = ((images_a_class + 1) * C[own] - 2) / (images_a_class - 1)
    return C


def agreement(ours, theirs):
    """How two class stiffness matrices compare, cell by cell: a dictionary of numbers.

    correlation: of all cells, and of those between classes (Pearson; missing where one matrix is constant there).
    within, between: the difference of the means, ours minus theirs. distance: the mean absolute difference of cells.
    """
    ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
    own = np.eye(len(ours), dtype=bool)

    def correlation(a, b):
        return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) > 0 and np.ptp(b) > 0 else np.nan

    return {"correlation": correlation(ours.ravel(), theirs.ravel()),
            "correlation_between": correlation(ours[~own], theirs[~own]),
            "within": float(ours[own].mean() - theirs[own].mean()),
            "between": float(ours[~own].mean() - theirs[~own].mean()),
            "distance": float(np.abs(ours - theirs).mean())}


def _dataset(panel):
    """The data set of a panel, as this book names it."""
    return name_of("fashion_mnist" if "FASHION" in panel else "mnist")


def _read(name):
    with files("stiffness_book").joinpath("papers", name).open(encoding="utf-8") as file:
        return pd.read_csv(file)


def _errors(figure, rows):
    """The error of each reading, as the one who read them judged it from the width of lines and markers."""
    late = rows["x"] > 4.5e6
    if figure == 2:
        loss = rows["panel"].str.startswith("bottom")
        return np.where(loss, rows["y"].abs() * np.where(late, 0.02, 0.01), np.where(late, 0.005, 0.002))
    if figure == 10:
        return 0.007 * rows["y"].abs()
    return {8: 0.0005, 9: 0.003}[figure]
