"""Gradient-boosted trees on KuaiRand: on raw columns, and with counts of ten keys over all earlier days."""

from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

TASKS = ("is_click", "long_view", "is_like", "is_profile_enter")
KEYS = (
    ["user_id"],
    ["video_id"],
    ["author_id"],
    ["music_id"],
    ["tag"],
    ["user_id", "tab"],
    ["user_id", "author_id"],
    ["user_id", "tag"],
    ["hour", "tab"],
    ["video_id", "tab"],
)
SMOOTHING = 20  # Rows of the base rate that are added to each key.
FROM_DAY = 2  # Training begins on the third day: before, the counts hold too little.


def read_log(log: Path) -> pd.DataFrame:
    """Returns all rows of a log, in order, with the column `date`."""
    days = sorted(log.glob("date=*"))
    parts = [pd.concat([pq.ParquetFile(file).read().to_pandas() for file in sorted(d.glob("*.parquet"))]) for d in days]
    return pd.concat([part.assign(date=d.name.removeprefix("date=")) for part, d in zip(parts, days, strict=True)])


def raw_columns(rows: pd.DataFrame, columns: list[str]) -> np.ndarray:
    """Returns columns as numbers, `(rows, columns)`; text as the number of its value in alphabetical order."""
    numbers = [
        rows[name] if pd.api.types.is_numeric_dtype(rows[name]) else pd.Categorical(rows[name]).codes
        for name in columns
    ]
    return np.column_stack([np.asarray(column, np.float64) for column in numbers])


def counts(rows: pd.DataFrame) -> np.ndarray:
    """Returns, of each key, its rows and the smoothed rate of each label over all days before the row's own."""
    number_of_day = pd.Categorical(rows["date"]).codes
    outcomes = np.column_stack([np.ones(len(rows)), *(rows[task] for task in TASKS)])  # (rows, 1 + tasks)
    columns = []
    for key in KEYS:
        values = rows.groupby(key, dropna=False, sort=False).ngroup().to_numpy()
        sums = np.zeros((values.max() + 1, outcomes.shape[1]))
        seen = np.zeros((len(rows), outcomes.shape[1]))
        for day in range(number_of_day.max() + 1):
            today = number_of_day == day
            base = (sums[:, 1:].sum(axis=0) + 0.5) / (sums[:, 0].sum() + 1)
            before = sums[values[today]]
            rates = (before[:, 1:] + SMOOTHING * base) / (before[:, :1] + SMOOTHING)
            seen[today] = np.column_stack([before[:, 0], rates])
            np.add.at(sums, values[today], outcomes[today])
        columns.append(seen)
    return np.concatenate(columns, axis=1)


def scores(rows: pd.DataFrame, inputs: np.ndarray, day: str, task: str) -> np.ndarray:
    """Returns the trees' probabilities for the rows of `day`, trained from the third day to the day before it."""
    first = sorted(rows["date"].unique())[FROM_DAY]
    training = ((rows["date"] >= first) & (rows["date"] < day)).to_numpy()
    trees = lightgbm.LGBMClassifier(
        n_estimators=300,
        learning_rate=0.05,
        num_leaves=63,
        min_child_samples=50,
        subsample=0.8,
        subsample_freq=1,
        colsample_bytree=0.6,
        n_jobs=2,
        verbose=-1,
    )
    trees.fit(inputs[training], rows[task][training])
    return trees.predict_proba(inputs[(rows["date"] == day).to_numpy()])[:, 1]
