"""Any config that is valid comes back from its file as it was: keys of every section, drawn by their own types."""

import math
import tempfile
import types
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from tfstable.specs import Spec
from trainers.config import Config, dump, load, weight_keys

NAMES = st.from_regex(r"[a-z][a-z0-9_.]{0,8}", fullmatch=True)
TEXT = st.text(max_size=8)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | FINITE | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
PLAIN = {bool: st.booleans(), str: NAMES | TEXT, Path: NAMES, date: st.dates(), Any: JSON, type(None): st.none()}


def values(kind: Any, bounds: list) -> st.SearchStrategy:
    """Values of a type as a config file has them; most are within the `bounds` of the field."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind in PLAIN:
        return PLAIN[kind]
    if origin is Annotated:
        return values(inner[0], [*bounds, *(b for b in inner[1:] for b in getattr(b, "metadata", [b]))])
    if origin in (Union, types.UnionType):
        return st.one_of([values(one, bounds) for one in inner])
    if origin is Literal:
        return st.sampled_from(inner)
    if origin is tuple:
        many = inner[-1] is ...
        return st.lists(values(inner[0], []), max_size=3) if many else st.tuples(*(values(one, []) for one in inner))
    if origin is dict:
        return st.dictionaries(NAMES, values(inner[1], []), max_size=2)
    if isinstance(kind, type) and issubclass(kind, Spec):
        return sections(kind)
    low = next((getattr(b, name) for b in bounds for name in ("ge", "gt") if hasattr(b, name)), None)
    high = next((getattr(b, name) for b in bounds for name in ("le", "lt") if hasattr(b, name)), None)
    if kind is int:
        return st.integers(low, high) | st.integers(1 if low is None else max(low, 1), 50)
    assert kind is float, kind
    some = st.sampled_from([0.25, 0.5, 1.0, 3.0, 1e-300, 1e25])
    return some | st.floats(-math.inf if low is None else low, math.inf if high is None else high)


@st.composite
def sections(draw, spec: type[Spec]) -> dict[str, Any]:
    """A section with its required keys and up to three others."""

    def value(field: FieldInfo) -> Any:
        return draw(values(field.annotation, field.metadata))

    fields = {field.alias or name: field for name, field in spec.model_fields.items()}
    required = [name for name, field in fields.items() if field.is_required()]
    more = draw(st.lists(st.sampled_from(sorted(fields)), max_size=3, unique=True))
    return {name: value(fields[name]) for name in dict.fromkeys([*required, *more])}


@settings(max_examples=40, suppress_health_check=[HealthCheck.filter_too_much])
@given(sections(Config))
def test_what_is_dumped_loads_as_the_same_config(raw):
    raw["features"] |= {"video_id": {"kind": "hash", "buckets": 9}}
    raw["tasks"] |= {"click": {"kind": "binary"}}
    for feature in raw["features"].values():
        if feature.get("pretrained"):
            feature["pretrained_sha256"] = "0"  # As in the config of a run, which does not read the file again.
    try:
        config = Config.model_validate(raw)
    except ValidationError:
        assume(False)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "config.yaml"
        path.write_text(dump(config), encoding="utf-8")
        again = load(path)
        assert again == config
        assert weight_keys(again) == weight_keys(config)
        assert dump(again) == dump(config)
