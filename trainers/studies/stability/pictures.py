"""The pictures of Tang et al., 2023: figure 1 (loss and AUC of a healthy, a micro- and a fully diverged run), figures 4
and 5 (norms and clipping factors around the onset), figure 6 (clipping factor by layer); sharpness against 2/eta."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainers.studies.pictures import figure_of, save
from trainers.studies.stability.bench import Point
from trainers.studies.stability.grid import Grid
from trainers.studies.stability.judge import Record
from trainers.studies.stability.table import Cell, Result, Row, Table

PICTURES = ("figure_1.png", "figure_4.png", "figure_5.png", "figure_6.png", "sharpness.png")
SHOWN = 40  # Steps around the onset.


@dataclass(frozen=True)
class Shown:
    """A run in a picture.

    Attributes:
        run: The run.
        multiple: Of the rate.
        diverged: Whether it did.
    """

    run: Point
    multiple: float
    diverged: bool

    @property
    def title(self) -> str:
        return f"{self.run.model}, {self.run.treatment}, {self.multiple:g}x"


def draw(grid: Grid, table: Table, out: Path) -> None:
    """Trains the runs to show once more, watched in every step, and writes figure_1.png, figure_4.png ... to `out`."""
    shown = _around_an_onset(table, grid.pictured)
    onset = min(filter(None, (_onset(grid.record(one.run)) for one in shown)), default=0)
    begin = max(0, onset - SHOWN // 4)
    probed = {*range(begin, begin + grid.sharpness_steps)}
    if grid.sharpness_every:
        probed |= {*range(0, begin + SHOWN, grid.sharpness_every)}
    # One that diverged, and the last that did not.
    bad = next((one for one in shown if one.diverged), None)
    pair = [bad, next((one for one in shown[::-1] if not one.diverged), None)]
    arrays = {one.run.treatment: grid.watched(one.run, probed if one in pair else ())[1] for one in shown}
    around = slice(begin, begin + SHOWN)
    _figure_4(arrays, shown[0], around, out)
    _figure_5(arrays, shown[0], around, out)
    _figure_6(arrays, shown[0], out)
    _sharpness(arrays, shown[0], out)
    kinds = ("healthy", "micro-divergence", "full divergence")
    _figure_1(grid, {kind: _example(table.rows, kind) for kind in kinds}, out)


def _onset(record: Record) -> int | None:
    """The step at which a run's loss jumped or drifted: the first full divergence, else the first finding."""
    findings = record["findings"]
    full = [f["first_step"] for f in findings if f["kind"] == "full_divergence"]
    return min(full or [f["first_step"] for f in findings], default=None)


def _shown(row: Row, cell: Cell, result: Result) -> Shown:
    run = Point(row.model, row.treatment, row.threshold, cell.rate, result.seed)
    return Shown(run, cell.multiple, bool(result.reasons))


def _example(rows: list[Row], kind: str) -> Shown | None:
    """Returns a run of a kind: the best one; if diverged, the largest model's at its lowest rate."""
    runs = [(row, cell, result) for row in rows for cell in row.cells for result in cell.results]
    if kind == "full divergence":
        found = [each for each in runs if each[2].reasons]
        chosen = min(reversed(found), key=lambda each: each[1].multiple, default=None)
    else:
        wanted = kind == "micro-divergence"
        found = [each for each in runs if not each[2].reasons and bool(each[2].micro) == wanted]
        chosen = max(found, key=lambda each: each[2].score, default=None)
    return None if chosen is None else _shown(*chosen)


def _around_an_onset(table: Table, treatments: Sequence[str]) -> list[Shown]:
    """Returns one run per treatment, all of one seed: the largest model's, at the lowest multiple with a divergence."""
    model = table.rows[-1].model
    rows = {row.treatment: row for row in table.rows if row.model == model and row.best}
    own = [rows[treatment] for treatment in treatments]
    for number in range(table.reported):
        cells = [row.cells[number] for row in own]
        bad = [result.seed for cell in cells for result in cell.results if result.reasons]
        if bad:
            return [_shown(row, cell, cell.results[bad[0]]) for row, cell in zip(own, cells, strict=True)]
    return [_shown(row, row.cells[0], row.cells[0].results[0]) for row in own]


def _figure_1(grid: Grid, examples: dict[str, Shown | None], out: Path) -> None:
    figure, axes = figure_of(2, len(examples), sharex="col")
    for (kind, one), (loss, auc) in zip(examples.items(), axes.T, strict=True):
        loss.set_title(f"{kind}\n{one.title}" if one else f"{kind}\nnone in this grid")
        if one is None:
            loss.axis("off")
            auc.axis("off")
            continue
        record, arrays = grid.watched(one.run)
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


def _figure_4(arrays: dict, one: Shown, around: slice, out: Path) -> None:
    figures = {"gradient_norm": "||g||", "weight_norm": "||w||", "update_norm": "||step||"}
    figure, axes = figure_of(len(figures), len(arrays), sharey="row")
    for column, (treatment, own) in enumerate(arrays.items()):
        for line, (name, shown) in enumerate(figures.items()):
            for layer, values in _by_layer(own, name).items():
                axes[line, column].plot(*_steps(values, around), lw=1, label=layer)
            axes[line, column].set_yscale("log")
            axes[line, 0].set_ylabel(shown)
        axes[0, column].set_title(f"{treatment}, {one.multiple:g}x")
        axes[-1, column].set_xlabel("step")
    axes[0, -1].legend(fontsize=6)
    save(figure, out / "figure_4.png")


def _figure_5(arrays: dict, one: Shown, around: slice, out: Path) -> None:
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
    axes[0, 0].set_title(f"{one.run.model}, {one.multiple:g}x")
    axes[0, 0].legend(fontsize=7)
    save(figure, out / "figure_5.png")


def _figure_6(arrays: dict, one: Shown, out: Path) -> None:
    clipped = {treatment: own for treatment, own in arrays.items() if treatment != "none"} or arrays
    figure, axes = figure_of(1, len(clipped), sharey="row")
    for (treatment, own), axis in zip(clipped.items(), axes[0], strict=True):
        layers = _by_layer(own, "clipping_factor")
        factors = np.log10(np.maximum(np.array(list(layers.values())), 1e-6))  # (layers, steps)
        image = axis.imshow(factors, aspect="auto", origin="lower", interpolation="nearest", vmin=-4, vmax=0)
        axis.set_yticks(range(len(layers)), list(layers), fontsize=7)
        axis.set_title(f"{treatment}, {one.multiple:g}x")
        axis.set_xlabel("step")
    figure.colorbar(image, ax=list(axes[0]), label="log10 of the clipping factor")
    save(figure, out / "figure_6.png")


def _sharpness(arrays: dict, one: Shown, out: Path) -> None:
    measured = {t: own for t, own in arrays.items() if np.isfinite(own["sharpness|hessian"]).any()}
    if not measured:
        return
    figure, axes = figure_of(2, len(measured), sharex="col")
    for (treatment, own), (loss, sharpness) in zip(measured.items(), axes.T, strict=True):
        steps = np.flatnonzero(np.isfinite(own["sharpness|two_over_rate"]))
        around = np.arange(steps[0], min(steps[-1] + 1, len(own["losses"])))
        loss.set_title(f"{one.run.model}, {treatment}, {one.multiple:g}x")
        loss.plot(around, own["losses"][around, 0], lw=1)
        loss.set_yscale("log")
        for name, label in (("hessian", "H"), ("preconditioned", "D^-1/2 H D^-1/2"), ("two_over_rate", "2/eta")):
            values = own[f"sharpness|{name}"][steps]
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
