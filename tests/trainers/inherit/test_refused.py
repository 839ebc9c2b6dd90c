"""What `init` refuses, each with one line that names it."""

import pytest

from tests.trainers.inherit.conftest import CONSTANT, MODEL
from tests.trainers.runs import DAYS, load
from tfstable.errors import InputError
from trainers import Run
from trainers.training.init_config import with_init


def refused(config, run) -> str:
    with pytest.raises(InputError) as error:
        with_init(config, run)
    return str(error.value)


def test_directories_that_are_no_source(log, source, tmp_path):
    assert "neither a run" in refused(load(log, f"init.from={tmp_path}"), tmp_path / "run")
    without = tmp_path / "without"
    without.mkdir()
    (without / "params.yaml").write_bytes((source.path / "params.yaml").read_bytes())
    assert "no checkpoint can be read" in refused(load(log, f"init.from={without}"), tmp_path / "run")
    version = tmp_path / "1"
    version.mkdir()
    (version / "model_card.json").write_bytes((source.path / "export" / "1" / "model_card.json").read_bytes())
    assert "cannot be read" in refused(load(log, f"init.from={version}"), tmp_path / "run")


def test_a_source_that_has_seen_every_day(log, source, tmp_path):
    line = refused(load(log, f"init.from={source.path}", f"data.until={DAYS[2]}"), tmp_path / "run")
    assert line.startswith(f"init.from: {source.path} was trained to {DAYS[2]}, and ")
    assert line.endswith("add days, or set data.since to train again on days that it has seen")


@pytest.mark.parametrize(
    ("rename", "line"),
    [
        ("{user: video_id}", "init.rename: the source has no feature, task or sequence user; did you mean user_id?"),
        ("{user_id: users}", "init.rename: user_id: this config has no users among its features; did you mean"),
        ("{user_id: tags, video_id: tags}", "init.rename: two names become tags; leave one out"),
    ],
)
def test_renames_of_unknown_names(log, source, rename, line, tmp_path):
    config = load(log, *MODEL, *CONSTANT, f"init.from={source.path}", f"init.rename={rename}")
    with pytest.raises(InputError) as error:
        Run.open(config, tmp_path / "run").train()
    assert str(error.value).startswith(line)
    assert not (tmp_path / "run").exists()


def test_nothing_in_common(log, source, tmp_path):
    config = load(log, f"init.from={source.path}", "init.rename={click: follow}")
    config = config.model_copy(update={"tasks": {"like": config.tasks["click"].model_copy(update={"label": "like"})}})
    config = config.model_copy(update={"init": config.init.model_copy(update={"rename": {}})})
    with pytest.raises(InputError, match="has no task in common with this config: there click, follow, watch_time"):
        Run.open(config, tmp_path / "run").train()


def test_a_run_that_has_begun_otherwise(log, source, tmp_path):
    line = refused(load(log, *MODEL, *CONSTANT, f"init.from={tmp_path}"), source.path)
    assert line.startswith(f"init.from: {source.path} has begun from new weights, not from {tmp_path}")
