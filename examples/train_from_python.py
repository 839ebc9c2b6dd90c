# %% [markdown]
# # Train, look, plot and serve from Python
#
# Run the cells one by one in an editor that knows `# %%`, or the whole file: `python examples/train_from_python.py`.
# It takes about half a minute on 2 cores.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from tfstable.serving.export import Serving
from tfstable.sources.frames import write_log
from trainers import Run, load_config

place = Path(tempfile.mkdtemp())

# %% [markdown]
# ## A log from a data frame
# One row per impression: who saw what on which day, and what came of it. Days become partitions.

# %%
random = np.random.default_rng(0)
users, videos = random.normal(0, 1, (300, 2)), random.normal(0, 1, (120, 2))
days = []
for day in pd.date_range("2025-01-01", periods=6):
    user, video = random.integers(0, 300, 6000), random.integers(0, 120, 6000)
    logit = 1.5 * (users[user, 0] + videos[video, 0]) + users[user, 1] * videos[video, 1] - 0.5
    click = random.random(6000) < 1 / (1 + np.exp(-logit))
    seconds = np.where(click, random.lognormal(2.0, 0.5, 6000), 0.0)
    days.append(pd.DataFrame({"date": day, "user": user, "video": video, "click": click * 1, "seconds": seconds}))
write_log(pd.concat(days), place / "log")

# %% [markdown]
# ## Train
# Each day is evaluated before the model trains on it. Nothing is printed; `logging` has what the command line shows.

# %%
config = load_config(
    {
        "data": {"path": place / "log"},
        "features": {
            "user": {"kind": "hash", "buckets": 2000, "dim": 8},
            "video": {"kind": "hash", "buckets": 2000, "dim": 8},
        },
        "tasks": {"click": {"kind": "binary"}, "seconds": {"kind": "regression", "transform": "log1p"}},
        "model": {"units": [64, 64], "activation": "smelu", "cross_depth": 1},
        "trainer": {"window_days": 2, "batch_size": 256, "tensorboard": False},
    }
)
run = Run.open(config, place / "run")
run.train()

# %% [markdown]
# ## Look at the metrics
# One record per window, with the metrics of the day after it.

# %%
evaluated = {day: tasks for record in run.windows() for day, tasks in record.evaluations.items()}
table = pd.DataFrame({day: tasks["click"] for day, tasks in evaluated.items()}).T
print(table[["auc", "auc_se", "logloss", "calibration"]].astype(float).round(4))

# %%
figure, axes = plt.subplots(figsize=(6, 3))
axes.errorbar(range(len(table)), table["auc"].astype(float), yerr=2 * table["auc_se"].astype(float), marker="o")
axes.set_xticks(range(len(table)), [f"{day:%m-%d}" for day in table.index])
axes.set_ylabel("AUC of click, ± 2 standard errors")
figure.tight_layout()
figure.savefig(place / "auc.png")

# %% [markdown]
# ## A new day
# Add its rows and train again: the run resumes, evaluates the day, and trains on it.

# %%
more = pd.DataFrame({"date": "2025-01-07", "user": user, "video": video, "click": click * 1, "seconds": seconds})
write_log(more, place / "log")
run.train()
newest = run.windows()[-2]  # The last window has no day after it yet.
print({str(day): tasks["click"]["auc"] for day, tasks in newest.evaluations.items()})

# %% [markdown]
# ## Serve in this process
# An export takes raw columns by name and returns each task's prediction by name, as TensorFlow Serving does.

# %%
version = run.export()
serving = Serving(version)
scores = serving({"user": np.array([7, 7, 7]), "video": np.array([1, 2, 3])})
print({task: np.round(values, 3) for task, values in scores.items()})
