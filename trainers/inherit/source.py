"""What is known of a trained model from which another one starts. Imports no TensorFlow."""

from collections.abc import Mapping
from datetime import date
from typing import Any, Protocol

import numpy as np

from tfstable.inputs.ids import IdMap
from tfstable.inputs.statistics import Statistics
from tfstable.options import RankingOptions
from tfstable.specs import Feature, TaskSpec


class Source(Protocol):
    """A trained model in the terms of tfstable: its config as far as it shapes the model, and its arrays by path.

    Attributes:
        name: What messages call it, such as "runs/a, checkpoint 7".
        model_class: Import path of its class.
        model_options: The arguments that a subclass adds.
        features, tasks, options, statistics: What a `RankingModel` is made from.
        precision: As `trainer.precision`.
        last: Last day of the newest window that it has finished; None if unknown.
    """

    @property
    def name(self) -> str: ...
    @property
    def model_class(self) -> str: ...
    @property
    def model_options(self) -> Mapping[str, object]: ...
    @property
    def features(self) -> Mapping[str, Feature]: ...
    @property
    def tasks(self) -> Mapping[str, TaskSpec]: ...
    @property
    def options(self) -> RankingOptions: ...
    @property
    def statistics(self) -> Statistics: ...
    @property
    def precision(self) -> str: ...
    @property
    def last(self) -> date | None: ...

    def ids(self) -> Mapping[str, IdMap]:
        """Returns the rows of ids by table, of features whose map from value to row changes with the days."""
        ...

    def calibration(self) -> Mapping[str, Any] | None:
        """Returns maps and histograms of calibrated tasks, as `Calibration.stored` does; None without any.

        The maps are weights, too: `weight` reads them as "calibration/TASK".
        """
        ...

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Returns each weight's shape by its path in the model, as "bottom/dense_0/kernel"; see `names.in_model`."""
        ...

    def weight(self, path: str, averaged: bool = False) -> np.ndarray:
        """Returns a weight, of the shape that `shapes` gives. Embedding tables are stacked as in `Embeddings`.

        Args:
            path: One of `shapes`.
            averaged: As an export would hold it: the average over training, where the source keeps one.
        """
        ...

    def slot(self, path: str, name: str) -> np.ndarray | None:
        """Returns an optimizer's state of a weight, such as its "accumulator"; None if there is none.

        Averages of the weights are slots, too: "average" and, of tables, "average_covered".
        """
        ...

    def count(self, name: str) -> int | None:
        """Returns a count of the optimizer, "iteration", "covered" (Ema) or "snapshots" (Swa); None without one."""
        ...
