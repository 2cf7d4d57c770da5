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
# **What this page shows.** The other networks in this book have seven layers at most. Does a much deeper one show the
# same pattern: stiffness within classes is positive, and between classes it grows with training? The third version of
# the paper says so of a residual network of 20 layers, ResNet20, without batch normalisation (C13). Here it learns
# CIFAR-10 and MNIST, beside a convolutional and a fully connected network. All are compared at the same *training
# loss*, so that no network is ahead of the others on the images that it learns.

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters", "code_prompt_hide": "Parameters"}
data_sets: dict = {"cifar10": [1.5, 1.25, 1.0], "mnist": [0.3, 0.1, 0.03]}  # and the training losses, largest first
residual: str = "resnet-20"  # resnet- and its depth, 6 n + 2
varied: dict = {"resnet-20-he": {"cifar10": [1.5]}}  # another initialisation, and the losses
compared: list = ["cnn-16-32-32", "fc-500-300-100"]  # first a convolutional network: v3's, and its fully connected one
optimizer: str = "adam"  # adam or sgd
learning_rate: float = 0.001  # constant throughout training
batch_size: int = 32  # examples in a step
residual_seeds: int = 3  # runs of the residual network, with seeds 0, 1, ...: initialisation, order of the data
seeds: int = 5  # runs of each other network
train_size: int = None  # training examples, class-balanced; None is all of them
unit_length: bool = False  # scale each input to length 1, as v3 does
probe_size: int = 500  # validation examples whose pairs are measured
residual_max_steps: int = 6000  # of the residual network, where a loss that is not reached is given up
residual_check_every: int = 100  # steps between two checks of its training loss
max_steps: int = 30000  # of the others

# %% tags=["hide-input"]
from stiffness_book import charts, claims, figures, page, summaries, texts
from stiffness_book.words import named

parameters = page.start()
found = {dataset: page.runs(runs, "network") for dataset, runs in figures.residual(**parameters).items()}
tables = named({dataset: table for dataset, (table, _) in found.items()})
networks = [residual, *compared, *varied]
verdict = claims.picture_holds_for_a_residual_network(tables, residual, compared[0])
page.answer(texts.residual_in_a_sentence(tables, residual, compared[0], verdict), verdict)

# %% [markdown]
# ## Stiffness at equal training loss
#
# Points are means over the runs with their 95 % intervals, before training and at each loss. The loss is measured at
# regular intervals, and the first measurement at or below a loss counts as that loss. The runs end before much
# over-fitting, so what over-fitting does is not tested on this page. `cnn-16-32-32` has three convolutions with 16, 32
# and 32 filters, `fc-500-300-100` hidden layers of 500, 300 and 100 units.

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
# Stiffness is that of pairs of validation images, as on the other pages.
#
# A residual network adds the input of each block of two convolutions to the block's output {cite}`he2016`. This one is
# that of Keras's example: a first convolution; nine blocks, three each with 16, 32 and 64 filters, at the full, half
# and a quarter of the image's resolution; the mean over all positions; and one output for each class. That makes
# 1 + 18 + 1 = 20 layers. The representations whose distances are measured are those at the ends of the nine blocks.
#
# The example has batch normalisation after each convolution, which makes the gradient of one image depend on the
# others in its batch. The paper leaves it out, and so does this page. The paper's other settings are not known. The
# example also augments its images and lowers its learning rate in steps; neither is done anywhere in this book. Two
# more of its settings are not used:
#
# - Its initialisation, by He's normal distribution {cite}`he2015init`, makes the signal grow from block to block, which
#   batch normalisation undoes. Without batch normalisation, the untrained network is confident of wrong answers. Here
#   the weights begin as in all other networks of this book, by Glorot's uniform distribution, so that only the
#   architecture differs; He's is shown [further down](#with-the-initialisation-of-the-example).
# - Its weight decay adds a term to the loss that depends on the weights only. Its gradient is the same for all
#   examples, so it would make every pair look stiffer.
#
# The residual network takes long to train on a CPU, so it has fewer runs and steps than the others. With few runs, only
# large effects can be told from chance.

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
        page.say(f"On {name} there is no loss that two runs of the residual and of another network reached.")

# %% [markdown]
# ## Stiff domains by depth
#
# The *stiff domain* of a layer is the distance, in its representation, at which sign stiffness first falls to zero
# ([Figure 9](fig09_distance.ipynb)). The deeper the layer, the smaller it is, says the first version of the paper. Here
# it is drawn at the lowest training loss. Where a curve never falls to zero there is no size, and no point. The table
# also tells whether the order is there before training, in which case it is not learnt.

# %% tags=["hide-input"]
sizes = summaries.domains_at_lowest_loss(tables)
page.show(charts.domains_by_depth(sizes, [residual, *compared], title="Stiff domains by depth"), next(chart),
          "The size of stiff domains against the depth of the representation.")
page.say(texts.sizes_by_depth(tables, [residual, *compared]))

# %% [markdown]
# ## With the initialisation of the example
#
# The same network with He's initialisation, beside that of this page:

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
# The settings are under *Parameters*, near the top. Some of the runs of the other two networks are those of
# [the page on architectures](architectures.ipynb).

# %% tags=["hide-input"]
for _, provenance in found.values():
    page.summary(provenance)
