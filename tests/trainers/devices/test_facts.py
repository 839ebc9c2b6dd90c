"""The facts that all workers must share: config, log, code and the run directory."""

import pytest

from tfstable.data.log import DayLog
from tfstable.errors import InputError
from trainers import config as configs
from trainers.devices import facts
from trainers.devices.cluster import Cluster


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
