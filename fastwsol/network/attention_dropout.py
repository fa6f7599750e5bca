"""Attention-based dropout (ADL, Choe and Shim 2019): training hides or stresses what features are strongest at.

A network whose strongest part is sometimes hidden has to find the rest of the object too. Nothing is added to it that
is trained, and nothing is done to it in evaluations.
"""

import torch
from torch import Tensor

PLACES = 3
"""Where features are hidden: behind each of the last three groups."""

STRONGEST = 0.9
"""Cells whose attention is above this share of the map's largest are hidden, as in its paper."""


def without_strongest(features_NCHW: Tensor, dropped_N: Tensor) -> Tensor:
    """Features behind a ReLU, with their strongest cells at 0 where `dropped_N` (bool) is true, and else each cell
    times the sigmoid of its attention, which is the mean over channels.

    Its paper draws once for a batch; here each view has a draw of its own, as for all that is drawn.
    """
    attention = features_NCHW.mean(dim=1, keepdim=True)
    kept = (attention <= STRONGEST * attention.amax(dim=(2, 3), keepdim=True)).to(features_NCHW.dtype)
    return features_NCHW * torch.where(dropped_N[:, None, None, None], kept, attention.sigmoid())
