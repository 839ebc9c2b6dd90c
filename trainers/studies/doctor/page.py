"""The page of an examination: what is wrong and which key mends it, then the figures in tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from tfstable.specs import labelled
from trainers.studies.doctor.examine import Examination
from trainers.studies.doctor.finding import Finding
from trainers.studies.doctor.findings import findings
from trainers.studies.doctor.tables import IDLE_DAYS
from trainers.studies.doctor.updates import Updates

WINDOWS = 6  # Newest updates that the page shows; the JSON file has all that the checkpoints give.


@dataclass(frozen=True)
class Grid:
    """A table of text.

    Attributes:
        title: Its title, with the meaning of the figures.
        header: Names of the columns.
        rows: Cells by row.
    """

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Page:
    """The page.

    Attributes:
        title: The run.
        facts: What was read, one line each.
        findings: What is wrong.
        grids: The tables.
    """

    title: str
    facts: list[str]
    findings: list[Finding]
    grids: list[Grid]


def page(e: Examination) -> Page:
    """Lays out an examination."""
    days = list(e.rows)
    facts = [
        f"trained to {e.trained_to}, {len(e.windows)} windows",
        f"read of {e.log}: {len(days)} days, {days[0]} to {days[-1]}, {sum(e.rows.values()):,} rows; {_fitted(e)}",
    ]
    if e.events:
        facts.append("events.jsonl: " + ", ".join(f"{count} {kind}" for kind, count in e.events.items()))
    facts += e.remarks
    grids = [_tasks(e), _features(e), _layers(e), _tables(e), _updates(e)]
    return Page(str(e.path), facts, findings(e), [grid for grid in grids if grid.rows])


def _fitted(e: Examination) -> str:
    days = str(e.fitted[0]) if len(e.fitted) == 1 else f"{e.fitted[0]} to {e.fitted[-1]}"
    last = e.windows[0].last
    if e.fitted[0] <= last:
        return f"fitted on {days}"
    return f"fitted on days to {last}, which are gone: {days} stand in for them"


def _tasks(e: Examination) -> Grid:
    evaluated: Mapping[date, Mapping[str, Mapping[str, float | None]]] = {
        day: tasks for record in e.windows for day, tasks in record.evaluations.items()
    }
    rows = []
    for day in e.rows:
        cells = []
        for task in labelled(e.config.tasks):
            facts = e.labels[task][day]
            ratio = evaluated.get(day, {}).get(task, {}).get("calibration")
            cells.append(" / ".join(filter(None, (_number(facts.mean if facts.labels else None), _number(ratio)))))
        rows.append((str(day), f"{e.rows[day]:,}", *cells))
    title = "tasks: mean label / calibration, the sum of predictions over the sum of labels"
    if any(getattr(task, "transform", None) == "log1p" for task in e.config.tasks.values()):
        title += " (means after log1p)"
    return Grid(title, ("day", "rows", *labelled(e.config.tasks)), rows)


def _features(e: Examination) -> Grid:
    rows, newest = [], list(e.rows)[-1]
    for name, facts in e.inputs.items():
        now, fitted = facts[newest], facts[e.fitted[-1]]
        rows.append(
            (
                name,
                e.config.features[name].kind,
                f"{fitted.missing:.1%}",
                f"{now.missing:.1%}",
                f"{now.distinct:,}",
                "" if now.unknown is None else f"{now.unknown:.1%}",
                "" if now.new is None else f"{now.new:.1%}",
                *(_number(value) for value in (now.shift, now.ratio, now.psi)),
            )
        )
    header = ("feature", "kind", "missing, fitted", "missing", "values", "unknown", "new", "shift", "ratio", "PSI")
    return Grid(f"features on {newest}, against {e.fitted[-1]} and what was fitted", header, rows)


def _layers(e: Examination) -> Grid:
    rows = [(name, str(f.units), str(f.zero), str(f.constant)) for name, f in e.layers.items()]
    header = ("layer", "units", "always 0", "constant")
    return Grid(f"activations on a sample of {list(e.rows)[-1]}", header, rows)


def _tables(e: Examination) -> Grid:
    rows = []
    for name, f in e.tables.items():
        trained = "" if f.trained is None else f"{f.trained:,}"
        ids, idle = "" if f.ids is None else f"{f.ids:,}", "" if f.idle is None else f"{f.idle:.1%}"
        rows.append((name, f"{f.rows:,}", trained, str(f.dim), _number(f.rank), _number(f.abundance), ids, idle))
    header = ("table", "rows", "trained", "dim", "effective rank", "abundance", "ids", f"idle {IDLE_DAYS} days")
    return Grid("embedding tables: rank and information abundance of the trained rows", header, rows)


def _updates(e: Examination) -> Grid:
    shown = e.updates[-WINDOWS:]
    header = ("weights", *(f"{update.since or 'start'} to {update.last}" for update in shown))
    title = "norm of the change over the norm of the weights, between the checkpoints that end a window"
    return Grid(title, header, [(path, *cells) for path, cells in _moves(shown)] if shown else [])


def _moves(shown: list[Updates]) -> Iterator[tuple[str, list[str]]]:
    for path in shown[-1].ratios:
        if path.startswith("table ") or path.endswith("/kernel"):
            yield path, [_number(update.ratios.get(path)) for update in shown]


def _number(value: float | None) -> str:
    return "" if value is None or value != value else f"{value:.3g}"
