"""`tfstable check`."""

from typing import Annotated

import typer

from tfstable.errors import InputError
from trainers.cli.options import ConfigFile, Overrides, RecipeName, read_config
from trainers.cli.screen import console, progress_bar, quiet_tensorflow
from trainers.config import Config, ModelConfig


def check(
    config: ConfigFile = None,
    recipe: RecipeName = None,
    overrides: Overrides = [],  # noqa: B006
    deep: Annotated[bool, typer.Option("--deep", help="Read the labels and values of every day as well.")] = False,
) -> None:
    """Find errors before training: wrong keys, missing columns and days; print the sizes of tables and memory.

    --deep also reads the rows and reports what `train` would refuse or warn about: labels, weights, infinite numbers,
    features without a value in the first window.
    """
    settings = read_config(config, recipe, overrides, Config)
    from trainers.training.check import check_inputs, check_log, check_values, open_log, sizes

    with progress_bar() as progress:
        log = open_log(settings, progress)
    columns = check_log(settings, log)
    check_inputs(settings, columns)
    if settings.model.model_class != ModelConfig().model_class or settings.model.options:
        quiet_tensorflow()
        from trainers.build.model import model_class

        model_class(settings)
    console.print(*sizes(settings, log, columns), sep="\n")
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
