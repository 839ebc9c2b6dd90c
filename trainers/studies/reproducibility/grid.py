"""Trains the cells one after the other, and makes the table of their figures."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tfstable.data.arrays import numbers
from tfstable.data.columns import group_type
from tfstable.data.log import read
from tfstable.files import arrays_beside, keep, recall
from tfstable.specs import labelled
from trainers.config import weight_keys
from trainers.studies.reproducibility.bench import Bench
from trainers.studies.reproducibility.config import Cell, Plan, ReproducibilityConfig
from trainers.studies.reproducibility.measure import drift, ensembles, pair_figures
from trainers.training.evaluation import evaluate


class Grid:
    """Trains the missing runs, and compares all.

    Each training leaves DIR/runs/DIGEST.json and its predictions in DIGEST.npz. The digest covers everything that the
    training depends on, so cells share trainings, and a grid may grow or change and still use the finished ones.

    Args:
        config: The config.
        bench: Where runs are trained.
        path: DIR.
        show: Called with a line for each training.
    """

    def __init__(self, config: ReproducibilityConfig, bench: Bench, path: Path, show: Callable[[str], None]):
        self._config, self._grid, self._bench, self._show = config, config.reproducibility, bench, show
        self._path, log = path / "runs", bench.log
        self._log = [[str(day), log.rows(day)] for day in log.days]
        self.days = log.days[-self._grid.days :]
        self.tasks = self._grid.tasks or tuple(labelled(config.tasks))
        weight, group = config.data.weight, config.evaluation.gauc_column
        tables: list[Any] = []  # None without a column.
        for day in self.days:
            columns = {group: group_type(log.schemas(day), group)} if group else {}
            columns |= {weight: pa.float32()} if weight else {}
            tables.append(pa.Table.from_batches(read(log.units(day), columns)) if columns else None)
        self._weights = [np.nan_to_num(numbers(table[weight])) if weight else None for table in tables]
        self._groups = [
            table[group].combine_chunks().dictionary_encode().indices.to_pandas().to_numpy() if group else None
            for table in tables
        ]

    def run(self) -> dict[str, Any]:
        """Returns the table: one row per cell, and one per size of ensemble."""
        rows, used = [], set()
        for cell in self._config.cells():
            paths = [self._trained(cell, plan) for plan in self._config.plans(cell)]
            used |= set(paths)
            records = [recall(path) for path in paths]
            arrays = [arrays_beside(path) for path in paths]
            label = self._label(cell)
            rows.append(vars(cell) | {"label": label, "size": 1} | self._figures(records, arrays))
            if self._grid.trace_every:
                rows[-1]["drift"] = self._drift(arrays)
            for size in self._grid.ensembles if cell.point == 0 and cell.curve == next(iter(self._grid.curves)) else ():
                if len(records) >= 2 * size:
                    joined = [
                        self._ensemble(group) for group in ensembles(list(zip(records, arrays, strict=True)), size)
                    ]
                    figures = self._figures(*zip(*joined, strict=True))
                    rows.append(vars(cell) | {"label": f"{label}, ensemble of {size}", "size": size} | figures)
        return {
            "log": self._bench.log.path.name,
            "days": [str(day) for day in self.days],
            "k": self._grid.k,
            "tasks": list(self.tasks),
            "trace_every": self._grid.trace_every,
            "runs": len(used),
            "rows": rows,
        }

    def path_of(self, plan: Plan) -> Path:
        """Returns where a training's record is, or will be."""
        known = [weight_keys(plan.config), *{**vars(plan), "config": None}.values(), self._log]
        return self._path / f"{hashlib.sha256(json.dumps(known, default=str).encode()).hexdigest()[:16]}.json"

    def _trained(self, cell: Cell, plan: Plan) -> Path:
        """Trains a plan if it was not; returns the path of its record."""
        path = self.path_of(plan)
        if not path.exists():
            record, arrays = self._bench.train(plan)
            keep(path, record, arrays)
            name = ", ".join(filter(None, (cell.setting, self._label(cell), cell.differ)))
            trainer, last = plan.config.trainer, record["days"][str(self.days[-1])]
            shown = [f"{task} {next(iter(last[task].values())):.4f}" for task in self.tasks]
            which = f"seeds {trainer.seed} {plan.order_seed}, {plan.replicas} replicas, {trainer.precision}"
            self._show(f"{name} ({which}): {record['steps']} steps, {record['seconds']:.1f} s, {', '.join(shown)}")
        return path

    def _label(self, cell: Cell) -> str:
        """Returns the curve's name and the keys in which its points differ."""
        points = self._grid.curves[cell.curve]
        own = [f"{key.split('.')[-1]} {value}" for key, value in points[cell.point].items() if _varies(key, points)]
        return " ".join([cell.curve, *own])

    def _figures(self, records: Sequence[dict], arrays: Sequence[dict]) -> dict[str, Any]:
        days = list(map(str, self.days))
        tasks: dict[str, dict[str, Any]] = {}
        for task in self.tasks:
            of_days = [[run[f"{day}|{task}"] for day in days] for run in arrays]
            tasks[task] = {**pair_figures(of_days, self._weights, self._groups, self._grid.k)}
            # Earlier versions kept fewer metrics, and those of lists and one's own may have been added since.
            known = [record["days"][day][task] for record in records for day in days]
            for metric in [name for name in known[0] if all(name in metrics for metrics in known)]:
                values = np.array([[record["days"][day][task][metric] for day in days] for record in records], float)
                tasks[task][metric] = float(values.mean())
                if metric in ("auc_se", "pr_auc_se"):  # Of the mean over days, which share no rows.
                    tasks[task][metric] = float(np.sqrt(np.mean(np.sum(values**2, axis=1)))) / len(days)
                if metric in ("auc", "rmse"):
                    tasks[task]["std"] = float(values.mean(axis=1).std(ddof=1)) if len(records) > 1 else None
        return {
            "runs": len(records),
            "seconds": float(np.median([record["seconds"] for record in records])),
            "tasks": tasks,
        }

    def _ensemble(self, group: Sequence[tuple[dict, dict]]) -> tuple[dict, dict]:
        """Returns record and arrays of the mean of several runs' predictions."""
        arrays = {
            f"{day}|{task}": np.mean([arrays[f"{day}|{task}"] for _, arrays in group], axis=0)
            for day in self.days
            for task in self._config.tasks
        }
        days = {}
        for day in self.days:
            predictions = {task: arrays[f"{day}|{task}"] for task in self._config.tasks}
            days[str(day)] = evaluate(self._config, self._bench.log, day, predictions)
        return {"days": days, "seconds": sum(record["seconds"] for record, _ in group)}, arrays

    def _drift(self, arrays: Sequence[dict]) -> dict[str, list[float]]:
        """Returns means over the pairs with the first run."""
        apart = [drift(arrays[0], other, list(self._config.tasks)) for other in arrays[1:]]
        return {name: np.mean([one[name] for one in apart], axis=0).tolist() for name in apart[0]}


def _varies(key: str, points: Sequence[dict]) -> bool:
    return len({str(point.get(key)) for point in points}) > 1
