"""Features of a frozen trunk, computed once for each view of an image, in a memory-mapped file beside the shards.

    shards/features/
      KEY.npy    uint16 [V, N, ...]: the bits of bfloat16, by view and by the image's place in the packed split
      KEY.json   written last: what they are features of, which code made them, and the file's SHA-256
      KEY.lock   held by the process that computes or checks them

KEY is the beginning of a digest of all that decides them: shards, split, network, its frozen weights, size, views,
number format. A file may be deleted at any time: it is made again, as is one that other code or packages made
(unless it cannot be replaced: then it is used, with a warning).
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fastwsol.batches.decoded_store import PACKAGES_OF_PIXELS, SOURCES_OF_PIXELS
from fastwsol.batches.feed import Feed
from fastwsol.batches.stream import Batch, Batches, Inputs, Stream, evaluation_plan
from fastwsol.config import Augmentation, TrainPart
from fastwsol.dataset.shards import Shards
from fastwsol.draws import Views
from fastwsol.features.trunk import read_of_trunk, trunk_features
from fastwsol.host.command_line import duration
from fastwsol.host.device import Autocast
from fastwsol.host.environment import DALI_PACKAGES
from fastwsol.host.errors import Interrupted, UserError
from fastwsol.host.files import write_json
from fastwsol.host.kept_files import (
    array_when_whole,
    contents_of,
    free_disk_bytes,
    locked,
    never,
    read_about,
    what_is_kept,
)
from fastwsol.host.limits import memory_available
from fastwsol.host.source_code import made_by
from fastwsol.host.ticker import Ticker
from fastwsol.network.backbone_weights import digest_of
from fastwsol.network.classifier import Classifier

FORMAT_VERSION = 1
FOLDER_NAME = "features"
SOURCES_OF_FEATURES = (
    *SOURCES_OF_PIXELS,
    "kernels/*.py",
    "fastwsol/config.py",
    "fastwsol/draws.py",
    "fastwsol/host/device.py",
    "fastwsol/dataset/shards.py",
    "fastwsol/dataset/ragged_boxes.py",
    "fastwsol/dataset/holdout.py",
    "fastwsol/batches/*.py",
    "fastwsol/network/*.py",
    "fastwsol/features/*.py",
)
"""The modules that decide the features of an image."""
_PACKAGES = (*PACKAGES_OF_PIXELS, "torch", "numba")
"""Those that decide them. The version of timm is in a network's name."""
_SHARE_OF_MEMORY = 0.5
"""The share of the free memory that kept features may take."""


@dataclass(frozen=True, eq=False)
class KeptFeatures:
    """Features of all views of a packed split's images. values: uint16 [V, N, ...], mapped, read-only."""

    path: Path
    values: NDArray[np.uint16]
    sha256: str


@dataclass(frozen=True)
class Trunk:
    """The frozen part of a network, and what it computes with."""

    model: Classifier
    part: TrainPart
    autocast: Autocast
    name: str
    """Of the network, with its options."""
    by_way_of_tail: bool = False
    """True: the classifier's input is computed from the bfloat16 features before the tail, and not from images. The
    configuration alone decides it, never whether features can be kept, so that bits do not depend on free space."""
    before_tail: KeptFeatures | None = None
    """The features before the tail, of the same views, where they are kept."""

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """What stands before the part that is trained, of images: bfloat16, as `trunk_features` gives it."""
        if not self.by_way_of_tail:
            return trunk_features(self.model, images, self.part, self.autocast)
        return read_of_trunk(self.model, trunk_features(self.model, images, "tail", self.autocast), self.autocast)


def views_kept(augmentation: Augmentation) -> int:
    """How many different views of an image there are: 0 where there is no end of them."""
    endless = augmentation.crops and not augmentation.crops_per_image
    if augmentation.hides or augmentation.color or augmentation.mix != "none" or endless:
        return 0
    return (augmentation.crops_per_image if augmentation.crops else 1) * (2 if augmentation.flip else 1)


def view_numbers(augmentation: Augmentation, views: Views, epochs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which of the kept views each of these views is: [B]."""
    crops = epochs % augmentation.crops_per_image if augmentation.crops else np.zeros_like(epochs)
    return crops * 2 + views.flips if augmentation.flip else crops


def why_no_room(bytes_needed: int, folder: Path) -> str | None:
    """Why features of a bounded number of views cannot be kept, or None."""
    if bytes_needed > (free := free_disk_bytes(folder)):
        return f"they need {_mb(bytes_needed)} in {folder}, where {_mb(free)} are free"
    if bytes_needed > _SHARE_OF_MEMORY * (available := memory_available()):
        return f"they take {_mb(bytes_needed)}, and {_mb(available)} of memory are free"
    return None


def open_features(
    shards: Shards,
    stream: Stream,
    feed: Feed,
    trunk: Trunk,
    asked_folder: Path | None,
    verify: bool = True,
    gives_up: Callable[[], bool] = never,
) -> KeptFeatures | None:
    """The features of all views of the images that `stream` is a stream of, computed where they are not kept yet; None
    where they cannot be kept, which is said. asked_folder: default `features` beside the shards; with `verify` a file
    that is there is hashed first.

    Raises UserError where there is no room in a folder that was asked for, RunFailure where an image does not decode,
    Interrupted where `gives_up` returns true.
    """
    folder = asked_folder if asked_folder is not None else shards.folder / FOLDER_NAME
    name, count = stream.split.packed_name, shards.manifest.splits[stream.split.packed_name].images
    whole = replace(stream, split=shards.splits[name])
    shape = _shape_of_one(whole, trunk)
    if not (views := views_kept(stream.augmentation)):
        print(_IN_EVERY_EPOCH.format("each epoch has views of its own; --crops-per-image bounds them"), flush=True)
        return None
    needed = 2 * views * count * int(np.prod(shape))
    key = _key(shards, whole, trunk, shape) | {"views_by": feed.views_by(whole.split, stream.augmentation.store_size)}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    if not (folder / f"{digest}.json").is_file() and (why := why_no_room(needed, folder)):
        if asked_folder is not None and needed > free_disk_bytes(folder):
            raise UserError(f"--features {folder}: {why}; name another folder, or leave the flag out")
        print(_IN_EVERY_EPOCH.format(why), flush=True)
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder, digest, gives_up):
            return _opened(folder, digest, key, whole, feed, trunk, (views, count, *shape), verify, gives_up)
    except OSError as error:
        if asked_folder is not None:
            raise UserError(
                f"--features {folder}: cannot be written ({error.strerror}); name another folder, or leave the flag out"
            ) from None
        print(_IN_EVERY_EPOCH.format(f"{folder} cannot be written: {error.strerror}"), flush=True)
        return None


_IN_EVERY_EPOCH = "features of the frozen part: computed in every epoch ({})"


def _opened(
    folder: Path,
    digest: str,
    key: dict[str, Any],
    stream: Stream,
    feed: Feed,
    trunk: Trunk,
    shape: tuple[int, ...],
    verify: bool,
    gives_up: Callable[[], bool],
) -> KeptFeatures:
    path = folder / f"{digest}.npy"
    packages = (*_PACKAGES, *DALI_PACKAGES) if key["views_by"] == "dali" else _PACKAGES
    about, made = read_about(folder, digest), made_by(SOURCES_OF_FEATURES, packages)
    views, count, size = shape[0], shape[1], _mb(2 * int(np.prod(shape)))
    what = f"features of the frozen part: {count:,} images, {views} view{'s' * (views > 1)} each, {size} in {path}"
    kept = what_is_kept(path, about, key, made, verify)
    if kept != "this":
        how = "anew, since another version made them" if kept == "outdated" else "once"
        print(f"{what}: computed {how}", flush=True)
        _compute(path, shape, stream, feed, trunk, gives_up)
        about = {"key": key, "made_by": made, **contents_of(path)}
        write_json(folder / f"{digest}.json", about)
    else:
        print(f"{what}: kept from before", flush=True)
    return KeptFeatures(path, np.load(path, mmap_mode="r"), about["sha256"])


@dataclass(frozen=True)
class _OneView(Stream):
    """Every image of a split in one of its kept views."""

    view: int = 0

    def views(self, ids: NDArray[np.int64], epochs: NDArray[np.int64]) -> Views:
        crop, flip = divmod(self.view, 2) if self.augmentation.flip else (self.view, 0)
        views = super().views(ids, np.full_like(epochs, crop))
        return replace(views, flips=np.full_like(views.flips, flip))


def _compute(
    path: Path, shape: tuple[int, ...], stream: Stream, feed: Feed, trunk: Trunk, gives_up: Callable[[], bool]
) -> None:
    views, count = shape[:2]

    def line(images: int, rate: float, left: float) -> str:
        return f"features  {images:,} of {views * count:,} views  {rate:,.0f} images/s  {duration(left)} left"

    ticker = Ticker(views * count, line)
    with array_when_whole(path, shape, np.uint16) as values:
        for view in range(views):
            of_view = _features_of_view(view, count, stream, feed, trunk)
            for first in range(0, count, stream.batch_size):
                stop = min(first + stream.batch_size, count)
                values[view, first:stop] = next(of_view)[: stop - first].view(torch.uint16).cpu().numpy()
                ticker.update(view * count + stop)
                if gives_up():
                    raise Interrupted(f"{path} is not computed yet; the same command begins it anew")
        ticker.close()


def _features_of_view(view: int, count: int, stream: Stream, feed: Feed, trunk: Trunk) -> Iterator[torch.Tensor]:
    """The features of a view of all images, a batch at a time; the last batch may have more than there are images."""
    if trunk.before_tail is not None:
        for first in range(0, count, stream.batch_size):
            values = torch.from_numpy(trunk.before_tail.values[view, first : first + stream.batch_size].copy())
            yield read_of_trunk(trunk.model, values.view(torch.bfloat16).to(trunk.autocast.device), trunk.autocast)
        return
    for batch in feed.batches(_one_view(stream, view, count)):
        yield trunk.features(batch.images)


def _one_view(stream: Stream, view: int, count: int) -> _OneView:
    plan, steps = evaluation_plan(count, stream.batch_size), -(-count // stream.batch_size)
    return _OneView(**(vars(stream) | {"plan": plan, "steps": steps, "view": view}))


def _shape_of_one(stream: Stream, trunk: Trunk) -> tuple[int, ...]:
    """Of one image's features, without the axis of images."""
    size = stream.augmentation.image_size
    images = torch.zeros((1, 3, size, size), device=trunk.autocast.device)
    return tuple(trunk.features(images).shape[1:])


def _key(shards: Shards, stream: Stream, trunk: Trunk, shape: tuple[int, ...]) -> dict[str, Any]:
    """What the features are of. Equal keys mean equal features on one machine, made by one version."""
    augmentation, split = stream.augmentation, stream.split
    return {
        "format_version": FORMAT_VERSION,
        "shards": [shard.sha256 for shard in shards.manifest.splits[split.packed_name].shards],
        "split": split.packed_name,
        "network": trunk.name,
        "part": trunk.part,
        "weights": digest_of(trunk.model.tensors_before(trunk.part)),
        "views": {
            "image_size": augmentation.image_size,
            "resampler": augmentation.resampler,
            **({"fit": augmentation.fit} if augmentation.fit != "stretch" else {}),
            **({"store_size": augmentation.store_size} if augmentation.store_size else {}),
            "crops": augmentation.crops_per_image if augmentation.crops else 0,
            "flip": augmentation.flip,
            "seed": stream.seed if augmentation.crops else None,
        },
        "statistics": [list(stream.mean), list(stream.std)],
        "precision": trunk.autocast.precision,
        "device": trunk.autocast.device.type,
        "shape": list(shape),
        **({"by_way_of_cut": True} if trunk.by_way_of_tail else {}),
    }


class FeatureBatches(Batches):
    """An endless iterator over a stream's batches of kept features, from step `start` on."""

    def __init__(self, stream: Stream, kept: KeptFeatures, device: torch.device, start: int = 0) -> None:
        self._stream, self._values, self._device, self._step = stream, kept.values, device, start

    def __next__(self) -> Batch:
        stream = self._stream
        ids, epochs = stream.plan(self._step)
        self._step += 1
        numbers = view_numbers(stream.augmentation, stream.views(ids, epochs), epochs)
        values = torch.from_numpy(self._values[numbers, stream.split.rows[ids]]).view(torch.bfloat16)
        labels = torch.from_numpy(stream.split.labels[ids])
        return Batch(values.to(self._device), labels.to(self._device), ids)


@dataclass(frozen=True, eq=False)
class FrozenPart:
    """A frozen trunk, and the features of it that are kept; None where they are computed in each step."""

    trunk: Trunk
    kept: KeptFeatures | None

    def batches(self, stream: Stream, feed: Feed, start: int, threads: int) -> Batches:
        """The features of a stream's batches, from step `start` on."""
        if self.kept is not None:
            return FeatureBatches(stream, self.kept, self.trunk.autocast.device, start)
        return _TrunkBatches(feed.batches(stream, start, threads), self.trunk)


class _TrunkBatches(Batches):
    """The features of batches of images, computed when they are asked for."""

    def __init__(self, images: Batches, trunk: Trunk) -> None:
        self._images, self._trunk = images, trunk

    def __next__(self) -> Batch:
        batch = next(self._images)
        return replace(batch, images=self._features(batch.images))

    def take(self) -> Inputs:
        return self._images.take()

    def show(self, taken: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = self._images.show(taken)
        return self._features(images), labels

    def _features(self, images: torch.Tensor) -> torch.Tensor:
        return self._trunk.features(images)


def _mb(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
