"""The config of `tfstable reproducibility`: a run's, what to vary, what trainings differ in. Imports no TensorFlow."""

import itertools
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from tfstable.errors import InputError
from tfstable.specs import Spec
from trainers.config import Config, set_key
from trainers.studies.grid_keys import OF_ANY_GRID, changes, refuse

Keys = dict[str, Any]  # Dotted keys of a run's config, with their values.
NOT_HONOURED = OF_ANY_GRID | {
    "divergence": "a grid watches no losses",
    "trainer.xla": "a grid compares trainings that are compiled alike",
}
# What the trainings of a grid share: they read the log, and fit their statistics, once.
SHARED = ("data.", "features.", "tasks.", "evaluation.", "trainer.window_days", "trainer.deterministic")

Precision = Literal["float32", "mixed_bfloat16", "float64"]


class Difference(Spec):
    """The one thing in which trainings differ."""

    kind: Literal["order", "weights", "seed", "replicas", "precision"] = Field(
        description="order: of the rows, by trainer.shuffle. weights: the initial ones. seed: both, as with another "
        "trainer.seed. replicas: over which each batch is summed. precision: of the arithmetic."
    )
    replicas: tuple[Annotated[int, Field(ge=1)], ...] = Field((1, 2), min_length=2, description="A run for each.")
    precisions: tuple[Precision, ...] = Field(("float32", "float64"), min_length=2, description="A run for each.")
    keys: Keys = Field(default_factory=dict, description="Keys of the run, such as trainer.shuffle.")


class ExperimentConfig(Spec):
    """Every curve's every point, in every setting, trained several times with every difference."""

    differ: dict[str, Difference] = Field(
        {"seed": Difference(kind="seed")}, min_length=1, description="By name, what trainings differ in."
    )
    settings: dict[str, Keys] = Field(
        {"": {}}, min_length=1, description="By name, keys that all curves are tried with."
    )
    curves: dict[str, Annotated[tuple[Keys, ...], Field(min_length=1)]] = Field(
        {"model": ({},)},
        min_length=1,
        description="By name, the points of a curve, the first of which the others are compared with.",
    )
    runs: int = Field(4, ge=2, le=10, description="Trainings of a point; all pairs of them are compared.")
    ensembles: tuple[Annotated[int, Field(ge=2)], ...] = Field(
        (), description="Sizes of ensembles of the first point's runs, which are compared as well."
    )
    days: int = Field(1, ge=1, description="Newest days of the log to compare on, each before it is trained on.")
    tasks: tuple[str, ...] = Field((), description="Tasks of the report; empty for all.")
    k: int = Field(10, ge=1, description="Length of the list of which churn is measured.")
    trace_every: int = Field(
        0,
        ge=0,
        description="Steps between two looks at how far weights and predictions have drifted apart; 0 for none.",
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
        order_seed: What its rows are shuffled by.
        replicas: Parts of a batch whose gradients are summed.
        days: Newest days of the log to predict.
        trace_every: As of the config.
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
    def _cells_fit(self):
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
            if task not in self.tasks:
                raise ValueError(f"reproducibility.tasks: {task} is none of {', '.join(self.tasks)}")
        return self

    def cells(self) -> list[Cell]:
        """Returns all cells; those that differ in the difference alone are neighbours."""
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
                if key.startswith(SHARED) and not (key.startswith("tasks.") and key.endswith(".weight")):
                    raise ValueError(f"{key} is the same in all trainings of a grid; set it for the whole grid")
        seed = config.trainer.seed
        if difference.kind == "replicas":
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
