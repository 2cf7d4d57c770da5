"""How the first version of the stiffness paper made each figure, how this book does, and why where they differ.

What is marked as inferred follows from the numbers in the paper's pictures (`stiffness_book.pictures`).
"""

from stiffness_book.experiment import Experiment
from stiffness_book.versions import CONNECTED, CONVOLUTIONAL
from stiffness_book.words import name_of

TRAINING = {"mnist": "58,000 (inferred)", "fashion_mnist": "58,000 (inferred)", "cifar10": "48,000 (inferred)",
            "cifar100": "not stated"}
FROM_TRAINING = "the paper keeps 2,000 of the training images for validation; here the test images are for that"
SUBSET = "a subset: part of the data set, the same number of images of each class"


def protocol(number, provenance, *, rates=None, losses=None):
    """Rows of what, the paper, this book, why they differ: of the runs of the paper's figure with this number.

    rates, losses: in words, where runs are compared at several. Facts of the runs are read from their provenance.
    """
    default, first = Experiment().settings(), provenance.iloc[0]
    settings = [default | own for own in provenance["settings"]]  # a run may be older than some of the settings
    own = settings[0]
    datasets = {one["dataset"]: sizes["train"] for one, sizes in zip(settings, provenance["split_sizes"])}
    rows = [["network", _network(number), _layers(own["network"]),
             "" if own["network"] in (CONNECTED["v1"], CONVOLUTIONAL["v1"]) else "the third version's network"]]
    for dataset, size in datasets.items():
        rows.append([f"training images, {name_of(dataset)}", TRAINING.get(dataset, "not its data"), f"{size:,}",
                     SUBSET if dataset.startswith("cifar") else
                     "few enough to be memorised" if size < 58_000 else FROM_TRAINING])
    rate = f"rates {rates}" if rates else f"rate {own['learning_rate']:g}"
    rows += [
        ["inputs", "zero mean; unit variance (its section 3.1) or unit length (2.3)",
         "zero mean, " + ("unit length" if own["unit_length"] else "unit variance"), ""],
        ["training", f"Adam, {'rates ' if rates else 'rate '}{_published_rates(number)}, batches of 32",
         f"{own['optimizer'].capitalize()}, {rate}, batches of {own['batch_size']}",
         "slower rates were not run" if rates and number != 9 else ""],
    ]
    if losses:
        rows.append(["measured at training loss", _published_losses(number), losses,
                     {8: "0.1 is that of Figure 10", 10: "the others are those of Figure 8"}.get(number, "")])
    else:
        rows.append(["longest training, images seen", _published_length(number),
                     f"{own['stages'][-1] * own['batch_size']:,}",
                     "" if own["stages"][-1] * own["batch_size"] * 1.05 > _length(number) else "what this book took"])
    nested = f", in which {own['nested_probes'][0]:,} are nested" if own["nested_probes"] else ""
    rows += [
        ["probe images", _published_probe(number), f"{own['probe_size']:,}{nested}", "a smaller statistical error"],
        ["pairs of an image with itself", "counted (inferred)",
         "counted beside the paper's numbers, left out elsewhere" if nested else "left out",
         "without rounding their sign is always +1, so they say nothing"],
        ["sign of a pair", "from losses in the framework's arithmetic; how is not stated", "without rounding",
         "[rounding decides signs late in training](float32.ipynb)"],
        ["runs", "not stated; one where a matrix is shown", f"{len({one['seed'] for one in settings})}",
         "intervals need several"],
        ["versions", "not stated", f"Keras {first['versions']['keras']}", ""],
    ]
    return rows


def _layers(network):
    kind, *widths = network.split("-")
    return (f"a residual network of {widths[0]} layers" if kind == "resnet" else
            f"{len(widths)} hidden layers of {', '.join(widths)} units" if kind == "fc" else
            f"3×3 convolutions with {', '.join(widths)} channels, 2×2 max pooling after each")


def _network(number):
    return _layers((CONVOLUTIONAL if number in (6, 7) else CONNECTED)["v1"])


def _published_rates(number):
    return {8: "1e-6 to 1e-3", 9: "not stated", 10: "1e-6 to 1e-3"}.get(number, "0.001")


def _published_losses(number):
    return {8: "0.017, 0.056, 0.177", 9: "not stated", 10: "0.1"}[number]


def _length(number):
    return {2: 5_743_584, 3: 5_627_552, 4: 754_208, 5: 5_627_552, 6: 1_584_000, 7: 3_200}[number]


def _published_length(number):
    return f"{_length(number):,}"


def _published_probe(number):
    return {2: "30 (inferred)", 7: "300 (inferred)"}.get(number, "about 150")
