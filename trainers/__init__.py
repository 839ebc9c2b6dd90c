"""The programs of tfstable: training from Python by `Run` and `load_config`, and the commands of `tfstable`.

Both names are imported at their first use: `Run` imports TensorFlow, and `python -m trainers` looks first whose
packages there are.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainers.config import load as load_config
    from trainers.training.run import Run

__all__ = ["Run", "load_config"]


def __getattr__(name: str) -> Any:
    if name == "Run":
        from trainers.training.run import Run

        return Run
    if name == "load_config":
        from trainers.config import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
