"""`tfstable check`."""

from typing import Annotated

import typer

from tfstable.errors import InputError
from trainers.cli.options import ConfigFile, InitFrom, Overrides, RecipeName, Rename, read_config, with_source
from trainers.cli.screen import console, progress_bar, quiet_tensorflow
from trainers.config import Config, ModelConfig


def check(
    config: ConfigFile = None,
    recipe: RecipeName = None,
    overrides: Overrides = [],  # noqa: B006
    init_from: InitFrom = None,
    rename: Rename = [],  # noqa: B006
    deep: Annotated[bool, typer.Option("--deep", help="Read the labels and values of every day as well.")] = False,
) -> None:
    """Find errors before training: wrong keys, missing columns and days; print the sizes of tables and memory.

    --deep also reads the rows and reports what `train` would refuse or warn about: labels, weights, infinite numbers,
    features without a value in the first window.

    With --init-from it fits the first window, and shows what the new model takes over and by how much predictions move.
    """
    settings = read_config(config, recipe, with_source(overrides, init_from, rename), Config)
    from trainers.training.check import check_inputs, check_log, check_values, open_log, sizes
    from trainers.training.groups import groups_line

    if settings.init is not None:
        from trainers.training.init_config import begin_after_source

        settings = begin_after_source(settings, strict=False)
    with progress_bar() as progress:
        log = open_log(settings, progress)
    columns = check_log(settings, log)
    check_inputs(settings, columns)
    if settings.model.model_class != ModelConfig().model_class or settings.model.options:
        quiet_tensorflow()
        from trainers.build.model import model_class

        model_class(settings)
    for line in sizes(settings, log, columns):
        console.print(line, soft_wrap=isinstance(line, str))
    if settings.trainer.shuffle.by is not None:
        console.print(groups_line(settings, log), soft_wrap=True)
    if settings.init is not None:
        quiet_tensorflow()
        from trainers.training.inheritance import preview

        console.print(*preview(settings, log, columns), sep="\n", soft_wrap=True)
    if not deep:
        console.print("config, columns and days fit together; labels and values were not read: use --deep to read them")
        return
    with progress_bar() as progress:
        remarks, refused = check_values(settings, log, columns, progress)
    for remark in remarks:
        console.print(remark, soft_wrap=True, highlight=False, markup=False)
    if refused:
        raise InputError("\n".join(refused))
    console.print("config, columns, days, labels and values fit together")
