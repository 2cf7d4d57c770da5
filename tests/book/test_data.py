"""The data sets: the embedded one always, the downloaded ones where they are at hand."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from stiffness_book import data
from stiffness_book.experiment import DATASETS, TEXT


@pytest.fixture(params=[*DATASETS, "harmonics-2+5-draw1"])
def dataset(request):
    if not data.is_available(request.param):
        pytest.skip(f"{request.param} is not at hand; TFDS_DATA_DIR names a folder of prepared data sets")
    return data.load(request.param)


def test_every_dataset_has_one_form(dataset):
    assert dataset.split_sizes == {"train": len(dataset.train.labels), "validation": len(dataset.validation.labels)}
    for split in (dataset.train, dataset.validation):
        assert len(split.inputs) == len(split) > 0
        assert set(np.unique(split.labels)) == set(range(dataset.num_classes))
    if dataset.name in TEXT:
        assert dataset.train.inputs.shape[1:] == (2,) and all(map(str.strip, dataset.train.inputs[0]))
    else:
        assert dataset.train.inputs.ndim == 4
    if dataset.name == "cifar100":
        assert np.bincount(dataset.super_labels).tolist() == [5] * 20 == [5] * len(dataset.super_names)
        assert dataset.super_names[dataset.super_labels[dataset.class_names.index("beaver")]] == "aquatic_mammals"
    else:
        assert dataset.super_labels is None


def test_standardised_by_the_training_split():
    dataset = data.standardise(data.load("digits"))
    assert dataset.train.inputs.mean() == pytest.approx(0, abs=1e-6)
    assert dataset.train.inputs.std() == pytest.approx(1, abs=1e-6)
    assert 0 < abs(dataset.validation.inputs.mean()) < 0.1  # by the training split's numbers, not by its own
    unit = data.standardise(data.load("digits"), unit_length=True).validation.inputs
    np.testing.assert_allclose(np.linalg.norm(unit.reshape(len(unit), -1), axis=1), 1, rtol=1e-6)


def test_probe_set_is_balanced_and_fixed_by_its_seed():
    labels = data.load("digits").validation.labels
    chosen = data.balanced_indices(labels, 205, 0)
    assert len(set(chosen)) == 205 and set(np.bincount(labels[chosen])) == {20, 21}
    np.testing.assert_array_equal(chosen, data.balanced_indices(labels, 205, 0))
    assert (chosen != data.balanced_indices(labels, 205, 1)).any()
    with pytest.raises(ValueError, match="lower probe_size to at most 580"):
        data.balanced_indices(labels, 597, 0)


def test_training_examples_are_balanced_and_their_number_is_named():
    digits = data.load("digits")
    assert data.training_examples(digits, None, 0) is digits.train
    assert set(np.bincount(data.training_examples(digits, 205, 0).labels)) == {20, 21}
    with pytest.raises(ValueError, match="train_size is 5000; digits has 1200"):
        data.training_examples(digits, 5000, 0)
    with pytest.raises(ValueError, match=r"of 1200 needs .* lower train_size to at most 1160"):
        data.training_examples(digits, 1200, 0)


@pytest.mark.parametrize("fraction", [0, 0.25, 1])
def test_permuted_labels(fraction):
    labels = data.load("digits").train.labels
    permuted = data.permute_labels(labels, fraction, seed=3)
    np.testing.assert_array_equal(np.bincount(permuted), np.bincount(labels))  # permuted, not drawn anew
    assert (permuted != labels).mean() == pytest.approx(0.9 * fraction, abs=0.03)
    np.testing.assert_array_equal(permuted, data.permute_labels(labels, fraction, seed=3))


def test_unknown_name():
    with pytest.raises(ValueError, match="dataset is 'svhn'; known are mnist"):
        data.load("svhn")


def test_not_there_and_not_downloadable(tmp_path, monkeypatch):
    def no_network(*_):
        raise OSError

    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setattr("socket.getaddrinfo", no_network)
    monkeypatch.setattr(data, "getproxies", dict)
    data.load.cache_clear()
    with pytest.raises(data.DataUnavailable, match=r"Set TFDS_DATA_DIR .* embedded alternative, dataset 'digits'"):
        data.load("mnist")


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_a_shard_that_is_missing_or_damaged_is_told_with_its_remedy(damage, tmp_path, monkeypatch):
    if not data.is_available("mnist"):
        pytest.skip("mnist is not at hand; TFDS_DATA_DIR names a folder of prepared data sets")
    shutil.copytree(Path(os.environ["TFDS_DATA_DIR"]) / "mnist", tmp_path / "mnist", copy_function=shutil.copy)
    subprocess.run(["chmod", "-R", "u+w", tmp_path], check=True)
    shard = next(tmp_path.glob("mnist/*/*-train.tfrecord-00000-of-*"))
    if damage == "missing":
        shard.unlink()
    else:
        shard.write_bytes(shard.read_bytes()[:100_000] + b"x" * 1000)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    data.load.cache_clear()
    with pytest.raises(data.DataUnavailable, match=f"mnist in {tmp_path}.* cannot be read .*Delete that folder"):
        data.load("mnist")
