"""What a grid found, as dataclasses: a row per model, treatment and threshold."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Result:
    """A run, judged on the day that is reported.

    Attributes:
        seed: Number of its seed.
        reasons: Why it counts as diverged; empty if it does not.
        micro: How often its total loss jumped and came back.
        spikes: How often a task's loss did.
        score: Its mean AUC; -inf if predictions are not finite.
    """

    seed: int
    reasons: list[str]
    micro: int
    spikes: int
    score: float


@dataclass(frozen=True)
class Cell:
    """A row at a multiple of the rate.

    Attributes:
        multiple: The multiple.
        rate: The learning rate.
        results: The runs trained there. The bisection need not train all seeds at every multiple.
        survived: Seeds that survive it, of all. A seed that was not trained here survives if it does at a larger
            multiple, and does not if it diverges at a smaller one.
        share: 95% interval of the share of runs that survive.
        mean_auc: Mean and standard deviation over `results`.
        tasks: By task, the name of its metric with mean and standard deviation.
    """

    multiple: float
    rate: float
    results: list[Result]
    survived: int
    share: tuple[float, float]
    mean_auc: Mapping[str, float | None]
    tasks: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Poisoned:
    """Runs at 1x with one bad batch, by seed, each beside the run without.

    Attributes:
        steps: Steps until the loss is back at the healthy run's; None if it never is, or if that run diverged itself.
        auc_lost: Mean AUC of the healthy run minus that of the poisoned one.
    """

    steps: list[int | None]
    auc_lost: list[float]


@dataclass
class Row:
    """A model under a treatment with one of its thresholds.

    Attributes:
        model, treatment: Their names.
        threshold: Number of the threshold in the treatment's list.
        chosen: The threshold in words; empty if the treatment has none.
        best: Whether it is the treatment's best threshold for the model.
        cells: By multiple, ascending; the reported ones, and all if the break was sought.
        last: By seed, the last multiple that it survives; None if none. Empty if the break was not sought.
        poisoned: The runs with a bad batch; None without.
        cost: Time of a step over that of the plainest treatment; None if not measured, or not for this threshold.
    """

    model: str
    treatment: str
    threshold: int
    chosen: str
    best: bool
    cells: list[Cell]
    last: list[float | None] = field(default_factory=list)
    poisoned: Poisoned | None = None
    cost: float | None = None


@dataclass
class Table:
    """The grid's figures.

    Attributes:
        days: First and last day of the log.
        rows_of_the_log: Its rows.
        chosen_on: Days on which rate and thresholds were chosen.
        reported_on: The day that is reported.
        rate: 1x.
        multiples: Of the rate, ascending.
        reported: How many of them every threshold is trained at.
        first_seed: `trainer.seed`.
        seeds: Seeds of a cell.
        runs: Runs behind the table.
        seconds: Their time.
        poison: The bad batch in words; None without.
        rows: By model, treatment and threshold.
    """

    days: tuple[str, str]
    rows_of_the_log: int
    chosen_on: list[str]
    reported_on: str
    rate: float
    multiples: tuple[float, ...]
    reported: int
    first_seed: int
    seeds: int
    runs: int
    seconds: float
    poison: str | None
    rows: list[Row]
