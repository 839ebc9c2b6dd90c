"""Trains the runs of the grid in order, and makes the table of their figures."""

import itertools
from collections.abc import Callable, Collection, Sequence
from datetime import date
from typing import Any

import numpy as np

from tfstable.errors import InputError
from tfstable.specs import labelled
from trainers.studies.stability.bench import Bench, Point, Trained
from trainers.studies.stability.config import StabilityConfig
from trainers.studies.stability.judge import (
    Record,
    divergence,
    last_survived,
    mean_and_std,
    micro_divergences,
    score,
    spikes,
    wilson,
)
from trainers.studies.stability.poison import steps_to_recover
from trainers.studies.stability.records import Folder, Records
from trainers.studies.stability.table import Cell, Poisoned, Result, Row, Table


class Grid:
    """The protocol of table 2 of Tang et al., 2023, with survival at every multiple of the rate.

    1. 1x is the rate at which the first model is best under `rate_treatment`.
    2. At the reported multiples, 1x and 2x, each model is trained under each treatment with each threshold and seed.
       A treatment's best threshold for a model has the most surviving runs at the first, then the best mean AUC.
    3. For each threshold and seed, bisection among the doublings finds the last multiple that survives.
    4. With `poison`, each threshold and seed is trained at 1x once more, with one bad batch.

    Rate and thresholds are chosen by all seeds on the `choosing_days` before the log's last day; a run is evaluated on
    each of them before it trains on it. Everything reported is measured on the last day.

    Args:
        config: The grid's config.
        bench: Where runs are trained.
        records: Where they are kept.
        show: Called with a line for each run.
    """

    def __init__(self, config: StabilityConfig, bench: Bench, records: Records, show: Callable[[str], None]):
        self._config, self._bench, self._records, self._show = config, bench, records, show
        self._grid = config.stability
        days, window, choosing = bench.log.days, config.trainer.window_days, self._grid.choosing_days
        if len(days) < window + choosing + 1:
            raise InputError(
                f"{bench.log.path}: {len(days)} days; a grid needs a window of {window}, {choosing} to choose on and "
                "one to report; lower trainer.window_days or stability.choosing_days, or give a longer log"
            )
        self.choosing, self.reporting = [str(day) for day in days[-1 - choosing : -1]], str(days[-1])
        self.tasks = {n: "auc" if config.tasks[n].kind == "binary" else "rmse" for n in labelled(config.tasks)}
        steps = sum(plan.total for plan in bench.plans(config.trainer, days[-1]))
        if self._grid.poison is not None and self._grid.poison.step >= steps:
            raise InputError(
                f"stability.poison.step must be below {steps}, the steps of a run; got {self._grid.poison.step}"
            )
        self.pictured = self._grid.pictured or tuple(self._grid.treatments)
        self.sharpness_steps, self.sharpness_every = self._grid.sharpness_steps, self._grid.sharpness_every
        self._positives = bench.positives(days[-2])
        self._usual: dict[str, float] = {}  # Mean AUC of healthy runs, by day.
        self._seconds: dict[tuple[Folder, Point], float] = {}  # Of every run of the table, trained now or earlier.

    def run(self) -> Table:
        """Trains the missing runs; returns the table."""
        grid, log = self._grid, self._bench.log
        rate = self._best_rate()
        rows = []
        for model, treatment in itertools.product(grid.models, grid.treatments):
            thresholds = range(len(grid.treatments[treatment]))
            best = max(thresholds, key=lambda threshold: self._quality(model, treatment, threshold, rate))
            rows += [self._row(model, treatment, threshold, rate, threshold == best) for threshold in thresholds]
        poison = grid.poison
        bad_batch = (
            f"binary labels inverted, weights times {poison.weight:g}, at step {poison.step}" if poison else None
        )
        return Table(
            days=(str(log.days[0]), str(log.days[-1])),
            rows_of_the_log=sum(log.rows(day) for day in log.days),
            chosen_on=self.choosing,
            reported_on=self.reporting,
            rate=rate,
            multiples=grid.multiples,
            reported=len(grid.reported),
            first_seed=self._config.trainer.seed,
            seeds=grid.seeds,
            runs=len(self._seconds),
            seconds=sum(self._seconds.values()),
            poison=bad_batch,
            rows=rows,
        )

    def record(self, run: Point, folder: Folder = "runs") -> Record:
        """Returns the record of a run of the table, poisoned or not, trained now if it is not there."""
        evaluated = {date.fromisoformat(day) for day in (*self.choosing, self.reporting)}
        poison = self._grid.poison if folder == "poisoned" else None
        record = self._records.get(run, lambda: self._trained(run, evaluated, poison=poison), folder)
        self._seconds[folder, run] = record["seconds"]
        return record

    def watched(self, run: Point, probed: Collection[int] = ()) -> tuple[Record, dict[str, np.ndarray]]:
        """Returns a run that is evaluated on every day and watched in every step: its record, and its arrays.

        Args:
            run: The run.
            probed: Steps before which its sharpness is measured, if it is trained now.
        """
        days = set(self._bench.log.days[self._config.trainer.window_days :])
        record = self._records.get(run, lambda: self._trained(run, days, watch=True, probed=probed), "watched")
        return record, self._records.arrays(run, "watched")

    def _trained(self, run: Point, evaluated: set[date], **how: Any) -> Trained:
        trained = self._bench.train(run, evaluated, **how)
        kinds = sorted({f["kind"] for f in trained.findings if f["column"] == "loss"})
        metrics = trained.days[self.reporting]
        shown = [f"{task} {metrics[task][metric]:.4f}" for task, metric in self.tasks.items()]
        chosen = self._in_words(run)
        name = [run.model, run.treatment, *([chosen] if chosen else []), f"rate {run.rate:g}", f"seed {run.seed}"]
        name += ["poisoned"] if how.get("poison") else []
        self._show(f"{', '.join(name)}: {trained.seconds:.1f} s, {', '.join([*shown, *kinds])}")
        return trained

    def _best_rate(self) -> float:
        grid, model, treatment = self._grid, next(iter(self._grid.models)), self._grid.rate_treatment
        thresholds = range(len(grid.treatments[treatment]))

        def mean_score(cell: tuple[int, float]) -> float:
            return float(np.mean([self._score(self.record(run)) for run in self._runs(model, treatment, *cell)]))

        threshold, rate = max(itertools.product(thresholds, grid.rates), key=mean_score)
        healthy = [self.record(run) for run in self._runs(model, treatment, threshold, rate)]
        for day in (self.choosing[-1], self.reporting):
            self._usual[day] = float(np.median([score(record, day, self._positives) for record in healthy]))
        return rate

    def _runs(self, model: str, treatment: str, threshold: int, rate: float) -> list[Point]:
        """The runs of a cell, one per seed."""
        return [Point(model, treatment, threshold, rate, seed) for seed in range(self._grid.seeds)]

    def _score(self, record: Record) -> float:
        """Mean over the days on which is chosen."""
        return float(np.mean([score(record, day, self._positives) for day in self.choosing]))

    def _quality(self, model: str, treatment: str, threshold: int, rate: float) -> tuple[int, float]:
        """How many runs of a threshold survive at the first reported multiple, and their mean score."""
        runs = self._runs(model, treatment, threshold, rate * self._grid.reported[0])
        day = self.choosing[-1]
        healthy = [
            self._score(record)
            for record in map(self.record, runs)
            if not divergence(record, self._usual[day], day, self._positives)
        ]
        return len(healthy), float(np.mean(healthy)) if healthy else 0.0

    def _row(self, model: str, treatment: str, threshold: int, rate: float, best: bool) -> Row:
        grid = self._grid
        multiples = list(grid.reported)
        trained: dict[float, dict[int, Result]] = {m: {} for m in grid.multiples}

        def survives(seed: int, number: int) -> bool:
            multiple = grid.multiples[number]
            run = Point(model, treatment, threshold, rate * multiple, seed)
            trained[multiple][seed] = self._result(run)
            return not trained[multiple][seed].reasons

        known = [[survives(seed, n) for n in range(len(multiples))] for seed in range(grid.seeds)]
        sought = grid.breaks == "all" or (grid.breaks == "best" and best)
        last = [-1] * grid.seeds
        if sought:
            multiples = list(grid.multiples)
            for seed in range(grid.seeds):
                last[seed] = last_survived(known[seed], len(multiples), lambda number: survives(seed, number))  # noqa: B023
        cells = []
        for number, multiple in enumerate(multiples):
            inferred = {seed: number <= last[seed] for seed in range(grid.seeds)} if sought else {}
            seen = {seed: not result.reasons for seed, result in trained[multiple].items()}
            survived = sum((inferred | seen).values())
            runs = [Point(model, treatment, threshold, rate * multiple, seed) for seed in sorted(trained[multiple])]
            cells.append(self._cell(multiple, rate * multiple, runs, trained[multiple], survived))
        return Row(
            model,
            treatment,
            threshold,
            self._in_words(Point(model, treatment, threshold, rate, 0)),
            best,
            cells,
            [None if number < 0 else grid.multiples[number] for number in last] if sought else [],
            self._poisoned(model, treatment, threshold, rate),
        )

    def _result(self, run: Point) -> Result:
        record, day = self.record(run), self.reporting
        reasons = divergence(record, self._usual[day], day, self._positives)
        return Result(run.seed, reasons, micro_divergences(record), spikes(record), score(record, day, self._positives))

    def _cell(
        self, multiple: float, rate: float, runs: Sequence[Point], results: dict[int, Result], survived: int
    ) -> Cell:
        days = [self.record(run)["days"][self.reporting] for run in runs]
        tasks = {
            task: {"metric": metric, **mean_and_std([day[task][metric] for day in days])}
            for task, metric in self.tasks.items()
        }
        ordered = [results[run.seed] for run in runs]
        share = wilson(survived, self._grid.seeds)
        return Cell(multiple, rate, ordered, survived, share, mean_and_std([r.score for r in ordered]), tasks)

    def _poisoned(self, model: str, treatment: str, threshold: int, rate: float) -> Poisoned | None:
        poison, steps, lost = self._grid.poison, [], []
        if poison is None:
            return None
        for run in self._runs(model, treatment, threshold, rate * self._grid.reported[0]):
            scores = [score(self.record(run, f), self.reporting, self._positives) for f in ("runs", "poisoned")]
            losses, healthy = (self._records.arrays(run, f)["losses"][:, 0] for f in ("poisoned", "runs"))
            diverged = bool(self._result(run).reasons)  # Then its losses are no measure of health.
            steps.append(None if diverged else steps_to_recover(losses, healthy, poison.step))
            lost.append(scores[0] - scores[1])
        return Poisoned(steps, lost)

    def _in_words(self, run: Point) -> str:
        return plainly(self._grid.treatments[run.treatment][run.threshold].model_dump(mode="json", exclude_unset=True))


def plainly(chosen: dict[str, Any]) -> str:
    """Writes `{"dense": {"kind": "clippy", "absolute": 0.01}}` as `absolute 0.01`."""
    parts = []
    for key, value in chosen.items():
        if isinstance(value, dict):
            inner = plainly({k: v for k, v in value.items() if k != "kind"})
            parts.append(inner if key in ("dense", "model", "rule", "schedule") else f"{key}: {inner}")
        else:
            parts.append(f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}")
    return ", ".join(filter(None, parts))
