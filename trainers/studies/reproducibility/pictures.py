"""Draws prediction difference against loss, a curve per activation (Shamir, Lin, Coviello, 2020), and drift."""

from pathlib import Path
from typing import Any

from trainers.studies.pictures import figure_of, save

PICTURES = ("difference.png", "drift.png")
MARKERS = "osD^vPX*"


def draw(table: dict[str, Any], out: Path) -> None:
    """Writes difference.png, and drift.png where runs were traced."""
    _difference(table, out)
    if table["trace_every"]:
        _drift(table, out)


def _difference(table: dict[str, Any], out: Path) -> None:
    differ, settings, curves = (list(dict.fromkeys(row[name] for row in table["rows"])) for name in _NAMES)
    figure, axes = figure_of(len(table["tasks"]), len(differ))
    for line, task in zip(axes, table["tasks"], strict=True):
        loss = "logloss" if "logloss" in table["rows"][0]["tasks"][task] else "rmse"
        for axis, what in zip(line, differ, strict=True):
            for c, curve in enumerate(curves):
                for s, setting in enumerate(settings):
                    own = [row for row in table["rows"] if [row[name] for name in _NAMES] == [what, setting, curve]]
                    x = [row["tasks"][task][loss] for row in own]
                    y = [row["tasks"][task]["difference"]["mean"] for row in own]
                    bars = [row["tasks"][task]["difference"] for row in own]
                    below = [0 if b["low"] is None else b["mean"] - max(0, b["low"]) for b in bars]
                    above = [0 if b["low"] is None else b["high"] - b["mean"] for b in bars]
                    style = {"color": f"C{c}", "marker": MARKERS[s % len(MARKERS)], "lw": 1, "ms": 4, "elinewidth": 0.5}
                    label = " ".join(filter(None, (curve, setting)))
                    axis.errorbar(x, y, [below, above], label=label, **style)
            axis.set_title(f"{task}: {what}", fontsize=9)
            axis.set_xlabel(loss)
        line[0].set_ylabel("relative prediction difference")
    axes[0, -1].legend(fontsize=6)
    save(figure, out / "difference.png")


def _drift(table: dict[str, Any], out: Path) -> None:
    shown = ["weights", *table["tasks"]]
    figure, axes = figure_of(1, len(shown))
    for axis, name in zip(axes[0], shown, strict=True):
        for row in table["rows"]:
            if "drift" in row:
                values = row["drift"][name]
                steps = [table["trace_every"] * (i + 1) for i in range(len(values))]
                label = ", ".join(filter(None, (row["label"], row["setting"], row["differ"])))
                axis.plot(steps, [v or float("nan") for v in values], lw=1, label=label)
        axis.set_yscale("log")
        axis.set_xlabel("step")
        axis.set_title(name if name == "weights" else f"predictions of {name}", fontsize=9)
    axes[0, 0].set_ylabel("relative difference")
    axes[0, -1].legend(fontsize=6)
    save(figure, out / "drift.png")


_NAMES = ("differ", "setting", "curve")
