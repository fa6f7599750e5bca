"""Which views a network's attention is dropped of, on their way from the draws through the batches to the loss."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastwsol.batches.drawn_ahead import DrawnAhead
from fastwsol.batches.stream import Batch, Batches, Inputs, Stream
from fastwsol.draws import draw_drops
from fastwsol.network.attention_dropout import PLACES


class BatchesWithDrops(Batches):
    """The batches of `stream` from step `start` on, with what is drawn for attention dropout at `rate` behind the
    labels: float32 [B, 1 + PLACES], or of mixed images [B, classes + PLACES].
    """

    def __init__(self, batches: Batches, stream: Stream, rate: float, device: torch.device, start: int) -> None:
        def draw(ids: NDArray[np.int64], epochs: NDArray[np.int64]) -> tuple[NDArray[np.generic], ...]:
            return (draw_drops(rate, PLACES, stream.seed, ids, epochs),)

        self._batches, self._drawn = batches, DrawnAhead(draw, stream, device, start)

    def __next__(self) -> Batch:
        batch = next(self._batches)
        return Batch(batch.images, _joined(batch.labels, *next(self._drawn)), batch.ids)

    def take(self) -> Inputs:
        (drops,) = next(self._drawn)
        return self._batches.take() | {"drops": drops}

    def show(self, taken: Inputs) -> tuple[Tensor, Tensor]:
        images, labels = self._batches.show({name: each for name, each in taken.items() if name != "drops"})
        return images, _joined(labels, taken["drops"])


def _joined(labels: Tensor, drops: Tensor) -> Tensor:
    return torch.cat([labels.reshape(len(labels), -1).float(), drops.float()], dim=1)


def labels_and_drops(joined: Tensor) -> tuple[Tensor, Tensor]:
    """What `BatchesWithDrops` gives for labels, apart again: labels as they were, and the drops, bool [B, PLACES]."""
    labels, drops = joined[:, :-PLACES], joined[:, -PLACES:] > 0
    return labels[:, 0].long() if labels.shape[1] == 1 else labels, drops
