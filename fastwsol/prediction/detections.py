"""Predictions as `supervision.Detections`, which its annotators, trackers and counters take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fastwsol.host.errors import UserError
from fastwsol.prediction.predictions import Prediction

if TYPE_CHECKING:
    import supervision


def detections_of(prediction: Prediction, classes: Sequence[str]) -> supervision.Detections:
    """See `Predictor.detections`. classes: wnids in label order."""
    try:
        import supervision
    except ImportError as error:
        raise UserError(
            f"supervision.Detections: needs {error.name}, which is not installed; pip install 'fastwsol[supervision]'"
        ) from None
    boxes = prediction.boxes
    if not boxes:
        return supervision.Detections.empty()
    return supervision.Detections(
        xyxy=np.array([[box.x0, box.y0, box.x1, box.y1] for box in boxes], np.float32),
        mask=np.stack([prediction.mask(box) for box in boxes]),
        confidence=np.array([box.score for box in boxes], np.float32),
        class_id=np.array([classes.index(box.wnid) for box in boxes]),
        data={"class_name": np.array([box.name for box in boxes])},
    )
