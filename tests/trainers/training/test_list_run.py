"""Runs with losses over lists: they resume, publish, and are the same for any number of devices and workers."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.trainers.launch import finish, start_workers
from tests.trainers.launch import start as start_process
from tests.trainers.runs import (
    CONFIG,
    DAYS,
    ROWS,
    StoppedError,
    StoppingReport,
    assert_same_run,
    begun,
    copy_days,
    is_model_weight,
    load,
    start,
    weights,
)
from tfstable.data.log import DayLog
from tfstable.errors import InputError
from tfstable.sources.simulate import simulate
from trainers.training.groups import groups_line

LISTS = (
    "trainer.shuffle={kind: groups, by: user_id}",
    "tasks.click.loss={kind: jrc, weight: 0.5}",
    "model.class=tfstable.models.JointRanking",
    "tasks.follow.loss={kind: pairwise, weight: 1}",
    "data.until=2025-01-03",
)


@pytest.fixture(scope="module")
def run(log, tmp_path_factory) -> Path:
    """An uninterrupted run over two windows."""
    path = tmp_path_factory.mktemp("runs") / "lists"
    start(log, path, *LISTS, "trainer.sharpness_every=20", "trainer.tensorboard=true", "export.gate=null")
    return path


def test_a_run_stopped_inside_a_window_goes_on_bitwise(run, log, tmp_path):
    assert list((run / "export").glob("1/saved_model.pb"))
    options = (*LISTS, "trainer.checkpoint_minutes=1e-9", "export.when=never")
    with pytest.raises(StoppedError):
        begun(load(log, *options), tmp_path / "run", StoppingReport).train()
    with pytest.raises(InputError, match="the window that is partly trained groups rows by user_id; finish it"):
        start(log, tmp_path / "run", *options, "trainer.shuffle={kind: groups, by: video_id}")
    start(log, tmp_path / "run", *options)
    assert_same_run(run, tmp_path / "run")


@pytest.mark.slow
def test_a_running_model_takes_another_list_loss(log, tmp_path):
    copy_days(log, DAYS[:3], tmp_path / "log")
    start(tmp_path / "log", tmp_path / "run", *LISTS[:4], "export.when=never")
    copy_days(log, DAYS[3:4], tmp_path / "log")
    other = "tasks.click.loss={kind: list_ce, weight: 0.9}"
    start(tmp_path / "log", tmp_path / "run", LISTS[0], LISTS[2], other, "export.when=never")
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    (changed,) = [event["changed"] for event in events if event["event"] == "config_changed"]
    assert {entry["key"]: entry["now"] for entry in changed} == {
        "tasks.click.loss.kind": "list_ce",
        "tasks.click.loss.weight": 0.9,
        "tasks.follow.loss.kind": None,
        "tasks.follow.loss.weight": None,
    }


@pytest.mark.parametrize(("buffer", "where"), [(5000, "the first window: "), (512, "the first two buffers: ")])
def test_check_says_how_groups_are_cut(buffer, where, log):
    line = groups_line(load(log, *LISTS, f"data.buffer_rows={buffer}"), DayLog(log))
    rows = pa.concat_tables([pq.read_table(log / f"date={day}", columns=["user_id"]) for day in DAYS[:2]])
    users = [f"{number // ROWS} {user}" for number, user in enumerate(rows["user_id"].to_pylist())]
    sizes = np.unique(users[: 2 * buffer], return_counts=True)[1]
    assert line.startswith(f"groups by user_id in {where}{len(sizes)}, of {sizes.mean():.1f} rows on average, ")
    cut, large = (
        int(re.search(pattern, line)[1]) for pattern in (r"; (\d+)[^;]* are cut", r"; (\d+) have more than the 32")
    )
    assert large == (sizes > 32).sum() if buffer == 5000 else large > 0
    assert cut == large if buffer == 5000 else cut > large + 50  # Buffers of 512 rows hold half a day each.


# --- Devices and workers.

DEVICES = {
    "mirrored-2": ("trainer.strategy=mirrored", "trainer.devices=2"),
    "mirrored-4": ("trainer.strategy=mirrored", "trainer.devices=4"),
    "workers-2": None,
}


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("equality")
    simulate(path / "log", days=3, rows_per_day=4000, users=400, videos=200)
    text = CONFIG.replace("path: unset", f"path: {path / 'log'}").replace("steps_per_call: 3", "steps_per_call: 20")
    (path / "config.yaml").write_text(text)
    return path / "config.yaml"


@pytest.fixture(scope="module")
def alone(config) -> dict[str, np.ndarray]:
    finish(start_process(config, config.parent / "alone", *LISTS, "export.when=never"))
    return weights(config.parent / "alone")


@pytest.mark.slow
@pytest.mark.parametrize("devices", DEVICES)
def test_devices_and_workers_train_what_one_device_does(devices, config, alone, tmp_path):
    options = (*LISTS, "export.when=never")
    if DEVICES[devices] is None:
        for worker in start_workers(2, config, tmp_path / "run", *options):
            finish(worker)
    else:
        finish(start_process(config, tmp_path / "run", *options, *DEVICES[devices]))
    theirs = weights(tmp_path / "run")
    names = [name for name in alone if is_model_weight(name)]
    drift = {n: np.linalg.norm(alone[n] - theirs[n]) / max(np.linalg.norm(alone[n]), 1e-30) for n in names}
    worst = max(drift, key=drift.get)
    print(f"{devices}: largest |dw|/|w| {drift[worst]:.1e} ({worst})")
    assert drift[worst] <= 1e-5


@pytest.mark.slow
def test_more_replicas_than_parts_are_refused(config, tmp_path):
    options = (*LISTS, "trainer.shuffle.parts=1", "trainer.strategy=mirrored", "trainer.devices=2")
    said = finish(start_process(config, tmp_path / "run", *options), status=2)
    assert "tasks.click.loss: 2 replicas would cut groups" in said
