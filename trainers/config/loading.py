"""Reading and writing configs: YAML, `--set`, and one line per error. Precedence: defaults < file < --set."""

import copy
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

import yaml
from pydantic import ValidationError

from tfstable.errors import InputError
from tfstable.inputs.pretrained import digest
from tfstable.specs import Categorical
from trainers.config.run import Config

AnyConfig = TypeVar("AnyConfig", bound=Config)


@overload
def load(source: Path | str | Mapping[str, Any], overrides: Sequence[str] = ()) -> Config: ...
@overload
def load(
    source: Path | str | Mapping[str, Any], overrides: Sequence[str] = (), *, kind: type[AnyConfig]
) -> AnyConfig: ...
def load(source: Path | str | Mapping[str, Any], overrides: Sequence[str] = (), kind: type[Config] = Config) -> Config:
    """Reads a config and applies overrides.

    Args:
        source: A YAML file, or its content as nested dicts.
        overrides: Texts `a.b=c`, as `--set` takes them.
        kind: The class of the config.

    Raises:
        InputError: With one line per wrong key.
    """
    if isinstance(source, Mapping):
        path, raw = "config", copy.deepcopy(dict(source))
    else:
        path, raw = str(source), _read(Path(source))
    if raw.keys() >= {"format", "checksum"}:  # The params.yaml of a run is a config as well.
        raw = {key: value for key, value in raw.items() if key not in ("format", "checksum")}
    for override in overrides:
        _apply(raw, override)
    try:
        return _with_digests(kind.model_validate(raw))
    except ValidationError as error:
        raise InputError("\n".join(_explain(path, raw, detail, kind) for detail in error.errors())) from None


def _with_digests(config: AnyConfig) -> AnyConfig:
    """Notes the content of each pretrained file, unless the config, that of a run, has done so."""
    found = {}
    for name, feature in config.features.items():
        if isinstance(feature, Categorical) and feature.pretrained and feature.pretrained_sha256 is None:
            content = digest(Path(feature.pretrained), f"features.{name}.pretrained")
            found[name] = feature.model_copy(update={"pretrained_sha256": content})
    return config.model_copy(update={"features": {**config.features, **found}}) if found else config


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: 2025-02-30 looks like a date but is not one.
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise InputError(f"{path}: a config is a mapping of keys; see `tfstable schema`")
    return raw


def dump(config: Config) -> str:
    """Returns the full config as YAML, defaults included; `load` reads it back."""
    return yaml.safe_dump(config.model_dump(mode="json", by_alias=True), sort_keys=False)


def set_key(raw: dict[str, Any], key: str, value: Any, what: str) -> None:
    """Sets a dotted key of a raw config; `what` begins the message of an error."""
    *parents, last = key.split(".")
    for parent in parents:
        raw = raw.setdefault(parent, {})
        if not isinstance(raw, dict):
            raise InputError(f"{what}: {parent} has no keys below it")
    raw[last] = value


class _Loader(yaml.SafeLoader):
    """YAML in which a repeated key is an error. Plain PyYAML keeps the last one."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        merge = "tag:yaml.org,2002:merge"  # `<<: *base`, whose keys may be overridden.
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag != merge]
        for number, key in enumerate(keys):
            if key in keys[:number]:
                raise yaml.constructor.ConstructorError(None, None, f"key {key} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _apply(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f"--set {override}: write --set section.key=value")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        raise InputError(f"--set {override}: the value is not YAML; quote it") from None
    set_key(raw, key, value, f"--set {override}")


def _explain(path: str, raw: dict[str, Any], detail: Any, spec: type[Config]) -> str:
    """Returns one line for a pydantic error: the key, the fault and a remedy."""
    location, kind, got = _location(raw, detail["loc"]), detail["type"], detail.get("input")
    if location[-1:] == ["[key]"]:
        return f"{path}: {'.'.join(location[:-2])}: YAML does not read the key {got!r} as text; quote it"
    key = ".".join(location)
    if kind == "union_tag_not_found":
        return f"{path}: {key}.kind: missing; `tfstable schema` lists the kinds"
    if kind == "union_tag_invalid":
        return f"{path}: {key}.kind: must be one of {detail['ctx']['expected_tags']}, got {detail['ctx']['tag']!r}"
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(location[-1], _known_keys(spec, detail["loc"]), n=1)
        hint = f"; did you mean {near[0]}?" if near else "; see `tfstable schema`"
        return f"{path}: {key}: unknown key{hint}"
    if kind == "missing":
        return f"{path}: {key}: missing; it has no default"
    if kind == "value_error":
        return f"{path}: {key + ': ' if key else ''}{detail['msg'].removeprefix('Value error, ')}"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"{path}: {key}: must be a mapping of keys, got {got!r}; see `tfstable schema`"
    shown = "" if isinstance(got, dict | list) else f", got {got!r}"
    return f"{path}: {key}: {detail['msg']}{shown}"


def _location(raw: Any, location: tuple[Any, ...]) -> list[str]:
    """The file's keys for pydantic's `location`, without the kinds that pydantic inserts to name its choice of spec."""
    keys = []
    for part in location:
        known = raw.keys() if isinstance(raw, dict) else range(len(raw)) if isinstance(raw, list) else ()
        if isinstance(raw, dict) and part not in known and part == raw.get("kind"):
            continue
        keys.append(str(part))
        raw = raw[part] if part in known else None
    return keys


def _known_keys(spec: type[Config], location: tuple[Any, ...]) -> list[str]:
    """The keys that exist beside the unknown key at pydantic's `location`: another section's are no hint."""
    schema = spec.model_json_schema()
    places = _choices(schema, schema["$defs"])
    for part in location[:-1]:
        below = [found for place in places if (found := _below(place, part))]
        places = [choice for found in below for choice in _choices(found, schema["$defs"])]
    return sorted(key for place in places for key in place.get("properties", ()))


def _choices(schema: dict[str, Any], specs: dict[str, Any]) -> list[dict[str, Any]]:
    """The schemas that a schema names or chooses from, as of a key that may be null."""
    if "$ref" in schema:
        return _choices(specs[schema["$ref"].rpartition("/")[2]], specs)
    return [choice for part in schema["anyOf"] for choice in _choices(part, specs)] if "anyOf" in schema else [schema]


def _below(schema: dict[str, Any], part: Any) -> dict[str, Any] | None:
    """The schema of a key, of an item, or of a kind among several specs."""
    kinds = schema.get("discriminator", {}).get("mapping", {})
    if part in kinds:
        return {"$ref": kinds[part]}
    return schema.get("properties", {}).get(part) or schema.get("additionalProperties") or schema.get("items")
