"""The config of `tfstable reproducibility`: a run's config and what to vary in it. Imports no TensorFlow."""

import itertools
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from tfstable.errors import InputError
from tfstable.specs import Spec, labelled
from trainers.config import Config, check_replicas, set_key
from trainers.studies.grid_keys import OF_ANY_GRID, changes, refuse

Keys = dict[str, Any]  # Dotted keys of a run's config, with their values.
NOT_HONOURED = OF_ANY_GRID | {
    "divergence": "a grid watches no losses",
    "trainer.xla": "a grid compares trainings that are compiled alike",
}
# All trainings of a grid share these keys: the log is read, and statistics are fitted, once.
SHARED = ("data.", "features.", "tasks.", "evaluation.", "trainer.window_days", "trainer.deterministic")
OF_LOSSES = re.compile(r"tasks\..*\.(weight|loss|loss\.\w+)")  # But these: what is learned, not what is read.

Precision = Literal["float32", "mixed_bfloat16", "float64"]


class Difference(Spec):
    """The one thing in which trainings differ."""

    kind: Literal["order", "weights", "seed", "replicas", "precision"] = Field(
        description="order: the order of the rows, by trainer.shuffle. weights: the initial weights. seed: both, as "
        "another trainer.seed. replicas: the number of parts that a batch is summed in. precision: of the arithmetic."
    )
    replicas: tuple[Annotated[int, Field(ge=1)], ...] = Field((1, 2), min_length=2, description="One run per number.")
    precisions: tuple[Precision, ...] = Field(
        ("float32", "float64"), min_length=2, description="One run per precision."
    )
    keys: Keys = Field(default_factory=dict, description="Dotted keys of these runs, such as trainer.shuffle.")


class ExperimentConfig(Spec):
    """What is compared: each point of each curve, in each setting, is trained several times with each difference."""

    differ: dict[str, Difference] = Field(
        {"seed": Difference(kind="seed")}, min_length=1, description="By name, the one thing in which trainings differ."
    )
    settings: dict[str, Keys] = Field(
        {"": {}}, min_length=1, description="By name, dotted keys with which all curves are tried."
    )
    curves: dict[str, Annotated[tuple[Keys, ...], Field(min_length=1)]] = Field(
        {"model": ({},)},
        min_length=1,
        description="By name, the points of a curve, as dotted keys. The others are compared with the first point.",
    )
    runs: int = Field(4, ge=2, le=10, description="Trainings per point. All pairs of them are compared.")
    ensembles: tuple[Annotated[int, Field(ge=2)], ...] = Field(
        (), description="Sizes of ensembles of the first point's runs, to compare as well."
    )
    days: int = Field(1, ge=1, description="Compare on this many newest days of the log, each before it is trained on.")
    tasks: tuple[str, ...] = Field((), description="Tasks in the report. Default: all.")
    k: int = Field(10, ge=1, description="Length of the top list whose churn is measured.")
    trace_every: int = Field(
        0,
        ge=0,
        description="Measure how far weights and predictions have drifted apart every N steps; 0 = off.",
    )


@dataclass(frozen=True)
class Cell:
    """A point, in a setting, with a difference."""

    differ: str
    setting: str
    curve: str
    point: int


@dataclass(frozen=True)
class Plan:
    """One training.

    Attributes:
        config: Its config; the seed draws the weights.
        order_seed: Shuffles its rows.
        replicas: Parts of a batch whose gradients are summed.
        days: Newest days of the log to predict.
        trace_every: See `ExperimentConfig`.
    """

    config: Config
    order_seed: int
    replicas: int
    days: int
    trace_every: int


class ReproducibilityConfig(Config):
    """A run's config, and what to vary in it."""

    reproducibility: ExperimentConfig = Field(default_factory=ExperimentConfig)

    @model_validator(mode="after")
    def _cells_fit(self) -> "ReproducibilityConfig":
        refuse(self, "reproducibility", NOT_HONOURED)
        for cell in self.cells():
            where = "/".join(filter(None, (cell.setting, f"{cell.curve}[{cell.point}]", cell.differ)))
            try:
                self.plans(cell)
            except ValidationError as error:
                detail = error.errors()[0]
                key = ".".join(map(str, detail["loc"]))
                raise ValueError(f"reproducibility: {where}: {key}: {detail['msg']}") from None
            except (InputError, ValueError) as error:
                raise ValueError(f"reproducibility: {where}: {error}") from None
        for task in self.reproducibility.tasks:
            if task not in labelled(self.tasks):
                known = ", ".join(labelled(self.tasks))
                raise ValueError(f"reproducibility.tasks: no task {task} with a label; there is {known}")
        return self

    def cells(self) -> list[Cell]:
        """Returns all cells; cells that differ only in the difference are neighbours."""
        grid = self.reproducibility
        return [
            Cell(differ, setting, curve, point)
            for setting, (curve, points) in itertools.product(grid.settings, grid.curves.items())
            for point in range(len(points))
            for differ in grid.differ
        ]

    def plans(self, cell: Cell) -> list[Plan]:
        """Returns the trainings of a cell. A training that several cells share is equal in all of them."""
        grid, difference = self.reproducibility, self.reproducibility.differ[cell.differ]
        raw = self.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"reproducibility"})
        for keys in (grid.settings[cell.setting], difference.keys, grid.curves[cell.curve][cell.point]):
            for key, value in keys.items():
                set_key(raw, key, value, key)
        config = Config.model_validate(raw)
        refuse(config, "a point", NOT_HONOURED)
        for name in Config.model_fields:
            for key, _ in changes(getattr(config, name), getattr(self, name), name):
                if key.startswith(SHARED) and not OF_LOSSES.fullmatch(key):
                    raise ValueError(f"{key} is the same in all trainings of a grid; set it for the whole grid")
        if config.trainer.shuffle.by not in (None, self.trainer.shuffle.by):
            raise ValueError("trainer.shuffle.by is the same in all trainings of a grid; set it for the whole grid")
        if difference.kind == "replicas":
            for replicas in difference.replicas:
                check_replicas(config.tasks, config.trainer, replicas)
        seed = config.trainer.seed
        if difference.kind == "replicas":
            if config.model.task_gradient_limit:
                raise ValueError(
                    "model.task_gradient_limit: a grid would limit each part of a batch alone, replicas limit their "
                    "sum; set it to null or drop the difference replicas"
                )
            if config.model.penalty and config.model.penalty.kind == "weight_gradient":
                raise ValueError(
                    "model.penalty: a grid would take weight_gradient of each part of a batch alone, replicas take it "
                    "of their sum; set it to null or drop the difference replicas"
                )
            return [self._plan(config, seed, seed, replicas=n) for n in difference.replicas]
        if difference.kind == "precision":
            return [self._plan(config, seed, seed, precision=precision) for precision in difference.precisions]
        numbers = range(seed, seed + grid.runs)
        weights = numbers if difference.kind in ("weights", "seed") else [seed] * grid.runs
        orders = numbers if difference.kind in ("order", "seed") else [seed] * grid.runs
        return [self._plan(config, *seeds) for seeds in zip(weights, orders, strict=True)]

    def _plan(self, config: Config, seed: int, order_seed: int, replicas: int = 1, precision: str = "") -> Plan:
        update = {"seed": seed, "precision": precision or config.trainer.precision}
        config = config.model_copy(update={"trainer": config.trainer.model_copy(update=update)})
        return Plan(config, order_seed, replicas, self.reproducibility.days, self.reproducibility.trace_every)
