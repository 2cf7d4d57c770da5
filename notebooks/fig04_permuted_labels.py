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
# # Figure 4: the same with permuted labels
#
# **What this page shows.** The network, the images and the training of [Figure 3](fig03_class_stiffness_mnist.ipynb),
# with one change: before training, the labels of the training images are shuffled among them. Nothing that is true of
# one image then says anything about the next, so there is nothing general to learn. What becomes of stiffness?
#
# As before, stiffness is measured on validation images, with their true labels. The paper claims that no positive
# stiffness between classes develops, and that it goes negative (C4).

# %% tags=["parameters", "hide-input"]
dataset: str = "mnist"  # mnist, fashion_mnist, or digits, which needs no download
network: str = "fc-500-300-100"  # fully connected, widths of the hidden layers; v3's. v1's: fc-500-400-300-200-100
optimizer: str = "adam"  # adam or sgd
learning_rate: float = 0.001  # constant throughout training
batch_size: int = 32  # examples in a step
seeds: int = 5  # runs, with seeds 0, 1, ...: initialisation, order of the data, permutation of the labels
train_size: int = None  # training examples, class-balanced; None is all of them
unit_length: bool = False  # scale each input to length 1, as v3 does
probe_size: int = 500  # validation examples whose pairs are measured
stages: list = [0, 10, 30, 100, 300, 1000, 3000, 6000, 10000, 20000, 40000]  # steps at which to measure
shown_stages: list = [0, 300, 10000, 40000]  # the stages that stand side by side
permuted_fraction: float = 1.0  # share of the training labels that is permuted; 0 draws Figure 3
memorising_train_size: int = 2000  # training examples of the second network, few enough to be learnt by heart
memorising_learning_rate: float = 0.0001  # and its learning rate

# %% tags=["hide-input"]
import math

from stiffness_book import charts, claims, page, store, summaries, sweep

page.start()
page.check_parameters()

# %% tags=["experiments", "hide-input"]
from stiffness_book.experiment import Experiment

settings = {"dataset": dataset, "network": network, "optimizer": optimizer, "batch_size": batch_size,
            "permuted_fraction": permuted_fraction, "unit_length": unit_length, "probe_size": probe_size,
            "stages": stages}
permuted = [Experiment(**settings, learning_rate=learning_rate, train_size=train_size, seed=seed)
            for seed in range(seeds)]
memorising = [Experiment(**settings, learning_rate=memorising_learning_rate, train_size=memorising_train_size,
                         seed=seed) for seed in range(seeds)]
experiments = permuted + memorising

# %% tags=["hide-input"]
memorised = sweep.table_of(memorising)
table = sweep.table_of(permuted)
provenance = store.provenance(permuted)
class_names = provenance["class_names"][0]
matrices = summaries.class_matrices(table, class_names)
last = stages[-1]

# %% [markdown]
# ## Four stages side by side
#
# The colours are those of Figure 3: blue is positive, red negative.

# %% tags=["hide-input"]
charts.matrix_panels(
    matrices, shown_stages, "sign", title=["Figure 4. Class stiffness (sign)", f"{dataset}, permuted labels"],
    of=f"a {network} network on {dataset} with {permuted_fraction:.0%} of the labels permuted",
)

# %% [markdown]
# ## All measured stages

# %% tags=["hide-input"]
charts.matrix_slider(matrices, title=["Class stiffness", f"{dataset}, permuted labels"],
                           of=f"a {network} network on {dataset} with {permuted_fraction:.0%} of the labels permuted")

# %% [markdown]
# ## The two summaries

# %% tags=["hide-input"]
charts.stiffness_evolution(table, title=["Stiffness through training", f"{dataset}, permuted labels"])

# %% [markdown]
# The training loss is on the permuted labels, the validation loss on true ones. The dashed line is the loss of a
# network that gives every class the same probability, whatever it is shown.

# %% tags=["hide-input"]
charts.loss_evolution(table, title="The losses of the same runs", guessing=math.log(len(class_names)))

# %% [markdown]
# ## A network that does learn the labels by heart
#
# The same network, trained on fewer images and at a lower rate, can learn its permuted labels by heart. These are its
# summaries, on the same validation images.

# %% tags=["hide-input"]
charts.stiffness_evolution(memorised, title=["Stiffness of a network that memorises", dataset])

# %% [markdown]
# ## What was found

# %% tags=["hide-input"]
page.found(claims.permuted_labels_negative(table))
within = summaries.stiffness_curves(table, ["within_class_cosine"]).set_index("step")["mean"]
alike = [step for step in stages if (within.loc[step:] > 0.99).all()]
accuracy = claims.interval(summaries.at(table, "validation_accuracy", last), claims.percent)
if alike:
    page.say(
        f"How it comes about: from step {alike[0]:,} on, two images of one class have gradients of cosine "
        f"{within[last]:.3f}, and the networks are right on {accuracy} of the validation images. They have come to say "
        "the same of every image, so a gradient depends on the label alone: it raises the probability of one class and "
        f"lowers that of the {len(class_names) - 1} others. Had all classes the same probability and all hidden layers "
        f"the same values, the cosine between classes would be −1/{len(class_names) - 1}, "
        f"{claims.signed3(-1 / (len(class_names) - 1))}; measured is "
        f"{claims.interval(summaries.at(table, 'between_classes_cosine', last), claims.signed3)}."
    )
else:
    page.say(f"The networks still tell images apart: they are right on {accuracy} of the validation images, and "
                 f"two images of one class have gradients of cosine {within[last]:.3f}.")
by_heart = claims.interval(summaries.at(memorised, "train_accuracy", last), claims.percent)
ends = {name: claims.interval(summaries.at(memorised, f"{name}_sign", last))
        for name in ("within_class", "between_classes")}
page.say(
    f"The networks trained on {memorising_train_size:,} images know {by_heart} of their permuted labels after {last:,} "
    f"steps. Their sign stiffness then is {ends['within_class']} within classes and {ends['between_classes']} between "
    "them. So it matters how a network fails to generalise: claim C4 describes one that gives up, and is judged on "
    "the first set of runs alone."
)

# %% [markdown]
# ## The runs
#
# The first folded cell above holds this page's parameters.

# %% tags=["hide-input"]
page.summary(provenance)
page.summary(store.provenance(memorising))
