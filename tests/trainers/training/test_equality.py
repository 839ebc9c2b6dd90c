"""One device, mirrored logical CPUs and worker processes train one config to the same weights and metrics.

With every kind of input, masked labels, example weights, tables whose rows occur several times in a batch, and a batch
whose gradients are not finite. SmeLU in float32 agrees to 1e-5, ReLU in float64 to 1e-12; ReLU in float32 amplifies
rounding: its drift is printed.

In float32, histories are read by their mean alone: ReZero layers, whose gains begin at 0, have weights that hardly
leave 0, and so has a bias of scores; four replicas round those apart by up to 8e-5 of their norm. Float64 has all.
"""

import json
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.trainers.all_inputs import SEQUENCES, add_columns, with_all_inputs
from tests.trainers.launch import finish, start, start_workers
from tests.trainers.runs import CONFIG, assert_same_run, is_model_weight, metrics, smooth, weights
from tfstable.sources.simulate import simulate

pytestmark = pytest.mark.slow

DAYS = [date(2025, 1, day) for day in range(1, 5)]
STEPS = 3 * 74  # Three windows, each of two days with 9,472 rows in batches of 256, and so 222 steps.
DEVICES = {
    "mirrored-2": ["trainer.strategy=mirrored", "trainer.devices=2"],
    "mirrored-4": ["trainer.strategy=mirrored", "trainer.devices=4"],
    "workers-2": None,
}


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    """A config with its log, one example of which weighs 1e30: its step is left out.

    It has a label of the one task that no counter counts: else it would be all that they know. This label is complete a
    day later, so of the two windows that have the day only the second one uses it.
    """
    path = tmp_path_factory.mktemp("equality")
    simulate(path / "log", days=len(DAYS), rows_per_day=9472, users=400, videos=200)
    day = path / "log" / f"date={DAYS[1]}" / "part-0.parquet"
    table = pq.read_table(day)
    assert table["follow"].null_count  # Masked where there was no click.
    for name, value in {"weight": 1e30, "follow": 1, "click": None, "watch_time_s": None}.items():
        values = [*table[name].to_pylist()[:500], value, *table[name].to_pylist()[501:]]
        column = pa.array(values, table.schema.field(name).type)
        table = table.set_column(table.schema.get_field_index(name), name, column)
    pq.write_table(table, day)
    add_columns(path / "log")
    text = CONFIG.replace("steps_per_call: 3", "steps_per_call: 20")
    text = text.replace("initial_accumulator: 1.0e-4", "initial_accumulator: 1.0e-4, forget: 0.9")
    (path / "config.yaml").write_text(with_all_inputs(text, path / "log"))
    return path / "config.yaml"


LIMIT = "model.task_gradient_limit=0.2"  # Below what the tasks have.
PLAIN = {name: SEQUENCES[name] for name in ("all",)}
MODELS = {
    "smelu-float32": (["model.activation=smelu", f"model.sequences={json.dumps(PLAIN)}"], 1e-5),
    # In float64 a weight of 1e30 is a number like any other, and would freeze what it touches: every example weighs 1.
    "relu-float64": (["model.activation=relu", "trainer.precision=float64", "data.weight=null", LIMIT], 1e-12),
    "relu-float32": (["model.activation=relu"], None),
}


@pytest.fixture(scope="module")
def alone(config) -> dict[str, Path]:
    """The run of each model on one device."""
    runs = {name: config.parent / name for name in MODELS}
    for name, (overrides, _) in MODELS.items():
        finish(start(config, runs[name], *overrides))
    return runs


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("devices", DEVICES)
def test_devices_and_workers_train_what_one_device_does(devices, model, config, alone, tmp_path):
    overrides, bound = MODELS[model]
    if DEVICES[devices] is None:
        workers = start_workers(2, config, tmp_path / "run", *overrides)
        printed = [finish(worker) for worker in workers]
        assert "exported" in printed[0]
        assert "window" not in printed[1]  # The chief alone reports, and writes.
    else:
        finish(start(config, tmp_path / "run", *overrides, *DEVICES[devices]))

    ours, theirs = weights(alone[model]), weights(tmp_path / "run")
    assert ours.keys() == theirs.keys()
    left_out = 0 if "float64" in model else 1
    assert ours["optimizer/_iterations/.ATTRIBUTES/VARIABLE_VALUE"] == STEPS - left_out
    drift = {}
    for name, value in ours.items():
        if np.issubdtype(value.dtype, np.integer):
            assert np.array_equal(value, theirs[name]), name  # Steps done and left out, position in the data.
        elif is_model_weight(name):
            assert np.isfinite(theirs[name]).all(), name
            drift[name] = float(np.linalg.norm(value - theirs[name]) / max(np.linalg.norm(value), 1e-30))
    worst = max(drift, key=drift.get)
    print(f"{devices}, {model}: largest |dw|/|w| {drift[worst]:.1e} ({worst})")
    if bound is None:
        return
    assert drift[worst] <= bound, worst
    for day in DAYS[1:3]:
        one, several = metrics(alone[model], day), metrics(tmp_path / "run", day)
        assert one["examples"] == several["examples"]
        for task, values in smooth(one["tasks"]).items():
            assert smooth(several["tasks"])[task] == pytest.approx(values, rel=100 * bound), (day, task)
    path = tmp_path / "run" / "events.jsonl"
    events = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    assert sum(event["count"] for event in events if event["event"] == "skipped_steps") == left_out


def test_a_deterministic_profiled_run_has_the_same_bits(config, alone, tmp_path):
    overrides, _ = MODELS["smelu-float32"]
    finish(start(config, tmp_path / "run", *overrides, "trainer.deterministic=true", flags=["--profile"]))
    assert_same_run(alone["smelu-float32"], tmp_path / "run")
    assert list((tmp_path / "run" / "tensorboard").rglob("*.xplane.pb"))
