"""Shows the page of an examination on a console, or writes it as Markdown or JSON."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tfstable.errors import InputError
from tfstable.files import plain, read_json, write, write_json
from trainers.studies.doctor.examine import Examination
from trainers.studies.doctor.findings import findings
from trainers.studies.doctor.page import Grid, Page, page

HEAD = "# tfstable doctor: "  # First line of a page in Markdown: marks a file as ours.
NOTHING = "Nothing is wrong that the doctor looks for."


def check_out(out: Path) -> None:
    """Checks that a report may be written to a file, and touches nothing.

    Raises:
        InputError: If its name ends neither in .md nor in .json, or another program's file is there.
    """
    if out.suffix not in (".md", ".json"):
        raise InputError(f"--out {out}: name a file that ends in .md or .json")
    if not out.exists():
        return
    foreign = f"--out {out}: not written by `tfstable doctor`; move it away, or choose another file"
    if not out.is_file():
        raise InputError(foreign)
    if out.suffix == ".json":
        ours = read_json(out, "move it away, or choose another --out").get("report") == "doctor"
    else:
        ours = out.read_bytes().startswith(HEAD.encode())
    if not ours:
        raise InputError(foreign)


def show(e: Examination, console: Console) -> None:
    """Prints the page."""
    shown = page(e)
    for line in _head(shown):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    for grid in shown.grids:
        console.print(grid.title, highlight=False, markup=False, soft_wrap=True)
        console.print(_table(grid))


def write_report(e: Examination, out: Path) -> None:
    """Writes the page as Markdown, or everything that was found as JSON, by the file's name, atomically.

    Raises:
        InputError: If it cannot be written.
    """
    try:
        if out.suffix == ".json":
            write_json(out, to_json(e))
        else:
            write(out, markdown(page(e)))
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written ({error.strerror}); choose another place") from None


def to_json(e: Examination) -> dict[str, Any]:
    """Returns everything that was found, by day where it is known by day, as plain JSON values."""
    kept = {key: value for key, value in vars(e).items() if key not in ("config", "windows")}
    calibration = {
        str(day): {task: metrics.get("calibration") for task, metrics in tasks.items()}
        for record in e.windows
        for day, tasks in record.evaluations.items()
    }
    found = {"report": "doctor", "findings": findings(e), **kept, "calibration": calibration}
    return {key: _plain(value) for key, value in found.items()}


def markdown(shown: Page) -> str:
    """Returns the page as Markdown."""
    lines = [f"{HEAD}{shown.title}", "", *(f"- {fact}" for fact in shown.facts), "", "## What is wrong", ""]
    for number, each in enumerate(shown.findings, 1):
        lines.append(f"{number}. **{each.subject}**, {each.rule}: {each.line}. Remedy: {each.remedy}.")
    lines += [] if shown.findings else [NOTHING]
    for grid in shown.grids:
        lines += ["", f"## {grid.title[:1].upper()}{grid.title[1:]}", ""]
        lines += [_row(grid.header), _row(["---", *["---:"] * (len(grid.header) - 1)])]
        lines += [_row(row) for row in grid.rows]
    return "\n".join(lines) + "\n"


def _row(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _head(shown: Page) -> list[str]:
    lines = [shown.title, *shown.facts, ""]
    for number, each in enumerate(shown.findings, 1):
        lines += [f"{number}. {each.subject}, {each.rule}: {each.line}", f"   remedy: {each.remedy}"]
    return [*lines, *([] if shown.findings else [NOTHING]), ""]


def _table(grid: Grid) -> Table:
    table = Table()
    for number, name in enumerate(grid.header):
        table.add_column(name, justify="right" if number else "left")
    for row in grid.rows:
        table.add_row(*row)
    return table


def _plain(value: Any) -> Any:
    """Converts dataclasses, days as keys and paths, too, to JSON values."""
    if hasattr(value, "__dataclass_fields__"):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else plain(value)
