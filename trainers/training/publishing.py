"""Publishing a run's model: a version appears once the gate passes it and its reloaded copy predicts the same."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version as installed
from types import MappingProxyType
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfstable.data.arrays import raw_batches
from tfstable.data.log import DayLog
from tfstable.errors import InputError
from tfstable.inputs.counters import CounterTable
from tfstable.inputs.id_table import IdTable
from tfstable.inputs.statistics import Statistics
from tfstable.models import RankingModel
from tfstable.serving import export, warmup
from tfstable.serving.card import Evaluation, ModelCard
from tfstable.serving.examples import serialize
from tfstable.specs import counters, is_implicit
from trainers.config import Config, weight_keys
from trainers.devices.memory import give_back_memory
from trainers.health.gate import refusals
from trainers.report.console import Report
from trainers.store.run_directory import RunDirectory
from trainers.training.evaluation import evaluate

EXPORT_TOLERANCE = 1e-5  # Difference of a reloaded prediction: absolute up to 1, relative above.
# Keys of a task.
MEASURED = {"kind", "label", "implicit", "weight_column", "soft_labels", "negative_rate", "matures_after_days"}
EXPLAINED_ROWS = 1000  # Rows whose mean the signature `explain` compares with.
WARMUP_ROWS = (1, 100)  # Rows of the warm-up requests: a small graph and one whose operations run in parallel.


class ExportedCounters(NamedTuple):
    """What rows of the day after the last one see of the counters: an export holds it, for rows of any day.

    Attributes:
        tables: By counter.
        predictions: The trainer's own for every row of the last day, by task, if those rows saw it.
    """

    tables: Mapping[str, CounterTable]
    predictions: dict[str, np.ndarray]


class Publisher:
    """Turns a trained model into versions under MODEL_DIR/export.

    Args:
        config: The run's config.
        run: The run's directory.
        log: The log.
        model: The model.
        statistics: The model's statistics.
        report: What the user sees.
        ids: The rows of ids by table.
    """

    def __init__(
        self,
        config: Config,
        run: RunDirectory,
        log: DayLog,
        model: RankingModel,
        statistics: Statistics,
        report: Report,
        ids: Mapping[str, IdTable] = MappingProxyType({}),
    ):
        self._config, self._run, self._log, self._model, self._report = config, run, log, model, report
        self._statistics, self._ids = statistics, ids

    def published(self, last: date) -> str | None:
        """Returns the path of the newest version if there is nothing to publish.

        That is so if it was trained through `last` or further, with the config's weights of the score and `explain`.
        """
        if published := export.versions(self._run.exports):
            newest = self._run.exports / str(published[-1])
            card = export.metadata(newest)
            weights, explains = card.score_weights or self._score_weights, "explain" in card.signatures
            other = (weights, explains) != (self._score_weights, self._config.export.explain)
            is_new = str(last) > card.window_end or (str(last) == card.window_end and other)
            # A withdrawn model is not published again automatically; `promote` or the next window publishes.
            if not is_new or str(last) in card.withdrawn:
                return str(newest)
        return None

    def publish(
        self,
        last: date,
        predictions: dict[str, np.ndarray],
        exported: ExportedCounters | None = None,
        judged: dict[str, np.ndarray] | None = None,
    ) -> str | None:
        """Publishes the model trained through day `last`.

        Returns:
            The version's path; None if the gate refuses the model.

        Args:
            last: Last day of the window.
            predictions: The trainer's predictions for every row of that day, by task.
            exported: The counters of the export; None: there is no counter.
            judged: What the gate judges, the same before the day's labels calibrated it; None: `predictions`.
        """
        try:
            exported = exported or ExportedCounters({}, predictions)
            return self._publish(last, predictions if judged is None else judged, exported)
        finally:
            give_back_memory()

    def _publish(
        self,
        last: date,
        predictions: dict[str, np.ndarray],
        exported: ExportedCounters,
    ) -> str | None:
        own = evaluate(self._config, self._log, last, predictions, now=last, detailed=False)
        odd, since = self._run.odd_days(), self._config.evaluation.compare_since
        if reasons := refusals(self._config.export.gate, last, self._run.evaluations(), own, odd, since):
            self._run.add_event("export_refused", window_end=last, reasons=reasons)
            self._report.found(f"not exported, the model trained to {last}: {'; '.join(reasons)}")
            return None
        partial = export.save(
            self._run.exports,
            self._model,
            self._card(last),
            user_columns=self._config.export.user_columns,
            score_weights=self._config.score_weights,
            counters=exported.tables,
            ids=self._ids,
            explained=self._rows(last, EXPLAINED_ROWS) if self._config.export.explain else None,
        )
        try:
            difference = self._difference(export.Serving(partial), last, exported.predictions)
            if not difference <= EXPORT_TOLERANCE:
                self._run.add_event("export_refused", window_end=last, difference=difference)
                raise InputError(
                    f"{self._run.path}: the reloaded model predicts {last} differently by {difference:.2g}; "
                    "not published"
                )
            warmup.write(partial, self._requests(last))
            version = export.publish(partial)
        finally:
            export.give_up(partial)  # Does nothing after a publication.
        export.prune(self._run.exports, self._config.export.keep_versions)
        self._report.exported(version, last, difference)
        return str(version)

    def _difference(self, serving: export.Serving, day: date, predictions: dict[str, np.ndarray]) -> float:
        """Returns the largest difference of the served predictions from the trainer's over a whole day.

        With `rank`, it includes the difference of `rank` from `serving_default` on the day's first rows.
        """
        pairs = []
        try:
            served = [serving(raw) for raw in raw_batches(self._log.units(day), self._statistics.columns)]
            for name, expected in predictions.items():
                pairs.append((np.concatenate([part[name] for part in served]), expected))
            if "rank" in serving.signatures:
                rows = self._rows(day, max(WARMUP_ROWS))
                ranked, single = serving(self._of_one_user(rows), "rank"), serving(self._repeated(rows))
                pairs += [(ranked[name], single[name][ranked["order"]]) for name in single]
        except InputError:  # A prediction that is not finite.
            return float("nan")
        worst = 0.0
        for got, expected in pairs:
            worst = np.maximum(worst, np.max(np.abs(got - expected) / np.maximum(1, np.abs(expected))))
        return float(worst)

    def _requests(self, day: date) -> list[tuple[str, dict[str, np.ndarray]]]:
        """Returns warm-up requests for every signature, of the day's first rows."""
        requests = []
        for count in WARMUP_ROWS:
            rows = self._rows(day, count)
            requests.append(("serving_default", rows))
            requests.append(("serve_examples", {"examples": np.array(serialize(rows), object)}))
            if self._config.export.explain:
                requests.append(("explain", rows))
            if self._config.export.user_columns:
                requests.append(("rank", self._of_one_user(rows)))
        return requests

    def _rows(self, day: date, count: int) -> dict[str, np.ndarray]:
        batches = raw_batches(self._log.units(day), self._statistics.columns)
        raw = next(batch for batch in batches if len(next(iter(batch.values()))))  # A day may begin with an empty file.
        return {name: values[:count] for name, values in raw.items()}

    def _of_one_user(self, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The rows as a request to `rank`: the first row's user, and every row's candidate."""
        return {n: v[:1] if n in self._config.export.user_columns else v for n, v in rows.items()}

    def _repeated(self, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {n: v[[0] * len(v)] if n in self._config.export.user_columns else v for n, v in rows.items()}

    def _card(self, last: date) -> ModelCard:
        """Returns the model card, without columns and signatures."""
        config, record = self._config, self._run.window(last)
        if record is None or record.eval_day is None:  # No day after the window yet: take the previous evaluation.
            record = self._run.newest()
        evaluation = None
        if record is not None:
            first, end = map(str, record.window)
            evaluation = Evaluation((first, end), str(record.eval_day), record.tasks or {})
        return ModelCard(
            window_end=str(last),
            model={
                "class": config.model.model_class,
                "weights": int(sum(np.prod(w.shape) for w in self._model.trainable_variables)),
                "precision": config.trainer.precision,
            },
            data={
                "log": str(config.data.path),
                "first_day": str(self._run.first_day()),
                "last_day": str(last),
            },
            evaluation=evaluation,
            config_hash=hashlib.sha256(json.dumps(weight_keys(config), sort_keys=True).encode()).hexdigest(),
            # `tfstable compare` needs them to judge an export without its run.
            tasks={
                name: ({} if is_implicit(task) else {"label": name})
                | task.model_dump(mode="json", include=MEASURED, exclude_defaults=True)
                for name, task in config.tasks.items()
            },
            weight=config.data.weight,
            counted_to=self._counted_to(last),
            score_weights=self._score_weights,
            versions={
                "tfstable": installed("tfstable"),
                "tensorflow": tf.__version__,
                "keras": keras.__version__,
            },
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    @property
    def _score_weights(self) -> dict[str, float] | None:
        """Weights of the tasks in the score of `rank`; None: there is no `rank`."""
        return self._config.score_weights if self._config.export.user_columns else None

    def _counted_to(self, last: date) -> str | None:
        """The last day of which the export's counters know a label; None without a counter."""
        delays = [counter.delay_days for counter in counters(self._config.features).values()]
        return str(last - timedelta(min(delays))) if delays else None
