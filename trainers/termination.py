"""SIGTERM: a run checkpoints what it has and leaves with status 143."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Terminated(SystemExit):
    """Ends the process with status 143, as a process that SIGTERM ended."""

    def __init__(self):
        super().__init__(128 + signal.SIGTERM)


class Termination:
    """Turns SIGTERM into an exception at once, or, inside `held`, into the flag `requested`.

    What is on disk is whole at any moment, so most work can simply be dropped. Inside `held` there are steps that no
    checkpoint has yet: that code asks `requested` and checkpoints before it leaves.
    """

    def __init__(self):
        self.requested = False
        self._holding = self._is_installed = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handles SIGTERM inside the block, where Python allows it: in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._handle)
        self._is_installed = True
        try:
            yield
        finally:
            self._is_installed = False
            signal.signal(signal.SIGTERM, before)

    def install_again(self):
        """Takes SIGTERM back from TensorFlow, whose workers take it for themselves when they form a cluster."""
        if self._is_installed:
            signal.signal(signal.SIGTERM, self._handle)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps SIGTERM from ending the block; it is up to the block to ask for `requested`."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self.requested:
            raise Terminated

    def _handle(self, *_):
        self.requested = True
        if not self._holding:
            raise Terminated
