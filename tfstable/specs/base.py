"""What all sections of a config share. Imports no TensorFlow."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

MISSING_INT = -(2**63)  # The smallest int64 marks a null in integer arrays; no id may have this value.

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Widths = tuple[Annotated[int, Field(ge=1)], ...]  # Of dense layers.

# Marks keys that affect the weights only by rounding: a resumed run may change them.
OPERATIONAL: dict[str, Any] = {"operational": True}
# Marks keys that a running model may take: they change neither shapes nor the meaning of its state.
CHANGEABLE: dict[str, Any] = {"changeable": "now"}


class Spec(BaseModel):
    """Base of all config sections. Unknown keys are errors; a spec is immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)
