"""A training run from Python: `Run`, which the commands of `tfstable` use too."""

import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
from rich.console import Console

from tfstable.data.log import DayLog
from tfstable.errors import InputError
from tfstable.specs import labelled
from trainers.build.model import model_class
from trainers.config import Config, InitConfig
from trainers.devices.cluster import read_cluster
from trainers.devices.facts import devices_and_code
from trainers.devices.failures import full_disk, lost_workers
from trainers.devices.memory import share_heap
from trainers.devices.termination import Termination
from trainers.devices.workers import Workers
from trainers.report.console import Report
from trainers.report.profiler import Profiler
from trainers.store.going_back import go_back
from trainers.store.run_directory import RunDirectory
from trainers.store.window_record import Metrics, WindowRecord
from trainers.training.check import check_log, check_run, open_log, open_trained
from trainers.training.evaluation import evaluate
from trainers.training.first_window import fit_statistics, value_checks
from trainers.training.init_config import with_init
from trainers.training.loop import MovingWindow
from trainers.training.start import begin, start_together


class SeenDayWarning(UserWarning):
    """A model was evaluated on a day that it was trained on."""


class Run:
    """A training run in a directory.

        run = Run.open(load_config("configs/quickstart.yaml"), "runs/quickstart")
        newest = run.train()  # The last evaluated window.
        newest.tasks["click"]["auc"]  # On newest.eval_day, before the model trained on it.
        version = run.export()

    Nothing is printed: messages go to the logger "tfstable" of `logging`. Training is as exact and crash-safe as
    `tfstable train`, which uses this class.

    Args:
        config: The config.
        model_dir: The run's directory.
        log: The log to train on, checked against the config.
        fresh: Delete what an earlier run left in `model_dir` when training begins.
        workers: The workers of TF_CONFIG, which have started together; None: they do so when training begins.
        console: Where to print; None: nowhere.

    Attributes:
        config: The config.
        path: The run's directory.
    """

    def __init__(
        self,
        config: Config,
        model_dir: Path | str,
        log: DayLog,
        *,
        fresh: bool = False,
        workers: Workers | None = None,
        console: Console | None = None,
    ):
        self.config, self.path = config, Path(model_dir)
        self._log, self._fresh, self._workers, self._console = log, fresh, workers, console
        self._parts: MovingWindow | None = None

    @classmethod
    def open(
        cls, config: Config, model_dir: Path | str, *, fresh: bool = False, init_from: Path | str | None = None
    ) -> "Run":
        """Opens a new run, or one to resume, and checks log and directory against the config.

        It changes nothing on disk, but for a log that `data.simulate` asks for.

        Args:
            config: The config; `load_config` reads one.
            model_dir: The run's directory.
            fresh: Delete what an earlier run left there when training begins.
            init_from: A trained model to start from, as the key `init.from`; None: what the config says.

        Raises:
            InputError: If log, directory and config do not fit together.
        """
        if init_from is not None:
            keys = {} if config.init is None else config.init.model_dump(exclude={"source"})
            config = config.model_copy(update={"init": InitConfig.model_validate({**keys, "from": init_from})})
        config = with_init(config, Path(model_dir), fresh)
        log = open_log(config)
        check_run(config, log, Path(model_dir), fresh)
        return cls(config, model_dir, log, fresh=fresh)

    @classmethod
    def of(cls, model_dir: Path | str, data: Path | str | None = None, console: Console | None = None) -> "Run":
        """Opens a trained run by its directory, on one device and with every day of its log.

        Args:
            model_dir: The run's directory.
            data: Another log than the run's own.
            console: Where to print; None: nowhere.

        Raises:
            InputError: If the directory is not a run, or the log does not fit it.
        """
        config, log = open_trained(Path(model_dir), None if data is None else Path(data))
        return cls(config, model_dir, log, console=console)

    def train(self, *, profile: bool = False, from_day: date | None = None) -> WindowRecord | None:
        """Trains on the days of the log that the run has not trained on yet, from its newest checkpoint.

        SIGTERM and Ctrl-C save a checkpoint, then raise `Terminated`, a SystemExit with status 143 or 130.

        Args:
            profile: Write a TensorFlow profile of a call of the train step to MODEL_DIR/tensorboard.
            from_day: Train this day and all later ones again, because it came late or was mended: go back to the newest
                checkpoint whose window ends before it. What came after that checkpoint is moved to
                MODEL_DIR/set_aside/TIME: checkpoints, metrics, counters and exports, which are no longer served.

        Returns:
            The record of the last evaluated window; None if no day has been evaluated.

        Raises:
            InputError: Before anything is written, if config and log do not fit together, or no checkpoint is from
                before `from_day`; later, if a file cannot be read or written.
            DivergedError: If the run diverges more often in a row than `recovery.most`.
            WorkerLostError: If another worker of the cluster is gone.
        """
        with self._training(profile, from_day) as moving_window:
            moving_window.train()
        record = moving_window.run.newest()
        if record is not None:
            moving_window.report.summary(record)
        return record

    def windows(self) -> list[WindowRecord]:
        """Returns the records of the windows that have been trained, the oldest first."""
        return RunDirectory(self.path, self.config, writable=False).windows()

    def evaluate(self, day: date) -> Metrics:
        """Returns the metrics of the newest checkpoint on a day of the log, by task.

        It writes nothing, so another process may continue to train the run. Warns if the model was trained on the day.

        Raises:
            InputError: If no window has been trained yet, or the log does not have the day.
        """
        model = self._restored()
        trained_to = model.trained_to()
        if trained_to is not None and model.run.first_day() <= day <= trained_to:
            newest = model.log.days[-1]
            later = f"name a later day, up to {newest}" if newest > trained_to else "hold days out: data.until"
            warnings.warn(
                f"{self.path} was trained on days to {trained_to}: {day} is not new to it, and metrics of "
                f"a new day are worse; {later}",
                SeenDayWarning,
                stacklevel=2,
            )
        return evaluate(self.config, model.log, day, model.state.predict(day), now=model.log.counted[-1])

    def predict(self, day: date) -> dict[str, np.ndarray]:
        """Returns the newest checkpoint's predictions for every row of a day of the log, in its order.

        Returns:
            By task, `(rows,)` float32: probabilities of a binary task, a regression's in the label's units.

        Raises:
            InputError: If no window has been trained yet, or the log does not have the day.
        """
        return self._restored().state.predict(day)

    def trained_to(self) -> date | None:
        """Returns the last day that the newest checkpoint has seen rows of; None if it has seen none."""
        return self._restored().trained_to()

    def export(self) -> Path:
        """Publishes the newest checkpoint as a SavedModel, MODEL_DIR/export/N; returns the version's path.

        Raises:
            InputError: If no window has been trained yet, the export gate refuses the model, or another process is
                training the run.
        """
        directory = RunDirectory(self.path, self.config)
        directory.refuse_if_in_use()
        with full_disk(self.path), directory.locked():
            go_back(directory)  # If an earlier start was killed while it set versions aside.
            version = self._restored(writable=True).publish()
        if version is None:
            raise InputError(f"{self.path}: the export gate refuses the newest checkpoint; events.jsonl says why")
        return version

    @property
    def log(self) -> DayLog:
        """The log with every day that it has now, those that data.until holds out included."""
        return DayLog(self.config.data.path, self.config.data.missing_day)

    def parts(self, writable: bool = False) -> MovingWindow:
        """Returns the run's parts on one device: model, optimizer, reader, steps.

        At the newest checkpoint, or as `train` has just left it; untrained if there is no checkpoint.

        Args:
            writable: Whether it may write; only for the holder of the directory's lock.
        """
        parts, log = self._parts, self.log
        if parts is None or parts.log.days != log.days or (writable and not parts.run.writable):
            trainer = self.config.trainer.model_copy(update={"strategy": "one_device"})
            config = self.config.model_copy(update={"trainer": trainer})
            directory = RunDirectory(self.path, config, writable=writable)
            statistics = directory.statistics() or fit_statistics(config, log, check_log(config, log))
            self._parts = parts = MovingWindow(config, log, statistics, directory, Report(self._console))
        return parts

    def _restored(self, writable: bool = False) -> MovingWindow:
        begun = RunDirectory(self.path, self.config, writable=False).statistics() is not None
        parts = self.parts(writable) if begun else None
        if parts is None or parts.state.position.last_day is None:
            raise InputError(f"{self.path}: no finished window yet; train it first")
        return parts

    @contextmanager
    def _training(self, profile: bool, from_day: date | None) -> Iterator[MovingWindow]:
        """Begins the run and yields its parts; turns failures from outside into one error."""
        share_heap()
        termination, config = Termination(), self.config
        with termination.installed(), lost_workers(config), full_disk(self.path), ExitStack() as held:
            if (workers := self._workers) is None:
                workers = Workers(read_cluster(config.trainer.strategy), config.trainer.start_minutes)
                self._log = start_together(workers, config, self.path, self._fresh, from_day=from_day)
            workers.together(lambda: model_class(config), devices_and_code)
            pa.set_cpu_count(config.data.reader_threads or os.cpu_count() or 1)
            checks = value_checks(config)
            run, statistics = begin(workers, config, self._log, self.path, self._fresh, checks, held, from_day)
            self._workers, self._fresh, self._parts = None, False, None  # The next `train` of this object resumes.
            tensorboard = run.tensorboard if run.writable else None
            report = Report(
                self._console if run.writable else Console(quiet=True),
                labelled(config.tasks),
                tensorboard if config.trainer.tensorboard else None,
            )
            for remark in [*run.remarks, *statistics.remarks]:
                report.found(remark)
            profiler = Profiler(tensorboard if profile else None)
            parts = MovingWindow(config, self._log, statistics, run, report, termination, profiler)
            parts.infinite.tell(checks.infinite())
            yield parts
            self._parts = parts
