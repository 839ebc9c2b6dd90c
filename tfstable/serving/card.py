"""The model card of a version, as JSON and Markdown: what it was trained on, how good it was, what it takes."""

from pathlib import Path
from typing import Any

from tfstable.errors import InputError
from tfstable.files import FORMAT, read_json, write_json

JSON, MARKDOWN = "model_card.json", "MODEL_CARD.md"
FILES = (JSON, MARKDOWN)


def write(version: Path, card: dict[str, Any]):
    """Writes both forms into a version's folder.

    Args:
        version: The folder.
        card: `window_end`, `withdrawn`, `promoted_from`, `columns`, `signatures`; and by whatever program published
            it `data`, `evaluation`, `config_hash`, `score_weights`, `versions`, `created`, `model`.
    """
    write_json(version / JSON, {**card, "format": FORMAT})
    (version / MARKDOWN).write_text(markdown(card), encoding="utf-8")


def read(version: Path) -> dict[str, Any]:
    """Returns the card of a version, of this format or of format 1.

    Raises:
        InputError: If there is none, or it is damaged or of a newer format.
    """
    path = version / JSON
    if not path.exists():
        raise InputError(f"{version}: not an export of tfstable; name a version such as DIR/export/1")
    card = read_json(path, "name another version, or restore this one from a backup")
    if missing := [key for key in ("window_end", "withdrawn", "promoted_from", "signatures") if key not in card]:
        raise InputError(f"{path}: not a card of tfstable, it has no {missing[0]}; name another version")
    return card


def markdown(card: dict[str, Any]) -> str:
    """Returns the card as Markdown."""
    lines = ["# Model card", ""]
    facts = {
        "model": card.get("model"),
        "trained through": card["window_end"],
        "data": card.get("data"),
        "created": card.get("created"),
        "config hash": card.get("config_hash"),
        "versions": card.get("versions"),
        "copy of version": card["promoted_from"],
        "score": card.get("score_weights"),
    }
    lines += [f"- {name}: {_line(value)}" for name, value in facts.items() if value]
    if evaluation := card.get("evaluation"):
        first, last = evaluation["window"]
        lines += ["", "## Evaluation", "", f"On {evaluation['day']}, by the model trained on {first} to {last}."]
        metrics = list(dict.fromkeys(metric for values in evaluation["tasks"].values() for metric in values))
        rows = [
            [task, *("" if values.get(name) is None else f"{values[name]:.4f}" for name in metrics)]
            for task, values in evaluation["tasks"].items()
        ]
        lines += ["", *_table(["task", *metrics], rows)]
    for name, signature in card["signatures"].items():
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
