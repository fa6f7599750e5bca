"""Where batches come from: decoded anew in each epoch, or from stores, where a split's images were decoded once.

Either way the same images are shown in the same way at each step; on a CPU to the same bits. Where a run brings its
training images to a square first (`Augmentation.store_size`), they come from the store of those squares alone.
"""

import warnings
from collections.abc import Sequence
from typing import Literal

import torch

from fastwsol.batches.image_checksums import ImageChecksums
from fastwsol.batches.mixing import MixedBatches
from fastwsol.batches.store_batches import DeviceBatches, StoreBatches
from fastwsol.batches.stores import DataFlags, StoreKey, StoreRules
from fastwsol.batches.stream import Batches, Stream
from fastwsol.config import Augmentation
from fastwsol.dataset.shards import Shards, Split
from fastwsol.host.device import Autocast
from fastwsol.host.kept_arrays import KeptArray
from fastwsol.host.process import Process


class Feed:
    """Makes batches in this process. What is in no store is decoded by DALI. classes: how many the set has, which mixed
    labels are shares of; checksums: by packed split, of those that DALI decodes on the host for a GPU.
    """

    def __init__(
        self,
        autocast: Autocast,
        threads: int,
        compiled: bool,
        stores: dict[StoreKey, KeptArray],
        classes: int,
        checksums: dict[str, ImageChecksums] | None = None,
    ) -> None:
        self._autocast, self._threads, self._compiled, self._stores = autocast, threads, compiled, stores
        self._classes, self._checksums = classes, checksums or {}
        self._on_device: dict[StoreKey, torch.Tensor] = {}

    def batches(self, stream: Stream, start: int = 0, threads: int | None = None, may_compile: bool = True) -> Batches:
        """The batches of `stream` from step `start` on, made by `threads` threads, by default the feed's. may_compile:
        views, where the feed does and the stream has no end.
        """
        batches = self._not_mixed(stream, start, threads or self._threads, may_compile)
        if stream.augmentation.mix == "none":
            return batches
        return MixedBatches(batches, stream, self._classes, self._autocast.device, start)

    def _not_mixed(self, stream: Stream, start: int, threads: int, may_compile: bool) -> Batches:
        key = (stream.split.packed_name, stream.augmentation.store_size)
        device, dtype = self._autocast.device, self._autocast.dtype
        if key not in self._stores:
            assert not stream.augmentation.store_size
            from fastwsol.batches.dali_batches import DaliBatches  # here: DALI is not there on every machine

            checksums = self._checksums.get(stream.split.packed_name)
            views = dtype if dtype == torch.bfloat16 else torch.float32  # fp16 is of GPUs, where DALI makes views
            return DaliBatches(stream, device, threads, start, checksums=checksums, dtype=views)
        if device.type == "cpu":
            return StoreBatches(stream, self._stores[key], dtype, threads, start)
        # A stream that ends is an evaluation's: compiling would take longer than it, and `evaluate` does not either.
        compiled = self._compiled and may_compile and stream.steps is None
        return DeviceBatches(stream, self._pixels(key), dtype, compiled, start)

    def data(self, split: Split, square: int = 0) -> Literal["resident", "dali"]:
        """Where a split's images come from. square: the side that they are brought to before; 0: none."""
        return "resident" if (split.packed_name, square) in self._stores else "dali"

    def views_by(
        self, split: Split, square: int = 0, may_compile: bool = True
    ) -> Literal["kernel", "dali", "torch", "torch, compiled"]:
        """What makes the views that are trained on of decoded images: equal answers mean equal bits. split, square: as
        of `data`; may_compile: as of `batches`.
        """
        if self._autocast.device.type == "cpu":
            return "kernel"
        if self.data(split, square) == "dali":
            return "dali"
        return "torch, compiled" if self._compiled and may_compile else "torch"

    def squares_sha256(self, split: Split, square: int) -> str:
        """The hash of the store that a split's images were brought to squares in."""
        return self._stores[split.packed_name, square].sha256

    def _pixels(self, key: StoreKey) -> torch.Tensor:
        if key not in self._on_device:
            with warnings.catch_warnings():  # of an array that is read-only: so is what is made of it
                warnings.simplefilter("ignore")
                # Of the file that was verified, though another may have taken its place since.
                mapped = torch.from_numpy(self._stores[key].values)
            self._on_device[key] = mapped.to(self._autocast.device)
        return self._on_device[key]


def open_feed(
    flags: DataFlags,
    shards: Shards,
    names: Sequence[str],
    process: Process,
    *,
    compiled: bool = False,
    builds: bool = True,
    train_views: Augmentation | None = None,
) -> Feed:
    """The feed for the packed splits `names` of `shards`, none of which may be a subset.

    Stores are built where there are none; under --data auto only where `builds`. train_views: how train's images are
    shown where they are trained on; with a `store_size` they have to come from a store. Raises UserError where the path
    asked for is not possible here, and Interrupted where the process gives up while a store is built.
    """

    autocast, threads = process.autocast, process.threads
    views = train_views if train_views is not None else Augmentation()
    keys = [(name, views.store_size if name == "train" else 0) for name in names]

    rules = StoreRules(flags, shards, views.fit, autocast.device, builds, process.gives_up)
    stores = process.world.machine_lead_first(lambda verify: rules.open(keys, threads, verify))
    checksums = {}
    if autocast.device.type == "cuda":
        # A split that is trained on in squares is decoded too, as it is, by what looks at it once the training is done.
        checksums = {name: ImageChecksums(shards.splits[name], threads) for name in names if (name, 0) not in stores}
    return Feed(autocast, threads, compiled, stores, len(shards.manifest.classes), checksums)
