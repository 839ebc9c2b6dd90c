"""The loss of labels of which some positives are still to come."""

import numpy as np
import pytest
import tensorflow as tf

from tfstable.models.tasks import late_loss
from tfstable.specs import BinaryTask

LOGITS = np.array([-30.0, -2.0, 0.0, 3.0, 30.0])


@pytest.mark.parametrize("label", [0.0, 1.0])
@pytest.mark.parametrize("late", [0.0, 0.3, 0.99])
def test_it_is_the_cross_entropy_of_what_is_known(label, late):
    p = 1 / (1 + np.exp(-LOGITS))
    known = p * (1 - late)
    expected = np.logaddexp(0, -LOGITS) if label else -np.log1p(-known) if late else np.logaddexp(0, LOGITS)
    found = late_loss(
        tf.constant(LOGITS), tf.fill([5], tf.constant(label, tf.float64)), tf.fill([5], tf.constant(late, tf.float64))
    )
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_its_minimum_is_the_rate_of_complete_labels():
    p, late = 0.3, 0.7
    z = tf.linspace(tf.constant(-5.0, tf.float64), 5.0, 10_001)
    one, zero = (
        late_loss(z, tf.fill(z.shape, tf.constant(y, z.dtype)), tf.fill(z.shape, tf.constant(late, z.dtype)))
        for y in (1.0, 0.0)
    )
    best = z[tf.argmin(p * (1 - late) * one + (1 - p * (1 - late)) * zero)]
    assert tf.sigmoid(best).numpy() == pytest.approx(p, abs=0.001)


def test_a_masked_label_costs_nothing():
    z = tf.constant([1.0])
    with tf.GradientTape() as tape:
        tape.watch(z)
        loss = late_loss(z, tf.constant([np.nan], tf.float32), tf.constant([0.5]))
    assert loss.numpy() == 0
    assert tape.gradient(loss, z).numpy() == 0


def test_a_task_of_fresh_labels_takes_no_other_loss():
    fresh = {"delay_column": "d", "late_share": 0.5}
    with pytest.raises(ValueError, match="takes no positive_weight"):
        BinaryTask(kind="binary", matures_after_days=1, fresh=fresh, positive_weight=2)
