"""Trains the members of an ensemble in one batched computation, and measures each of them."""

import itertools
import time

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from scipy.stats import rankdata
from tqdm import tqdm

from stiffness import measures
from stiffness.gram import gradient_gram
from stiffness.sensitivity import jacobian_norm, transitions
from stiffness_book import data, networks, orders
from stiffness_book.sensitivity.ensemble import ALIKE, COLUMNS, DECILES, DRAWN, PREDICTORS, SMALLER_IS_WRONG
from stiffness_book.training import EVALUATED_AT_ONCE, SAVE_EVERY, evaluation

STEPS_AT_ONCE = 20  # in one call of the compiled training; checks come after a whole number of calls
MOMENTUM = 0.9
ADAM = 0.9, 0.999, 1e-7  # decay of the mean and of the mean square, epsilon: Keras's


def train(ensemble, *, progress=True, saved=None):
    """Trains and measures; returns the table and what is told of the data beside it, as `training.train` does."""
    dataset = data.standardise(data.load(ensemble.dataset))
    train_split = data.training_examples(dataset, ensemble.train_size, 0)
    model = networks.build(ensemble, dataset.train.inputs.shape[1:], dataset.num_classes,
                           ensemble.activation)
    training = Training(ensemble, model, train_split, progress)
    if saved:
        training.resume(saved)
    found = training.run()
    measure = _Measurement(ensemble, model, dataset, train_split)
    rows = []
    for member in tqdm(range(len(ensemble.members)), desc="measuring", disable=not progress):
        try:
            rows += [{"member": member, "moment": moment, "step": step, **row}
                     for moment, (step, weights) in found[member].items()
                     for row in measure(weights, training.labels[member])]
        except FloatingPointError:
            rows = [row for row in rows if row["member"] != member]
            rows.append({"member": member, "moment": "end", "step": ensemble.steps, "quantity": "diverged",
                         "value": 1.0})
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
    return table, {"diverged": None, "unreached": [],
                   "split_sizes": {"train": len(train_split), "validation": len(dataset.validation)},
                   "class_names": list(dataset.class_names), "super_classes": None}


def source_pixels(shape, shift):
    """(moves, pixels): for each move of an image of this shape by at most `shift` pixels, down and to the right, from
    where each of its numbers comes. What leaves the image on one side comes back on the other."""
    numbers = np.arange(np.prod(shape)).reshape(shape)
    moves = itertools.product(range(-shift, shift + 1), repeat=2)
    return np.stack([np.roll(numbers, move, axis=(0, 1)).ravel() for move in moves])


class Training:
    """The weights of all members, stacked, and their training."""

    def __init__(self, ensemble, model, split, progress):
        self.ensemble, self.progress = ensemble, progress
        self.inputs = tf.constant(split.inputs.reshape(len(split), -1))
        permuted = data.permute_labels(split.labels, 1.0, ensemble.seed)
        self.labels = np.stack([permuted if condition == "random labels" else split.labels
                                for _, condition in ensemble.members])
        self.translated = np.array([condition == "translated" for _, condition in ensemble.members])
        self.rates = tf.constant([rate for rate, _ in ensemble.members], tf.float32)[:, None, None]
        members = len(ensemble.members)
        # kernels (members, inputs, outputs) and biases (members, 1, outputs)
        self.variables = [tf.Variable(np.repeat(value.reshape(1, -1, value.shape[-1]), members, axis=0))
                          for value in model.get_weights()]
        slots = {"adam": 2, "momentum": 1, "sgd": 0}[ensemble.optimizer]
        self.slots = [[tf.Variable(tf.zeros_like(variable)) for variable in self.variables] for _ in range(slots)]
        self.activation = keras.activations.get(ensemble.activation)
        self.sources = tf.constant(source_pixels(split.inputs.shape[1:], ensemble.shift))
        self.step = 0
        self.fitted = {}  # member: (step, weights)
        self.saved = None

    def run(self):
        """Trains to the end; {moment: (step, weights)} of each member."""
        ensemble = self.ensemble
        batches = itertools.chain.from_iterable(
            orders.passes(len(self.inputs), ensemble.size_of_batch, ensemble.seed, self.step))
        with tqdm(total=ensemble.steps, initial=self.step, desc=ensemble.address, unit="step",
                  disable=not self.progress) as bar:
            while self.step < ensemble.steps:
                next_check = min(ensemble.steps, self.step - self.step % ensemble.check_every + ensemble.check_every)
                number = min(STEPS_AT_ONCE, next_check - self.step)
                order = np.stack(list(itertools.islice(batches, number)))
                self.steps(tf.constant(order), tf.constant(self.step, tf.int64))
                self.step += number
                bar.update(number)
                if self.step == next_check:
                    self.check()
                if self.saved and time.monotonic() - self.saved_at > SAVE_EVERY:
                    self.save()
        ends = self.weights()
        return [({"fitted": self.fitted[member]} if member in self.fitted else {})
                | {"end": (ensemble.steps, ends[member])} for member in range(len(ends))]

    def weights(self):
        """For each member its weights, as a Keras model takes them."""
        together = [variable.numpy() for variable in self.variables]
        return [[value[member] if number % 2 == 0 else value[member, 0] for number, value in enumerate(together)]
                for member in range(len(self.labels))]

    def check(self):
        """Keeps the weights of members that have every training label right for the first time."""
        right = np.concatenate([self.hits(where).numpy() for where in range(0, len(self.inputs), EVALUATED_AT_ONCE)],
                               axis=1).all(axis=1)
        if new := [member for member in np.flatnonzero(right) if member not in self.fitted]:
            weights = self.weights()
            self.fitted |= {int(member): (self.step, weights[member]) for member in new}

    def resume(self, saved):
        self.saved, self.saved_at = saved, time.monotonic()
        if (found := saved.load()) is None:
            return
        arrays, facts = found
        arrays = iter(arrays)
        for variable in itertools.chain(self.variables, *self.slots):
            variable.assign(next(arrays))
        self.step = facts["step"]
        self.fitted = {member: (step, [next(arrays) for _ in self.variables]) for member, step in facts["fitted"]}

    def save(self):
        arrays = [variable.numpy() for variable in itertools.chain(self.variables, *self.slots)]
        for _, weights in self.fitted.values():
            arrays += weights
        self.saved.save(arrays, {"step": self.step,
                                 "fitted": [[member, step] for member, (step, _) in self.fitted.items()]})
        self.saved_at = time.monotonic()

    def logits(self, inputs):
        """(members, batch, classes) of inputs (members, batch, pixels)."""
        layers = list(zip(self.variables[::2], self.variables[1::2]))
        for kernel, bias in layers[:-1]:
            inputs = self.activation(tf.matmul(inputs, kernel) + bias)
        kernel, bias = layers[-1]
        return tf.matmul(inputs, kernel) + bias

    @tf.function
    def hits(self, start):
        inputs = self.inputs[start : start + EVALUATED_AT_ONCE]
        labels = tf.constant(self.labels)[:, start : start + EVALUATED_AT_ONCE]
        return tf.argmax(self.logits(self.for_all(inputs)), axis=2) == labels

    def for_all(self, inputs):
        return tf.tile(inputs[None], (len(self.labels), 1, 1))

    @tf.function(reduce_retracing=True)
    def steps(self, order, start):
        labels = tf.constant(self.labels)
        for number in tf.range(tf.shape(order, tf.int64)[0]):
            inputs = tf.gather(self.inputs, order[number])
            moved = self.moved(inputs, start + number) if self.translated.any() else inputs
            inputs = tf.stack([moved if translated else inputs for translated in self.translated])
            with tf.GradientTape() as tape:
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                    tf.gather(labels, order[number], axis=1), self.logits(inputs))
                loss = tf.reduce_sum(tf.reduce_mean(losses, axis=1))  # the members' weights have no loss in common
            self.apply(tape.gradient(loss, self.variables), tf.cast(start + number + 1, tf.float32))

    def moved(self, inputs, step):
        """Each image moved by its own random number of pixels; a function of seed and step alone."""
        moves = tf.random.stateless_uniform(tf.shape(inputs)[:1], [self.ensemble.seed, step], 0, len(self.sources),
                                            tf.int64)
        return tf.gather(inputs, tf.gather(self.sources, moves), batch_dims=1)

    def apply(self, gradients, step):
        """The updates of Keras's optimizers, with a learning rate for each member."""
        for variable, gradient, *slots in zip(self.variables, gradients, *self.slots):
            if self.ensemble.optimizer == "adam":
                mean, square = slots
                decay, square_decay, epsilon = ADAM
                mean.assign_add((gradient - mean) * (1 - decay))
                square.assign_add((gradient**2 - square) * (1 - square_decay))
                rate = self.rates * tf.sqrt(1 - square_decay**step) / (1 - decay**step)
                variable.assign_sub(rate * mean / (tf.sqrt(square) + epsilon))
            elif self.ensemble.optimizer == "momentum":
                slots[0].assign(MOMENTUM * slots[0] - self.rates * gradient)
                variable.assign_add(slots[0])
            else:
                variable.assign_sub(self.rates * gradient)


class _Measurement:
    """Measures one network after another, in one Keras model."""

    def __init__(self, ensemble, model, dataset, train_split):
        def chosen(split, size):
            return split.take(data.balanced_indices(split.labels, size, 0))

        self.model, self.num_classes = model, dataset.num_classes
        model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        self.evaluate = evaluation(model)
        self.softmax = keras.Sequential([keras.Input((dataset.num_classes,)), keras.layers.Softmax()])
        self.train, self.test = train_split, dataset.validation
        self.points = chosen(dataset.validation, ensemble.points)
        self.probe = chosen(dataset.validation, ensemble.probe_size)
        self.trained = data.balanced_indices(train_split.labels, ensemble.probe_size, 0)
        images = chosen(dataset.validation, ensemble.paths).inputs
        self.paths = np.stack([np.roll(images, move, axis=2) for move in range(images.shape[2])], axis=1)
        self.coded = ensemble.activation == "relu"

    def __call__(self, weights, labels):
        """The rows of a network with these weights that was trained on these labels."""
        if not all(np.isfinite(value).all() for value in weights):
            raise FloatingPointError("a weight is not finite")
        self.model.set_weights(weights)
        rows = [{"quantity": f"{name}_{measure}", "value": value}
                for name, split in (("train", data.Split(self.train.inputs, labels)), ("test", self.test))
                for measure, value in zip(("loss", "accuracy"), self.evaluate(split))]
        norms = jacobian_norm(self.model, self.points.inputs)
        rows += [{"quantity": "jacobian_norm", "value": norms.mean()},
                 {"quantity": "jacobian_norm_median", "value": np.median(norms)},
                 {"quantity": "transitions",
                  "value": transitions(self.model, self.paths).mean() if self.coded else np.nan}]
        own = gradient_gram(self.model, self.probe.inputs, self.probe.labels)
        trained = self.train.inputs[self.trained], labels[self.trained]
        rows += self.stiffness_rows(own, "", self.probe.labels)
        rows += self.stiffness_rows(gradient_gram(self.model, *trained, self.probe.inputs, self.probe.labels),
                                    "_train_validation", trained[1], self.probe.labels)
        rows += self.point_rows(norms, trained)
        if not all(np.isfinite(row["value"]) or row["quantity"].startswith(("auc", "transitions", "between", "within"))
                   for row in rows):
            raise FloatingPointError("something is not finite")
        return rows

    def stiffness_rows(self, gram, regime, *labels):
        rows = []
        for kind, s in (("sign", gram.sign()), ("cosine", gram.cosine())):
            C = measures.class_stiffness(s, *labels, num_classes=self.num_classes)
            rows += [{"quantity": f"within_class_{kind}{regime}", "value": measures.within_class(C)},
                     {"quantity": f"between_classes_{kind}{regime}", "value": measures.between_classes(C)}]
        return rows

    def point_rows(self, norms, trained):
        """What tells the points that the network has wrong."""
        logits = self.model(self.points.inputs, training=False).numpy()
        predicted = logits.argmax(axis=1)
        largest = np.sort(logits.astype(float), axis=1)[:, -2:]
        scores = {"norm": norms, "norm_per_softmax": norms / jacobian_norm(self.softmax, logits),
                  "margin": largest[:, 1] - largest[:, 0]}
        for suffix, labels in (("", predicted), ("_true", self.points.labels)):
            gram = gradient_gram(self.model, self.points.inputs, labels, *trained)
            for kind, s in (("sign", gram.sign()), ("cosine", np.nan_to_num(gram.cosine()))):
                same = labels[:, None] == trained[1]
                scores[f"stiffness_{kind}{suffix}"] = s.mean(axis=1)
                scores[f"stiffness_{kind}_class{suffix}"] = (s * same).sum(axis=1) / np.maximum(same.sum(axis=1), 1)
        wrong = predicted != self.points.labels
        tenths = {name: parts(scores[name], DECILES) for name in DRAWN}
        alike = parts(scores["margin"], len(wrong) // ALIKE)
        rows = []
        for name in PREDICTORS:
            score = -scores[name] if name in SMALLER_IS_WRONG else scores[name]
            rows += [{"quantity": f"auc_{name}", "value": area(score, wrong, np.zeros(len(wrong)))},
                     {"quantity": f"auc_at_equal_margin_{name}", "value": area(score, wrong, alike)}]
        return rows + [{"quantity": f"error_by_{name}", "decile": tenth, "value": wrong[tenths[name] == tenth].mean()}
                       for name in DRAWN for tenth in range(DECILES)]


def parts(scores, number):
    """(n,) in which of so many equal parts each score is, from 0, the smallest."""
    return np.argsort(np.argsort(scores, kind="stable")) * number // len(scores)


def area(scores, wrong, groups):
    """The probability that of a wrong and a right point of the same group the wrong one has the higher score, ties
    being worth half; NaN where no group has both."""
    pairs = ordered = 0.0
    for group in np.unique(groups):
        own, ranks = wrong[groups == group], rankdata(scores[groups == group])
        pairs += own.sum() * (~own).sum()
        ordered += ranks[own].sum() - own.sum() * (own.sum() + 1) / 2  # Mann and Whitney's U
    return ordered / pairs if pairs else np.nan
