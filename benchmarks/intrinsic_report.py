"""The tables and the picture of `benchmarks.intrinsic_rate`."""

import statistics

import numpy as np


def table(found, pairs, base):
    """Returns the tables in Markdown."""
    head = "(a), (c): evaluation days 8 to 11, mean over the starts, and the difference to the pair"
    columns = ("eta, lambda", "lambda_e", *("AUC click", "difference"), *("log loss click", "difference"))
    columns += ("AUC like", "difference")
    lines = [f"{head} {base} with its 95% interval", "", f"| {' | '.join(columns)} |", "|---" * 8 + "|"]
    for name, of_name in found["curves"].items():
        pair, cells = pairs[name], []
        for key in ("click auc", "click logloss", "like auc"):
            mean, (difference, half) = statistics.mean(of_name[key]["late"]), found["equal"][name][key]
            cells += [f"{mean:.4f}", "" if name == base else f"{difference:+.4f} ± {half:.4f}"]
        lines.append(f"| {name} | {'' if pair is None else f'{pair[0] * pair[1]:g}'} | {' | '.join(cells)} |")
    days = len(found["mixing"]["starts"]["cosine"])
    lines += ["", "Log loss of click by evaluation day, mean over the starts", ""]
    lines += [f"| eta, lambda | {' | '.join(str(day + 1) for day in range(days))} |", "|---" * (1 + days) + "|"]
    for name, of_name in found["curves"].items():
        lines.append(f"| {name} | {' | '.join(f'{loss:.4f}' for loss in of_name['click logloss']['days'])} |")
    lines += [
        "",
        "(b) relative prediction difference on click, and cosine of bottom/dense_1's weights, by day",
        "",
    ]
    lines += [f"| pairs of | figure | {' | '.join(str(day + 1) for day in range(days))} |", "|---" * (2 + days) + "|"]
    for kind, figures in found["mixing"].items():
        for figure, values in figures.items():
            lines.append(f"| {kind} | {figure} | {' | '.join(f'{statistics.mean(v):.3f}' for v in values)} |")
    lines += ["", "Last day under averages of weights: mean (least, largest)", ""]
    lines += ["| weights | log loss click | AUC click | AUC like |", "|---" * 4 + "|"]
    groups = {}
    for name, tasks in found["averages"].items():
        groups.setdefault(name.split(":")[0] if ":" in name else "one run", []).append(tasks)
    for name, each in groups.items():
        cells = []
        for task, metric in (("click", "logloss"), ("click", "auc"), ("like", "auc")):
            values = [tasks[task][metric] for tasks in each]
            cells.append(f"{statistics.mean(values):.4f} ({min(values):.4f}, {max(values):.4f})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def draw(found, pairs, equal, base, path):
    """Draws norms and angular steps over the steps, and the difference between runs over the days."""
    import matplotlib.pyplot as plt

    figure, (norms, turns, functions) = plt.subplots(1, 3, figsize=(13, 3.6), layout="constrained")
    for name in equal:
        figures = found["curves"][name]["figures"]
        steps = 10 * np.arange(1, 1 + len(figures["weight_norm"]))
        norms.semilogy(steps, figures["weight_norm"], label=f"eta {pairs[name][0]:g}, lambda {pairs[name][1]:g}")
        turns.semilogy(steps, figures["angular_step"])
    turns.axhline(found["curves"][base]["figures"]["equilibrium"], color="black", ls=":", label="sqrt(2 lambda_e)")
    norms.set(title="norm of bottom/dense_1", xlabel="step")
    turns.set(title="angular step, radians", xlabel="step")
    for kind, figures in found["mixing"].items():
        values = [statistics.mean(v) for v in figures["prediction difference"]]
        functions.plot(range(1, 1 + len(values)), values, marker="o", ms=3, label=kind)
    functions.set(title="relative prediction difference of two runs", xlabel="evaluation day", ylim=(0, None))
    for axes in (norms, turns, functions):
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)
