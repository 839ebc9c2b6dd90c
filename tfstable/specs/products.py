"""Tasks whose probability is the product of others', and tasks without a label."""

from collections.abc import Mapping

from tfstable.specs.tasks import BinaryTask, TaskSpec


def is_implicit(task: TaskSpec) -> bool:
    """Returns whether no column holds the task's label."""
    return isinstance(task, BinaryTask) and task.implicit


def factors(task: TaskSpec) -> tuple[str, ...]:
    """Returns the tasks whose probabilities make up this task's; empty for a task with a head of its own."""
    return task.product_of if isinstance(task, BinaryTask) else ()


def labelled(tasks: Mapping[str, TaskSpec]) -> list[str]:
    """Returns the names of the tasks with a label."""
    return [name for name, task in tasks.items() if not is_implicit(task)]


def headed(tasks: Mapping[str, TaskSpec]) -> list[str]:
    """Returns the names of the tasks with a head of their own."""
    return [name for name, task in tasks.items() if not factors(task)]


def check_products(tasks: Mapping[str, TaskSpec]) -> None:
    """Checks that products are of binary tasks with heads, and that every task is learned from some label.

    Raises:
        ValueError: If one is not.
    """
    learned = {name for task in tasks.values() for name in factors(task)}
    for name, task in tasks.items():
        of = factors(task)
        for factor in of:
            key = f"tasks.{name}.product_of"
            if factor not in tasks:
                raise ValueError(f"{key}: there is no task {factor}; the tasks are {', '.join(tasks)}")
            if not isinstance(tasks[factor], BinaryTask):
                raise ValueError(f"{key}: {factor} is a regression; only probabilities multiply: name binary tasks")
            if factors(tasks[factor]):
                which = "the task itself" if factor == name else "itself a product"
                raise ValueError(f"{key}: {factor} is {which}; name tasks with heads of their own")
    for name, task in tasks.items():
        if is_implicit(task) and name not in learned:
            raise ValueError(f"tasks.{name}: implicit, but no task's product_of names it, so nothing trains it")


def implicit_rates(tasks: Mapping[str, TaskSpec], rates: Mapping[str, float]) -> dict[str, float]:
    """Returns base rates of the tasks without labels, such that the products of base rates are as observed.

    Several of them in one product share the rate that is left in equal parts.

    Args:
        tasks: Task specs by name.
        rates: Base rates of the tasks with labels.
    """
    found = {n: t.base_rate for n, t in tasks.items() if isinstance(t, BinaryTask) and t.implicit and t.base_rate}
    for name, task in tasks.items():
        implicit = [factor for factor in factors(task) if factor not in rates]
        if not implicit:
            continue
        rest = rates[name]
        for factor in factors(task):
            rest /= rates.get(factor, 1.0)
        for factor in implicit:
            found.setdefault(factor, min(rest, 0.95) ** (1 / len(implicit)))
    return found
