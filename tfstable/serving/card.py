"""The model card of a version, as JSON and Markdown: its training data, evaluation and signatures."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from tfstable.errors import InputError
from tfstable.files import FORMAT, read_json, write_json

JSON, MARKDOWN = "model_card.json", "MODEL_CARD.md"
FILES = (JSON, MARKDOWN)


@dataclass(frozen=True)
class Evaluation:
    """The newest evaluation at the time of publication.

    Attributes:
        window: First and last day of the evaluated model's window.
        day: The evaluation day.
        tasks: Metrics by name, by task; under `slices` those of parts of the day, by column and value.
    """

    window: tuple[str, str]
    day: str
    tasks: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class ModelCard:
    """Facts about a version. Days are text, such as "2025-01-31".

    Attributes:
        window_end: Last day of training.
        withdrawn: Last training days of the versions that a rollback to this one took out of service.
        promoted_from: Number of the version that this one copies; None: not a copy.
        model: `class` (import path), `weights` (their number) and `precision`.
        data: `log` (its path), `first_day` and `last_day`.
        evaluation: The newest evaluation; None: not evaluated yet.
        config_hash: SHA-256 of the config's keys that affect the weights.
        tasks: `kind` and `label` column by task; None: unknown, as in older versions.
        weight: Column of example weights; None: no such column.
        counted_to: Last day whose labels the counters include; None: no counters.
        score_weights: Weight in the score of `rank` by task; None: no `rank`.
        versions: Version of each package that trained the model.
        created: Time of writing, UTC.
        columns: Arguments of `RawColumn` by raw column.
        signatures: `inputs` and `outputs` by signature, each by name, with `dtype` and `shape`.
        files: SHA-256 by file; None: not published yet, or published by an older tfstable.
    """

    window_end: str
    withdrawn: tuple[str, ...] = ()
    promoted_from: int | None = None
    model: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    evaluation: Evaluation | None = None
    config_hash: str | None = None
    tasks: Mapping[str, Mapping[str, str]] | None = None
    weight: str | None = None
    counted_to: str | None = None
    score_weights: Mapping[str, float] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    created: str | None = None
    columns: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    signatures: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    files: Mapping[str, str] | None = None


def write(version: Path, card: ModelCard) -> None:
    """Writes the card into a version's folder, as JSON and as Markdown."""
    values = asdict(card)
    if card.files is None:
        del values["files"]
    write_json(version / JSON, {**values, "format": FORMAT})
    (version / MARKDOWN).write_text(markdown(card), encoding="utf-8")


def read(version: Path) -> ModelCard:
    """Returns the card of a version, in the current format or format 1.

    Raises:
        InputError: If the card is missing, damaged or in a newer format.
    """
    path = version / JSON
    if not path.exists():
        raise InputError(f"{version}: not an export of tfstable; name a version such as DIR/export/1")
    values = read_json(path, "name another version, or restore this one from a backup")
    if missing := [key for key in ("window_end", "withdrawn", "promoted_from", "signatures") if key not in values]:
        raise InputError(f"{path}: not a model card of tfstable: it lacks {missing[0]}; name another version")
    known = {each.name: values[each.name] for each in fields(ModelCard) if each.name in values}
    if known.get("evaluation"):
        evaluation = known["evaluation"]
        first, last = evaluation["window"]
        known["evaluation"] = Evaluation((first, last), evaluation["day"], evaluation["tasks"])
    return ModelCard(**{**known, "withdrawn": tuple(known["withdrawn"])})


def markdown(card: ModelCard) -> str:
    """Returns the card as Markdown."""
    lines = ["# Model card", ""]
    facts = {
        "model": card.model,
        "trained through": card.window_end,
        "counters know labels to": card.counted_to,
        "data": card.data,
        "created": card.created,
        "config hash": card.config_hash,
        "versions": card.versions,
        "copy of version": card.promoted_from,
        "score": card.score_weights,
    }
    lines += [f"- {name}: {_line(value)}" for name, value in facts.items() if value]
    if evaluation := card.evaluation:
        first, last = evaluation.window
        lines += ["", "## Evaluation", "", f"On {evaluation.day}, by the model trained on {first} to {last}."]
        metrics = list(dict.fromkeys(metric for values in evaluation.tasks.values() for metric in values))
        metrics = [metric for metric in metrics if metric != "slices"]  # In the JSON alone.
        rows = [
            [task, *("" if values.get(name) is None else f"{values[name]:.4f}" for name in metrics)]
            for task, values in evaluation.tasks.items()
        ]
        lines += ["", *_table(["task", *metrics], rows)]
    for name, signature in card.signatures.items():
        rows = [
            [way, key, spec["dtype"], str(spec["shape"]).replace("None", "?")]
            for way in ("inputs", "outputs")
            for key, spec in signature[way].items()
        ]
        lines += ["", f"## Signature `{name}`", "", *_table(["", "name", "dtype", "shape"], rows)]
    return "\n".join(lines) + "\n"


def _line(value: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
