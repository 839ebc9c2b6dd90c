"""Processes of workers of which one is other than the chief: each leaves with one line, none waits for good."""

import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.trainers.launch import cluster, finish, start
from tests.trainers.runs import copy_days

DAYS = [date(2025, 1, day) for day in range(1, 5)]
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
