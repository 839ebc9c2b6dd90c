"""Where logs come from: a simulator, public data sets, data frames, histories. Imports no TensorFlow."""

from tfstable.sources.frames import write_log
from tfstable.sources.history import History, write_histories
from tfstable.sources.kuairand import prepare as prepare_kuairand
from tfstable.sources.simulate import simulate

__all__ = ["History", "prepare_kuairand", "simulate", "write_histories", "write_log"]
