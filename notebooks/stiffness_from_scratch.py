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
# # Stiffness from scratch
#
# **What this page shows.** A network learns from one example at a time, yet we want it to get better at all of them.
# Does it? This page trains a small network on handwritten digits, in a few seconds, and finds out: for every pair of
# images, does learning the first one help with the second? No special library is used until the last section, where
# `stiffness` gives the same numbers in one line.
#
# ## Data and network
#
# scikit-learn brings 1,797 images of handwritten digits, 8 by 8 pixels each. 100 of them, ten of each digit, are held
# back: the network never trains on these *probe images*, and all measurements are made on them. Double precision keeps
# rounding out of the picture.

# %% tags=["hide-cell"]
try:  # the book's fonts and colours; the page works without them
    from stiffness_book.charts import look

    look.enable()
except ImportError:
    pass

# %%
import altair as alt
import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from sklearn.datasets import load_digits

keras.utils.set_random_seed(0)
keras.config.set_floatx("float64")
images, labels = load_digits(return_X_y=True)
images = images / 16
held_out = np.concatenate([np.flatnonzero(labels == digit)[-10:] for digit in range(10)])
x, y = images[held_out], labels[held_out]
x_train, y_train = np.delete(images, held_out, axis=0), np.delete(labels, held_out)

model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(32, "tanh"), keras.layers.Dense(10)])
model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))

# %% [markdown]
# ## One step, two losses
#
# The *loss* says how wrong the network is about an image. Its *gradient* with respect to all of the network's weights
# is an arrow that points where the loss grows fastest, so training on image 1 moves the weights a small step $\epsilon$
# the other way: $W \to W - \epsilon\, g_1$. To first order, the loss on image 2 then changes by
# $-\epsilon\, g_1 \cdot g_2$. If the inner product $g_1 \cdot g_2$ is positive, the step helps image 2 too; if it is
# negative, it does harm.
#
# `tf.GradientTape` records a computation and differentiates it. Here is one such step, with the change it should make
# to another image's loss and the change it does make. Both images show a 0.

# %%
def losses_of(images, labels):
    return keras.losses.sparse_categorical_crossentropy(labels, model(images), from_logits=True)


def loss_and_gradient(i):
    with tf.GradientTape() as tape:
        loss = losses_of(x[i : i + 1], y[i : i + 1])
    return float(loss[0]), tape.gradient(loss, model.trainable_variables)


(_, g1), (before, g2) = loss_and_gradient(0), loss_and_gradient(1)
product = sum(np.sum(a * b) for a, b in zip(g1, g2))
weights, epsilon = model.get_weights(), 0.001
model.set_weights([w - epsilon * g for w, g in zip(weights, g1)])
after, _ = loss_and_gradient(1)
model.set_weights(weights)
print(f"expected change of loss 2: {-epsilon * product:.5f}, measured: {after - before:.5f}")

# %% [markdown]
# ## Every pair of images
#
# `tape.jacobian` takes the gradients of all 100 losses at once. Laid out as the rows of a matrix $g$, they give all
# inner products in one multiplication, $g\, g^T$. The sign of each is the *stiffness* of that pair: +1 if the two
# images help each other, −1 if they get in each other's way.
#
# The *class matrix* averages the signs over all pairs of different images that show digit $a$ and digit $b$. Two
# numbers sum it up: the mean of its diagonal, stiffness *within* classes, and the mean of everything else, stiffness
# *between* classes.

# %%
@tf.function  # compiled once, then used at every stage
def gradient_products():
    with tf.GradientTape() as tape:
        losses = losses_of(x, y)
    parts = tape.jacobian(losses, [v.value for v in model.trainable_variables])
    g = tf.concat([tf.reshape(part, (len(x), -1)) for part in parts], axis=1)
    return g @ tf.transpose(g)


def class_matrix(sign):
    shows = np.eye(10)[y]  # shows[i, a] is 1 if image i shows digit a
    others = 1 - np.eye(len(y))  # an image is not paired with itself
    return shows.T @ (sign * others) @ shows / (shows.T @ others @ shows)


def summaries(matrix):
    diagonal = np.eye(10, dtype=bool)
    return matrix[diagonal].mean(), matrix[~diagonal].mean()


# %% [markdown]
# ## Measure while training
#
# Now train, and measure before training and after 1, 3, 10 and 30 passes through the training images (*epochs*).

# %%
stages, matrices, rows = (0, 1, 3, 10, 30), {}, []
for epoch in range(max(stages) + 1):
    if epoch in stages:
        matrices[epoch] = class_matrix(np.sign(gradient_products()))
        within, between = summaries(matrices[epoch])
        accuracy = np.mean(np.argmax(model(x), axis=1) == y)
        rows += [(epoch, "within classes", within), (epoch, "between classes", between)]
        print(f"epoch {epoch:2}: accuracy {accuracy:.0%}, within {within:+.2f}, between {between:+.2f}")
    if epoch < max(stages):
        model.fit(x_train, y_train, batch_size=32, verbose=0)

# %%
curves = pd.DataFrame(rows, columns=["epoch", "pairs", "stiffness"]).round(2)
alt.Chart(curves).mark_line(point=True).encode(
    x=alt.X("epoch:O", axis=alt.Axis(labelAngle=0)),
    y=alt.Y("stiffness:Q", scale=alt.Scale(domain=[-0.5, 1])),
    color=alt.Color("pairs:N", legend=alt.Legend(orient="bottom", title=None)),
).properties(width=260, height=220, title="Stiffness through training",
             description="Line chart of mean stiffness within and between classes at each measured epoch.")

# %%
cells = pd.DataFrame([(*ab, value) for ab, value in np.ndenumerate(matrices[30])], columns=["a", "b", "stiffness"])
alt.Chart(cells.round(2)).mark_rect().encode(
    x=alt.X("b:O", title="digit of the second image", axis=alt.Axis(labelAngle=0)),
    y=alt.Y("a:O", title="digit of the first image"),
    color=alt.Color("stiffness:Q", scale=alt.Scale(scheme="redblue", domain=[-1, 1]),
                    legend=alt.Legend(orient="bottom")),
    tooltip=["a", "b", "stiffness"],
).properties(width=260, height=260, title="Class matrix after 30 epochs",
             description="Heat map of the class matrix of signs after 30 epochs, ten digits by ten digits.")

# %% [markdown]
# Within a class almost every pair helps, even before training: two images with the same label both want that label's
# output to grow. Between classes the answers are mixed, and stay so on average. The matrix shows which digits help each
# other and which get in each other's way. The [theory page](../book/theory.md) gives the definitions; the figures of
# this book ask the same of larger networks and other images.
#
# ## The same with the library
#
# `gradient_gram` returns the same inner products for any Keras model. It does not form the gradients, so it is much
# faster and needs far less memory; [the benchmarks](benchmarks.ipynb) say how much. It also tells how the squared norms
# of the gradients are shared among the layers, of which the last one matters most for pairs within a class
# ([why](../book/method.md#what-a-sign-within-a-class-can-be)).

# %%
from stiffness import between_classes, class_stiffness, gradient_gram, within_class

gram, products = gradient_gram(model, x, y), gradient_products().numpy()
C = class_stiffness(gram.sign(), y)
print(f"largest difference of a product: {np.abs(gram.products - products).max():.6f}")
print(f"largest difference in the class matrix: {np.abs(C - matrices[30]).max():.6f}")
print("all signs equal:", np.array_equal(gram.sign(), np.sign(products)))
print(f"within {within_class(C):+.2f}, between {between_classes(C):+.2f}")
print("shares of the squared norm:", {layer: round(share, 2) for layer, share in gram.shares.items()})
