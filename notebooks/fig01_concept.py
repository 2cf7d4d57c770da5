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
# # Figure 1: when does learning one example help another?
#
# **What this page shows.** A network learns by taking small steps, each of which lowers its loss on some example. The
# same step also changes the loss on every other example. Whether that second loss goes down, stays or goes up depends
# only on the angle between two arrows. Here you can turn one of them.
#
# **The two arrows.** Write $L_1$ and $L_2$ for the network's losses on two examples, and $W$ for all its parameters.
# The gradient $g_1 = \partial L_1 / \partial W$ points in the direction in which $L_1$ grows fastest, and $g_2$ in that
# in which $L_2$ does. Training on example 1 takes a small step $-\varepsilon\, g_1$, exactly opposite to the first
# arrow. To first order, this changes the other loss by
#
# $$\Delta L_2 = -\varepsilon\, (g_1 \cdot g_2).$$
#
# The gradient of a real network has many thousands of entries. Any two gradients span a plane, which is drawn here.
#
# Move the sliders, or drag the orange arrow: the angle between the two gradients, and the length of the second.

# %% tags=["hide-input"]
from stiffness_book import charts, page

page.start()
chart = charts.two_gradients()
page.show(chart, "Figure 1", "The gradients of two examples, and what a step along the first one does to the second.")

# %% [markdown]
# The shaded half-space holds every $g$ with $g_1 \cdot g > 0$. Lengths are in units of $|g_1|$.

# %% tags=["remove-cell"]
page.glue("fig01", chart)

# %% [markdown]
# **What was found.**
#
# - Within 90 degrees of $g_1$ the product is positive: the step for example 1 *lowers* the loss on example 2, too.
#   The pair is *stiff*: the function that the network computes moves at both places together.
# - Beyond 90 degrees the product is negative: the step for example 1 *raises* the loss on example 2.
# - At exactly 90 degrees the step does not change the loss on example 2.
# - The length of $g_2$ determines how *much* the second loss changes, never its direction. This is why the book uses
#   the sign and the cosine, and leaves the lengths out.
#
# Averaged over many pairs of examples, the sign and the cosine are the *stiffness* of the network, which the next
# pages measure.

# %% [markdown]
# ## The same in numbers
#
# These are the two arrows as the picture first shows them: 50 degrees apart, the second one and a half times as long.

# %%
import numpy as np

angle = np.radians(50)
g1, g2 = np.array([1.0, 0.0]), 1.5 * np.array([np.cos(angle), np.sin(angle)])
product = g1 @ g2
cosine = product / np.linalg.norm(g1) / np.linalg.norm(g2)
print(f"product {product:.2f}, sign {np.sign(product):+.0f}, cosine {cosine:.2f}")
