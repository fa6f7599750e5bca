"""JPEG bytes in, normalised channels-last batches out. Nothing is drawn here: `draws` decides, DALI and a kernel do.

DALI decodes, ahead of the consumer. What comes after has two forms with the same pixels: one kernel on the CPU, which
costs a fraction of DALI's operators there; and the graph of DALI's operators, for a GPU.
"""

import itertools
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from nvidia.dali import Pipeline, fn, types

from fastwsol.batches.image_checksums import Decoding, ImageChecksums, decodes_on_host, dies_of_bad_images
from fastwsol.batches.stream import Batches, Inputs, Stream, mean_pixel, of_one_size
from fastwsol.batches.views_cpu import ViewRenderer
from fastwsol.config import Augmentation, Channels, Statistics
from fastwsol.draws import COLOR_STEPS, Views
from fastwsol.geometry import enlarge_cells
from fastwsol.host.device import upload
from fastwsol.host.errors import RunFailure
from fastwsol.sources.decode import decode


class DaliBatches(Batches):
    """The batches of a stream, without end, from step `start` on, decoded by DALI.

    Raises RunFailure naming the images when DALI cannot decode a batch; where DALI would end the process instead, when
    one of a batch is no longer the image that it was by `checksums`: of the split, or made here.
    """

    def __init__(
        self,
        stream: Stream,
        device: torch.device,
        threads: int,
        start: int = 0,
        decoding: Decoding = "host",
        checksums: ImageChecksums | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """dtype: of the views that the kernel makes, on a CPU."""
        self._stream, self._device, self._one_size = stream, device, of_one_size(stream.split)
        self._start, self._step = start, start
        split, augmentation = stream.split, stream.augmentation
        on_gpu = device.type == "cuda"
        self._checksums: ImageChecksums | None = None
        if dies_of_bad_images(device, augmentation, decoding):
            self._checksums = checksums if checksums is not None else ImageChecksums(split, threads)
        self._pipeline = Pipeline(
            stream.batch_size,
            num_threads=threads,
            device_id=(device.index or 0) if on_gpu else None,
            prefetch_queue_depth=2,
        )
        self._show = _Show(stream, threads, dtype) if kernel_serves(device) else None
        with self._pipeline:
            if self._show is not None:
                images = _decoding_graph(_held_weakly(self._feed_encoded))
            else:
                size = augmentation.image_size
                same_size = bool((split.widths == size).all() and (split.heights == size).all())
                images = _graph(_held_weakly(self._feed), augmentation, same_size, stream.statistics, on_gpu, decoding)
            self._pipeline.set_outputs(images)
        self._pipeline.build()

    def take(self) -> Inputs:
        """See `Batches.take`."""
        ids, epochs = self._stream.plan(self._step)
        try:
            if self._device.type == "cuda":
                (output,) = self._pipeline.run(torch.cuda.current_stream(self._device))
            else:
                (output,) = self._pipeline.run()
        except RuntimeError as error:
            if not (bad := self._bad_images(ids)):
                raise
            raise RunFailure(
                f"step {self._step} of {self._stream.split.name} cannot be decoded: {bad}; pack anew"
            ) from error
        self._step += 1
        if self._show is not None:
            decoded = np.asarray(output.as_tensor()) if self._one_size else [np.asarray(each) for each in output]
            images = self._show(decoded, self._stream.views(ids, epochs))
        else:
            # DALI's buffers are counted: the tensor stays valid while later batches are made.
            images = torch.utils.dlpack.from_dlpack(output.as_tensor()).permute(0, 3, 1, 2)
        return {"images": images, "labels": upload(self._stream.split.labels[ids], self._device)}

    def _feed(self, info: Any) -> list[NDArray[Any] | list[NDArray[Any]]]:
        """What the graph takes for one batch, in the order in which `_graph` names it."""
        stream = self._stream
        ids, epochs = stream.plan(self._start + info.iteration)
        widths, heights = stream.split.widths[ids], stream.split.heights[ids]
        inputs = _view_inputs(stream.views(ids, epochs), stream.augmentation, widths, heights)
        return [*self._feed_encoded(info), *inputs]

    def _feed_encoded(self, info: Any) -> list[NDArray[Any] | list[NDArray[Any]]]:
        """The JPEG bytes of one batch, as `Split.gather` gives them, and their lengths."""
        step = self._start + info.iteration
        ids, _ = self._stream.plan(step)
        split = self._stream.split
        encoded, lengths = split.gather(ids)
        if self._checksums is not None and len(changed := self._checksums.changed(split, ids, encoded, lengths)):
            raise RunFailure(
                f"step {step} of {split.name} cannot be decoded: {'; '.join(split.names(changed))} changed since this "
                f"command began; pack anew"
            )
        return [encoded, lengths[:, None].astype(np.int32)]

    def _bad_images(self, ids: NDArray[np.int64]) -> str:
        """Name those of a lost batch's images that do not decode, one by one: DALI tells one at most, by its index."""
        damaged_ids = []
        for index in np.unique(ids):
            try:
                decode(self._stream.split.image(int(index)))
            except ValueError as error:
                damaged_ids.append(f"{self._stream.split.names([index])[0]} ({error})")
        return "; ".join(damaged_ids)


def _held_weakly(method: Callable[[Any], list[Any]]) -> Callable[[Any], list[Any]]:
    """The same, by a function that does not keep the method's object: a pipeline that its own batches held would stay,
    with its threads and memory, until Python looks for cycles.
    """
    reference = weakref.WeakMethod(method)

    def feed(info: Any) -> list[Any]:
        alive = reference()
        assert alive is not None
        return alive(info)

    return feed


def kernel_serves(device: torch.device) -> bool:
    """Whether the kernel makes the views of decoded images, and not DALI's operators: on a CPU."""
    return device.type == "cpu"


class _Show:
    """Decoded images and their views to [B, S, S, 3], each thread a part of the batch."""

    def __init__(self, stream: Stream, threads: int, dtype: torch.dtype) -> None:
        self._renderer = ViewRenderer(stream, dtype)
        self._ids = np.arange(stream.batch_size)
        self._pool = ThreadPoolExecutor(threads)
        edges = np.linspace(0, stream.batch_size, min(threads, stream.batch_size) + 1).astype(int).tolist()
        self._parts = [slice(start, stop) for start, stop in itertools.pairwise(edges)]

    def __call__(self, decoded: NDArray[np.uint8] | list[NDArray[np.uint8]], views: Views) -> torch.Tensor:
        """`decoded` as `views` has it: [B, H, W, 3], or images [H, W, 3] of many sizes."""
        room = self._renderer.room(len(decoded))

        def show(part: slice) -> None:
            if isinstance(decoded, np.ndarray):
                self._renderer.show(decoded, self._ids, views, part, room)
                return
            for k in range(part.start, part.stop):
                self._renderer.show(decoded[k][np.newaxis], np.zeros_like(self._ids), views, slice(k, k + 1), room)

        for _ in self._pool.map(show, self._parts):  # going through them raises what a part raised
            pass
        return self._renderer.as_images(room)


def _decoding_graph(feed: Callable[[Any], list[Any]]) -> Any:
    """Decode on the CPU: uint8 [H, W, 3] a sample."""
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
    if augmentation.shows_parts:
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
    statistics: Statistics,
    on_gpu: bool,
    decoding: Decoding,
) -> Any:
    """Decode, (hide), crop and resize, (hide), (jitter), flip and normalise, (hide): float32 [S, S, 3] a sample."""
    size, (mean, std) = augmentation.image_size, statistics
    count = 3 + 2 * augmentation.shows_parts + augmentation.hides + 3 * COLOR_STEPS * augmentation.color
    inputs = iter(fn.external_source(feed, num_outputs=count, batch=True, batch_info=True, no_copy=True))
    padded, length, flip = next(inputs), next(inputs), next(inputs)
    encoded = _cut(padded, length)
    moves_late = on_gpu and augmentation.color
    how = _decoder_options("mixed" if on_gpu and not decodes_on_host(augmentation, decoding) else "cpu")
    if augmentation.shows_parts:
        start, shape = next(inputs), next(inputs)
        # image_slice and then resize, not resize(roi=...): that one's kernel reads outside the window.
        images = fn.decoders.image_slice(encoded, start=start, shape=shape, axes=[0, 1], **how)
    else:
        images = fn.decoders.image(encoded, **how)
    mask = next(inputs) if augmentation.hides else None
    if on_gpu and not moves_late:
        images, mask = images.gpu(), mask.gpu() if mask is not None else None
    if augmentation.hides_first:
        images = _hide(images, fn.slice(mask, start=start, shape=shape, axes=[0, 1]), mean)
    elif augmentation.hides:
        mask = fn.resize(mask, size=[size, size], interp_type=types.INTERP_NN)
    if augmentation.shows_parts or not same_size:
        interpolation = types.INTERP_CUBIC if augmentation.resampler == "bicubic" else types.INTERP_LINEAR
        images = fn.resize(images, size=[size, size], interp_type=interpolation, antialias=True)
    if augmentation.color:
        if augmentation.hides and not augmentation.hides_first:
            images = _hide(images, mask, mean)  # the jitter is the tail of every method: it acts on hidden cells too
        images = _jitter(images, inputs)
    if moves_late:
        images = images.gpu()
    images = fn.crop_mirror_normalize(
        images, mirror=flip, mean=list(mean), std=list(std), dtype=types.FLOAT, output_layout="HWC"
    )
    if augmentation.hides and not augmentation.hides_first and not augmentation.color:
        # After normalising, so that hidden cells hold the mean exactly: 0.
        images = images * fn.cast(mask, dtype=types.FLOAT)
    return images


def _hide(images: Any, mask: Any, mean: Channels) -> Any:
    """Put the mean pixel where the mask is 0, in uint8."""
    one = types.Constant(np.uint8(1))  # typed, so that the arithmetic stays in uint8
    return images * mask + types.Constant(mean_pixel(mean).reshape(1, 1, 3)) * (one - mask)


def _jitter(images: Any, inputs: Iterator[Any]) -> Any:
    """The steps of the colour jitter, whose numbers come next among the inputs."""
    for _ in range(COLOR_STEPS):
        matrix, mean_weight, offset = next(inputs), next(inputs), next(inputs)
        shift = mean_weight * fn.reductions.mean(images, axes=[0, 1]) + offset
        images = fn.coord_transform(images, M=matrix, T=shift, dtype=types.UINT8)
    return images
