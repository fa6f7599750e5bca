"""Weakly supervised object localization, fast and honest: class labels in, boxes out."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from fastwsol.host.errors import RunFailure, UserError

if TYPE_CHECKING:
    import torch

    from fastwsol.evaluation.thresholds import Cut
    from fastwsol.formats.labelled_images import Skipped
    from fastwsol.host.device import Precision
    from fastwsol.localizer.localizers import LocalizerName
    from fastwsol.prediction.predictions import ClassScore, Prediction, Request, ScoredBox
    from fastwsol.prediction.predictor import Predictor
    from fastwsol.prediction.user_images import find_images

__version__ = "0.1.0"
__all__ = [
    "ClassScore",
    "Cut",
    "Prediction",
    "Predictor",
    "Request",
    "RunFailure",
    "ScoredBox",
    "Skipped",
    "UserError",
    "find_images",
    "load",
]

_LAZY = {
    "ClassScore": "fastwsol.prediction.predictions",
    "Cut": "fastwsol.evaluation.thresholds",
    "Prediction": "fastwsol.prediction.predictions",
    "Predictor": "fastwsol.prediction.predictor",
    "Request": "fastwsol.prediction.predictions",
    "ScoredBox": "fastwsol.prediction.predictions",
    "Skipped": "fastwsol.formats.labelled_images",
    "find_images": "fastwsol.prediction.user_images",
}
"""The modules of public names that are imported once they are asked for."""


def load(
    run: str | Path,
    device: str | torch.device = "auto",
    *,
    threads: int = 0,
    precision: Precision = "auto",
    localizer: LocalizerName | None = None,
) -> Predictor:
    """The network of a run's newest checkpoint, ready for `predict(images)`.

    run: its folder; device: auto, cpu, cuda or cuda:N; threads: 0 takes all cores; precision: bf16, fp16, fp32, or
    auto, which is the one that the run was trained in where the device has it; localizer: what makes the maps, by
    default the mask where one was trained, else cam. Raises `UserError` where the folder is no run, has no checkpoint
    yet or lacks the localizer, where there is no such device, where threads or precision have an impossible value, and
    where the process was forked from one that has threads of torch.
    """
    from fastwsol.prediction.predictor import Predictor  # here: torch takes seconds to import

    folder = Path(run).expanduser()
    return Predictor.of_run(folder, str(device), precision=precision, threads=threads, localizer=localizer)


def __dir__() -> list[str]:
    """What is here, and the public names that are not imported yet."""
    return sorted({*globals(), *__all__})


if not TYPE_CHECKING:  # which would take any name for one of ours

    def __getattr__(name: str) -> object:
        """The other public names, imported once they are asked for: torch takes seconds to import."""
        if name in _LAZY:
            return getattr(importlib.import_module(_LAZY[name]), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
