"""What all commands do with the screen: one console, one progress bar, no start-up notes of TensorFlow."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

console = Console(width=None if sys.stdout.isatty() else 120)  # A file has no width: room for the tables.


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int, str], None]]:
    """Yields a `progress(done, total, what)` that draws one bar from its first call on."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = None

        def progress(done: int, total: int, what: str) -> None:
            nonlocal bar
            if bar is None:
                bar = bars.add_task(what, total=total)
            bars.update(bar, completed=done, total=total, description=what, visible=done < total)

        yield progress


def quiet_tensorflow() -> None:
    """Imports TensorFlow without its start-up notes, which it writes to the screen before any log level is set."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    screen, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        import tensorflow

        tensorflow.config.list_physical_devices()  # Where there is no GPU, looking for one is an "error" to CUDA.
    finally:
        os.dup2(screen, 2)
        os.close(screen)
        os.close(nowhere)
