"""The examination of a run: its files, its newest checkpoints, and the newest days of its log."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from tfstable.errors import InputError
from tfstable.specs import labelled
from trainers.config import Config
from trainers.store.window_record import WindowRecord
from trainers.studies.doctor.days import DayRows, LabelFacts, read_day
from trainers.studies.doctor.inputs import InputFacts, Inputs
from trainers.studies.doctor.network import LayerFacts, layer_facts
from trainers.studies.doctor.tables import TableFacts, table_facts
from trainers.studies.doctor.updates import Updates, updates
from trainers.training.loop import MovingWindow
from trainers.training.run import Run

DAYS = 14  # Newest days read by default: each day of the week twice.
Progress = Callable[[int, int, str], None]  # Called with the work done, the total, and its name.


@dataclass(frozen=True)
class Examination:
    """Everything that `tfstable doctor` knows of a run; `findings.findings` says what is wrong.

    Attributes:
        path: The run's directory.
        log: The log's.
        config: The run's config.
        trained_to: Last day that the model has seen rows of.
        fitted: Days read that the statistics were fitted on, or, where the log has lost them, the first ones read.
        rows: Rows of each day read, in order.
        inputs: By feature and day.
        labels: By task and day.
        windows: Records of the windows, the oldest first.
        events: Number of events by kind.
        remarks: What the fit remarked before training.
        layers: By name of the layer.
        tables: By name of the table.
        updates: The oldest first.
    """

    path: Path
    log: Path
    config: Config
    trained_to: date
    fitted: tuple[date, ...]
    rows: Mapping[date, int]
    inputs: Mapping[str, Mapping[date, InputFacts]]
    labels: Mapping[str, Mapping[date, LabelFacts]]
    windows: list[WindowRecord]
    events: Mapping[str, int]
    remarks: list[str]
    layers: Mapping[str, LayerFacts]
    tables: Mapping[str, TableFacts]
    updates: list[Updates]


def examine(run: Run, days: int = DAYS, progress: Progress = lambda *_: None) -> Examination:
    """Examines a run; writes nothing, so another process may go on training it.

        findings(examine(Run.of("runs/quickstart")))

    Args:
        run: A trained run; see `Run.of`.
        days: Newest days of the log to read, at least 1, in addition to those of the first window.
        progress: Called with the work done, the total, and its name.

    Raises:
        InputError: If no window has been trained yet, or the log does not fit the run or has none of its days.
    """
    windows = run.windows()
    if windows and run.log.days[-1] < windows[0].window[0]:
        raise InputError(
            f"{run.log.path}: no day from {windows[0].window[0]} on, the run's first; name its log with --data"
        )
    trained_to = run.trained_to()
    assert trained_to is not None  # Else there is no finished window.
    parts = run.parts()
    log = parts.log
    first, last = windows[0].window
    since = [day for day in log.days if day >= first]
    chosen = [day for day in since if day <= last or day in since[-days:]]
    fitted = [day for day in chosen if day <= last] or chosen[: run.config.trainer.window_days]
    state = parts.state
    ids = {} if state.ids is None else state.ids.after(state.position.last_day).maps
    statistics = parts.state.fitted().statistics  # With the newest moments.
    inputs = Inputs(run.config.features, statistics, ids)
    facts: dict[str, dict[date, InputFacts]] = {}
    labels: dict[str, dict[date, LabelFacts]] = {name: {} for name in labelled(run.config.tasks)}
    rows: dict[date, int] = {}
    for number, day in enumerate(chosen):
        progress(number, len(chosen) + 1, f"reading {day}")
        read = read_day(run.config, log, state.reader, day)
        rows[day] = read.rows
        for name, of_feature in inputs.add(read, day in fitted).items():
            facts.setdefault(name, {})[day] = of_feature
        for name, of_task in read.labels.items():
            labels[name][day] = of_task
    progress(len(chosen), len(chosen) + 1, "reading checkpoints")
    return Examination(
        path=run.path,
        log=log.path,
        config=run.config,
        trained_to=trained_to,
        fitted=tuple(fitted),
        rows=rows,
        inputs=facts,
        labels=labels,
        windows=windows,
        events=_events(run.path / "events.jsonl"),
        remarks=parts.statistics.remarks,
        layers=_layers(parts, read),
        tables=table_facts(run.config, state.learner, inputs.seen, ids, chosen),
        updates=updates(state),  # Last: it restores other checkpoints.
    )


def _layers(parts: MovingWindow, newest: DayRows) -> dict[str, LayerFacts]:
    """Sends the newest day's sample through the model, with the weights that it is evaluated with."""
    reader, learner = parts.state.reader, parts.state.learner
    fitted, ids = parts.state.fitted().statistics, parts.state.ids_now()
    rows = reader.convert(newest.sample, first=newest.day, ids=ids, statistics=fitted)
    features, _, _ = reader.layout.unpack(rows)
    with learner.optimizer.averaged_weights():
        return layer_facts(learner.model, features, parts.config.evaluation.batch_size)


def _events(path: Path) -> dict[str, int]:
    """Counts the events by kind; skips damaged and incomplete lines."""
    kinds: Counter[str] = Counter()
    for line in path.read_bytes().split(b"\n")[:-1] if path.exists() else []:
        with suppress(ValueError, KeyError, TypeError):
            kinds[json.loads(line)["event"]] += 1
    return dict(kinds)
