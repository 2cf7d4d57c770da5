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
# # Measure your own model
#
# **What this page shows.** `stiffness` takes a Keras model, examples and labels, and says which examples help each
# other: would a gradient step on the first lower the loss of the second? This page installs it, measures a small
# classifier before, during and after training, finds wrong labels with it, and says what a measurement costs.
#
# ```sh
# pip install '.[plot]'  # in a clone of the repository
# ```
#
# It needs Python 3.11 to 3.13, Keras 3 and TensorFlow; the extra `plot` brings Altair for the charts. With
# `KERAS_BACKEND=jax` or `KERAS_BACKEND=torch` it works with JAX or PyTorch, which are then needed as well.

# %% tags=["hide-cell"]
try:  # the book's fonts and colours; the page works without them
    from stiffness_book.charts import look

    look.enable()
except ImportError:
    pass

# %% [markdown]
# ## A model and a probe set
#
# Any Keras model will do: sequential, functional or subclassed, with convolutions, attention or recurrent layers. The
# *probe set* is the set of examples whose pairs are measured. A few hundred validation examples, about as many of each
# class, are enough for most questions. Here the examples are scikit-learn's handwritten digits, 8 by 8 pixels.

# %%
import keras
import numpy as np
from sklearn.datasets import load_digits

keras.utils.set_random_seed(0)
images, labels = load_digits(return_X_y=True)
images = (images / 16).astype("float32")
x, y = images[:300], labels[:300]  # the probe set, on which the model does not train

model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(50, "relu"), keras.layers.Dense(10)])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

# %% [markdown]
# ## Measure it
#
# `gradient_gram` gives the inner products of the loss gradients of all pairs of examples, with respect to all trainable
# weights. `loss` is as in `compile`, and may be left out for a compiled model. The model is not changed.

# %%
from stiffness import between_classes, class_stiffness, gradient_gram, within_class

gram = gradient_gram(model, x, y, loss=loss)
C = class_stiffness(gram.sign(), y)
print(f"{gram}: {within_class(C):+.2f} within classes, {between_classes(C):+.2f} between classes")

# %% [markdown]
# `gram.sign()` is the stiffness of each pair: +1 if a step on one example lowers the loss of the other, −1 if it raises
# it. `gram.cosine()` also says how strongly. `class_stiffness` averages either over the pairs of every two classes:

# %%
from stiffness import plots

plots.class_matrix(C, title="Before training (sign)")

# %% [markdown]
# How to read it: row 3 says what a gradient step on a 3 does to the other digits. Blue classes get better with it, red
# ones worse. The diagonal is what the images of one class do for each other. It is near +1 from the start, because a
# step for either of two images with the same label makes that label's output grow. So what a network has learnt shows
# off the diagonal. A sign does not depend on which of the two images the step is taken for, so the matrix is symmetric.
#
# ## Measure it while it trains
#
# `StiffnessCallback` measures before training and after every epoch, or after the training steps that you name.

# %%
from stiffness import StiffnessCallback

callback = StiffnessCallback(x, y)
model.compile("adam", loss, metrics=["accuracy"])
history = model.fit(images[300:], labels[300:], validation_data=(x, y), epochs=10, verbose=0, callbacks=[callback])
print(f"accuracy on the probe set: {history.history['val_accuracy'][-1]:.0%}")
plots.evolution(callback)

# %% [markdown]
# Its numbers also go into the logs of each epoch, where every other callback finds them. With
# `callbacks=[callback, keras.callbacks.TensorBoard("logs")]` they are scalars in TensorBoard, beside the losses:

# %%
print(*[name for name in history.history if "class" in name], sep="\n")

# %% [markdown]
# `callback.table` has all numbers as a data frame, the class matrices of every stage too.

# %%
callback.table.tail(3)

# %% [markdown]
# ## Which labels are wrong?
#
# An example with a wrong label pulls against the others of its supposed class. To see it, give some of the probe images
# a wrong label, and look for the images whose mean cosine with the rest of their class is lowest.

# %%
rng = np.random.default_rng(0)
wrong = rng.choice(len(y), 10, replace=False)
given = y.copy()
given[wrong] = (y[wrong] + rng.integers(1, 10, len(wrong))) % 10

cosine = gradient_gram(model, x, given).cosine()
np.fill_diagonal(cosine, np.nan)
with_own_class = np.array([np.nanmean(cosine[i, given == given[i]]) for i in range(len(given))])
suspects = np.argsort(with_own_class)[: len(wrong)]
print(f"{len(set(suspects) & set(wrong))} of the {len(wrong)} most suspicious images have a wrong label")

# %% [markdown]
# `nearest_gradients` finds the training examples that pull the same way as a given one, or against it, without holding
# all pairs. Here it finds the three training images whose gradient steps would help the first probe image most.

# %%
from stiffness import nearest_gradients

cosines, indices = nearest_gradients(model, x[:1], y[:1], images[300:], labels[300:], k=3)
for i, c in zip(indices[0], cosines[0]):
    print(f"a step on training image {i}, which shows a {labels[300 + i]}, helps the {y[0]}: cosine {c:.2f}")

# %% [markdown]
# ## What it costs
#
# The first measurement of a model takes seconds, because it compares every layer with the definition and compiles.
# Later ones take, on two cores:

# %% tags=["hide-input"]
import json
from pathlib import Path

from IPython.display import Markdown

NAMES = {"mlp": "fully connected, 784-500-300-100-10", "cnn-v3": "small CNN, 32×32×3",
         "cnn-v1": "CNN, 32×32×3, 100 classes", "resnet20": "ResNet20, 32×32×3",
         "transformer": "transformer, 2 layers, 64 tokens"}
stored = json.loads(Path("../benchmarks/results.json").read_text(encoding="utf-8"))
rows = [f"| {NAMES[record['case']]} | {record['parameters']:,} | {record['n']:,} | {record['median']:.3g} | "
        f"{record['peak_bytes'] / 1e9:.1f} |"
        for record in stored["records"] if record["way"] == "closed-form" and record["case"] in NAMES]
Markdown("\n".join(["| model | weights | examples | seconds | peak memory, GB |", "|---|---:|---:|---:|---:|", *rows]))

# %% [markdown]
# The time of all pairs grows with the square of the number of examples, and so does the result: 10,000 examples make a
# matrix of 0.4 GB. `memory_budget` limits all other memory. `cosine_class_stiffness` needs no pairs and takes linear
# time, `gradient_norms` gives the norms alone. [The benchmarks](benchmarks.ipynb) compare with other libraries.
#
# ## Limits
#
# - The model runs in inference mode: dropout is off, and batch normalisation uses its moving averages. A batch
#   normalisation in training mode mixes the examples of a batch, so there is no gradient of one example, and the call
#   says so.
# - The same holds for losses that compare examples with each other, such as triplet losses.
# - A layer without a closed form is measured by repeating its call one example at a time, which is slower. `gram.ways`
#   says which layers these are.
# - A network that is very sure of its answers has gradients near the limits of single precision. For Keras's own
#   cross-entropies the library avoids the rounding; for other losses [the method page](../book/method.md) tells what it
#   does to signs.
# - A model that was built under a distribution strategy is measured on one device, and outside the strategy's scope.
