"""The sizes of the DIN that both sides train, and its batches."""

import numpy as np

LENGTH, DIM, ROWS, UNITS = 50, 16, (100_000, 10_000), (200, 80)  # The bottom as published.
BATCHES = 4  # Distinct batches; sides go round them.


def batches(batch: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Returns candidates `(batch, 2)` int32, histories `(batch, LENGTH, 2)` int32 padded with -1, and labels.

    Ids are spread as in logs: the frequent ones make up most events. Half of the positions are padding on average.
    """
    rng = np.random.default_rng(0)
    found = []
    for _ in range(BATCHES):
        ids = [np.minimum(rng.zipf(1.3, (batch, LENGTH + 1)), rows - 1) for rows in ROWS]
        ids = np.stack(ids, axis=2).astype(np.int32)
        present = np.arange(LENGTH) < rng.integers(0, LENGTH + 1, batch)[:, None]
        history = np.where(present[..., None], ids[:, 1:], -1)
        found.append((ids[:, 0], history, (rng.random(batch) < 0.5).astype(np.float32)))
    return found
