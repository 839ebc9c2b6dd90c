"""Losses over lists: how the rows of one group, such as a request or a user's day, are ordered among each other.

Labels y in [0, 1], logits s, example weights w; sums run over the rows of i's group that have a label and a positive
weight. A row without a group, and one whose group has nothing else to order it with, have a loss of 0.
"""

from typing import NamedTuple

import tensorflow as tf

from tfstable.specs import BinaryTask

NEIGHBOURS = 64  # Rows of its group that `pairwise` compares a row with: bounds the cost for groups of any size.


class Lists(NamedTuple):
    """The rows of a batch, sorted by group.

    Attributes:
        order: `(batch,)` the row at each place.
        place: `(batch,)` the place of each row.
        number: `(batch,)` the number of the group at each place, from 0 on.
        start: `(batch,)` the first place of that group.
        size: `(batch,)` the rows of that group.
    """

    order: tf.Tensor
    place: tf.Tensor
    number: tf.Tensor
    start: tf.Tensor
    size: tf.Tensor


def lists_of(groups: tf.Tensor) -> Lists:
    """Sorts the rows of a batch by group.

    Args:
        groups: `(batch,)` integers, equal for the rows of a group; rows with a negative one are in none.
    """
    rows = tf.size(groups)
    order = tf.argsort(groups, stable=True)
    sorted_groups = tf.gather(groups, order)
    first = tf.concat([[True], tf.not_equal(sorted_groups[1:], sorted_groups[:-1])], axis=0)[:rows]
    number = tf.cumsum(tf.cast(first, tf.int32)) - 1
    size = tf.gather(tf.math.unsorted_segment_sum(tf.ones_like(number), number, rows), number)
    start = tf.gather(tf.math.unsorted_segment_min(tf.range(rows), number, rows), number)
    return Lists(order, tf.math.invert_permutation(order), number, start, size)


def loss(
    task: BinaryTask,
    logits: tf.Tensor,
    labels: tf.Tensor,
    groups: tf.Tensor,
    weights: tf.Tensor | None = None,
    offset: tf.Tensor | None = None,
    sums: tf.Tensor | None = None,
) -> tf.Tensor:
    """Returns the list loss of each example, `(batch,)`, in the logits' dtype and in nats, before its own weight.

    A row i has the weights p_i = w_i y_i as a positive and n_i = w_i (1 - y_i) as a negative. With `positive_weight`,
    p_i is as many times greater, and with a rate r_i of negatives n_i is divided by it.

    pairwise: the negatives of its group push a positive up: a smooth form of one minus the AUC within its group (Burges
    et al., "Learning to Rank using Gradient Descent", 2005):

        l_i = y_i sum_j n_j log(1 + exp(s_j - s_i)) / sum_j n_j

    softmax: the positive's share of its group (Cao et al., "Learning to Rank: From Pairwise Approach to Listwise
    Approach", 2007):

        l_i = -y_i log((p_i + n_i) exp(s_i) / sum_j (p_j + n_j) exp(s_j))

    list_ce: the same with sigmoid(s) in the place of exp(s), so that the probabilities that minimise the cross-entropy
    minimise this loss too (Bai et al., "Regression Compatible Listwise Objectives for Calibrated Ranking with Binary
    Relevance", 2023).

    jrc: a share of the group in each class, with two logits, s = f1 - f0 (Sheng et al., "Joint Optimization of Ranking
    and Calibration with Contextualized Hybrid Model", 2023; their list loss, without the cross-entropy):

        l_i = -y_i log((p_i + n_i) exp(f1_i) / sum_j (p_j + n_j) exp(f1_j))
              - (1 - y_i) log((p_i + n_i) exp(f0_i) / sum_j (p_j + n_j) exp(f0_j))

    Args:
        task: The task; it has a `loss`.
        logits: `(batch,)`, of the population; see `tasks.prediction`.
        labels: `(batch,)`, NaN where masked.
        groups: `(batch,)` integers; see `lists_of`.
        weights: `(batch,)` example weights, at least 0. None: each weighs 1.
        offset: `(batch,)` logarithms of the rates of negatives. None: all rates are 1.
        sums: `(batch,)` f1 + f0 of `jrc`. None for other kinds.
    """
    assert task.loss is not None
    lists = lists_of(groups)
    weights = tf.ones_like(logits) if weights is None else tf.cast(weights, logits.dtype)
    counts = tf.math.is_finite(labels) & (weights > 0) & (groups >= 0)
    y = tf.cast(tf.where(counts, labels, 0.0), logits.dtype)
    positive = weights * y * task.positive_weight
    against = 1.0 - y if offset is None else (1.0 - y) * tf.exp(-tf.cast(offset, logits.dtype))
    negative = weights * against
    masses = (tf.where(counts, mass, 0.0) for mass in (positive, negative))
    s, y, positive, negative = (tf.gather(x, lists.order) for x in (logits, y, *masses))
    if task.loss.kind == "pairwise":
        losses = _pairwise(s, negative, lists)
    elif task.loss.kind == "softmax":
        losses = _softmax(s, positive + negative, lists)
    elif task.loss.kind == "list_ce":
        losses = _softmax(tf.math.log_sigmoid(s), positive + negative, lists)
    else:
        assert sums is not None
        total = tf.gather(sums, lists.order)
        losses = _softmax((total + s) / 2, positive + negative, lists)
        of_negatives = tf.gather(against, lists.order) * _softmax((total - s) / 2, positive + negative, lists)
        return tf.gather(task.positive_weight * y * losses + of_negatives, lists.place)
    return tf.gather(task.positive_weight * y * losses, lists.place)


def _softmax(s: tf.Tensor, w: tf.Tensor, lists: Lists) -> tf.Tensor:
    """Minus the logarithm of each row's share of its group, 0 for rows of weight 0."""
    counts, rows = w > 0, tf.size(s)
    s += tf.math.log(tf.where(counts, w, 1.0))
    greatest = tf.math.unsorted_segment_max(tf.where(counts, s, s.dtype.min), lists.number, rows)
    greatest = tf.gather(tf.stop_gradient(greatest), lists.number)
    # `where` before exp, too: a row that does not count may have a far larger logit.
    shares = tf.where(counts, tf.exp(tf.where(counts, s - greatest, 0.0)), 0.0)
    total = tf.gather(tf.math.unsorted_segment_sum(shares, lists.number, rows), lists.number)
    return tf.where(counts, tf.math.log(tf.where(counts, total, 1.0)) + greatest - s, 0.0)


def _pairwise(s: tf.Tensor, negative: tf.Tensor, lists: Lists) -> tf.Tensor:
    """The mean of log(1 + exp(s_j - s_i)) over the negatives j of each row's group, 0 without one."""
    rows = tf.size(s)
    step = tf.range(1, tf.minimum(rows, NEIGHBOURS + 1))[None]
    start, size = lists.start[:, None], lists.size[:, None]
    other = start + (tf.range(rows)[:, None] - start + step) % size  # (batch, neighbours): round and round the group.
    w = tf.where(step < size, tf.gather(negative, other), 0.0)
    total = tf.reduce_sum(w, axis=1)
    lost = tf.reduce_sum(w * tf.math.softplus(tf.gather(s, other) - s[:, None]), axis=1)
    return tf.where(total > 0, lost / tf.where(total > 0, total, 1.0), 0.0)
