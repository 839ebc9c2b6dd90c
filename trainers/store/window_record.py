"""The record of a window, MODEL_DIR/windows/DAY/metrics.json."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

# By metric, None where it could not be computed. Under `slices`, if there: by column and value the same of a slice.
TaskMetrics = Mapping[str, Any]
Metrics = Mapping[str, TaskMetrics]  # By task.


@dataclass(frozen=True)
class WindowRecord:
    """A trained window and the metrics of the days after it.

    Attributes:
        window: First and last day of the window.
        examples: Examples trained on, over all passes.
        steps: Batches trained on, over all passes; both without those that a recovery left out.
        seconds: Wall time of the training, in the process that finished the window.
        examples_per_second: Of the examples that this process trained.
        eval_day: The first day after the window; None until it has been evaluated.
        tasks: Its metrics by task.
        evaluation_seconds: Wall time of the evaluation.
        later_days: Metrics by day and task of the other days up to the next window's end.
        odd: Faults of evaluated days, by day and task.
    """

    window: tuple[date, date]
    examples: int
    steps: int
    seconds: float
    examples_per_second: float
    eval_day: date | None = None
    tasks: Metrics | None = None
    evaluation_seconds: float | None = None
    later_days: Mapping[date, Metrics] = field(default_factory=dict)
    odd: Mapping[date, Mapping[str, list[str]]] = field(default_factory=dict)

    @property
    def last(self) -> date:
        """The last day of the window."""
        return self.window[1]

    @property
    def evaluations(self) -> dict[date, Metrics]:
        """Metrics by task of each evaluated day."""
        return {} if self.eval_day is None else {self.eval_day: self.tasks or {}, **self.later_days}

    def to_json(self) -> dict[str, Any]:
        """Returns the record as metrics.json has it: days as text, `later_days` and `odd` unless empty."""
        plain = asdict(self) | {
            "window": [str(day) for day in self.window],
            "eval_day": self.eval_day and str(self.eval_day),
        }
        for name in ("later_days", "odd"):
            days = {str(day): of_day for day, of_day in plain.pop(name).items()}
            plain |= {name: days} if days else {}
        return plain

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "WindowRecord":
        """Returns the record of a `to_json`."""
        days = {
            name: {date.fromisoformat(day): of_day for day, of_day in stored.get(name, {}).items()}
            for name in ("later_days", "odd")
        }
        first, last = stored["window"]
        return cls(
            **{name: value for name, value in stored.items() if name in cls.__dataclass_fields__}
            | {"window": (date.fromisoformat(first), date.fromisoformat(last))}
            | {"eval_day": stored["eval_day"] and date.fromisoformat(stored["eval_day"])}
            | days
        )
