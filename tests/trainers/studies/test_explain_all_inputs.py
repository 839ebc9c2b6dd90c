"""Explanations of a model that reads every kind of input: by the command, and by the export's signature."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.trainers import all_inputs
from tests.trainers.runs import CONFIG
from tfstable.data.arrays import raw_batches
from tfstable.serving import export
from tfstable.sources.simulate import simulate
from trainers import Run, load_config
from trainers.studies.explain.explain import explain
from trainers.studies.tune_score.days import scored_days

LAST = date(2025, 1, 4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Run:
    place = tmp_path_factory.mktemp("all_inputs")
    simulate(place / "log", days=4, rows_per_day=600, users=150, videos=60)
    log = all_inputs.add_columns(place / "log")
    config = yaml.safe_load(all_inputs.with_all_inputs(CONFIG, log))
    config["trainer"] |= {"window_days": 1}
    config["model"] |= {"wide": True}
    config["export"] = {"explain": True, "gate": None}
    (place / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    run = Run.open(load_config(place / "config.yaml"), place / "run")
    run.train()
    return run


@pytest.mark.slow
def test_histories_counters_and_ids_are_explained(trained):
    found = explain(trained, LAST, rows=600, gradient_rows=100, repeats=1)
    assert found.trained_to == date(2025, 1, 3)
    assert max(found.completeness.values()) < 1e-3
    units = found.units
    assert units["sequences/watched+user+read+all"].features == ("seen", "gap")
    assert units["sequences/ids"].features == ("seen_id",)
    assert {"of_video", "pair", "cover", "id", "tag"} < units.keys()
    assert all(found.size["click"][name] > 0 for name in units)
    again = explain(Run.of(trained.path), LAST, rows=600, gradient_rows=100, repeats=1)
    assert again.importance == found.importance  # It leaves no trace in the run that has just trained.
    assert [day.day for day in scored_days(trained, {"click": 1.0}, "user_id")] == [date(2025, 1, 3), LAST]


@pytest.mark.slow
def test_the_export_explains_raw_rows(trained):
    serving = export.Serving(Path(trained.path) / "export" / "latest")
    (rows,) = raw_batches(trained.log.units(LAST), serving.columns)
    found, predicted = serving(rows, "explain"), serving(rows)
    np.testing.assert_allclose(1 / (1 + np.exp(-found["click"])), predicted["click"], rtol=1e-4)
    for task in ("click", "follow", "watch_time"):
        shares = {name: values for name, values in found.items() if name.startswith(f"{task}/")}
        assert f"{task}/sequences/read" in shares
        of_mean = found[task] - sum(shares.values())
        change = np.abs(found[task] - of_mean.mean()).mean()
        assert np.abs(of_mean - of_mean.mean()).mean() < 1e-3 * change
