"""`tfstable doctor`."""

from pathlib import Path
from typing import Annotated

import typer

from trainers.cli.screen import console, progress_bar, quiet_tensorflow


def doctor(
    model_dir: Annotated[Path, typer.Argument(metavar="DIR", help="Directory of the run.")],
    data: Annotated[Path | None, typer.Option(help="Log to read. Default: the log of the run.")] = None,
    days: Annotated[
        int, typer.Option(min=1, help="Newest days of the log to read, in addition to the first window.")
    ] = 14,
    out: Annotated[
        Path | None, typer.Option(help="Also write the page to FILE.md, or all figures by day to FILE.json.")
    ] = None,
) -> None:
    """Examine a run and the newest days of its log: what is wrong, and which key of the config mends it.

    It writes nothing into DIR, so it may run beside a training.
    """
    from trainers.training.check import open_trained

    settings, log = open_trained(model_dir, data)
    quiet_tensorflow()
    from trainers.studies.doctor.examine import examine
    from trainers.studies.doctor.report import check_out, show, write_report
    from trainers.training.run import Run

    if out is not None:
        check_out(out)
    with progress_bar() as progress:
        found = examine(Run(settings, model_dir, log), days, progress)
    show(found, console)
    if out is not None:
        write_report(found, out)
        console.print(f"{out}: the page", soft_wrap=True, highlight=False)
