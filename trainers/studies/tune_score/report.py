"""Shows a tuning of `score`: tables on the console, tune-score.json, and score_weights.yaml for the config."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from tfstable.errors import InputError
from tfstable.files import plain, write, write_json
from trainers.studies.tune_score.metric import LEVEL
from trainers.studies.tune_score.tune import Tuned

REPORT, WEIGHTS = "tune-score", "score_weights.yaml"
NOTHING = "no significant gain: keep the present weights"


def snippet(tuned: Tuned) -> str:
    """Returns the tuned weights as the section of the config that holds them."""
    return str(yaml.safe_dump({"export": {"score_weights": dict(tuned.weights)}}, sort_keys=False))


def show(tuned: Tuned, asked: Mapping[str, Any], console: Console) -> None:
    """Prints a tuning.

    Args:
        tuned: The tuning.
        asked: What was asked for: `metric`, `group`, `values`.
        console: Where to print.
    """
    days = f"{tuned.chosen_on[0]} to {tuned.chosen_on[-1]}" if len(tuned.chosen_on) > 1 else str(tuned.chosen_on[0])
    table = Table("weights", *tuned.weights, f"chosen on {days}", f"judged on {tuned.judged_on}")
    worth = ", ".join(f"{name} {value:g}" for name, value in asked["values"].items())
    table.title = f"{asked['metric']} by {asked['group']}; a label is worth: {worth}"
    for each in tuned.candidates:
        numbers = [f"{each.chosen_on:.5f}", f"{each.judged_on:.5f}"]
        table.add_row(each.name, *(f"{weight:.4g}" for weight in each.weights.values()), *numbers)
    console.print(table)
    first, second, (low, high) = tuned.judgement
    console.print(
        f"tuned - present on {tuned.judged_on}: {second - first:+.5f}, {LEVEL:.0%} interval {low:+.5f} to {high:+.5f} "
        f"({tuned.lists:,} values of {asked['group']} redrawn)",
        soft_wrap=True,
        highlight=False,
    )
    line = {"gain": "a significant gain. For the config:", "loss": f"a significant loss; {NOTHING}", "none": NOTHING}
    console.print(line[tuned.verdict], soft_wrap=True, highlight=False)
    if tuned.verdict == "gain":
        console.print(snippet(tuned), highlight=False, markup=False, soft_wrap=True, end="")


def write_report(tuned: Tuned, asked: Mapping[str, Any], out: Path) -> None:
    """Writes tune-score.json and score_weights.yaml into a directory, each atomically.

    Raises:
        InputError: If they cannot be written.
    """
    found = {**asked, **asdict(tuned), "judgement": tuned.judgement._asdict(), "level": LEVEL, "verdict": tuned.verdict}
    head = f"# Chosen by {asked['metric']} on days to {tuned.chosen_on[-1]}. Judged on {tuned.judged_on}: "
    head += "a significant gain.\n" if tuned.verdict == "gain" else f"{NOTHING}.\n"
    try:
        write_json(out / f"{REPORT}.json", plain(found))
        write(out / WEIGHTS, head + snippet(tuned))
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written ({error.strerror}); choose another place") from None
