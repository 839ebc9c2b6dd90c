"""The table as Markdown."""

from typing import Any

from trainers.studies.reproducibility.measure import OverPairs


def markdown(table: dict[str, Any]) -> str:
    """Returns what `Grid.run` returned as a page: one section per difference and task."""
    days = table["days"]
    lines = [
        f"# Reproducibility on {table['log']}",
        "",
        f"Predictions of {' to '.join(dict.fromkeys((days[0], days[-1])))}, each day by models that were not trained "
        "on it yet. Relative prediction difference of two trainings: mean over their pairs [95% interval for other "
        "trainings], and as a share of the section's first row. *Levels taken out*: each training's predictions "
        f"divided by their mean. *Replaced*: share of a user's {table['k']} best rows that the other training does not "
        "have among its own. AUC (RMSE): mean ± the standard error of the days, and the standard deviation over "
        "trainings. Seconds: only training, median.",
    ]
    for differ in dict.fromkeys(row["differ"] for row in table["rows"]):
        for task in table["tasks"]:
            rows = [row for row in table["rows"] if row["differ"] == differ]
            lines += ["", f"## {task}: what differs is {differ}", ""]
            has_settings = len({row["setting"] for row in rows}) > 1
            heads = ["setting"] * has_settings + [
                "model",
                "trainings",
                "difference",
                "of the first",
                "levels taken out",
            ]
            quality = "AUC" if "auc" in rows[0]["tasks"][task] else "RMSE"
            heads += ["Spearman", *["replaced"] * ("churn" in rows[0]["tasks"][task]), quality, "std", "seconds"]
            lines += [_row(*heads), _row(*["---"] * len(heads))]
            first = rows[0]["tasks"][task]["difference"]["mean"]
            for row in rows:
                figures = row["tasks"][task]
                cells = [row["setting"]] * has_settings + [
                    row["label"],
                    str(row["runs"]),
                    _interval(figures["difference"]),
                ]
                cells += [
                    f"{figures['difference']['mean'] / first:.2f}" if first else "-",
                    _short(figures["levelled"]["mean"]),
                ]
                cells.append(f"{figures['spearman']['mean']:.4f}")
                cells += [f"{figures['churn']['mean']:.3f}"] if "churn" in figures else []
                cells += [_quality(figures), "-" if figures["std"] is None else f"{figures['std']:.4f}"]
                lines.append(_row(*cells, f"{row['seconds']:.1f}"))
    return "\n".join(lines) + "\n"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _interval(figure: OverPairs) -> str:
    shown, low, high = _short(figure["mean"]), figure["low"], figure["high"]
    return shown if low is None or high is None else f"{shown} [{_short(max(0, low))}, {_short(high)}]"


def _short(value: float) -> str:
    return f"{value:.4f}" if value == 0 or value >= 1e-3 else f"{value:.1e}"


def _quality(figures: dict[str, Any]) -> str:
    return f"{figures['auc']:.4f} ± {figures['auc_se']:.4f}" if "auc" in figures else f"{figures['rmse']:.4f}"
