"""Connects the workers of a cluster before TensorFlow does: all continue with the same facts, or all exit.

TensorFlow waits for a missing worker without a limit, and nothing can interrupt it: the others would never learn of bad
input that one worker finds before it joins. So the workers first connect to the chief's address, which TensorFlow uses
afterwards. They send each other lines of JSON.
"""

import json
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Never, TypeVar

from tfstable.errors import InputError
from trainers.devices.cluster import Cluster, WorkerLostError, read_cluster

T = TypeVar("T")
PATIENCE = 20.0  # Seconds of waiting after which a line names the worker that is missing.
HELLO_SECONDS = 5.0  # For a worker's first line, so that another client of the port does not delay the workers.
LONGEST = 1 << 28  # Bytes of a line.
AGAIN = "rerun the same command on all workers to resume from the newest checkpoint"


class Workers:
    """The other workers of this process's cluster, before TensorFlow joins them. With one worker nothing is sent.

    All workers call every method, in the same order. The first call connects them.

    Args:
        cluster: This process's place among them.
        minutes: How long the chief waits for all workers to connect, and each worker for the chief.
    """

    def __init__(self, cluster: Cluster, minutes: float):
        self.cluster, self._minutes = cluster, minutes
        self._peers: dict[int, _Line] | None = None  # The chief's: every other worker; a worker's: the chief.

    def together(self, work: Callable[[], T], facts: Callable[[T], dict[str, Any]] = lambda _: {}) -> T:
        """Does `work` on each worker and returns this one's result if no worker failed and all have equal facts.

        Args:
            work: Raises an InputError for bad input.
            facts: Returns, of its result, the values that must be equal on all workers, by names that users know.

        Raises:
            InputError: On all workers: what one of them found wrong, or which facts differ.
            WorkerLostError: If a worker does not connect, or exits.
        """
        if self.cluster.workers == 1:
            return work()
        failure: InputError | None = None
        mine: dict[str, Any]
        try:
            result = work()
            mine = {"facts": facts(result)}
        except InputError as error:
            failure, mine = error, {"error": str(error)}
        everyone = self._exchange(mine, f" to tell that {failure}" if failure else "")
        if failure is not None:
            raise failure
        for index, theirs in enumerate(everyone):
            if "error" in theirs:
                raise InputError(f"worker {index} of {len(everyone)} cannot train: {theirs['error']}")
        if line := _difference([theirs["facts"] for theirs in everyone], self.cluster.index):
            raise InputError(line)
        return result

    def decide(self, work: Callable[[], T]) -> T:
        """Does `work` on the chief; returns its result, plain JSON, or raises its InputError, on every worker."""
        if self.cluster.workers == 1:
            return work()
        found: list[T] = []
        self.together(lambda: found.append(work()) if self.cluster.is_chief else None)
        return self._exchange(found[0] if self.cluster.is_chief else None)[0]

    def close(self) -> None:
        """Leaves the address to TensorFlow."""
        for peer in (self._peers or {}).values():
            peer.close()
        self._peers = None

    def _exchange(self, value: Any, why: str = "") -> list[Any]:
        """Returns every worker's value, in their order."""
        cluster = self.cluster
        if self._peers is None:
            self._peers = self._meet_all(why) if cluster.is_chief else {0: self._meet_chief(why)}
        if not cluster.is_chief:
            chief = self._peers[0]
            try:
                chief.send(value)
                answer = chief.receive(f"waiting for the chief, {self._name(0)}, which waits for all workers")
            except OSError:
                answer = {"lost": f"{self._name(0)} is gone; {AGAIN}"}
            if "lost" in answer:
                raise self._lost(answer["lost"])
            return answer["all"]
        values = {0: value}
        for index, peer in self._peers.items():
            try:
                values[index] = peer.receive(f"waiting for {self._name(index)}")
            except OSError:
                self._give_up(self._peers, f"{self._name(index)} is gone; {AGAIN}")
        for peer in self._peers.values():
            with suppress(OSError):  # It has left since: the next exchange will show it.
                peer.send({"all": [values[index] for index in range(cluster.workers)]})
        return [values[index] for index in range(cluster.workers)]

    def _meet_all(self, why: str) -> "dict[int, _Line]":
        """The chief's part: waits until every other worker has sent its index."""
        peers: dict[int, _Line] = {}
        waiting = _Waiting(self._minutes, 2.0 if why else PATIENCE)
        with listening(self.cluster) as server:
            server.settimeout(0.5)
            while missing := [index for index in range(1, self.cluster.workers) if index not in peers]:
                names = ", ".join(map(self._name, missing))
                waiting.say(f"waiting for {names}{why}")
                if waiting.is_over:
                    self._give_up(peers, f"{names} did not come within {self._minutes:g} minutes; {AGAIN}")
                with suppress(TimeoutError):
                    self._welcome(_Line(server.accept()[0]), peers)
        return dict(sorted(peers.items()))

    def _welcome(self, line: "_Line", peers: "dict[int, _Line]") -> None:
        try:
            hello = line.receive(seconds=HELLO_SECONDS)
            index = hello["worker"]
            if index not in range(1, self.cluster.workers):
                raise ValueError
            if index in peers:  # It was restarted, or two processes have the same index.
                with suppress(OSError):
                    peers[index].send({"lost": f"another process came as worker {index} as well; {AGAIN}"})
                peers.pop(index).close()
            line.send({"hello": index})
            peers[index] = line
        except (OSError, ValueError, TypeError, KeyError):
            line.close()  # Not a worker of tfstable, or one that has exited.

    def _meet_chief(self, why: str) -> "_Line":
        """A worker's part: tries until the chief answers."""
        host, port = self.cluster.address(0)
        waiting = _Waiting(self._minutes, 2.0 if why else PATIENCE)
        while True:
            try:
                line = _Line(socket.create_connection((host, port), timeout=HELLO_SECONDS))
                try:
                    line.send({"worker": self.cluster.index})
                    if line.receive(seconds=2 * HELLO_SECONDS) == {"hello": self.cluster.index}:
                        return line
                    reason = "something else answers there"
                except (OSError, ValueError) as error:
                    reason = f"something else answers there: {error}"
                line.close()
            except OSError as error:
                reason = error.strerror or str(error)
            waiting.say(f"waiting for {self._name(0)}{why}")
            if waiting.is_over:
                raise self._lost(f"{self._name(0)} did not answer within {self._minutes:g} minutes ({reason}); {AGAIN}")
            time.sleep(0.3)

    def _give_up(self, peers: "dict[int, _Line]", why: str) -> Never:
        for peer in peers.values():
            with suppress(OSError):
                peer.send({"lost": why})
        raise self._lost(why)

    def _lost(self, why: str) -> WorkerLostError:
        return WorkerLostError(f"worker {self.cluster.index} of {self.cluster.workers} stopped: {why}")

    def _name(self, index: int) -> str:
        return f"worker {index} ({self.cluster.addresses[index]})"


def config_on_every_worker(load: Callable[[], T]) -> T:
    """Returns the result of `load`; sends its InputError to the other workers that TF_CONFIG names.

    Without a config it is unknown whether this process trains alone, so it waits for them only a minute.
    """
    try:
        return load()
    except InputError as error:
        with suppress(WorkerLostError, InputError):
            Workers(read_cluster("auto"), minutes=1).together(partial(_fail, error))
        raise


def _fail(error: Exception) -> Never:
    raise error


@contextmanager
def listening(cluster: Cluster) -> Iterator[socket.socket]:
    """Listens on this worker's own address, as TensorFlow will.

    Raises:
        InputError: If another process does.
    """
    _, port = cluster.address(cluster.index)
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    try:
        server = socket.create_server(("", port), family=family, dualstack_ipv6=dual, backlog=128)
    except OSError as error:
        raise InputError(
            f"TF_CONFIG: worker {cluster.index} cannot listen on port {port} of this machine ({error.strerror}); "
            "end the process that does, or give the worker another port"
        ) from None
    with server:
        yield server


class _Line:
    """Lines of JSON over a connection."""

    def __init__(self, connection: socket.socket):
        self._connection = connection
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # A dead machine sends nothing.
        for name, value in {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}.items():
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self._file = connection.makefile("rb")

    def send(self, value: Any) -> None:
        self._connection.settimeout(60)
        self._connection.sendall(json.dumps(value).encode() + b"\n")

    def receive(self, waiting: str = "", seconds: float | None = None) -> Any:
        """Returns the next line's value; prints `waiting` once that takes long. OSError: it ended, or was too slow."""
        self._connection.settimeout(seconds or PATIENCE)
        try:
            self._connection.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            if seconds:
                raise
            _say(waiting)
        self._connection.settimeout(seconds)
        text = self._file.readline(LONGEST)
        if not text.endswith(b"\n"):
            raise ConnectionResetError
        return json.loads(text)

    def close(self) -> None:
        self._file.close()
        self._connection.close()


class _Waiting:
    """A wait with a time limit; prints each new reason once."""

    def __init__(self, minutes: float, patience: float):
        self._begin, self._end = time.monotonic() + patience, time.monotonic() + 60 * minutes
        self._said: str | None = None

    @property
    def is_over(self) -> bool:
        return time.monotonic() > self._end

    def say(self, line: str) -> None:
        if line != self._said and time.monotonic() > self._begin:
            _say(line)
            self._said = line


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _difference(facts: list[dict[str, Any]], own: int) -> str | None:
    """Names facts of a worker that differ from the chief's: of this worker if it differs, else of the first."""
    others = [index for index in range(1, len(facts)) if facts[index] != facts[0]]
    if not others:
        return None
    index = own if own in others else others[0]
    theirs, chiefs = facts[index], facts[0]
    names = [name for name in {**chiefs, **theirs} if chiefs.get(name) != theirs.get(name)]
    shown = "; ".join(f"{name}: {theirs.get(name)}, the chief's {chiefs.get(name)}" for name in names[:3])
    more = f"; and {len(names) - 3} more" if len(names) > 3 else ""
    return (
        f"worker {index} of {len(facts)} differs from the chief in {shown}{more}; start all workers with the same "
        "config, log, directory and versions"
    )
