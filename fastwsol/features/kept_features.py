"""Features of a frozen network, computed once for each view of an image, in a memory-mapped file beside the shards.

    shards/features/
      KEY.npy    uint16 [V, N, ...]: the bits of bfloat16, by view and by the image's place in the packed split
      KEY.json   what they are features of (`host.kept_arrays`)

KEY is the beginning of a digest of all that decides them: shards, split, network, its frozen weights, size, views,
number format.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fastwsol.batches.decoded_store import PACKAGES_OF_PIXELS, SOURCES_OF_PIXELS
from fastwsol.batches.feed import Feed
from fastwsol.batches.numbered_views import view_count
from fastwsol.batches.stream import Stream, evaluation_plan
from fastwsol.dataset.shards import Shards
from fastwsol.features.frozen_network import FrozenNetwork, pooled_of_trunk
from fastwsol.host.environment import DALI_PACKAGES
from fastwsol.host.errors import Interrupted, UserError
from fastwsol.host.kept_arrays import ComputedOnce, Found, KeptArray
from fastwsol.host.kept_files import free_disk_bytes, why_too_large
from fastwsol.host.limits import memory_available
from fastwsol.host.stop_signals import never
from fastwsol.host.ticker import image_ticker
from fastwsol.host.words import bytes_text
from fastwsol.network.backbone_weights import digest_of

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


def open_features(
    shards: Shards,
    stream: Stream,
    feed: Feed,
    frozen: FrozenNetwork,
    asked_folder: Path | None,
    verify: bool = True,
    gives_up: Callable[[], bool] = never,
) -> KeptArray | None:
    """The features of all views of the images that `stream` is a stream of, computed where they are not kept yet; None
    where they cannot be kept, which is said. asked_folder: default `features` beside the shards; with `verify` a file
    that is there is hashed first.

    Raises UserError where there is no room in a folder that was asked for, RunFailure where an image does not decode,
    Interrupted where `gives_up` returns true.
    """
    folder = asked_folder if asked_folder is not None else shards.folder / FOLDER_NAME
    whole = replace(stream, split=shards.splits[stream.split.packed_name])
    if not view_count(stream.augmentation):
        print(_IN_EVERY_EPOCH.format("each epoch has views of its own; --crops-per-image bounds them"), flush=True)
        return None
    array = _array_of(shards, whole, feed, frozen, folder)
    if not array.is_there() and (why := why_too_large(array.nbytes, folder, memory_available())):
        if asked_folder is not None and array.nbytes > free_disk_bytes(folder):
            raise UserError(f"--features {folder}: {why}; name another folder, or leave the flag out")
        print(_IN_EVERY_EPOCH.format(why), flush=True)
        return None

    def tell(found: Found) -> None:
        views, count = array.shape[:2]
        what = f"{count:,} images, {views} view{'s' * (views > 1)} each, {bytes_text(array.nbytes)} in {array.path}"
        print(f"features of the frozen part: {what}: {_HOW[found]}", flush=True)

    def fill(values: NDArray[np.uint16]) -> None:
        _compute(array.path, values, whole, feed, frozen, gives_up)

    try:
        return array.open(fill, tell, verify, gives_up)
    except OSError as error:
        if asked_folder is not None:
            raise UserError(
                f"--features {folder}: cannot be written ({error.strerror}); name another folder, or leave the flag out"
            ) from None
        print(_IN_EVERY_EPOCH.format(f"{folder} cannot be written: {error.strerror}"), flush=True)
        return None


_IN_EVERY_EPOCH = "features of the frozen part: computed in every epoch ({})"
_HOW: dict[Found, str] = {
    "kept": "kept from before",
    "missing": "computed once",
    "damaged": "computed anew, since the file is damaged",
    "outdated": "computed anew, since another version made them",
}


def _compute(
    path: Path,
    values: NDArray[np.uint16],
    stream: Stream,
    feed: Feed,
    frozen: FrozenNetwork,
    gives_up: Callable[[], bool],
) -> None:
    """Fill `values`, which are to lie in `path`."""
    views, count = values.shape[:2]
    with image_ticker("features", views * count, "views") as ticker:
        for view in range(views):
            of_view = _features_of_view(view, count, stream, feed, frozen)
            for first in range(0, count, stream.batch_size):
                stop = min(first + stream.batch_size, count)
                values[view, first:stop] = next(of_view)[: stop - first].view(torch.uint16).cpu().numpy()
                ticker.update(view * count + stop)
                if gives_up():
                    raise Interrupted(f"{path} is not computed yet; the same command begins it anew")


def _features_of_view(
    view: int, count: int, stream: Stream, feed: Feed, frozen: FrozenNetwork
) -> Iterator[torch.Tensor]:
    """The features of a view of all images, a batch at a time; the last batch may have more than there are images."""
    if frozen.before_tail is not None:
        for first in range(0, count, stream.batch_size):
            values = torch.from_numpy(frozen.before_tail.values[view, first : first + stream.batch_size].copy())
            yield pooled_of_trunk(frozen.model, values.view(torch.bfloat16).to(frozen.autocast.device), frozen.autocast)
        return
    plan, steps = evaluation_plan(count, stream.batch_size), -(-count // stream.batch_size)
    for batch in feed.batches(replace(stream, plan=plan, steps=steps, view=view)):
        yield frozen.features(batch.images)


def _array_of(shards: Shards, stream: Stream, feed: Feed, frozen: FrozenNetwork, folder: Path) -> ComputedOnce:
    """The array of features, of all views of a packed split's images: the bits of bfloat16, uint16 [V, N, ...]."""
    augmentation, split = stream.augmentation, stream.split
    image = torch.zeros((1, 3, *[augmentation.image_size] * 2), device=frozen.autocast.device)
    shape_of_one = tuple(frozen.features(image).shape[1:])
    views_by = feed.views_by(split, augmentation.store_size, may_compile=False)
    key = _key(shards, stream, frozen, shape_of_one) | {"views_by": views_by}
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    packages = (*_PACKAGES, *DALI_PACKAGES) if views_by == "dali" else _PACKAGES
    shape = (view_count(augmentation), len(split), *shape_of_one)
    return ComputedOnce(folder, name, key, SOURCES_OF_FEATURES, packages, shape, np.uint16)


def _key(shards: Shards, stream: Stream, frozen: FrozenNetwork, shape: tuple[int, ...]) -> dict[str, Any]:
    """What the features are of. Equal keys mean equal features on one machine, made by one version."""
    augmentation, split = stream.augmentation, stream.split
    return {
        "format_version": FORMAT_VERSION,
        "shards": [shard.sha256 for shard in shards.manifest.splits[split.packed_name].shards],
        "split": split.packed_name,
        "network": frozen.name,
        "part": frozen.part,
        "weights": digest_of(frozen.model.tensors_before(frozen.part)),
        "views": {
            "image_size": augmentation.image_size,
            "resampler": augmentation.resampler,
            **({"fit": augmentation.fit} if augmentation.fit != "stretch" else {}),
            **({"store_size": augmentation.store_size} if augmentation.store_size else {}),
            "crops": augmentation.crops_per_image if augmentation.crops else 0,
            "flip": augmentation.flip,
            "seed": stream.seed if augmentation.crops else None,
        },
        "statistics": [list(each) for each in stream.statistics],
        "precision": frozen.autocast.precision,
        "device": frozen.autocast.device.type,
        "shape": list(shape),
        **({"by_way_of_cut": True} if frozen.from_trunk else {}),
    }
