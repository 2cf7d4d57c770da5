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
# # Does over-fitting lose stiffness, or does float32?
#
# **What this page shows.** The first version of the paper trains a network for almost a hundred passes over MNIST and
# sees stiffness fall towards zero. Its Figure 2 reads that as a mark of over-fitting. Here the same network is trained
# for as long, and its stiffness is computed from the same weights in several arithmetics, beside the paper's curve.

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters", "code_prompt_hide": "Parameters"}
compared: list = ["all images", "few images", "images of unit length", "a convolutional network"]  # as in `versions`
dataset: str = "mnist"  # mnist, fashion_mnist, or digits, which needs no download; the last way has CIFAR-10
network: str = None  # fully connected, widths of the hidden layers, fc-500-300-100; None: the first version's
optimizer: str = "adam"  # adam or sgd
learning_rate: float = 0.001  # constant throughout training
batch_size: int = 32  # examples in a step
seeds: int = 5  # runs, with seeds 0, 1, ...: initialisation, order of the data
few_images: int = 2000  # training examples of the runs with few images, class-balanced
probe_size: int = 500  # validation examples whose pairs are measured
nested_probes: list = None  # smaller probe sets, each within the one before; None: of 150 and 30
probe_images: int = 30  # the one of them that is drawn: the paper's Figure 2 has three images per class
stages: list = None  # steps at which to measure; None: the first version's, for its 94 passes over the images
stage_losses: list = None  # and training losses, where they are reached; None: 0.1 to 1e-6 if stages is None
check_every: int = None  # steps between two checks of the training loss
max_steps: int = None  # where a loss that is not reached is given up

# %% tags=["hide-input"]
from stiffness_book import charts, figures, page, rounding, texts
from stiffness_book.words import name_of

parameters = page.start()
trainings = figures.rounding(**parameters)
found = {name: page.runs(experiments) for name, experiments in trainings.items()}
tables = {name: table for name, (table, _) in found.items()}
first, table = next(iter(tables.items()))
curves, papers = {}, {}
for name, (run, *_) in trainings.items():  # the paper's curves are of all images
    papers[name] = rounding.published_curves(name_of(run.dataset) if run.train_size is None else "")
    images = probe_images if run.dataset == dataset else rounding.most_images(tables[name])
    curves[name] = rounding.curves(tables[name], images)
page.answer(texts.over_fitting_or_rounding(curves[first], name_of(dataset)))

# %% [markdown]
# ## Four ways to compute one sign
#
# - *Exact*: the sign of the inner product of the two loss gradients, computed so that no rounding can change it, as
#   [the method page](../book/method.md) explains.
# - *Float32, from logits*: the same product of gradients in single precision, from the numerically stable form of the
#   loss. Where a probability is closer to 1 than seven digits can tell, the gradient is a rounding error, or zero.
# - *Float32, probabilities clipped*: the loss is given probabilities, which are clipped at $10^{-7}$ as some frameworks
#   do. Where a probability is clipped, the gradient is zero.
# - *Float32 change of the loss*: a step of finite size along the first gradient, and the sign of the change of the
#   second loss, computed in single precision, for two sizes of step. The paper's equations 2 to 4 define stiffness so,
#   before they let the step become small. Only this way can give a matrix that is not symmetric.

# %% tags=["hide-input"]
chart = (f"Chart {number}" for number in range(1, 9))
page.show(charts.arithmetic_evolution(curves[first], papers[first], rounding.WORDS,
                                      title=["Sign stiffness through training", name_of(dataset)]), next(chart),
          "Sign stiffness by four ways from the same weights, and the paper's Figure 2.")

# %% [markdown]
# These curves are measured on a part of the probe set as small as the paper's: three images per class. Each image is
# also paired with itself, as in the paper ([its own numbers say both](how_made.ipynb)). The lower axis is stretched in
# the beginning, where much happens.
#
# ## Which comes nearest to the paper?
#
# The paper's section 3.1 says that its inputs have unit variance, its section 2.3 that they have unit length, which
# makes a network less sure of its answers. Both were trained; the convolutional network is that of its Figure 6.

# %% tags=["hide-input"]
page.say(texts.distances_from_the_paper({name: rounding.distances(found, papers[name])
                                         for name, found in curves.items()}))

# %% tags=["hide-input"]
for name in list(curves)[1:]:
    data = name_of(trainings[name][0].dataset)
    page.show(charts.arithmetic_evolution(curves[name], papers[name], rounding.WORDS,
                                          title=["Sign stiffness through training", f"{data}, {name}"]), next(chart),
              f"Sign stiffness through training by the same ways: {data}, {name}.")

# %% [markdown]
# ## The losses

# %% tags=["hide-input"]
page.show(charts.loss_evolution(table[table["target_loss"].isna()], title=["Losses", name_of(dataset)],
                                paper=rounding.published_losses(name_of(dataset))), next(chart),
          "Training and validation loss of the same runs, beside the paper's.")

# %% [markdown]
# ## Long training, or over-fitting?
#
# The last stage is a moment of chance: Adam's loss has spikes late in training. So the same networks are also compared
# wherever their training loss first comes down to given values. A second set of networks has only a few of the training
# images. They over-fit early, so that at the same training loss they have been trained for much less time. The numbers
# are measured on the whole probe set, without pairs of an image with itself.

# %% tags=["hide-input"]
page.say(texts.at_equal_training_loss(tables))

# %% [markdown]
# ## White rows and matrices that are not symmetric
#
# The last matrix of the paper's Figure 3 has a row and a column of zeros, and is not symmetric. In which arithmetic can
# that happen? First comes the share of images, by class, whose pair with itself has the sign 0 at the last stage,
# because the gradient is zero or because the change of the loss rounds to zero. Then comes how far the matrices are
# from symmetric there.

# %% tags=["hide-input"]
images = rounding.most_images(table)
page.say(texts.zero_gradients_by_class(rounding.zero_gradients(table, images), images),
         texts.symmetric_or_not(rounding.matrices(table, images)))

# %% [markdown]
# ## What this does not show
#
# It does not show what the authors ran. Their code is not known, and another cause could give the same curve. What it
# shows is how much of a fall of sign stiffness single precision alone can make, and how much of that depends on the
# form in which the loss is computed.
#
# ## The runs

# %% tags=["hide-input"]
page.say(texts.protocol(2, found[first][1]))

# %% tags=["hide-input"]
for _, provenance in found.values():
    page.summary(provenance)
