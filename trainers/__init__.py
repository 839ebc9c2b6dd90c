"""The programs of tfstable: training from Python by `Run` and `load_config`, and the commands of `tfstable`.

`Run` is imported at its first use, for it imports TensorFlow.
"""

from typing import TYPE_CHECKING, Any

from trainers.config import load as load_config

if TYPE_CHECKING:
    from trainers.training.run import Run

__all__ = ["Run", "load_config"]


def __getattr__(name: str) -> Any:
    if name != "Run":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from trainers.training.run import Run

    return Run
