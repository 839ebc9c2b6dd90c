"""What a row sees of the past, as Ibis expressions: the same statement on DuckDB and on Spark.

Tables: `rows` has row (number within its day), key and, within the day, time. `events` has key, day, perhaps time, and
the values of each event.
"""

from typing import Any, NamedTuple


class Sight(NamedTuple):
    """Which events a row sees, and in which order."""

    order: tuple[str, ...]  # Columns of events; the last in this order is the newest.
    last: int  # Events at most.
    within: bool  # Whether a row sees events by their time, not by their day alone.
    delay_days: int = 0  # A row of day d sees those of days before d - delay_days.


def histories(rows: Any, events: Any, sight: Sight) -> Any:
    """Returns (row, events): per row that sees any event its last ones, newest last, in the order of the rows.

    Args:
        rows: The rows of a day.
        events: Events of the same day or earlier. If not `within`, no more than `last` per key.
        sight: How rows see them.
    """
    import ibis

    events = events.semi_join(rows, "key").select(*events.columns)
    values = ibis.struct({name: events[name] for name in events.columns if name != "key"})
    first, after = (sight.last - 1, 0) if sight.within else (None, None)
    upto = _window(events, sight, preceding=first, following=after)
    ends = events.select(
        "key",
        position=ibis.row_number().over(_window(events, sight)) + 1,
        count=events.count().over(ibis.window(group_by="key")),
        events=values.collect().over(upto),
    )
    if not sight.within:
        ends = ends.filter(ends.position == ends["count"])
        return rows.inner_join(ends, "key").select("row", "events").order_by("row")

    # A row's position is the number of events before its time: at equal times rows stand before events.
    marks = ibis.union(
        rows.select("key", "time", row="row", event=ibis.literal(0, "int64")),
        events.select("key", "time", row=ibis.literal(-1, "int64"), event=ibis.literal(1, "int64")),
    )
    before = ibis.window(group_by="key", order_by=[marks.time, marks.event], preceding=None, following=0)
    placed = marks.mutate(position=marks.event.sum().over(before))
    placed = placed.filter(placed.event == 0).select("key", "row", "position")
    return placed.inner_join(ends, ["key", "position"]).select("row", "events").order_by("row")


def newest(events: Any, sight: Sight, horizon: Any = None) -> Any:
    """Returns the events that rows of later days can still see.

    Args:
        events: All that are known.
        sight: How rows see them.
        horizon: Within the day: no later row has an earlier time. Events from it on are all kept.
    """
    import ibis

    settled = events.time < horizon if sight.within else ibis.literal(True)
    events = events.mutate(settled=settled)
    backwards = [ibis.desc(events[name], nulls_first=False) for name in sight.order]
    age = ibis.row_number().over(ibis.window(group_by=["key", "settled"], order_by=backwards))
    aged = events.mutate(age=age)
    return aged.filter((aged.age < sight.last) | ~aged.settled).drop("age", "settled")


def _window(events: Any, sight: Sight, **frame: Any) -> Any:
    import ibis

    order = [ibis.asc(events[name], nulls_first=True) for name in sight.order]
    return ibis.window(group_by="key", order_by=order, **frame)
