"""The work of `tfstable export --list` and `--promote`. Imports no TensorFlow."""

from pathlib import Path

from rich.table import Table

from tfstable.serving import versions
from tfstable.serving.card import ModelCard


def table(model_dir: Path) -> Table:
    """Returns the versions of a run, the newest first."""
    directory, shown = model_dir / "export", Table("version", "trained through", "published", "MB", "evaluation")
    numbers = versions.versions(directory)
    for number in reversed(numbers):
        path = directory / str(number)
        card = versions.metadata(path)
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6
        name = f"{number}, newest" if number == numbers[-1] else str(number)
        name += f", copy of {card.promoted_from}" if card.promoted_from else ""
        shown.add_row(name, card.window_end, card.created or "", f"{size:,.1f}", _headline(card))
    return shown


def promote(model_dir: Path, number: int, keep: int) -> str:
    """Publishes a copy of a version as the newest, prunes old versions, and returns a line for the user.

    A training of the run may continue meanwhile. Imports TensorFlow to test the copy before publication.
    """
    from tfstable.serving import export

    new = export.promote(model_dir / "export", number)
    versions.prune(model_dir / "export", keep)
    withdrawn = versions.metadata(new).withdrawn
    return f"{new}: a copy of version {number}; withdrew the models of {', '.join(withdrawn) or 'no day'}"


def _headline(card: ModelCard) -> str:
    if not (evaluation := card.evaluation):
        return ""
    shown = [
        f"{task} {'AUC' if 'auc' in m else 'RMSE'} {m.get('auc', m.get('rmse')):.4f}"
        for task, m in evaluation.tasks.items()
    ]
    return f"{evaluation.day}: {', '.join(shown[:2])}"
