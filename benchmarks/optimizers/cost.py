"""The time and memory of an optimizer step: by the height of tables, beside peers, with averages, on dense weights."""

from pathlib import Path

import keras
import tensorflow as tf
import tf_keras
from tensorflow_recommenders.experimental.optimizers import ClippyAdagrad as ClippyAdagradOfTFRS

from benchmarks.optimizers.steps import (
    WIDTH,
    Unguarded,
    dense_step,
    dense_update,
    embedding_step,
    make_table,
    some_ids,
    table_update,
)
from benchmarks.optimizers.turns import measure, milliseconds, ratio
from tfstable.optimizers import Adagrad, ClippyAdagrad, Composite, Ema, Group


def by_height():
    """A step must not depend on the height of the table; the update alone stands beside it."""
    sides = {}
    for height in (10**4, 10**5, 10**6, 10**7):
        sides[f"step_{height}"] = embedding_step([make_table(height)], ClippyAdagrad(0.1), some_ids(height))
        sides[f"update_{height}"] = table_update(make_table(height), height)
    seconds = measure(sides, turns=15, steps=10)
    return {
        "milliseconds": milliseconds(seconds),
        "step_1e7_v_1e4": ratio(seconds, "step_10000000", "step_10000"),
        "update_1e7_v_1e4": ratio(seconds, "update_10000000", "update_10000"),
    }


def averaging():
    """The price of an average of the weights in a whole step, and that it does not depend on the table's height."""
    sides = {}
    for units in ((64,), (256, 256)):
        for height in (10**4, 10**6, 10**7):
            for name, average in (("raw", None), ("ema", Ema(1000))):
                optimizer = Composite([Group("", ClippyAdagrad(0.1))], averaging=average)
                step = embedding_step([make_table(height)], optimizer, some_ids(height), units)
                sides[f"{name}_{height}_{len(units)}x{units[0]}"] = step
    seconds = measure(sides, turns=31, steps=5)
    pairs = [("ema_1000000_2x256", "raw_1000000_2x256"), ("ema_10000000_2x256", "ema_10000_2x256")]
    pairs += [("raw_10000000_2x256", "raw_10000_2x256"), ("ema_1000000_1x64", "raw_1000000_1x64")]
    return {"milliseconds": milliseconds(seconds)} | {f"{a}_v_{b}": ratio(seconds, a, b) for a, b in pairs}


def by_peer():
    """Ours and the peers' on 8 tables of a million rows: the same step, only the optimizer differs."""
    height, ids = 10**6, some_ids(10**6, tables=8)

    def tables():
        return [tf.Variable(tf.random.stateless_uniform([height, WIDTH], [i, 2], -0.05, 0.05)) for i in range(8)]

    sides = {
        "adagrad": embedding_step(tables(), Adagrad(0.01), ids),
        "clippy_adagrad": embedding_step(tables(), ClippyAdagrad(0.1), ids),
        "clippy_adagrad_unguarded": embedding_step(tables(), Unguarded(0.1), ids),
        "keras_3_adagrad": embedding_step(tables(), keras.optimizers.Adagrad(0.01), ids),
        "keras_2_adagrad": embedding_step(tables(), tf_keras.optimizers.Adagrad(0.01), ids),
        "tfrs_clippy_adagrad": embedding_step(tables(), ClippyAdagradOfTFRS(0.1), ids),
    }
    seconds = measure(sides, turns=15, steps=3)
    return {
        "milliseconds": milliseconds(seconds),
        "keras_3_v_ours": ratio(seconds, "keras_3_adagrad", "adagrad"),
        "keras_2_v_ours": ratio(seconds, "keras_2_adagrad", "adagrad"),
        "tfrs_v_ours": ratio(seconds, "tfrs_clippy_adagrad", "clippy_adagrad"),
        "guard_v_none": ratio(seconds, "clippy_adagrad", "clippy_adagrad_unguarded"),
    }


def dense():
    """The price of Clippy, and of the finite flag, on 4 layers of 2048 and a batch of 1024."""
    sides = {
        "adagrad": dense_step(Adagrad(0.01)),
        "clippy_adagrad": dense_step(ClippyAdagrad(0.1)),
        "update": dense_update(ClippyAdagrad(0.1)),
        "update_unguarded": dense_update(Unguarded(0.1)),
    }
    seconds = measure(sides, turns=21, steps=1)
    # The guard is a few milliseconds of a step of a second, less than whole steps vary: take it from updates alone.
    guard = min(seconds["update"]) - min(seconds["update_unguarded"])
    return {
        "milliseconds": milliseconds(seconds),
        "clippy_v_none": ratio(seconds, "clippy_adagrad", "adagrad"),
        "guard_share_of_step": round(guard / min(seconds["clippy_adagrad"]), 4),
    }


def memory():
    """The most memory beyond what was resident before the steps, for a table of 10^7 rows (640 MB)."""
    height = 10**7
    run = embedding_step([make_table(height)], ClippyAdagrad(0.1), some_ids(height))
    run(), run()
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    for _ in range(20):
        run()
    return {"table_mb": height * WIDTH * 4 / 1e6, "peak_above_resident_mb": round(resident("VmHWM") - before, 1)}


def resident(field):
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1e3
