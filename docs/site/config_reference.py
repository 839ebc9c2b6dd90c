"""reference/config.md: every key of a config with its type, default and text, from the JSON schema of the config."""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parents[2]))

from trainers.config import Config
from trainers.studies.reproducibility.config import ReproducibilityConfig
from trainers.studies.stability.config import StabilityConfig

HEAD = """# Config keys

A config is a YAML file. Precedence: defaults, then the file, then `--set KEY=VALUE`. An unknown key is an error.
Three kinds of keys may change when a run resumes: *operational* ones, which do not affect the weights; *changeable*
ones, from the next step on; and *changeable at a window's end* ones, which a window that has begun keeps. Any other key
needs a new run. Each change is written to events.jsonl.
`tfstable schema` prints the same as JSON schema.

"""
GRIDS = {"stability": StabilityConfig, "reproducibility": ReproducibilityConfig}
LIMITS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}

Schema = dict[str, Any]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    parts = [HEAD, *_sections(Config.model_json_schema(), Config.model_fields)]
    for name, kind in GRIDS.items():
        parts += _sections(kind.model_json_schema(), [name])
    files.append(File.generated(config, "reference/config.md", content="".join(parts)))
    return files


def _sections(schema: Schema, names: Iterable[str]) -> Iterator[str]:
    """One heading per top-level key, and below it one table per mapping of keys."""
    for name in names:
        field = schema["properties"][name]
        yield f"## {name}\n\n"
        if "$ref" not in field:
            yield f"{field['description']}\n\n"
        yield from _tables(name, field, schema["$defs"], heading="")


def _tables(path: str, field: Schema, definitions: dict[str, Schema], heading: str = "### ") -> Iterator[str]:
    """The table of a key's mapping, then those of the mappings inside it."""
    for key, kind in _mappings(path, field, definitions):
        if heading or key != path:
            yield f"### {key}\n\n"
        if "description" in kind:
            yield f"{kind['description']}\n\n"
        yield "| key | type | default | meaning |\n|---|---|---|---|\n"
        for name, inner in kind["properties"].items():
            required = name in kind.get("required", ())
            yield f"| `{name}` | {_type(inner)} | {_default(inner, required)} | {_meaning(inner)} |\n"
        yield "\n"
        for name, inner in kind["properties"].items():
            yield from _tables(f"{key.partition(':')[0]}.{name}", inner, definitions)


def _mappings(path: str, field: Schema, definitions: dict[str, Schema]) -> Iterator[tuple[str, Schema]]:
    """The mappings of keys that a field may hold, each with its title."""
    if isinstance(inner := field.get("additionalProperties"), dict):
        yield from _mappings(f"{path}.NAME", inner, definitions)
    elif "items" in field:
        yield from _mappings(f"{path}[i]", field["items"], definitions)
    elif "$ref" in field:
        found = definitions[field["$ref"].rsplit("/", 1)[1]]
        const = found["properties"].get("kind", {}).get("const")
        yield (f"{path}: kind {const}" if const else path), found
    for kind in field.get("oneOf", field.get("anyOf", ())):
        yield from _mappings(path, kind, definitions)


def _type(field: Schema) -> str:
    if "anyOf" in field or "oneOf" in field:
        kinds = dict.fromkeys(_type(kind) for kind in field.get("anyOf", field.get("oneOf")))
        return " or ".join(kinds)
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "$ref" in field:
        return "mapping"
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}" if "items" in field else "list"
    name = {"object": "mapping", "string": field.get("format", "text")}.get(field.get("type"), field.get("type", "any"))
    limits = [f"{sign} {field[key]:g}" for key, sign in LIMITS.items() if key in field]
    return " ".join([name, ", ".join(limits)]).strip()


def _default(field: Schema, required: bool) -> str:
    if required:
        return "required"
    return f"`{json.dumps(field['default'])}`" if "default" in field else ""


def _meaning(field: Schema) -> str:
    text = " ".join(field.get("description", "").split()).replace("|", "\\|")
    marks = {"now": "*changeable*", "at a window's end": "*changeable at a window's end*", None: ""}
    mark = "*operational*" if field.get("operational") else marks[field.get("changeable")]
    return f"{text} {mark}".strip()
