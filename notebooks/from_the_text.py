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
# # What else the text says
#
# **What this page shows.** The first version of the paper says more than its figures show: that it takes a large enough
# network, that stiffness is directly related to generalisation, that the mean intensity of an image may explain how a
# network begins, and that other distances were tried. Each section here takes one of these statements and measures it.

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters", "code_prompt_hide": "Parameters"}
datasets: list = ["mnist", "fashion_mnist"]  # or digits, which needs no download; widths are compared on the first
networks: list = ["fc-25-12-12-12-12-12", "fc-50-25-25-25-25-25", "fc-100-50-50-50-50-50", "fc-200-100-100-100-100-100",
                  "fc-400-200-200-200-200-200"]  # narrow to wide: the last is the first version's
network: str = None  # of all other runs; None: the first version's, of the few images the third version's
optimizer: str = "adam"  # adam or sgd
batch_size: int = 32  # examples in a step
seeds: int = 5  # runs, with seeds 0, 1, ...: initialisation, order of the data
unit_length: bool = False  # scale each input to length 1, as v3 does
probe_size: int = 500  # validation examples whose pairs are measured
stages: list = None  # steps at which to measure; None: those of Figure 2
losses: dict = None  # data sets, and the training losses at which rates are compared; None: those of Figure 8
learning_rates: list = None  # None: those of Figure 8
max_steps: int = None  # a run that has not reached its losses by then ends without them

# %% tags=["hide-input"]
from stiffness_book import charts, figures, page, summaries, texts
from stiffness_book.words import name_of

parameters = page.start()
parts = figures.from_the_text(**parameters)
columns = {"widths": ["dataset", "network"], "rates": ["dataset", "learning_rate"]}
found = {name: page.runs(runs, *columns.get(name, ["dataset"])) for name, runs in parts.items()}
tables = {name: table for name, (table, _) in found.items()}
first = name_of(datasets[0])
page.say(f"**Does it take a large network?** {texts.does_it_take_capacity(tables['widths'], networks)}")

# %% [markdown]
# ## Does it take a large network?
#
# The paper says that stiffness between classes becomes positive with training if the network is powerful enough for the
# data. Here are networks of the first version's depth and of several widths. They are compared at equal training loss,
# and, in the table, after the same number of steps.

# %% tags=["hide-input"]
page.show(charts.network_stiffness_points(tables["widths"], networks, "between_classes",
                                          title=["Between classes", first]), "Chart 1",
          "Stiffness between classes of networks of several widths, at equal training loss.")

# %% tags=["hide-input"]
page.say(texts.width_and_stiffness(tables["widths"], networks))

# %% [markdown]
# Where a network has no point, none of its runs reached the loss.
#
# ## Is stiffness related to generalisation?
#
# The paper says so of stiffness on validation images. The *gap* is the validation loss minus the training loss: the
# larger it is, the worse a network generalises. If stiffness went with generalisation, it would fall as the gap grows:
# a rank correlation of −1 would be perfect, and 0 none. The first rows follow single runs through training; the others
# compare runs with each other: those at different learning rates at equal training loss, and networks of different
# widths at the same stage.

# %% tags=["hide-input"]
page.say(texts.stiffness_against_the_gap({
    **{f"stages of a run, {name}, {dataset}": (own, ["dataset"])
       for name in ("all images", "few images")
       for dataset, own in tables[name][tables[name]["target_loss"].isna()].groupby("dataset", sort=False)},
    **{f"learning rates, {dataset}": (own, ["dataset", "target_loss"])
       for dataset, own in tables["rates"][tables["rates"]["target_loss"].notna()].groupby("dataset", sort=False)},
    f"widths, {first}": (tables["widths"][tables["widths"]["target_loss"].isna()], ["dataset", "step"])}))

# %% [markdown]
# Correlations are Kendall's; where several are averaged, the interval is over seeds. Stages of one run are not
# independent of each other: whatever grows through training, as the gap does in the end, correlates with whatever else
# grows or falls. So the rows that compare runs tell more.
#
# ## Does mean intensity explain how a network begins?
#
# At initialisation a step helps images of the same class. The paper suspects crude features that a class shares, such
# as the typical intensity of its images. A *linear probe*, a logistic regression from the mean intensity of an image to
# its class, says how much a class can be told from that. And stiffness is measured again at initialisation with images
# of one colour: each pixel is the mean of its image.

# %% tags=["hide-input"]
page.say(texts.mean_intensity(tables["intensity"]))

# %% [markdown]
# Stiffness within classes is as high for uniform images as for the real ones. [The method page](../book/method.md) says
# why it would be for any images at all: two images of one class share their label, and that alone makes the last
# layer's part positive. So this stiffness at initialisation is no sign of a feature.
#
# ## How does the threshold distance change through training?
#
# The paper follows the size of stiff domains through training, but shows it only against the learning rate
# ([Figure 10](fig10_domain_size.ipynb)).

# %% tags=["hide-input"]
own = tables["all images"]
sizes = summaries.domain_sizes(own[own["target_loss"].isna() & (own["dataset"] == first)])
page.show(charts.domain_evolution(sizes, title=["Stiff domains through training", first]), "Chart 2",
          "The size of the stiff domain in input space and in each layer's representation, through training.")

# %% tags=["hide-input"]
page.say(texts.domains_through_training(sizes))

# %% [markdown]
# ## Is the average over all pairs higher at a higher rate?
#
# [Figure 8](fig08_learning_rate.ipynb) shows pairs of different classes. The paper's conclusion speaks of stiffness on
# average. The table has the change of sign stiffness per tenfold rate, at equal training loss. *All pairs of classes*
# is the mean of the whole class stiffness matrix, diagonal included.

# %% tags=["hide-input"]
page.say(texts.average_against_the_rate(tables["rates"]))

# %% [markdown]
# ## Do other distances give the same picture?
#
# The paper names the L1 and the L2 distance beside the cosine, and shows neither. Here are the sizes of stiff domains
# at one training loss and the highest learning rate, in each space: for L1 and L2 in units of the mean distance between
# two images. The last column has the rank correlation of a hidden layer's depth with its size: −1 if deeper layers have
# smaller stiff domains, as the paper says of the cosine.

# %% tags=["hide-input"]
rates = tables["rates"]
at_one = rates[(rates["learning_rate"] == rates["learning_rate"].max()) & rates["target_loss"].notna()]
losses_of = at_one.groupby("dataset")["target_loss"].unique().map(lambda values: sorted(values)[-2:][0])
page.say(texts.other_distances(at_one[at_one["target_loss"] == at_one["dataset"].map(losses_of)]),
         "The training losses are " + ", ".join(f"{loss:g} ({dataset})" for dataset, loss in losses_of.items()) + ".")

# %% [markdown]
# ## The runs
#
# The settings are under *Parameters*, near the top. The runs are those of [Figure 2](fig02_overfitting.ipynb)
# and [Figure 8](fig08_learning_rate.ipynb), and others that vary the width or measure mean intensity.

# %% tags=["hide-input"]
for _, provenance in found.values():
    page.summary(provenance)
