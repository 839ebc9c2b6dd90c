"""`tfstable compare`."""

from pathlib import Path
from typing import Annotated

import typer

from trainers.cli.options import Data, Day
from trainers.cli.screen import console, progress_bar, quiet_tensorflow


def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="MODEL_DIR/export/N, or a MODEL_DIR: its newest version.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="The model to compare with A.")],
    data: Data,
    day: Day = None,
    group: Annotated[
        str | None,
        typer.Option(
            help="Column of users or requests, for churn, lists and intervals. Default: of a MODEL_DIR "
            "evaluation.gauc_column, or evaluation.ranking.by."
        ),
    ] = None,
    slice_by: Annotated[
        str | None, typer.Option("--slice", help="Column whose values split the difference into parts.")
    ] = None,
    k: Annotated[int, typer.Option("--k", min=1, help="Length of the list for churn, NDCG and recall.")] = 10,
    samples: Annotated[int, typer.Option(min=1, help="Bootstrap draws of the groups for the intervals.")] = 1000,
    out: Annotated[Path | None, typer.Option(help="Directory for compare.json and compare.png.")] = None,
) -> None:
    """Compare two models on a day: prediction difference, AUC, NDCG and more of each and their difference, churn.

    Compare two trainings of one config to measure how much retraining alone changes the predictions.
    """
    from tfstable.data.log import DayLog
    from trainers.store.out_directory import check_out

    log = DayLog(data, missing_day="skip")
    if out is not None:
        check_out(out, "compare", ("compare.png",))
    quiet_tensorflow()
    from trainers.studies.compare.compare import compare as run
    from trainers.studies.compare.report import show, write_report

    when = day.date() if day else log.days[-1]
    with progress_bar() as progress:
        report = run(first, second, log, when, progress, group=group, slice_by=slice_by, k=k, samples=samples)
    show(report, console)
    if out is not None:
        write_report(report, out)
        console.print(f"{out}: compare.json, compare.png", soft_wrap=True)
