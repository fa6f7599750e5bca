"""Images mixed in pairs, and their labels with them: CutMix and mixup, behind whatever makes the batches.

Rows 2k and 2k + 1 of a batch are a pair; each takes its part of the other as that was shown. What is taken is drawn for
each image, so batches are the same at any number of processes, threads and starts.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fastwsol.batches.stream import Batch, Batches, Inputs, Stream
from fastwsol.draws import draw_mixes

_BLOCK_IMAGES = 2**16
"""Images whose mixes are drawn and uploaded at a time, about."""


class _Block(NamedTuple):
    """The mixes of some steps, on the device."""

    first: int
    windows: Tensor
    """int64 [steps, B, 4]."""
    kept: Tensor
    """float32 [steps, B]."""


class MixedBatches(Batches):
    """The batches of `stream` from step `start` on, mixed. batches: the same ones, not mixed; classes: of the set.

    Labels are the shares of the classes, float32 [B, classes], in place of numbers. Nothing waits for the device.
    """

    def __init__(self, batches: Batches, stream: Stream, classes: int, device: torch.device, start: int = 0) -> None:
        assert stream.batch_size % 2 == 0
        self._batches, self._stream, self._classes = batches, stream, classes
        self._device, self._step = device, start
        self._steps_a_block = max(1, _BLOCK_IMAGES // stream.batch_size)
        self._block: _Block | None = None

    def __next__(self) -> Batch:
        batch = next(self._batches)
        images, labels = self._mixed(batch.images, batch.labels, *self._following())
        return Batch(images, labels, batch.ids)

    def take(self) -> Inputs:
        windows, kept = self._following()
        return self._batches.take() | {"mix_windows": windows, "mix_kept": kept}

    def show(self, taken: Inputs) -> tuple[Tensor, Tensor]:
        of_batches = {name: tensor for name, tensor in taken.items() if not name.startswith("mix_")}
        images, labels = self._batches.show(of_batches)
        return self._mixed(images, labels, taken["mix_windows"], taken["mix_kept"])

    def _mixed(self, images: Tensor, labels: Tensor, windows: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        shares = shares_of_classes(labels, kept, self._classes)
        if self._stream.augmentation.mix == "cutmix":
            return cut_and_mixed(images, windows), shares
        return laid_over(images, kept), shares

    def _following(self) -> tuple[Tensor, Tensor]:
        """The next step's windows and kept shares."""
        if self._block is None or self._step == self._block.first + len(self._block.kept):
            self._block = self._drawn(self._step)
        index = self._step - self._block.first
        self._step += 1
        return self._block.windows[index], self._block.kept[index]

    def _drawn(self, first: int) -> _Block:
        stream = self._stream
        ids, epochs = stream.plans(range(first, first + self._steps_a_block))
        mixes = draw_mixes(stream.augmentation, stream.seed, ids, epochs)
        shape = (self._steps_a_block, stream.batch_size)
        windows = torch.from_numpy(mixes.windows.astype(np.int64)).view(*shape, 4)
        kept = torch.from_numpy(mixes.kept).view(shape)
        if self._device.type == "cuda":  # pinned, or the copies would wait for the device
            windows, kept = windows.pin_memory(), kept.pin_memory()
        return _Block(first, windows.to(self._device, non_blocking=True), kept.to(self._device, non_blocking=True))


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
