"""Rules on the features' values, day by day, against the fitted days."""

from collections.abc import Callable, Iterator, Mapping
from datetime import date

from tfstable.inputs.statistics import table_name
from tfstable.specs import Categorical, IdFeature, NumericFeature, VocabularyFeature
from trainers.studies.doctor.examine import Examination
from trainers.studies.doctor.finding import Finding, since, span
from trainers.studies.doctor.inputs import InputFacts

# Fewest rows of a day that is judged: of a hundred rows, a share is known to within 10%.
LEAST = 100
# Rise of the share of rows without a value that is a fault. On KuaiRand and the simulated feed it changes by 0.02 from
# day to day. A history that only begins to fill falls, and a fall is no loss.
MISSING = 0.1
# Least factor of its odds at the same time: of a column that a popular video may lack, the share wanders by itself.
ODDS = 2.0
# Share of values that a vocabulary does not know, beyond what it left out of the fitted days. Healthy vocabularies had
# less than 0.001; at 0.05 every twentieth row has lost the feature.
UNKNOWN = 0.05
# Share of the values of a `kind: id` without a row of their own on the days of the newest window, whose ids had first
# choice: each of them shares row 0 with all others.
ROWLESS = 0.25
# Share of values of an id that no day before had. A feed whose videos are born daily has 0.25, users of a log
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
        if not days:
            continue
        rules = _Rules(e, name, facts, days)
        yield from rules.values()
        feature = e.config.features[name]
        if isinstance(feature, VocabularyFeature):
            yield from rules.unknown(feature)
        elif isinstance(feature, Categorical):
            yield from rules.new()
            if isinstance(feature, IdFeature):
                yield from rules.rowless(feature)
        elif isinstance(feature, NumericFeature):
            yield from rules.scale(feature)
        else:
            yield from rules.quantiles()


class _Rules:
    """The rules on one feature.

    Args:
        e: The examination.
        name: The feature.
        facts: Its facts by day.
        days: The days to judge.
    """

    def __init__(self, e: Examination, name: str, facts: Mapping[date, InputFacts], days: list[date]):
        self._e, self._name, self._facts, self._days, self._key = e, name, facts, days, f"features.{name}"
        self._fitted = [facts[day] for day in e.fitted]
        self._missing = max(each.missing for each in self._fitted)

    def values(self) -> Iterator[Finding]:
        """Finds values that are missing, or the same in every row."""
        yield from self._found(
            "missing values",
            self._loses_rows,
            lambda now: f"{now.missing:.0%} of the rows have no value, {self._missing:.0%} on the fitted days,",
            f"restore the column in the log, or drop {self._key}",
        )
        yield from self._found(
            "constant feature",
            self._is_dead,
            lambda now: "every row has the same value, earlier days had several,",
            f"mend the column in the log, or drop {self._key}",
        )
        only = {each.only if each.distinct == 1 else None for each in self._facts.values()}
        if len(only) == 1 and None not in only:
            line = f"all rows of the {len(self._facts)} days read have one value"
            yield Finding("constant feature", self._key, line, f"drop {self._key}", self._days[0], self._days[-1])

    def unknown(self, feature: VocabularyFeature) -> Iterator[Finding]:
        """Finds values that the vocabulary does not know."""
        usual = max(each.unknown or 0.0 for each in self._fitted)
        yield from self._found(
            "unknown values",
            lambda day: not self._is_dead(day) and (self._facts[day].unknown or 0.0) - usual > UNKNOWN,
            lambda now: f"{now.unknown:.0%} of the values are not in the vocabulary, {usual:.0%} on the fitted days,",
            f"a larger {self._key}.max_size" if feature.grow else f"{self._key}.grow: true",
        )

    def new(self) -> Iterator[Finding]:
        """Finds ids that hardly ever come back."""
        early = list(self._facts)[:HISTORY]  # Where the newest days are read alone, after the first window, too.
        table = table_name(self._name, self._e.config.features[self._name])
        yield from self._found(
            "new ids",
            lambda day: day not in early and (self._facts[day].new or 0.0) > NEW,
            lambda now: f"{now.new:.0%} of the values never came before, so table {table} has no trained row for them,",
            f"drop {self._key}, or use an id that comes back",
        )

    def rowless(self, feature: IdFeature) -> Iterator[Finding]:
        """Finds a table that leaves too many of the newest window's ids without a row."""
        first, last = self._e.windows[-1].window
        lower = f", or a lower {self._key}.min_count" if feature.min_count > 1 else ""
        yield from self._found(
            "ids without a row",
            lambda day: (self._facts[day].unknown or 0.0) > ROWLESS,
            lambda now: f"{now.unknown:.0%} of the values share row 0,",
            f"a larger {self._key}.capacity{lower}",
            [day for day in self._days if first <= day <= last],
        )

    def scale(self, feature: NumericFeature) -> Iterator[Finding]:
        """Finds numbers that have left the scale that they were fitted on."""
        log1p = "" if feature.log1p else f"{self._key}.log1p: true, "
        yield from self._found(
            "drifting scale",
            self._moved,
            lambda now: (
                f"the mean is {now.shift:+.1f} fitted standard deviations away, the standard deviation {now.ratio:.2f} "
                "times the fitted one,"
            ),
            f"check the column's unit in the log; if it is right, {log1p}{self._key}.clip or newer {self._key}.moments",
        )

    def quantiles(self) -> Iterator[Finding]:
        """Finds values that fill other quantile buckets."""
        yield from self._found(
            "drifting quantiles",
            lambda day: self._facts[day].distinct > 1 and (self._facts[day].psi or 0.0) > PSI,
            lambda now: f"the population stability index against the fitted days is {now.psi:.2g},",
            f"check the column's unit in the log; if it is right, newer {self._key}.boundaries",
        )

    def _loses_rows(self, day: date) -> bool:
        now, fitted = self._facts[day].missing, self._missing
        return now - fitted > MISSING and now * (1 - fitted) > ODDS * fitted * (1 - now)

    def _is_dead(self, day: date) -> bool:
        """One value, though most earlier days had several: a weekday is the same all day, too."""
        before = [facts.distinct > 1 for earlier, facts in self._facts.items() if earlier < day]
        return self._facts[day].distinct == 1 and 2 * sum(before) > len(before)

    def _moved(self, day: date) -> bool:
        now = self._facts[day]
        if (
            now.distinct <= 1 or not now.ratio or now.ratio != now.ratio
        ):  # NaN: the fit found no deviation, and said so.
            return False
        return abs(now.shift or 0.0) > SHIFT or not 1 / RATIO <= now.ratio <= RATIO

    def _found(
        self,
        rule: str,
        holds: Callable[[date], bool],
        line: Callable[[InputFacts], str],
        remedy: str,
        days: list[date] | None = None,
    ) -> Iterator[Finding]:
        if (found := span(self._days if days is None else days, holds)) is not None:
            yield Finding(rule, self._key, f"{line(self._facts[found[1]])} {since(found)}", remedy, *found)
