"""JSON as the formats write it."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray


def json_text(value: Any) -> str:
    """A value on a line. Raises ValueError for NaN and infinity."""
    return json.dumps(value, allow_nan=False)


def element(value: dict[str, Any], first: bool) -> bytes:
    """An element of an array, with what stands before it."""
    return ("\n" if first else ",\n").encode() + json_text(value).encode()


def short(value: float) -> float:
    """Without the digits that sums and differences of short decimals end in."""
    return round(value, 9)


def rounded(probabilities: NDArray[np.float64]) -> list[float]:
    """Probabilities as files have them, to six decimals."""
    found: list[float] = np.round(np.asarray(probabilities, np.float64), 6).tolist()
    return found
