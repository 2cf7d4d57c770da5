"""Transformers on pairs of sentences: tokens, networks from scratch and pretrained, and what is measured of them."""

import json
import shutil
import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest

from stiffness import between_classes, class_stiffness, gradient_gram, within_class
from stiffness_book import data, figures, networks, pretrained, store, sweep, text, training
from stiffness_book.experiment import SPECIAL, Experiment
from stiffness_book.publish.refresh import NOTEBOOKS
from stiffness_book.table import spaces

GRAMMAR = {"dataset": "grammar", "network": "transformer-2x16", "sequence_length": 12, "probe_size": 30,
           "learning_rate": 3e-3, "train_size": 300, "also": ("body", "majority")}
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
# keras-hub's own ways of reading files, and TensorFlow's of an embedding's gradient
pytestmark = [pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("DeprecationWarning", "UserWarning")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small pretrained network in Hugging Face's form, its weights random."""
    safetensors = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    place, rng, width = tmp_path_factory.mktemp("presets") / "tiny", np.random.default_rng(0), 16
    place.mkdir()
    vocabulary = [*SPECIAL, "all", "some", "no", "not", "dogs", "cats", "poodles", "animals", "run", "move"]
    (place / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    config = {"model_type": "bert", "vocab_size": len(vocabulary), "num_hidden_layers": 2, "num_attention_heads": 2,
              "hidden_size": width, "intermediate_size": 32, "max_position_embeddings": 20, "type_vocab_size": 2}
    (place / "config.json").write_text(json.dumps(config), encoding="utf-8")
    block = [("attention.self.query", width, width), ("attention.self.key", width, width),
             ("attention.self.value", width, width), ("attention.output.dense", width, width),
             ("intermediate.dense", 32, width), ("output.dense", width, 32)]
    dense = [*((f"encoder.layer.{number}.{name}", *shape) for number in (0, 1) for name, *shape in block),
             ("pooler.dense", width, width)]
    norms = ["embeddings.LayerNorm", *(f"encoder.layer.{number}.{name}.LayerNorm"
                                       for number in (0, 1) for name in ("attention.output", "output"))]
    shapes = {f"embeddings.{name}_embeddings.weight": (rows, width)
              for name, rows in (("word", len(vocabulary)), ("position", 20), ("token_type", 2))}
    for name, rows, columns in dense:
        shapes |= {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}
    for name in norms:
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    safetensors.save_file({name: rng.normal(1 if name.endswith("LayerNorm.weight") else 0, 0.2, shape).astype("float32")
                           for name, shape in shapes.items()}, place / "model.safetensors", {"format": "pt"})
    return place


def run_of(experiment):
    """The compiled network of a run, and the numbers of its validation split."""
    dataset = text.encoded(data.load(experiment.dataset), experiment)
    model = networks.build(experiment, dataset.train.inputs.shape[1:], 3)
    model.compile("adam", LOSS)
    return model, dataset.validation


def test_tokens_and_features_are_those_of_keras_hub():
    from keras_hub.models import BertTextClassifierPreprocessor, BertTokenizer

    experiment = Experiment(**GRAMMAR | {"sequence_length": 9, "vocabulary_size": 25})
    words, pairs = text.tokenizer(experiment), data.load("grammar").validation.inputs[:40]
    vocabulary = sorted(words.get_vocab(), key=words.get_vocab().get)
    theirs = BertTextClassifierPreprocessor(BertTokenizer(vocabulary, lowercase=True), sequence_length=9)(
        tuple(pairs.T.tolist()), y=None)
    model, validation = run_of(experiment)
    ours = model.get_layer("features")(validation.inputs[:40])
    assert (np.asarray(theirs["padding_mask"]).sum(axis=1) == 9).any()  # some are cut, most are not
    for name in ("token_ids", "segment_ids", "padding_mask"):
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_a_vocabulary_from_scratch_has_the_commonest_words():
    experiment = Experiment(**GRAMMAR | {"vocabulary_size": 9})
    words = text.tokenizer(experiment).get_vocab()
    assert [word for word, _ in sorted(words.items(), key=lambda item: item[1])] == [
        *SPECIAL, "all", "no", "not", "some"]  # all stands in "not all" too, and ties are in alphabetical order
    assert text.tokenizer(experiment).encode("All", "zebras").tokens[:5] == ["[CLS]", "all", "[SEP]", "[UNK]", "[SEP]"]


def test_distances_between_inputs_are_of_counts_of_tokens():
    counts = text.counts(np.array([[2, 7, 7, 3, 0], [2, 3, 9, 3, 3]]), 0)
    np.testing.assert_array_equal(counts, [[1, 1, 2, 0], [1, 3, 0, 1]])  # of the tokens 2, 3, 7, 9


@pytest.mark.slow
def test_it_works_without_tensorflow_text():
    code = f"""
import sys
sys.modules["tensorflow_text"] = None
from stiffness_book import training
from stiffness_book.experiment import Experiment
training.train(Experiment(**{GRAMMAR | {"stages": (0, 1)}}), progress=False)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_stiffness_with_and_without_the_head_is_that_of_the_definition():
    experiment = Experiment(**GRAMMAR | {"stages": (0, 4)})
    table, _ = training.train(experiment, progress=False)
    table = table[table["step"] == 0].set_index("quantity")["value"]
    model, validation = run_of(experiment)
    chosen = data.balanced_indices(validation.labels, 30, 0)
    x, y = validation.inputs[chosen], validation.labels[chosen]
    gram = gradient_gram(model, x, y)
    assert set(gram.ways.values()) == {"closed form"}
    for layer in networks.HEAD:
        found, = [one for one in model.layers + model.layers[2].layers if one.name == layer]
        found.trainable = False
    body = gradient_gram(model, x, y, method="jacobian")
    for suffix, own in (("", gram), ("_body", body)):
        for kind, s in (("sign", own.sign()), ("cosine", own.cosine())):
            C = class_stiffness(s, y)
            assert table[f"within_class_{kind}{suffix}"] == pytest.approx(within_class(C), abs=1e-5)
            assert table[f"between_classes_{kind}{suffix}"] == pytest.approx(between_classes(C), abs=1e-5)
    whole = np.trace(gram.products)
    assert table["head_share"] == pytest.approx(1 - np.trace(body.products) / whole, abs=1e-4)
    assert 0 < table["embedding_share"] < 1 - table["head_share"]
    assert table["majority_accuracy"] == np.mean(validation.labels == 0)  # all three are equally common in training


def test_representations_are_the_vectors_of_cls():
    experiment = Experiment(**GRAMMAR)
    model, validation = run_of(experiment)
    found = networks.representations(model).predict(validation.inputs[:5], verbose=0)
    assert ["input", *sorted(found, key=lambda name: (name == "logits", name))] == spaces(experiment)
    pooled = model.layers[2].pooled_dense(found["layer 2"])
    np.testing.assert_allclose(model.get_layer("logits")(pooled), found["logits"], rtol=1e-4, atol=1e-6)


def test_initial_weights_are_fixed_by_the_seed_alone():
    def weights(seed):
        return networks.build(Experiment(**GRAMMAR, seed=seed), (12,), 3).get_weights()

    first = weights(0)
    keras.utils.set_random_seed(7)  # as other threads may
    for one, again in zip(first, weights(0), strict=True):
        np.testing.assert_array_equal(one, again)
    assert (weights(1)[0] != first[0]).any()
    for variable in networks.build(Experiment(**GRAMMAR), (12,), 3).trainable_variables:
        limit = np.abs(variable).max()  # Keras's defaults
        if variable.path.endswith("kernel"):
            reference = np.abs(keras.initializers.GlorotUniform(0)(variable.shape)).max()
        else:
            reference = 0.05 if "embedding" in variable.path and variable.ndim == 2 else 1 if "gamma" in (
                variable.path) else 0
        assert limit == pytest.approx(reference, rel=0.2)


def test_a_folder_is_a_pretrained_network(folder, monkeypatch, results_folder):
    from keras_hub.models import BertBackbone

    named = pretrained.named(str(folder))
    assert named["network"].startswith("pretrained-tiny@") and named == pretrained.named(folder)
    experiment = Experiment(**GRAMMAR | named | {"stages": (0, 5), "batch_size": 8})
    assert text.tokenizer(experiment).encode("All cat", "dogs").tokens[:6] == [
        "[CLS]", "all", "[UNK]", "[SEP]", "dogs", "[SEP]"]
    model, validation = run_of(experiment)
    theirs = BertBackbone.from_preset(str(folder))
    inputs = model.get_layer("features")(validation.inputs[:5])
    np.testing.assert_allclose(model.get_layer("logits")(theirs(inputs)["pooled_output"]),
                               model(validation.inputs[:5]), rtol=1e-4, atol=1e-6)
    assert any(isinstance(layer, keras.layers.Dropout) for layer in model.layers)
    table = sweep.compute(experiment, progress=False)
    assert table["space"].dropna().unique().tolist() == ["input", "logits"] == spaces(experiment)
    # another machine has the same files elsewhere, and knows the name with its digest
    elsewhere = Experiment(**GRAMMAR | {"network": named["network"], "stages": (0, 5), "batch_size": 8})
    pd.testing.assert_frame_equal(store.stored(elsewhere), table)
    monkeypatch.delenv(pretrained.PRESETS, raising=False)
    with pytest.raises(data.DataUnavailable, match=r"tiny@.* is not at hand: give the folder .* or set STIFF"):
        pretrained.place_of(elsewhere)
    monkeypatch.setenv(pretrained.PRESETS, str(folder.parent))
    assert pretrained.place_of(elsewhere) == str(folder)


def test_wrong_folders_are_named(folder, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"lacks config.json, model.safetensors, vocab.txt; expected a BERT-type"):
        pretrained.named(tmp_path)
    other = Experiment(dataset="grammar", network="pretrained-tiny@0123456789ab", folder=str(folder))
    with pytest.raises(data.DataUnavailable, match="holds another one, tiny@"):
        pretrained.place_of(other)
    damaged = tmp_path / "damaged"
    shutil.copytree(folder, damaged)
    (damaged / "model.safetensors").write_bytes(b"nothing")
    broken = Experiment(**GRAMMAR | pretrained.named(damaged))
    with pytest.raises(data.DataUnavailable, match=r"keras-hub cannot load the preset .*damaged as BertBack"):
        networks.build(broken, (12,), 3)
    long = Experiment(**GRAMMAR | pretrained.named(folder) | {"sequence_length": 64})
    with pytest.raises(ValueError, match=r"sequence_length is 64; pretrained-tiny@.* takes at most 20 tokens"):
        networks.build(long, (64,), 3)
    assert pretrained.named("bert_base_en_uncased") == {"network": "pretrained-bert_base_en_uncased"}


def test_accumulated_batches_are_one_larger_batch():
    settings = GRAMMAR | {"stages": (0, 6), "optimizer": "sgd", "learning_rate": 0.5}
    one, several = (training.train(Experiment(**settings | sizes), progress=False)[0]["value"]
                    for sizes in ({"batch_size": 32}, {"batch_size": 8, "accumulate": 4}))
    assert len(one) == len(several)
    # 300 examples are 9 batches of 32, and 37 of 8: the order of the first pass is the same up to there
    np.testing.assert_allclose(one[:40], several[:40], rtol=1e-4, atol=1e-5)


def test_a_stopped_run_goes_on_with_its_dropout_and_with_the_same_numbers(folder, results_folder, monkeypatch):
    experiment = Experiment(**GRAMMAR | pretrained.named(folder) | {
        "stages": (0, 4, 8), "batch_size": 8, "accumulate": 3})
    expected, _ = training.train(experiment, progress=False)
    monkeypatch.setattr(training, "SAVE_EVERY", 0)
    monkeypatch.setattr(training, "SAVING", 1e9)

    class Stopped(Exception):
        pass

    def stop(self, step):
        if step == 8:
            raise Stopped
        record(self, step)

    record = training.StageRecorder._record
    monkeypatch.setattr(training.StageRecorder, "_record", stop)
    with pytest.raises(Stopped):
        training.train(experiment, progress=False, saved=store.Saved(experiment))
    monkeypatch.setattr(training.StageRecorder, "_record", record)
    _, facts = store.Saved(experiment).load()
    assert facts["step"] == 4
    again, _ = training.train(experiment, progress=False, saved=store.Saved(experiment))
    pd.testing.assert_frame_equal(again, expected)


def test_mixed_precision_keeps_weights_and_logits_in_single_precision():
    experiment = Experiment(**GRAMMAR | {"mixed_precision": True, "stages": (0, 3)})
    model, validation = run_of(experiment)
    assert {variable.dtype for variable in model.trainable_variables} == {"float32"}
    assert model.layers[2].transformer_layers[0].compute_dtype == "bfloat16"
    assert model(validation.inputs[:2]).dtype == "float32"
    table, _ = training.train(experiment, progress=False)
    exact, _ = training.train(Experiment(**GRAMMAR | {"stages": (0, 3)}), progress=False)
    for rows in (table, exact):
        assert rows.groupby("quantity")["value"].count()["validation_loss"] == 2
    losses = [rows.loc[rows["quantity"] == "validation_loss", "value"].to_numpy() for rows in (table, exact)]
    np.testing.assert_allclose(*losses, rtol=0.02)


def test_the_page_has_runs_of_one_way_or_of_both(folder):
    source = NOTEBOOKS / "transformer.py"
    published = figures.experiments_of(source)
    assert {run.layers[0] for run in published} == {"transformer", "pretrained"}
    assert len(published) == len({run.address for run in published})
    assert {run.layers[0] for run in figures.experiments_of(source, preset=None)} == {"transformer"}
    own = figures.experiments_of(source, network=None, preset=str(folder))
    assert {run.network for run in own} == {pretrained.named(folder)["network"]} and own[0].folder == str(folder)
    named = figures.experiments_of(source, network=None, preset="bert_base_en_uncased", mixed_precision="true")
    assert named[0].network == "pretrained-bert_base_en_uncased" and named[0].mixed_precision
    with pytest.raises(ValueError, match="network and preset are None; expected one of them or both"):
        figures.experiments_of(source, network=None, preset=None)
