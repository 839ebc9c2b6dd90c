"""Workers that differ, are refused, missing or strangers: each leaves with one line, none waits for good."""

import shutil
import socket
import threading
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.trainers.launch import cluster, finish, free_ports, start
from tests.trainers.runs import CONFIG, copy_days
from tfstable.data.log import DayLog
from tfstable.errors import InputError
from tfstable.sources.simulate import simulate
from trainers import config as configs
from trainers.devices import facts
from trainers.devices.cluster import Cluster, WorkerLostError
from trainers.devices.workers import Workers

DAYS = [date(2025, 1, day) for day in range(1, 5)]
AT_ONCE = 0.02  # Minutes.


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("workers") / "log"
    simulate(path, days=len(DAYS), rows_per_day=300, users=100, videos=30)
    (path.parent / "config.yaml").write_text(CONFIG.replace("path: unset", f"path: {path}"))
    return path


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


def test_the_facts_are_every_key_but_those_of_the_machine(log):
    config = configs.load(log.parent / "config.yaml")
    own = facts.shared_facts(config, DayLog(log), Cluster(), fresh=False)
    assert own["trainer.seed"] == 0
    assert own["features.user_id.buckets"] == 500
    assert own["trainer.steps_per_call"] == 3
    assert own["export.when"] == "last"
    assert own["version of keras"]
    assert own["day 2025-01-02 of the log"].startswith("300 rows with digest ")
    assert not {"data.path", "data.reader_threads", "data.prefetch"} & own.keys()


def test_the_directory_is_that_in_which_the_chief_has_started(tmp_path, monkeypatch):
    monkeypatch.setattr(facts, "SHARED_SECONDS", 0.3)
    chief = Cluster(2, 0, ("a:1", "b:1"))
    start = facts.note_start(tmp_path / "shared", chief)
    facts.wait_for_start(tmp_path / "shared", chief, start)
    facts.note_start(tmp_path / "other", chief)  # An earlier start on a disk of the worker's own.
    for directory in ("other", "none"):
        with pytest.raises(
            InputError, match=f"--model-dir .*{directory}: not the chief's directory; name one that all"
        ):
            facts.wait_for_start(tmp_path / directory, chief, start)


def test_code_digests_change_with_any_file(tmp_path, monkeypatch):
    for name in ("__init__.py", "part.py"):
        (tmp_path / "digested").mkdir(exist_ok=True)
        (tmp_path / "digested" / name).write_text("A = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import digested

    before = facts.code_digest(digested)
    assert facts.code_digest(digested) == before
    (tmp_path / "digested" / "part.py").write_text("A = 2\n")
    assert facts.code_digest(digested) != before


# Real processes: the second worker is other than the chief.

OTHER_VERSION = """
import importlib.metadata
real = importlib.metadata.version
importlib.metadata.version = lambda name: "0.0.9" if name == "tfstable" else real(name)
"""


def rows(log: Path, to: Path, change: Callable) -> str:
    copy_days(log, DAYS, to)
    path = to / f"date={DAYS[1]}" / "part-0.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    return f"data.path={to}"


CASES: dict[str, tuple[Callable[[Path, Path], list[str]], str]] = {
    "seed": (lambda log, tmp: ["trainer.seed=7"], "trainer.seed: 7, the chief's 0"),
    "rate": (
        lambda log, tmp: ["optimizer.dense.learning_rate=0.5"],
        "optimizer.dense.learning_rate: 0.5, the chief's 0.05",
    ),
    "batch size": (lambda log, tmp: ["trainer.batch_size=128"], "trainer.batch_size: 128, the chief's 256"),
    "calls": (lambda log, tmp: ["trainer.steps_per_call=5"], "trainer.steps_per_call: 5, the chief's 3"),
    "export": (lambda log, tmp: ["export.when=never"], "export.when: never, the chief's last"),
    "log rows": (
        lambda log, tmp: [rows(log, tmp / "log", lambda table: table.slice(10))],
        f"differs from the chief in day {DAYS[1]} of the log: ",
    ),
    "log order": (
        lambda log, tmp: [rows(log, tmp / "log", lambda table: table.sort_by("user_id"))],
        f"differs from the chief in day {DAYS[1]} of the log: 300 rows",
    ),
    "log days": (
        lambda log, tmp: [f"data.path={copy_days(log, DAYS[:3], tmp / 'log')}"],
        f"day {DAYS[3]} of the log: None, the chief's 300 rows",
    ),
    "no log": (lambda log, tmp: [f"data.path={tmp / 'none'}"], "none: no such log directory"),
    "column": (
        lambda log, tmp: [rows(log, tmp / "log", lambda table: table.drop(["user_id"]))],
        "user_id",
    ),
    "config": (lambda log, tmp: ["trainer.seeed=7"], "trainer.seeed: unknown key; did you mean seed?"),
}
FAST = [("seed", 1), ("log rows", 1)]
SLOW = [(case, other) for case in CASES for other in (0, 1) if (case, other) not in FAST]


@pytest.mark.parametrize(
    ("case", "other"), [*FAST, *(pytest.param(*pair, marks=pytest.mark.slow) for pair in SLOW)], ids=str
)
def test_unequal_workers_all_leave_with_one_line(case, other, log, tmp_path):
    overrides, line = CASES[case]
    own = overrides(log, tmp_path)
    if other == 0:  # The same seen from the chief: who has what changes places.
        line = line.split(":")[0] if "the chief's" in line else line
    workers = [
        start(
            log.parent / "config.yaml",
            tmp_path / "run",
            "trainer.strategy=multi_worker",
            *(own if index == other else []),
            environment=environment,
        )
        for index, environment in enumerate(cluster(2))
    ]
    for worker in workers:
        said = finish(worker, status=2).splitlines()
        errors = [text for text in said if text.startswith("error: ")]
        assert len(errors) == 1, said
        assert line in errors[0]
        assert "Traceback" not in "\n".join(said)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_another_version_is_refused(log, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(OTHER_VERSION)
    first, second = cluster(2)
    root = str(Path(__file__).parents[3])
    second |= {"PYTHONPATH": f"{tmp_path}:{root}"}
    for environment, worker in [
        (
            environment,
            start(
                log.parent / "config.yaml", tmp_path / "run", "trainer.strategy=multi_worker", environment=environment
            ),
        )
        for environment in (first, second)
    ]:
        assert "version of tfstable: 0.0.9, the chief's 0.1.0" in finish(worker, status=2), environment


@pytest.mark.slow
def test_another_directory_is_refused(log, tmp_path):
    workers = [
        start(log.parent / "config.yaml", tmp_path / f"run-{index}", "trainer.strategy=multi_worker", environment=one)
        for index, one in enumerate(cluster(2))
    ]
    for worker in workers:
        said = finish(worker, status=2)
        assert "run-1: not the chief's directory; name one that all workers share" in said
        assert "Traceback" not in said
    assert not (tmp_path / "run-1").exists()
    shutil.rmtree(tmp_path / "run-0")


@pytest.mark.slow
@pytest.mark.parametrize("alone", [0, 1])
def test_a_worker_alone_says_whom_it_waits_for_and_leaves(alone, log, tmp_path):
    settings = ["trainer.strategy=multi_worker", "trainer.start_minutes=0.5"]
    worker = start(log.parent / "config.yaml", tmp_path / "run", *settings, environment=cluster(2)[alone])
    said = finish(worker, status=75)
    assert f"waiting for worker {1 - alone} (127.0.0.1:" in said
    assert f"error: worker {alone} of 2 stopped: worker {1 - alone} (127.0.0.1:" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_file_that_one_worker_cannot_read_ends_all(victim, log, tmp_path):
    damaged = copy_days(log, DAYS, tmp_path / "log") / f"date={DAYS[3]}" / "part-0.parquet"
    content = bytearray(damaged.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)  # The footer, and so the digest, stays as it is.
    damaged.write_bytes(content)
    workers = [
        start(
            log.parent / "config.yaml",
            tmp_path / "run",
            "trainer.strategy=multi_worker",
            *([f"data.path={tmp_path / 'log'}"] if index == victim else []),
            environment=environment,
        )
        for index, environment in enumerate(cluster(2))
    ]
    said = finish(workers[victim], status=2)
    assert f"error: {damaged}: cannot be read" in said
    assert "Traceback" not in said
    said = finish(workers[1 - victim], status=75)
    assert f"error: worker {1 - victim} of 2 stopped: another one is gone or cannot be reached" in said
    assert "Traceback" not in said
