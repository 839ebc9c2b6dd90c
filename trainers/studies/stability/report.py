"""The grid's table, as Markdown: a leaderboard, then every threshold at every multiple."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from trainers.studies.stability.table import Cell, Row, Table

SEEDS_MATTER = (
    "A difference between two treatments counts once a second run with other seeds (`--set trainer.seed=...`) shows it "
    "too."
)


def markdown(table: Table) -> str:
    """Returns a table as a page."""
    models = list(dict.fromkeys(row.model for row in table.rows))
    lines = [
        f"# Stability on a log of {table.rows_of_the_log:,} rows, {' to '.join(table.days)}",
        "",
        f"Trained in time order with {table.seeds} seeds from {table.first_seed}, reported on {table.reported_on}, "
        f"which no run had trained on. 1x and the best thresholds there were chosen by all seeds on "
        f"{', '.join(table.chosen_on)}. 1x is a learning rate of {table.rate:g}. {table.runs} runs, "
        f"{table.seconds / 60:.0f} minutes.",
        "",
        SEEDS_MATTER,
        "",
        "## Leaderboard",
        "",
        *_legend(table),
    ]
    for model in models:
        own = [row for row in table.rows if row.model == model and row.best]
        lines += ["", f"### {model}", "", *_leaderboard(table, own)]
    for model in models:
        own = [row for row in table.rows if row.model == model]
        lines += ["", f"## {model}: every threshold and multiple", "", *_details(table, own)]
    return "\n".join(lines) + "\n"


def _legend(table: Table) -> list[str]:
    lines = [
        "Each treatment with its best threshold. AUC: mean over the binary tasks, weighted by positives, mean ± "
        "standard deviation over seeds. *Survives* m: share of runs that do not diverge at m times the rate.",
        "*Last*: median over seeds of the last multiple that survives, and its range. *Micro*: runs at the reported "
        "multiples whose total loss jumped and came back; *spikes*: jumps of a task's loss, per run.",
    ]
    if any(row.cost is not None for row in table.rows):
        lines.append("*Step*: time of a step over that of the plainest treatment.")
    if table.poison is not None:
        lines.append(
            f"*Poison*: one bad batch ({table.poison}): median of the steps until the loss is within 1% of the same "
            "run's without it, and the AUC lost on the reported day."
        )
    return lines


def _leaderboard(table: Table, rows: list[Row]) -> list[str]:
    reported, sought = range(table.reported), any(row.last for row in rows)
    shown = range(len(table.multiples)) if sought else reported
    heads = ["treatment", "threshold", *(f"AUC {table.multiples[n]:g}x" for n in reported)]
    heads += [f"survives {table.multiples[n]:g}x" for n in shown]
    heads += [*(["last"] if sought else []), "micro", "spikes"]
    costs, poison = any(row.cost is not None for row in rows), table.poison is not None
    heads += [*(["step"] if costs else []), *(["poison: steps", "AUC lost"] if poison else [])]
    lines = [_line(*heads), _line(*["---"] * len(heads))]
    for row in sorted(rows, key=lambda row: -_known(row.cells[0].mean_auc["mean"])):
        results = [result for cell in row.cells[: table.reported] for result in cell.results]
        cells = [row.treatment, row.chosen or "-", *(_auc(row.cells[n].mean_auc) for n in reported)]
        cells += [f"{row.cells[n].survived} of {table.seeds}" if n < len(row.cells) else "" for n in shown]
        cells += [_last(row.last)] if sought else []
        cells += [f"{sum(bool(r.micro) for r in results)} of {len(results)}"]
        cells += [f"{np.mean([r.spikes for r in results]):.1f}"]
        cells += [f"{row.cost:.2f}" if row.cost is not None else ""] if costs else []
        if poison and row.poisoned is not None:
            steps = np.median([math.inf if n is None else n for n in row.poisoned.steps])
            cells.append("not within the run" if math.isinf(steps) else f"{steps:g}")
            cells.append(_mean(row.poisoned.auc_lost))
        lines.append(_line(*cells))
    return lines


def _details(table: Table, rows: list[Row]) -> list[str]:
    tasks = {task: values["metric"] for task, values in rows[0].cells[0].tasks.items()}
    heads = ["mean AUC", *(f"{task} {metric.upper()}" for task, metric in tasks.items())]
    heads = ["treatment", "threshold", "rate", "survived", "95% interval", "trained", "micro", *heads]
    lines = [_line(*heads), _line(*["---"] * len(heads))]
    for row in rows:
        for cell in row.cells:
            figures = [{"metric": "auc", **cell.mean_auc}, *(cell.tasks[task] for task in tasks)]
            values = map(_value, figures) if cell.results else [""] * len(figures)
            lines.append(_line(row.treatment, row.chosen or "-", *_survival(table, cell), *values))
    return lines


def _survival(table: Table, cell: Cell) -> Iterable[str]:
    yield f"{cell.multiple:g}x"
    yield f"{cell.survived} of {table.seeds}"
    yield "{:.2f} to {:.2f}".format(*cell.share)
    yield str(len(cell.results))
    yield str(sum(bool(result.micro) for result in cell.results))


def _last(last: list[float | None]) -> str:
    if not last:
        return ""
    found = sorted(0.0 if multiple is None else multiple for multiple in last)
    middle = found[(len(found) - 1) // 2]  # The lower one of two: a multiple that was trained.
    return f"{middle:g}x ({found[0]:g} to {found[-1]:g})" if found[0] != found[-1] else f"{middle:g}x"


def _known(value: float | None) -> float:
    return -math.inf if value is None else value


def _mean(values: list[float]) -> str:
    return f"{np.mean(values):.4f}" if np.all(np.isfinite(values)) else "not finite"


def _auc(values: Mapping[str, float | None]) -> str:
    return _value({"metric": "auc", **values})


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _value(values: Mapping[str, Any]) -> str:
    if values["mean"] is None:
        return "not finite"
    if values["mean"] > 1e6:  # The RMSE of a model that diverged.
        return f"{values['mean']:.1g}"
    digits = 4 if values["metric"] == "auc" else 3
    spread = "" if values["std"] is None else f" ± {values['std']:.{digits}f}"
    return f"{values['mean']:.{digits}f}{spread}"
