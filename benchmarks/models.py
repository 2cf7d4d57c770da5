"""Real models: `gradient_gram` against a compiled loop over examples, and against an earlier version of itself.

    python -m benchmarks.models [--before /path/to/an/earlier/src] [--only CASE ...]

Each case runs in processes of its own, one for each way, one after another. The seconds of every call are stored, as
the first one checks and compiles. The products of both ways are compared.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.run import checkout, machine

CALLS = 6
ENOUGH = 15  # seconds, after which no further call is made
ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).with_name("models.json")


def cross_entropy():
    import keras

    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def images(n, side, classes):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, side, side, 3)).astype("float32"), rng.integers(0, classes, n)


def tokens(n, length, vocabulary=1000):
    return np.random.default_rng(0).integers(1, vocabulary, (n, length))


def resnet50():
    import keras

    return keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3), classes=10, classifier_activation=None), (
        *images(32, 64, 10),)


def hub(backbone, inputs, y, head=3):
    """The backbone of keras-hub with a Dense head on its last token; head None: its own output."""
    import keras

    outputs = backbone.output
    hidden = outputs["pooled_output"] if isinstance(outputs, dict) else outputs[:, -1]
    return keras.Model(backbone.input, keras.layers.Dense(head)(hidden)), (inputs, y)


def bert(n=64, length=32):
    import keras_hub

    backbone = keras_hub.models.BertBackbone(vocabulary_size=1000, num_layers=2, num_heads=2, hidden_dim=128,
                                             intermediate_dim=512, max_sequence_length=length)
    ids = tokens(n, length)
    return hub(backbone, {"token_ids": ids, "segment_ids": ids * 0, "padding_mask": np.ones_like(ids)},
               np.arange(n) % 3)


def gpt2(n=16, length=64, lora=False):
    import keras_hub

    backbone = keras_hub.models.GPT2Backbone(vocabulary_size=1000, num_layers=4, num_heads=4, hidden_dim=128,
                                             intermediate_dim=512, max_sequence_length=length)
    if lora:
        backbone.enable_lora(4)
    ids = tokens(n, length)
    return hub(backbone, {"token_ids": ids, "padding_mask": np.ones_like(ids)}, np.arange(n) % 3)


def gpt2_lora():
    return gpt2(lora=True)


def llama(n=16, length=64):
    import keras_hub

    backbone = keras_hub.models.LlamaBackbone(vocabulary_size=1000, num_layers=4, num_query_heads=4, hidden_dim=128,
                                              intermediate_dim=512, num_key_value_heads=2)
    ids = tokens(n, length)
    return hub(backbone, {"token_ids": ids, "padding_mask": np.ones_like(ids)}, np.arange(n) % 3)


def masked_language_model(n=32, length=32, masked=5):
    import keras_hub

    backbone = keras_hub.models.BertBackbone(vocabulary_size=1000, num_layers=2, num_heads=2, hidden_dim=128,
                                             intermediate_dim=512, max_sequence_length=length)
    model = keras_hub.models.BertMaskedLM(backbone, preprocessor=None)
    ids = tokens(n, length)
    x = {"token_ids": ids, "segment_ids": ids * 0, "padding_mask": np.ones_like(ids),
         "mask_positions": np.tile(np.arange(masked), (n, 1))}
    return model, (x, tokens(n, masked))


def sequences(n, length, width=8):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, length, width)).astype("float32"), rng.integers(0, 3, n)


def lstm():
    import keras
    from keras import layers

    return keras.Sequential([keras.Input((20, 8)), layers.LSTM(32), layers.Dense(3)]), sequences(64, 20)


def masked_bilstm(n=64):
    import keras
    from keras import layers

    model = keras.Sequential([keras.Input((20,), dtype="int32"), layers.Embedding(50, 16, mask_zero=True),
                              layers.Bidirectional(layers.LSTM(16)), layers.Dense(3)])
    ids = tokens(n, 20, 50)
    ids[:, 12:] *= np.arange(n)[:, None] % 2
    return model, (ids, np.arange(n) % 3)


def vit(n=48):
    """A vision transformer with a class token and learned positions as weights of its own."""
    import keras
    from keras import layers, ops

    class Tokens(layers.Layer):
        def build(self, shape):
            self.token = self.add_weight(shape=(1, 1, shape[-1]), name="token")
            self.positions = self.add_weight(shape=(shape[1] + 1, shape[-1]), name="positions")

        def call(self, patches):
            token = ops.tile(self.token, (ops.shape(patches)[0], 1, 1))
            return ops.concatenate([token, patches], axis=1) + self.positions

    inputs = keras.Input((32, 32, 3))
    hidden = Tokens()(layers.Reshape((64, 64))(layers.Conv2D(64, 4, strides=4)(inputs)))
    for _ in range(2):
        normal = layers.LayerNormalization()(hidden)
        hidden = hidden + layers.MultiHeadAttention(4, 16)(normal, normal)
        hidden = hidden + layers.Dense(64)(layers.Dense(128, "gelu")(layers.LayerNormalization()(hidden)))
    return keras.Model(inputs, layers.Dense(10)(hidden[:, 0])), images(n, 32, 10)


def odd_layers(n=48):
    import keras
    from keras import layers

    return keras.Sequential([
        keras.Input((32,)), layers.Dense(64), layers.PReLU(), layers.SpectralNormalization(layers.Dense(64)),
        layers.RMSNormalization(), layers.Dense(64), layers.PReLU(), layers.Dense(10),
    ]), (np.random.default_rng(0).normal(size=(n, 32)).astype("float32"), np.arange(n) % 10)


def bidirectional_gru():
    import keras
    from keras import layers

    return keras.Sequential([keras.Input((20, 8)), layers.Bidirectional(layers.GRU(32)), layers.Dense(3)]), (
        sequences(48, 20))


def wide(rows, columns):
    import keras
    from keras import layers

    rng = np.random.default_rng(0)
    x = rng.normal(size=(max(rows, columns), 784)).astype("float32")
    y = rng.integers(0, 10, len(x))
    model = keras.Sequential([keras.Input((784,)), layers.Dense(1000, "relu"), layers.Dense(1000, "relu"),
                              layers.Dense(10)])
    return model, (x[:rows], y[:rows], x[:columns], y[:columns])


CASES = {
    "ResNet50, 64x64, N = 32": resnet50, "BERT, 2 layers, 32 tokens, N = 64": bert,
    "GPT-2, 4 layers, 64 tokens, N = 16": gpt2, "Llama, 4 layers, 64 tokens, N = 16": llama,
    "GPT-2 with LoRA, N = 16": gpt2_lora, "masked language model, BERT, N = 32": masked_language_model,
    "LSTM(32), 20 steps, N = 64": lstm, "masked bidirectional LSTM, N = 64": masked_bilstm,
    "bidirectional GRU, N = 48": bidirectional_gru, "vision transformer with class token, N = 48": vit,
    "PReLU and spectral normalisation, N = 48": odd_layers,
    "1 x 1,000, 1,000-unit network": lambda: wide(1, 1000), "1,000 x 1, 1,000-unit network": lambda: wide(1000, 1),
    "1 x 50,000, 1,000-unit network": lambda: wide(1, 50_000),
}


def by_loop(model, examples):
    """The products of the gradients of one example after another, each by the same compiled function."""
    import keras
    import tensorflow as tf

    loss, variables = cross_entropy(), [v.value for v in model.trainable_variables]

    @tf.function(reduce_retracing=True)
    def gradient(x, y):
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=False))
        parts = tape.gradient(value, variables, unconnected_gradients="zero")
        return tf.concat([tf.reshape(part, (-1,)) for part in map(tf.convert_to_tensor, parts)], axis=0)

    def gradients(x, y):
        return np.stack([gradient(*keras.tree.map_structure(lambda part, i=i: tf.constant(part[i : i + 1]), (x, y)))
                         for i in range(len(y))])

    def products():
        x, y, *others = examples
        g = gradients(x, y)
        if not others:
            return g @ g.T
        if len(others[1]) < 5000:
            return g @ gradients(*others).T
        # the gradients of so many examples would not fit into memory
        return np.hstack([g @ gradients(*[part[k : k + 500] for part in others]).T
                          for k in range(0, len(others[1]), 500)])

    return products


def measure(case, way, folder):
    """One way of one case: seconds of each call, and the products to compare."""
    import keras

    keras.utils.set_random_seed(0)
    model, examples = CASES[case]()
    if way == "loop":
        products = by_loop(model, examples)
    else:
        from stiffness import gradient_gram

        loss = cross_entropy()

        def products():
            return gradient_gram(model, *examples, loss=loss).products

    seconds = []
    while len(seconds) < 2 or (len(seconds) < CALLS and sum(seconds) < ENOUGH):
        started = time.perf_counter()
        found = products()
        seconds.append(time.perf_counter() - started)
    np.save(Path(folder) / f"{way}.npy", found)
    print(json.dumps(seconds))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", help="the folder src of an earlier version, to compare with")
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES), metavar="CASE")
    parser.add_argument("--limit", type=int, default=600, metavar="SECONDS", help="for one way (default: %(default)s)")
    parser.add_argument("--measure", nargs=3, metavar=("CASE", "WAY", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        return measure(*given.measure)
    stored = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"cases": {}}
    if stored.get("machine", machine()) != machine():
        sys.exit(f"{RESULTS} was measured on {stored['machine']}, and this is {machine()}: remove it to start again")
    stored |= {"machine": machine(), "finished": datetime.now(UTC).isoformat(timespec="seconds"), **checkout()}
    for case in given.only:
        record = {}
        with tempfile.TemporaryDirectory() as folder:
            for way in ("loop", *(["before"] if given.before else []), "ours"):
                paths = [given.before if way == "before" else str(ROOT / "src"), str(ROOT)]
                command = [sys.executable, "-m", "benchmarks.models", "--measure", case, way, folder]
                try:
                    done = subprocess.run(command, capture_output=True, text=True, timeout=given.limit, cwd=ROOT,
                                          env=os.environ | {"PYTHONPATH": os.pathsep.join(paths),
                                                            "TF_CPP_MIN_LOG_LEVEL": "3"})
                except subprocess.TimeoutExpired:
                    record[way] = f"over {given.limit} s"
                    continue
                lines = done.stdout.strip().splitlines()
                record[way] = json.loads(lines[-1]) if done.returncode == 0 else done.stderr.strip().splitlines()[-1]
            found = {way: np.load(Path(folder) / f"{way}.npy") for way in ("loop", "ours")
                     if (Path(folder) / f"{way}.npy").exists()}
            if len(found) == 2:
                record["difference"] = float(np.abs(found["ours"] - found["loop"]).max() / np.abs(found["loop"]).max())
        stored["cases"][case] = record
        RESULTS.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
        print(case, *[f"{way}: {[round(t, 3) for t in value] if isinstance(value, list) else value}"
                      for way, value in record.items()], sep="\n  ", flush=True)
    return None


if __name__ == "__main__":
    main()
