"""The config's sections on data, training and export. Imports no TensorFlow."""

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tfstable.data.group_shuffle import PARTS
from tfstable.specs import CHANGEABLE, OPERATIONAL, Positive, Spec

# Marks keys that number the batches of a window: a run may change them, and a window that has begun keeps them.
WINDOW_END: dict[str, Any] = {"changeable": "at a window's end"}


class SimulateConfig(Spec):
    """Arguments of `tfstable simulate`, which makes the log if `data.path` does not exist yet."""

    days: int = Field(14, ge=1, description="Number of days.")
    rows_per_day: int = Field(50_000, ge=1, description="Rows per day.")
    seed: int = Field(0, ge=0, description="Seed of the simulated world.")
    first_day: date = Field(date(2025, 1, 1), description="Date of the first day.")
    shock_days: tuple[int, ...] = Field(
        (), description="Numbers of the days on which the data shift abruptly; the first day is 0."
    )
    taste_change_days: tuple[int, ...] = Field(
        (), description="Numbers of the days on which tastes change for good; the first day is 0."
    )


class DataConfig(Spec):
    """The log, and how to read it."""

    path: Path = Field(description="The log: a directory of date=YYYY-MM-DD partitions.", json_schema_extra=OPERATIONAL)
    until: date | None = Field(
        None,
        description="Last day to train on and to evaluate on during training. Later days are held out for `tfstable "
        "evaluate` and `tfstable compare`. Default: the last day of the log.",
        json_schema_extra=OPERATIONAL,
    )
    since: date | None = Field(
        None,
        description="First day to train on. Counters count earlier days, too. Default: the first day of the log.",
        json_schema_extra=OPERATIONAL,
    )
    missing_day: Literal["error", "skip"] = Field(
        "error",
        description="error: stop if a day is missing between two others. skip: continue without it.",
        json_schema_extra=OPERATIONAL,
    )
    weight: str | None = Field(None, description="Column of example weights. Default: every example has a weight of 1.")
    buffer_rows: int = Field(
        500_000,
        ge=1,
        description="Rows that are shuffled together and held in memory.",
        json_schema_extra=WINDOW_END,
    )
    reader_threads: int | None = Field(
        None,
        ge=1,
        description="Threads that decode files. Default: one per core.",
        json_schema_extra=OPERATIONAL,
    )
    prefetch: int = Field(
        4, ge=1, description="Batches to prepare ahead of the training step.", json_schema_extra=OPERATIONAL
    )
    simulate: SimulateConfig | None = Field(
        None, description="Simulate a log if data.path does not exist.", json_schema_extra=OPERATIONAL
    )


class ShuffleConfig(Spec):
    """The order of the rows of a window."""

    kind: Literal["full", "blocks", "swaps", "groups"] = Field(
        "full",
        description="full: any order. blocks: the order of the log, shuffled within blocks of `rows`. swaps: one full "
        "shuffle for all seeds, in which the seed swaps neighbouring batches. groups: the rows of a day with one value "
        "of `by` come together, in one batch.",
    )
    rows: int | None = Field(None, ge=1, description="Rows per block, for kind: blocks.")
    by: str | None = Field(
        None,
        min_length=1,
        description="Column that groups rows, such as a request or a user, for kind: groups. A row without a value is "
        "by itself.",
    )
    parts: int | None = Field(
        None,
        ge=1,
        description="Equal parts of a batch, in each of which groups stay whole, for kind: groups: a multiple of the "
        f"replicas. Larger groups are cut. Default: {PARTS}.",
    )

    @model_validator(mode="after")
    def _keys_of_the_kind(self) -> "ShuffleConfig":
        if (self.kind == "blocks") != (self.rows is not None):
            raise ValueError("kind: blocks and rows need each other: give both or neither")
        if (self.kind == "groups") != (self.by is not None):
            raise ValueError("kind: groups and by need each other: give both or neither")
        if self.parts is not None and self.kind != "groups":
            raise ValueError("only kind: groups has parts; drop one of the two")
        return self

    @property
    def group_parts(self) -> int:
        """The parts of a batch."""
        return self.parts or PARTS


class TrainerConfig(Spec):
    """Windows, steps, devices and checkpoints of a training."""

    window_days: int = Field(1, ge=1, description="Days per window.")
    stride_days: int = Field(1, ge=1, description="Days from the end of one window to the end of the next.")
    passes: Positive = Field(
        1.0,
        description="Passes over each window. A fraction trains on a part of it.",
        json_schema_extra=WINDOW_END,
    )
    steps: int | None = Field(
        None, ge=1, description="Steps per window, instead of passes.", json_schema_extra=WINDOW_END
    )
    refit_windows: int | None = Field(
        None,
        ge=1,
        description="Fit the moments of numeric features anew every N windows, on the days of the window that is about "
        "to be trained. Default: those of the first window stay.",
        json_schema_extra=CHANGEABLE,
    )
    batch_size: int = Field(
        1024, ge=1, description="Examples per step, summed over all replicas.", json_schema_extra=WINDOW_END
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of the initial weights and of the order of the rows.")
    shuffle: ShuffleConfig = Field(
        default_factory=ShuffleConfig, description="The order of the rows of a window.", json_schema_extra=WINDOW_END
    )
    strategy: Literal["one_device", "mirrored", "multi_worker", "tpu", "auto"] = Field(
        "one_device",
        description="one_device: the first GPU, or the CPU. mirrored: all GPUs of this host. multi_worker: the workers "
        "that TF_CONFIG names. tpu: all cores of a TPU. auto: the first available of several workers, a TPU, several "
        "GPUs, one device.",
        json_schema_extra=OPERATIONAL,
    )
    devices: int | None = Field(
        None,
        ge=1,
        description="Number of GPUs for strategy: mirrored; without GPUs, number of parts of the CPU. Default: all.",
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
        description="Limit on the size of all embedding tables, in GB, on a TPU without SparseCores.",
        json_schema_extra=OPERATIONAL,
    )
    precision: Literal["float32", "mixed_bfloat16", "float64"] = Field(
        "float32", description="Precision of the layers. mixed_bfloat16 computes in bfloat16 with float32 weights."
    )
    xla: bool = Field(
        False, description="Compile the training step with XLA. Start-up takes longer.", json_schema_extra=OPERATIONAL
    )
    deterministic: bool = Field(
        False,
        description="Use TensorFlow's deterministic operations: the same bits in every run, on GPUs too. Slows down "
        "training on GPUs.",
        json_schema_extra=OPERATIONAL,
    )
    steps_per_call: int = Field(
        20,
        ge=1,
        description="Upper limit on the steps per call of the TensorFlow graph. Slow steps use fewer.",
        json_schema_extra=OPERATIONAL,
    )
    checkpoint_minutes: Positive = Field(
        10.0, description="Minutes between checkpoints inside a window.", json_schema_extra=OPERATIONAL
    )
    keep_checkpoints: int = Field(
        3, ge=1, description="Number of newest checkpoints to keep.", json_schema_extra=OPERATIONAL
    )
    keep_weekly: int = Field(
        0,
        ge=0,
        description="Also keep the last checkpoint of each week, for this many newest weeks of data.",
        json_schema_extra=OPERATIONAL,
    )
    track_every: int = Field(
        0,
        ge=0,
        description="Log the clipping factor and norms of each variable to TensorBoard every N steps; 0 = off.",
        json_schema_extra=OPERATIONAL,
    )
    sharpness_every: int = Field(
        0,
        ge=0,
        description="Log the loss sharpness and 2/learning_rate to TensorBoard every N steps (each costs many steps); "
        "0 = off.",
        json_schema_extra=OPERATIONAL,
    )
    task_gradients_every: int = Field(
        0,
        ge=0,
        description="Log the cosines between the tasks' gradients on the dense weights that they share to TensorBoard "
        "every N steps, on one fixed batch of the window (each costs a backward pass per task); 0 = off.",
        json_schema_extra=OPERATIONAL,
    )
    tensorboard: bool = Field(
        True, description="Write scalars to MODEL_DIR/tensorboard.", json_schema_extra=OPERATIONAL
    )


class GateConfig(Spec):
    """The limits that a model must meet to be published; docs/stability.md gives the reasons."""

    auc_margin: float = Field(
        0.02, ge=0, description="Allowed loss of AUC against earlier healthy days, in addition to its noise."
    )
    error_margin: float = Field(
        0.25, ge=0, description="Allowed rise of RMSE against earlier healthy days, as a share of it."
    )
    noise: float = Field(3.0, ge=0, description="Differences of up to this many standard errors count as noise.")
    calibration: float = Field(
        2.0,
        gt=1,
        description="Upper limit on predicted/observed positives of the model's last day; its inverse is the lower "
        "limit.",
    )


class ExportConfig(Spec):
    """When to export the model, and with which signatures."""

    when: Literal["last", "every_window", "never"] = Field(
        "last", description="Export after the last window, after every window, or never.", json_schema_extra=OPERATIONAL
    )
    gate: GateConfig | None = Field(
        default_factory=GateConfig,
        description="Limits that a model must meet to be published; null publishes every model.",
        json_schema_extra=OPERATIONAL,
    )
    keep_versions: int = Field(
        5, ge=1, description="Number of newest versions to keep. Older ones are deleted.", json_schema_extra=OPERATIONAL
    )
    user_columns: tuple[str, ...] = Field(
        (),
        description="Columns of the user and the context. The signature `rank` takes one row of these and many rows of "
        "the other columns, one per candidate. Default: no signature `rank`.",
        json_schema_extra=OPERATIONAL,
    )
    explain: bool = Field(
        False,
        description="Add the signature `explain`: each feature's share of the logit of each task, by integrated "
        "gradients with 64 points: 64 forward passes per row, and as many backward passes per task.",
        json_schema_extra=OPERATIONAL,
    )
    score_weights: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = Field(
        default_factory=dict,
        description="Weight of each task's prediction in the score by which `rank` orders. Default: 1 per binary task; "
        "without binary tasks, 1 per task.",
        json_schema_extra=OPERATIONAL,
    )
