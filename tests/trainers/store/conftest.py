"""A run that the command line made, for what damages, replaces and shares its files."""

from datetime import date
from pathlib import Path

import pytest

from tests.trainers.commands import CONFIG, day, rows, tfstable, train
from trainers.health.loss_watch import Batch
from trainers.health.recoveries import Diverged, Recoveries
from trainers.store.params import read_config
from trainers.store.run_directory import RunDirectory


@pytest.fixture(scope="package")
def place(tmp_path_factory, write) -> Path:
    """A run over three days, with recoveries, in `run` beside its log and config; nobody changes it."""
    place = tmp_path_factory.mktemp("damaged")
    for number in range(3):
        write(day(place / "log", number), rows())
    (place / "config.yaml").write_text(CONFIG.replace("LOG", str(place / "log")))
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert train(place, lambda *arguments: tfstable(monkeypatch, NoOutput(), *arguments))[0] == 0
    config = read_config(place / "run")
    last = Batch(date(2025, 1, 2), 3)
    recoveries = Recoveries(config.recovery)
    recoveries.add(Diverged("", last, last, {}), 1, 2, None)
    RunDirectory(place / "run", config).write_recoveries(recoveries.done)
    return place


class NoOutput:
    def readouterr(self) -> tuple[str, str]:
        return "", ""
