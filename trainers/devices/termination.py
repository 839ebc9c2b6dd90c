"""SIGTERM and SIGINT (Ctrl-C): a run saves a checkpoint and exits with status 143 or 130."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Terminated(SystemExit):
    """Ends the process with the exit status of a signal, 128 + its number.

    Attributes:
        code: The exit status.
        signal: The signal's name; SIGTERM if another worker had the signal.
    """

    code: int

    def __init__(self, number: int | None = None):
        number = signal.Signals(number or signal.SIGTERM)
        self.signal = number.name
        super().__init__(128 + number)


class Termination:
    """Turns a signal into an exception at once, or, inside `held`, into the flag `requested`.

    Files on disk are complete at any moment, so most work can be dropped. Code inside `held` has trained steps that are
    not in a checkpoint: it checks `requested` and saves a checkpoint before it exits. A second SIGINT ends the process
    at once.
    """

    def __init__(self) -> None:
        self.number: int | None = None  # Of the signal that came.
        self._holding = self._is_installed = False

    @property
    def requested(self) -> bool:
        return self.number is not None

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handles the signals inside the block, where Python allows it: in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        self._is_installed = True
        try:
            yield
        finally:
            self._is_installed = False
            for number, handler in before.items():
                signal.signal(number, handler)

    def install_again(self) -> None:
        """Takes SIGTERM back from TensorFlow, whose workers take it for themselves when they form a cluster."""
        if self._is_installed:
            signal.signal(signal.SIGTERM, self._handle)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps signals from ending the block; the block itself checks `requested`."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self.requested:
            raise Terminated(self.number)

    def _handle(self, number: int, _: FrameType | None) -> None:
        self.number = self.number or number
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # The system ends the process at the next one.
        if not self._holding:
            raise Terminated(self.number)
