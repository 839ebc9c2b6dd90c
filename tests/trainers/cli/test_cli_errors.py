"""The command line on bad input: one line that names it, status 2, no traceback, nothing half-written."""

import shutil
import subprocess
import sys

import pytest

from tests.trainers.commands import ROWS, complaint, day, rows

# --- The same line from check and train, before anything is written.


@pytest.mark.parametrize(
    ("damage", "arguments", "expected"),
    [
        (
            None,
            ["--set", "trainer.batchsize=3"],
            "config.yaml: trainer.batchsize: unknown key; did you mean batch_size?",
        ),
        (None, ["--set", "features.click={kind: numeric}"], "features.click reads click, the outcome of tasks.click"),
        (None, ["--set", "data.path=/nowhere"], "/nowhere: no such log directory; set data.path"),
        (None, ["--set", "trainer.window_days=9"], "log: 3 days, fewer than trainer.window_days (9)"),
        (None, ["--set", "data.weight=w"], "part-0.parquet: no column w; the file has"),
        (None, ["--set", "evaluation.gauc_column=u"], "part-0.parquet: no column u; the file has"),
        (lambda log, write: write(day(log, 1), {"x": [1]}), [], "part-0.parquet: no column user_id; the file has x"),
        (lambda log, write: write(day(log, 1), rows(click=["a"] * ROWS)), [], "column click has type string"),
        (lambda log, write: day(log, 1).unlink(), [], "date=2025-01-02: the day is empty"),
        (lambda log, write: shutil.rmtree(day(log, 1).parent), [], "no day between 2025-01-01 and 2025-01-03"),
        (lambda log, write: day(log, 1).write_text("no Parquet"), [], "part-0.parquet: cannot be read ("),
    ],
)
def test_check_and_train_say_the_same(damage, arguments, expected, place, run, write):
    if damage:
        damage(place / "log", write)
    before = sorted(place.rglob("*"))
    said = complaint(run("check", "--config", place / "config.yaml", *arguments))
    assert expected in said
    assert complaint(run("train", "--config", place / "config.yaml", "--model-dir", place / "run", *arguments)) == said
    assert sorted(place.rglob("*")) == before


def test_check_finds_nothing_wrong_with_what_is_right(place, run):
    status, printed, errors = run("check", "--config", place / "config.yaml")
    assert (status, errors) == (0, "")
    assert "3 days, 2025-01-01 to 2025-01-03, 120 rows" in printed.replace("\n", "")
    assert "fit together; labels and values were not read: use --deep to read them" in printed.replace("\n", " ")
    assert sorted(path.name for path in place.iterdir()) == ["config.yaml", "log"]


def test_several_wrong_keys_have_a_line_each(place, run):
    status, _, errors = run(
        "check", "--config", place / "config.yaml", "--set", "trainer.seed=-1", "--set", "model.depth=3"
    )
    assert status == 2
    assert errors.count("\n") == 2
    assert "trainer.seed: " in errors
    assert "model.depth: unknown key" in errors


def test_a_config_that_is_not_there(place, run):
    said = complaint(run("train", "--config", place / "none.yaml", "--model-dir", place / "run"))
    assert said == f"{place / 'none.yaml'}: cannot be read (No such file or directory)"


def test_the_schema_prints_as_json(run):
    import json

    status, printed, _ = run("schema")
    assert status == 0
    assert json.loads(printed)["title"] == "Config"


def test_a_directory_that_holds_something_else(place, run):
    (place / "run").mkdir()
    (place / "run" / "thesis.tex").write_text("mine")
    for model_dir, expected in (
        (place / "run", "not empty and not a run of tfstable"),
        (place / "config.yaml", "not a directory"),
    ):
        said = complaint(run("train", "--config", place / "config.yaml", "--model-dir", model_dir))
        assert said.startswith(f"{model_dir}: {expected}")
    assert [path.name for path in (place / "run").iterdir()] == ["thesis.tex"]


# --- The other commands.


def test_commands_that_need_a_run(place, run):
    for command in ("evaluate", "export"):
        said = complaint(run(command, "--model-dir", place / "nothing"))
        assert said == f"{place / 'nothing'}: not a run of tfstable; train one with `tfstable train`"
    arguments = ("predict", "--export", place, "--data", place / "log", "--out", place / "out.parquet")
    assert complaint(run(*arguments)).startswith(f"{place}: not an export of tfstable")
    assert complaint(run(*arguments[:4], place / "none", *arguments[5:])).startswith(f"{place / 'none'}: no such log")
    assert not (place / "out.parquet").exists()


@pytest.mark.parametrize(
    "arguments", [["--days", "0"], ["--rows-per-day", "-1"], ["--taste-change-days", "two"], ["--shock-days", "99"]]
)
def test_simulate_with_wrong_arguments(arguments, place, run):
    complaint(run("simulate", "--out", place / "simulated", *arguments))
    assert not (place / "simulated").exists()


def test_a_simulation_that_the_config_asks_for_wrongly(place, run):
    wrong = [
        "--set",
        f"data.path={place / 'new'}",
        "--set",
        "data.simulate={days: 2, rows_per_day: 5, shock_days: [99]}",
    ]
    complaint(run("check", "--config", place / "config.yaml", *wrong))
    assert not (place / "new").exists()


# --- As a user starts it.


def python(*lines: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], 0),
        (["train", "--help"], 0),
        (["compare", "--help"], 0),
        (["compare", "{place}/run", "{place}/run", "--data", "{place}/nolog"], 2),
        (["schema"], 0),
        (["check", "--config", "{place}/config.yaml"], 0),
        (["train", "--config", "{place}/config.yaml", "--model-dir", "{place}/run", "--set", "trainer.sed=1"], 2),
        (["train", "--config", "{place}/config.yaml", "--model-dir", "{place}/run", "--set", "data.weight=w"], 2),
    ],
)
def test_help_checks_and_errors_come_without_tensorflow(arguments, status, place):
    arguments = [argument.format(place=place) for argument in arguments]
    done = python(
        "import sys",
        "from trainers.cli.app import main",
        f"sys.argv = ['tfstable', *{arguments!r}]",
        "try: main()",
        "except SystemExit as leave: status = leave.code or 0",
        "heavy = {'tensorflow', 'keras'} & set(sys.modules)",
        "print('STATUS', status, sorted(heavy))",
    )
    assert done.stdout.splitlines()[-1] == f"STATUS {status} []"
    assert "Traceback" not in done.stderr
    assert (done.stderr.count("\n") == 1) == (status == 2)
    assert not (place / "run").exists()


def test_the_module_is_the_same_program(place):
    command = [sys.executable, "-m", "trainers", "train", "--config", str(place / "config.yaml")]
    done = subprocess.run(
        [*command, "--model-dir", str(place / "run"), "--set", "trainer.batch_size=none"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        f"error: {place / 'config.yaml'}: trainer.batch_size: Input should be a valid integer"
    )
    assert done.stderr.count("\n") == 1
