"""The command line: `tfstable`, the same as `python -m trainers`.

TensorFlow takes seconds to import, so each command imports what it needs, after its arguments are known to be right.
"""

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tfstable.errors import InputError
from tfstable.files import to_json
from trainers import config as configs
from trainers.devices.cluster import WorkerLostError, read_cluster
from trainers.devices.disk import refusal
from trainers.devices.termination import Terminated, Termination
from trainers.health.recoveries import DivergedError

app = typer.Typer(
    help="Train multitask ranking models that don't blow up and don't change their mind.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
prepare = typer.Typer(help="Turn the official files of a public data set into a log.", no_args_is_help=True)
app.add_typer(prepare, name="prepare")
console = Console(width=None if sys.stdout.isatty() else 120)  # A file has no width: room for the tables.

#: What a signal leaves, by command; of the others nothing.
KEPT = {
    "train": "the same command goes on from the newest checkpoint",
    **dict.fromkeys(("stability", "reproducibility"), "the same command goes on: what was trained is kept"),
    "simulate": "days that are in an OUT which was there before are whole; remove them before you start again",
    "prepare": "the same command goes on: the days that were written are kept",
}

ConfigFile = Annotated[Path, typer.Option("--config", help="YAML file; see configs/ and `tfstable schema`.")]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a key: --set trainer.batch_size=2048.")
]
ModelDir = Annotated[Path, typer.Option("--model-dir", help="Directory of the run.")]
Day = Annotated[datetime | None, typer.Option("--day", formats=["%Y-%m-%d"], help="Default: the log's last day.")]


@app.command()
def train(
    config: ConfigFile,
    model_dir: ModelDir,
    overrides: Overrides = [],  # noqa: B006  (typer's way to give a list option a default)
    fresh: Annotated[bool, typer.Option(help="Delete what an earlier run left in MODEL_DIR.")] = False,
    profile: Annotated[bool, typer.Option(help="Write a TensorFlow profile to MODEL_DIR/tensorboard.")] = False,
):
    """Train on a log's days in time order, evaluate each day before training on it, export a SavedModel.

    The same command goes on where it was stopped, and trains on the days that have come into the log since.

    What it leaves in MODEL_DIR: params.yaml, checkpoints/, windows/DAY/metrics.json, metrics.json (the last evaluation
    day), export/N (SavedModels), tensorboard/, events.jsonl.

    Status: 0 done, 2 bad input, 3 diverged for good, 75 another worker is gone (start all again), 130 Ctrl-C and 143
    SIGTERM (after a checkpoint).
    """
    from trainers.devices.workers import Workers, config_on_every_worker

    settings = config_on_every_worker(lambda: configs.load(config, overrides))
    from trainers.training.start import start_together

    workers = Workers(read_cluster(settings.trainer.strategy), settings.trainer.start_minutes)
    with progress_bar() as progress:  # Before TensorFlow is there: what is wrong is known in a second.
        log = start_together(workers, settings, model_dir, fresh, progress)
    quiet_tensorflow()
    from trainers.training.run import Run

    Run(settings, model_dir, log, fresh=fresh, workers=workers, console=console).train(profile=profile)


@app.command()
def check(
    config: ConfigFile,
    overrides: Overrides = [],  # noqa: B006
    deep: Annotated[bool, typer.Option("--deep", help="Read the labels and values of every day as well.")] = False,
):
    """Find what can be found before training: wrong keys, missing columns and days, sizes of tables and memory.

    With --deep also what `train` would refuse or warn of in the rows: labels, weights, infinite numbers, and features
    that the first window says nothing of.
    """
    settings = configs.load(config, overrides)
    from trainers.training.check import check_log, check_values, open_log, tables

    with progress_bar() as progress, bad_input():
        log = open_log(settings, progress)
    columns = check_log(settings, log)
    if settings.model.model_class != configs.ModelConfig().model_class or settings.model.options:
        quiet_tensorflow()
        from trainers.build.model import model_class

        model_class(settings)
    rows = [log.rows(day) for day in log.days]
    console.print(f"log {log.path}: {len(rows)} days, {log.days[0]} to {log.days[-1]}, {sum(rows):,} rows")
    if log.held_out:
        console.print(f"held out by data.until: {len(log.held_out)} days, {log.held_out[0]} to {log.held_out[-1]}")
    shown = Table("embedding table", "rows", "dim", "MB with Adagrad's slot")
    for name, (height, dim) in tables(settings).items():
        shown.add_row(name, f"{height:,}", str(dim), f"{height * dim * 8 / 1e6:,.1f}")
    console.print(shown)
    window = max(sum(rows[i : i + settings.trainer.window_days]) for i in range(len(rows)))
    width = 4 * (len(settings.features) + len(settings.tasks) + 1) + sum(4 * (c.width or 1) for c in columns.values())
    buffers = 2 * min(window, settings.data.buffer_rows) * width
    total = sum(height * dim * 8 for height, dim in tables(settings).values())
    console.print(f"memory: tables {total / 1e6:,.0f} MB at most, shuffle buffers about {buffers / 1e6:,.0f} MB")
    if not deep:
        console.print("config, columns and days fit together; labels and values not read: --deep does")
        return
    with progress_bar() as progress:
        remarks, refused = check_values(settings, log, columns, progress)
    for remark in remarks:
        console.print(remark, soft_wrap=True, highlight=False, markup=False)
    if refused:
        raise InputError("\n".join(refused))
    console.print("config, columns, days, labels and values fit together")


@app.command()
def schema(
    grid: Annotated[bool, typer.Option(help="Of a config of `tfstable stability`.")] = False,
    reproducibility: Annotated[bool, typer.Option(help="Of a config of `tfstable reproducibility`.")] = False,
):
    """Print the JSON schema of a config: every key with its type, default and meaning."""
    from trainers.studies.reproducibility.config import ReproducibilityConfig
    from trainers.studies.stability.config import StabilityConfig

    kind = StabilityConfig if grid else ReproducibilityConfig if reproducibility else configs.Config
    print(json.dumps(kind.model_json_schema(), indent=1))


@app.command()
def evaluate(
    model_dir: ModelDir,
    data: Annotated[Path | None, typer.Option(help="Another log than the run's own.")] = None,
    day: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Default: the newest day, and a warning if it was trained on."),
    ] = None,
):
    """Evaluate a run's newest checkpoint on a day of a log; days after the config's data.until are there for it."""
    from trainers.training.check import open_trained

    settings, log = open_trained(model_dir, data)
    quiet_tensorflow()
    from trainers.training.run import Run, SeenDayWarning

    run, wanted = Run(settings, model_dir, log, console=console), day.date() if day else log.days[-1]
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        found = {"trained_to": run.trained_to(), "day": wanted, "tasks": run.evaluate(wanted)}
    for warning in noted:
        if warning.category is SeenDayWarning:
            screen = Console(stderr=True, width=console.width)
            screen.print(f"warning: {warning.message}", soft_wrap=True, highlight=False)
    console.print_json(to_json(found))


@app.command()
def export(
    model_dir: ModelDir,
    show: Annotated[bool, typer.Option("--list", help="List the versions instead.")] = False,
    promote: Annotated[
        int | None, typer.Option(metavar="N", help="Roll back: publish a copy of version N as the newest instead.")
    ] = None,
):
    """Publish a run's newest checkpoint as the next version in MODEL_DIR/export."""
    if show or promote is not None:
        from trainers.cli.versions import promote as copy
        from trainers.cli.versions import table
        from trainers.store.params import NAME, read_params

        params = read_params(model_dir / NAME)  # Also of a run of an earlier version.
        if promote is not None:
            quiet_tensorflow()
            keep = params["export"].get("keep_versions", configs.ExportConfig().keep_versions)
            console.print(copy(model_dir, promote, keep), soft_wrap=True)
        if show:
            console.print(table(model_dir))
        return
    from trainers.training.check import open_trained

    settings, log = open_trained(model_dir)
    quiet_tensorflow()
    from trainers.training.run import Run

    version = Run(settings, model_dir, log, console=console).export()
    console.print(f"{version}: the newest checkpoint", soft_wrap=True)


@app.command()
def stability(
    config: ConfigFile,
    out: Annotated[Path, typer.Option(help="Directory of the runs, the table and the pictures.")] = Path(
        "runs/stability"
    ),
    overrides: Overrides = [],  # noqa: B006
):
    """Measure which treatments survive which learning rates, in which models: table 2 of Tang et al., 2023, on a log.

    Runs that are in OUT already are not trained again: the same command goes on where it was stopped.
    """
    from trainers.studies.stability.config import StabilityConfig

    settings, log = open_grid(config, overrides, StabilityConfig)
    from trainers.studies.stability.program import stability as run

    run(settings, log, out, console)


@app.command()
def reproducibility(
    config: ConfigFile,
    out: Annotated[Path, typer.Option(help="Directory of the trainings, the table and the pictures.")] = Path(
        "runs/reproducibility"
    ),
    overrides: Overrides = [],  # noqa: B006
):
    """Measure how far apart trainings end that differ in one thing alone, and what activations and remedies do to it.

    Trainings that are in OUT already are not made again: the same command goes on where it was stopped.
    """
    from trainers.studies.reproducibility.config import ReproducibilityConfig

    settings, log = open_grid(config, overrides, ReproducibilityConfig)
    from trainers.studies.reproducibility.program import reproducibility as run

    run(settings, log, out, console)


@app.command()
def predict(
    version: Annotated[Path, typer.Option("--export", help="A version: MODEL_DIR/export/N.")],
    data: Annotated[Path, typer.Option(help="The log.")],
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    day: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Default: all days.")] = None,
    keep: Annotated[
        str,
        typer.Option(
            help="Columns of the log to keep beside the predictions: user_id,video_id. A label with its task's name is "
            "written as NAME_label."
        ),
    ] = "",
):
    """Run an export over a log: one row an example, in the log's order, with its day and a column a task."""
    from tfstable.data.log import DayLog

    log = DayLog(data, missing_day="skip")
    quiet_tensorflow()
    from tfstable.serving.predict import predict as run

    days = [day.date()] if day else log.days
    with progress_bar() as progress:
        rows = run(version, log, days, out, [name for name in keep.split(",") if name], progress)
    console.print(f"{out}: {rows:,} rows")


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="A version, MODEL_DIR/export/N, or a MODEL_DIR.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another; of a MODEL_DIR the newest version.")],
    data: Annotated[Path, typer.Option(help="The log.")],
    day: Day = None,
    group: Annotated[
        str | None,
        typer.Option(
            help="Column of users or requests, for churn and intervals. Default: evaluation.gauc_column of a MODEL_DIR."
        ),
    ] = None,
    slice_by: Annotated[
        str | None, typer.Option("--slice", help="Column by whose values to break the difference down.")
    ] = None,
    k: Annotated[int, typer.Option("--k", min=1, help="Length of the list of which churn is measured.")] = 10,
    samples: Annotated[int, typer.Option(min=1, help="Draws of the groups behind the intervals.")] = 1000,
    out: Annotated[Path | None, typer.Option(help="Directory for compare.json and compare.png.")] = None,
):
    """Compare two models on a day: prediction difference, AUC of each and their difference, churn, rank correlation.

    Two trainings of one config that differ by chance alone show how far a retrained model changes its mind.
    """
    from tfstable.data.log import DayLog
    from trainers.store.out_directory import check_out

    log = DayLog(data, missing_day="skip")
    if out is not None:
        check_out(out, "compare", ("compare.png",))
    quiet_tensorflow()
    from trainers.studies.compare.compare import compare as run
    from trainers.studies.compare.report import show, write_report

    options = {"group": group, "slice_by": slice_by, "k": k, "samples": samples}
    with progress_bar() as progress:
        report = run(first, second, log, day.date() if day else log.days[-1], progress, **options)
    show(report, console)
    if out is not None:
        write_report(report, out)
        console.print(f"{out}: compare.json, compare.png", soft_wrap=True)


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="Directory of the log to write.")],
    days: int = 14,
    rows_per_day: int = 50_000,
    seed: int = 0,
    shock_days: Annotated[str, typer.Option(help="Days on which the feed changes abruptly, counted from 0: 5,9.")] = "",
):
    """Write the log of a simulated short-video feed, with the true probabilities beside the labels."""
    from tfstable.sources.simulate import simulate
    from trainers.training.check import simulate_whole

    with progress_bar() as progress, bad_input():
        shocks = [int(number) for number in shock_days.split(",") if number]
        arguments = {"days": days, "rows_per_day": rows_per_day, "seed": seed, "shock_days": shocks}
        (simulate if out.exists() else simulate_whole)(out, **arguments, progress=progress)
    console.print(f"{out}: {days} days of {rows_per_day:,} rows")


@prepare.command()
def kuairand(
    raw: Annotated[Path, typer.Option(help="Directory of the official CSV files of KuaiRand-Pure.")],
    out: Annotated[Path, typer.Option(help="Directory of the log to write; days that are there stay as they are.")],
):
    """Join KuaiRand's log with its users and videos, one partition a day."""
    from tfstable.sources import kuairand as source

    with progress_bar() as progress, bad_input():
        days = source.prepare(raw, out, progress=progress)
    console.print(f"{out}: {len(days)} new days" + (f", {days[0]} to {days[-1]}" if days else ""))


def open_grid(config: Path, overrides: list[str], kind: type[configs.Config]):
    """Returns the config of a grid of trainings and its log, checked against it; TensorFlow is there then."""
    settings = configs.load(config, overrides, kind)
    from trainers.training.check import check_log, open_log

    with progress_bar() as progress, bad_input():
        log = open_log(settings, progress)
    check_log(settings, log)
    quiet_tensorflow()
    return settings, log


def quiet_tensorflow():
    """Imports TensorFlow without its start-up notes, which it writes to the screen before any log level is set."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    screen, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        import tensorflow

        tensorflow.config.list_physical_devices()  # Where there is no GPU, looking for one is an "error" to CUDA.
    finally:
        os.dup2(screen, 2)
        os.close(screen)
        os.close(nowhere)


@contextmanager
def bad_input() -> Iterator[None]:
    """Around the library's functions whose ValueErrors speak of their arguments, which are the user's."""
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        raise InputError(str(error)) from None


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int, str], None]]:
    """Yields a `progress(done, total, what)` that draws one bar from its first call on."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = None

        def progress(done: int, total: int, what: str):
            nonlocal bar
            if bar is None:
                bar = bars.add_task(what, total=total)
            bars.update(bar, completed=done, total=total, description=what, visible=done < total)

        yield progress


def main():
    """Runs the command line; bad input is one line and status 2."""
    sys.path.append(os.getcwd())  # Where a model.class of the user's own lies.
    try:
        with Termination().installed():
            app()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if (why := refusal(error)) is None:
            raise
        print(f"error: {why}", file=sys.stderr)
        sys.exit(2)
    except Terminated as leave:
        kept = KEPT.get(sys.argv[1] if len(sys.argv) > 1 else "", "nothing was written")
        print(f"stopped by {leave.signal}; {kept}", file=sys.stderr)
        _leave(leave.code)
    except DivergedError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(3)
    except WorkerLostError as error:
        print(f"error: {error}", file=sys.stderr)
        _leave(os.EX_TEMPFAIL)


def _leave(status: int):
    """Ends the process without its threads: one may be reading a large buffer, or waiting for a dead worker."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
