"""The command line: `tfstable`, the same as `python -m trainers`.

TensorFlow takes seconds to import, so each command imports what it needs, after its arguments are known to be right.
"""

import os
import sys
from typing import Annotated

import typer

import tfstable
from tfstable.errors import InputError
from trainers.cli.check import check
from trainers.cli.compare import compare
from trainers.cli.evaluate import evaluate
from trainers.cli.export import export
from trainers.cli.history import history
from trainers.cli.predict import predict
from trainers.cli.prepare import prepare
from trainers.cli.recipe import recipe
from trainers.cli.reproducibility import reproducibility
from trainers.cli.schema import schema
from trainers.cli.simulate import simulate
from trainers.cli.stability import stability
from trainers.cli.train import train
from trainers.devices.cluster import WorkerLostError
from trainers.devices.disk import refusal
from trainers.devices.termination import Terminated, Termination
from trainers.health.recoveries import DivergedError

app = typer.Typer(
    help="Train multitask ranking models that don't blow up and don't change their mind.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
COMMANDS = (
    recipe,
    check,
    train,
    evaluate,
    export,
    predict,
    compare,
    stability,
    reproducibility,
    simulate,
    history,
    schema,
)
for command in COMMANDS:
    app.command()(command)
app.add_typer(prepare, name="prepare")

# What a signal leaves, per command; the other commands leave nothing.
KEPT = {
    "train": "the same command goes on from the newest checkpoint",
    **dict.fromkeys(("stability", "reproducibility"), "the same command goes on: what was trained is kept"),
    "simulate": "days that are in an OUT which was there before are whole; remove them before you start again",
    **dict.fromkeys(("prepare", "history"), "the same command goes on: the days that were written are kept"),
}


def print_version(wanted: bool) -> None:
    if wanted:
        print(f"tfstable {tfstable.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=print_version, is_eager=True)
    ] = False,
) -> None:
    """Holds the options that stand before a command; its text is the help of `app`."""


def main() -> None:
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


def _leave(status: int) -> None:
    """Ends the process without its threads: one may be reading a large buffer, or waiting for a dead worker."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
