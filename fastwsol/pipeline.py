"""The DALI graph: JPEG bytes in, normalised channels-last batches out. It draws nothing: `draws` decides, DALI does.

One graph serves the CPU (`device_id=None`) and a GPU. The step alone determines a batch, so a pipeline that starts at
step k gives what an unbroken one gives at step k.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from nvidia.dali import Pipeline, fn, types

from fastwsol.config import Augmentation
from fastwsol.draws import COLOR_STEPS, Views, draw_views, stream_slice
from fastwsol.errors import RunFailure
from fastwsol.reference import decode
from fastwsol.shards import Split

Decoding = Literal["host", "mixed"]
"""Where JPEGs are decoded for a GPU: host keeps libjpeg's pixels; mixed is nvJPEG, whose pixels may differ."""

Plan = Callable[[int], tuple[NDArray[np.int64], NDArray[np.int64]]]
"""Step -> the ids and epochs, int64 [B] each, of that step's images."""


@dataclass(frozen=True)
class Batch:
    """One step's images on the device, and which they are."""

    images: torch.Tensor
    """float32 [B, 3, S, S] in channels-last memory, normalised by the training pixels' mean and std."""
    labels: torch.Tensor
    """int64 [B] on the same device."""
    ids: NDArray[np.int64]
    """Rows of the split: [B]."""


def training_plan(seed: int, count: int, batch_size: int) -> Plan:
    """The endless stream over `count` images, cut into batches."""

    def plan(step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return stream_slice(seed, count, step * batch_size, batch_size)

    return plan


def evaluation_plan(count: int, batch_size: int) -> Plan:
    """Every image once, in the split's order; the last batch is filled up with its last image (see `valid_images`)."""

    def plan(step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        ids = np.arange(step * batch_size, (step + 1) * batch_size).clip(max=count - 1)
        return ids, np.zeros_like(ids)

    return plan


def valid_images(step: int, count: int, batch_size: int) -> int:
    """How many images of an evaluation step are the split's own and not padding."""
    return max(0, min(batch_size, count - step * batch_size))


class Batches:
    """An endless iterator over the batches of one split, from step `start` on.

    Raises RunFailure naming the images when DALI cannot decode a batch.
    """

    def __init__(
        self,
        split: Split,
        plan: Plan,
        batch_size: int,
        augmentation: Augmentation,
        seed: int,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        device: torch.device,
        threads: int,
        start: int = 0,
        decoding: Decoding = "host",
    ) -> None:
        self._split, self._plan, self._augmentation, self._seed = split, plan, augmentation, seed
        self._start, self._step = start, start
        self._device = device
        self._labels = torch.from_numpy(split.labels).to(device)
        self._pipeline = Pipeline(
            batch_size,
            num_threads=threads,
            device_id=(device.index or 0) if device.type == "cuda" else None,
            prefetch_queue_depth=2,
        )
        same_size = bool(
            (split.widths == augmentation.image_size).all() and (split.heights == augmentation.image_size).all()
        )
        with self._pipeline:
            images = _graph(self._feed, augmentation, same_size, mean, std, device.type == "cuda", decoding)
            self._pipeline.set_outputs(images)
        self._pipeline.build()

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> Batch:
        ids, _ = self._plan(self._step)
        try:
            if self._device.type == "cuda":
                (output,) = self._pipeline.run(torch.cuda.current_stream(self._device))
            else:
                (output,) = self._pipeline.run()
        except RuntimeError as error:
            if "decode" not in str(error).lower():
                raise
            bad = self._name_bad_images(ids)
            raise RunFailure(f"step {self._step} of {self._split.name} cannot be decoded: {bad}; pack anew") from error
        self._step += 1
        images = torch.utils.dlpack.from_dlpack(output.as_tensor()).permute(0, 3, 1, 2)
        return Batch(images, self._labels[torch.from_numpy(ids).to(self._device)], ids)

    def _feed(self, info: Any) -> list[NDArray[Any]]:
        """What the graph takes for one batch, in the order in which `_graph` names it."""
        ids, epochs = self._plan(self._start + info.iteration)
        encoded, lengths = self._split.gather(ids)
        widths, heights = self._split.widths[ids], self._split.heights[ids]
        views = draw_views(self._augmentation, self._seed, ids, epochs, widths, heights)
        inputs = _view_inputs(views, self._augmentation, widths, heights)
        return [encoded, lengths[:, None].astype(np.int32), *(np.ascontiguousarray(each) for each in inputs)]

    def _name_bad_images(self, ids: NDArray[np.int64]) -> str:
        """Find, one by one, which images of a lost batch do not decode: DALI names one at most, and by its index."""
        bad = []
        for index in np.unique(ids):
            try:
                decode(self._split.image(int(index)))
            except (OSError, SyntaxError, ValueError) as error:
                bad.append(f"{self._split.names(np.array([index]))[0]} ({error})")
        return "; ".join(bad) or "none of its images fails alone"


def _view_inputs(
    views: Views, augmentation: Augmentation, widths: NDArray[np.int32], heights: NDArray[np.int32]
) -> list[NDArray[Any]]:
    inputs: list[NDArray[Any]] = [views.flips]
    if augmentation.crops:
        # DALI wants y before x.
        inputs += [views.windows[:, [1, 0]], views.windows[:, [3, 2]]]
    if views.cells is not None:
        inputs.append(views.cells[..., None])
    if augmentation.hides_first:
        inputs.append(np.stack([heights, widths], axis=1).astype(np.float32))
    if views.color is not None:
        for k in range(COLOR_STEPS):
            color = views.color
            inputs += [color.matrices[:, k], color.mean_weights[:, k, None], color.offsets[:, k]]
    return inputs


def _graph(
    feed: Callable[[Any], list[NDArray[Any]]],
    augmentation: Augmentation,
    same_size: bool,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    on_gpu: bool,
    decoding: Decoding,
) -> Any:
    """Decode, (hide), crop and resize, (jitter), flip and normalise, (hide): float32 [S, S, 3] a sample."""
    size = augmentation.image_size
    count = 3 + 2 * augmentation.crops + augmentation.hides + augmentation.hides_first
    count += 3 * COLOR_STEPS * augmentation.color
    inputs = iter(fn.external_source(feed, num_outputs=count, batch=True, batch_info=True, no_copy=True))
    # Rows of the encoded batch are zero-padded; a truncated JPEG followed by zeros would decode without complaint.
    padded, length, flip = next(inputs), next(inputs), next(inputs)
    encoded = fn.slice(padded, start=0, shape=length, axes=[0])
    decoder_device = "mixed" if on_gpu and decoding == "mixed" else "cpu"
    if augmentation.crops:
        start, shape = next(inputs), next(inputs)
        # image_slice and then resize, not resize(roi=...): that one's kernel reads outside the window.
        images = fn.decoders.image_slice(
            encoded,
            start=start,
            shape=shape,
            axes=[0, 1],
            device=decoder_device,
            jpeg_fancy_upsampling=True,
            adjust_orientation=False,
        )
    else:
        images = fn.decoders.image(encoded, device=decoder_device, jpeg_fancy_upsampling=True, adjust_orientation=False)
    cells = next(inputs) if augmentation.hides else None
    if on_gpu:
        images, cells = images.gpu(), cells.gpu() if cells is not None else None

    if augmentation.hides_first:
        mask = fn.resize(cells, size=next(inputs), interp_type=types.INTERP_NN)
        mask = fn.slice(mask, start=start, shape=shape, axes=[0, 1])
        one = types.Constant(np.uint8(1))  # typed, so that the arithmetic stays in uint8
        images = images * mask + types.Constant(mean_pixel(mean).reshape(1, 1, 3)) * (one - mask)
    if augmentation.crops or not same_size:
        interpolation = types.INTERP_CUBIC if augmentation.resampler == "bicubic" else types.INTERP_LINEAR
        images = fn.resize(images, size=[size, size], interp_type=interpolation, antialias=False)
    for _ in range(COLOR_STEPS * augmentation.color):
        matrix, mean_weight, offset = next(inputs), next(inputs), next(inputs)
        own_mean = fn.reductions.mean(images, axes=[0, 1])
        shift = mean_weight * own_mean + offset
        images = fn.coord_transform(images, M=matrix, T=shift, dtype=types.UINT8)
    images = fn.crop_mirror_normalize(
        images, mirror=flip, mean=list(mean), std=list(std), dtype=types.FLOAT, output_layout="HWC"
    )
    if augmentation.hides and not augmentation.hides_first:
        # After normalising, so that hidden cells hold the mean exactly: 0.
        mask = fn.resize(cells, size=[size, size], interp_type=types.INTERP_NN)
        images = images * fn.cast(mask, dtype=types.FLOAT)
    return images


def mean_pixel(mean: tuple[float, float, float]) -> NDArray[np.uint8]:
    """The training pixels' mean as a pixel, uint8 [3]: what cells take that are hidden before cropping."""
    return np.rint(mean).astype(np.uint8)
