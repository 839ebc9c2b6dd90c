"""Fills a new run's model from a trained one, and measures by how much its predictions differ."""

from dataclasses import asdict, replace
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from rich.table import Table

from tfstable.data.columns import RawColumn
from tfstable.data.log import DayLog
from tfstable.errors import InputError
from tfstable.inputs.living_ids import Ids
from tfstable.inputs.preprocessor import Preprocessor
from tfstable.inputs.reader import ExampleReader
from tfstable.inputs.statistics import Statistics
from tfstable.specs import counters
from trainers.build.learner import Learner, make_learner
from trainers.config import Config
from trainers.devices.memory import give_back_memory
from trainers.inherit.carry import carry_out, keeps_average
from trainers.inherit.ids import inherited_ids
from trainers.inherit.known import Known, known
from trainers.inherit.opening import open_source
from trainers.inherit.plan import Plan, plan
from trainers.inherit.sample import Sample, means, predictions, rebuilt
from trainers.inherit.source import Source
from trainers.report.console import Report
from trainers.store.run_directory import RunDirectory
from trainers.training.first_window import fit_statistics
from trainers.training.init_config import inherited_statistics
from trainers.training.state import RunState


class _There(NamedTuple):
    """What a sample shows of the source's model: its predictions, and the means of what its layers read."""

    predictions: dict[str, np.ndarray]
    means: dict[str, np.ndarray]
    averaged_means: dict[str, np.ndarray]


class Inheritance:
    """What a new run takes over of a trained model.

    Args:
        config: The run's config, with `init`.
        log: The log.
        statistics: The run's statistics.

    Attributes:
        source: The trained model.
        ids: The rows of ids at the start.
        tasks: Names there of the tasks that are known, by their names here.

    Raises:
        InputError: If it cannot be used.
    """

    def __init__(self, config: Config, log: DayLog, statistics: Statistics):
        assert config.init is not None  # Callers ask for it.
        self._config, self._log, self._init = config, log, config.init
        self.source: Source = open_source(config.init)
        self._known: Known = known(config, statistics.columns, self.source, config.init.rename)
        self.tasks = self._known.tasks
        self.ids = inherited_ids(config, statistics.columns, self._known, self.source)

    def carry_out(
        self, learner: Learner, reader: ExampleReader, strategy: tf.distribute.Strategy
    ) -> tuple[list[str | Table], dict[str, Any]]:
        """Fills a new learner.

        Args:
            learner: The learner, untrained.
            reader: Makes the inputs of its model.
            strategy: Whose scope it was made under.

        Returns:
            What the user reads, and the same for events.jsonl.

        Raises:
            InputError: If the source cannot be read.
        """
        what, missed = plan(learner.model, self.source, self._known), ""
        sample = Sample(self._config, self._log, self._log.days[0])
        inputs = sample.of_reader(reader, self.ids.tables)
        try:
            there = self._look(sample, inputs, what, self._init.slots and keeps_average(what, learner))
        except InputError as error:
            there, missed = _There({}, {}, {}), str(error)
            what = replace(what, folds=[])  # Without a mean nothing can join the biases.
        optimizer = carry_out(what, learner, strategy, self._init.slots, there.means, there.averaged_means)
        with learner.optimizer.averaged_weights():
            after = predictions(learner.model, inputs)
        pairs = [(name, old) for name, old in self._known.tasks.items() if old in there.predictions]
        found = {name: _difference(after[name], there.predictions[old]) for name, old in pairs}
        give_back_memory()
        rows = len(next(iter(inputs.values())))
        shown = f"predictions not compared: {missed}" if missed else _line(found, rows)
        event = {
            "source": self.source.name,
            "parts": [asdict(line) for line in what.lines],
            "optimizer": optimizer,
            "rows": rows,
            "differences": found,
        }
        return [what.table(), optimizer, shown], event

    def _look(self, sample: Sample, inputs: dict[str, tf.Tensor], what: Plan, average: bool) -> "_There":
        """Runs a sample through the source's model, where the plan asks for it also without the average."""
        model = rebuilt(self.source, averaged=True)
        theirs = sample.of_model(model, self._same_counters(inputs), Ids(self.source.ids()).tables)
        before = predictions(model, theirs)
        if not what.folds:
            return _There(before, {}, {})
        averaged = means(model, theirs)
        del model  # Two would need the memory of both.
        return _There(before, means(rebuilt(self.source, averaged=False), theirs) if average else {}, averaged)

    def _same_counters(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Inputs there that are equal here: counting a log takes a pass over it."""
        exact = {line.part for line in self._known.lines if line.exact}
        ours, theirs = counters(self._config.features), counters(self.source.features)
        return {
            old: inputs[name]
            for name, old in self._known.features.items()
            if name in ours and f"feature {name}" in exact and len(ours[name].of) == len(theirs[old].of)
        }


def inherit(
    config: Config, log: DayLog, statistics: Statistics, state: RunState, run: RunDirectory, report: Report
) -> None:
    """Fills a run's model from the one that the config names, unless the run has a checkpoint.

    Raises:
        InputError: If that cannot be used, or the workers find different ones.
    """
    if config.init is None or not state.agreement.decide(lambda: state.saved is None):
        return
    inheritance = Inheritance(config, log, statistics)
    if len(set(names := state.agreement.exchange(inheritance.source.name))) > 1:
        raise InputError(f"init.from: the workers find different checkpoints, {names}; name one: DIR/checkpoints/N")
    if state.ids is not None:
        state.ids.restore(None, inheritance.ids)
    state.calibration.restore(inheritance.source.calibration(), inheritance.tasks)
    shown, event = inheritance.carry_out(state.learner, state.reader, state.strategy)
    run.add_event("initialised", **event)
    report.tell(*shown)


def preview(config: Config, log: DayLog, columns: dict[str, RawColumn]) -> list[str | Table]:
    """Returns what a training would say of the model that it starts from; writes nothing.

    Args:
        config: The config, with `init`.
        log: The log, checked against it.
        columns: Raw columns of the features.

    Raises:
        InputError: If the first window or the source cannot be read.
    """
    statistics = inherited_statistics(config, columns, fit_statistics(config, log, columns))
    inheritance = Inheritance(config, log, statistics)
    keras.utils.set_random_seed(config.trainer.seed)
    learner = make_learner(config, statistics)
    reader = ExampleReader(log, Preprocessor(config.features, statistics), statistics, config.tasks, config.data.weight)
    shown, _ = inheritance.carry_out(learner, reader, tf.distribute.get_strategy())
    return shown


def _difference(after: np.ndarray, before: np.ndarray) -> float:
    """The largest difference of two predictions: absolute up to 1, relative above."""
    return float(np.max(np.abs(after - before) / np.maximum(1, np.abs(before))))


def _line(found: dict[str, float], rows: int) -> str:
    each = ", ".join(f"{name} {difference:.1g}" for name, difference in found.items())
    return f"largest difference of predictions from the source's, on {rows:,} rows of the log: {each}"
