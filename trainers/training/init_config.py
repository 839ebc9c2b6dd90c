"""How a run comes to the model that it starts from: by its config, or by what an earlier start noted.

Imports no TensorFlow.
"""

from pathlib import Path

from tfstable.data.columns import RawColumn
from tfstable.data.window import windows
from tfstable.errors import InputError
from tfstable.inputs.statistics import Statistics
from trainers.config import Config
from trainers.inherit.known import known
from trainers.inherit.opening import open_source
from trainers.inherit.statistics import inherited
from trainers.store.params import NAME, read_config
from trainers.training.check import open_log


def with_init(config: Config, model_dir: Path, fresh: bool = False) -> Config:
    """Returns the config with what an earlier start of the run noted of its beginning.

    A new run goes on where its source stopped, at the window that the source would train next, unless data.since is
    set: on days that the source has seen, metrics would be of days that are not new.

    Args:
        config: The config as it is given.
        model_dir: The run's directory.
        fresh: Whether the run begins again.

    Raises:
        InputError: If the source cannot be used, the run has begun from another one, or the log has no new window.
    """
    if not fresh and (model_dir / NAME).is_file():
        earlier = read_config(model_dir)
        if config.init is not None and config.init != earlier.init:
            began = "new weights" if earlier.init is None else earlier.init.source
            raise InputError(
                f"init.from: {model_dir} has begun from {began}, not from {config.init.source}, with another rename or "
                "slots; leave init out to resume it, or use another --model-dir, or --fresh to delete this run"
            )
        if earlier.init is None:
            return config
        data = config.data.model_copy(update={"since": config.data.since or earlier.data.since})
        return config.model_copy(update={"init": earlier.init, "data": data})
    return config if config.init is None else begin_after_source(config)


def begin_after_source(config: Config, strict: bool = True) -> Config:
    """Returns the config with data.since set to where the source would go on, unless it is set.

    Args:
        config: A config with `init`.
        strict: Raise an error if the log has no day for it; else such a config stays as it is.

    Raises:
        InputError: If the source cannot be used, or has trained on every day of the log.
    """
    assert config.init is not None  # Callers ask for it.
    last = open_source(config.init).last
    if last is None or config.data.since is not None or not config.data.path.exists():
        return config
    days, trainer = open_log(config).days, config.trainer
    if next_windows := windows(days, trainer.window_days, trainer.stride_days, after=last):
        since = next_windows[0].days[0]
        return config.model_copy(update={"data": config.data.model_copy(update={"since": since})})
    if strict:
        raise InputError(
            f"init.from: {config.init.source} was trained to {last}, and {config.data.path} ends on {days[-1]}; add "
            "days, or set data.since to train again on days that it has seen"
        )
    return config


def inherited_statistics(config: Config, columns: dict[str, RawColumn], fitted: Statistics) -> Statistics:
    """Returns the statistics of a new run: those of its source where that knows them."""
    if config.init is None:
        return fitted
    source = open_source(config.init)
    return inherited(config, fitted, known(config, columns, source, config.init.rename), source)
