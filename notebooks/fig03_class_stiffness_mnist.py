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
# # Figure 3: stiffness between classes, MNIST
#
# **What this page shows.** A fully connected network learns to read handwritten digits. At several stages of training
# its weights are held, and every pair of 500 images that it has never trained on is asked one question: would a small
# gradient step on the first image lower the loss on the second?
#
# The answer is +1 (yes), −1 (the loss would rise) or 0, the sign of the inner product of the two images' loss
# gradients over all weights. Averaged over the pairs with the first image in class $a$ and the second in class $b$ it
# is the *class stiffness matrix* $C(a, b)$: the diagonal says how much the images of one class help each other, the
# rest how much one class helps another. An image is never paired with itself. The
# [theory page](../book/theory.md) has the definitions.
#
# The paper claims that the diagonal is positive from the start (C1), and that the rest begins inconsistent and
# turns positive as the network learns (C2).

# %% tags=["hide-input"]
from stiffness import charts, claims, notebook, results, summaries
from stiffness.experiment import Experiment

notebook.start()

# %% [markdown]
# ## The runs
#
# These are the parameters of this page. `papermill notebooks/fig03_class_stiffness_mnist.ipynb out.ipynb -p dataset
# fashion_mnist -p learning_rate 0.01` draws the same page for other values. Runs that are stored are read, the others
# are trained.

# %% tags=["parameters"]
dataset: str = "mnist"  # mnist, fashion_mnist, or digits, which needs no download
network: str = "fc-500-300-100"  # fully connected, widths of the hidden layers; v3's. v1's: fc-500-400-300-200-100
optimizer: str = "adam"  # adam or sgd
learning_rate: float = 0.001  # constant throughout training
batch_size: int = 32  # examples in a step
seeds: int = 5  # runs, with seeds 0, 1, ...: initialisation, order of the data
train_size: int = None  # training examples, class-balanced; None is all of them
unit_length: bool = False  # scale each input to length 1, as v3 does
probe_size: int = 500  # validation examples whose pairs are measured
stages: list = [0, 10, 30, 100, 300, 1000, 3000, 6000, 10000, 20000, 40000]  # steps at which to measure
shown_stages: list = [0, 300, 10000, 40000]  # the stages that stand side by side

# %%
notebook.check_parameters()
experiments = [
    Experiment(dataset=dataset, network=network, optimizer=optimizer, learning_rate=learning_rate,
               batch_size=batch_size, seed=seed, train_size=train_size, unit_length=unit_length,
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
# Blue is positive stiffness, red negative, and the neutral colour is 0 in every matrix of this book. Point at a cell
# for its value and its interval over the runs.

# %% tags=["hide-input"]
charts.class_matrices(
    matrices, shown_stages, "sign", title=f"Figure 3. Class stiffness (sign) on {dataset}, {network}",
    description=f"{len(shown_stages)} heat maps of the class stiffness matrix of a {network} network on {dataset}, at "
    f"steps {', '.join(f'{step:,}' for step in shown_stages)}. {charts.in_words(matrices, shown_stages, 'sign')}",
)

# %% [markdown]
# ## All measured stages
#
# Slide through training, and switch between the sign (the first version of the paper) and the cosine of the angle
# between the gradients (its third version), which also says how strongly two examples help each other.

# %% tags=["hide-input"]
charts.class_matrix_slider(
    matrices, title=f"Class stiffness on {dataset} at every stage",
    description=f"The class stiffness matrix at each of {len(stages)} stages of training, chosen by a slider, for the "
    f"sign or the cosine. {charts.in_words(matrices, stages, 'cosine')}",
)

# %% [markdown]
# ## The two summaries
#
# *Within classes* is the mean of the diagonal, *between classes* the mean of everything else. The bands are 95 %
# intervals over the runs.

# %% tags=["hide-input"]
summary = {"within_class_sign": "within classes, sign", "between_classes_sign": "between classes, sign",
           "within_class_cosine": "within classes, cosine", "between_classes_cosine": "between classes, cosine"}
charts.evolution(
    summaries.curves(table, list(summary)), quantities=summary, y="stiffness",
    title=f"Stiffness through training on {dataset}",
    description="Lines of within-class and between-class stiffness, sign and cosine, against the training step. "
    + charts.in_words(matrices, stages, "sign"),
)

# %% tags=["hide-input"]
losses = {"train_loss": "training loss", "validation_loss": "validation loss"}
loss_curves = summaries.curves(table, list(losses))
charts.evolution(
    loss_curves, quantities=losses, y="loss (inference mode)", log=True, title="The losses of the same runs",
    description="Lines of training and validation loss against the training step. " + charts.curves_in_words(
        loss_curves, losses),
)

# %% [markdown]
# ## What was found

# %% tags=["hide-input"]
notebook.found(claims.within_class_positive(table))
notebook.found(claims.between_classes_grows(table))

# %% tags=["hide-input"]
cosine = summaries.curves(table, ["between_classes_cosine"])
notebook.say(
    f"The claims are about the sign. By the cosine, stiffness between classes goes from "
    f"{claims.interval(cosine.iloc[0])} to {claims.interval(cosine.iloc[-1])} in the same runs: the sign counts the "
    "pairs that help each other, the cosine also weighs how strongly they help or harm."
)
