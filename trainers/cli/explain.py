"""`tfstable explain`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from trainers.cli.options import Day
from trainers.cli.screen import console, progress_bar, quiet_tensorflow


class Baseline(StrEnum):
    """Where the paths of integrated gradients begin."""

    MEAN = "mean"
    ZEROS = "zeros"


def explain(
    model_dir: Annotated[Path, typer.Argument(metavar="DIR", help="Directory of the run.")],
    day: Day = None,
    rows: Annotated[int, typer.Option(min=2, help="Most rows to permute, evenly spread over the day.")] = 20_000,
    repeats: Annotated[int, typer.Option(min=1, help="Permutations per feature.")] = 3,
    gradient_rows: Annotated[int, typer.Option(min=1, help="Most rows for integrated gradients.")] = 1_000,
    single: Annotated[int, typer.Option(min=0, help="Rows to explain one by one in OUT.")] = 3,
    points: Annotated[int, typer.Option(min=1, help="Midpoints of each path of integrated gradients.")] = 64,
    baseline: Annotated[Baseline, typer.Option(help="Where the paths begin.")] = Baseline.MEAN,
    group: Annotated[
        list[str] | None,
        typer.Option("--group", metavar="NAME=A,B", help="Features or histories to explain as one."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the permutations.")] = 0,
    data: Annotated[Path | None, typer.Option(help="Log to read. Default: the log of the run.")] = None,
    out: Annotated[Path | None, typer.Option(help="Directory for explain.json, explain.png and rows.png.")] = None,
) -> None:
    """Explain a model on a day: what each task loses without a feature, and each feature's share of the predictions.

    It explains the newest kept checkpoint that had not been trained on the day. DIR is not changed.
    """
    from trainers.store.out_directory import check_out
    from trainers.studies.explain.units import named_groups
    from trainers.training.check import open_trained

    groups = named_groups(group or [])
    if out is not None:
        check_out(out, "explain", ("explain.png", "rows.png"))
    settings, log = open_trained(model_dir, data)
    quiet_tensorflow()
    from trainers.studies.explain.explain import explain as run
    from trainers.studies.explain.report import show, write_report
    from trainers.training.run import Run

    when = day.date() if day else log.days[-1]
    with progress_bar() as progress:
        found = run(
            Run(settings, model_dir, log),
            when,
            rows=rows,
            repeats=repeats,
            gradient_rows=gradient_rows,
            single=single,
            points=points,
            baseline=baseline.value,
            groups=groups,
            seed=seed,
            progress=progress,
        )
    show(found, console)
    if out is not None:
        write_report(found, out)
        console.print(f"{out}: explain.json, explain.png, rows.png", soft_wrap=True, highlight=False)
