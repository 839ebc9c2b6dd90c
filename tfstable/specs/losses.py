"""Losses that a task may have beside its usual one."""

from typing import Literal

from pydantic import Field

from tfstable.specs.base import Spec


class ListLoss(Spec):
    """A loss on the order of the rows of a group, mixed with the cross-entropy; see `models.list_losses`."""

    kind: Literal["pairwise", "softmax", "list_ce", "jrc"] = Field(
        description="pairwise: each positive against the negatives of its group. softmax: each positive's share of its "
        "group. list_ce: that share in terms of probabilities, which leaves calibration alone. jrc: each row's share "
        "of its group in its class, by two logits; it needs model.class: tfstable.models.JointRanking."
    )
    weight: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Share of this loss in the task's; the rest is cross-entropy. At 1, pairwise and softmax train "
        "scores that are no probabilities.",
    )
