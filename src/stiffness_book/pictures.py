"""What the numbers that the first version's pictures show say about how they were made.

Each function works on the readings alone (`stiffness_book.published`): inferences, with their tests, not facts.
"""

import numpy as np
import pandas as pd

from stiffness_book import published

CLASSES = 10
EARLY = 16  # stages of Figure 2 before single precision could round a gradient to 0
LATE = 100_000  # images seen: early stages lie within the first pass
DRAWS = 2_000
LEVEL = 2 / 256  # of the colour scale of Figures 3 to 6
FIGURES = {3: "FC, MNIST", 4: "FC, permuted labels", 5: "FC, Fashion-MNIST", 6: "CNN, CIFAR-10"}


def distance_from_grid(values, pairs):
    """How far values are from means of so many signs +1 and -1, on average: 0 on the grid, 0.5 by chance, 1 at most.

    The mean of n signs is k / n with a k that is even where n is even, and odd where n is odd.
    """
    places = (np.asarray(values) * pairs - pairs % 2) / 2
    return float(np.abs(places - np.round(places)).mean() * 2)


def images_a_class(most=15, *, draws=DRAWS, seed=0):
    """For each number n of images a class: how far Figure 2's early between-class values are from means over
    45 n² pairs of images, and the share of random values that are as near (p).

    The random values are spread evenly over the range of the readings, and rounded as these are.
    """
    values = _line("different class").iloc[:EARLY].to_numpy()
    rng = np.random.default_rng(seed)
    random = rng.uniform(values.min(), values.max(), (draws, len(values))).round(3)  # as the readings are
    rows = []
    for n in range(2, most + 1):
        pairs = CLASSES * (CLASSES - 1) // 2 * n**2
        distance = distance_from_grid(values, pairs)
        chance = np.array([distance_from_grid(row, pairs) for row in random])
        rows.append({"images": n, "pairs": pairs, "distance": distance,
                     "p": (1 + (chance <= distance).sum()) / (1 + len(chance)),
                     "spacing": 2 / pairs})
    return pd.DataFrame(rows)


def self_pairs(images=3):
    """How far Figure 2's within-class values before the first half step are from the two grids: with each image also
    paired with itself (unordered pairs), and without."""
    values = _line("same class")
    values = values[values < 1]
    halves = (values * CLASSES * images * (images + 1) / 2).round().mod(2) == 1
    early = values[: int(np.argmax(halves.to_numpy()))] if halves.any() else values
    cross = CLASSES * images * (images - 1) // 2
    own = CLASSES * images
    return pd.DataFrame([
        {"pairs": "with self-pairs", "number": cross + own, "values": len(early),
         "distance": distance_from_grid(early * (cross + own) / cross - own / cross, cross)},
        {"pairs": "without", "number": cross, "values": len(early), "distance": distance_from_grid(early, cross)}])


def first_half_step():
    """Images seen at the first stage of Figure 2 whose within-class value lies between two means of signs: some signs
    are 0 there."""
    values = _line("same class")
    halves = (values * 60).round().mod(2) == 1
    return int(values.index[int(np.argmax(halves.to_numpy()))])


def lengths_of_a_pass():
    """For the figures on MNIST and Fashion-MNIST, and for the one on CIFAR-10: the late stages that are printed over
    their matrices, in images seen, their greatest common divisor, and how many such parts each stage has."""
    rows = []
    for name, figures in (("MNIST and Fashion-MNIST", (3, 4, 5)), ("CIFAR-10", (6,))):
        late = sorted({images for figure in figures for images in published.matrices(figure) if images > LATE})
        step = int(np.gcd.reduce(late))
        rows.append({"of": name, "stages": late, "step": step, "batches": step // published.BATCH,
                     "passes": [images // step for images in late]})
    return pd.DataFrame(rows)


def asymmetry():
    """For each matrix of Figures 3 to 6: the largest difference of two cells that mirror each other, how many of the 45
    pairs of cells differ by more than two levels of colour, and the share of cells that are 0."""
    rows = []
    for figure, name in FIGURES.items():
        for images, C in published.matrices(figure).items():
            mirrored = np.abs(C - C.T)[np.triu_indices(len(C), 1)]
            rows.append({"figure": figure, "of": name, "images": images, "largest": float(mirrored.max()),
                         "differ": int((mirrored > 2 * LEVEL).sum()), "zero": float((C == 0).mean()),
                         "zero_rows": [int(c) for c in range(len(C)) if not C[c].any()],
                         "diagonal": float(np.diagonal(C).mean())})
    return pd.DataFrame(rows)


def zero_gradients(diagonal, images):
    """The share of gradients that are 0 in a class, from the mean sign of its pairs, self-pairs counted, at two ends:
    if the signs of all other pairs are +1, and if they cancel. images: of a class."""
    pairs = diagonal * images * (images + 1) / 2
    agree, cancel = (np.sqrt(1 + 8 * pairs) - 1) / 2, min(pairs, images)  # images whose gradient is not 0
    return float(1 - agree / images), float(1 - cancel / images)


def equal_images():
    """Figures 2 and 3 at the stages that both show: within-class stiffness in each."""
    line, matrices = _line("same class"), published.matrices(3)
    return pd.DataFrame([{"images": images, "figure_2": float(line[images]), "figure_3": float(np.diagonal(C).mean())}
                         for images, C in matrices.items() if images in line.index])


def _line(series):
    """A series of Figure 2 by images seen."""
    curves = published.curves(2)
    return curves[curves["series"] == series].set_index("x")["y"].sort_index()
