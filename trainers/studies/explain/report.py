"""Shows an explanation: a table on the console, explain.json, explain.png and rows.png."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from tfstable.errors import InputError
from tfstable.files import plain, write_json
from trainers.studies.explain.explain import Explanation
from trainers.studies.pictures import figure_of, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REPORT, PICTURES = "explain", ("explain.png", "rows.png")
MOST_BARS = 20  # Units in a picture: those that matter most.


def show(found: Explanation, console: Console) -> None:
    """Prints an explanation: per unit what each task loses without it, and the size of its shares."""
    model = f"{found.day}, by the model trained to {found.trained_to}: {found.rows:,} rows permuted"
    console.print(model, soft_wrap=True, highlight=False)
    if found.seen:
        console.print(
            f"the model was trained on {found.day}: what it learned by heart of that day counts as importance; name a "
            "later day",
            soft_wrap=True,
            highlight=False,
        )
    table = Table("feature", *(f"{task}: {_lost(metric)}" for task, metric in found.metrics.items()))
    table.title = "permutation importance, with its 95% interval; * differs from 0"
    for unit in sorted(found.importance, key=lambda name: -_most(found, name)):
        cells = []
        for task in found.metrics:
            loss, (low, high) = found.importance[unit][task].loss, found.importance[unit][task].interval
            cells.append(f"{loss:+.4f} ({low:+.4f} to {high:+.4f}){'*' if low > 0 or high < 0 else ''}")
        table.add_row(unit, *cells)
    console.print(table)
    shares = Table("feature", *found.size)
    shares.title = f"integrated gradients: mean |share| of the logit over {found.gradient_rows:,} rows"
    first = next(iter(found.size.values()))
    for unit in sorted(first, key=lambda name: -first[name]):
        shares.add_row(unit, *(f"{of_task[unit]:.4f}" for of_task in found.size.values()))
    console.print(shares)
    missed = ", ".join(f"{task} {value:.1e}" for task, value in found.completeness.items())
    console.print(
        f"completeness: the shares miss of the change of the logit, with {found.points} midpoints from "
        f"{found.baseline}: {missed}",
        soft_wrap=True,
        highlight=False,
    )
    if max(found.completeness.values()) > 1e-3:
        console.print("that is more than 1e-3: raise --points, or take --baseline mean", soft_wrap=True)


def write_report(found: Explanation, out: Path) -> None:
    """Writes explain.json, explain.png and, of single rows, rows.png into a directory, each atomically.

    Raises:
        InputError: If they cannot be written.
    """
    try:
        write_json(out / f"{REPORT}.json", plain(to_json(found)))
        _draw(found, out / PICTURES[0])
        if any(found.single.values()):
            _draw_rows(found, out / PICTURES[1])
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written ({error.strerror}); choose another place") from None


def to_json(found: Explanation) -> dict[str, Any]:
    """Returns everything that was found, as plain JSON values."""
    importance = {
        unit: {task: {"loss": loss.loss, "se": loss.se, "interval": loss.interval} for task, loss in of_task.items()}
        for unit, of_task in found.importance.items()
    }
    units = {name: unit._asdict() for name, unit in found.units.items()}
    return {"report": REPORT} | asdict(found) | {"path": str(found.path), "units": units, "importance": importance}


def _lost(metric: str) -> str:
    return "AUC lost" if metric == "auc" else "RMSE gained"


def _most(found: Explanation, unit: str) -> float:
    """The greatest loss of a unit in standard errors: tasks have different scales."""
    losses = found.importance[unit].values()
    return max((each.loss / each.se if each.se > 0 else 0.0 for each in losses), default=0.0)


def _draw(found: Explanation, path: Path) -> None:
    """A column per task: what it loses without each unit, and the size of the unit's shares."""
    tasks = list(found.size)
    figure, axes = figure_of(2, len(tasks))
    for column, task in enumerate(tasks):
        if task in found.metrics:
            of_units = {unit: each[task] for unit, each in found.importance.items()}
            chosen = sorted(of_units, key=lambda unit: -of_units[unit].loss)[:MOST_BARS]
            errors = [1.959964 * of_units[unit].se for unit in chosen]
            _bars(axes[0, column], chosen, [of_units[unit].loss for unit in chosen], errors)
            axes[0, column].set(title=task, xlabel=_lost(found.metrics[task]))
        chosen = sorted(found.size[task], key=lambda unit: -found.size[task][unit])[:MOST_BARS]
        _bars(axes[1, column], chosen, [found.size[task][unit] for unit in chosen])
        axes[1, column].set(xlabel="mean |share| of the logit")
    figure.set_figheight(1.6 + 0.36 * min(MOST_BARS, len(found.units)))
    figure.suptitle(f"{found.day}, model trained to {found.trained_to}", fontsize="small")
    save(figure, path)


def _draw_rows(found: Explanation, path: Path) -> None:
    """A line of panels per row of `single`, one panel per task."""
    tasks, rows = list(found.single), len(next(iter(found.single.values())))
    figure, axes = figure_of(rows, len(tasks))
    for column, task in enumerate(tasks):
        for line, row in enumerate(found.single[task]):
            chosen = sorted(row.shares, key=lambda unit: -abs(row.shares[unit]))[:MOST_BARS]
            _bars(axes[line, column], chosen, [row.shares[unit] for unit in chosen])
            title = f"row {row.row}, {task}: {row.start:.2f} -> {row.logit:.2f}"
            axes[line, column].set(title=title, xlabel="share of the logit")
    figure.set_figheight(rows * (1.0 + 0.18 * min(MOST_BARS, len(found.units))))
    save(figure, path)


def _bars(axis: "Axes", names: list[str], values: list[float], errors: list[float] | None = None) -> None:
    places = range(len(names))
    axis.barh(places, values, xerr=errors, height=0.7, ecolor="black", error_kw={"linewidth": 1})
    axis.set_yticks(places, names, fontsize="x-small")
    axis.axvline(0, color="grey", linewidth=1)
    axis.invert_yaxis()
