"""`tfstable tune-score`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tfstable.errors import InputError
from trainers.cli.screen import console, progress_bar, quiet_tensorflow


class Method(StrEnum):
    """How the metric's gradient is estimated."""

    ZERO_ORDER = "zero-order"
    POLICY_GRADIENT = "policy-gradient"


def tune_score(
    model_dir: Annotated[Path, typer.Argument(metavar="DIR", help="Directory of the run.")],
    metric: Annotated[
        str, typer.Option(help="ndcg@K, recall@K, dcg@K, mrr, map, gauc, or the import path of a function of your own.")
    ] = "ndcg@10",
    group: Annotated[
        str | None,
        typer.Option(help="Column of the lists: users or requests. Default: evaluation.ranking.by, or gauc_column."),
    ] = None,
    value: Annotated[
        list[str] | None,
        typer.Option("--value", metavar="TASK=NUMBER", help="What a label is worth. Default: 1 per binary task."),
    ] = None,
    method: Annotated[Method, typer.Option(help="How steps are found.")] = Method.ZERO_ORDER,
    days: Annotated[
        int | None,
        typer.Option(min=2, help="Newest evaluated days to use. Default: all of kept checkpoints."),
    ] = None,
    steps: Annotated[int, typer.Option(min=0, help="Steps of the search.")] = 25,
    pairs: Annotated[int, typer.Option(min=1, help="Pairs of perturbations per step.")] = 6,
    samples: Annotated[int, typer.Option(min=1, help="Bootstrap draws of the groups for the interval.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the perturbations.")] = 0,
    data: Annotated[Path | None, typer.Option(help="Log to read. Default: the log of the run.")] = None,
    out: Annotated[Path | None, typer.Option(help="Directory for tune-score.json and score_weights.yaml.")] = None,
) -> None:
    """Tune the weights of the tasks in `score` by a metric of whole lists, which has no gradient.

    Weights are chosen on earlier evaluation days and judged on the last one. Each day is predicted by the kept
    checkpoint that had not been trained on it: trainer.keep_checkpoints is the number of days. DIR is not changed.
    """
    from trainers.store.out_directory import check_out
    from trainers.studies.tune_score.metric import find_metric, task_values
    from trainers.studies.tune_score.report import REPORT, WEIGHTS, show, write_report
    from trainers.training.check import open_trained

    if out is not None:
        check_out(out, REPORT, (WEIGHTS,))
    settings, log = open_trained(model_dir, data)
    evaluation = settings.evaluation
    column = group or (evaluation.ranking.by if evaluation.ranking else None) or evaluation.gauc_column
    if column is None:
        raise InputError("--group: name the column of the lists, such as a user's id; evaluation has none")
    worth = task_values(settings, value or [])
    measured = find_metric(metric, worth)
    quiet_tensorflow()
    from trainers.studies.tune_score.days import scored_days
    from trainers.studies.tune_score.tune import tune
    from trainers.training.run import Run

    asked = {"report": REPORT, "metric": metric, "group": column, "values": worth, "method": method.value}
    with progress_bar() as progress:
        scored = scored_days(Run(settings, model_dir, log), worth, column, days, progress)
        tuned = tune(
            scored,
            list(settings.tasks),
            settings.score_weights,
            worth,
            measured,
            method=method.value,
            steps=steps,
            pairs=pairs,
            samples=samples,
            seed=seed,
            progress=progress,
        )
    show(tuned, asked, console)
    if out is not None:
        write_report(tuned, asked, out)
        console.print(f"{out}: {REPORT}.json, {WEIGHTS}", soft_wrap=True, highlight=False)
