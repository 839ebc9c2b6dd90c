"""Compares a day's labels with those of earlier days: a broken join shows here before it shows in a model."""

import math
from collections.abc import Mapping, Sequence

CHANCE = 1e-4  # A count with a lower probability than this is not chance.
FACTOR = 10.0  # A rate that changes by this factor is more than variation between days.

Metrics = Mapping[str, float | None]  # Of a task on a day, as `trainers.training.evaluation.evaluate` returns them.


def numbers(metrics: Metrics) -> dict[str, float]:
    """Returns the metrics with NaN for each that could not be computed."""
    return {name: math.nan if value is None else value for name, value in metrics.items()}


def label_fault(task: str, day: object, today: Metrics, earlier: Sequence[Metrics]) -> str | None:
    """Returns one line on the fault of a task's labels on a day; None without a fault.

    A class, the positives or the rest, has k of the day's n labels and K of the N labels of earlier days, so
    M = n K / N were expected. Counts are noisy, so each rule asks for a `FACTOR` and for a chance below `CHANCE`:

        missing   k <= M / 10;  on a run's first day, where M is what the model expects, k = 0
        too many  k >= 10 M,  and 10 times what the model expected

    So a rare task may have no positive on a day on which fewer than about ten are expected. A permanent rise of a rate
    is odd until the model has learned it. A permanent fall stays odd, as after a broken join.

    Args:
        task: The task's name, for the message.
        day: The day, for the message.
        today: The day's metrics: `labels`, `positives`, `predicted`.
        earlier: The metrics of healthy days before it.
    """
    now = numbers(today)
    n, k = now["labels"], now["positives"]
    if not n:
        return None
    known = [numbers(metrics) for metrics in earlier if metrics.get("labels")]
    N, K = (sum(metrics[name] for metrics in known) for name in ("labels", "positives"))
    if "auc" not in now:  # A regression may have any labels, but they do not all become 0 from one day to the next.
        return _fault(task, day, "label other than 0", (k, n, K, N), math.nan)
    predicted = now["predicted"]
    return _fault(task, day, "positive", (k, n, K, N), predicted) or _fault(
        task, day, "negative", (n - k, n, N - K, N), n - predicted
    )


def _fault(task: str, day: object, name: str, counts: tuple[float, float, float, float], modelled: float) -> str | None:
    """Applies the rules to one class; `modelled` is the count that the model expects, not finite if unknown."""
    k, n, K, N = counts
    certain = math.isfinite(modelled)
    if N:
        M, chance = n * K / N, chance_of_split(*counts)
        odd = k * FACTOR <= M or (k >= FACTOR * M > 0 and certain and k >= FACTOR * modelled)
    else:
        M = max(modelled, 0.0) if certain else 0.0
        odd, chance = k == 0, chance_of_count(k, M)
    if not odd or chance >= CHANCE:
        return None
    count = f"no {name}" if k == 0 else f"{k:,} {name}{'s' if k > 1 and ' ' not in name else ''}"
    return f"{task}: {count} among {n:,} labels on {day}, about {M:,.0f} expected"


def chance_of_count(k: float, mean: float) -> float:
    """Bound on the probability that a Poisson count of this mean is as far from it as k, or further.

        P <= exp(-(mean - k + k log(k / mean)))

    It is exact for k = 0, and 1 at the mean. After Chernoff, "A Measure of Asymptotic Efficiency for Tests of a
    Hypothesis Based on the Sum of Observations", 1952.
    """
    return 1.0 if mean <= 0 and k == 0 else math.exp(-max(0.0, mean - k + _times_log(k, k, mean)))


def chance_of_split(k: float, n: float, K: float, N: float) -> float:
    """Bound on the probability of k among n rows where another N rows of the same rate have K.

    Few earlier rows say little about a rate. Given k + K in all, k is binomial with the share s = n / (n + N):

        P <= exp(-(k log(k / (s (k + K))) + K log(K / ((1 - s) (k + K)))))
    """
    s, both = n / (n + N), k + K
    return math.exp(-max(0.0, _times_log(k, k, s * both) + _times_log(K, K, (1 - s) * both)))


def _times_log(x: float, numerator: float, denominator: float) -> float:
    """x log(numerator / denominator); 0 if x is 0, infinite if the denominator is 0."""
    if x == 0:
        return 0.0
    return x * math.log(numerator / denominator) if denominator > 0 else math.inf
