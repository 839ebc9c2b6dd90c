"""Feature and task specifications: the meaning of the columns of a log.

They are pydantic models, which check themselves, and import no TensorFlow, so that config errors appear quickly.
A null in the log is *missing* here: NaN in a float column, `MISSING_INT` in an integer column, "" in a string column.
"""

from tfstable.specs.base import CHANGEABLE, MISSING_INT, OPERATIONAL, NonNegative, Positive, Spec, Widths
from tfstable.specs.bottom import ActivationName, Bottom, MmoeBottom, PleBottom, SharedBottom
from tfstable.specs.categorical import Categorical, HashFeature, IdFeature, VocabularyFeature
from tfstable.specs.features import (
    CounterFeature,
    Feature,
    NumericFeature,
    QuantileFeature,
    VectorFeature,
    counters,
    living,
)
from tfstable.specs.losses import ListLoss
from tfstable.specs.penalties import (
    MOVING,
    FgmPenalty,
    FloodingPenalty,
    GradientPenalty,
    NoisePenalty,
    Penalty,
    VatPenalty,
    WeightGradientPenalty,
)
from tfstable.specs.products import (
    check_products,
    factors,
    headed,
    implicit_rates,
    is_implicit,
    labelled,
)
from tfstable.specs.tasks import (
    GROUP,
    LATE,
    LOGIT_SUM,
    OFFSET,
    WEIGHT,
    BinaryTask,
    Calibrate,
    FreshLabels,
    RegressionTask,
    Task,
    TaskSpec,
)

__all__ = [
    "CHANGEABLE",
    "GROUP",
    "LATE",
    "LOGIT_SUM",
    "MISSING_INT",
    "MOVING",
    "OFFSET",
    "OPERATIONAL",
    "WEIGHT",
    "ActivationName",
    "BinaryTask",
    "Bottom",
    "Calibrate",
    "Categorical",
    "CounterFeature",
    "Feature",
    "FgmPenalty",
    "FloodingPenalty",
    "FreshLabels",
    "GradientPenalty",
    "HashFeature",
    "IdFeature",
    "ListLoss",
    "MmoeBottom",
    "NoisePenalty",
    "NonNegative",
    "NumericFeature",
    "Penalty",
    "PleBottom",
    "Positive",
    "QuantileFeature",
    "RegressionTask",
    "SharedBottom",
    "Spec",
    "Task",
    "TaskSpec",
    "VatPenalty",
    "VectorFeature",
    "VocabularyFeature",
    "WeightGradientPenalty",
    "Widths",
    "check_products",
    "counters",
    "factors",
    "headed",
    "implicit_rates",
    "is_implicit",
    "labelled",
    "living",
]
