"""Fits statistics on a log's first window. Imports no TensorFlow, since `tfstable check --deep` uses it."""

import pyarrow as pa

from tfstable.data.columns import RawColumn, arrow_types
from tfstable.data.log import DAY, DayLog, read
from tfstable.data.maturity import labels_used, longest
from tfstable.data.values import ValueChecks
from tfstable.data.window import Window
from tfstable.inputs.statistics import Statistics, fit
from tfstable.log_columns import outcome_columns, single_columns
from trainers.config import Config


def fit_statistics(
    config: Config, log: DayLog, columns: dict[str, RawColumn], checks: ValueChecks | None = None
) -> Statistics:
    """Reads the first window once and returns its vocabularies, moments, quantiles and base rates.

    Args:
        config: The config.
        log: The log.
        columns: Raw columns of the features.
        checks: Checks the rows; None: a new one.
    """
    days = tuple(log.days[: config.trainer.window_days])
    units, used = [unit for day in days for unit in log.units(day)], labels_used(Window(days, ()), config.tasks, days)
    checks = checks or value_checks(config)
    batches = (pa.Table.from_batches([batch]) for batch in read(units, fitted_types(config, columns), check=checks))
    return fit(config.features, config.tasks, columns, batches, used)


def value_checks(config: Config) -> ValueChecks:
    """Returns the checks of every row that training reads."""
    column_of = single_columns(config.features)
    histories = {
        f"model.sequences.{name}": {column_of[f]: config.features[f] for f in sequence.features if f in column_of}
        for name, sequence in config.model.sequences.items()
    }
    return ValueChecks(config.features, config.tasks, config.data.weight, histories)


def fitted_types(config: Config, columns: dict[str, RawColumn]) -> dict[str, pa.DataType]:
    """Returns the columns that training reads, with the types to fit them in: numbers in float64."""
    features = {name: pa.float64() if dtype == pa.float32() else dtype for name, dtype in arrow_types(columns).items()}
    day = {DAY: pa.int32()} if longest(config.tasks) else {}
    return dict.fromkeys(outcome_columns(config.tasks, config.data.weight), pa.float32()) | features | day
