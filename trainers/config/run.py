"""The config of a run: its sections, and the rules between them. Imports no TensorFlow."""

import keyword
import re
from collections.abc import Iterator
from typing import Any

from pydantic import Field, model_validator

from tfstable.log_columns import columns_read, label_columns, stated_types
from tfstable.options import check_sequences
from tfstable.specs import (
    OPERATIONAL,
    BinaryTask,
    CounterFeature,
    Feature,
    NumericFeature,
    QuantileFeature,
    Spec,
    TaskSpec,
    VectorFeature,
    check_products,
    counters,
    is_implicit,
    labelled,
)
from trainers.config.divergence import DivergenceConfig, RecoveryConfig
from trainers.config.evaluation import EvaluationConfig
from trainers.config.init import InitConfig
from trainers.config.lists import check_lists
from trainers.config.model import ModelConfig
from trainers.config.optimizer import OptimizerConfig
from trainers.config.sections import DataConfig, ExportConfig, TrainerConfig

# Names that TensorFlow accepts for the inputs of a signature, and for the layers and outputs of a task.
COLUMN_NAME, TASK_NAME = re.compile(r"[A-Za-z0-9.]([\w.\\/>-]*[\w.\\>-])?", re.ASCII), re.compile(r"[\w.-]+", re.ASCII)

TABLE_KEYS = (
    *("kind", "dim", "buckets", "max_size", "capacity", "min_count", "expire_days", "grow"),
    *("pretrained", "trainable", "rate"),
)


class Config(Spec):
    """A training run of tfstable."""

    data: DataConfig = Field(description="The log, and how to read it.")
    features: dict[str, Feature] = Field(min_length=1, description="Model inputs by name.")
    tasks: dict[str, TaskSpec] = Field(min_length=1, description="Labels to predict by name.")
    model: ModelConfig = Field(default_factory=ModelConfig, description="The class of the model and its options.")
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig, description="How to update the weights.")
    trainer: TrainerConfig = Field(
        default_factory=TrainerConfig, description="Windows, steps, devices and checkpoints of a training."
    )
    divergence: DivergenceConfig = Field(
        default_factory=DivergenceConfig,
        description="When a jump of the loss counts as a divergence.",
        json_schema_extra=OPERATIONAL,
    )
    recovery: RecoveryConfig = Field(
        default_factory=RecoveryConfig,
        description="Recovery from a divergence.",
        json_schema_extra=OPERATIONAL,
    )
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig, description="How to evaluate a day.")
    export: ExportConfig = Field(
        default_factory=ExportConfig, description="When to export the model, and with which signatures."
    )

    init: InitConfig | None = Field(
        None,
        description="A trained model to start from. Default: new weights.",
        json_schema_extra=OPERATIONAL,
    )

    @model_validator(mode="after")
    def _no_outcome_among_the_features(self) -> "Config":
        outcomes = {column: f"tasks.{name}" for name, column in label_columns(self.tasks).items()}
        outcomes |= {
            t.truth: f"tasks.{n}.truth" for n, t in self.tasks.items() if isinstance(t, BinaryTask) and t.truth
        }
        for name, column in columns_read(self.features):
            if column in outcomes:
                raise ValueError(f"features.{name} reads {column}, the outcome of {outcomes[column]}; drop the feature")
        return self

    @model_validator(mode="after")
    def _products_fit(self) -> "Config":
        check_products(self.tasks)
        return self

    @model_validator(mode="after")
    def _counters_count_tasks(self) -> "Config":
        for name, counter in counters(self.features).items():
            if unknown := [task for task in counter.of if task not in self.tasks]:
                raise ValueError(f"features.{name}.of: {unknown[0]} is no task; the tasks are {', '.join(self.tasks)}")
            if without := [task for task in counter.of if is_implicit(self.tasks[task])]:
                raise ValueError(f"features.{name}.of: {without[0]} is implicit: there is no label to count; drop it")
            for task in counter.of:
                if counter.delay_days < (maturing := self.tasks[task].matures_after_days or 0):
                    raise ValueError(
                        f"features.{name}.of: labels of {task} are complete after {maturing} days, and the counter "
                        f"counts them after {counter.delay_days}; set features.{name}.delay_days: {maturing}"
                    )
        return self

    @model_validator(mode="after")
    def _fresh_labels_have_one_day(self) -> "Config":
        trainer = self.trainer
        for name, task in self.tasks.items():
            if isinstance(task, BinaryTask) and task.fresh and (trainer.window_days, trainer.stride_days) != (1, 1):
                raise ValueError(
                    f"tasks.{name}.fresh weighs rows that are trained once on their own day; set trainer.window_days "
                    "and trainer.stride_days to 1, or drop it"
                )
        return self

    @model_validator(mode="after")
    def _names_fit_a_signature(self) -> "Config":
        for name, column in columns_read(self.features):
            if not COLUMN_NAME.fullmatch(column):
                raise ValueError(
                    f"features.{name} reads column {column!r}, which cannot name an input of an export; rename it "
                    "in the log, with letters a to z, digits and _.-/, no _ at the start, no / at the end"
                )
            if keyword.iskeyword(column) or column == "self":
                raise ValueError(
                    f"features.{name} reads column {column}, a Python keyword, which cannot name an input of an "
                    "export; rename it in the log"
                )
        for name in self.tasks:
            if not TASK_NAME.fullmatch(name):
                raise ValueError(
                    f"tasks.{name}: name the task with letters a to z, digits and _.-; its label may have any name"
                )
            if name == "date":
                raise ValueError("tasks.date: `tfstable predict` writes the day under this name; rename the task")
        return self

    @model_validator(mode="after")
    def _columns_are_told_apart(self) -> "Config":
        """Inputs of an export become function parameters and graph nodes, whose names must differ by more than case."""
        columns = {column for _, column in columns_read(self.features)}
        for kind, key in (("except for capitals", str.lower), ("except for special characters", _parameter)):
            first: dict[str, str] = {}
            for column in sorted(columns):
                if (other := first.setdefault(key(column), column)) != column:
                    raise ValueError(
                        f"features: columns {other} and {column} are equal {kind} and would become one input of an "
                        "export; rename one in the log"
                    )
        return self

    @model_validator(mode="after")
    def _columns_have_one_type(self) -> "Config":
        first: dict[str, tuple[str, str]] = {}
        for key, column, stated in stated_types(self.features):
            other, expected = first.setdefault(column, (key, stated))
            if stated != expected:
                raise ValueError(
                    f"{key} is {stated}, but {other}, of the same column {column}, is {expected}; make them equal"
                )
        return self

    @model_validator(mode="after")
    def _rank_can_be_made(self) -> "Config":
        columns, users = {column for _, column in columns_read(self.features)}, self.export.user_columns
        if unknown := [name for name in users if name not in columns]:
            raise ValueError(f"export.user_columns: no feature reads column {unknown[0]}; remove it")
        if columns == set(users):
            raise ValueError("export.user_columns: lists every column; remove the candidates' columns")
        if unknown := [name for name in self.export.score_weights if name not in self.tasks]:
            raise ValueError(f"export.score_weights: no task {unknown[0]}; the tasks are {', '.join(self.tasks)}")
        if users and (taken := {"score", "order"} & self.tasks.keys()):
            raise ValueError(f"tasks.{min(taken)}: an output of `rank` has this name; rename the task")
        return self

    @model_validator(mode="after")
    def _own_metrics_measure_tasks(self) -> "Config":
        for name, metric in self.evaluation.own_metrics.items():
            if unknown := [task for task in metric.tasks if task not in self.tasks]:
                raise ValueError(
                    f"evaluation.metrics.{name}.tasks: no task {unknown[0]}; the tasks are {', '.join(self.tasks)}"
                )
        return self

    @model_validator(mode="after")
    def _limits_see_all_replicas(self) -> "Config":
        several = self.trainer.strategy in ("mirrored", "multi_worker", "auto")
        if self.model.task_gradient_limit and self.trainer.xla and several:
            raise ValueError(
                f"model.task_gradient_limit sums over replicas inside the backward pass, which trainer.xla compiles "
                f"alone under trainer.strategy: {self.trainer.strategy}; set trainer.xla: false"
            )
        if self.model.penalty and self.model.penalty.kind == "weight_gradient" and self.trainer.xla and several:
            raise ValueError(
                f"model.penalty: weight_gradient sums gradients over replicas between two backward passes, which "
                f"trainer.xla compiles as one under trainer.strategy: {self.trainer.strategy}; set trainer.xla: false"
            )
        return self

    @model_validator(mode="after")
    def _sequences_fit(self) -> "Config":
        try:
            check_sequences(self.model.sequences, self.features)
        except ValueError as error:
            raise ValueError(f"model.{error}") from None
        return self

    @model_validator(mode="after")
    def _lists_come_together(self) -> "Config":
        check_lists(self.tasks, self.trainer, self.model.model_class)
        return self

    @property
    def score_weights(self) -> dict[str, float]:
        """Weights of the tasks in the score of `rank`, by task."""
        binary = [name for name in labelled(self.tasks) if self.tasks[name].kind == "binary"]
        return self.export.score_weights or dict.fromkeys(binary or self.tasks, 1.0)

    @model_validator(mode="after")
    def _shared_tables_fit(self) -> "Config":
        shapes: dict[str, tuple[Any, ...]] = {}
        for name, feature in self.features.items():
            if isinstance(feature, NumericFeature | VectorFeature | CounterFeature):
                continue
            table, keys = getattr(feature, "table", None) or name, TABLE_KEYS
            shape = tuple(getattr(feature, key, None) for key in keys)
            if isinstance(feature, QuantileFeature):
                shape = (*shape, name)  # Fitted boundaries belong to one feature, so its table is not shared.
            if shapes.setdefault(table, shape) != shape:
                raise ValueError(
                    f"features.{name} shares table {table} with a feature whose {', '.join(keys[:-1])} or {keys[-1]} "
                    "differs; make them equal or name another table"
                )
        return self


def weight_keys(config: Config) -> dict[str, Any]:
    """Returns the dotted keys that affect the weights, with their values."""
    return dict(_flat(config, ""))


def _flat(spec: Spec, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, field in type(spec).model_fields.items():
        if (field.json_schema_extra or {}) == OPERATIONAL:
            continue
        key, value = prefix + (field.alias or name), getattr(spec, name)
        if isinstance(value, Spec):
            yield from _flat(value, key + ".")
        elif isinstance(value, dict) and any(isinstance(v, Spec) for v in value.values()):
            for inner, v in value.items():
                # Of a file of vectors the content counts, not the place.
                yield f"{key}.{inner}", v.model_dump(mode="json", exclude={"pretrained"})
        else:
            yield key, list(value) if isinstance(value, tuple) else value


def _parameter(column: str) -> str:
    """The parameter name that TensorFlow derives from the name of an input."""
    name = re.sub(r"\W", "_", column)
    return name if name[0].isalpha() else f"arg_{name}"
