"""The event `config_changed` of events.jsonl: which keys of a running model have changed, with old and new values."""

from collections.abc import Sequence
from typing import Any

from trainers.config import Change, Config, When, changes


def noted_changes(before: Config, now: Config, replaced: str, noted: Sequence[dict[str, Any]]) -> list[Change]:
    """Returns the changes that the run's events do not have yet.

    An event is written first, then params.yaml is replaced. A run that was killed between the two finds the event of
    the params.yaml that it still has: what it says is noted, and only what differs from that is new.

    Args:
        before: The config of params.yaml.
        now: The config of this start.
        replaced: The checksum of params.yaml.
        noted: The events `config_changed` so far.
    """
    found = {change.key: change for change in changes(before, now)}
    last = noted[-1] if noted and noted[-1]["replaces"] == replaced else {"changed": []}
    for entry in last["changed"]:
        earlier = Change(entry["key"], entry["before"], entry["now"], When(entry["when"]))
        # A key that no longer differs from params.yaml has its earlier value again.
        again = found.get(earlier.key, earlier._replace(now=earlier.before))
        found[earlier.key] = again._replace(before=earlier.now)
    return [change for _, change in sorted(found.items()) if change.before != change.now]


def event(new: Sequence[Change], replaced: str) -> dict[str, Any]:
    """Returns the event of some changes, without its name."""
    return {"changed": [{**change._asdict(), "when": change.when.value} for change in new], "replaces": replaced}
