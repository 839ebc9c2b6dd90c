"""The grid's table, as Markdown."""

from typing import Any


def markdown(table: dict[str, Any]) -> str:
    """Returns what `Grid.run` returned as a page: the rates that survived, then one table per model."""
    models = list(table["survived"])
    treatments = list(table["survived"][models[0]])
    lines = [
        f"# Stability on a log of {table['rows_of_the_log']:,} rows, {' to '.join(table['days'])}",
        "",
        f"Trained in time order, reported on {table['reported_on']}, which no run had trained on; rate and thresholds "
        f"chosen on {table['chosen_on']}. 1x is a learning rate of {table['rate']:g}. {table['runs']} runs, "
        f"{table['seconds'] / 60:.0f} minutes.",
        "",
        "Largest multiple of the learning rate that no run diverged at, doubling from 1x (the grid ends at "
        f"{table['most']:g}x):",
        "",
        _row("model", *treatments),
        _row(*["---"] * (1 + len(treatments))),
    ]
    for model, survived in table["survived"].items():
        largest = ("none" if survived[t] is None else f"{survived[t]:g}x" for t in treatments)
        lines.append(_row(model, *largest))
    for model in models:
        rows = [row for row in table["rows"] if row["model"] == model]
        tasks = {task: values["metric"] for task, values in rows[0]["tasks"].items()}
        lines += ["", f"## {model}", ""]
        heads = ["mean AUC", *(f"{task} {metric.upper()}" for task, metric in tasks.items())]
        lines.append(_row("treatment", "rate", "threshold", "diverged", "micro", *heads))
        lines.append(_row(*["---"] * (5 + len(heads))))
        for row in sorted(rows, key=lambda row: (treatments.index(row["treatment"]), row["multiple"])):
            cells = [row["treatment"], f"{row['multiple']:g}x", row["chosen"] or "-"]
            cells += [f"{row['diverged']} of {row['seeds']}", f"{row['micro']} of {row['seeds']}"]
            values = [{"metric": "auc", **row["mean_auc"]}, *(row["tasks"][task] for task in tasks)]
            lines.append(_row(*cells, *map(_value, values)))
    return "\n".join(lines) + "\n"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _value(values: dict[str, Any]) -> str:
    if values["mean"] is None:
        return "not finite"
    if values["mean"] > 1e6:  # The RMSE of a model that diverged.
        return f"{values['mean']:.1g}"
    digits = 4 if values["metric"] == "auc" else 3
    spread = "" if values["std"] is None else f" ± {values['std']:.{digits}f}"
    return f"{values['mean']:.{digits}f}{spread}"
