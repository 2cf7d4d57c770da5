"""The settings of the runs in which the two versions of the stiffness paper differ, for each kind of figure.

v1: the network, the stages, the rates and the losses of the first version, as its text and its figures give them;
stages are rounded to 25 steps. v3: the network of the third version. Its rates, losses and stages are not known, and
those here are this book's own. What both have in common stands in the notebooks' cells of parameters.
"""

from stiffness_book.experiment import ARITHMETICS

CONNECTED = {"v1": "fc-400-200-200-200-200-200", "v3": "fc-500-300-100"}
CONVOLUTIONAL = {"v1": "cnn-32-64-128-256", "v3": "cnn-16-32-32"}
PASSES = (1825, 3625, 5450, 7250, 9075, 10875, 14500, 19950, 25375, 32625, 39875, 48950, 59825, 72525, 87025, 103350,
          119650, 139600, 159550, 175850, 179475)  # of Figure 2: from 1 to 99 passes over the paper's training set
LAST_LOSSES = (0.1, 0.01, 1e-3, 1e-4, 1e-5, 1e-6)  # to compare networks that are equally far, whenever they are there
_FIRST = {"network": CONNECTED["v1"], "nested_probes": (150, 30), "also": ("regimes", "gram")}
_STEADY = {"network": CONNECTED["v3"], "stages": (0, 10, 30, 100, 300, 1000, 3000, 6000, 10000, 20000, 40000)}
_LONG = {**_FIRST, "stages": (0, 25, 50, 100, 150, 200, 300, *PASSES), "stage_losses": LAST_LOSSES, "check_every": 500,
         "max_steps": PASSES[-1], "arithmetics": ARITHMETICS}
_LONG_CONVOLUTIONAL = {  # on CIFAR-10, to 1.58 million images
    **_FIRST, "network": CONVOLUTIONAL["v1"],
    "stages": (0, 50, 100, 200, 500, 1000, 2000, 4000, 7000, 10_000, 15_000, 21_000, 30_000, 40_000, 49_500),
    "stage_losses": LAST_LOSSES, "check_every": 500, "max_steps": 49_500,
    "arithmetics": ("float32", "clipped", "step_1e-3")}

_FIRST_RATES = {**_FIRST, "also": ("regimes", "gram", "l1", "l2"), "stages": (0, 1825, 9125), "check_every": 25,
                "max_steps": 250_000,
                "losses": {"mnist": (0.177, 0.1, 0.056, 0.017), "fashion_mnist": (0.177, 0.1, 0.056)}}
_THIRD_RATES = {"network": CONNECTED["v3"], "stages": (0, 1825, 9125), "max_steps": 40_000,
                "losses": {"mnist": (0.3, 0.1, 0.03), "fashion_mnist": (0.5, 0.4, 0.3)}}
_SGD_RATES = dict.fromkeys(("mnist", "fashion_mnist"), (0.01, 0.03, 0.1))

VERSIONS = {
    "long training": {  # Figure 2
        "v1": _LONG,
        "v3": {"network": CONNECTED["v3"], "train_size": 1000,  # few enough to be memorised
               "stages": (0, 10, 30, 60, 100, 200, 300, 600, 1000, 2000, 3000, 6000, 10000, 20000)},
    },
    "class stiffness": {"v1": _LONG, "v3": _STEADY},  # Figures 3 and 5
    "permuted labels": {  # Figure 4
        "v1": {**_FIRST, "stages": (0, 50, 150, 300, 600, 1500, 3000, 6000, 12000, 23575)},
        "v3": _STEADY,
    },
    "convolutional": {  # Figure 6
        "v1": _LONG_CONVOLUTIONAL,
        "v3": {"network": CONVOLUTIONAL["v3"], "stages": (0, 10, 30, 100, 300, 1000, 3000, 6000, 10000)},
    },
    "super-classes": {  # Figure 7
        "v1": {"network": CONVOLUTIONAL["v1"], "nested_probes": (1000, 300), "also": ("gram",),
               "arithmetics": ("float32",), "stages": (0, 100, 300, 1000, 2000, 4000, 9000)},
    },
    "distance": {  # Figure 9. The first version tells neither the rate nor the loss: those of its Figures 2 and 10
        "v1": {**_FIRST_RATES, "losses": {"mnist": _FIRST_RATES["losses"]["mnist"]}, "learning_rate": 1e-3,
               "shown_losses": {"mnist": 0.1}},
        "v3": {**_THIRD_RATES, "learning_rate": 5e-4, "shown_losses": {"mnist": 0.1, "fashion_mnist": 0.4}},
    },
    "rates": {  # Figures 8 and 10
        "v1": {**_FIRST_RATES, "learning_rates": {"mnist": (1e-5, 3e-5, 1e-4, 3e-4, 1e-3),
                                                  "fashion_mnist": (3e-4, 1e-3)}},
        "v3": {**_THIRD_RATES, "learning_rates": dict.fromkeys(
            ("mnist", "fashion_mnist"), (3e-5, 8e-5, 2e-4, 5e-4, 1.2e-3, 3e-3))},
    },
    "rates of plain gradient descent": {  # the page on the three texts, beside the runs of Figures 8 and 10
        version: {**_THIRD_RATES, "network": network, "optimizer": "sgd", "learning_rates": _SGD_RATES}
        for version, network in CONNECTED.items()
    },
}
# what the text of the first version says beside its figures
CAPACITY = {"stages": (0, 1825, 9125, 20_000), "stage_losses": (0.177, 0.1, 0.056, 0.017), "check_every": 25,
            "max_steps": 20_000}
# other training with the first version's network, beside its long one
ROUNDING = {
    "all images": _LONG,
    "few images": {**_LONG, "train_size": 2000, "check_every": 25, "max_steps": 40_000,
                     "stages": (0, 25, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 40_000)},
    "images of unit length": {**_LONG, "unit_length": True},
    "a convolutional network": {"dataset": "cifar10", **_LONG_CONVOLUTIONAL},
}


def settings_of(kind, setting, beside, given):
    """The settings of a kind of figure by version: of the chosen one, and of the other one beside it if it is wanted.

    given: what replaces the settings of both, see `replaced`. Raises ValueError for a setting that is neither v1 nor
    v3.
    """
    known = VERSIONS[kind]
    if setting not in known:
        raise ValueError(f"setting is {setting!r}; expected the version of the paper, {' or '.join(known)}")
    order = sorted(known, key=lambda version: version != setting) if beside else [setting]
    return {version: replaced(known[version], given) for version in order}


def replaced(settings, given):
    """The settings with those that are given in their place; None stands for the settings' own. Where stages are given
    they are all there are: nothing is then measured at the settings' own training losses."""
    chosen = {name: value for name, value in given.items() if value is not None}
    left_out = ("stage_losses", "check_every", "max_steps") if "stages" in chosen else ()
    return {name: value for name, value in settings.items() if name not in left_out} | chosen
