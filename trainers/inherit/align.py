"""Which layer of one stack is which of another."""

from collections.abc import Sequence

_Way = tuple[tuple[int, int], list[int | None]]  # See `align`: its costs and its pairs.


def align(new: Sequence[tuple[int, bool]], old: Sequence[tuple[int, bool]]) -> list[int | None] | None:
    """Returns the layer there of each layer here, None for a new one that starts as the identity.

    Layers of one kind can be paired, in order; ReZero layers may join or go. Of several ways the one with the fewest
    ReZero layers that go is taken, then the one with the fewest changed widths, then the one that pairs early layers.

    Args:
        new, old: (width, whether it is a ReZero layer) of each layer.

    Returns:
        None if some plain layer has no counterpart.

    Examples:
        >>> align([(16, False), (16, True), (16, True)], [(16, False), (16, True)])
        [0, 1, None]
    """
    best: dict[tuple[int, int], _Way | None] = {}

    def of(i: int, j: int) -> _Way | None:
        """The best way to pair new[i:] with old[j:], and its cost."""
        if (i, j) in best:
            return best[i, j]
        ways: list[_Way] = []
        if i == len(new) and j == len(old):
            ways.append(((0, 0), []))
        if i < len(new) and j < len(old) and new[i][1] == old[j][1] and (rest := of(i + 1, j + 1)):
            (gone, widths), pairs = rest
            ways.append(((gone, widths + (new[i][0] != old[j][0])), [j, *pairs]))
        if i < len(new) and new[i][1] and (rest := of(i + 1, j)):
            ways.append((rest[0], [None, *rest[1]]))
        if j < len(old) and old[j][1] and (rest := of(i, j + 1)):
            (gone, widths), pairs = rest
            ways.append(((gone + 1, widths), pairs))
        best[i, j] = min(ways, key=lambda way: way[0], default=None)
        return best[i, j]

    found = of(0, 0)
    return None if found is None else found[1]
