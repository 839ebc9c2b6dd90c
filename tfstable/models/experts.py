"""Experts and gates above a model's layers: MMoE and PLE."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfstable.layers.shapes import Shape
from tfstable.models.blocks import dense_stack
from tfstable.options import RankingOptions
from tfstable.specs import MmoeBottom, PleBottom

SHARED = ""  # The group of experts, and of the gate, that belong to no task. No task has this name.


def experts_above(options: RankingOptions, tasks: Iterable[str], name: str, dtype: Any) -> "Experts | None":
    """Returns the experts that `options.bottom` asks for; None if tasks share one bottom."""
    return None if options.bottom.kind == "shared" else Experts(tasks, options, name=name, dtype=dtype)


class Experts(keras.layers.Layer):
    """Levels of experts and gates. Each task's output is a mixture of experts, weighed by a gate of its own:

        y_k = sum_i softmax(W_k x)_i e_i(x),  e(x) = act(norm(V x))

    MMoE has one level of experts that all tasks share. PLE adds experts that only their own task's gate sees. With
    several levels, task k's experts and gate of the next level read y_k, and the shared experts read a mixture of all
    experts.

    An expert normalises before its smooth activation, as in HoME, by layer normalisation: HoME's batch normalisation
    would make an example's output depend on the batch and on the number of replicas. HoME's feature gates and
    self-gates are left out: they cost a product of the input's width per expert. Gates start at equal weights (W = 0),
    so the first steps train every expert. Their softmax is in float32, or float64 in a model of that policy.

    Args:
        tasks: Names of the tasks.
        options: The model's options; `options.bottom` describes the experts.

    Attributes:
        width: Width of each task's output.

    Shapes:
        In: `(batch, any width)`. Out: by task, `(batch, units)` in the layer's compute dtype.

    References:
        Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts", 2018 (MMoE).
        Tang et al., "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL) Model for Personalized
        Recommendations", 2020.
        Wang et al., "HoME: Hierarchy of Multi-Gate Experts for Multi-Task Learning at Kuaishou", 2024.
    """

    def __init__(self, tasks: Iterable[str], options: RankingOptions, **kwargs: Any):
        super().__init__(**kwargs)
        assert isinstance(options.bottom, MmoeBottom | PleBottom)
        tasks, levels = list(tasks), getattr(options.bottom, "levels", 1)
        self.width = options.bottom.units[-1]
        self.levels = [
            ExpertLevel(tasks, options, i == levels - 1, name=f"level_{i}", dtype=self.dtype_policy)
            for i in range(levels)
        ]

    def build(self, input_shape: Shape) -> None:
        self.built = True  # The levels build themselves.

    def call(self, x: tf.Tensor, training: bool | None = None) -> dict[str, tf.Tensor]:
        reads = dict.fromkeys(self.levels[0].gates, x)
        for level in self.levels:
            reads = level(reads, training=training)
        return reads

    def first_layers(self) -> list[keras.layers.Dense]:
        """Returns the layers that read the input: the first of each expert, then the gates. They must be built."""
        first = self.levels[0]
        return [*(stack.layers[0] for stack in first.stacks.values()), *first.gates.values()]


class ExpertLevel(keras.layers.Layer):
    """One level of `Experts`: groups of experts, and a gate per group that mixes those it sees.

    Args:
        tasks: Names of the tasks.
        options: The model's options.
        is_last: Whether no level follows, so that nothing reads a mixture for shared experts.

    Attributes:
        group_of: The group of each expert, by its name; `SHARED` or a task.
        seen: Names of the experts that a group's gate weighs, by group, in the order of the gate's outputs.
    """

    def __init__(self, tasks: Sequence[str], options: RankingOptions, is_last: bool, **kwargs: Any):
        super().__init__(**kwargs)
        bottom, policy = options.bottom, self.dtype_policy
        assert isinstance(bottom, MmoeBottom | PleBottom)
        own = range(bottom.task_experts if isinstance(bottom, PleBottom) else 0)
        self.group_of = {f"shared_{i}": SHARED for i in range(bottom.experts)}
        self.group_of |= {f"of_{task}_{i}": task for task in tasks for i in own}
        self.seen = {task: [n for n, g in self.group_of.items() if g in (SHARED, task)] for task in tasks}
        if not is_last:
            self.seen[SHARED] = list(self.group_of)
        keys = {"activation": bottom.activation, "hidden_normalisation": bottom.normalise}
        options = options.model_copy(update=keys)
        self.stacks = {n: dense_stack(options, bottom.units, n, options.rezero, policy) for n in self.group_of}
        self.gates = {
            group: keras.layers.Dense(
                len(names), kernel_initializer="zeros", name=f"gate_{group}" if group else "gate", dtype=policy
            )
            for group, names in self.seen.items()
        }

    def build(self, input_shape: Mapping[str, Shape]) -> None:
        self.built = True  # The layers build themselves.

    def call(self, x: Mapping[str, tf.Tensor], training: bool | None = None) -> dict[str, tf.Tensor]:
        """Returns the mixtures by group, from inputs by group."""
        outputs = {name: stack(self.read_by(name, x), training=training) for name, stack in self.stacks.items()}
        return self.mix(outputs, {group: gate(x[group]) for group, gate in self.gates.items()})

    def read_by(self, expert: str, x: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns what an expert reads of the inputs by group. At the first level all groups have the same."""
        group = self.group_of[expert]
        return x[group] if group in x else next(iter(x.values()))

    def mix(self, outputs: Mapping[str, tf.Tensor], logits: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the mixtures by group, `(batch, units)`, from the experts' outputs and the gates' logits."""
        mixtures = {}
        for group, names in self.seen.items():
            dtype = tf.float64 if logits[group].dtype == tf.float64 else tf.float32
            weights = tf.cast(tf.nn.softmax(tf.cast(logits[group], dtype)), outputs[names[0]].dtype)  # (batch, experts)
            mixtures[group] = tf.add_n([weights[:, i, None] * outputs[name] for i, name in enumerate(names)])
        return mixtures
