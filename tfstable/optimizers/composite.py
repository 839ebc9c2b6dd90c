import contextlib
import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import Any, Self, Unpack

import keras
import tensorflow as tf

from tfstable.optimizers.averaging import WeightAverage
from tfstable.optimizers.guarded import GuardedArguments, GuardedOptimizer, Pairs
from tfstable.optimizers.rows import write_row_values
from tfstable.optimizers.rule import RuleOptimizer
from tfstable.optimizers.tables import is_embedding_table


@keras.saving.register_keras_serializable(package="tfstable")
@dataclasses.dataclass(frozen=True)
class Group:
    """Variables and the optimizer that updates them.

    Args:
        variables: "embeddings" (all embedding tables), "dense" (all others), or a regular expression to search in the
            path of each variable, such as "tower/.*kernel".
        optimizer: An optimizer of this package, used only by this group.

    Raises:
        ValueError: If `variables` is not a regular expression, or `optimizer` is not from this package.
    """

    variables: str
    optimizer: RuleOptimizer

    def __post_init__(self) -> None:
        try:
            re.compile(self.variables)
        except (re.error, TypeError) as error:
            raise ValueError(
                f'variables must be "embeddings", "dense" or a regular expression ({error}); got {self.variables!r}.'
            ) from error
        if not isinstance(self.optimizer, RuleOptimizer):
            raise ValueError(
                "optimizer must be one of tfstable.optimizers (others would ignore the finite flag of the step); "
                f"got {self.optimizer!r}."
            )

    def __contains__(self, variable: Any) -> bool:
        if self.variables in ("embeddings", "dense"):
            return is_embedding_table(variable) == (self.variables == "embeddings")
        return re.search(self.variables, getattr(variable, "path", variable.name)) is not None

    def get_config(self) -> dict[str, Any]:
        return {
            "variables": self.variables,
            "optimizer": keras.saving.serialize_keras_object(self.optimizer),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(config["variables"], keras.saving.deserialize_keras_object(config["optimizer"]))


@keras.saving.register_keras_serializable(package="tfstable")
class Composite(GuardedOptimizer):
    """Gives each group of variables its own optimizer, under one finite flag over all of them.

        Composite([Group("embeddings", Adagrad(0.1)), Group("dense", ClippyAdagrad(0.2))])

    A non-finite gradient in any group skips the step of every group.

    Args:
        groups: `Group`s that together hold every variable exactly once. `learning_rate` of the composite reads the
            first group's; set it on the optimizer of a group.
        averaging: None, or an `Ema` or `Swa` of the weights of all groups, used only by this optimizer; see
            `averaged_weights`.
        **guarded: See `GuardedOptimizer`. `on_nonfinite` holds for all groups; their own settings are ignored.

    Raises:
        ValueError: If `groups` is empty or shares an optimizer, or `averaging` is neither. When built: if a variable is
            in no group or in several, or a regular expression matches no variable.
    """

    def __init__(
        self, groups: Iterable[Group], *, averaging: WeightAverage | None = None, **guarded: Unpack[GuardedArguments]
    ) -> None:
        groups = list(groups)
        if not groups or not all(isinstance(group, Group) for group in groups):
            raise ValueError(f"groups must be one or more Group; got {groups!r}.")
        if len({id(group.optimizer) for group in groups}) < len(groups):
            raise ValueError("groups must not share an optimizer: its counters would rise once for each of them.")
        if not isinstance(averaging, WeightAverage | None):
            raise ValueError(f"averaging must be None, an Ema or a Swa of tfstable.optimizers; got {averaging!r}.")
        super().__init__(0.0, **guarded)
        self.averaging = averaging
        self.groups = groups
        self.optimizers = [group.optimizer for group in groups]

    def build(self, variables: Sequence[Any]) -> None:
        if self.built:
            return
        members = [[v for v in variables if v in group] for group in self.groups]
        for variable in variables:
            names = [group.variables for group in self.groups if variable in group]
            if len(names) != 1:
                path = getattr(variable, "path", variable.name)
                raise ValueError(f"variable {path!r} must be in exactly one group; it is in {names or 'none'}.")
        for group, own in zip(self.groups, members, strict=True):
            if not own and group.variables not in ("embeddings", "dense"):
                raise ValueError(f"group {group.variables!r} must match a variable; it matches none.")
        super().build(variables)
        for optimizer, own in zip(self.optimizers, members, strict=True):
            optimizer.build(own)
        if self.averaging is not None:
            self.averaging.build(self, variables)
        self._group_of = [next(i for i, group in enumerate(self.groups) if v in group) for v in variables]

    def update_variables(self, strategy: Any, pairs: Pairs) -> None:
        if self.averaging is not None:
            self.averaging.update(strategy, pairs)
        groups = [self._group_of[self._get_variable_index(v)] for _, v in pairs]
        for number, optimizer in enumerate(self.optimizers):
            own = [pair for pair, group in zip(pairs, groups, strict=True) if group == number]
            optimizer.update_variables(strategy, own)

    def count(self, applied: tf.Tensor) -> None:
        super().count(applied)
        for optimizer in self.optimizers:
            optimizer.count(applied)

    def end_window(self) -> None:
        """Ends a window of days: `Swa` takes its snapshot, and accumulators with `Adagrad(forget=...)` forget.

        `tfstable train` calls it after each window. In a loop of your own, or with `fit`, call it yourself, between
        steps and in cross-replica context. Like a checkpoint, it passes over whole tables.
        """
        if self.averaging is not None:
            self.averaging.snapshot()
        for optimizer in self.optimizers:
            optimizer.end_window()

    def renew_rows(self, table: Any, rows: tf.Tensor, values: tf.Tensor) -> None:
        """Starts rows of an embedding table anew: its weights, their slots and their averages.

        Call it between steps, in cross-replica context under the strategy of the variables.

        Args:
            table: The table, a variable; if this was not built for it, its weights alone are set.
            rows: `(rows,)` distinct integers.
            values: `(rows, dim)` weights.
        """
        strategy = tf.distribute.get_strategy()
        target = table.value if isinstance(table, keras.Variable) else table
        strategy.extended.update(target, write_row_values, args=(rows, values))
        if not table.trainable:
            return
        self.optimizers[self._group_of[self._get_variable_index(table)]].renew_rows(strategy, table, rows)
        if self.averaging is not None:
            self.averaging.renew_rows(strategy, table, rows, values)

    def optimizer_of(self, variable: Any) -> RuleOptimizer:
        """Returns the optimizer of one of the variables."""
        return self.optimizers[self._group_of[self._get_variable_index(variable)]]

    def slots_of(self, variable: Any) -> dict[str, Any]:
        """Returns the state that a rule keeps of one of the variables, by name; see `RuleOptimizer.slots_for`."""
        optimizer = self.optimizers[self._group_of[self._get_variable_index(variable)]]
        slots = optimizer._slots[optimizer._get_variable_index(variable)]
        return {name: slots[name] for name in optimizer.slots_for(variable)}

    def averaged_weights(self) -> contextlib.AbstractContextManager[None]:
        """Returns a context in which the variables hold their averages; one that does nothing without `averaging`."""
        return contextlib.nullcontext() if self.averaging is None else self.averaging.swapped_in()

    @property
    def variables(self) -> list[Any]:
        return [*super().variables, *(v for optimizer in self.optimizers for v in optimizer.variables)]

    @property
    def learning_rate(self) -> Any:
        return self.optimizers[0].learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        raise AttributeError("a Composite has no learning rate of its own: set the one of `composite.optimizers[i]`.")

    def diagnostics(self) -> dict[str, dict[str, float]]:
        """The diagnostics of all groups whose optimizer has `track_every` set; see `RuleOptimizer.diagnostics`."""
        return {path: figures for optimizer in self.optimizers for path, figures in optimizer.diagnostics().items()}

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["learning_rate"]
        return config | {
            "groups": [keras.saving.serialize_keras_object(group) for group in self.groups],
            "averaging": keras.saving.serialize_keras_object(self.averaging),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Self:
        groups = [
            keras.saving.deserialize_keras_object(group, custom_objects=custom_objects) for group in config["groups"]
        ]
        averaging = keras.saving.deserialize_keras_object(config.get("averaging"), custom_objects=custom_objects)
        return cls(**config | {"groups": groups, "averaging": averaging})
