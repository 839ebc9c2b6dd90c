"""By which config the batches of a window are numbered: one that has begun keeps its own."""

from tfstable.errors import InputError
from trainers.config import Config, changes, check_replicas, with_window_keys
from trainers.report.console import Report
from trainers.training.state import RunState


def numbering(config: Config, state: RunState, report: Report) -> Config:
    """Returns the config whose keys number the batches of the next window: `config` itself, unless it has begun.

    Raises:
        InputError: If the batches of the begun window cannot be shared by this number of replicas, or rows are grouped
            by another column.
    """
    keys = (state.saved.begun if state.saved and state.position.batch else None) or {}
    if keys and (by := keys.get("trainer.shuffle.by")) != config.trainer.shuffle.by:
        raise InputError(
            f"trainer.shuffle.by: the window that is partly trained groups rows by {by or 'no column'}; finish it with "
            "the losses and the shuffle that it had, then change them"
        )
    begun = with_window_keys(config, keys)
    if (size := begun.trainer.batch_size) % state.replicas:
        raise InputError(
            f"trainer.batch_size: the window that is partly trained has batches of {size} rows, not a multiple of "
            f"the number of replicas, {state.replicas}; finish it with another number of devices"
        )
    check_replicas(config.tasks, begun.trainer, state.replicas)
    if begun is not config:
        later = ", ".join(map(str, changes(begun, config)))
        report.found(f"the window that is partly trained keeps its batches; after it {later}")
    return begun
