"""A TFRS ranking model as the source of another model."""

from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from pathlib import Path

import numpy as np

from tfstable.errors import InputError
from tfstable.inputs.ids import IdMap
from tfstable.inputs.statistics import Statistics
from tfstable.options import RankingOptions
from tfstable.specs import BinaryTask, Feature, NumericFeature, QuantileFeature, RegressionTask, TaskSpec
from trainers.inherit.tfrs.inputs import Input, read_input
from trainers.inherit.tfrs.network import read_network
from trainers.inherit.tfrs.objects import Objects
from trainers.inherit.tfrs.spec import read
from trainers.inherit.tfrs.weights import Weight

EPSILON = 1e-7  # Of Keras 2's Adagrad and of TFRS's ClippyAdagrad.


@lru_cache(maxsize=1)
def open_tfrs(file: Path) -> "TfrsSource":
    """Returns the source that a file describes. A start asks for it several times, and it takes seconds."""
    return TfrsSource(file)


class TfrsSource:
    """A ranking model of TFRS, described by a file; see `trainers.inherit.source.Source`.

    Adagrad's epsilon is added to the accumulators: sqrt(G + epsilon) is then the root of ours, which has no epsilon.

    Args:
        file: The file that says what is what; see `TfrsModel`.

    Attributes:
        file: As above.
        spec: What it says.
        objects: What is saved.
        remarks: What does not move over as it was.
        without_unknown: Inputs whose unknown values had no row of their own, or several.
        sigmoids: Tasks whose score in TFRS is a probability.

    Raises:
        InputError: If the file or the model cannot be read, or the model has a part that tfstable does not know.
    """

    model_class = "tfstable.models.RankingModel"
    model_options: Mapping[str, object] = {}
    precision = "float32"
    last: date | None = None

    def __init__(self, file: Path):
        self.file, self.spec = file, read(file)
        self.name = f"{file}, a TFRS model"
        self.objects = Objects(self.spec.saved_model, self.spec.checkpoint)
        inputs = {name: read_input(self.objects, name, given) for name, given in self.spec.inputs.items()}
        self.objects.forget_loaded()
        self.features, tables = _features(inputs)
        self.tasks: dict[str, TaskSpec] = {
            name: BinaryTask(kind="binary", label=task.label)
            if task.kind == "binary"
            else RegressionTask(kind="regression", label=task.label)
            for name, task in self.spec.tasks.items()
        }
        network = read_network(self.objects, self.spec, _order(inputs))
        self.options = RankingOptions(**network.options)
        self.without_unknown = {name for name, given in inputs.items() if not given.has_unknown}
        self.sigmoids = network.sigmoids
        self._weights = _stacked(inputs, tables) | network.weights
        self.remarks = [given.remark for given in inputs.values() if given.remark] + self._of_state()
        self.statistics = self._statistics(inputs, tables)

    def ids(self) -> Mapping[str, IdMap]:
        return {}

    def calibration(self) -> None:
        return None

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {path: weight.shape for path, weight in self._weights.items()}

    def weight(self, path: str, averaged: bool = False) -> np.ndarray:
        weight = self._weights[path]
        if not weight.variables:
            return np.zeros(weight.shape, np.float32) + np.float32(weight.plus)
        return weight.turn([self.objects.value(variable) for variable in weight.variables]) + np.float32(weight.plus)

    def slot(self, path: str, name: str) -> np.ndarray | None:
        weight = self._weights[path]
        if name != "accumulator" or self.spec.optimizer is None:
            return None
        found = [self.objects.accumulator(variable) for variable in weight.variables]
        slots = [slot for slot in found if slot is not None]
        if not slots or len(slots) < len(found):
            return None
        return weight.turn(slots) + np.float32(self.epsilon)

    def count(self, name: str) -> int | None:
        if name != "iteration" or not self._has_state():
            return None
        steps = self._of_optimizer("_iterations", "iter")
        return None if steps is None else int(steps)

    @property
    def learning_rate(self) -> float | None:
        """The learning rate, where it is a saved variable and no schedule."""
        return self._of_optimizer("_learning_rate", "learning_rate")

    @property
    def epsilon(self) -> float:
        """What is added to the accumulators. Keras's older Adagrad adds its epsilon to the root, where it is lost."""
        if self.objects.is_legacy:
            return 0.0
        saved = self.objects.optimizer()[1].get("epsilon", EPSILON)
        return float(saved if self.spec.epsilon is None else self.spec.epsilon)

    def _has_state(self) -> bool:
        has = self.objects.has_accumulator
        return any(has(variable) for weight in self._weights.values() for variable in weight.variables)

    def _of_state(self) -> list[str]:
        """A remark on weights without accumulators, if the optimizer's state is to move."""
        if self.spec.optimizer is None:
            return []
        if not self._has_state():
            return ["no accumulators are saved: the state of the optimizer starts anew"]
        has = self.objects.has_accumulator
        without = [path for path, weight in self._weights.items() if not all(has(v) for v in weight.variables)]
        if not without:
            return []
        reason = "a checkpoint does not tell variables of one name and shape apart"
        return [f"accumulators of {', '.join(without)} start anew: none are saved, or {reason}, as a SavedModel does"]

    def _of_optimizer(self, *names: str) -> float | None:
        """A number that the optimizer keeps, under the name that its version of Keras has for it."""
        found = [self.objects.scalar(f"{self.spec.optimizer}/{name}") for name in names if self.spec.optimizer]
        return next((number for number in found if number is not None), None)

    def _statistics(self, inputs: Mapping[str, Input], tables: Mapping[str, str]) -> Statistics:
        columns = {self.spec.inputs[name].column or name: given.column for name, given in inputs.items()}
        return Statistics(
            columns=columns,
            vocabularies={tables[name]: i.vocabulary for name, i in inputs.items() if i.vocabulary is not None},
            moments={
                name: f.moments or (0.0, 1.0) for name, f in self.features.items() if isinstance(f, NumericFeature)
            },
            boundaries={
                name: list(f.boundaries or ()) for name, f in self.features.items() if isinstance(f, QuantileFeature)
            },
            base_rates={name: self._base_rate(name) for name in self.tasks},
            remarks=self.remarks,
        )

    def _base_rate(self, task: str) -> float:
        """The mean label that the output's bias stands for."""
        bias = float(self.weight(f"output_{task}/bias")[0])
        return bias if self.spec.tasks[task].kind == "regression" else float(1 / (1 + np.exp(-bias)))


def _features(inputs: Mapping[str, Input]) -> tuple[dict[str, Feature], dict[str, str]]:
    """The features by name, and the table of each embedded one: inputs of one Embedding share that of the first."""
    features: dict[str, Feature] = {}
    tables: dict[str, str] = {}
    first: dict[int, str] = {}
    for name, given in inputs.items():
        features[name] = given.feature
        if given.embedding is None:
            continue
        table = tables[name] = first.setdefault(given.embedding, name)
        other = inputs[table]
        if (other.feature.kind, other.rows, other.vocabulary) != (given.feature.kind, given.rows, given.vocabulary):
            raise InputError(f"inputs.{name} has the Embedding of inputs.{table}, but another lookup; tfstable has one")
        if table != name and isinstance(given.feature, QuantileFeature):
            raise InputError(f"inputs.{name} has the Embedding of inputs.{table}; buckets of numbers share no table")
        if table != name:
            features[name] = given.feature.model_copy(update={"table": table})
    return features, tables


def _order(inputs: Mapping[str, Input]) -> np.ndarray:
    """For each element of our input vector, embeddings and then numbers, its place in TFRS's."""
    ends = np.cumsum([given.width for given in inputs.values()])
    places = [np.arange(end - given.width, end) for end, given in zip(ends, inputs.values(), strict=True)]
    embedded = [given.embedding is not None for given in inputs.values()]
    return np.concatenate(
        [place for place, table in zip(places, embedded, strict=True) if table]
        + [place for place, table in zip(places, embedded, strict=True) if not table]
    )


def _stacked(inputs: Mapping[str, Input], tables: Mapping[str, str]) -> dict[str, Weight]:
    """The tables of each width, stacked in the order of the features."""
    of_width: dict[int, list[Input]] = {}
    for name, given in inputs.items():
        if tables.get(name) == name:
            of_width.setdefault(given.width, []).append(given)
    weights = {}
    for width, members in of_width.items():
        variables = tuple(given.embedding for given in members if given.embedding is not None)
        turns = [given.turn for given in members]

        def turn(arrays: list[np.ndarray], turns: list = turns) -> np.ndarray:
            return np.concatenate([turn(array) for turn, array in zip(turns, arrays, strict=True)])

        weights[f"embeddings/tables_{width}"] = Weight(variables, (sum(given.rows for given in members), width), turn)
    return weights
