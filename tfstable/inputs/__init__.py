"""From raw columns to model inputs: statistics, preprocessing, batches.

Nothing is exported from here: `check` takes `tfstable.inputs.statistics` without TensorFlow, and the import of any
module runs this file first.
"""
