"""The frozen part of a network on images: the features that the trained part starts from.

Images pass through it in chunks of one fixed size, the last one padded, and features are rounded to bfloat16. So an
image's features are the same bits whether they are computed in a step or were kept, whatever the batch is.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fastwsol.config import TrainPart
from fastwsol.host.device import Autocast
from fastwsol.host.kept_arrays import KeptArray
from fastwsol.network.classifier import Classifier

AT_ONCE = {"cpu": 8, "cuda": 64}
"""Images that go through the network together, by device."""
STORED = torch.bfloat16


@dataclass(frozen=True)
class FrozenNetwork:
    """The frozen part of a network, and what it computes with."""

    model: Classifier
    part: TrainPart
    autocast: Autocast
    name: str
    """Of the network, with its options."""
    from_trunk: bool = False
    """True: the classifier's input is computed from the bfloat16 features before the tail, and not from images. The
    configuration alone decides it, never whether features can be kept, so that bits do not depend on free space."""
    before_tail: KeptArray | None = None
    """The features before the tail, of the same views, where they are kept."""

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """What stands before the part that is trained, of images: bfloat16, as `frozen_features` gives it."""
        if not self.from_trunk:
            return frozen_features(self.model, images, self.part, self.autocast)
        return pooled_of_trunk(self.model, frozen_features(self.model, images, "tail", self.autocast), self.autocast)


@torch.no_grad()
def frozen_features(model: Classifier, images: Tensor, part: TrainPart, autocast: Autocast) -> Tensor:
    """What the trained `part` of `model`, no whole one, starts from, in bfloat16: [N, c, h, w], or [N, tokens, c] of a
    ViT's tail. It is contiguous, as what is kept is: convolutions of another layout round otherwise.
    """
    assert part != "all"
    before = model.trunk if part == "tail" else model.pooled_features
    with autocast():
        parts = [before(each).to(STORED)[:count] for each, count in _in_parts(images)]
    return torch.cat(parts).contiguous()


@torch.no_grad()
def pooled_of_trunk(model: Classifier, trunk_features: Tensor, autocast: Autocast) -> Tensor:
    """The pooled features, in bfloat16 [N, C, 1, 1], of the features before the tail."""
    with autocast():
        parts = [model.pooled_of_trunk(each).to(STORED)[:count] for each, count in _in_parts(trunk_features.float())]
    return torch.cat(parts).contiguous()


def _in_parts(images: Tensor) -> Iterator[tuple[Tensor, int]]:
    """As many images at a time as `AT_ONCE` says, and how many of them are meant: the last ones are repeated."""
    size = AT_ONCE[images.device.type]
    for first in range(0, len(images), size):
        part = images[first : first + size]
        count = len(part)
        if count < size:
            part = torch.cat([part, part[-1:].expand(size - count, *[-1] * (part.ndim - 1))])
        layout = torch.channels_last if part.ndim == 4 else torch.contiguous_format  # a ViT's tokens are [N, T, c]
        yield part.contiguous(memory_format=layout), count
