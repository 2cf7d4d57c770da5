"""Which runs each page draws: a function of the notebook's parameters, for the notebook, the publisher and the tests.

The published values of the parameters stand in the notebook's cell tagged `parameters`, and nowhere else; where one is
None there, it is what `versions` has for each version of the paper. A figure that both versions have gives
{version: runs}, the chosen setting first, and the other one if `beside` is true.
"""

import ast

import jupytext

from stiffness_book import pretrained
from stiffness_book.experiment import Experiment
from stiffness_book.sensitivity.input_space import InputSpace
from stiffness_book.sensitivity.survey import ensembles
from stiffness_book.versions import CAPACITY, CONNECTED, ROUNDING, VERSIONS, replaced, settings_of
from stiffness_book.words import named


def long_training(*, setting, beside, datasets, seeds, **given):
    """Figure 2: training until long after the onset of over-fitting, for each data set."""
    return {version: [Experiment(dataset=dataset, seed=seed, **settings)
                      for dataset in datasets for seed in _seeds(seeds)]
            for version, settings in settings_of("long training", setting, beside, given).items()}


def rounding(*, compared, dataset, seeds, few_images, probe_images, **given):
    """The first version's network, trained in one way or several: {name of the training: runs}."""
    if unknown := [name for name in compared if name not in ROUNDING]:
        raise ValueError(f"compared has {', '.join(unknown)}; expected some of {', '.join(ROUNDING)}")
    ways = {name: replaced(ROUNDING[name], given) for name in compared}
    if "few images" in ways:
        ways["few images"]["train_size"] = few_images
    if short := [name for name, settings in ways.items() if probe_images not in settings["nested_probes"]]:
        raise ValueError(f"probe_images is {probe_images}; expected one of nested_probes, "
                         f"{ways[short[0]]['nested_probes']}")
    return {name: [Experiment(seed=seed, **{"dataset": dataset, **settings}) for seed in _seeds(seeds)]
            for name, settings in ways.items()}


def class_stiffness(*, setting, beside, seeds, **given):
    """Figures 3 and 5: one network through training."""
    return _of_seeds(settings_of("class stiffness", setting, beside, given), seeds)


def permuted_labels(*, setting, beside, seeds, memorising_learning_rate, memorising_train_size, **given):
    """Figure 4: networks that give up, and beside the versions' a third version's that learns the labels by heart."""
    memorising = settings_of("permuted labels", "v3", False, given)["v3"] | {
        "learning_rate": memorising_learning_rate, "train_size": memorising_train_size}
    return _of_seeds({**settings_of("permuted labels", setting, beside, given), "memorising": memorising}, seeds)


def convolutional(*, setting, beside, seeds, **given):
    """Figure 6: a convolutional network through training."""
    return _of_seeds(settings_of("convolutional", setting, beside, given), seeds)


def super_classes(*, seeds, shown_stage, super_classes, living, **given):
    """Figure 7: one network on a data set with super-classes."""
    settings = replaced(VERSIONS["super-classes"]["v1"], given)
    if shown_stage not in settings["stages"]:
        raise ValueError(f"shown_stage is {shown_stage}; measured are {list(settings['stages'])}")
    return [Experiment(seed=seed, **settings) for seed in _seeds(seeds)]


def at_equal_loss(*, setting, beside, seeds, **given):
    """Figures 8 and 10: several learning rates, measured where the training loss comes down to given values."""
    return {version: _at_losses(seeds=seeds, **settings)
            for version, settings in settings_of("rates", setting, beside, given).items()}


def contradiction(*, seeds, network, learning_rates, sgd_learning_rates, **given):
    """The networks of both versions, or the one that is given, at several learning rates, {optimizer: runs}: by Adam
    those of Figures 8 and 10."""
    ways = {"adam": ("rates", learning_rates), "sgd": ("rates of plain gradient descent", sgd_learning_rates)}
    return {optimizer: [run for settings in settings_of(kind, "v1", network is None, given | {
                            "network": network, "learning_rates": rates}).values()
                        for run in _at_losses(seeds=seeds, **settings)]
            for optimizer, (kind, rates) in ways.items()}


def distance(*, setting, beside, seeds, **given):
    """Figure 9: the same at one learning rate."""
    found = {}
    for version, settings in settings_of("distance", setting, beside, given).items():
        rate, shown = settings.pop("learning_rate"), settings.pop("shown_losses")
        for dataset, losses in settings["losses"].items():
            if shown.get(dataset) not in losses:
                raise ValueError(f"shown_losses of {dataset} is {shown.get(dataset)}; expected one of {list(losses)}")
        found[version] = _at_losses(seeds=seeds, learning_rates=[rate], **settings)
    return found


def shown_losses(*, setting, beside, seeds, **given):
    """The training loss at which `distance` shows each data set, by version."""
    return {version: settings["shown_losses"]
            for version, settings in settings_of("distance", setting, beside, given).items()}


def losses_of(experiments):
    """{data set, as people write it: the training losses at which its runs are measured}."""
    return named({e.dataset: e.stage_losses for e in experiments})


def compared(experiments):
    """The rates and the losses of the runs, in words: what `protocol` tells of them."""
    rates, losses = ([f"{value:g}" for value in sorted(values)] for values in (
        {e.learning_rate for e in experiments}, {loss for e in experiments for loss in e.stage_losses}))
    return {"rates": ", ".join(rates), "losses": ", ".join(losses)}


def from_the_text(*, datasets, networks, network, seeds, stages, losses, learning_rates, max_steps, **common):
    """Runs of the first version's network for what its text says beside its figures, and of larger and smaller ones."""
    own = {"network": network, "stages": stages, **common}
    rates = {"network": network, "losses": losses, "learning_rates": learning_rates, "max_steps": max_steps, **common}
    return {
        "widths": [Experiment(dataset=datasets[0], network=one, seed=seed, **replaced(CAPACITY, common | {
            "stages": stages})) for one in networks for seed in _seeds(seeds)],
        "intensity": [Experiment(dataset=dataset, network=network or CONNECTED["v1"], seed=seed, stages=[0],
                                 also=["intensity"], **common) for dataset in datasets for seed in _seeds(seeds)],
        **{name: long_training(setting=version, beside=False, datasets=datasets, seeds=seeds, **own)[version]
           for name, version in (("all images", "v1"), ("few images", "v3"))},
        "rates": at_equal_loss(setting="v1", beside=False, seeds=seeds, **rates)["v1"],
    }


def regimes(*, datasets, convolutional_dataset, seeds, permuted_dataset, network, convolutional_network, **given):
    """Long training of the first version's networks, {data set: runs}, and training on permuted labels."""
    long = {dataset: class_stiffness(setting="v1", beside=False, seeds=seeds, dataset=dataset, network=network,
                                     **given)["v1"] for dataset in datasets}
    if convolutional_dataset:
        long[convolutional_dataset] = convolutional(
            setting="v1", beside=False, seeds=seeds, dataset=convolutional_dataset, network=convolutional_network,
            **given)["v1"]
    return {**long, "permuted": _permuted(seeds, dataset=permuted_dataset, network=network, **given)}


def family(*, dataset, seeds, losses, learning_rate, learning_rates, max_steps, **given):
    """Long training of the first version's network, training on permuted labels, and several learning rates."""
    settings = {"dataset": dataset, "learning_rate": learning_rate, **given}
    (rates,) = settings_of("rates", "v1", False, given | {"learning_rates": learning_rates,
                                                          "max_steps": max_steps}).values()
    rates["losses"] = {dataset: losses or rates["losses"][dataset]}
    return {"true labels": class_stiffness(setting="v1", beside=False, seeds=seeds, **settings)["v1"],
            "permuted labels": _permuted(seeds, **settings),
            "learning rates": _at_losses(seeds=seeds, **rates)}


def architectures(*, convolutional, connected, seeds, **settings):
    """Convolutional and fully connected networks at equal loss."""
    return [Experiment(network=network, stages=[0], seed=seed, **settings)
            for network in convolutional + connected for seed in _seeds(seeds)]


def harmonics(*, degrees, together, seeds, **settings):
    """Labels from spherical harmonics of one degree each, and of several degrees together. Each seed has functions and
    points of its own."""
    def runs(name):
        return [Experiment(dataset=f"harmonics-{name}-draw{seed}", seed=seed, also=["angle"], **settings)
                for seed in _seeds(seeds)]

    return {"alone": [run for degree in degrees for run in runs(degree)],
            "together": runs("+".join(map(str, together)))}


def data_order(*, datasets, orders, seeds, **settings):
    """The same training with the examples of each pass in several orders, the first of which the others are compared
    with, for each data set."""
    return {dataset: [Experiment(dataset=dataset, order=order, seed=seed, also=["neighbours", "class_accuracy"],
                                 **settings) for order in orders for seed in _seeds(seeds)] for dataset in datasets}


def ellipses(*, network, variations, seeds, **settings):
    """One network before and after training, along ellipses in input space, and other ones: {name: runs}.

    variations: {name: settings that replace the others}, `seeds` among them.
    """
    if "network" in variations:
        raise ValueError("a variation is named network, as the chosen one is; expected another name")
    return {name: [InputSpace(seed=seed, **{key: value for key, value in own.items() if key != "seeds"})
                   for seed in _seeds(own["seeds"])]
            for name, changed in {"network": {}, **variations}.items()
            for own in [{"network": network, "seeds": seeds, **settings, **changed}]}


def linear_regions(*, drawn, grid, **given):
    """The runs of `ellipses`, and one of a narrower network, whose linear regions are drawn."""
    settings = {name: value for name, value in given.items() if name not in ("network", "variations", "seeds")}
    return {**ellipses(**given), "drawn": [InputSpace(network=drawn, grid=grid, **settings)]}


def critical_lengths(*, beside, losses, learning_rates, network, learning_rate, stages, max_steps, seeds, photographs,
                     **common):
    """Runs at several learning rates and long runs of the third version's network, those of the first version's beside
    them, and the same of photographs: {what: runs}.

    photographs: their data set, the learning rates of each network, and what is otherwise different for them.
    """
    found = {}
    for version, runs in at_equal_loss(setting="v3", beside=beside, seeds=seeds, losses=losses, network=network,
                                       learning_rates=learning_rates, max_steps=max_steps, **common).items():
        found[f"rates, {version}"] = runs
        found[f"training, {version}"] = [run for dataset in losses or VERSIONS["rates"]["v3"]["losses"]
                                         for run in class_stiffness(
                                             setting=version, beside=False, dataset=dataset, seeds=seeds, stages=stages,
                                             network=network, learning_rate=learning_rate, **common)[version]]
    own, data = photographs, photographs["dataset"]
    found["rates, photographs"] = [run for name, rates in own["networks"].items() for run in _at_losses(
        losses={data: own["losses"]}, learning_rates=rates, seeds=own["seeds"], network=name, stages=[0],
        max_steps=own["max_steps"], **common)]
    found["training, photographs"] = convolutional(
        setting="v1", beside=False, dataset=data, seeds=own["long_seeds"], network=own["long_network"],
        stages=own["long_stages"], learning_rate=learning_rate, **common)["v1"]
    return found


def residual(*, data_sets, residual, varied, compared, residual_seeds, seeds, residual_max_steps, max_steps,
             residual_check_every, **settings):
    """A residual network, also with another initialisation, and other networks at equal loss: {data set: runs}.

    data_sets: the training losses of each. varied: {network: the losses at which it is measured, by data set}.
    """
    slow = {"max_steps": residual_max_steps, "check_every": residual_check_every}
    found = {}
    for dataset, losses in data_sets.items():
        kinds = {residual: (losses, residual_seeds, slow),
                 **{network: (own[dataset], residual_seeds, slow) for network, own in varied.items() if dataset in own},
                 **{network: (losses, seeds, {"max_steps": max_steps}) for network in compared}}
        found[dataset] = [Experiment(dataset=dataset, network=network, seed=seed, stages=[0], stage_losses=own_losses,
                                     **own, **settings)
                          for network, (own_losses, number, own) in kinds.items() for seed in _seeds(number)]
    return found


def transformer(*, network, learning_rate, seeds, stages, probe_size, preset, preset_learning_rate, preset_seeds,
                preset_stages, preset_probe_size, **common):
    """A transformer from scratch, unless network is None, and a pretrained one, unless preset is: {name: runs}."""
    common = {"also": ("body", "majority"), **common}
    ways = {}
    if network is not None:
        ways["from scratch"] = [Experiment(network=network, learning_rate=learning_rate, seed=seed, stages=stages,
                                           probe_size=probe_size, **common) for seed in _seeds(seeds)]
    if preset is not None:
        where = pretrained.named(preset)
        ways["pretrained"] = [Experiment(learning_rate=preset_learning_rate, seed=seed, stages=preset_stages,
                                         probe_size=preset_probe_size, **where, **common)
                              for seed in _seeds(preset_seeds)]
    if not ways:
        raise ValueError("network and preset are None; expected one of them or both")
    return ways


def probe_images(*, data_sets):
    """For each data set the runs of another figure, for the statistical error of their probe sets.

    like: a kind of figure of `versions.VERSIONS`, whose settings of the first version those given replace.
    """
    found = {}
    for name, own in data_sets.items():
        given = {key: value for key, value in own.items() if key not in ("seeds", "like")}
        settings = replaced(VERSIONS[own["like"]]["v1"], given) if "like" in own else given
        found[name] = [Experiment(dataset=name, seed=seed, **settings) for seed in _seeds(own["seeds"])]
    return found


FIGURES = {
    "fig02_overfitting": long_training,
    "fig03_class_stiffness_mnist": class_stiffness,
    "fig04_permuted_labels": permuted_labels,
    "fig05_class_stiffness_fashion": class_stiffness,
    "fig06_class_stiffness_cifar10": convolutional,
    "fig07_super_classes": super_classes,
    "fig08_learning_rate": at_equal_loss,
    "fig09_distance": distance,
    "fig10_domain_size": at_equal_loss,
    "architectures": architectures,
    "data_order": data_order,
    "ellipses": ellipses,
    "critical_length": critical_lengths,
    "resnet": residual,
    "float32": rounding,
    "harmonics": harmonics,
    "linear_regions": linear_regions,
    "from_the_text": from_the_text,
    "contradiction": contradiction,
    "regimes": regimes,
    "family": family,
    "probe_images": probe_images,
    "survey": ensembles,
    "factors": ensembles,
    "test_points": ensembles,
    "two_views": ensembles,
    "transformer": transformer,
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


def _permuted(seeds, **given):
    """The first version's network on permuted labels."""
    settings = settings_of("permuted labels", "v1", False, {**given, "permuted_fraction": 1.0})
    return _of_seeds(settings, seeds)["v1"]


def _of_seeds(versions, seeds):
    return {version: [Experiment(seed=seed, **settings) for seed in _seeds(seeds)]
            for version, settings in versions.items()}


def _at_losses(*, losses, learning_rates, seeds, **settings):
    """learning_rates: of each data set by its name, or of all."""
    rates = learning_rates if isinstance(learning_rates, dict) else dict.fromkeys(losses, learning_rates)
    if unknown := [dataset for dataset in losses if dataset not in rates]:
        raise ValueError(f"learning_rates has none for {', '.join(unknown)}; expected a list, for all data sets")
    return [Experiment(dataset=dataset, learning_rate=rate, seed=seed, stage_losses=losses[dataset], **settings)
            for dataset in losses for rate in rates[dataset] for seed in _seeds(seeds)]


def _seeds(number):
    """Seeds 0, 1, ... for so many runs."""
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ValueError(f"seeds is {number!r}; expected the number of runs, 1 or more")
    return range(number)
