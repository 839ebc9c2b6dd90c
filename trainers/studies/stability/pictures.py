"""The pictures of Tang et al., 2023: figure 1 (loss and AUC of a healthy, a micro- and a fully diverged run), figures 4
and 5 (norms and clipping factors around the onset), figure 6 (clipping factor by layer); sharpness against 2/eta."""

from pathlib import Path
from typing import Any

import numpy as np

from trainers.studies.pictures import figure_of, save
from trainers.studies.stability.bench import Point
from trainers.studies.stability.grid import Grid

PICTURES = ("figure_1.png", "figure_4.png", "figure_5.png", "figure_6.png", "sharpness.png")
SHOWN = 40  # Steps around the onset.


def draw(grid: Grid, table: dict[str, Any], out: Path) -> None:
    """Trains the runs to show once more, watched in every step, and writes figure_1.png, figure_4.png ... to `out`."""
    cell = _onset_cell(table["rows"])
    jumps = [f["first_step"] for row in cell for f in grid.record(_run(row))["findings"]]
    begin = max(0, min(jumps, default=0) - SHOWN // 4)
    probed = slice(begin, begin + grid.sharpness_steps)
    # One that diverged, and the last that did not.
    pair = [
        next((row for row in rows if bool(row["diverged"]) is bad), None)
        for rows, bad in ((cell, True), (cell[::-1], False))
    ]
    arrays = {}
    for row in cell:
        asked = range(probed.start, probed.stop) if any(row is one for one in pair) else range(0)
        _, arrays[row["treatment"]] = grid.watched(_run(row), asked)
    around = slice(begin, begin + SHOWN)
    _figure_4(arrays, cell[0], around, out)
    _figure_5(arrays, cell[0], around, out)
    _figure_6(arrays, cell[0], out)
    _sharpness(arrays, cell[0], probed, out)
    kinds = ("healthy", "micro-divergence", "full divergence")
    _figure_1(grid, {kind: _example(table["rows"], kind) for kind in kinds}, out)


def _run(row: dict[str, Any]) -> Point:
    return Point(row["model"], row["treatment"], row["threshold"], row["rate"], 0)


def _example(rows: list[dict[str, Any]], kind: str) -> dict[str, Any] | None:
    """Returns a row whose seeds are all of a kind: the best one; if diverged, the largest model's lowest rate."""
    if kind == "full divergence":
        found = [row for row in rows if row["diverged"] == row["seeds"]]
        return min(reversed(found), key=lambda row: row["multiple"], default=None)
    micro = {"healthy": lambda row: not row["micro"], "micro-divergence": lambda row: row["micro"] == row["seeds"]}[
        kind
    ]
    found = [row for row in rows if not row["diverged"] and micro(row)]
    return max(found, key=lambda row: row["mean_auc"]["mean"], default=None)


def _onset_cell(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the largest model's treatments at the lowest multiple at which one diverged, else at the lowest."""
    model = rows[-1]["model"]
    own = [row for row in rows if row["model"] == model]
    bad = [row["multiple"] for row in own if row["diverged"]]
    multiple = min(bad or [row["multiple"] for row in own])
    return [row for row in own if row["multiple"] == multiple]


def _figure_1(grid: Grid, examples: dict[str, dict | None], out: Path) -> None:
    figure, axes = figure_of(2, len(examples), sharex="col")
    for (kind, row), (loss, auc) in zip(examples.items(), axes.T, strict=True):
        loss.set_title(f"{kind}\n{_title(row)}" if row else f"{kind}\nnone in this grid")
        if row is None:
            loss.axis("off")
            auc.axis("off")
            continue
        record, arrays = grid.watched(_run(row))
        loss.plot(arrays["losses"][:, 0], lw=1)
        loss.set_yscale("log")
        auc.axhline(0.5, color="grey", lw=0.5)
        steps = np.linspace(0, len(arrays["losses"]), len(record["days"]) + 1)[1:]
        for task, metric in grid.tasks.items():
            if metric == "auc":
                values = [day[task]["auc"] for day in record["days"].values()]
                auc.plot(steps, [np.nan if v is None else v for v in values], marker=".", lw=1, label=task)
        auc.set_ylim(0.4, 0.9)
        auc.set_xlabel("step")
        auc.legend(fontsize=7)
    axes[0, 0].set_ylabel("loss")
    axes[1, 0].set_ylabel("AUC of the next day")
    save(figure, out / "figure_1.png")


def _figure_4(arrays: dict, row: dict[str, Any], around: slice, out: Path) -> None:
    figures = {"gradient_norm": "||g||", "weight_norm": "||w||", "update_norm": "||step||"}
    figure, axes = figure_of(len(figures), len(arrays), sharey="row")
    for column, (treatment, own) in enumerate(arrays.items()):
        for line, (name, shown) in enumerate(figures.items()):
            for layer, values in _by_layer(own, name).items():
                axes[line, column].plot(*_steps(values, around), lw=1, label=layer)
            axes[line, column].set_yscale("log")
            axes[line, 0].set_ylabel(shown)
        axes[0, column].set_title(f"{treatment}, {row['multiple']:g}x")
        axes[-1, column].set_xlabel("step")
    axes[0, -1].legend(fontsize=6)
    save(figure, out / "figure_4.png")


def _figure_5(arrays: dict, row: dict[str, Any], around: slice, out: Path) -> None:
    figure, axes = figure_of(2, 1, sharex="col")
    for treatment, own in arrays.items():
        factors = list(_by_layer(own, "clipping_factor").values())
        axes[0, 0].plot(*_steps(own["losses"][:, 0], around), lw=1, label=treatment)
        axes[1, 0].plot(*_steps(np.min(factors, axis=0), around), lw=1, label=treatment)
    axes[0, 0].set_ylabel("loss")
    axes[1, 0].set_ylabel("least factor of any layer")
    axes[1, 0].set_xlabel("step")
    for axis in axes[:, 0]:
        axis.set_yscale("log")
    axes[0, 0].set_title(f"{row['model']}, {row['multiple']:g}x")
    axes[0, 0].legend(fontsize=7)
    save(figure, out / "figure_5.png")


def _figure_6(arrays: dict, row: dict[str, Any], out: Path) -> None:
    clipped = {treatment: own for treatment, own in arrays.items() if treatment != "none"} or arrays
    figure, axes = figure_of(1, len(clipped), sharey="row")
    for (treatment, own), axis in zip(clipped.items(), axes[0], strict=True):
        layers = _by_layer(own, "clipping_factor")
        factors = np.log10(np.maximum(np.array(list(layers.values())), 1e-6))  # (layers, steps)
        image = axis.imshow(factors, aspect="auto", origin="lower", interpolation="nearest", vmin=-4, vmax=0)
        axis.set_yticks(range(len(layers)), list(layers), fontsize=7)
        axis.set_title(f"{treatment}, {row['multiple']:g}x")
        axis.set_xlabel("step")
    figure.colorbar(image, ax=list(axes[0]), label="log10 of the clipping factor")
    save(figure, out / "figure_6.png")


def _sharpness(arrays: dict, row: dict[str, Any], around: slice, out: Path) -> None:
    measured = {t: own for t, own in arrays.items() if np.isfinite(own["sharpness|hessian"][around]).any()}
    if not measured:
        return
    figure, axes = figure_of(2, len(measured), sharex="col")
    for (treatment, own), (loss, sharpness) in zip(measured.items(), axes.T, strict=True):
        loss.set_title(f"{row['model']}, {treatment}, {row['multiple']:g}x")
        loss.plot(*_steps(own["losses"][:, 0], around), lw=1, marker=".")
        loss.set_yscale("log")
        for name, label in (("hessian", "H"), ("preconditioned", "D^-1/2 H D^-1/2"), ("two_over_rate", "2/eta")):
            steps, values = _steps(own[f"sharpness|{name}"], around)
            style = {"ls": "--", "color": "black"} if name == "two_over_rate" else {"marker": "."}
            sharpness.plot(steps, np.where(values > 0, values, np.nan), lw=1, label=label, **style)
        sharpness.set_yscale("log")
        sharpness.set_xlabel("before step")
    axes[0, 0].set_ylabel("loss")
    axes[1, 0].set_ylabel("largest eigenvalue")
    axes[1, 0].legend(fontsize=7)
    save(figure, out / "sharpness.png")


def _by_layer(arrays: dict[str, np.ndarray], figure: str) -> dict[str, np.ndarray]:
    """Returns a figure of the kernels, `(steps,)` each, from the input to the heads; tables are no layer."""
    names = [name for name in arrays if name.endswith(f"|{figure}") and "kernel" in name]
    order = ("cross", "bottom", "tower", "output")
    ranked = sorted(names, key=lambda n: next((i for i, part in enumerate(order) if part in n), len(order)))
    return {"/".join(name.split("|")[0].split("/")[1:-1]): arrays[name] for name in ranked}


def _steps(values: np.ndarray, around: slice) -> tuple[np.ndarray, np.ndarray]:
    """Returns numbers and values of the steps to show."""
    return np.arange(len(values))[around], values[around]


def _title(row: dict[str, Any]) -> str:
    return f"{row['model']}, {row['treatment']}, {row['multiple']:g}x"
