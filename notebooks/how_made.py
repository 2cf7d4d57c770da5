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
# # What the pictures say about how they were made
#
# **What this page shows.** The first version of the paper prints no table, and does not give every setting. Its
# pictures are exact enough to say more: a mean of a few signs can take only certain values, and a value that lies on
# such a grid tells how many signs there were. Everything here is inferred from numbers that were read off Figures 2
# to 7, with the arithmetic beside it. None of it is a reproach: it says which settings to use for a fair comparison.

# %% tags=["hide-input"]
from stiffness_book import page, pictures, texts

page.start()
page.say(texts.inferred())

# %% [markdown]
# ## How many images per class?
#
# With $n$ images per class there are $N = 45\, n^2$ pairs of images of different classes. If each pair has a sign of
# $+1$ or $-1$, their mean is $k / N$, where $k$ is odd if $N$ is odd and even if $N$ is even: a grid of values that are
# $2 / N$ apart. The table says how far the first values between classes in the paper's Figure 2 are from each such
# grid, on average, in units of half the grid's spacing: 0 is on the grid, and 0.5 is expected by chance. $p$ says how
# often equally many random values, rounded in the same way, come as close.

# %% tags=["hide-input"]
images = pictures.images_a_class()
page.say(texts.grids(images))

# %% [markdown]
# *What it does not show:* how many images the other figures used. The text speaks of about 150 images; Figures 3 to 6
# are read off colours, of which there are too few to tell.
#
# ## Are images paired with themselves?
#
# An image's gradient has the sign $+1$ with itself. If these pairs count, three images of a class have six pairs, of
# which three are $+1$ from the start; if they do not, there are three pairs. The two cases have different grids.

# %% tags=["hide-input"]
page.say(texts.with_or_without_self_pairs(pictures.self_pairs()))

# %% [markdown]
# So a value within classes that the paper prints contains these pairs. With three images a class, a printed value $s$
# would be $2s - 1$ without them, if no gradient is zero. (The latest values were rounded to multiples of 1/60 when they
# were read; they are not used here.)
#
# ## How long is a pass over the data?

# %% tags=["hide-input"]
page.say(texts.passes(pictures.lengths_of_a_pass()))

# %% [markdown]
# The stages are printed over the matrices, so they are exact. MNIST has 60,000 images to train on: a pass of 1,813
# batches fits 58,000 of them, the last batch counted as full, with 2,000 left for validation. CIFAR-10 has 50,000, and
# 48,000 are 1,500 batches. *What it does not show:* which images were left out.
#
# ## Are the matrices symmetric?
#
# The inner product of two gradients does not depend on their order. A class stiffness matrix made of such products is
# symmetric. The change of the second loss by a finite step along the first gradient, computed and rounded, need not be:
# it may round to 0 in one direction and not in the other.

# %% tags=["hide-input"]
matrices = pictures.asymmetry()
page.say(texts.mirrored(matrices))

# %% [markdown]
# *What it does not show:* that steps were taken. Another reason could be that rows and columns came from different
# images. But then the early matrices would not be symmetric either, and they are, in every cell.
#
# ## Are there gradients of exactly zero?
#
# A mean that lies halfway between two values of its grid needs a sign of 0, and so does a cell that is exactly 0 in
# a row of zeros.

# %% tags=["hide-input"]
page.say(texts.zeros(matrices, pictures.first_half_step()))

# %% [markdown]
# A gradient that is zero to the last digit is what single precision gives when a network is very sure of its classes:
# see [this book's Figure 2](fig02_overfitting.ipynb). *What it does not show:* in which arithmetic the authors worked.
#
# ## Do Figures 2 and 3 show the same runs?

# %% tags=["hide-input"]
page.say(texts.two_figures(pictures.equal_images()))

# %% [markdown]
# They would be equal for the same network, measured on the same images. Another set of probe images, another seed, or
# both would explain the difference.
