"""What two runs of a stability grid with different seeds agree on. `benchmarks.stability` calls it."""

import math
from collections.abc import Mapping
from typing import Any

Table = Mapping[str, Any]  # A stability.json.
ERRORS = 2.0  # Standard errors that a difference exceeds, in both runs.


def claims(first: Table, second: Table) -> str:
    """Returns as Markdown, per model, both runs side by side, and the differences that both show."""
    lines = [
        f"# Seeds {_seeds(first)} beside seeds {_seeds(second)}",
        "",
        "Each treatment with the best threshold of its run. AUC as in stability.md, with its standard error and the "
        "runs that survive; *last*: median of the last multiple that a seed survives, where it was sought.",
    ]
    for model in dict.fromkeys(row["model"] for row in first["rows"]):
        both = [_best(table, model) for table in (first, second)]
        shared = [name for name in both[0] if name in both[1]]
        multiples = first["multiples"][: first["reported"]]
        lines += ["", f"## {model}", ""]
        heads = [f"AUC {multiple:g}x" for multiple in multiples for _ in both]
        lines += [f"| treatment | {' | '.join(heads)} | last | last |", "|---" * (len(heads) + 3) + "|"]
        for name in shared:
            rows = [table[name] for table in both]
            aucs = [_auc(row["cells"][n]) for n in range(len(multiples)) for row in rows]
            lines.append(f"| {name} | {' | '.join(aucs)} | {' | '.join(_last(row) for row in rows)} |")
        for number, multiple in enumerate(multiples):
            lines += ["", f"At {multiple:g}x, by more than {ERRORS:g} standard errors in both runs:", ""]
            ahead = [
                f"- {one} is ahead of {', '.join(behind)}"
                for one in shared
                if (behind := [two for two in shared if all(_ahead(t[one], t[two], number) for t in both)])
            ]
            lines += ahead or ["- no difference"]
    return "\n".join(lines) + "\n"


def _seeds(table: Table) -> str:
    return f"{table['first_seed']} to {table['first_seed'] + table['seeds'] - 1}"


def _best(table: Table, model: str) -> dict[str, Any]:
    return {row["treatment"]: row for row in table["rows"] if row["model"] == model and row["best"]}


def _ahead(one: Mapping[str, Any], two: Mapping[str, Any], number: int) -> bool:
    """Whether a treatment has a higher AUC than another, beyond the noise of seeds; what is not finite has 0.5."""
    (mean, error), (other, of_other) = (_mean_and_error(row["cells"][number]) for row in (one, two))
    return mean - other > ERRORS * math.hypot(error, of_other)


def _mean_and_error(cell: Mapping[str, Any]) -> tuple[float, float]:
    scores = [0.5 if result["score"] is None else result["score"] for result in cell["results"]]
    mean = sum(scores) / len(scores)
    return mean, math.sqrt(sum((s - mean) ** 2 for s in scores) / (len(scores) - 1) / len(scores))


def _auc(cell: Mapping[str, Any]) -> str:
    mean, error = _mean_and_error(cell)
    return f"{mean:.4f} ± {error:.4f}, {cell['survived']} of {len(cell['results'])}"


def _last(row: Mapping[str, Any]) -> str:
    known = sorted(0.0 if multiple is None else multiple for multiple in row["last"])
    return f"{known[(len(known) - 1) // 2]:g}x" if known else ""
