"""The columns of the log that the features and tasks of a config read."""

from collections.abc import Mapping

from tfstable.specs import BinaryTask, CounterFeature, Feature, FreshLabels, TaskSpec, is_implicit


def feature_columns(features: Mapping[str, Feature]) -> dict[str, tuple[str, ...]]:
    """Returns the log columns of each feature, by the feature's name: several for crossed ids and keys, else one."""
    return {
        name: f.by if isinstance(f, CounterFeature) else getattr(f, "columns", None) or (f.column or name,)
        for name, f in features.items()
    }


def single_columns(features: Mapping[str, Feature]) -> dict[str, str]:
    """Returns the log column of each feature that reads one for itself, no key, by the feature's name."""
    found = feature_columns({name: f for name, f in features.items() if not isinstance(f, CounterFeature)})
    return {name: columns[0] for name, columns in found.items() if len(columns) == 1}


def columns_read(features: Mapping[str, Feature]) -> list[tuple[str, str]]:
    """Returns the pairs of a feature's name and a log column that it reads."""
    return [(name, column) for name, columns in feature_columns(features).items() for column in columns]


def stated_types(features: Mapping[str, Feature]) -> list[tuple[str, str, str]]:
    """Returns (key of the config, column, type) for each type of a column that a feature states."""
    stated: list[tuple[str, str, str]] = []
    for name, feature in features.items():
        if isinstance(feature, CounterFeature):
            stated += [(f"features.{name}.types.{column}", column, dtype) for column, dtype in feature.types.items()]
        elif name in single_columns(features) and feature.type:
            stated.append((f"features.{name}.type", feature.column or name, feature.type))
    return stated


def label_columns(tasks: Mapping[str, TaskSpec]) -> dict[str, str]:
    """Returns the label column of each task that has one, by the task's name."""
    return {name: task.label or name for name, task in tasks.items() if not is_implicit(task)}


def outcome_columns(tasks: Mapping[str, TaskSpec], weight: str | None) -> list[str]:
    """Returns the columns, each once, of labels, weights and rates of negatives: all are numbers.

    Args:
        tasks: Task specs by name.
        weight: Column of example weights, or None.
    """
    columns: list[str | None] = [*label_columns(tasks).values(), weight]
    columns += [task.weight_column for task in tasks.values()] + [rate_column(task) for task in tasks.values()]
    columns += [fresh.delay_column for task in tasks.values() if (fresh := fresh_labels(task))]
    return list(dict.fromkeys(column for column in columns if column is not None))


def fresh_labels(task: TaskSpec) -> FreshLabels | None:
    """Returns how a task trains on labels that are not complete; None if it waits for them."""
    return task.fresh if isinstance(task, BinaryTask) else None


def rate_column(task: TaskSpec) -> str | None:
    """Returns the column that holds a task's rate of negatives; None if no column does."""
    return task.rate_column if isinstance(task, BinaryTask) else None
