"""Compares two models on a day: difference of the predictions, quality, and change of what a user sees."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import TypeAdapter

from tfstable.data.arrays import numbers, raw_batches
from tfstable.data.columns import RawColumn, check_schemas, group_type
from tfstable.data.log import DayLog, read
from tfstable.data.types import field_type
from tfstable.errors import InputError
from tfstable.log_columns import outcome_columns
from tfstable.metrics import (
    kendall,
    prediction_difference,
    prediction_difference_by,
    prediction_difference_quantiles,
    spearman,
    top_k_churn,
)
from tfstable.serving.export import Serving, metadata, resolve, versions
from tfstable.specs import TaskSpec
from trainers.store.params import NAME, read_params
from trainers.studies.compare import quality
from trainers.training.evaluation import group_ids
from trainers.training.task_rows import task_rows

QUANTILES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)  # Of the prediction difference.
SLICES = 10  # Slices of a column: its most frequent values; numbers with more values are cut into quantiles.

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Side:
    """A model to compare.

    Attributes:
        version: Its SavedModel.
        trained_to: The last day that it was trained on.
        counted_to: The last day of which its counters know a label, if it has counters.
        columns: Raw columns that it reads.
        tasks: Of each task what its measurement needs.
        weight: Column of example weights, if it was trained with one.
        group: The run's column of users; None if the path names a version, not a run.
        score: Weight of each task in the score of `rank`; None without `rank`.
    """

    version: Path
    trained_to: str
    counted_to: str | None
    columns: dict[str, RawColumn]
    tasks: dict[str, TaskSpec]
    weight: str | None
    group: str | None
    score: Mapping[str, float] | None


def open_side(path: Path) -> Side:
    """Returns the model at `path`: a version, MODEL_DIR/export/N, or the newest version of a MODEL_DIR.

    Raises:
        InputError: If it is neither, has no version yet, or is an older version that does not name its label columns.
    """
    is_run = (path / NAME).exists()
    published = versions(path / "export")
    if is_run and not published:
        raise InputError(f"{path}: no export yet; publish one with `tfstable export --model-dir {path}`")
    version = path / "export" / str(published[-1]) if is_run else resolve(path)
    stored = metadata(version)
    columns = {name: RawColumn(**column) for name, column in stored.columns.items()}
    params = read_params(path / NAME) if is_run else {}
    if stored.tasks is not None:
        tasks, weight = stored.tasks, stored.weight
    elif is_run:
        tasks = {n: {"kind": task["kind"], "label": task.get("label") or n} for n, task in params["tasks"].items()}
        weight = params["data"].get("weight")
    else:
        raise InputError(f"{path}: an older export, which does not say its label columns; name its model directory")
    return Side(
        version,
        stored.window_end,
        stored.counted_to,
        columns,
        TypeAdapter(dict[str, TaskSpec]).validate_python(tasks),
        weight,
        _group_column(params.get("evaluation", {})),
        stored.score_weights,
    )


def _group_column(evaluation: dict[str, Any]) -> str | None:
    return evaluation.get("gauc_column") or (evaluation.get("ranking") or {}).get("by")


def compare(
    first: Path,
    second: Path,
    log: DayLog,
    day: date,
    progress: Progress,
    *,
    group: str | None = None,
    slice_by: str | None = None,
    k: int = 10,
    samples: int = 1000,
) -> dict[str, Any]:
    """Compares two models on a day of a log, which both can read.

    Args:
        first, second: The models; see `open_side`.
        log: The log.
        day: A day of it. Memory holds its predictions, labels and the columns named here, and one model at a time.
        progress: Called with rows done, rows in all and the name of the work.
        group: Column of users or requests, for churn and for intervals that resample them. Default: the run's.
        slice_by: Column by whose values to break the prediction difference down.
        k: Length of the top list for churn, NDCG and recall.
        samples: Draws of the groups behind the intervals.

    Returns:
        Plain values of the day, and per task, under `tasks`, `difference` (of predictions: mean and quantiles),
        `spearman`, `kendall`, `churn`, `slices`; for a binary task `auc`, `pr_auc` and `ne` of both and of their
        difference, with standard errors and intervals, and, given groups, `gauc`, `ndcg@k`, `recall@k`, `mrr` and
        `map`, with intervals from a bootstrap of the groups; for a regression `rmse`. `quality.binary` describes them.
        Under `score`, if both have `rank`: weights, order and churn of its score, by each model's own weights.
        Example weights count if both models were trained with the same weight column.

    Raises:
        InputError: If a model or column is missing or of the wrong type, or the models have different tasks.
    """
    sides = [open_side(path) for path in (first, second)]
    tasks, kinds = sides[0].tasks, [{n: (task.kind, task.label) for n, task in side.tasks.items()} for side in sides]
    if kinds[0] != kinds[1]:
        shown = [", ".join(f"{n} ({kind} of {label})" for n, (kind, label) in side.items()) for side in kinds]
        raise InputError(
            f"{first} predicts {shown[0]}; {second} predicts {shown[1]}; compare models of the same tasks and labels"
        )
    group = group or sides[0].group or sides[1].group
    weight = sides[0].weight if sides[0].weight == sides[1].weight else None
    if [task.weight_column for task in tasks.values()] != [task.weight_column for task in sides[1].tasks.values()]:
        tasks = {name: task.model_copy(update={"weight_column": None}) for name, task in tasks.items()}
    outcomes = outcome_columns(tasks, weight)
    for side in sides:
        check_schemas(log, day, side.columns, outcomes, [group] if group else [])
    if slice_by:
        for path, schema in log.schemas(day).items():
            if pa.types.is_nested(field_type(schema, slice_by, path)):
                raise InputError(f"--slice {slice_by}: holds lists in {path}; name a column with one value per row")

    one, other = (_predict(side.version, log, day, progress, f"predicting with {side.version}") for side in sides)
    wanted = {slice_by: None} | ({group: group_type(log.schemas(day), group)} if group else {})
    wanted |= dict.fromkeys(outcomes, pa.float32())
    wanted.pop(None, None)
    table = pa.Table.from_batches(read(log.units(day), wanted))
    weights = np.nan_to_num(numbers(table[weight])) if weight else None
    groups = group_ids(table[group]) if group else None
    sliced = slices(table[slice_by]) if slice_by else None
    result: dict[str, dict[str, Any]] = {}
    for number, (name, task) in enumerate(tasks.items()):
        progress(number, len(tasks), f"comparing {name}")
        of_task = task_rows(name, task, table, weight, day, now=log.days[-1])
        p, q = one[name], other[name]
        mean, quantiles = (
            prediction_difference(p, q, weights),
            prediction_difference_quantiles(p, q, QUANTILES, weights),
        )
        result[name] = {
            "kind": task.kind,
            "difference": {"mean": mean, "quantiles": dict(zip(map(str, QUANTILES), quantiles, strict=True))},
            "spearman": spearman(p, q),
            "kendall": kendall(p, q),
            "churn": None if groups is None else top_k_churn(p, q, groups, k)._asdict(),
            "slices": None if sliced is None else _by_slice(p, q, sliced, weights),
        }
        if task.kind == "binary":
            result[name] |= quality.binary(of_task, p, q, groups, k, samples)
        else:
            result[name] |= quality.regression(of_task, p, q)
        progress(number + 1, len(tasks), f"comparing {name}")
    return {
        "first": str(sides[0].version),
        "second": str(sides[1].version),
        "trained_to": {"first": sides[0].trained_to, "second": sides[1].trained_to},
        "counted_to": {"first": sides[0].counted_to, "second": sides[1].counted_to},
        "day": day,
        "rows": table.num_rows,
        "weight": weight,
        "group": group,
        "groups": None if groups is None else int(pd.Series(groups).nunique()),
        "slice": slice_by,
        "k": k,
        "samples": samples,
        "level": quality.LEVEL,
        "tasks": result,
        "score": _scores(sides, one, other, groups, k),
    }


def slices(column: pa.ChunkedArray) -> pd.Categorical:
    """Names the slice of each row: its value, "other" beyond the `SLICES` most frequent, or a number's quantile bin."""
    values = pd.Series(column.to_pandas(integer_object_nulls=True).to_numpy(), dtype=object)
    known = values.dropna()
    if known.nunique() > SLICES and all(isinstance(value, int | float) for value in known):
        bins = pd.qcut(values.astype(float), SLICES, duplicates="drop")
        names = bins.astype(object).map(str, na_action="ignore")
        order = [str(interval) for interval in bins.cat.categories]
    else:
        order = [str(value) for value in known.value_counts().index[:SLICES]]
        names = values.map(str, na_action="ignore")
        names[~names.isin(order) & names.notna()] = "other"
        order += ["other"] if known.nunique() > SLICES else []
    names = names.fillna("missing")
    order += ["missing"] if len(known) < len(values) else []
    return pd.Categorical(names, categories=order)


def _predict(version: Path, log: DayLog, day: date, progress: Progress, what: str) -> dict[str, np.ndarray]:
    """Returns each task's predictions for every row of the day, `(rows,)`, in the log's order."""
    serving, parts, done = Serving(version), [], 0
    for raw in raw_batches(log.units(day), serving.columns):
        parts.append(serving(raw))
        done += len(next(iter(raw.values())))
        progress(done, log.rows(day), what)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _scores(
    sides: Sequence[Side],
    one: Mapping[str, np.ndarray],
    other: Mapping[str, np.ndarray],
    groups: np.ndarray | None,
    k: int,
) -> dict[str, Any] | None:
    """How differently `rank` orders rows by the two models' own weights; None if one of them has no `rank`."""
    if any(side.score is None for side in sides):
        return None
    p, q = (
        np.sum([weight * predictions[name].astype(np.float64) for name, weight in (side.score or {}).items()], axis=0)
        for side, predictions in zip(sides, (one, other), strict=True)
    )
    return {
        "first": sides[0].score,
        "second": sides[1].score,
        "spearman": spearman(p, q),
        "kendall": kendall(p, q),
        "churn": None if groups is None else top_k_churn(p, q, groups, k)._asdict(),
    }


def _by_slice(
    first: np.ndarray, second: np.ndarray, sliced: pd.Categorical, weights: np.ndarray | None
) -> dict[str, dict[str, float]]:
    rows, differences = sliced.value_counts(), prediction_difference_by(first, second, sliced, weights)
    values = [value for value in sliced.categories if value in differences]
    return {value: {"rows": int(rows[value]), "difference": differences[value]} for value in values}
