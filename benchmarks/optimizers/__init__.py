"""The cost of an optimizer step, and what clipping does to it."""

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"  # for TFRS; must stand before TensorFlow is imported
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
