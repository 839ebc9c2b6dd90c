"""Workers that meet: each hears what the others found, who differs, and who is missing or gone; none waits for good."""

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.trainers.launch import free_ports
from tfstable.errors import InputError
from trainers.devices.cluster import Cluster, WorkerLostError
from trainers.devices.workers import Workers

AT_ONCE = 0.02  # Minutes.


def addresses(number: int) -> tuple[str, ...]:
    return tuple(f"127.0.0.1:{port}" for port in free_ports(number))


def meet(*work: Callable[[Workers], Any], minutes: float = 1.0) -> list[Any]:
    """Does the work of each worker in a thread of its own; returns what came of each, exceptions too."""
    found, where = [None] * len(work), addresses(len(work))

    def go(index: int):
        workers = Workers(Cluster(len(work), index, where), minutes)
        try:
            found[index] = work[index](workers)
        except Exception as error:
            found[index] = error
        finally:
            workers.close()

    threads = [threading.Thread(target=go, args=(index,)) for index in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return found


def fail(why: str):
    raise InputError(why)


def test_equal_workers_go_on_and_share_what_the_chief_decides():
    def work(workers):
        own = workers.together(lambda: workers.cluster.index, lambda _: {"trainer.seed": 3})
        return own, workers.decide(lambda: {"statistics": [0.1, "é\n"]})

    assert meet(work, work, work) == [(index, {"statistics": [0.1, "é\n"]}) for index in range(3)]


def test_who_differs_is_named_with_the_chiefs_value_and_its_own():
    def having(**values):
        return lambda workers: workers.together(lambda: None, lambda _: values)

    chief, same, other = meet(having(seed=0, days=4), having(seed=0, days=4), having(seed=7, days=4))
    for error in (chief, same, other):
        assert isinstance(error, InputError)
        assert str(error).startswith("worker 2 of 3 differs from the chief in seed: 7, the chief's 0; start all")
    first, second = meet(having(a=1, b=1, c=1, d=1), having(a=2, b=2, c=2, d=2, e=2))
    assert str(first) == str(second)
    assert "a: 2, the chief's 1; b: 2, the chief's 1; c: 2, the chief's 1; and 2 more" in str(first)


@pytest.mark.parametrize("refused", [0, 1])
def test_bad_input_of_one_worker_is_the_line_of_all(refused):
    def work(workers):
        return workers.together(lambda: fail("no column b") if workers.cluster.index == refused else 1)

    found = meet(work, work, work)
    assert str(found.pop(refused)) == "no column b"
    assert [str(error) for error in found] == [f"worker {refused} of 3 cannot train: no column b"] * 2
    assert {type(error) for error in found} == {InputError}


def test_bad_input_of_the_chiefs_decision_is_the_line_of_all():
    found = meet(*[lambda workers: workers.decide(lambda: fail("an infinite value"))] * 2)
    assert [str(error) for error in found] == ["an infinite value", "worker 0 of 2 cannot train: an infinite value"]


def test_a_worker_that_does_not_come_is_named():
    where = addresses(3)
    chief = Workers(Cluster(3, 0, where), AT_ONCE)
    with pytest.raises(WorkerLostError, match=rf"worker 1 \({where[1]}\), worker 2 \({where[2]}\) did not come within"):
        chief.together(lambda: None)
    with pytest.raises(
        WorkerLostError, match=rf"worker 0 \({where[0]}\) did not answer within .* \(Connection refused"
    ):
        Workers(Cluster(3, 1, where), AT_ONCE).together(lambda: None)


def test_who_came_hears_of_who_did_not():
    where = addresses(3)
    found = []

    def go(index):
        try:
            Workers(Cluster(3, index, where), 0.05).together(lambda: None)
        except WorkerLostError as error:
            found.append(str(error))

    threads = [threading.Thread(target=go, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 2
    assert all(f"worker 2 ({where[2]}) did not come" in line for line in found)


def test_a_worker_that_leaves_is_named():
    def work(workers):
        workers.together(lambda: None)
        if workers.cluster.index == 2:
            return workers.close()
        return workers.together(lambda: None)

    chief, other, _ = meet(work, work, work)
    for error in (chief, other):
        assert isinstance(error, WorkerLostError)
        assert "worker 2 (127.0.0.1:" in str(error)
        assert "is gone; rerun the same command on all workers" in str(error)


def test_strangers_at_the_chiefs_port_do_not_hold_up_the_workers():
    where = addresses(2)
    found = []
    chief = threading.Thread(target=lambda: found.append(Workers(Cluster(2, 0, where), 1).together(lambda: "chief")))
    chief.start()
    port = int(where[0].rpartition(":")[2])
    for text in (b"GET / HTTP/1.1\r\n\r\n", b'{"worker": 9}\n', b'{"worker": 0}\n', b"[]\n", b"\xff\n", b""):
        for _ in range(100):
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=5) as stranger:
                    stranger.sendall(text)
                break
            except ConnectionRefusedError:
                threading.Event().wait(0.05)
    assert Workers(Cluster(2, 1, where), 1).together(lambda: "worker") == "worker"
    chief.join(60)
    assert found == ["chief"]


def test_a_port_in_use_is_named():
    where = addresses(2)
    with socket.create_server(("", int(where[0].rpartition(":")[2]))), pytest.raises(InputError) as error:
        Workers(Cluster(2, 0, where), AT_ONCE).together(lambda: None)
    assert "TF_CONFIG: worker 0 cannot listen on port" in str(error.value)
    assert "Address already in use" in str(error.value)


def test_one_process_meets_nobody():
    alone = Workers(Cluster(), AT_ONCE)
    assert alone.together(lambda: 5, lambda _: pytest.fail("no facts are needed")) == 5
    assert alone.decide(lambda: 6) == 6
