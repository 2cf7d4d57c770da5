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
# of its *Jacobian* says how much. Novak et al. {cite}`novak2018` trained thousands of networks and found that those
# that are less sensitive at test points generalise better (claim N2), and that larger networks generalise better and
# are less sensitive (claim N5). Here many small networks are trained in many ways.

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters", "code_prompt_hide": "Parameters"}
datasets: list = ["mnist", "fashion_mnist", "cifar10"]  # or digits, which needs no download
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
networks, provenance = survey.networks(runs)
right = survey.right(networks)
verdict, size_verdict = claims.norm_correlates_with_gap(networks), claims.larger_networks_are_better(networks)
page.answer(texts.norm_and_gap(networks, verdict), verdict, size_verdict)

# %% [markdown]
# ## Gap against norm
#
# Each point is a network that fits every training label. Its *generalisation gap* is its training accuracy, which is 1,
# minus its test accuracy. Draw an area on the first panel, or click on a bar below, to pick networks; a double click
# takes it back. The menu chooses what the second panel has on its axis: transitions, which are explained below, or
# [stiffness](../book/theory.md), which [Two views of generalisation](two_views.ipynb) compares with the norm.

# %% tags=["hide-input"]
others = {name: words for name, words in survey.MEASURES.items() if name != "jacobian_norm"}
page.show(charts.gap_scatter(right, others, title="Generalisation gap of many networks"),
          "Chart 1", "The generalisation gap against the mean norm at test points, and against another measure. The "
          "bars below count the networks of the chosen area by their settings.")

# %% tags=["hide-input"]
page.say(texts.networks_trained(networks))

# %% [markdown]
# ## What is measured
#
# The norm is the Frobenius norm of the derivative of the class probabilities by the input ([defined
# here](../book/theory.md#sensitivity-to-the-input)), averaged over test images, which are those that the book elsewhere
# calls validation images. *Transitions* count how often units turn on or off while an image is moved round
# horizontally, pixel by pixel, until it is back where it was; this path is this book's choice. They are defined for
# ReLU units only.
#
# The networks are fully connected, with 1 or 3 hidden layers of 4 to 400 units. Those of one shape start from the same
# weights and see the same batches. They are trained with Adam, momentum or plain gradient descent on batches of 50,
# with Adam or momentum on batches of all training images, and with Adam and saturating units (`hard_tanh`) in place of
# ReLU units; each at two learning rates. Each is done with true labels, with random labels, and with images that are
# moved by up to three pixels in every batch. The paper's ranges are not known here; its networks were larger and had
# more training images.
#
# ## Over all networks, and among those that are alike
#
# A correlation over all networks can come from one factor that moves both numbers, as random labels do. So it is also
# computed *without random labels*, and among *alike networks*, of one shape, with the same kind of labels and images
# (the mean over such groups). If it turned round there, that would be Simpson's paradox. All are rank correlations of
# Kendall's; their 95 % intervals come from resampling the shapes as wholes, as there is one network of each kind.

# %% tags=["hide-input"]
some = {name: survey.MEASURES[name] for name in ("jacobian_norm", "transitions")}
page.show(charts.estimates(survey.correlation_rows(right, some), "rank correlation with the gap",
                           title="Sensitivity and the gap"),
          "Chart 2", "Rank correlations of norm and transitions with the gap: right of 0, a larger value goes with a "
          "larger gap. Lines are 95 % intervals.")
page.say(texts.changes_with_the_stratum(networks, "jacobian_norm"), texts.transitions_and_gap(networks))

# %% [markdown]
# The same correlation of norm and gap among the networks that have a single setting alike, and how many they are. Where
# all labels are alike, and true or random, what random labels do to both numbers is taken out; where the width is
# alike, what the width does.

# %% tags=["hide-input"]
page.say(texts.within_each_setting(networks, "jacobian_norm"))

# %% [markdown]
# ## Larger networks
#
# Gap and norm against the width, over the ways of training that fit every true label at each of these widths. The bands
# are 95 % intervals over these ways.

# %% tags=["hide-input"]
true = networks[networks["condition"] != "random labels"]
page.show(charts.size_curves(survey.by_width(true), title="Gap and norm of larger networks"),
          "Chart 3", "Generalisation gap and norm of the Jacobian against the width of the hidden layers.")
page.say("Rank correlations among networks that differ in their width alone, wherever networks of three or more widths "
         "fit every label:", texts.sizes_and_sensitivity(networks))

# %% [markdown]
# ## What was found

# %% tags=["hide-input"]
page.found(verdict)
page.found(size_verdict)

# %% [markdown]
# ## The runs
#
# The settings are under *Parameters*, near the top. Each run trains six networks of one shape in one batched
# computation. How much faster that is than to train them one by one with Keras was measured on one core:

# %% tags=["hide-input"]
import json

page.say(texts.speed_of_ensembles(json.loads(
    (store.REPOSITORY / "benchmarks" / "ensembles.json").read_text(encoding="utf-8"))))

# %% tags=["hide-input"]
page.summary(provenance)
