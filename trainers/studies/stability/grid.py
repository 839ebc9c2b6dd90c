"""Trains the runs of the grid in order, and makes the table of their figures."""

import itertools
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

import numpy as np

from tfstable.errors import InputError
from tfstable.specs import labelled
from trainers.studies.stability.bench import Bench, Point, Trained
from trainers.studies.stability.config import StabilityConfig
from trainers.studies.stability.judge import Record, divergence, mean_and_std, micro_divergences, score
from trainers.studies.stability.records import Records


class Grid:
    """The protocol of table 2 of Tang et al., 2023.

    1. 1x is the rate at which the first model is best under `rate_treatment`.
    2. At the reported multiples, 1x and 2x, each model is trained under each treatment with each threshold, first
       seed; the best threshold is trained with the other seeds.
    3. What survives there is doubled with the first seed and the threshold of the largest reported multiple, until it
       breaks.

    Rate and thresholds are chosen on the log's last day but one, each run having been trained on the days before it.
    Everything reported is measured on the last day, after the same run has also trained on the day before.

    Args:
        config: The grid's config.
        bench: Where runs are trained.
        records: Where they are kept.
        show: Called with a line for each run.
    """

    def __init__(self, config: StabilityConfig, bench: Bench, records: Records, show: Callable[[str], None]):
        self._grid, self._bench, self._records, self._show = config.stability, bench, records, show
        days = bench.log.days
        if len(days) < config.trainer.window_days + 2:
            raise InputError(
                f"{bench.log.path}: {len(days)} days; a grid needs a window of {config.trainer.window_days}, a day to "
                "choose on and one to report; lower trainer.window_days or give a longer log"
            )
        self.choosing, self.reporting = str(days[-2]), str(days[-1])
        self.tasks = {n: "auc" if config.tasks[n].kind == "binary" else "rmse" for n in labelled(config.tasks)}
        self.sharpness_steps = config.stability.sharpness_steps
        self._positives = bench.positives(days[-2])
        self.reference: Record = {}
        self._seconds: dict[Point, float] = {}  # Of every run of the table, trained now or earlier.

    def run(self) -> dict[str, Any]:
        """Trains the missing runs; returns the table."""
        grid, log = self._grid, self._bench.log
        rate = self._best_rate()
        rows: list[dict[str, Any]] = []
        broken: set[tuple[str, str]] = set()
        chosen: dict[tuple[str, str], int] = {}
        doubled = [m for m in (max(grid.reported) * 2.0**k for k in range(1, 64)) if m <= grid.most]
        for multiple in (*sorted(grid.reported), *doubled):
            for cell in itertools.product(grid.models, grid.treatments):
                if multiple in grid.reported:
                    row = self._cell(*cell, rate * multiple, range(len(grid.treatments[cell[1]])), grid.seeds)
                elif cell not in broken:
                    row = self._cell(*cell, rate * multiple, [chosen[cell]], 1)
                else:
                    continue
                rows.append({"multiple": multiple, **row})
                chosen[cell] = row["threshold"]
                if row["diverged"]:
                    broken.add(cell)
        return {
            "days": [str(log.days[0]), str(log.days[-1])],
            "rows_of_the_log": sum(log.rows(day) for day in log.days),
            "chosen_on": self.choosing,
            "reported_on": self.reporting,
            "rate": rate,
            "most": grid.most,
            "runs": len(self._seconds),
            "seconds": sum(self._seconds.values()),
            "rows": rows,
            "survived": {model: {t: self._survived(rows, model, t) for t in grid.treatments} for model in grid.models},
        }

    def record(self, run: Point) -> Record:
        """Returns a run's record, trained now if it is not there."""
        evaluated = {date.fromisoformat(self.choosing), date.fromisoformat(self.reporting)}
        record = self._records.get(run, lambda: self._trained(run, evaluated))
        self._seconds[run] = record["seconds"]
        return record

    def watched(self, run: Point, probed: range = range(0)) -> tuple[Record, dict[str, np.ndarray]]:
        """Returns a run that is evaluated on every day and watched in every step: its record, and its arrays.

        Args:
            run: The run.
            probed: Steps before which its sharpness is measured, if it is trained now.
        """
        days = set(self._bench.log.days[1:])
        record = self._records.get(run, lambda: self._trained(run, days, watch=True, probed=probed), watched=True)
        return record, self._records.arrays(run, watched=True)

    def _trained(self, run: Point, evaluated: set[date], **watch: Any) -> Trained:
        trained = self._bench.train(run, evaluated, **watch)
        kinds = sorted({f["kind"] for f in trained.findings if f["column"] == "loss"})
        metrics = trained.days[self.reporting]
        shown = [f"{task} {metrics[task][metric]:.4f}" for task, metric in self.tasks.items()]
        chosen = _plainly(self._grid.treatments[run.treatment][run.threshold].model_dump(exclude_unset=True))
        name = [run.model, run.treatment, *([chosen] if chosen else []), f"rate {run.rate:g}", f"seed {run.seed}"]
        self._show(f"{', '.join(name)}: {trained.seconds:.1f} s, {', '.join([*shown, *kinds])}")
        return trained

    def _best_rate(self) -> float:
        grid, model = self._grid, next(iter(self._grid.models))
        thresholds = range(len(grid.treatments[grid.rate_treatment]))
        runs = [Point(model, grid.rate_treatment, i, rate, 0) for i in thresholds for rate in grid.rates]
        best = max(runs, key=lambda run: score(self.record(run), self.choosing, self._positives))
        self.reference = self.record(best)
        return best.rate

    def _cell(self, model: str, treatment: str, rate: float, thresholds: Sequence[int], seeds: int) -> dict[str, Any]:
        """Returns a row of the table: the best threshold by the first seed, trained with all seeds."""
        grid = self._grid
        runs = [Point(model, treatment, i, rate, 0) for i in thresholds]

        def quality(run: Point) -> tuple[bool, float]:
            record = self.record(run)
            healthy = not divergence(record, self.reference, self.choosing, self._positives)
            return healthy, score(record, self.choosing, self._positives)

        best = max(runs, key=quality) if len(runs) > 1 else runs[0]
        records = [self.record(Point(model, treatment, best.threshold, rate, seed)) for seed in range(seeds)]
        settings = (self.reference, self.reporting, self._positives)
        reasons = [divergence(record, *settings) for record in records]
        return {
            "model": model,
            "treatment": treatment,
            "rate": rate,
            "threshold": best.threshold,
            "chosen": _plainly(grid.treatments[treatment][best.threshold].model_dump(mode="json", exclude_unset=True)),
            "seeds": len(records),
            "diverged": sum(map(bool, reasons)),
            "reasons": reasons,
            "micro": sum(bool(micro_divergences(r)) for r in records),
            "mean_auc": mean_and_std([score(r, self.reporting, self._positives) for r in records]),
            "tasks": {
                task: {"metric": metric, **mean_and_std([r["days"][self.reporting][task][metric] for r in records])}
                for task, metric in self.tasks.items()
            },
        }

    @staticmethod
    def _survived(rows: list[dict[str, Any]], model: str, treatment: str) -> float | None:
        """Returns the largest multiple up to which no run diverged; None if one did at 1x."""
        largest = None
        for row in rows:
            if (row["model"], row["treatment"]) == (model, treatment):
                if row["diverged"]:
                    break
                largest = row["multiple"]
        return largest


def _plainly(chosen: dict[str, Any]) -> str:
    """Writes `{"dense": {"kind": "clippy", "absolute": 0.01}}` as `absolute 0.01`."""
    parts = []
    for key, value in chosen.items():
        if isinstance(value, dict):
            inner = _plainly({k: v for k, v in value.items() if k != "kind"})
            parts.append(inner if key == "dense" else f"{key}: {inner}")
        else:
            parts.append(f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}")
    return ", ".join(parts)
