"""Images mixed in pairs, and their labels with them: CutMix and mixup, behind whatever makes the batches.

Rows 2k and 2k + 1 of a batch are a pair; each takes its part of the other as that was shown. What is taken is drawn for
each image, so batches are the same at any number of processes, threads and starts.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastwsol.batches.drawn_ahead import DrawnAhead
from fastwsol.batches.stream import Batch, Batches, Inputs, Stream
from fastwsol.draws import draw_mixes


class MixedBatches(Batches):
    """The batches of `stream` from step `start` on, mixed. batches: the same ones, not mixed; classes: of the set.

    Labels are the shares of the classes, float32 [B, classes], in place of numbers. Nothing waits for the device.
    """

    def __init__(self, batches: Batches, stream: Stream, classes: int, device: torch.device, start: int = 0) -> None:
        assert stream.batch_size % 2 == 0
        augmentation, seed = stream.augmentation, stream.seed
        self._batches, self._mix, self._classes = batches, augmentation.mix, classes

        def draw(ids: NDArray[np.int64], epochs: NDArray[np.int64]) -> dict[str, NDArray[np.generic]]:
            mixes = draw_mixes(augmentation, seed, ids, epochs)
            return {"mix_windows": mixes.windows.astype(np.int64), "mix_kept": mixes.kept}

        self._drawn = DrawnAhead(draw, stream, device, start)

    def take(self) -> Inputs:
        """See `Batches.take`."""
        return self._batches.take() | next(self._drawn)

    def show(self, taken: Inputs) -> Batch:
        """See `Batches.show`."""
        batch = self._batches.show({name: each for name, each in taken.items() if not name.startswith("mix_")})
        windows, kept = taken["mix_windows"], taken["mix_kept"]
        mixed = cut_and_mixed(batch.images, windows) if self._mix == "cutmix" else laid_over(batch.images, kept)
        return replace(batch, images=mixed, labels=shares_of_classes(batch.labels, kept, self._classes))


def partners(rows: Tensor) -> Tensor:
    """Each row's partner in its place: rows [B, ...], B even, with 2k and 2k + 1 exchanged."""
    return rows.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)


def _partner_images(images: Tensor) -> Tensor:
    return partners(images.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # in channels-last memory, as they are


def cut_and_mixed(images: Tensor, windows: Tensor) -> Tensor:
    """CutMix (Yun et al. 2019): images [B, 3, S, S] whose `windows` (x, y, width, height; int64 [B, 4]) are the
    partner's.
    """
    line = torch.arange(images.shape[2], device=images.device)

    def inside(begin: Tensor, length: Tensor) -> Tensor:
        return (line >= begin[:, None]) & (line < (begin + length)[:, None])

    x, y, width, height = windows.unbind(1)
    window = inside(y, height)[:, None, :, None] & inside(x, width)[:, None, None, :]
    return torch.where(window, _partner_images(images), images)


def laid_over(images: Tensor, kept: Tensor) -> Tensor:
    """mixup (Zhang et al. 2018): images [B, 3, S, S], of each the share `kept` [B], and of its partner the rest."""
    share = kept[:, None, None, None]
    mixed = share * images.float() + (1 - share) * _partner_images(images).float()
    return mixed.to(images.dtype)


def shares_of_classes(labels: Tensor, kept: Tensor, classes: int) -> Tensor:
    """The shares of the classes in each mixed image, float32 [B, classes]. labels: int64 [B]; kept: [B]."""
    own = (labels[:, None] == torch.arange(classes, device=labels.device)).float()
    share = kept[:, None]
    return share * own + (1 - share) * partners(own)
