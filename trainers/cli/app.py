"""The command line: `tfstable`, the same as `python -m trainers`.

TensorFlow takes seconds to import, so each command imports it only after checking its arguments.
"""

import os
import sys
from typing import Annotated

import typer

import tfstable
from tfstable.errors import InputError
from trainers.cli.check import check
from trainers.cli.compare import compare
from trainers.cli.doctor import doctor
from trainers.cli.evaluate import evaluate
from trainers.cli.explain import explain
from trainers.cli.export import export
from trainers.cli.from_tfrs import from_tfrs
from trainers.cli.history import history
from trainers.cli.predict import predict
from trainers.cli.prepare import prepare
from trainers.cli.recipe import recipe
from trainers.cli.reproducibility import reproducibility
from trainers.cli.schema import schema
from trainers.cli.simulate import simulate
from trainers.cli.stability import stability
from trainers.cli.train import train
from trainers.cli.tune_score import tune_score
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
    doctor,
    explain,
    tune_score,
    stability,
    reproducibility,
    simulate,
    history,
    from_tfrs,
    schema,
)
for command in COMMANDS:
    app.command()(command)
app.add_typer(prepare, name="prepare")

# Advice per command after a signal; the other commands have written nothing.
KEPT = {
    "train": "rerun the same command to resume from the newest checkpoint",
    **dict.fromkeys(("stability", "reproducibility"), "rerun the same command to resume; finished trainings are kept"),
    "simulate": "days written to an existing OUT are complete; remove them before you start again",
    **dict.fromkeys(("prepare", "history"), "rerun the same command to resume; days already written are kept"),
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
    """Takes the options before a command."""


def main() -> None:
    """Runs the command line; bad input gives one line and exit status 2."""
    sys.path.append(os.getcwd())  # The user's own model.class may be here.
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
    """Ends the process without waiting for its threads, which may read a large buffer or wait for a dead worker."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
