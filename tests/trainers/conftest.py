import pytest

from tests.trainers.commands import tfstable


@pytest.fixture
def run(monkeypatch, capsys):
    """`run(*arguments)` is the command line in this process: its status, what it printed and what it complained of."""
    return lambda *arguments: tfstable(monkeypatch, capsys, *arguments)
