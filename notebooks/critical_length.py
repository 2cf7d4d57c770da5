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
# # The critical length: does it shrink?
#
# **What this page shows.** A step of training on one image also lowers the loss on other images of its class, and more
# so if they look alike. *Stiffness* measures this: here it is the cosine of the angle between the loss gradients of the
# two images. How far does it reach? The third version of the paper answers with one number, the *dynamical critical
# length* ξ: the distance at which a straight line through the stiffness of all pairs of one class falls to zero. It
# finds that ξ shrinks with the learning rate and with training; this is claim C9 of the
# [scorecard](../book/scorecard.md).

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters", "code_prompt_hide": "Parameters"}
beside: bool = True  # draw runs with the first version's settings too, beside those of the third
losses: dict = None  # data sets, and the training losses at which rates are compared; None: the version's
learning_rates: list = None  # each constant throughout training; None: the version's
network: str = None  # fully connected, widths of the hidden layers, fc-500-300-100; None: the version's
max_steps: int = None  # a run that has not reached its losses by then ends without them; None: the version's
learning_rate: float = 0.001  # of the runs that are followed through training
stages: list = None  # steps at which these are measured; None: those of Figures 3 and 5
seeds: int = 5  # runs of each kind, with seeds 0, 1, ...: initialisation, order of the data
photographs: dict = {
    "dataset": "cifar10", "losses": [1.5, 1.25, 1.0], "seeds": 5, "max_steps": 30000,
    "networks": {"fc-500-300-100": [3e-5, 1e-4, 3e-4, 1e-3], "cnn-16-32-32": [3e-4, 1e-3, 3e-3]},
    "long_network": None, "long_seeds": 5, "long_stages": None,  # of the runs of Figure 6; None: the version's
}
optimizer: str = "adam"  # adam or sgd
batch_size: int = 32  # examples in a step
train_size: int = None  # training examples, class-balanced; None is all of them
unit_length: bool = False  # scale each input to length 1, as v3 does; distances, which are angles, stay as they are
probe_size: int = 500  # validation examples whose pairs are measured

# %% tags=["hide-input"]
import pandas as pd

from stiffness_book import charts, claims, figures, lengths, page, texts

parameters = page.start()
parts = figures.critical_lengths(**parameters)
found = {name: page.runs(runs, "dataset", "network", "learning_rate") for name, runs in parts.items()}
rates, training = (pd.concat([found[f"{what}, v3"][0], found[f"{what}, photographs"][0]], ignore_index=True)
                   for what in ("rates", "training"))
rates, training = lengths.with_networks(rates[rates["target_loss"].notna()], training[training["target_loss"].isna()])
verdict = claims.critical_length_shrinks(rates, training)
page.answer(texts.does_the_length_shrink(rates, training), verdict)

# %% [markdown]
# ## Against the learning rate
#
# The same network is trained with several learning rates and measured at the same training losses: the third version's
# fully connected network, and a convolutional one, where a data set's name says so. Points are geometric means over the
# runs, bands are 95 % intervals. An open symbol means that in at least half of the runs the line falls to zero only
# beyond the pairs that were measured, so that ξ is extrapolated.

# %% tags=["hide-input"]
by_cosine = lengths.known(rates, "cosine")
page.show(charts.critical_lengths(by_cosine[by_cosine["space"] == "input"], "learning_rate", "target_loss",
                                  title="Critical length in input space", label="training loss"), "Chart 1",
          "The critical length by cosine in input space against the learning rate, at equal training loss.")

# %% tags=["hide-input"]
page.say(texts.smallest_at(rates))

# %% [markdown]
# ## What is measured
#
# Take all pairs of probe images of one class. The distance of a pair is 1 minus the cosine of the angle between the two
# images: 0 for the same direction, 1 for a right angle, 2 for opposite directions. Its stiffness is the cosine of the
# angle between the two loss gradients. A straight line is fitted to stiffness against distance by least squares; ξ is
# where it falls to zero ([equation](../book/theory.md)).

# %% tags=["hide-input"]
page.say(texts.measured_pairs())

# %% [markdown]
# The window of distances in which the paper fits is not known, nor are its rates and losses. This page fits to all
# pairs, and then varies the window. It uses the cosine first: by sign nearly all pairs of one class have +1 in a fully
# connected network ([why](../book/method.md#what-a-sign-within-a-class-can-be)), and a line through a constant falls to
# zero nowhere. It uses input space first, because there the distances are the same in all runs.
#
# ## The line on the data
#
# Each point is a bin of distance, the larger the more pairs it has; the means are over the runs. Choose the runs, and
# move the window in which the line is fitted. The circle is where the line falls to zero: filled within the measured
# pairs, open beyond them. Bins beyond the dashed line have too few pairs to count as measured.

# %% tags=["hide-input"]
page.show(charts.window_sliders(lengths.cases(rates), title=["Stiffness of pairs of one class", "against distance"]),
          "Chart 2", "Stiffness of pairs of one class against their distance, and the line from which ξ comes.")

# %% [markdown]
# ## How much it hangs on the window
#
# In this chart a window of distances begins at 0 or farther out and ends at the distance on the horizontal axis. It is
# drawn for one training loss and one learning rate of each data set, the middle ones (the lower of two). If stiffness
# fell along a straight line, all curves would be level and lie on each other.

# %% tags=["hide-input"]
windows = lengths.windows(rates)
page.show(charts.critical_lengths(windows, "end", "start", title="Critical length by the window of the fit",
                                  label="window begins at"), "Chart 3",
          "The critical length against the end of the window in which the line is fitted.")

# %% [markdown]
# The table has the changes of ξ by window, with 95 % intervals over the runs. The halves are halves of the pairs;
# *without the ends* leaves out the nearest tenth and the farthest. These lines are fitted to bins and not to single
# pairs, so that the last digit can differ from other tables.

# %% tags=["hide-input"]
page.say(texts.lengths_by_window(rates, training))

# %% [markdown]
# ## How certain a length is
#
# The table has three 95 % intervals of one mean: Student's t over the runs, a bootstrap over the runs, and a bootstrap
# over the bins of distance, which shows how far the points scatter about the line. Single pairs are not drawn again:
# they share images, and their interval would be too narrow. These means are arithmetic ones.

# %% tags=["hide-input"]
page.say(texts.intervals_of_lengths(rates))

# %% [markdown]
# ## Through training
#
# This chart is drawn from the runs of [Figure 3](fig03_class_stiffness_mnist.ipynb) and
# [Figure 5](fig05_class_stiffness_fashion.ipynb) with the third version's network, and from those of
# [Figure 6](fig06_class_stiffness_cifar10.ipynb), whose convolutional network is larger than the one above. There is a
# line for each space in which distances are measured: the input, and the representations in the layers.

# %% tags=["hide-input"]
through = lengths.known(training, "cosine")
page.show(charts.critical_lengths(through, "step", "space", title="Critical length through training",
                                  label="distances in"), "Chart 4",
          "The critical length by cosine through training, in input space and in the layers.")

# %% tags=["hide-input"]
page.say(texts.along_training(training))

# %% [markdown]
# ## In the layers
#
# The paper measures ξ in input space. In the representations of a layer, training brings images of one class closer
# together, so that the same number means something else in another layer or network. At the middle training loss of
# each data set:

# %% tags=["hide-input"]
page.show(charts.critical_lengths(lengths.at_middle_loss(by_cosine), "learning_rate", "space",
                                  title="Critical length in each space", label="distances in"), "Chart 5",
          "The critical length against the learning rate, in input space and in the layers.")

# %% tags=["hide-input"]
page.say(texts.length_changes_by_space(rates))

# %% [markdown]
# ## How often there is a critical length
#
# A line that does not fall has none, and one that falls slowly may reach zero at a distance that no two images can
# have.

# %% tags=["hide-input"]
page.say(texts.how_often_there_is_a_length(**{"at equal loss": rates, "through training": training}))

# %% [markdown]
# ## With the first version's settings

# %% tags=["hide-input"]
if beside:
    page.say(texts.lengths_with_other_settings(found["rates, v1"][0], found["training, v1"][0]))
    first = lengths.known(found["rates, v1"][0], "cosine")
    page.show(charts.critical_lengths(first[first["target_loss"].notna() & (first["space"] == "input")],
                                      "learning_rate", "target_loss", label="training loss",
                                      title="Critical length, the first version’s network"), "Chart 6",
              "The critical length in input space of the first version's network against the learning rate.")

# %% [markdown]
# ## What was found

# %% tags=["hide-input"]
page.say(texts.lengths_that_exist(rates, training))
page.found(verdict)

# %% [markdown]
# A critical length is a ratio: the height of the line at distance 0, divided by how steeply it falls. While even the
# farthest pairs are stiff, ξ grows when near and far pairs become more alike. A long ξ then means that stiffness hardly
# depends on distance, and not that learning reaches farther. Beyond the measured pairs ξ is extrapolated, and beyond 2
# no two images are so far apart, but the ratio can still be compared.
#
# ## The runs
#
# *Parameters*, near the top, contains this page's parameters. The runs are those of
# [Figures 8](fig08_learning_rate.ipynb), [3](fig03_class_stiffness_mnist.ipynb),
# [5](fig05_class_stiffness_fashion.ipynb) and [6](fig06_class_stiffness_cifar10.ipynb); those of CIFAR-10 at several
# rates are this page's own, but for some of [the page on architectures](architectures.ipynb).

# %% tags=["hide-input"]
for _, provenance in found.values():
    page.summary(provenance)
