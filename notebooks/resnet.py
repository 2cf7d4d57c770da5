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
# # A residual network
#
# **What this page shows.** Most networks in this book are small. Do deeper networks of a modern kind behave in the same
# way? The third version of the paper says so of a residual network of 20 layers, ResNet20, without batch normalisation
# (C13). Here it learns the same images as a convolutional and a fully connected network, and all are compared at the
# same *training loss*.

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters", "code_prompt_hide": "Parameters"}
data_sets: dict = {"cifar10": [1.5, 1.25, 1.0], "mnist": [0.3, 0.1, 0.03]}  # and the training losses, largest first
residual: str = "resnet-20"  # resnet- and its depth, 6 n + 2
varied: dict = {"resnet-20-he": {"cifar10": [1.5]}}  # another initialisation, and the losses
compared: list = ["cnn-16-32-32", "fc-500-300-100"]  # the third version's convolutional and fully connected network
optimizer: str = "adam"  # adam or sgd
learning_rate: float = 0.001  # constant throughout training
batch_size: int = 32  # examples in a step
residual_seeds: int = 3  # runs of the residual network, with seeds 0, 1, ...: initialisation, order of the data
seeds: int = 5  # runs of each other network
train_size: int = None  # training examples, class-balanced; None is all of them
unit_length: bool = False  # scale each input to length 1, as v3 does
probe_size: int = 500  # validation examples whose pairs are measured
residual_max_steps: int = 6000  # where a loss that is not reached is given up by the residual network
residual_check_every: int = 100  # steps between two checks of its training loss
max_steps: int = 30000  # where a loss that is not reached is given up by the others

# %% tags=["hide-input"]
from stiffness_book import charts, claims, figures, page, summaries, texts
from stiffness_book.words import named

parameters = page.start()
found = {dataset: page.runs(runs, "network") for dataset, runs in figures.residual(**parameters).items()}
tables = named({dataset: table for dataset, (table, _) in found.items()})
networks = [residual, *varied, *compared]
verdict = claims.picture_holds_for_a_residual_network(tables, residual, compared)
page.answer(texts.residual_in_a_sentence(tables, residual), verdict)

# %% [markdown]
# ## Stiffness at equal training loss
#
# Points are means over the runs with their 95 % intervals, before training and at each loss.

# %% tags=["hide-input"]
chart = (f"Chart {number}" for number in range(1, 20))
for name, table in tables.items():
    for summary, words in (("within_class", "Within classes"), ("between_classes", "Between classes")):
        page.show(charts.network_stiffness_points(table, [one for one in networks if one in set(table["network"])],
                                                  summary, title=[words, name]), next(chart),
                  f"Stiffness {words.lower()} on {name}, at equal training loss.")

# %% [markdown]
# ## What is measured
#
# A residual network adds to the output of each block of two convolutions the block's input {cite}`he2016`. This one has
# a first convolution, then three stages of three blocks with 16, 32 and 64 filters, the mean over all positions, and
# one output for each class, as in Keras's example. The representations whose distances are measured are those at the
# ends of the nine blocks.
#
# The example has batch normalisation after each convolution, which makes the gradient of one image depend on the
# others in its batch. The paper leaves it out, and so does this page. The paper's other settings are not known. Two
# settings of the example are not used here:
#
# - Its initialisation, by He's normal distribution {cite}`he2015init`, makes the signal grow from block to block, which
#   batch normalisation undoes. Without it the untrained network is sure of wrong answers. Here the weights begin as in
#   all other networks of this book, by Glorot's uniform distribution, so that only the architecture differs; He's is
#   shown [further down](#with-the-initialisation-of-the-example).
# - Its weight decay is a loss of the weights and not of an example, whose gradient is the same for all examples. No
#   other network of this book has it.

# %% [markdown]
# ## The differences
#
# The stiffness of the residual network minus that of each other network at equal training loss, with Welch's 95 %
# intervals. To the right of the dotted line the residual network is the stiffer one.

# %% tags=["hide-input"]
for name, table in tables.items():
    differences = summaries.network_differences(table, [(residual, other) for other in compared])
    if differences["low"].notna().any():
        page.show(charts.network_difference_points(differences, networks, by="other",
                                                   title=["Residual network minus another", name]), next(chart),
                  f"The stiffness of the residual network minus that of others on {name}, at equal loss.")
    else:
        page.say(f"On {name} no loss was reached by two runs or more of the residual and another network.")

# %% [markdown]
# ## Stiff domains by depth
#
# The *stiff domain* of a layer is the distance, in its representation, at which sign stiffness first falls to zero
# ([Figure 9](fig09_distance.ipynb)). The deeper the layer, the smaller it is, says the first version of the paper. Here
# it is drawn at the lowest training loss. Where a curve never falls to zero there is no size, and no point.

# %% tags=["hide-input"]
sizes = summaries.domains_at_lowest_loss(tables)
page.show(charts.domains_by_depth(sizes, [residual, *compared], title="Stiff domains by depth"), next(chart),
          "The size of stiff domains against the depth of the representation.")
page.say(texts.sizes_by_depth(sizes, [residual, *compared]))

# %% [markdown]
# ## With the initialisation of the example

# %% tags=["hide-input"]
page.say(texts.with_another_initialisation(tables, residual, varied) or "No other initialisation was tried.")

# %% [markdown]
# ## When the losses were reached

# %% tags=["hide-input"]
runs = {residual: residual_seeds, **dict.fromkeys(compared, seeds)}
for (name, table), losses in zip(tables.items(), data_sets.values()):
    page.say(f"**{name}**", texts.where_networks_stopped(table, list(runs), losses, runs),
             texts.networks_that_fell_short(table, list(runs), losses, runs))

# %% [markdown]
# ## What was found

# %% tags=["hide-input"]
page.found(verdict)

# %% [markdown]
# ## The runs
#
# *Parameters*, near the top, contains this page's parameters. Some of the runs of the other two networks are those of
# [the page on architectures](architectures.ipynb).

# %% tags=["hide-input"]
for _, provenance in found.values():
    page.summary(provenance)
