"""Names and numbers as text: summaries, stiffness, shares, intervals."""

import numpy as np
import pandas as pd

from stiffness_book.experiment import degrees_and_draw

WORDS = {"within_class": "within classes", "between_classes": "between classes"}
REGIME_WORDS = {"train_train": "training–training", "train_validation": "training–validation"}  # of pairs
NETWORK_WORDS = {"fc": "fully connected", "cnn": "convolutional", "resnet": "residual"}
DATA = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10", "cifar100": "CIFAR-100",
        "digits": "scikit-learn’s digits", "glue/mnli": "MNLI", "grammar": "a generated grammar"}
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def name_of(dataset):
    """The name of a data set as people write it."""
    return "spherical harmonics" if degrees_and_draw(dataset)[0] else DATA.get(dataset, dataset)


def named(by_dataset):
    """A dictionary by data set with the names as people write them."""
    return {name_of(dataset): value for dataset, value in by_dataset.items()}


def signed(value, digits=2):
    """A stiffness as text: +0.22."""
    return f"{round(value, digits) + 0:+.{digits}f}".replace("-", "−")  # + 0 turns -0.0 into 0.0


def signed3(value):
    """A cosine as text, which is often small: +0.002."""
    return signed(value, 3)


def listed(parts):
    """Texts in a row: a, b and c."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def percent(value):
    """A share as text: 82.4 %, which no line breaks."""
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def by_percent(value):
    """A change of a logarithm as text: +12 %, −5 %, which no line breaks."""
    return f"{round(100 * np.expm1(value)) + 0:+d}\N{NO-BREAK SPACE}%".replace("-", "−")


def small(value):
    """A number that may be very small, as Markdown: 0.36, or 1.9 times a power of ten."""
    digits, _, exponent = f"{value:.2g}".partition("e")
    return rf"${digits} \times 10^{{{int(exponent)}}}$" if exponent else digits


def factor(logarithm):
    """A factor as text, from its logarithm to base 10: ×0.41, ×2.1·10⁻⁵, ×52,000."""
    if not -300 < logarithm < 300:
        return "none" if logarithm != logarithm else "×0" if logarithm < 0 else "×∞"
    value = 10**logarithm
    digits, _, exponent = f"{value:.2g}".partition("e")
    if 0.1 <= value < 10:
        return f"×{value:.2f}"
    if 10 <= value < 1e6:
        return f"×{float(f'{value:.2g}'):,.0f}"
    return f"×{digits}·10{str(int(exponent)).translate(RAISED)}" if exponent else f"×{digits}"


def interval(row, as_text=signed):
    """A mean with its interval, as text: +0.22 [+0.15, +0.29]; the mean alone where all three read the same. A single
    run's interval is unknown."""
    mean, low, high = ("unknown" if pd.isna(row[name]) else as_text(row[name]) for name in ("mean", "low", "high"))
    return mean if mean == low == high else f"{mean} [{low}, {high}]"
