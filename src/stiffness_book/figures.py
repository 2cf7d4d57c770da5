"""Which runs each page draws: a function of the notebook's parameters, for the notebook, the publisher and the tests.

The published values of the parameters stand in the notebook's cell tagged `parameters`, and nowhere else.
"""

import ast

import jupytext

from stiffness_book.experiment import Experiment


def fig02(*, datasets, seeds, **settings):
    """Long training on few examples, for each data set."""
    return [Experiment(dataset=dataset, seed=seed, **settings) for dataset in datasets for seed in _seeds(seeds)]


def one_network(*, seeds, probe_images, **settings):
    """One network through training, measured on the nested probe sets, one of which is drawn."""
    if probe_images not in settings["nested_probes"]:
        raise ValueError(f"probe_images is {probe_images}; expected one of nested_probes, {settings['nested_probes']}")
    return [Experiment(seed=seed, **settings) for seed in _seeds(seeds)]


def class_stiffness(*, seeds, shown_stages, **settings):
    """Figures 3, 5 and 6: one network through training. The shown stages must be among those measured."""
    if missing := sorted(set(shown_stages) - set(settings["stages"])):
        raise ValueError(f"shown_stages has {missing}, which stages lacks; measured are {settings['stages']}")
    return [Experiment(seed=seed, **settings) for seed in _seeds(seeds)]


def fig04(*, learning_rate, train_size, memorising_learning_rate, memorising_train_size, first_version, **settings):
    """Permuted labels: a network that gives up, and one that learns them by heart; and the first version's network."""
    own = settings | first_version | {"learning_rate": learning_rate, "train_size": train_size}
    return {"permuted": class_stiffness(**settings, learning_rate=learning_rate, train_size=train_size),
            "first version": class_stiffness(**own | {"shown_stages": []}),
            "memorising": class_stiffness(**settings, learning_rate=memorising_learning_rate,
                                          train_size=memorising_train_size)}


def fig07(*, seeds, shown_stage, super_classes, living, **settings):
    """One network on a data set with super-classes."""
    if shown_stage not in settings["stages"]:
        raise ValueError(f"shown_stage is {shown_stage}; measured are {settings['stages']}")
    return [Experiment(seed=seed, **settings) for seed in _seeds(seeds)]


def at_equal_loss(*, losses, learning_rates, seeds, **settings):
    """Figures 8 and 10: several learning rates, measured where the training loss comes down to given values."""
    return [Experiment(dataset=dataset, learning_rate=rate, seed=seed, stages=[0], stage_losses=losses[dataset],
                       **settings)
            for dataset in losses for rate in learning_rates for seed in _seeds(seeds)]


def fig09(*, learning_rate, shown_losses, losses, **settings):
    """The same at one learning rate. Of each data set one of its losses is shown."""
    for dataset in losses:
        if shown_losses.get(dataset) not in losses[dataset]:
            raise ValueError(f"shown_losses of {dataset} is {shown_losses.get(dataset)}; "
                             f"expected one of {losses[dataset]}")
    return at_equal_loss(losses=losses, learning_rates=[learning_rate], **settings)


def architectures(*, convolutional, connected, seeds, first_stages, max_steps, **settings):
    """Convolutional and fully connected networks at equal loss. The first network's runs are those of Figure 6."""
    own = {network: {"stages": [0], "max_steps": max_steps} for network in convolutional + connected}
    own[convolutional[0]] = {"stages": first_stages}
    return [Experiment(network=network, seed=seed, **settings, **own[network])
            for network in own for seed in _seeds(seeds)]


def probe_images(*, data_sets):
    """For each data set the runs of another figure, for the statistical error of their probe sets."""
    return {name: [Experiment(dataset=name, seed=seed, **{key: own[key] for key in own if key != "seeds"})
                   for seed in _seeds(own["seeds"])]
            for name, own in data_sets.items()}


FIGURES = {
    "fig02_overfitting": fig02,
    "fig03_class_stiffness_mnist": class_stiffness,
    "fig04_permuted_labels": fig04,
    "fig05_class_stiffness_fashion": class_stiffness,
    "fig06_class_stiffness_cifar10": class_stiffness,
    "fig07_super_classes": fig07,
    "fig08_learning_rate": at_equal_loss,
    "fig09_distance": fig09,
    "fig10_domain_size": at_equal_loss,
    "architectures": architectures,
    "float32": one_network,
    "probe_images": probe_images,
}


def experiments_of(source, **changed):
    """The runs that the notebook at the path of its .py source draws, each once: with its published parameters, but for
    those that are changed."""
    if source.stem not in FIGURES:
        return []
    runs = FIGURES[source.stem](**parameters_of(source) | changed)
    return list(dict.fromkeys(run for part in runs.values() for run in part) if isinstance(runs, dict) else
                dict.fromkeys(runs))


def parameters_of(source):
    """The published parameters of a notebook, by name: the values assigned in its cell tagged `parameters`."""
    cells = [cell.source for cell in jupytext.read(source).cells if "parameters" in cell.metadata.get("tags", [])]
    return {name: ast.literal_eval(value) for cell in cells for name, value in assignments(cell)}


def assignments(code):
    """The (name, value) of each assignment to a name in the code; the values are syntax trees."""
    for node in ast.parse(code).body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    yield target.id, node.value


def _seeds(number):
    """Seeds 0, 1, ... for so many runs."""
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ValueError(f"seeds is {number!r}; expected the number of runs, 1 or more")
    return range(number)
