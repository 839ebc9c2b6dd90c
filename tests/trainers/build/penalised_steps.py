"""Three steps with each penalty under a strategy; a program, since a process can have one strategy of replicas alone.

    python -m tests.trainers.build.penalised_steps OUT (alone | 2 | 4 | workers)

Writes OUT.npz with the losses and weights of each case, by `CASE|FORM|NAME`; the forms are plain, xla and summed.
"""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

if __name__ == "__main__":  # Before TensorFlow has touched the devices.
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 4
    )

from tests.models.cases import INPUTS, LABELS, ROWS, build
from tests.models.compiled import groups
from trainers.build.steps import Steps
from trainers.studies.reproducibility.summed_steps import SummedSteps

BATCH, BATCHES = 24, 3
CASES = {
    "none": {},
    "noise": {"penalty": {"kind": "noise", "stddev": 0.3}},
    "gradient": {"penalty": {"kind": "gradient", "weight": 0.2}},
    "fgm": {"penalty": {"kind": "fgm", "epsilon": 0.3}, "task_gradient_limit": 0.2},
    "vat": {"penalty": {"kind": "vat", "epsilon": 0.3}},
    "flooding": {"penalty": {"kind": "flooding", "level": 9.8}},  # Above the loss of the first batch's rows.
    "weight_gradient": {"penalty": {"kind": "weight_gradient", "rate": 0.1}},
}
ACROSS = ("fgm", "weight_gradient")  # They sum inside of what XLA compiles, which it cannot over replicas.


def batches() -> Iterator[tuple]:
    rng = np.random.default_rng(0)
    for _ in range(BATCHES):
        taken = rng.integers(0, ROWS, BATCH)
        x, y = ({name: value[taken] for name, value in by_name.items()} for by_name in (INPUTS, LABELS))
        yield x, y, rng.choice(np.float32([0, 0.5, 1, 3]), BATCH)


def dataset(replicas: int, context: tf.distribute.InputContext) -> tf.data.Dataset:
    """The parts of each batch that this worker's replicas take, in order."""
    each, own = BATCH // replicas, replicas // context.num_input_pipelines
    first = context.input_pipeline_id * own
    parts = [
        tf.nest.map_structure(lambda v, i=i: v[i * each : (i + 1) * each], batch)
        for batch in batches()
        for i in range(first, first + own)
    ]
    stacked = tf.nest.map_structure(lambda *values: np.stack(values), *parts)
    return tf.data.Dataset.from_tensor_slices(stacked)


def trained(strategy: tf.distribute.Strategy, keys: dict, make_steps) -> dict[str, np.ndarray]:
    replicas = strategy.num_replicas_in_sync
    with strategy.scope():
        model = build(dtype="float64", activation="smelu", **keys)
        model.build()
        rng = np.random.default_rng(1)
        for variable in model.trainable_variables:
            variable.assign(rng.normal(0, 0.5, variable.shape))
        if model.noise_seed is not None:
            model.noise_seed.state.assign([5, 0])
        optimizer = groups()
        optimizer.build(model.trainable_variables)
    steps = make_steps(strategy, model, optimizer)
    feed = strategy.distribute_datasets_from_function(partial(dataset, replicas))
    losses = steps.train(iter(feed), tf.constant(BATCHES)).numpy()
    return {"losses": losses} | {v.path.partition("/")[2]: v.numpy() for v in model.trainable_variables}


def main(out: str, devices: str):
    if devices == "workers":
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    elif devices == "alone":
        strategy = tf.distribute.get_strategy()
    else:
        strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(int(devices))])
    forms = {"plain": Steps}
    if devices in ("alone", "2"):
        forms["xla"] = partial(Steps, xla=True)
    if devices == "alone":
        forms["summed"] = partial(SummedSteps, parts=2)
    chosen = {"xla": ("fgm", "vat", "weight_gradient"), "summed": ("vat",)}
    if devices != "alone":
        chosen["plain"] = ("fgm", "vat", "flooding", "weight_gradient")
    found = {}
    for case, keys in CASES.items():
        for form, make_steps in forms.items():
            if case not in chosen.get(form, CASES) or (form == "xla" and devices != "alone" and case in ACROSS):
                continue
            for name, value in trained(strategy, keys, make_steps).items():
                found[f"{case}|{form}|{name}"] = value
    np.savez(Path(out), **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
