"""The config of a run: YAML into pydantic models. Precedence: defaults < file < --set."""

import difflib
import keyword
import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from tfstable.errors import InputError
from tfstable.specs import Feature, NumericFeature, QuantileFeature, Spec, TaskSpec, feature_columns, label_columns
from trainers.config.divergence import DivergenceConfig, RecoveryConfig
from trainers.config.optimizer import OptimizerConfig, Positive

# Keys that do not affect the weights beyond rounding: a run may change them when it goes on.
OPERATIONAL = {"operational": True}
# What TensorFlow takes for the names of a signature's inputs, and of the layers and outputs of a task.
COLUMN_NAME, TASK_NAME = re.compile(r"[A-Za-z0-9.]([\w.\\/>-]*[\w.\\>-])?", re.ASCII), re.compile(r"[\w.-]+", re.ASCII)


class SimulateConfig(Spec):
    """Arguments of `tfstable simulate`, for a log that is made where `data.path` does not exist yet."""

    days: int = Field(14, ge=1)
    rows_per_day: int = Field(50_000, ge=1)
    seed: int = Field(0, ge=0)
    first_day: date = date(2025, 1, 1)
    shock_days: tuple[int, ...] = ()


class DataConfig(Spec):
    path: Path = Field(description="The log: a directory of date=YYYY-MM-DD partitions.", json_schema_extra=OPERATIONAL)
    until: date | None = Field(
        None,
        description="Last day to train on and to evaluate in training; days after it are held out for `tfstable "
        "evaluate` and `compare`. Default: the log's last.",
        json_schema_extra=OPERATIONAL,
    )
    missing_day: Literal["error", "skip"] = Field(
        "error", description="What a gap in the days is.", json_schema_extra=OPERATIONAL
    )
    weight: str | None = Field(None, description="Column of example weights.")
    buffer_rows: int = Field(500_000, ge=1, description="Rows shuffled together, and held in memory.")
    reader_threads: int | None = Field(
        None, ge=1, description="Threads that decode files; default: one a core.", json_schema_extra=OPERATIONAL
    )
    prefetch: int = Field(4, ge=1, description="Batches ready ahead of the step.", json_schema_extra=OPERATIONAL)
    simulate: SimulateConfig | None = Field(
        None, description="Simulate the log where data.path does not exist.", json_schema_extra=OPERATIONAL
    )


class ModelConfig(Spec):
    model_class: str = Field(
        "tfstable.models.RankingModel", alias="class", description="Import path of a RankingModel subclass."
    )
    options: dict[str, Any] = Field(default_factory=dict, description="The subclass's own arguments.")
    cross_depth: int = Field(0, ge=0, description="DCN-v2 cross layers on the input.")
    cross_rank: int | None = Field(None, ge=1, description="Rank of their matrices; null for full ones.")
    cross_experts: int = Field(1, ge=1, description="Low-rank experts of each cross layer; above 1 needs cross_rank.")
    cross_arrangement: Literal["stacked", "parallel"] = Field(
        "stacked", description="Where the bottom stands: on the cross layers, or beside them; the heads then read both."
    )
    input_normalisation: Literal["features", "layer", "none"] = Field(
        "features",
        description="features: each embedded feature's vector is divided by its own size; numbers stay standardised. "
        "layer: layer normalisation over the bottom's whole input, after any cross layers. none: neither.",
    )
    units: tuple[Annotated[int, Field(ge=1)], ...] = Field((256, 256), description="Widths of the shared bottom.")
    activation: Literal["relu", "smelu", "swish", "gelu", "softplus", "tanh"] = "relu"
    beta: Positive = Field(1.0, description="Half-width of SmeLU.")
    slope_below: float = Field(
        0.0, allow_inf_nan=False, description="SmeLU's slope below its parabola; not 0: its generalised form."
    )
    activation_clip: Positive | None = Field(None, description="Largest absolute activation; null for no clipping.")
    hidden_normalisation: bool = Field(False, description="Layer normalisation before each activation.")
    rezero: bool = Field(False, description="ReZero residuals around layers that keep their width.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout after each activation.")
    tower_units: tuple[Annotated[int, Field(ge=1)], ...] = Field((), description="Widths of each task's own layers.")

    wide: bool = Field(False, description="Add a linear model of the categorical features to each binary task's logit.")

    @model_validator(mode="after")
    def _cross_keys_fit(self):
        if self.cross_experts > 1 and self.cross_rank is None:
            raise ValueError(f"cross_experts={self.cross_experts} needs a cross_rank: experts are of low rank")
        if self.cross_arrangement == "parallel" and not self.cross_depth:
            raise ValueError("cross_arrangement=parallel needs a cross_depth of at least 1")
        return self

    @property
    def arguments(self) -> dict[str, Any]:
        """What the model's constructor takes besides features, tasks and statistics."""
        return {**self.model_dump(exclude={"model_class", "options"}), **self.options}


class ShuffleConfig(Spec):
    kind: Literal["full", "blocks", "swaps"] = Field(
        "full",
        description="full: any order. blocks: the log's order, shuffled within blocks of `rows`. swaps: a full shuffle "
        "that is the same for every seed, in which the seed swaps neighbouring batches.",
    )
    rows: int | None = Field(None, ge=1, description="Rows of a block.")

    @model_validator(mode="after")
    def _blocks_have_rows(self):
        if (self.kind == "blocks") != (self.rows is not None):
            raise ValueError("kind: blocks and rows go together: give both or none")
        return self


class TrainerConfig(Spec):
    window_days: int = Field(7, ge=1, description="Days in a window.")
    stride_days: int = Field(1, ge=1, description="Days from one window's end to the next one's.")
    passes: Positive = Field(1.0, description="Passes over each window; a fraction trains on a part of it.")
    steps: int | None = Field(None, ge=1, description="Steps a window, instead of passes.")
    batch_size: int = Field(1024, ge=1, description="Examples of a step, over all replicas.")
    seed: int = Field(0, ge=0, lt=2**31)
    shuffle: ShuffleConfig = Field(default_factory=ShuffleConfig, description="The order of the rows of a window.")
    strategy: Literal["one_device", "mirrored", "multi_worker", "tpu", "auto"] = Field(
        "one_device",
        description="Devices to train on: one, all of this host, those of the workers that TF_CONFIG names, a TPU, or "
        "the most that is there.",
        json_schema_extra=OPERATIONAL,
    )
    devices: int | None = Field(
        None,
        ge=1,
        description="GPUs of mirrored; without GPUs, parts of the CPU. Default: all.",
        json_schema_extra=OPERATIONAL,
    )
    start_minutes: Positive = Field(
        10.0,
        description="Minutes that the workers of TF_CONFIG wait for each other at the start.",
        json_schema_extra=OPERATIONAL,
    )
    tpu: str = Field("local", description="Name or address of the TPU.", json_schema_extra=OPERATIONAL)
    tpu_table_gb: Positive = Field(
        2.0,
        description="Most that embedding tables may hold on a TPU without SparseCores.",
        json_schema_extra=OPERATIONAL,
    )
    precision: Literal["float32", "mixed_bfloat16", "float64"] = "float32"
    xla: bool = Field(
        False, description="Compile the step by XLA; start-up takes longer.", json_schema_extra=OPERATIONAL
    )
    deterministic: bool = Field(
        False,
        description="Ask TensorFlow for operations that give the same bits in every run, on GPUs too; slower there.",
        json_schema_extra=OPERATIONAL,
    )
    steps_per_call: int = Field(
        20,
        ge=1,
        description="Most steps inside one call of the graph; fewer where steps are slow.",
        json_schema_extra=OPERATIONAL,
    )
    checkpoint_minutes: Positive = Field(
        10.0, description="Minutes from one checkpoint to the next inside a window.", json_schema_extra=OPERATIONAL
    )
    keep_checkpoints: int = Field(3, ge=1, description="Newest checkpoints kept.", json_schema_extra=OPERATIONAL)
    keep_weekly: int = Field(
        0, ge=0, description="Weeks of data whose last checkpoint is kept as well.", json_schema_extra=OPERATIONAL
    )
    track_every: int = Field(
        0,
        ge=0,
        description="Steps after which clipping factor and norms of each variable go to TensorBoard; 0 for never.",
        json_schema_extra=OPERATIONAL,
    )
    sharpness_every: int = Field(
        0,
        ge=0,
        description="Steps after which the loss's sharpness goes to TensorBoard, beside 2/rate, at the cost of many; "
        "0 for never.",
        json_schema_extra=OPERATIONAL,
    )
    tensorboard: bool = Field(
        True, description="Write scalars to MODEL_DIR/tensorboard.", json_schema_extra=OPERATIONAL
    )


class EvaluationConfig(Spec):
    gauc_column: str | None = Field(
        None, description="Column whose values group the examples of GAUC, a user's id.", json_schema_extra=OPERATIONAL
    )
    batch_size: int = Field(8192, ge=1, json_schema_extra=OPERATIONAL)
    compare_since: date | None = Field(
        None,
        description="First day with whose metrics and label rates those of later days are compared. Set it after a "
        "change of the labels that is meant to stay. Default: the run's first.",
        json_schema_extra=OPERATIONAL,
    )


class GateConfig(Spec):
    """What a model must be like to be published; docs/stability.md says why."""

    auc_margin: float = Field(
        0.02, ge=0, description="Most that an AUC may be below that of the healthy days before, besides its noise."
    )
    error_margin: float = Field(
        0.25, ge=0, description="Most that an RMSE may be above that of the healthy days before, as a share of it."
    )
    noise: float = Field(3.0, ge=0, description="Standard errors that count as noise between two days.")
    calibration: float = Field(
        2.0, gt=1, description="Predicted over observed, or its inverse, that a model may have on its last day."
    )


class ExportConfig(Spec):
    when: Literal["last", "every_window", "never"] = Field("last", json_schema_extra=OPERATIONAL)
    gate: GateConfig | None = Field(
        default_factory=GateConfig,
        description="What a model must be like to be published; null publishes any.",
        json_schema_extra=OPERATIONAL,
    )
    keep_versions: int = Field(
        5, ge=1, description="Newest versions kept; older ones go.", json_schema_extra=OPERATIONAL
    )
    user_columns: tuple[str, ...] = Field(
        (),
        description="Columns of the user and the context: the signature `rank` takes one row of them and many of the "
        "others, the candidates'. Without any there is no `rank`.",
        json_schema_extra=OPERATIONAL,
    )
    score_weights: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = Field(
        default_factory=dict,
        description="Weights of the tasks' predictions in the score by which `rank` orders; default: 1 for each binary "
        "task, or for every task where none is binary.",
        json_schema_extra=OPERATIONAL,
    )


class Config(Spec):
    """A training run of tfstable."""

    data: DataConfig
    features: dict[str, Feature] = Field(min_length=1, description="Model inputs by name.")
    tasks: dict[str, TaskSpec] = Field(min_length=1, description="Labels to predict by name.")
    model: ModelConfig = Field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig)
    trainer: TrainerConfig = Field(default_factory=TrainerConfig)
    divergence: DivergenceConfig = Field(default_factory=DivergenceConfig, json_schema_extra=OPERATIONAL)
    recovery: RecoveryConfig = Field(default_factory=RecoveryConfig, json_schema_extra=OPERATIONAL)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    export: ExportConfig = Field(default_factory=ExportConfig)

    @model_validator(mode="after")
    def _no_outcome_among_the_features(self):
        outcomes = {column: f"tasks.{name}" for name, column in label_columns(self.tasks).items()}
        outcomes |= {t.truth: f"tasks.{n}.truth" for n, t in self.tasks.items() if getattr(t, "truth", None)}
        for name, column in feature_columns(self.features).items():
            if column in outcomes:
                raise ValueError(f"features.{name} reads {column}, the outcome of {outcomes[column]}; drop the feature")
        return self

    @model_validator(mode="after")
    def _names_fit_a_signature(self):
        for name, column in feature_columns(self.features).items():
            if not COLUMN_NAME.fullmatch(column):
                raise ValueError(
                    f"features.{name} reads column {column!r}, which cannot name an input of an export; rename it "
                    "in the log, with letters a to z, digits and _.-/, no _ at the start, no / at the end"
                )
            if keyword.iskeyword(column) or column == "self":
                raise ValueError(
                    f"features.{name} reads column {column}, a word of Python, which cannot name an input of an "
                    "export; rename it in the log"
                )
        for name in self.tasks:
            if not TASK_NAME.fullmatch(name):
                raise ValueError(
                    f"tasks.{name}: name it with letters a to z, digits and _.-; its label may have any name"
                )
            if name == "date":
                raise ValueError("tasks.date: `tfstable predict` writes the day under that name; rename the task")
        return self

    @model_validator(mode="after")
    def _columns_are_told_apart(self):
        """An export's inputs are parameters of a function, and nodes of a graph that is blind to case."""
        columns = set(feature_columns(self.features).values())
        for kind, key in (("but for capitals", str.lower), ("but for signs", _parameter)):
            first: dict[str, str] = {}
            for column in sorted(columns):
                if (other := first.setdefault(key(column), column)) != column:
                    raise ValueError(
                        f"features: columns {other} and {column} are alike {kind}, and would be one input of an "
                        "export; rename one in the log"
                    )
        return self

    @model_validator(mode="after")
    def _columns_have_one_type(self):
        first: dict[str, tuple[str, str]] = {}
        for name, column in feature_columns(self.features).items():
            if stated := self.features[name].type:
                other, expected = first.setdefault(column, (name, stated))
                if stated != expected:
                    raise ValueError(
                        f"features.{name}.type is {stated}, but features.{other}.type, of the same column {column}, is "
                        f"{expected}; make them equal"
                    )
        return self

    @model_validator(mode="after")
    def _rank_can_be_made(self):
        columns, users = set(feature_columns(self.features).values()), self.export.user_columns
        if unknown := [name for name in users if name not in columns]:
            raise ValueError(f"export.user_columns: {unknown[0]} is the column of no feature; take it out")
        if columns == set(users):
            raise ValueError("export.user_columns: every column is the user's; leave those of the candidates out")
        if unknown := [name for name in self.export.score_weights if name not in self.tasks]:
            raise ValueError(f"export.score_weights: {unknown[0]} is no task; the tasks are {', '.join(self.tasks)}")
        if users and (taken := {"score", "order"} & self.tasks.keys()):
            raise ValueError(f"tasks.{min(taken)}: `rank` puts out something of that name; rename the task")
        return self

    @property
    def score_weights(self) -> dict[str, float]:
        """Weights of the tasks in the score of `rank`, by task."""
        binary = [name for name, task in self.tasks.items() if task.kind == "binary"]
        return self.export.score_weights or dict.fromkeys(binary or self.tasks, 1.0)

    @model_validator(mode="after")
    def _shared_tables_fit(self):
        shapes: dict[str, tuple] = {}
        for name, feature in self.features.items():
            if isinstance(feature, NumericFeature):
                continue
            table, keys = getattr(feature, "table", None) or name, ("kind", "dim", "buckets", "max_size", "min_count")
            shape = tuple(getattr(feature, key, None) for key in keys)
            if isinstance(feature, QuantileFeature):
                shape = (*shape, name)  # Its boundaries are its own, and so is its table.
            if shapes.setdefault(table, shape) != shape:
                raise ValueError(
                    f"features.{name} shares table {table} with a feature of another {', '.join(keys[:-1])} or "
                    f"{keys[-1]}; make them equal or name another table"
                )
        return self


def load(path: Path, overrides: Sequence[str] = (), kind: type[Config] = Config) -> Config:
    """Reads a config file of a `kind` and applies `a.b=c` overrides.

    Raises:
        InputError: With one line for each wrong key, naming it.
    """
    try:
        raw = yaml.load(Path(path).read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: 2025-02-30 looks like a date and is none.
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise InputError(f"{path}: a config is a mapping of keys; see `tfstable schema`")
    if raw.keys() >= {"format", "checksum"}:  # The params.yaml of a run is a config as well.
        raw = {key: value for key, value in raw.items() if key not in ("format", "checksum")}
    for override in overrides:
        _apply(raw, override)
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise InputError("\n".join(_explain(path, raw, detail, kind) for detail in error.errors())) from None


def dump(config: Config) -> str:
    """Returns the full config as YAML, defaults included; `load` reads it back."""
    return yaml.safe_dump(config.model_dump(mode="json", by_alias=True), sort_keys=False)


def set_key(raw: dict, key: str, value: Any, what: str):
    """Sets a dotted key of a config as it stands in a file; `what` begins the error's line."""
    *parents, last = key.split(".")
    for parent in parents:
        raw = raw.setdefault(parent, {})
        if not isinstance(raw, dict):
            raise InputError(f"{what}: {parent} has no keys below it")
    raw[last] = value


def weight_keys(config: Config) -> dict[str, Any]:
    """Returns the dotted keys that affect the weights, with their values."""
    return dict(_flat(config, ""))


def _parameter(column: str) -> str:
    """The name of the parameter that TensorFlow makes of an input's name."""
    name = re.sub(r"\W", "_", column)
    return name if name[0].isalpha() else f"arg_{name}"


class _Loader(yaml.SafeLoader):
    """YAML that calls a key given twice an error, where plain PyYAML lets the last one win."""

    def construct_mapping(self, node, deep=False):
        merge = "tag:yaml.org,2002:merge"  # `<<: *base`, whose keys may well be given anew.
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag != merge]
        for number, key in enumerate(keys):
            if key in keys[:number]:
                raise yaml.constructor.ConstructorError(None, None, f"key {key} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _flat(spec: Spec, prefix: str):
    for name, field in type(spec).model_fields.items():
        if (field.json_schema_extra or {}) == OPERATIONAL:
            continue
        key, value = prefix + (field.alias or name), getattr(spec, name)
        if isinstance(value, Spec):
            yield from _flat(value, key + ".")
        elif isinstance(value, dict) and any(isinstance(v, Spec) for v in value.values()):
            for inner, v in value.items():
                yield f"{key}.{inner}", v.model_dump(mode="json")
        else:
            yield key, list(value) if isinstance(value, tuple) else value


def _apply(raw: dict, override: str):
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f"--set {override}: write --set section.key=value")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        raise InputError(f"--set {override}: the value is not YAML; quote it") from None
    set_key(raw, key, value, f"--set {override}")


def _explain(path: Path, raw: dict, detail: dict, spec: type[Config]) -> str:
    """One line for one of pydantic's errors: where, what, and the remedy that it leaves out."""
    location, kind, got = _location(raw, detail["loc"]), detail["type"], detail.get("input")
    if location[-1:] == ["[key]"]:
        return f"{path}: {'.'.join(location[:-2])}: the key {got!r} is not text to YAML; quote it"
    key = ".".join(location)
    if kind == "union_tag_not_found":
        return f"{path}: {key}.kind: missing; `tfstable schema` has the kinds"
    if kind == "union_tag_invalid":
        return f"{path}: {key}.kind: one of {detail['ctx']['expected_tags']}, got {detail['ctx']['tag']!r}"
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(location[-1], _known_keys(spec), n=1)
        hint = f"; did you mean {near[0]}?" if near else "; see `tfstable schema`"
        return f"{path}: {key}: unknown key{hint}"
    if kind == "missing":
        return f"{path}: {key}: missing; it has no default"
    if kind == "value_error":
        return f"{path}: {key + ': ' if key else ''}{detail['msg'].removeprefix('Value error, ')}"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"{path}: {key}: a mapping of keys is wanted, got {got!r}; see `tfstable schema`"
    shown = "" if isinstance(got, dict | list) else f", got {got!r}"
    return f"{path}: {key}: {detail['msg']}{shown}"


def _location(raw: Any, location: tuple) -> list[str]:
    """The keys of the file that lead to pydantic's `location`, which also names the kinds by which it chose a spec."""
    keys = []
    for part in location:
        known = raw.keys() if isinstance(raw, dict) else range(len(raw)) if isinstance(raw, list) else ()
        if isinstance(raw, dict) and part not in known and part == raw.get("kind"):
            continue
        keys.append(str(part))
        raw = raw[part] if part in known else None
    return keys


def _known_keys(spec: type[Config]) -> list[str]:
    schema = spec.model_json_schema()
    return sorted({key for part in (schema, *schema["$defs"].values()) for key in part["properties"]})
