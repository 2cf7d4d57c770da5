"""Trains one experiment and measures it at its stages."""

import time
from math import gcd

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import pairwise_distances
from sklearn.metrics.pairwise import cosine_distances
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from stiffness import measures
from stiffness.callback import StiffnessCallback
from stiffness.gram import gradient_gram
from stiffness_book import data, harmonics, networks, orders, text
from stiffness_book.arithmetic import from_logits, signs
from stiffness_book.experiment import ORDERS, TEXT, degrees_and_draw
from stiffness_book.table import (
    BIN,
    COLUMNS,
    FARTHEST,
    FEWEST_PAIRS,
    OTHER_DISTANCES,
    QUANTITIES,
    error_sizes,
    in_single_precision,
    neighbours_in,
)

FIXED_SET = 5000  # training examples on which the training loss of a stage is measured, in inference mode
STEPS_PER_EXECUTION = 50  # beyond this, longer executions are no faster
FIXED_SET_OF_TEXT = 500  # the same of pairs of sentences, which take longer
SAVE_EVERY = 60  # seconds between two moments at which a long run saves what it needs to go on
SAVING = 0.05  # the largest share of a run's time that saving takes
EVALUATED_AT_ONCE = 1000  # examples; more are no faster
TEXT_AT_ONCE = 100
DISTANCE_BINS = np.linspace(0, FARTHEST, round(FARTHEST / BIN) + 1)


def train(experiment, *, progress=True, saved=None):
    """Runs the experiment; returns its tidy table, and what is told of its data and of its end beside it.

    saved: a `store.Saved`, where the run keeps what it needs to go on if it is stopped, and from which it goes on; its
    numbers are the same in both cases.

    The table is described in `stiffness_book.table`. The second value is a dictionary: `split_sizes` (the numbers of
    examples used), `class_names`, `super_classes` (of each class, or None), `diverged` and `unreached`.

    A run diverges if its loss, or something that is measured, is not finite. It ends there: `diverged` is the step at
    which that was found, the table has a row for it, and the stages before it are kept. Otherwise `diverged` is None.
    `unreached` lists the stage losses without a measurement. Raises ValueError for sizes that the data does not have.

    The same seed gives the same numbers on one machine with the same number of threads.
    """
    dataset = data.load(experiment.dataset)
    if experiment.probe_size < 2 * dataset.num_classes:
        raise ValueError(f"probe_size is {experiment.probe_size}; {experiment.dataset} has {dataset.num_classes} "
                         "classes, and a pair needs two images of a class: expected at least "
                         f"{2 * dataset.num_classes}")
    dataset = (text.encoded(dataset, experiment) if experiment.dataset in TEXT else
               data.standardise(dataset, unit_length=experiment.unit_length))
    train_split = training_examples(dataset, experiment)
    model = networks.build(experiment, dataset.train.inputs.shape[1:], dataset.num_classes)
    recorder = StageRecorder(experiment, dataset, train_split, progress)
    model.compile(
        optimizer=keras.optimizers.get({"class_name": experiment.optimizer, "config": {
            "learning_rate": experiment.learning_rate,
            "gradient_accumulation_steps": experiment.accumulate if experiment.accumulate > 1 else None}}),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        # what Keras calls a step is a batch: an execution ends with a step of the weights
        steps_per_execution=_steps_per_execution(experiment) * experiment.accumulate,
    )
    step = recorder.resume(model, saved) if saved else 0
    batches = shuffled_batches(train_split, experiment.batch_size, experiment.seed, step * experiment.accumulate,
                               recorder.groups[experiment.order])
    if left := (_last_step(experiment) - step) * experiment.accumulate:
        # one Keras epoch of all steps: the passes over the data are the pipeline's
        model.fit(batches, epochs=1, steps_per_epoch=left, callbacks=[recorder], shuffle=False, verbose=0)
    return recorder.table, {
        "diverged": recorder.diverged,
        "unreached": recorder.awaited,
        "split_sizes": {"train": len(train_split), "validation": len(dataset.validation)},
        "class_names": list(dataset.class_names),
        "super_classes": dataset.super_names and [dataset.super_names[index] for index in dataset.super_labels],
    }


def shuffled_batches(split, batch_size, seed, start=0, groups=None):
    """An endless pipeline of (inputs, labels) batches, in the order of `orders.passes`."""
    size = len(split)

    def passes():  # TensorFlow keeps it for good, so it must not hold the data
        return orders.passes(size, batch_size, seed, start, groups)

    next(passes())  # sizes that do not fit are told here
    inputs, labels = tf.constant(split.inputs), tf.constant(split.labels)
    options = tf.data.Options()
    options.autotune.enabled = False  # its thread sleeps twice as long each time, and the end of training waits for it
    return (tf.data.Dataset.from_generator(passes, output_signature=tf.TensorSpec((None, batch_size), tf.int64))
            .unbatch()
            .map(lambda chosen: (tf.gather(inputs, chosen), tf.gather(labels, chosen)))
            .prefetch(2)
            .with_options(options))


class StageRecorder(StiffnessCallback):
    """Measures the stages of an experiment: stiffness on the probe set by class and by distance, losses, accuracies."""

    def __init__(self, experiment, dataset, train_split, progress):
        probe = dataset.validation.take(
            data.balanced_indices(dataset.validation.labels, experiment.probe_size, experiment.probe_seed))
        super().__init__(probe.inputs, probe.labels, num_classes=dataset.num_classes, steps=experiment.stages)
        rng = np.random.default_rng(experiment.probe_seed)
        self.is_text = experiment.dataset in TEXT
        self.padding = text.tokenizer(experiment).token_to_id(text.PAD) if self.is_text else None
        size = min(FIXED_SET_OF_TEXT if self.is_text else FIXED_SET, len(train_split))
        self.splits = {"train": train_split.take(np.sort(rng.choice(len(train_split), size, replace=False))),
                       "validation": dataset.validation}
        self.nested = [np.arange(len(probe))]  # indices of the probe set, each within those before
        for size in experiment.nested_probes:
            last = self.nested[-1]
            self.nested.append(last[data.balanced_indices(probe.labels[last], size, experiment.probe_seed)])
        del self.nested[0]
        self.arithmetics, self.also = experiment.arithmetics, experiment.also
        degrees, draw = degrees_and_draw(experiment.dataset)
        self.parts = {}
        if degrees:
            points = data.load(experiment.dataset).validation.inputs  # on the sphere: not standardised
            self.parts = dict(zip(degrees, harmonics.components(points, degrees, draw)))
        self.trained = train_split.take(data.balanced_indices(train_split.labels, len(probe), experiment.probe_seed)
                                        ) if "regimes" in self.also else None
        self.groups = orders.groups(train_split, ORDERS if "neighbours" in self.also else [experiment.order])
        self.train_split, self.batches = train_split, (experiment.batch_size, experiment.seed)
        self.single_precision = in_single_precision(experiment)
        commonest = np.bincount(train_split.labels).argmax()
        self.majority = float((dataset.validation.labels == commonest).mean())
        known = {len(indices): indices for indices in (np.arange(len(probe)), *self.nested)}
        self.subsets = [known[n] if n in known else data.balanced_indices(probe.labels, n, experiment.probe_seed)
                        for n in error_sizes(experiment, dataset.num_classes)]
        once = np.triu(np.ones((len(probe), len(probe)), bool), 1)
        self.pairs = {"all": once, "within_class": once & (probe.labels[:, None] == probe.labels)}
        self.awaited = list(experiment.stage_losses)
        self.diverged = None
        self.saved = None
        self.check_every = experiment.check_every
        self.last_step = max(experiment.stages, default=0)
        self.bar = tqdm(total=_last_step(experiment), desc=experiment.address, unit="step", disable=not progress)

    @property
    def table(self):
        table = pd.DataFrame(self.rows, columns=[name for name in COLUMNS if name != "stage"])
        table.insert(0, "stage", table["step"].rank(method="dense") - 1)
        return table.astype(COLUMNS)

    def set_model(self, model):
        super().set_model(model)
        self.representations = networks.representations(model)
        self.at_once = TEXT_AT_ONCE if self.is_text else EVALUATED_AT_ONCE
        self.evaluate = evaluation(model, self.at_once)

    def resume(self, model, saved):
        """Goes on from what was saved, if anything was, and returns the step; saves from now on."""
        self.saved, self.saved_at, self.save_every = saved, time.monotonic(), SAVE_EVERY
        found = saved.load()
        if found is None:
            return 0
        arrays, facts = found
        model.optimizer.build(model.trainable_variables)
        for variable, value in zip(model.variables + model.optimizer.variables, arrays, strict=True):
            variable.assign(value)
        self.rows, self.awaited = facts["rows"], facts["awaited"]
        self.bar.update(facts["step"])
        return facts["step"]

    def save(self, step):
        arrays = [np.asarray(variable) for variable in self.model.variables + self.model.optimizer.variables]
        begun = time.monotonic()
        self.saved.save(arrays, {"step": step, "rows": self.rows, "awaited": self.awaited})
        self.saved_at = time.monotonic()
        self.save_every = max(SAVE_EVERY, (self.saved_at - begun) / SAVING)

    def measure(self):
        losses = self.loss_rows()
        _check_finite(losses)
        gram = gradient_gram(self.model, self.x, self.y, per_layer="body" in self.also)
        rows = self.rows_of({"sign": gram.sign(), "cosine": gram.cosine()}) + losses
        if "gram" in self.also:
            rows += self.gram_rows(gram.products)
        if "majority" in self.also:
            rows.append({"quantity": "majority_accuracy", "value": self.majority})
        if "body" in self.also:
            rows += self.body_rows(gram)
        if self.trained is not None:
            rows += self.regime_rows()
        if "intensity" in self.also:
            rows += self.intensity_rows()
        if "neighbours" in self.also:
            rows += self.neighbour_rows()
        if "class_accuracy" in self.also:
            rows += self.class_accuracy_rows()
        if self.parts:
            rows += self.degree_rows()
        if self.nested:
            x, y = self.x[self.nested[0]], self.y[self.nested[0]]
            for arithmetic in self.arithmetics:
                rows += self.nested_rows(f"sign_{arithmetic}", signs(self.model, x, y, arithmetic), with_self=True)
        if self.single_precision:
            sign = gradient_gram(self.model, self.x, self.y, loss=from_logits).sign()
            C = measures.class_stiffness(sign, self.labels, num_classes=self.num_classes)
            rows += [{"quantity": "within_class_sign_single", "value": measures.within_class(C)},
                     {"quantity": "between_classes_sign_single", "value": measures.between_classes(C)}]
        _check_finite(rows)
        return rows

    def rows_of(self, stiffness):
        rows = super().rows_of(stiffness) + self.error_rows(stiffness)
        inputs = text.counts(self.x, self.padding) if self.is_text else self.x
        spaces = {"input": inputs} | self.representations.predict(self.x, batch_size=self.at_once // 2, verbose=0)
        for space, vectors in spaces.items():
            vectors = vectors.reshape(len(vectors), -1)
            rows += [{"space": space, **row} for row in self.distance_rows(stiffness, _distances(vectors))]
            for name in OTHER_DISTANCES:
                if name in self.also:
                    distance = self.other_distance(vectors, name)
                    rows += [{"space": space, **row} for row in self.domain_rows(stiffness["sign"], distance, name)]
        if self.nested:
            for kind, s in stiffness.items():
                rows += self.nested_rows(kind, s[np.ix_(self.nested[0], self.nested[0])])
        return rows

    def other_distance(self, vectors, name):
        """One of OTHER_DISTANCES between all pairs of vectors."""
        if name == "angle":
            return np.arccos(np.clip(1 - _distances(vectors), -1, 1))
        distance = pairwise_distances(vectors, metric=name)
        return np.divide(distance, distance[self.pairs["all"]].mean(), where=distance > 0, out=distance)

    def gram_rows(self, products):
        own, different = self.pairs["all"], self.pairs["all"] & ~self.pairs["within_class"]
        square_norms = np.diagonal(products)
        values = {"mean_norm": np.sqrt(square_norms).mean(), "mean_square_norm": square_norms.mean(),
                  "mean_product": products[own].mean(),
                  "mean_product_within": products[self.pairs["within_class"]].mean(),
                  "mean_product_between": products[different].mean(), "lowest_product": products[own].min()}
        return [{"quantity": f"gram_{name}", "value": float(value)} for name, value in values.items()]

    def body_rows(self, gram):
        """Stiffness without the parameters of the head, and the parts of the Gram matrix's trace."""
        body = sum(matrix for layer, matrix in gram.scaled_layers.items() if layer not in networks.HEAD)
        norms = np.sqrt(np.diagonal(body))
        with np.errstate(invalid="ignore", divide="ignore"):  # a gradient of zero has no cosine
            cosine = np.clip(body / norms / norms[:, None], -1, 1)
        rows = []
        for kind, s in (("sign", np.sign(body)), ("cosine", cosine)):
            C = measures.class_stiffness(s, self.labels, num_classes=self.num_classes)
            rows += [{"quantity": f"within_class_{kind}_body", "value": measures.within_class(C)},
                     {"quantity": f"between_classes_{kind}_body", "value": measures.between_classes(C)}]
        return rows + [{"quantity": f"{name}_share", "value": sum(gram.shares.get(layer, 0) for layer in layers)}
                       for name, layers in (("head", networks.HEAD), ("embedding", networks.EMBEDDINGS))]

    def regime_rows(self):
        inputs, labels = self.trained.inputs, self.trained.labels
        rows = []
        for regime, others in (("train_train", ()), ("train_validation", (self.x, self.y))):
            gram = gradient_gram(self.model, inputs, labels, *others)
            for kind, s in (("sign", gram.sign()), ("cosine", gram.cosine())):
                C = measures.class_stiffness(s, labels, *others[1:], num_classes=self.num_classes)
                rows += [{"quantity": f"within_class_{kind}_{regime}", "value": measures.within_class(C)},
                         {"quantity": f"between_classes_{kind}_{regime}", "value": measures.between_classes(C)}]
        return rows

    def neighbour_rows(self):
        """Stiffness between batches that follow each other in each order, from the coming step on."""
        rows = []
        for order, groups in self.groups.items():
            batches = orders.coming(len(self.train_split), *self.batches, self._step(), groups)
            chosen = self.train_split.take(batches.reshape(-1))
            gram = gradient_gram(self.model, chosen.inputs, chosen.labels)
            pairs = orders.neighbours(batches)
            for kind, s in (("sign", gram.sign()), ("cosine", gram.cosine())):
                known = s[pairs][~np.isnan(s[pairs])]
                rows.append({"quantity": neighbours_in(order, kind),
                             "value": float(known.mean()) if len(known) else np.nan})
        return rows

    def class_accuracy_rows(self):
        validation = self.splits["validation"]
        predicted = self.model.predict(validation.inputs, batch_size=EVALUATED_AT_ONCE, verbose=0).argmax(1)
        return [{"quantity": "validation_accuracy_of_class", "class_a": c,
                 "value": float((predicted[validation.labels == c] == c).mean())} for c in range(self.num_classes)]

    def intensity_rows(self):
        """What the mean intensity of an image alone gives: stiffness, and the accuracy of a linear probe."""
        sign = gradient_gram(self.model, np.ones_like(self.x) * _intensity(self.x), self.y).sign()
        C = measures.class_stiffness(sign, self.labels, num_classes=self.num_classes)
        train, validation = self.splits["train"], self.splits["validation"]
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        probe.fit(_intensity(train.inputs).reshape(-1, 1), train.labels)
        accuracy = probe.score(_intensity(validation.inputs).reshape(-1, 1), validation.labels)
        return [{"quantity": "within_class_sign_intensity", "value": measures.within_class(C)},
                {"quantity": "between_classes_sign_intensity", "value": measures.between_classes(C)},
                {"quantity": "intensity_probe_accuracy", "value": accuracy}]

    def degree_rows(self):
        """How much of each degree of a sum of spherical harmonics the network has learnt.

        The labels t are -1 or 1; the outputs o, the probability of class 1 less that of class 0, are between them. With
        f_l the sum's part of degree l it is mean(o f_l) / mean(t f_l), over the validation split.
        """
        validation = self.splits["validation"]
        logits = self.model.predict(validation.inputs, batch_size=EVALUATED_AT_ONCE, verbose=0).astype(float)
        outputs, labels = np.tanh((logits[:, 1] - logits[:, 0]) / 2), 2 * validation.labels - 1
        return [{"quantity": f"learnt_of_degree_{degree}", "value": float(outputs @ part / (labels @ part))}
                for degree, part in self.parts.items()]

    def nested_rows(self, name, s, *, with_self=False):
        """Class stiffness on the nested probe sets from that of the largest of them."""
        rows, labels = [], self.labels[self.nested[0]]
        for indices in self.nested:
            chosen = np.searchsorted(self.nested[0], indices)
            C = measures.class_stiffness(s[np.ix_(chosen, chosen)], labels[chosen], num_classes=self.num_classes)
            rows += [{"quantity": f"nested_class_stiffness_{name}", "probe_images": len(chosen), "class_a": a,
                      "class_b": b, "value": C[a, b]} for a, b in np.ndindex(*C.shape)]
            if with_self:
                own = np.diagonal(s)[chosen]
                rows += [{"quantity": f"nested_self_stiffness_{name}", "probe_images": len(chosen), "class_a": c,
                          "value": own[labels[chosen] == c].mean()} for c in range(self.num_classes)]
        return rows

    def domain_rows(self, sign, distance, name):
        """The curve of all pairs by a distance without a fixed range."""
        bins = np.arange(0, np.nanmax(distance) + BIN, BIN)
        curve = measures.stiffness_vs_distance(sign, distance, bins=bins, pairs=self.pairs["all"])
        centres, filled = ((curve.left + curve.right) / 2).round(3), curve.pairs >= FEWEST_PAIRS
        size = measures.zero_crossing(centres[filled], curve.stiffness[filled])
        return [{"quantity": f"{name}_stiff_domain_size_sign", "value": size},
                *({"quantity": f"{name}_distance_{what}", "distance": centre, "value": value}
                  for what, values in (("curve_all_sign", curve.stiffness), ("pairs_all", curve.pairs))
                  for centre, value in zip(centres, values))]

    def loss_rows(self):
        rows = []
        for name, split in self.splits.items():
            loss, accuracy = self.evaluate(split)
            rows += [{"quantity": f"{name}_loss", "value": loss}, {"quantity": f"{name}_accuracy", "value": accuracy}]
        return rows

    def error_rows(self, stiffness):
        rows = []
        for kind, s in stiffness.items():
            for chosen in self.subsets:
                errors = measures.jackknife_errors(s[np.ix_(chosen, chosen)], self.labels[chosen],
                                                   num_classes=self.num_classes)
                rows += [{"quantity": f"{name}_{kind}_error", "probe_images": len(chosen), "value": error}
                         for name, error in zip(("within_class", "between_classes"), errors)]
        return rows

    def distance_rows(self, stiffness, distance):
        rows = []
        for pairs, chosen in self.pairs.items():
            for kind, s in stiffness.items():
                curve = measures.stiffness_vs_distance(s, distance, bins=DISTANCE_BINS, pairs=chosen)
                centres = ((curve.left + curve.right) / 2).round(3)
                rows += [{"quantity": f"distance_curve_{pairs}_{kind}", "distance": centre, "value": value}
                         for centre, value in zip(centres, curve.stiffness)]
                if kind == "sign":  # a zero gradient has a sign, 0, and no cosine: so these are all the pairs
                    rows += [{"quantity": f"distance_pairs_{pairs}", "distance": centre, "value": number}
                             for centre, number in zip(centres, curve.pairs)]
                if (pairs, kind) == ("all", "sign"):
                    filled = curve.pairs >= FEWEST_PAIRS
                    rows.append({"quantity": "stiff_domain_size_sign",
                                 "value": measures.zero_crossing(centres[filled], curve.stiffness[filled])})
        for kind, s in stiffness.items():
            rows.append({"quantity": f"critical_length_{kind}",
                         "value": measures.critical_length(s, distance, self.labels)})
        return rows

    def on_train_batch_end(self, batch, logs=None):
        step = self._step()
        self.bar.update(step - self.bar.n)
        try:
            _check_finite([{"quantity": "train_loss", "value": float(logs["loss"])}])
            super().on_train_batch_end(batch, logs)
            self.look_for_losses(step)
        except FloatingPointError:
            self.diverged = step
            self.rows.append({"step": step, "quantity": "diverged", "value": 1.0})
            self.model.stop_training = True
        if not self.awaited and step >= self.last_step:
            self.model.stop_training = True
        if self.saved and not self.model.stop_training and time.monotonic() - self.saved_at > self.save_every:
            self.save(step)

    def look_for_losses(self, step):
        if self.awaited and step % self.check_every == 0:
            loss, _ = self.evaluate(self.splits["train"], up_to=self.awaited[0])
            reached = [target for target in self.awaited if loss <= target]
            if reached:
                rows = self.measure()
                self.awaited = self.awaited[len(reached):]
                self.rows += [{"step": step, "target_loss": target, **row} for target in reached for row in rows]

    def on_train_end(self, logs=None):
        self.bar.close()


def _check_finite(rows):
    for row in rows:
        value = row["value"]
        if np.isinf(value) or (np.isnan(value) and not QUANTITIES[row["quantity"]].may_be_missing):
            raise FloatingPointError(f"{row['quantity']} is {value}")


def training_examples(dataset, experiment):
    """The examples that the run learns, with its labels."""
    split = data.training_examples(dataset, experiment.train_size, experiment.seed)
    labels = data.permute_labels(split.labels, experiment.permuted_fraction, experiment.seed)
    return data.Split(split.inputs, labels)


def _last_step(experiment):
    last = experiment.max_steps if experiment.stage_losses else 0
    return max(last, *experiment.stages, 1)


def _steps_per_execution(experiment):
    """The longest execution that ends at every moment at which something is measured."""
    moments = [*experiment.stages, *([experiment.check_every, experiment.max_steps] if experiment.stage_losses else [])]
    common = gcd(*moments) or 1
    return max(k for k in range(1, min(common, STEPS_PER_EXECUTION) + 1) if common % k == 0)


def evaluation(model, at_once=EVALUATED_AT_ONCE):
    """A function of a split and a bound: mean loss and accuracy in inference mode.

    It stops looking as soon as the mean loss is bound to end above `up_to`, losses being positive, and is then inf.
    """
    @tf.function(input_signature=[tf.TensorSpec(model.input_shape, model.inputs[0].dtype),
                                  tf.TensorSpec((None,), tf.int64)])
    def loss_and_hits(inputs, labels):
        logits = model(inputs, training=False)
        losses = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        return tf.reduce_sum(losses), tf.math.count_nonzero(tf.argmax(logits, axis=1) == labels)

    def evaluate(split, up_to=np.inf):
        loss = hits = 0
        for start in range(0, len(split), at_once):
            chosen = slice(start, start + at_once)
            sums = loss_and_hits(split.inputs[chosen], split.labels[chosen])
            loss, hits = loss + float(sums[0]), hits + int(sums[1])
            if loss / len(split) > up_to:
                return np.inf, np.nan
        return loss / len(split), hits / len(split)

    return evaluate


def _intensity(images):
    """The mean over all pixels and channels, (n, 1, 1, 1)."""
    return images.mean(axis=(1, 2, 3), keepdims=True)


def _distances(vectors):
    """1 - cosine of the angle between all pairs of vectors, NaN where one is 0."""
    distance = cosine_distances(vectors)
    zero = ~vectors.any(axis=1)
    distance[zero], distance[:, zero] = np.nan, np.nan
    return distance
