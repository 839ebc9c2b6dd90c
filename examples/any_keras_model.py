# %% [markdown]
# # SmeLU, ReZero and Clippy Adagrad in any Keras model
#
# An ordinary functional Keras model, trained twice by `fit` at the same high learning rate: once with ReLU and plain
# Adagrad, once with the layers and the optimizer of tfstable. The first one diverges, the second one learns. Clippy
# keeps each step small against the weights; ReZero starts as the identity; SmeLU has no kink.
#
#     python examples/any_keras_model.py

# %%
import keras
import numpy as np

from tfstable.layers import ReZero, SmeLU
from tfstable.metrics import auc
from tfstable.optimizers import Adagrad, ClippyAdagrad

RATE, WIDTH, DEPTH = 4.0, 64, 6

# %% [markdown]
# ## Made-up data
# The label depends on products of numbers, so a linear model cannot learn it.


# %%
def examples(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns numbers `(rows, 16)` and labels `(rows,)`, 0 or 1."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 16)).astype("float32")
    logit = 2 * x[:, 0] * x[:, 1] + 2 * x[:, 2] * x[:, 3] + x[:, 4]
    return x, (random.random(rows) < 1 / (1 + np.exp(-logit))).astype("float32")


x, y = examples(8192, seed=0)
x_later, y_later = examples(8192, seed=1)

# %% [markdown]
# ## The two models
# Only these lines differ: the activation, the gate around each layer, and the optimizer.


# %%
def plain() -> keras.Model:
    inputs = h = keras.Input((16,))
    h = keras.layers.Dense(WIDTH, activation="relu")(h)
    for _ in range(DEPTH):
        h = keras.layers.Dense(WIDTH, activation="relu")(h)
    model = keras.Model(inputs, keras.layers.Dense(1)(h))
    model.compile(Adagrad(RATE), loss=keras.losses.BinaryCrossentropy(from_logits=True))
    return model


def stable() -> keras.Model:
    inputs = h = keras.Input((16,))
    h = keras.layers.Dense(WIDTH, activation=SmeLU(0.5))(h)
    for _ in range(DEPTH):
        h = ReZero(keras.layers.Dense(WIDTH, activation=SmeLU(0.5)))(h)
    model = keras.Model(inputs, keras.layers.Dense(1)(h))
    model.compile(ClippyAdagrad(RATE), loss=keras.losses.BinaryCrossentropy(from_logits=True))
    return model


# %% [markdown]
# ## Train both
# The loss of a coin is log 2 = 0.693. `auc` is exact, on rows that the model has not seen.

# %%
losses, aucs = {}, {}
for build in (plain, stable):
    keras.utils.set_random_seed(0)
    model = build()
    losses[build.__name__] = model.fit(x, y, batch_size=256, epochs=8, verbose=0).history["loss"]
    aucs[build.__name__] = auc(y_later, model.predict(x_later, verbose=0)[:, 0])
    shown = ", ".join(f"{loss:.3g}" for loss in losses[build.__name__])
    print(f"{build.__name__}: loss per epoch {shown}; AUC {aucs[build.__name__]:.3f}")
