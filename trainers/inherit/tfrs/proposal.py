"""A first config for a TFRS model that moves over."""

from typing import Any

import yaml

from trainers.inherit.tfrs.source import TfrsSource

_SEQUENCE = "tag:yaml.org,2002:seq"
# Keys of TFRS's ClippyAdagrad, and those of `clipping`.
CLIPPY = {
    "variable_relative_threshold": "relative",
    "absolute_threshold": "absolute",
    "clip_accumulator_update": "clip_accumulator",
    "accumulator_relative_threshold": "accumulator_relative",
}
# Keys of every optimizer of Keras 2 that need a decision of the user.
UNTOLD = ("weight_decay", "clipnorm", "global_clipnorm", "clipvalue", "use_ema")


def proposal(source: TfrsSource) -> str:
    """Returns a config that computes and trains as the model did, as YAML with comments on what it cannot know."""
    notes = list(source.remarks)
    rule, alone = _rule(source, notes)
    columns = {
        "features": {name: _changed(spec) for name, spec in source.features.items()},
        "tasks": {name: _changed(spec) for name, spec in source.tasks.items()},
    }
    model = _changed(source.options) | ({"stack_tables": False} if alone else {})
    sections = [
        {"data": {"path": "LOG"}, "init": {"from": str(source.file)}},
        *({name: section} for name, section in columns.items()),
        {"model": model, "optimizer": {"dense": rule, "embeddings": rule}} if rule else {"model": model},
        {"trainer": {"batch_size": 8192}},
    ]
    notes.append("name your log in data.path, and set trainer.batch_size to the batch size of the TFRS model")
    head = "".join(f"# {note}.\n" for note in notes)
    return head + "".join(yaml.dump(section, Dumper=_Plain, sort_keys=False, width=120) for section in sections)


class _Plain(yaml.SafeDumper):
    """Writes a section that stands in two places twice, and lists on one line."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Plain.add_representer(list, lambda dumper, values: dumper.represent_sequence(_SEQUENCE, values, flow_style=True))


def _changed(spec: Any) -> dict[str, Any]:
    keys = spec.model_dump(mode="json", exclude_defaults=True)
    return {**({"kind": spec.kind} if hasattr(spec, "kind") else {}), **keys}


def _rule(source: TfrsSource, notes: list[str]) -> tuple[dict[str, Any], bool]:
    """The rule of the optimizer, {} if tfstable's default has to do, and whether it clips each table alone."""
    name, saved = source.objects.optimizer()
    if given := [key for key in UNTOLD if saved.get(key)]:
        notes.append(f"the optimizer had {', '.join(given)}; set what you need of it under optimizer")
    rate = saved.get("learning_rate", source.learning_rate)
    if not isinstance(rate, float):
        notes.append(f"set learning_rate and schedule: the model's was {rate or 'not saved'}")
        rate = 0.05
    if name not in ("Adagrad", "ClippyAdagrad"):
        what = f"{name} starts anew" if name else "the class of the optimizer is not saved; set its rule"
        notes.append(f"{what}: only the accumulators of Adagrad and ClippyAdagrad move over")
        return ({}, False) if name else (_adagrad(rate, saved, source) | {"clipping": None}, False)
    if name == "Adagrad":
        return _adagrad(rate, saved, source) | {"clipping": None}, False
    notes.append(
        "TFRS does not save use_standard_accumulator_update; if it was True, set clipping.delayed_accumulator: false"
    )
    clipping = {"kind": "clippy"} | {ours: saved[theirs] for theirs, ours in CLIPPY.items() if saved.get(theirs)}
    return _adagrad(rate, saved, source) | {"clipping": clipping | {"delayed_accumulator": True}}, True


def _adagrad(rate: float, saved: dict[str, Any], source: TfrsSource) -> dict[str, Any]:
    start = saved.get("initial_accumulator_value", 0.1) + source.epsilon
    rounded = {"learning_rate": float(f"{rate:.7g}"), "initial_accumulator": float(f"{start:.9g}")}
    return {"rule": "adagrad", **rounded}
