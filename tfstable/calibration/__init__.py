"""Calibration of a trained model: monotone maps of its logits, fitted to the days that it had not seen."""

from tfstable.calibration.fit import fit
from tfstable.calibration.histogram import Histogram
from tfstable.calibration.knots import MOST, Knots

__all__ = ["MOST", "Histogram", "Knots", "fit"]
