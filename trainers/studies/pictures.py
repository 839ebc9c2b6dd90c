"""Begins and saves pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from tfstable.files import whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Share = Literal["none", "row", "col"]  # Which axes have a scale in common.


def figure_of(rows: int, columns: int, sharex: Share = "none", sharey: Share = "none") -> tuple["Figure", np.ndarray]:
    """Returns a figure and its axes, `(rows, columns)`."""
    import matplotlib  # Here, so that only drawing pays for it.

    matplotlib.use("Agg")
    from matplotlib import pyplot

    size = (3.6 * columns + 1.5, 2.4 * rows + 0.8)
    return pyplot.subplots(
        rows, columns, sharex=sharex, sharey=sharey, squeeze=False, figsize=size, layout="constrained"
    )


def save(figure: "Figure", path: Path, dpi: int = 110) -> None:
    """Writes a figure atomically and closes it."""
    from matplotlib import pyplot

    try:
        with whole(path) as hidden:
            figure.savefig(hidden, dpi=dpi, format=path.suffix[1:])
    finally:
        pyplot.close(figure)
