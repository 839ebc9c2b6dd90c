"""Where logs come from: a simulator, public data sets, data frames. Imports no TensorFlow."""

from tfstable.sources.frames import write_log
from tfstable.sources.kuairand import prepare as prepare_kuairand
from tfstable.sources.simulate import simulate

__all__ = ["prepare_kuairand", "simulate", "write_log"]
