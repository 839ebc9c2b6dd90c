"""The workload of every side: the sizes of a model, and the same batches for all."""

import itertools
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import numpy as np

NUMBERS = 13
LEARNING_RATE = 0.01
BATCHES = 8  # Distinct batches; sides go round them.


@dataclass(frozen=True)
class Workload:
    """A multitask ranking model and its batches: ids and numbers in, two binary tasks out, Adagrad throughout.

    Attributes:
        features: Categorical features, each with a table of its own.
        rows: Rows of each table.
        dim: Width of the embeddings.
        units: Widths of the bottom.
        cross: One DCN-v2 cross layer on the input, with a full matrix.
        rezero: ReZero residuals around the bottom's layers that keep their width.
        activation: "relu" or "smelu" of half-width 1.
        tasks: How many binary tasks there are, each with one output.
        batch: Examples a step.
        precision: "float32" or "mixed_bfloat16".
    """

    features: int = 26
    rows: int = 10**4
    dim: int = 16
    units: tuple[int, ...] = (512, 512)
    cross: bool = False
    rezero: bool = False
    activation: str = "relu"
    tasks: int = 2
    batch: int = 4096
    precision: str = "float32"

    @property
    def width(self) -> int:
        """Of the input."""
        return self.features * self.dim + NUMBERS

    @property
    def task_names(self) -> list[str]:
        return [f"task_{i}" for i in range(self.tasks)]

    @property
    def feature_names(self) -> list[str]:
        return [f"id_{i}" for i in range(self.features)]

    @property
    def number_names(self) -> list[str]:
        return [f"number_{i}" for i in range(NUMBERS)]

    @property
    def multiplications(self) -> int:
        """Multiply-adds of the matrices for one example: once forwards, twice backwards (the input has gradients)."""
        sizes = [self.width, *self.units]
        forward = sum(a * b for a, b in itertools.pairwise(sizes)) + sizes[-1] * self.tasks
        return 3 * (forward + (self.width**2 if self.cross else 0))

    def with_(self, **changes) -> "Workload":
        return replace(self, **changes)

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "Workload":
        return cls(**{**values, "units": tuple(values["units"])})


WORKLOADS = {
    "small, 10^4 rows": Workload(rows=10**4),
    "small, 10^6 rows": Workload(rows=10**6),
    "large": Workload(units=(2048,) * 4, cross=True),
    "large, bfloat16": Workload(units=(2048,) * 4, cross=True, precision="mixed_bfloat16"),
    "deep": Workload(units=(256,) * 32, rezero=True, activation="smelu"),
}


class Batch(NamedTuple):
    """Arrays of some batches: ids `(batches, batch, features)` int32, numbers and labels float32 likewise."""

    ids: np.ndarray
    numbers: np.ndarray
    labels: np.ndarray


def batches(workload: Workload) -> Batch:
    """Popular ids often and rare ones seldom, as in a log (Zipf, exponent 1.2), spread over the whole table."""
    rng = np.random.default_rng(0)
    shape = (BATCHES, workload.batch)
    rank = rng.zipf(1.2, size=(*shape, workload.features))
    ids = (rank % workload.rows) * 7919 % workload.rows  # Prime: popular rows do not lie side by side.
    numbers = rng.normal(size=(*shape, NUMBERS))
    labels = rng.random((*shape, workload.tasks)) < 0.2
    return Batch(ids.astype(np.int32), numbers.astype(np.float32), labels.astype(np.float32))
