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
# # Does sensitivity tell how well a network generalises?
#
# **What this page shows.** A network is sensitive where its output moves much for a small change of its input: the norm
# of its *Jacobian* says how much. Novak et al. trained thousands of networks and found that those that are less
# sensitive at test points generalise better (N2), and that larger networks are the better and the less sensitive ones
# (N5). Here many small networks are trained in many ways.

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters", "code_prompt_hide": "Parameters"}
datasets: list = ["mnist", "fashion_mnist"]  # also cifar10, or digits, which needs no download
widths: list = [4, 12, 40, 120, 400]  # units in a hidden layer
depths: list = [1, 3]  # hidden layers
ways: list = None  # how networks of a shape are trained; None: the six ways of this book's survey
train_size: int = 1000  # training examples, class-balanced: few enough to be fitted in full
probe_size: int = 300  # test images, and training images, whose pairs are measured
points: int = 500  # test images at which the Jacobian is taken
seeds: int = 1  # networks of each kind, with seeds 0, 1, ...: initialisation, order of the data

# %% tags=["hide-input"]
from stiffness_book import charts, claims, figures, page, store, texts
from stiffness_book.sensitivity import survey

parameters = page.start()
runs = figures.ensembles(**parameters)
networks = survey.networks(runs)
right = survey.right(networks)
verdict, size_verdict = claims.norm_correlates_with_gap(networks), claims.larger_networks_are_better(networks)
page.answer(texts.norm_and_gap(networks, verdict), verdict, size_verdict)

# %% [markdown]
# ## Gap against norm
#
# Each point is a network that has every training label right. Its *generalisation gap* is its training accuracy, which
# is 1, minus its test accuracy. Draw an area on the first panel, or click on a bar below, to pick networks; a double
# click takes it back. The menu chooses what the second panel has on its axis.

# %% tags=["hide-input"]
others = {name: words for name, words in survey.MEASURES.items() if name != "jacobian_norm"}
page.show(charts.gap_scatter(right, others, title="Generalisation gap of many networks"),
          "Chart 1", "The generalisation gap against the mean norm at test points, and against another measure.")

# %% tags=["hide-input"]
page.say(texts.networks_trained(networks))

# %% [markdown]
# ## What is measured
#
# The norm is the Frobenius norm of the derivative of the class probabilities by the input ([defined
# here](../book/theory.md)), averaged over test images. *Transitions* count how often units turn on or off while an
# image is moved round horizontally, pixel by pixel, until it is back where it was; this path is this book's choice.
# They are there for ReLU units only.
#
# The networks are fully connected. Their widths span two decades. The networks of one shape start from the same weights
# and see the same batches. They differ in the optimizer (Adam, momentum, plain gradient descent), its rate, batches of
# 50 or of all training images, ReLU or saturating units (`hard_tanh`), and in their data: true labels, random labels,
# or images that are moved by up to three pixels in every batch. The paper's ranges are not known here; its networks
# were larger and had more training images, of CIFAR-10, which this survey does not have yet.
#
# ## Over all networks, and among those that are alike
#
# A correlation over all networks can come from one factor that moves both numbers, as random labels do. So it is also
# computed for *true labels* alone, and among *alike networks*, of one shape, with the same kind of labels and images.
# If it changes then, or turns round, that is Simpson's paradox.

# %% tags=["hide-input"]
some = {name: survey.MEASURES[name] for name in ("jacobian_norm", "transitions")}
page.show(charts.estimates(survey.correlation_rows(right, some), "rank correlation with the gap",
                           title="Sensitivity and the gap"),
          "Chart 2", "Rank correlations of norm and transitions with the gap, over all networks and among alike ones.")
page.say(texts.changes_with_the_stratum(networks, "jacobian_norm"))

# %% [markdown]
# ## Larger networks
#
# Gap and norm against the width, over the ways of training that have every true label right at all of the three largest
# widths. The bands are 95 % intervals over these ways.

# %% tags=["hide-input"]
true = networks[networks["condition"] != "random labels"]
page.show(charts.size_curves(survey.by_width(true), title="Gap and norm of larger networks"),
          "Chart 3", "Generalisation gap and norm of the Jacobian against the width of the hidden layers.")
page.say(texts.sizes_and_sensitivity(networks))

# %% [markdown]
# ## What was found

# %% tags=["hide-input"]
page.found(verdict)
page.found(size_verdict)

# %% [markdown]
# ## The runs
#
# *Parameters*, near the top, contains this page's parameters. Each run trains several networks of one shape at once.

# %% tags=["hide-input"]
page.summary(store.provenance(runs))
