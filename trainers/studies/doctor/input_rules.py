"""Rules on the features' values, day by day, against the fitted days."""

from collections.abc import Callable, Iterator, Mapping
from datetime import date

from tfstable.inputs.statistics import table_name
from tfstable.specs import Categorical, VocabularyFeature
from trainers.studies.doctor.examine import Examination
from trainers.studies.doctor.finding import Finding, since, span
from trainers.studies.doctor.inputs import InputFacts

# Fewest rows of a day that is judged: of a hundred rows, a share is known to within 10%.
LEAST = 100
# Rise of the share of rows without a value that is a fault. On KuaiRand and the simulated feed it changes by 0.02 from
# day to day. A history that only begins to fill falls, and a fall is no loss.
MISSING = 0.1
# Share of values that a vocabulary does not know, beyond what it left out of the fitted days. Healthy vocabularies had
# less than 0.001; at 0.05 every twentieth row has lost the feature.
UNKNOWN = 0.05
# Share of values of a hashed id that no day before had. A feed whose videos are born daily has 0.25, users of a log
# that has only begun 0.4 on its second day.
NEW = 0.5
# Days read before a value counts as new: on the second day of a log most users are.
HISTORY = 3
# Distance of a mean in fitted standard deviations: healthy columns stay within 0.2. A mean beyond 1 lies where a third
# of the fitted values lay.
SHIFT = 1.0
# Factor of the standard deviation, or its inverse: healthy columns stay within 1.1.
RATIO = 2.0
# The usual bound of a large change of the population stability index; healthy columns stay below 0.13.
PSI = 0.25


def input_findings(e: Examination) -> Iterator[Finding]:
    """Yields the findings of all features."""
    for name, facts in e.inputs.items():
        days = [day for day in facts if day not in e.fitted and e.rows[day] >= LEAST]
        if days:
            yield from _of_feature(e, name, facts, days)


def _of_feature(e: Examination, name: str, facts: Mapping[date, InputFacts], days: list[date]) -> Iterator[Finding]:
    key, fitted = f"features.{name}", [facts[day] for day in e.fitted]

    def finding(
        rule: str, holds: Callable[[date], bool], line: Callable[[InputFacts], str], remedy: str
    ) -> list[Finding]:
        if (found := span(days, holds)) is None:
            return []
        return [Finding(rule, key, f"{line(facts[found[1]])} {since(found)}", remedy, *found)]

    def is_dead(day: date) -> bool:
        """One value, though earlier days had several: a weekday is the same all day, too."""
        before = [facts[earlier].distinct for earlier in facts if earlier < day]
        return facts[day].distinct <= 1 and 2 * sum(distinct > 1 for distinct in before) > len(before)

    def loses_rows(day: date) -> bool:
        return facts[day].missing - max(each.missing for each in fitted) > MISSING

    missing = max(each.missing for each in fitted)
    yield from finding(
        "missing values",
        loses_rows,
        lambda now: f"{now.missing:.0%} of the rows have no value, {missing:.0%} on the fitted days;",
        f"restore the column in the log, or drop {key}",
    )
    yield from finding(
        "constant feature",
        lambda day: is_dead(day) and not (loses_rows(day) and facts[day].distinct == 0),
        lambda now: (
            "every row has the same value, earlier days have several;" if now.distinct else "no row has a value"
        ),
        f"mend the column in the log, or drop {key}",
    )
    only = {each.only for each in facts.values()} | {None for each in facts.values() if each.distinct > 1}
    if len(only) == 1 and None not in only:
        yield Finding(
            "constant feature",
            key,
            f"all {len(facts)} days read have one and the same value",
            f"drop {key}",
            days[0],
            days[-1],
        )
    if isinstance(e.config.features[name], Categorical):
        yield from _new_values(e, name, facts, days, finding)
        return

    def moved(day: date) -> bool:
        now = facts[day]
        if now.distinct <= 1:
            return False
        ratio = now.ratio if now.ratio else 1.0
        return abs(now.shift or 0.0) > SHIFT or not 1 / RATIO < ratio < RATIO

    yield from finding(
        "drifting scale",
        moved,
        lambda now: (
            f"the mean is {now.shift:+.1f} fitted standard deviations from the fitted one, the standard deviation "
            f"{now.ratio:.2g} times the fitted one;"
        ),
        f"check the column's unit in the log; if the drift is real: {key}.kind: quantile, or {key}.log1p, and fit anew",
    )
    yield from finding(
        "drifting quantiles",
        lambda day: (
            not moved(day) and facts[day].distinct > 1 and facts[day].shift is None and (facts[day].psi or 0) > PSI
        ),
        lambda now: f"the population stability index against the fitted days is {now.psi:.2g};",
        f"check the column in the log; if the drift is real: {key}.boundaries, or fit anew",
    )


def _new_values(
    e: Examination,
    name: str,
    facts: Mapping[date, InputFacts],
    days: list[date],
    finding: Callable[[str, Callable[[date], bool], Callable[[InputFacts], str], str], list[Finding]],
) -> Iterator[Finding]:
    key, feature = f"features.{name}", e.config.features[name]
    if isinstance(feature, VocabularyFeature):
        usual = max(facts[day].new or 0.0 for day in e.fitted)
        yield from finding(
            "unknown values",
            lambda day: (facts[day].new or 0.0) - usual > UNKNOWN,
            lambda now: f"{now.new:.0%} of the values are not in the vocabulary, {usual:.0%} on the fitted days;",
            f"{key}.kind: hash",
        )
        return
    late = [day for day in days if sum(earlier < day for earlier in facts) >= HISTORY]
    if late:
        yield from finding(
            "new ids",
            lambda day: day in late and (facts[day].new or 0.0) > NEW,
            lambda now: (
                f"{now.new:.0%} of the values have not come before, so no row of table "
                f"{table_name(name, feature)} has been trained for them;"
            ),
            f"drop {key}, or use an id that comes back",
        )
