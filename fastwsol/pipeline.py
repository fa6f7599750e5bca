"""JPEG bytes in, normalised channels-last batches out. Nothing is drawn here: `draws` decides, DALI and a kernel do.

DALI decodes, ahead of the consumer. What comes after has two forms with the same pixels: one kernel on the CPU for
sets of one image size, which costs a quarter of DALI's operators there; and the graph of DALI's operators, for a GPU,
for colour jitter and for images of many sizes, whose decoding dominates anyway. The step alone determines a batch, so a
pipeline that starts at step k gives what an unbroken one gives at step k.
"""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from nvidia.dali import Pipeline, fn, types

from fastwsol.config import Augmentation
from fastwsol.draws import COLOR_STEPS, Views, draw_views, enlarge_cells, stream_slice
from fastwsol.errors import RunFailure
from fastwsol.judge import decode
from fastwsol.shards import Split
from kernels import Look, show_views

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


def training_plan(seed: int, count: int, batch_size: int, rank: int = 0, world_size: int = 1) -> Plan:
    """The endless stream over `count` images, cut into batches; of each the part of process `rank`.

    The parts of all processes end to end are the same batch at any world size, which must divide `batch_size`.
    """
    assert batch_size % world_size == 0
    part = batch_size // world_size

    def plan(step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return stream_slice(seed, count, step * batch_size + rank * part, part)

    return plan


def evaluation_plan(count: int, batch_size: int, rank: int = 0, world_size: int = 1) -> Plan:
    """Every image once, in the split's order; the last batch is filled up with its last image (see `valid_images`).

    Process `rank` takes every world_size-th batch, so that batches hold the same images at any world size.
    """

    def plan(step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        first = (step * world_size + rank) * batch_size
        ids = np.arange(first, first + batch_size).clip(max=count - 1)
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
        on_gpu = device.type == "cuda"
        self._pipeline = Pipeline(
            batch_size,
            num_threads=threads,
            device_id=(device.index or 0) if on_gpu else None,
            prefetch_queue_depth=2,
        )
        self._show = None
        if not on_gpu and kernel_serves(augmentation, split):
            self._show = _Show(augmentation, batch_size, mean, std, threads)
        with self._pipeline:
            if self._show is not None:
                images = _decoding_graph(self._feed_encoded)
            else:
                size = augmentation.image_size
                same_size = bool((split.widths == size).all() and (split.heights == size).all())
                images = _graph(self._feed, augmentation, same_size, mean, std, on_gpu, decoding)
            self._pipeline.set_outputs(images)
        self._pipeline.build()

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> Batch:
        ids, epochs = self._plan(self._step)
        try:
            if self._device.type == "cuda":
                (output,) = self._pipeline.run(torch.cuda.current_stream(self._device))
            else:
                (output,) = self._pipeline.run()
        except RuntimeError as error:
            if not (bad := self._bad_images(ids)):
                raise
            raise RunFailure(f"step {self._step} of {self._split.name} cannot be decoded: {bad}; pack anew") from error
        self._step += 1
        if self._show is not None:
            images = self._show(np.asarray(output.as_tensor()), self._views(ids, epochs))
        else:
            # DALI's buffers are counted: the tensor stays valid while later batches are made.
            images = torch.utils.dlpack.from_dlpack(output.as_tensor())
        images = images.permute(0, 3, 1, 2)
        labels = torch.from_numpy(self._split.labels[ids])
        if self._device.type == "cuda":  # pinned, or the copy would wait for the device
            labels = labels.pin_memory().to(self._device, non_blocking=True)
        return Batch(images, labels, ids)

    def _feed(self, info: Any) -> list[NDArray[Any] | list[NDArray[Any]]]:
        """What the graph takes for one batch, in the order in which `_graph` names it."""
        ids, epochs = self._plan(self._start + info.iteration)
        widths, heights = self._split.widths[ids], self._split.heights[ids]
        inputs = _view_inputs(self._views(ids, epochs), self._augmentation, widths, heights)
        return [*self._feed_encoded(info), *inputs]

    def _feed_encoded(self, info: Any) -> list[NDArray[Any]]:
        """The JPEG bytes of one batch: rows padded to the longest, and their lengths."""
        ids, _ = self._plan(self._start + info.iteration)
        encoded, lengths = self._split.gather(ids)
        return [encoded, lengths[:, None].astype(np.int32)]

    def _views(self, ids: NDArray[np.int64], epochs: NDArray[np.int64]) -> Views:
        return draw_views(
            self._augmentation, self._seed, ids, epochs, self._split.widths[ids], self._split.heights[ids]
        )

    def _bad_images(self, ids: NDArray[np.int64]) -> str:
        """Name those of a lost batch's images that do not decode, one by one: DALI tells one at most, by its index."""
        bad = []
        for index in np.unique(ids):
            try:
                decode(self._split.image(int(index)))
            except ValueError as error:
                bad.append(f"{self._split.names([index])[0]} ({error})")
        return "; ".join(bad)


def kernel_serves(augmentation: Augmentation, split: Split) -> bool:
    """Whether, on a CPU, the kernel makes these views, and not DALI's operators: no colour, images of one size."""
    one_size = bool((split.widths == split.widths[0]).all() and (split.heights == split.heights[0]).all())
    return one_size and not augmentation.color


class _Show:
    """Decoded images and their views to float32 [B, S, S, 3], on `threads` threads."""

    def __init__(
        self,
        augmentation: Augmentation,
        batch_size: int,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        threads: int,
    ) -> None:
        self._shape = (batch_size, augmentation.image_size, augmentation.image_size, 3)
        cubic = augmentation.resampler == "bicubic"
        self._look = Look(cubic, augmentation.hides_first, mean_pixel(mean), np.array(mean), np.array(std))
        self._pool = ThreadPoolExecutor(threads)
        edges = np.linspace(0, batch_size, min(threads, batch_size) + 1).astype(int).tolist()
        self._parts = [slice(start, stop) for start, stop in itertools.pairwise(edges)]

    def __call__(self, decoded: NDArray[np.uint8], views: Views) -> torch.Tensor:
        """`decoded` [B, H, W, 3] as `views` has it."""
        images = np.empty(self._shape, np.float32)

        def show(part: slice) -> None:
            cells = views.cells[part] if views.cells is not None else None
            show_views(decoded[part], views.windows[part], views.flips[part], cells, self._look, images[part])

        for _ in self._pool.map(show, self._parts):  # going through them raises what a part raised
            pass
        return torch.from_numpy(images)


def _decoding_graph(feed: Callable[[Any], list[NDArray[Any]]]) -> Any:
    """Decode and no more, on the CPU: uint8 [H, W, 3] a sample."""
    padded, length = fn.external_source(feed, num_outputs=2, batch=True, batch_info=True, no_copy=True)
    return fn.decoders.image(_cut(padded, length), **_decoder_options("cpu"))


def _cut(padded: Any, length: Any) -> Any:
    """The encoded images without the zeros behind them: a truncated JPEG before zeros decodes without complaint."""
    return fn.slice(padded, start=0, shape=length, axes=[0])


def _decoder_options(device: str) -> dict[str, Any]:
    """How every JPEG is decoded: as libjpeg does by default, and as stored."""
    return {"device": device, "jpeg_fancy_upsampling": True, "adjust_orientation": False}


def _view_inputs(
    views: Views, augmentation: Augmentation, widths: NDArray[np.int32], heights: NDArray[np.int32]
) -> list[NDArray[Any] | list[NDArray[Any]]]:
    """The arrays [B, ...] of `views` in the order in which `_graph` takes them; masks before cropping are a list."""
    inputs: list[NDArray[Any] | list[NDArray[Any]]] = [views.flips]
    if augmentation.crops:
        # DALI wants y before x.
        inputs += [np.ascontiguousarray(views.windows[:, [1, 0]]), np.ascontiguousarray(views.windows[:, [3, 2]])]
    if views.cells is not None and augmentation.hides_first:
        # Enlarged here: DALI's own nearest neighbour rounds otherwise where cells are no whole number of pixels.
        sizes = zip(views.cells, heights, widths, strict=True)
        inputs.append([enlarge_cells(cells, height, width)[..., None] for cells, height, width in sizes])
    elif views.cells is not None:
        inputs.append(views.cells[..., None])
    if views.color is not None:
        color = views.color
        for k in range(COLOR_STEPS):
            step = (color.matrices[:, k], color.mean_weights[:, k, None], color.offsets[:, k])
            inputs += [np.ascontiguousarray(each) for each in step]
    return inputs


def _graph(
    feed: Callable[[Any], list[NDArray[Any] | list[NDArray[Any]]]],
    augmentation: Augmentation,
    same_size: bool,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    on_gpu: bool,
    decoding: Decoding,
) -> Any:
    """Decode, (hide), crop and resize, (hide), (jitter), flip and normalise, (hide): float32 [S, S, 3] a sample."""
    size = augmentation.image_size
    count = 3 + 2 * augmentation.crops + augmentation.hides + 3 * COLOR_STEPS * augmentation.color
    inputs = iter(fn.external_source(feed, num_outputs=count, batch=True, batch_info=True, no_copy=True))
    padded, length, flip = next(inputs), next(inputs), next(inputs)
    encoded = _cut(padded, length)
    # Colour steps take the image's mean as a named argument, which DALI wants on the CPU: then all before is there too.
    moves_late = on_gpu and augmentation.color
    how = _decoder_options("mixed" if on_gpu and decoding == "mixed" and not moves_late else "cpu")
    if augmentation.crops:
        start, shape = next(inputs), next(inputs)
        # image_slice and then resize, not resize(roi=...): that one's kernel reads outside the window.
        images = fn.decoders.image_slice(encoded, start=start, shape=shape, axes=[0, 1], **how)
    else:
        images = fn.decoders.image(encoded, **how)
    mask = next(inputs) if augmentation.hides else None
    if on_gpu and not moves_late:
        images, mask = images.gpu(), mask.gpu() if mask is not None else None

    def hide(images: Any, mask: Any) -> Any:
        """Put the mean pixel where the mask is 0, in uint8."""
        one = types.Constant(np.uint8(1))  # typed, so that the arithmetic stays in uint8
        return images * mask + types.Constant(mean_pixel(mean).reshape(1, 1, 3)) * (one - mask)

    if augmentation.hides_first:
        images = hide(images, fn.slice(mask, start=start, shape=shape, axes=[0, 1]))
    elif augmentation.hides:
        mask = fn.resize(mask, size=[size, size], interp_type=types.INTERP_NN)
    if augmentation.crops or not same_size:
        interpolation = types.INTERP_CUBIC if augmentation.resampler == "bicubic" else types.INTERP_LINEAR
        images = fn.resize(images, size=[size, size], interp_type=interpolation, antialias=False)
    if augmentation.color:
        if augmentation.hides and not augmentation.hides_first:
            images = hide(images, mask)  # the jitter is the tail of every method: it acts on hidden cells too
        for _ in range(COLOR_STEPS):
            matrix, mean_weight, offset = next(inputs), next(inputs), next(inputs)
            shift = mean_weight * fn.reductions.mean(images, axes=[0, 1]) + offset
            images = fn.coord_transform(images, M=matrix, T=shift, dtype=types.UINT8)
    if moves_late:
        images = images.gpu()
    images = fn.crop_mirror_normalize(
        images, mirror=flip, mean=list(mean), std=list(std), dtype=types.FLOAT, output_layout="HWC"
    )
    if augmentation.hides and not augmentation.hides_first and not augmentation.color:
        # After normalising, so that hidden cells hold the mean exactly: 0.
        images = images * fn.cast(mask, dtype=types.FLOAT)
    return images


def mean_pixel(mean: tuple[float, float, float]) -> NDArray[np.uint8]:
    """The training pixels' mean as a pixel, uint8 [3]: what cells take that are hidden before cropping."""
    return np.rint(mean).astype(np.uint8)
