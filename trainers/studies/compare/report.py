"""Shows a comparison of two models: tables on the console, compare.json and compare.png."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tfstable.errors import InputError
from tfstable.files import plain, write_json
from trainers.studies.pictures import save


def show(report: dict[str, Any], console: Console) -> None:
    """Prints what `compare.compare` returned."""
    console.print(f"A: {report['first']}\nB: {report['second']}", soft_wrap=True, highlight=False)
    users = f", {report['groups']:,} values of {report['group']}" if report["group"] else ""
    console.print(f"{report['day']}: {report['rows']:,} rows{users}", soft_wrap=True, highlight=False)
    console.print(_apart(report))
    console.print(_better(report))
    if report["slice"]:
        console.print(_sliced(report))
    for side in ("first", "second"):
        if report["trained_to"][side] >= str(report["day"]):
            line = (
                f"{report[side]} was trained on days to {report['trained_to'][side]}: {report['day']} is not new to it"
            )
            console.print(line, soft_wrap=True)
        if (report["counted_to"][side] or "") >= str(report["day"]):
            line = f"{report[side]} has counters that include the labels of {report['day']}: its metrics are too good"
            console.print(line, soft_wrap=True)
    if not report["group"]:
        console.print("no churn and no intervals by user: name their column with --group")


def write_report(report: dict[str, Any], out: Path) -> None:
    """Writes `compare.json` and `compare.png` into a directory, each atomically.

    Raises:
        InputError: If they cannot be written.
    """
    try:
        write_json(out / "compare.json", plain(report))
        _draw(report, out / "compare.png")
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written ({error.strerror}); choose another place") from None


def _apart(report: dict[str, Any]) -> Table:
    churn = f"top {report['k']} replaced"
    table = Table("task", "mean", "median", "90%", "99%", "Spearman", "Kendall", churn)
    table.title = "relative prediction difference, order of the rows, and churn"
    for name, task in report["tasks"].items():
        quantiles = task["difference"]["quantiles"]
        table.add_row(
            name,
            *(f"{d:.4f}" for d in (task["difference"]["mean"], quantiles["0.5"], quantiles["0.9"], quantiles["0.99"])),
            *_order(task),
        )
    if report["score"]:
        table.add_row("score", *[""] * 4, *_order(report["score"]))
    return table


def _order(figures: dict[str, Any]) -> list[str]:
    """How alike two orders of the rows are: cells of a table."""
    churned = figures["churn"]
    replaced = f"{churned['replaced']:.1%} of {churned['groups']:,}" if churned and churned["groups"] else ""
    return [f"{figures['spearman']:.4f}", f"{figures['kendall']:.4f}", replaced]


def _better(report: dict[str, Any]) -> Table:
    level = f"{report['level']:.0%}"
    table = Table("task", "", "A", "B", "B - A", f"{level}, rows independent", f"{level}, {report['group']} redrawn")
    if not report["group"]:
        table.columns.pop()
    table.title = "which one is better"
    for name, task in report["tasks"].items():
        metrics = [metric for metric, figures in task.items() if isinstance(figures, dict) and "first" in figures]
        for metric in metrics:
            figures, digits = task[metric], 3 if metric == "rmse" else 4
            cells = [_value(figures[side], digits) for side in ("first", "second")]
            cells.append(f"{figures['difference']['value']:+.{digits}f}")
            cells.append(_interval(figures["difference"].get("interval"), digits))
            if report["group"]:
                cells.append(_interval(figures["difference"].get("bootstrap_interval"), digits))
            table.add_row(name if metric == metrics[0] else "", metric.upper().replace("_", "-"), *cells)
    return table


def _sliced(report: dict[str, Any]) -> Table:
    table = Table(report["slice"], "rows", *report["tasks"], title=f"prediction difference by {report['slice']}")
    by_task = [task["slices"] for task in report["tasks"].values()]
    for value in dict.fromkeys(value for slices in by_task for value in slices):
        rows = next(slices[value]["rows"] for slices in by_task if value in slices)
        cells = [f"{slices[value]['difference']:.4f}" if value in slices else "" for slices in by_task]
        table.add_row(value, f"{rows:,}", *cells)
    return table


def _value(figures: dict[str, Any], digits: int) -> str:
    error = f" ± {figures['se']:.{digits}f}" if "se" in figures else ""
    return f"{figures['value']:.{digits}f}{error}"


def _interval(interval: list[float] | None, digits: int) -> str:
    return "" if interval is None else f"{interval[0]:+.{digits}f} to {interval[1]:+.{digits}f}"


def _draw(report: dict[str, Any], path: Path) -> None:
    """Draws a panel for the difference, one for the better model, and one for the slices if there are any."""
    from matplotlib.figure import Figure  # Here, since a second of import is too much for `tfstable --help`.

    panels = 3 if report["slice"] else 2
    figure = Figure(figsize=(5 * panels, 4), layout="constrained")
    axes = figure.subplots(1, panels)
    for name, task in report["tasks"].items():
        quantiles = task["difference"]["quantiles"]
        mean = task["difference"]["mean"]
        axes[0].plot(list(quantiles.values()), [float(q) for q in quantiles], marker=".", label=f"{name}: {mean:.3f}")
    axes[0].set(
        title="how far apart", xlabel="relative prediction difference", ylabel="share of the rows below", ylim=(0, 1)
    )
    axes[0].legend(title="mean", fontsize="small")

    binary = {name: task["auc"]["difference"] for name, task in report["tasks"].items() if task["kind"] == "binary"}
    for place, difference in enumerate(binary.values()):
        intervals = [("interval", "C0", "rows independent"), ("bootstrap_interval", "C1", f"{report['group']} redrawn")]
        for shift, (which, colour, label) in zip((-0.12, 0.12), intervals, strict=True):
            if difference[which] is not None:
                low, high = difference[which]
                axes[1].plot([low, high], [place + shift] * 2, color=colour, linewidth=2, label="" if place else label)
        axes[1].plot(difference["value"], place, "o", color="black")
    axes[1].axvline(0, color="grey", linewidth=1)
    axes[1].set(title="which one is better", xlabel="AUC of B - AUC of A", ylim=(-0.6, len(binary) - 0.4))
    axes[1].set_yticks(range(len(binary)), list(binary))
    axes[1].locator_params(axis="x", nbins=5)
    axes[1].invert_yaxis()
    if binary:
        axes[1].legend(title=f"{report['level']:.0%} interval", fontsize="small")

    if report["slice"]:  # In the colours of the first panel.
        for task in report["tasks"].values():
            axes[2].plot([s["difference"] for s in task["slices"].values()], list(task["slices"]), "o")
        axes[2].set(title=f"by {report['slice']}", xlabel="relative prediction difference")
        axes[2].invert_yaxis()
    figure.suptitle(f"{report['day']}   A: {report['first']}   B: {report['second']}", fontsize="small")
    save(figure, path, dpi=100)
