"""A run that starts from a trained one on several devices: as on one."""

import numpy as np
import pytest

from tests.trainers.inherit.conftest import CONSTANT, MODEL
from tests.trainers.launch import finish, start, start_workers
from tests.trainers.runs import DAYS, load, weights


@pytest.mark.slow
def test_devices_and_workers_start_from_the_same_weights(log, source, tmp_path):
    load(log)  # Writes the config.
    config, keys = log.parent / "config.yaml", (*MODEL, *CONSTANT, f"data.path={log}", "tasks.like={kind: binary}")
    keys += (f"data.until={DAYS[3]}", f"init.from={source.path}", "export.when=never")
    one, mirrored, workers = (tmp_path / name for name in ("one", "mirrored", "workers"))
    finish(start(config, one, *keys))
    finish(start(config, mirrored, *keys, "trainer.strategy=mirrored", "trainer.devices=2"))
    for process in start_workers(2, config, workers, *keys):
        finish(process)
    expected = weights(one)
    for run in (mirrored, workers):
        for name, value in weights(run).items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-6, err_msg=name)
