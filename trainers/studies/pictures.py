"""How pictures are begun and ended."""

from pathlib import Path

from tfstable.files import whole


def figure_of(rows: int, columns: int, **share: str):
    """Returns a figure and its axes, `(rows, columns)`."""
    import matplotlib  # Only who draws pays for it.

    matplotlib.use("Agg")
    from matplotlib import pyplot

    size = (3.6 * columns + 1.5, 2.4 * rows + 0.8)
    return pyplot.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained", **share)


def save(figure, path: Path, dpi: int = 110):
    """Writes a figure whole, and forgets it."""
    from matplotlib import pyplot

    try:
        with whole(path) as hidden:
            figure.savefig(hidden, dpi=dpi, format=path.suffix[1:])
    finally:
        pyplot.close(figure)
