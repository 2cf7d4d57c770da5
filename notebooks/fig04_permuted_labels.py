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
# As before, stiffness is measured on 500 validation images, with their true labels. The paper claims that no positive
# stiffness between classes develops, and that it goes negative (C4): the best such a network can do is to give every
# class the same probability, and any step towards one class is a step away from all others.

# %% tags=["hide-input"]
from stiffness import charts, claims, notebook, results, summaries
from stiffness.experiment import Experiment

notebook.start()

# %% [markdown]
# ## The runs
#
# `permuted_fraction` says how many of the labels are shuffled: at 0 this page shows Figure 3.

# %% tags=["parameters"]
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
permuted_fraction: float = 1.0  # share of the training labels that is permuted

# %%
notebook.check_parameters()
experiments = [
    Experiment(dataset=dataset, network=network, optimizer=optimizer, learning_rate=learning_rate,
               batch_size=batch_size, seed=seed, permuted_fraction=permuted_fraction,
               train_size=train_size, unit_length=unit_length,
               probe_size=probe_size, stages=stages)
    for seed in range(seeds)
]
table = results.runs(experiments)
provenance = results.provenance(experiments)
class_names = provenance["class_names"][0]
matrices = summaries.class_matrices(table, class_names)
notebook.summary(provenance)

# %% [markdown]
# ## Four stages side by side
#
# The colours are those of Figure 3: blue is positive, red negative.

# %% tags=["hide-input"]
charts.class_matrices(
    matrices, shown_stages, "sign", title=f"Figure 4. Class stiffness (sign) on {dataset}, permuted labels, {network}",
    description=f"{len(shown_stages)} heat maps of the class stiffness matrix of a {network} network trained on "
    f"{dataset} with {permuted_fraction:.0%} of the labels permuted, at steps "
    f"{', '.join(f'{step:,}' for step in shown_stages)}. {charts.in_words(matrices, shown_stages, 'sign')}",
)

# %% [markdown]
# ## All measured stages

# %% tags=["hide-input"]
charts.class_matrix_slider(
    matrices, title=f"Class stiffness on {dataset} with permuted labels at every stage",
    description=f"The class stiffness matrix at each of {len(stages)} stages of training on permuted labels, chosen by "
    f"a slider, for the sign or the cosine. {charts.in_words(matrices, stages, 'cosine')}",
)

# %% [markdown]
# ## The two summaries
#
# Where a network says the same for every image, the gradients of two images point the same way if they share a label
# and apart if they do not, whatever the images show. Ten classes then leave a cosine of −1/9 between classes: nine
# parts of the step are paid by the nine other classes.

# %% tags=["hide-input"]
summary = {"within_class_sign": "within classes, sign", "between_classes_sign": "between classes, sign",
           "within_class_cosine": "within classes, cosine", "between_classes_cosine": "between classes, cosine"}
charts.evolution(
    summaries.curves(table, list(summary)), quantities=summary, y="stiffness",
    title=f"Stiffness through training on {dataset} with permuted labels",
    description="Lines of within-class and between-class stiffness, sign and cosine, against the training step. "
    + charts.in_words(matrices, stages, "sign"),
)

# %% tags=["hide-input"]
losses = {"train_loss": "training loss (permuted labels)", "validation_loss": "validation loss (true labels)"}
loss_curves = summaries.curves(table, list(losses))
charts.evolution(
    loss_curves, quantities=losses, y="loss (inference mode)", log=True, title="The losses of the same runs",
    description="Lines of training and validation loss against the training step. " + charts.curves_in_words(
        loss_curves, losses),
)

# %% [markdown]
# ## What was found

# %% tags=["hide-input"]
notebook.found(claims.permuted_labels_negative(table))
