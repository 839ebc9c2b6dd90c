"""Screen output of all commands: one console, one progress bar, no start-up messages of TensorFlow."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

console = Console(width=None if sys.stdout.isatty() else 120)  # A file has no width; 120 fits the tables.


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int, str], None]]:
    """Yields a function `progress(done, total, what)`, whose first call starts one progress bar."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    if not console.is_terminal:
        yield lambda done, total, what: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        bar = None

        def progress(done: int, total: int, what: str) -> None:
            nonlocal bar
            if bar is None:
                bar = bars.add_task(what, total=total)
            bars.update(bar, completed=done, total=total, description=what, visible=done < total)

        yield progress


def quiet_tensorflow() -> None:
    """Imports TensorFlow without its start-up messages, which ignore log levels set later."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    screen, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        import tensorflow

        tensorflow.config.list_physical_devices()  # Without a GPU, CUDA reports an "error" here.
    finally:
        os.dup2(screen, 2)
        os.close(screen)
        os.close(nowhere)
