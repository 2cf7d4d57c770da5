"""The papers' networks."""

import random

import keras
from keras import layers, ops

from stiffness_book import pretrained, text

HEAD = ("pooled_dense", "logits")  # the layers of a transformer after its encoder, which classify
EMBEDDINGS = ("token_embedding", "position_embedding", "segment_embedding")
DROPOUT = 0.1  # BERT's, before the logits of a pretrained network


def build(experiment, input_shape, num_classes, activation="relu"):
    """The experiment's network, untrained, with logits (n, num_classes) as its output.

    Initialised as by Keras's defaults after `keras.utils.set_random_seed(experiment.seed)`, but from a generator of its
    own: other threads, such as a Dask worker's, draw from the global one. With -he in its name, the network has He's
    normal distribution instead.
    The layers whose outputs are the network's representations are named layer_1, layer_2, ... and logits.
    A transformer takes numbers of tokens, see `stiffness_book.text`.
    """
    kind, widths = experiment.layers
    if kind in ("transformer", "pretrained"):
        return _transformer(experiment, num_classes)
    generator, hidden = random.Random(experiment.seed), []
    he = experiment.network.endswith("-he")
    distribution = keras.initializers.HeNormal if he else keras.initializers.GlorotUniform

    def seeded():
        return {"kernel_initializer": distribution(seed=generator.randint(1, 10**9))}

    if kind == "resnet":
        inputs = keras.Input(input_shape)
        pooled = _residual(inputs, widths, seeded)
        return keras.Model(inputs, layers.Dense(num_classes, name="logits", **seeded())(pooled))
    for number, width in enumerate(widths, start=1):
        if kind == "fc":
            hidden.append(layers.Dense(width, activation=activation, name=f"layer_{number}", **seeded()))
        else:  # pooling pads, so that an image of one pixel passes too
            hidden += [layers.Conv2D(width, 3, padding="same", activation=activation, **seeded()),
                       layers.MaxPooling2D(2, padding="same", name=f"layer_{number}")]
    hidden.insert(0 if kind == "fc" else len(hidden), layers.Flatten())
    return keras.Sequential([keras.Input(input_shape), *hidden,
                             layers.Dense(num_classes, name="logits", **seeded())])


def _residual(inputs, widths, seeded):
    """ResNet v1 (He et al. 2015, section 4.2) as in Keras's example, without batch normalisation: a convolution, blocks
    of two convolutions that are added to their input, and the mean over positions. Where the width grows, the block
    takes every second position, and a 1x1 convolution brings its input to the new shape."""
    x = layers.Conv2D(widths[0], 3, padding="same", activation="relu", **seeded())(inputs)
    for number, (before, width) in enumerate(zip((widths[0], *widths), widths), start=1):
        stride = 1 if width == before else 2
        y = layers.Conv2D(width, 3, stride, padding="same", activation="relu", **seeded())(x)
        y = layers.Conv2D(width, 3, padding="same", **seeded())(y)
        if stride > 1:
            x = layers.Conv2D(width, 1, stride, padding="same", **seeded())(x)
        x = layers.ReLU(name=f"layer_{number}")(layers.Add()([x, y]))
    return layers.GlobalAveragePooling2D()(x)


def representations(model):
    """A model of a network from `build` that returns all its representations: {"layer 1": ..., "logits": ...}.

    A transformer's are the vectors of the token [CLS] after each block, from which it classifies.
    """
    named = {layer.name.replace("_", " "): layer.output for layer in model.layers
             if layer.name == "logits" or layer.name.startswith("layer_")}
    if model.name == "transformer":  # of a pretrained network the settings, and so the tables, know no blocks
        backbone = next(layer for layer in model.layers if hasattr(layer, "transformer_layers"))
        blocks = keras.Model(backbone.inputs, {
            f"layer {number}": block.output[:, 0] for number, block in enumerate(backbone.transformer_layers, start=1)})
        named |= blocks(model.get_layer("features")(model.inputs[0]))
    return keras.Model(model.inputs, named)


def _transformer(experiment, num_classes):
    """A transformer encoder of BERT's kind, built of keras-hub's layers, that classifies pairs of sentences.

    From scratch it has a head of attention for each 64 units, blocks four times as wide inside, and no dropout, as
    BERT has in its smallest form. A pretrained encoder keeps its weights and its dropout; what is new are its logits.
    """
    from keras_hub.models import BertBackbone  # imports for seconds, which images do without

    (kind, widths), words = experiment.layers, text.tokenizer(experiment)
    policy = "mixed_bfloat16" if experiment.mixed_precision else "float32"
    if kind == "pretrained":
        backbone = pretrained.load(BertBackbone, experiment, dtype=policy)
    else:
        width = widths[0]
        backbone = BertBackbone(words.get_vocab_size(), len(widths), max(1, width // 64), width, 4 * width, dropout=0,
                                max_sequence_length=experiment.sequence_length, dtype=policy)
    if experiment.sequence_length > backbone.max_sequence_length:
        raise ValueError(f"sequence_length is {experiment.sequence_length}; {experiment.network} takes at most "
                         f"{backbone.max_sequence_length} tokens")
    ids = keras.Input((experiment.sequence_length,), dtype="int32")
    pooled = backbone(_features(words, experiment.sequence_length)(ids))["pooled_output"]
    if kind == "pretrained":
        pooled = layers.Dropout(DROPOUT, dtype=policy)(pooled)
    model = keras.Model(ids, layers.Dense(num_classes, dtype="float32", name="logits")(pooled), name=kind)
    _initialise(model, experiment.seed, all_weights=kind != "pretrained")
    return model


def _features(words, length):
    """A model that gives BERT's three inputs of the numbers of tokens: the second sentence begins after the first
    [SEP], and padding counts for the first, as in BERT."""
    ids = keras.Input((length,), dtype="int32")
    there = ops.cast(ops.not_equal(ids, words.token_to_id(text.PAD)), "int32")
    ends = ops.cast(ops.equal(ids, words.token_to_id(text.END)), "int32")
    second = ops.cast(ops.cumsum(ends, axis=1) > ends, "int32") * there
    return keras.Model(ids, {"token_ids": ids, "segment_ids": second, "padding_mask": there}, name="features")


def _initialise(model, seed, *, all_weights):
    """Draws the weights of the logits, or all, and the seeds of dropout, from a generator of the seed's own; by Keras's
    defaults, and not by keras-hub's, which are for encoders that will be pretrained."""
    generator = random.Random(seed)
    for variable in model.variables:
        number, name = generator.randint(1, 10**9), variable.path.rpartition("/")[2]
        if name == "seed_generator_state":
            variable.assign([number, 0])
        elif all_weights or variable.path.startswith("logits/"):
            if name == "kernel":
                variable.assign(keras.initializers.GlorotUniform(seed=number)(variable.shape))
            elif "embeddings" in name:
                variable.assign(keras.initializers.RandomUniform(seed=number)(variable.shape))
