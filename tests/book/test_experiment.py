"""Settings: what is refused, and that equal settings have one address."""

import numpy as np
import pytest

from stiffness_book.experiment import Experiment


def test_equal_settings_have_one_address():
    assert Experiment(learning_rate=1, stages=[0, 5]).address == Experiment(learning_rate=1.0, stages=(0, 5)).address


def test_every_setting_changes_the_address():
    other = {"dataset": "digits", "network": "fc-8", "optimizer": "sgd", "learning_rate": 0.5, "batch_size": 8,
             "seed": 1, "permuted_fraction": 0.5, "train_size": 100, "unit_length": True, "probe_size": 50,
             "probe_seed": 1,
             "stages": (0, 7), "stage_losses": (0.5,), "max_steps": 10, "check_every": 10,
             "nested_probes": (20,), "arithmetics": ("float32",), "also": ("gram",), "order": "by class"}
    of_text = {"sequence_length": 32, "vocabulary_size": 100, "accumulate": 2, "mixed_precision": True,
               "also": ("body",), "network": "transformer-1x16", "dataset": "glue/mnli"}
    assert other.keys() | of_text.keys() == Experiment().settings().keys()
    nested = {"nested_probes": (30,)}
    searching = nested | {"stage_losses": (0.1,)}  # max_steps and check_every mean nothing without
    addresses = {Experiment(**searching | {name: value}).address for name, value in other.items()}
    assert len(addresses | {Experiment(**searching).address}) == len(other) + 1
    assert len({Experiment(**nested | {name: value}).address for name, value in other.items()}) == len(other) - 1
    text = {"dataset": "grammar", "network": "transformer-1x8"}
    assert len({Experiment(**text | {name: value}).address for name, value in of_text.items()}) == len(of_text)


def test_a_network_is_its_kind_and_widths():
    assert Experiment().layers == ("fc", (500, 300, 100))
    assert Experiment(network="cnn-16-32-32").layers == ("cnn", (16, 32, 32))
    blocks = ("resnet", (16, 16, 16, 32, 32, 32, 64, 64, 64))
    assert Experiment(network="resnet-20").layers == Experiment(network="resnet-20-he").layers == blocks


def test_degrees_of_harmonics():
    assert Experiment(dataset="harmonics-2+11-draw4").degrees == (2, 11) and Experiment().degrees == ()
    assert Experiment(dataset="harmonics-3-draw0").address.startswith("harmonics-3-draw0-fc-")
    assert "-by-class-seed0-" in Experiment(order="by class").address
    text = {"dataset": "grammar"}
    assert Experiment(**text, network="transformer-3x64").layers == ("transformer", (64, 64, 64))
    assert Experiment(**text, network="pretrained-bert_base_en_uncased").layers == ("pretrained", ())


def test_where_a_pretrained_network_lies_is_no_setting():
    text = {"dataset": "grammar", "network": "pretrained-hf://some/bert@0123456789ab"}
    here, there = Experiment(**text, folder="/here/bert"), Experiment(**text)
    assert here == there and hash(here) == hash(there) and here.address == there.address
    assert "folder" not in here.settings() and Experiment(**here.settings()) == here
    assert here.address.startswith("grammar-pretrained-hf-some-bert@0123456789ab-adam0.001-seed0-")


def test_addresses_stay_what_they_are():
    # a default of a new setting, or its type, must not move stored runs
    assert Experiment().address == "mnist-fc-500-300-100-adam0.001-seed0-44136fa355b3"


@pytest.mark.parametrize("wrong, match", [
    ({"nested_probes": (600,)}, "nested_probes is .*; expected descending sizes below probe_size, 500"),
    ({"arithmetics": ("float32",)}, "arithmetics is .*; expected empty without nested_probes"),
    ({"also": ("everything",)}, "also is 'everything'; known are regimes, gram"),
    ({"dataset": "mnst"}, "dataset is 'mnst'; known are mnist, fashion_mnist"),
    ({"dataset": "harmonics-3"}, "dataset is 'harmonics-3'; known are .*harmonics-DEGREE-drawNUMBER"),
    ({"dataset": "harmonics-4+2-draw0"}, "expected ascending degrees up to 16, each once"),
    ({"dataset": "harmonics-17-draw0"}, "expected ascending degrees up to 16, each once"),
    ({"order": "sorted"}, "order is 'sorted'; known are shuffled, by class, easy first, hard first"),
    ({"network": "fc"}, "network is 'fc'; expected a kind and its layers' widths, such as fc-500-300-100"),
    ({"network": "resnet-21"}, "network is 'resnet-21'; expected resnet- and a depth of 6 n . 2: resnet-8, resnet-14"),
    ({"network": "resnet-2"}, "network is 'resnet-2'; expected resnet- and a depth"),
    ({"network": "resnet-20-16"}, "network is 'resnet-20-16'; expected a kind"),
    ({"network": "cnn-8-he"}, "network is 'cnn-8-he'; expected a kind"),
    ({"network": "cnn-16-"}, "network is 'cnn-16-'; expected a kind"),
    ({"network": "transformer-2"}, "network is 'transformer-2'; expected .*transformer-2x128"),
    ({"network": "transformer-2x128"}, "expected transformer-... .* for pairs of sentences .* dataset is 'mnist'"),
    ({"dataset": "grammar"}, "network is 'fc-500-300-100'; expected transformer-"),
    ({"mixed_precision": True}, "mixed_precision is True; expected false for images"),
    ({"also": ("body",)}, "also is 'body'; expected a transformer"),
    ({"dataset": "grammar", "network": "transformer-1x8", "also": ("intensity",)}, "also is 'intensity'; expected im"),
    ({"dataset": "grammar", "network": "transformer-1x8", "sequence_length": 3}, "sequence_length is 3"),
    ({"dataset": "grammar", "network": "transformer-1x8", "vocabulary_size": 5}, "vocabulary_size is 5"),
    ({"accumulate": 0}, "accumulate is 0"),
    ({"optimizer": "adm"}, "optimizer is 'adm'; known are adam, sgd"),
    ({"learning_rate": 0}, "learning_rate is 0.0; expected a positive"),
    ({"permuted_fraction": 2}, "permuted_fraction is 2"),
    ({"batch_size": 0}, "batch_size is 0"),
    ({"train_size": 3}, "train_size is 3"),
    ({"stages": (5, 0)}, "stages is .5, 0.; expected ascending"),
    ({"stages": ()}, "stages is .*; expected given, or stage_losses"),
    ({"stage_losses": (0.1, 0.3)}, "stage_losses is .*; expected descending"),
])
def test_wrong_values_are_named(wrong, match):
    with pytest.raises(ValueError, match=match):
        Experiment(**wrong)


@pytest.mark.parametrize("same", [
    ({"learning_rate": 1}, {"learning_rate": 1.0}, {"learning_rate": np.float32(1)}),
    ({"seed": 3}, {"seed": 3.0}, {"seed": np.int64(3)}),
    ({"stages": (0, 10)}, {"stages": [0, 10.0]}, {"stages": np.array([0, 10])}),
    ({"unit_length": False}, {"unit_length": "false"}, {"unit_length": "False"}, {"unit_length": np.False_}, {}),
    ({"unit_length": True}, {"unit_length": "true"}),
    ({}, {"max_steps": 7}, {"check_every": 3}),  # they bound a search for losses, which there is not
    ({}, {"sequence_length": 8}, {"vocabulary_size": 50}),  # of text
], ids=str)
def test_settings_that_mean_the_same_have_one_address(same):
    first, *others = (Experiment(**settings) for settings in same)
    for other in others:
        assert other == first and other.address == first.address and other.settings() == first.settings()


@pytest.mark.parametrize("wrong", [
    {"seed": 1.5}, {"batch_size": "32"}, {"learning_rate": "fast"}, {"seed": True}, {"seed": "abc"},
    {"train_size": 100.5}, {"train_size": "all"}, {"learning_rate": float("inf")}, {"learning_rate": float("nan")},
    {"learning_rate": True}, {"learning_rate": None}, {"unit_length": 0}, {"unit_length": 1}, {"unit_length": "no"},
    {"mixed_precision": 1},
    {"unit_length": None}, {"dataset": 7}, {"network": None}, {"stages": 5}, {"stages": "0"}, {"stages": (0, 1.5)},
    {"stages": ("0",)}, {"stage_losses": (float("inf"),)}, {"probe_size": float("inf")}, {"max_steps": [1]},
], ids=str)
def test_wrong_types_are_named(wrong):
    name, = wrong
    with pytest.raises(TypeError, match=rf"{name} is .*; expected"):
        Experiment(**wrong)


@pytest.mark.parametrize("network", ["fc-007", "fc-0", "fc-1e3", "FC-10", "fc--5", "fc-5.0", "fc-\u0665", "fc- 5"])
def test_networks_are_written_in_one_way(network):
    with pytest.raises(ValueError, match=r"network is .*; expected a kind"):
        Experiment(network=network)


@pytest.mark.parametrize("name", ["seed", "probe_seed"])
def test_seeds_are_not_negative(name):
    with pytest.raises(ValueError, match=f"{name} is -2; expected 0 or more"):
        Experiment(**{name: -2})
