"""TFRS's side, in a process of its own: `python tests/trainers/tfrs/peer.py DIR`.

Makes the ranking models of TFRS's multitask and DCN tutorials, trains each a while, saves it and its scores of rows,
and trains on with given batches. Needs TF_USE_LEGACY_KERAS=1; imports nothing of tfstable.
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras
from tensorflow_recommenders.experimental.optimizers import ClippyAdagrad

ROWS, BATCH, BEFORE, AFTER = 10_000, 64, 60, 20
USERS = [str(i) for i in range(1, 301)]
MOVIES = [f"Movie {i}, The" for i in range(300)]  # As many as users: variables that only their order tells apart.
AGES, JOBS = [1, 18, 25, 35, 45, 50, 56], ["artist", "doctor", "writer", "lawyer"]


class MovieModel(tfrs.Model):
    """The multitask tutorial's model, ranking side: two towers of lookup and embedding, dense layers of ratings."""

    def __init__(self):
        super().__init__()
        self.user_model = tf_keras.Sequential(
            [
                tf_keras.layers.StringLookup(vocabulary=USERS, mask_token=None),
                tf_keras.layers.Embedding(len(USERS) + 1, 32, name="table"),
            ]
        )
        self.movie_model = tf_keras.Sequential(
            [
                tf_keras.layers.StringLookup(vocabulary=MOVIES, mask_token=None),
                tf_keras.layers.Embedding(len(MOVIES) + 1, 32, name="table"),
            ]
        )
        self.rating_model = tf_keras.Sequential(
            [
                tf_keras.layers.Dense(256, activation="relu"),
                tf_keras.layers.Dense(128, activation="relu"),
                tf_keras.layers.Dense(1),
            ]
        )
        self.rating_task = tfrs.tasks.Ranking(loss=tf_keras.losses.MeanSquaredError())

    def call(self, features):
        user, movie = self.user_model(features["user_id"]), self.movie_model(features["movie_title"])
        return self.rating_model(tf.concat([user, movie], axis=1))

    def compute_loss(self, batch, training=False):
        features, rating = batch
        return self.rating_task(labels=rating[:, None], predictions=self(features))


class Numbers(tf_keras.Model):
    """The tutorial on side features: a normalised timestamp beside the embedding of its bucket."""

    def __init__(self, timestamps):
        super().__init__()
        self.normalization = tf_keras.layers.Normalization(axis=None)
        self.normalization.adapt(timestamps)
        edges = np.linspace(timestamps.min(), timestamps.max(), num=20)
        self.bucket_embedding = tf_keras.Sequential(
            [tf_keras.layers.Discretization(edges.tolist()), tf_keras.layers.Embedding(len(edges) + 1, 8)]
        )

    def call(self, x):
        return tf.concat([self.bucket_embedding(x), tf.reshape(self.normalization(x), (-1, 1))], axis=1)


class DCN(tfrs.Model):
    """The DCN tutorial's model with cross layers of full or low rank, and a label of 0 or 1."""

    def __init__(self, timestamps, projection_dim, depth):
        super().__init__()
        self._strings = {"user_id": USERS, "movie_title": MOVIES, "job": JOBS}
        self._embeddings = {}
        for name, vocabulary in self._strings.items():
            lookup = tf_keras.layers.StringLookup(vocabulary=vocabulary, mask_token=None)
            embedding = tf_keras.layers.Embedding(len(vocabulary) + 1, 8)
            self._embeddings[name] = tf_keras.Sequential([lookup, embedding])
        lookup = tf_keras.layers.IntegerLookup(mask_token=None)
        lookup.adapt(np.repeat(AGES, np.arange(len(AGES), 0, -1)))
        self._embeddings["age"] = tf_keras.Sequential([lookup, tf_keras.layers.Embedding(len(AGES) + 1, 8)])
        self.numbers = Numbers(timestamps)
        self._cross_layers = [
            tfrs.layers.dcn.Cross(projection_dim=projection_dim, kernel_initializer="glorot_uniform")
            for _ in range(depth)
        ]
        self._deep_layers = [tf_keras.layers.Dense(units, activation="relu") for units in (48, 24)]
        self._logit_layer = tf_keras.layers.Dense(1)
        self.task = tfrs.tasks.Ranking(loss=tf_keras.losses.BinaryCrossentropy(from_logits=True))

    def call(self, features):
        # The number stands before the categories, and the categories in an order of their own.
        parts = [self.numbers(features["timestamp"])]
        parts += [self._embeddings[name](features[name]) for name in ("age", "movie_title", "user_id", "job")]
        x0 = x = tf.concat(parts, axis=1)
        for layer in self._cross_layers:
            x = layer(x0, x)
        for layer in self._deep_layers:
            x = layer(x)
        return self._logit_layer(x)

    def compute_loss(self, batch, training=False):
        features, label = batch
        return self.task(labels=label[:, None], predictions=self(features))


class Odd(tfrs.Model):
    """What else can be in a model: hashes, masks, two rows of unknown values, a shared table, a diagonal, a sigmoid."""

    def __init__(self):
        super().__init__()
        self.movies = tf_keras.layers.StringLookup(vocabulary=MOVIES)
        self.jobs = tf_keras.layers.StringLookup(vocabulary=JOBS, mask_token="", num_oov_indices=1)
        self.ages = tf_keras.layers.IntegerLookup(vocabulary=AGES, num_oov_indices=3)
        self.hashing, self.masked_hashing = tf_keras.layers.Hashing(40), tf_keras.layers.Hashing(30, mask_value="")
        self.tables = {
            name: tf_keras.layers.Embedding(height, 4)
            for name, height in {"movie": 310, "job": 6, "age": 10, "user": 40, "user_again": 30}.items()
        }
        self.cross = tfrs.layers.dcn.Cross(diag_scale=0.5, use_bias=False)
        self.tower = tf_keras.Sequential(
            [
                tf_keras.layers.Dense(16, activation="swish"),
                tf_keras.layers.Dropout(0.2),
                tf_keras.layers.Dense(1, activation="sigmoid", use_bias=False),
            ]
        )
        self.task = tfrs.tasks.Ranking(loss=tf_keras.losses.BinaryCrossentropy())

    def call(self, features, training=False):
        movie = self.tables["movie"]
        parts = [
            self.tables["user"](self.hashing(features["user_id"])),
            movie(self.movies(features["movie_title"])),
            self.tables["age"](self.ages(features["age"])),
            tf.reshape(features["hour"], [-1, 1]),
            movie(self.movies(features["last_title"])),
            self.tables["job"](self.jobs(features["job"])),
            self.tables["user_again"](self.masked_hashing(features["user_id"])),
        ]
        return self.tower(self.cross(tf.concat(parts, axis=1)), training=training)

    def compute_loss(self, batch, training=False):
        features, label = batch
        return self.task(labels=label[:, None], predictions=self(features, training=training))


def make_rows(seed, rows, unknown=0.1):
    """Random rows; a share of the ids is unknown to the model."""
    rng = np.random.default_rng(seed)

    def some(values, others):
        known = rng.choice(np.asarray(values), rows)
        return np.where(rng.random(rows) < unknown, rng.choice(np.asarray(others), rows), known)

    return {
        "user_id": some(USERS, ["9001", "9002"]),
        "movie_title": some(MOVIES, ["An unseen film"]),
        "last_title": some(MOVIES, ["A second unseen film"]),
        "job": some(JOBS, ["farmer"]),
        "age": some(AGES, [7, -5, 99]).astype(np.int64),
        "timestamp": rng.normal(8.8e8, 5e6, rows).astype(np.float32),
        "hour": rng.random(rows).astype(np.float32),
        "rating": rng.integers(1, 6, rows).astype(np.float32),
        "click": (rng.random(rows) < 0.3).astype(np.float32),
    }


def dataset(rows, label, columns):
    parts = {name: rows[name] for name in columns}, rows[label]
    return tf.data.Dataset.from_tensor_slices(parts).batch(BATCH, drop_remainder=True)


def score(model, rows, columns):
    data = tf.data.Dataset.from_tensor_slices({name: rows[name] for name in columns}).batch(1000)
    return np.concatenate([model(batch).numpy()[:, 0] for batch in data])


def main(folder):
    tf_keras.utils.set_random_seed(1)
    tf.get_logger().setLevel("ERROR")  # Keras warns per model that a load would need its class.
    first, later, scored = make_rows(1, BATCH * BEFORE), make_rows(2, BATCH * AFTER), make_rows(3, ROWS)
    of_dcn = ("user_id", "movie_title", "job", "age", "timestamp")
    clippy = {"variable_relative_threshold": 0.1, "absolute_threshold": 1e-3}
    times = first["timestamp"]
    cases = {
        "ratings": (MovieModel(), tf_keras.optimizers.Adagrad(0.1), "rating", ("user_id", "movie_title")),
        "ratings_old": (
            MovieModel(),
            tf_keras.optimizers.legacy.Adagrad(0.1),
            "rating",
            ("user_id", "movie_title"),
        ),
        "dcn": (DCN(times, None, 1), ClippyAdagrad(0.1, **clippy), "click", of_dcn),
        "dcn_low_rank": (
            DCN(times, 6, 2),
            ClippyAdagrad(0.1, **clippy, clip_accumulator_update=True, accumulator_relative_threshold=1e-4),
            "click",
            of_dcn,
        ),
        "odd": (Odd(), tf_keras.optimizers.Adam(0.01), "click", (*of_dcn[:-1], "hour", "last_title")),
    }
    results = {}
    for name, (model, optimizer, label, columns) in cases.items():
        model.compile(optimizer)
        model.fit(dataset(first, label, columns), epochs=1, verbose=0)
        results[f"{name}.before"] = score(model, scored, columns)
        if name == "ratings_old":
            tf.saved_model.save(model, str(folder / name / "saved_model"))  # Without configs of the layers.
        else:
            model.save(folder / name / "saved_model", save_format="tf")
        tf.train.Checkpoint(model=model, optimizer=optimizer).write(str(folder / name / "checkpoint"))
        model.fit(dataset(later, label, columns), epochs=1, verbose=0)
        results[f"{name}.after"] = score(model, scored, columns)
    np.savez(folder / "scores.npz", **results)
    for part, rows in (("later", later), ("scored", scored)):
        np.savez(folder / f"{part}.npz", **rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
