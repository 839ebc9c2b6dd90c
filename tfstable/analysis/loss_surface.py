"""The loss on a plane in weight space, and its local minima."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf


def filter_normalised_direction(variables: Sequence[keras.Variable | tf.Variable], seed: int = 0) -> list[np.ndarray]:
    """Returns a random direction in weight space, scaled like the weights.

        d_j <- d_j ||w_j|| / ||d_j||,    d_j from a standard normal distribution, per filter j

    A filter is what feeds one output: a slice of the last axis of a kernel. A step along the direction then changes
    networks of different scales alike, although a ReLU network computes the same with its first layer doubled and its
    second halved. Vectors and scalars, such as biases and gates, are not moved, as in the source.

    Args:
        variables: The weights w.
        seed: Seed of the draw.

    Returns:
        One array per variable, of its shape and dtype.

    Reference:
        Li et al., "Visualizing the Loss Landscape of Neural Nets", 2018.
    """
    rng, direction = np.random.default_rng(seed), []
    for variable in variables:
        w = np.asarray(_value(variable))
        d = rng.normal(size=w.shape)  # Drawn for vectors too: what one direction is does not hang on biases.
        if w.ndim < 2:
            d = np.zeros_like(d)
        else:
            inner = tuple(range(w.ndim - 1))
            d *= np.linalg.norm(w.reshape(-1, w.shape[-1]), axis=0) / np.sqrt(np.square(d).sum(axis=inner))
        direction.append(d.astype(w.dtype))
    return direction


def loss_surface(
    loss: Callable[[], tf.Tensor],
    variables: Sequence[keras.Variable | tf.Variable],
    directions: tuple[Sequence[np.ndarray], Sequence[np.ndarray]],
    steps: Sequence[float] | np.ndarray,
) -> np.ndarray:
    """Evaluates a loss on a grid in the plane of two directions through the variables' values.

        surface[i, j] = loss(w + steps[i] d_1 + steps[j] d_2)

    The variables have their values again afterwards, bit for bit, also after an error. They may be weights or a
    variable that the loss takes as its input.

    Args:
        loss: Computes the scalar loss from the variables' current values. It is traced into a `tf.function` once.
        variables: The variables w, in one replica. The loss must not depend on state that it changes itself, such as
            dropout or moving averages.
        directions: d_1 and d_2: one array per variable each, of its shape.
        steps: Coordinates of the grid, in units of the directions, ascending.

    Returns:
        `(len(steps), len(steps))` float64.

    Raises:
        ValueError: If a direction has not one array of the right shape per variable, or `steps` does not ascend.

    Reference:
        Li et al., "Visualizing the Loss Landscape of Neural Nets", 2018.
    """
    steps, shapes = np.asarray(steps, float), [tuple(v.shape) for v in variables]
    if steps.ndim != 1 or not len(steps) or (np.diff(steps) <= 0).any():
        raise ValueError(f"steps must be ascending numbers, got {steps}")
    for name, direction in zip(("first", "second"), directions, strict=True):
        if [np.shape(d) for d in direction] != shapes:
            raise ValueError(f"the {name} direction must have one array per variable, of its shape {shapes}")
    values = [_value(v) for v in variables]
    start = [tf.identity(v) for v in values]
    one, other = ([tf.constant(d, s.dtype) for d, s in zip(d, start, strict=True)] for d in directions)

    def at(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        for v, w, d, e in zip(values, start, one, other, strict=True):
            v.assign(w + tf.cast(a, w.dtype) * d + tf.cast(b, w.dtype) * e)
        return tf.cast(loss(), tf.float64)

    @tf.function(autograph=False)
    def row(a: tf.Tensor) -> tf.Tensor:
        # In the graph, a point costs a third; one after the other, because all points share the variables.
        return tf.map_fn(lambda b: at(a, b), tf.constant(steps), parallel_iterations=1)

    try:
        grid = [row(tf.constant(a)).numpy() for a in steps]
    finally:
        for v, w in zip(values, start, strict=True):
            v.assign(w)
    return np.array(grid)


def local_minima(surface: np.ndarray, depth: float = 0.0) -> np.ndarray:
    """Returns the local minima of a surface on a grid that are deep enough.

    A minimum's depth is the height of the lowest pass from it to a lower one, over the minimum, where a point has eight
    neighbours; the lowest minimum's depth has no bound. Points of equal height that touch are one minimum. A minimum
    that touches the border is none, because the surface may fall on beyond it.

    Args:
        surface: `(rows, columns)` finite floats.
        depth: The least depth that counts, in the units of the surface: above the rounding of the loss. At least 0; a
            minimum of depth 0 never counts.

    Returns:
        `(minima, 2)` indices of rows and columns, the lowest minimum first.

    Raises:
        ValueError: If the surface is not finite, or `depth` is negative.

    Examples:
        Two valleys with a pass of 2 between them, in the middle row:

        >>> import numpy as np
        >>> from tfstable.analysis import local_minima
        >>> surface = np.full((3, 5), 9.0)
        >>> surface[1, 1:4] = [0.0, 2.0, 1.0]
        >>> local_minima(surface).tolist()
        [[1, 1], [1, 3]]
        >>> local_minima(surface, depth=1.5).tolist()
        [[1, 1]]
    """
    if not np.isfinite(surface).all() or not depth >= 0:
        raise ValueError(f"the surface must be finite and depth at least 0, got {depth=}")
    rows, columns = surface.shape
    heights = surface.ravel()
    parent = np.full(heights.size, -1)  # -1: not flooded yet.
    at_border = np.zeros(heights.size, bool)  # Of a pool: its floor is.

    def root(point: int) -> int:
        while parent[point] != point:
            parent[point] = parent[parent[point]]
            point = parent[point]
        return point

    # Water rises: a point joins the pools that it touches, and a pool that meets one of a lower bottom ends there.
    found = []
    for point in np.argsort(heights, kind="stable"):
        i, j = divmod(point, columns)
        around = [
            k * columns + m
            for k in range(max(i - 1, 0), min(i + 2, rows))
            for m in range(max(j - 1, 0), min(j + 2, columns))
        ]
        parent[point], at_border[point] = point, not (0 < i < rows - 1 and 0 < j < columns - 1)
        pools = sorted({root(p) for p in around if parent[p] >= 0} - {point}, key=lambda p: (heights[p], p))
        for lowest, pool in zip(pools[:1] * len(pools), pools, strict=True):
            if pool != lowest and heights[point] > heights[pool] and heights[point] - heights[pool] >= depth:
                found.append(pool)
            parent[pool] = lowest
        if pools:
            parent[point] = pools[0]
            at_border[pools[0]] |= at_border[[p for p in (point, *pools) if heights[p] == heights[pools[0]]]].any()
    found.append(root(0))  # The lowest point of all.
    found = [p for p in found if not at_border[p]]
    return np.array([divmod(p, columns) for p in sorted(found, key=lambda p: (heights[p], p))], int).reshape(-1, 2)


def _value(variable: keras.Variable | tf.Variable) -> tf.Variable:
    return variable.value if isinstance(variable, keras.Variable) else variable
