"""The pictures of Tang et al., 2023: figure 1 (loss and AUC of a healthy, a micro- and a fully diverged run), figures 4
and 5 (norms and clipping factors around the onset), figure 6 (clipping factor by layer)."""

from pathlib import Path
from typing import Any

import numpy as np

from trainers.stability.bench import Run
from trainers.stability.grid import Grid

SHOWN = 40  # Steps around the onset.


def draw(grid: Grid, table: dict[str, Any], out: Path):
    """Trains the runs to show once more, watched in every step, and writes figure_1.png, figure_4.png ... to `out`."""
    rows = table["rows"]
    _figure_1(grid, {kind: _example(rows, kind) for kind in ("healthy", "micro-divergence", "full divergence")}, out)
    cell = _onset_cell(rows)
    watched = {row["treatment"]: grid.watched(_run(row)) for row in cell}
    _figure_4(watched, cell[0], out)
    _figure_5(watched, cell[0], out)
    _figure_6(watched, cell[0], out)


def _run(row: dict[str, Any]) -> Run:
    return Run(row["model"], row["treatment"], row["threshold"], row["rate"], 0)


def _example(rows: list[dict[str, Any]], kind: str) -> dict[str, Any] | None:
    """The clearest row of a kind: of the largest model and multiple, by its first seed."""
    fits = {
        "healthy": lambda row: not row["diverged"] and not row["micro"],
        "micro-divergence": lambda row: not row["diverged"] and row["micro"] == row["seeds"],
        "full divergence": lambda row: row["diverged"] == row["seeds"],
    }[kind]
    found = [row for row in rows if fits(row)]
    return max(found, key=lambda row: row["multiple"] if kind != "full divergence" else -row["multiple"], default=None)


def _onset_cell(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All treatments of the largest model at its lowest multiple at which one of them diverged, else at the lowest."""
    model = rows[-1]["model"]
    own = [row for row in rows if row["model"] == model]
    bad = [row["multiple"] for row in own if row["diverged"]]
    multiple = min(bad or [row["multiple"] for row in own])
    return [row for row in own if row["multiple"] == multiple]


def _figure_1(grid: Grid, examples: dict[str, dict | None], out: Path):
    figure, axes = _figure(2, len(examples), "sharex", "col")
    for (kind, row), (loss, auc) in zip(examples.items(), axes.T, strict=True):
        loss.set_title(f"{kind}\n{_title(row)}" if row else f"{kind}\nnone in this grid")
        if row is None:
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
    _save(figure, out / "figure_1.png")


def _figure_4(watched: dict, row: dict[str, Any], out: Path):
    figures = {"gradient_norm": "||g||", "weight_norm": "||w||", "update_norm": "||step||"}
    figure, axes = _figure(len(figures), len(watched), "sharey", "row")
    onset = _onset(watched)
    for column, (treatment, (_, arrays)) in enumerate(watched.items()):
        for line, (name, shown) in enumerate(figures.items()):
            for layer, values in _by_layer(arrays, name).items():
                axes[line, column].plot(*_around(values, onset), lw=1, label=layer)
            axes[line, column].set_yscale("log")
            axes[line, 0].set_ylabel(shown)
        axes[0, column].set_title(f"{treatment} {row['multiple']:g}x")
        axes[-1, column].set_xlabel("step")
    axes[0, -1].legend(fontsize=6)
    _save(figure, out / "figure_4.png")


def _figure_5(watched: dict, row: dict[str, Any], out: Path):
    figure, axes = _figure(2, 1, "sharex", "col")
    onset = _onset(watched)
    for treatment, (_, arrays) in watched.items():
        layers = _by_layer(arrays, "clipping_factor")
        axes[0, 0].plot(*_around(arrays["losses"][:, 0], onset), lw=1, label=treatment)
        axes[1, 0].plot(*_around(np.min(list(layers.values()), axis=0), onset), lw=1, label=treatment)
    axes[0, 0].set_ylabel("loss")
    axes[1, 0].set_ylabel("least factor of any layer")
    axes[1, 0].set_xlabel("step")
    for axis in axes[:, 0]:
        axis.set_yscale("log")
    axes[0, 0].set_title(f"{row['model']}, {row['multiple']:g}x")
    axes[0, 0].legend(fontsize=7)
    _save(figure, out / "figure_5.png")


def _figure_6(watched: dict, row: dict[str, Any], out: Path):
    clipped = {t: arrays for t, (_, arrays) in watched.items() if t != "none"} or {
        t: a for t, (_, a) in watched.items()
    }
    figure, axes = _figure(1, len(clipped), "sharey", "row")
    for (treatment, arrays), axis in zip(clipped.items(), axes[0], strict=True):
        layers = _by_layer(arrays, "clipping_factor")
        factors = np.array(list(layers.values()))  # (layers, steps)
        image = axis.imshow(
            np.log10(np.maximum(factors, 1e-6)), aspect="auto", origin="lower", vmin=-4, vmax=0, cmap="viridis"
        )
        axis.set_yticks(range(len(layers)), list(layers), fontsize=7)
        axis.set_title(f"{treatment}, {row['multiple']:g}x")
        axis.set_xlabel("step")
    figure.colorbar(image, ax=list(axes[0]), label="log10 of the clipping factor")
    _save(figure, out / "figure_6.png")


def _by_layer(arrays: dict[str, np.ndarray], figure: str) -> dict[str, np.ndarray]:
    """A figure of the kernels, `(steps,)` each, from the input to the heads; tables are no layer."""
    names = [name for name in arrays if name.endswith(f"|{figure}") and "kernel" in name]
    order = ("cross", "bottom", "tower", "output")
    ranked = sorted(names, key=lambda n: next((i for i, part in enumerate(order) if part in n), len(order)))
    return {"/".join(name.split("|")[0].split("/")[-3:-1]): arrays[name] for name in ranked}


def _onset(watched: dict) -> int:
    """The first step at which one of the runs jumped; 0 if none did."""
    return min((f["first_step"] for record, _ in watched.values() for f in record["findings"]), default=0)


def _around(values: np.ndarray, onset: int) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values from a little before the onset on."""
    begin = max(0, onset - SHOWN // 4)
    shown = values[begin : begin + SHOWN]
    return np.arange(begin, begin + len(shown)), shown


def _title(row: dict[str, Any]) -> str:
    return f"{row['model']}, {row['treatment']}, {row['multiple']:g}x"


def _figure(rows: int, columns: int, share: str, how: str):
    import matplotlib  # Only who draws pays for it.

    matplotlib.use("Agg")
    from matplotlib import pyplot

    size = (3.6 * columns + 1.5, 2.4 * rows + 0.8)
    return pyplot.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained", **{share: how})


def _save(figure, path: Path):
    partial = path.with_name(f".{path.name}")
    figure.savefig(partial, dpi=110)
    partial.replace(path)
    from matplotlib import pyplot

    pyplot.close(figure)
