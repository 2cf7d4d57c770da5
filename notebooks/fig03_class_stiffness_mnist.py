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
# its weights are held, and every pair of a set of images that it has never trained on is asked one question: would a
# small gradient step on the first image lower the loss on the second?
#
# The answer is +1 (yes), −1 (the loss would rise) or 0: the sign of the inner product of the two images' loss
# gradients over all weights. Averaged over the pairs with the first image in class $a$ and the second in class $b$ it
# is the *class stiffness matrix* $C(a, b)$. Its diagonal says how much the images of one class help each other, the
# rest how much one class helps another. An image is never paired with itself. The
# [theory page](../book/theory.md) has the definitions.
#
# The paper claims that the diagonal is positive from the start (C1), and that the rest begins inconsistent and
# turns positive as the network learns (C2).

# %% tags=["parameters", "hide-input"]
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

# %% tags=["hide-input"]
from stiffness_book import charts, claims, page, store, summaries, sweep

page.start()
page.check_parameters()

# %% tags=["experiments", "hide-input"]
from stiffness_book.experiment import Experiment

experiments = [
    Experiment(dataset=dataset, network=network, optimizer=optimizer, learning_rate=learning_rate,
               batch_size=batch_size, seed=seed, train_size=train_size, unit_length=unit_length,
               probe_size=probe_size, stages=stages)
    for seed in range(seeds)
]

# %% tags=["hide-input"]
table = sweep.table_of(experiments)
provenance = store.provenance(experiments)
class_names = provenance["class_names"][0]
matrices = summaries.class_matrices(table, class_names)
last = stages[-1]

# %% [markdown]
# ## Four stages side by side
#
# Blue is positive stiffness, red negative, and the neutral colour is 0 in every matrix of this book. Point at a cell
# for its value and its interval over the runs.

# %% tags=["hide-input"]
charts.matrix_panels(
    matrices, shown_stages, "sign", title=["Figure 3. Class stiffness (sign)", dataset],
    of=f"a {network} network on {dataset}",
)

# %% [markdown]
# ## All measured stages
#
# Slide through training, and switch between the sign (the first version of the paper) and the cosine of the angle
# between the gradients (its third version), which also says how strongly two examples help each other.

# %% tags=["hide-input"]
charts.matrix_slider(matrices, title=["Class stiffness", dataset],
                           of=f"a {network} network on {dataset}")

# %% [markdown]
# ## The two summaries
#
# *Within classes* is the mean of the diagonal, *between classes* the mean of everything else. The bands are 95 %
# intervals over the runs.

# %% tags=["hide-input"]
charts.stiffness_evolution(table, title=["Stiffness through training", dataset])

# %% tags=["hide-input"]
charts.loss_evolution(table, title="The losses of the same runs")

# %% [markdown]
# ## What was found

# %% tags=["hide-input"]
validation = summaries.loss_curves(table, ["validation_loss"]).set_index("step")["mean"]
best = validation.idxmin()
accuracy = summaries.at(table, "validation_accuracy", last)
cosine = {pairs: [claims.interval(summaries.at(table, f"{pairs}_cosine", step), claims.signed3)
                  for step in (stages[0], last)] for pairs in ("within_class", "between_classes")}
within = [summaries.at(table, "within_class_sign", step) for step in (best, last)]
page.say(
    f"After {last:,} steps the networks read {claims.interval(accuracy, claims.percent)} of the validation images "
    f"rightly. Their validation loss is lowest after {best:,} steps, at {validation[best]:.3f}, and ends at "
    f"{validation[last]:.3f}, while within-class stiffness goes from {claims.interval(within[0])} to "
    f"{claims.interval(within[1])}. The paper says that it falls as a network over-fits (C3); "
    "[Figure 2](fig02_overfitting.ipynb) judges that."
)
page.say(
    "The claims are about the sign. Within a class +1 is the sign to expect, whatever the network has learnt: "
    "[the method page](../book/method.md) shows why. The cosine weighs how strongly two images help or harm each "
    "other. From initialisation to the last stage it goes from "
    f"{' to '.join(cosine['within_class'])} within classes, and from {' to '.join(cosine['between_classes'])} between "
    "them."
)
page.found(claims.within_class_positive(table))
page.found(claims.between_classes_grows(table))

# %% [markdown]
# ## The runs
#
# The first folded cell above holds this page's parameters. Other values draw the same page again:
#
# ```sh
# papermill notebooks/fig03_class_stiffness_mnist.ipynb out.ipynb -p dataset fashion_mnist -p learning_rate 0.01
# ```

# %% tags=["hide-input"]
page.summary(provenance)
