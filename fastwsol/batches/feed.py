"""Where batches come from: decoded anew in each epoch, or from stores, where a split's images were decoded once.

Either way the same images are shown in the same way at each step; on a CPU to the same bits. Where a run brings its
training images to a square first (`Augmentation.store_size`), they come from the store of those squares alone.
"""

import importlib.util
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from fastwsol.batches.decoded_store import (
    Store,
    default_folder,
    is_built,
    open_store,
    store_bytes,
)
from fastwsol.batches.mixing import MixedBatches
from fastwsol.batches.seals import Seals
from fastwsol.batches.store_batches import DeviceBatches, StoreBatches
from fastwsol.batches.stream import Batches, Stream, of_one_size
from fastwsol.config import Augmentation, Fit
from fastwsol.dataset.shards import Shards, Split
from fastwsol.host.command_line import OptionalPath
from fastwsol.host.device import Autocast, memory_available
from fastwsol.host.errors import UserError
from fastwsol.host.kept_files import free_disk_bytes, never
from fastwsol.host.processes import World

Data = Literal["auto", "dali", "resident"]

_SHARE_OF_MEMORY = 0.5
"""The share of the free memory that stores may take. A mapped file that does not fit is read from the disk again and
again.
"""


@dataclass(frozen=True)
class DataFlags:
    """How images become batches. Every choice gives the same batches, but of a training on images of many sizes: there
    resident and auto bring them to a square first.
    """

    data: Data = "auto"
    """resident: decode the images once, into a file that is mapped (on a GPU, a tensor); dali: decode them in every
    epoch; auto: resident where that fits, and says so"""
    store: OptionalPath = None
    """folder for the decoded images; default: `decoded` beside the shards"""


StoreKey = tuple[str, int]
"""The name of a packed split, and the side of the square that its images were brought to; 0: they are of one size."""


class Feed:
    """Makes batches in this process. What is in no store is decoded by DALI. classes: how many the set has, which mixed
    labels are shares of; seals: by packed split, of those that DALI decodes on the host for a GPU.
    """

    def __init__(
        self,
        autocast: Autocast,
        threads: int,
        compiled: bool,
        stores: dict[StoreKey, Store],
        classes: int,
        seals: dict[str, Seals] | None = None,
    ) -> None:
        self._autocast, self._threads, self._compiled, self._stores = autocast, threads, compiled, stores
        self._classes, self._seals = classes, seals or {}
        self._on_device: dict[StoreKey, torch.Tensor] = {}

    def batches(self, stream: Stream, start: int = 0, threads: int | None = None) -> Batches:
        """The batches of `stream` from step `start` on, made by `threads` threads, by default the feed's."""
        batches = self._not_mixed(stream, start, threads or self._threads)
        if stream.augmentation.mix == "none":
            return batches
        return MixedBatches(batches, stream, self._classes, self._autocast.device, start)

    def _not_mixed(self, stream: Stream, start: int, threads: int) -> Batches:
        key = (stream.split.packed_name, stream.augmentation.store_size)
        device, dtype = self._autocast.device, self._autocast.dtype
        if key not in self._stores:
            assert not stream.augmentation.store_size
            from fastwsol.batches.dali_batches import DaliBatches  # here: DALI is not there on every machine

            return DaliBatches(stream, device, threads, start, seals=self._seals.get(stream.split.packed_name))
        if device.type == "cpu":
            return StoreBatches(stream, self._stores[key], dtype, threads, start)
        return DeviceBatches(stream, self._pixels(key), dtype, self._compiled, start)

    def data(self, split: Split, square: int = 0) -> Literal["resident", "dali"]:
        """Where a split's images come from. square: the side that they are brought to before; 0: none."""
        return "resident" if (split.packed_name, square) in self._stores else "dali"

    def views_by(self, split: Split, square: int = 0) -> Literal["kernel", "dali", "torch", "torch, compiled"]:
        """What makes a split's views of decoded images: equal answers mean equal bits. square: as of `data`."""
        if self._autocast.device.type == "cpu":
            return "kernel"
        if self.data(split, square) == "dali":
            return "dali"
        return "torch, compiled" if self._compiled else "torch"

    def squares_sha256(self, split: Split, square: int) -> str:
        """The hash of the store that a split's images were brought to squares in."""
        return self._stores[split.packed_name, square].sha256

    def _pixels(self, key: StoreKey) -> torch.Tensor:
        if key not in self._on_device:
            with warnings.catch_warnings():  # of an array that is read-only: so is what is made of it
                warnings.simplefilter("ignore")
                # Of the file that was verified, though another may have taken its place since.
                mapped = torch.from_numpy(self._stores[key].pixels)
            self._on_device[key] = mapped.to(self._autocast.device)
        return self._on_device[key]


def open_feed(
    flags: DataFlags,
    shards: Shards,
    names: Sequence[str],
    autocast: Autocast,
    threads: int,
    compiled: bool,
    world: World,
    builds: bool = True,
    gives_up: Callable[[], bool] = never,
    train_views: Augmentation | None = None,
) -> Feed:
    """The feed for the packed splits `names` of `shards`, none of which may be a subset.

    Stores are built where there are none; under --data auto only where `builds`. train_views: how train's images are
    shown where they are trained on; with a `store_size` they have to come from a store. Raises UserError where the path
    asked for is not possible here, and Interrupted where `gives_up` returns true while a store is built.
    """

    views = train_views if train_views is not None else Augmentation()
    keys = [(name, views.store_size if name == "train" else 0) for name in names]

    def open_stores(verify: bool) -> dict[StoreKey, Store]:
        return _open_stores(flags, shards, keys, views.fit, autocast.device, threads, verify, builds, gives_up)

    stores = world.machine_lead_first(open_stores)
    seals = {}
    if autocast.device.type == "cuda":
        # A split that is trained on in squares is decoded too, as it is, by what looks at it once the training is done.
        seals = {name: Seals(shards.splits[name], threads) for name in names if (name, 0) not in stores}
    return Feed(autocast, threads, compiled, stores, len(shards.manifest.classes), seals)


def _open_stores(
    flags: DataFlags,
    shards: Shards,
    keys: Sequence[StoreKey],
    fit: Fit,
    device: torch.device,
    threads: int,
    verify: bool,
    builds: bool,
    gives_up: Callable[[], bool],
) -> dict[StoreKey, Store]:
    if flags.data == "dali" and flags.store is not None:
        raise UserError(f"--store {flags.store}: --data dali keeps no decoded images; leave one of the two out")
    folder = folder_of(flags, shards)
    stores: dict[StoreKey, Store] = {}
    bytes_in_memory = 0
    for key in keys:
        name, square = key
        split = shards.splits[name]
        has_squares = square > 0 and is_built(shards, name, folder, square, fit)
        if flags.data == "dali" and square:
            raise UserError(
                f"--data dali: the run's images were brought to squares of {square} pixels; leave the flag out, or "
                f"train anew in another --run-dir"
            )
        if flags.data == "dali":
            obstacle: str | None = "as asked"
        elif not square and not of_one_size(split):
            obstacle = f"its images have {_sizes(split):,} sizes"
        elif flags.data == "auto" and not square and not builds and not is_built(shards, name, folder):
            obstacle = "decoded once it is worth a store"
        elif has_squares and device.type == "cpu":
            obstacle = None  # where memory is short, a mapped file is slow, and the run can have no other
        else:
            obstacle = no_room(shards, name, square, fit, folder, device, bytes_in_memory)
        if obstacle is None:
            try:
                stores[key] = open_store(shards, name, folder, threads, verify, gives_up, square, fit)
            except OSError as error:
                obstacle = f"{error.filename or folder} cannot be written ({error.strerror})"
        if obstacle is None:
            store = stores[key]
            bytes_in_memory += store.pixels.nbytes
            brought = f", brought to {square} x {square} pixels" if square else ""
            print(f"{name}: decoded once{brought}, {store.path} ({_bytes(store.pixels.nbytes)})", flush=True)
        elif square:
            raise UserError(
                f"--store-size {square}: {name}: {obstacle}; name another folder with --store, or train anew with "
                f"--data dali in another --run-dir"
            )
        elif flags.data == "resident" and of_one_size(split):
            raise UserError(f"--data resident: {name}: {obstacle}; use --data dali, or another folder with --store")
        elif flags.data == "resident" and (name == "train" or not builds):
            raise UserError(
                f"--data resident: {name}: {obstacle}, and only a training brings images to a square; use --data auto"
            )
        else:
            require_dali(split, obstacle)
            print(f"{name}: decoded in every epoch ({obstacle})", flush=True)
    return stores


def folder_of(flags: DataFlags, shards: Shards) -> Path:
    """Where the stores of `shards` are."""
    return flags.store if flags.store is not None else default_folder(shards)


def no_room(
    shards: Shards,
    name: str,
    square: int,
    fit: Fit,
    folder: Path,
    device: torch.device,
    bytes_in_memory: int = 0,
) -> str | None:
    """Why there is no room for a store, or None. `bytes_in_memory`: of other stores."""
    needed = store_bytes(shards.splits[name], square)
    if not is_built(shards, name, folder, square, fit) and needed > (free := free_disk_bytes(folder)):
        return f"needs {_bytes(needed)} in {folder}, where {_bytes(free)} are free"
    available = memory_available()
    if device.type == "cuda":
        available = torch.cuda.mem_get_info(device)[0]
    if bytes_in_memory + needed > _SHARE_OF_MEMORY * available:
        what = "GPU memory" if device.type == "cuda" else "memory"
        return f"takes {_bytes(needed)}, and {_bytes(available)} of {what} are free"
    return None


def require_dali(split: Split, obstacle: str) -> None:
    """Raise UserError where a split is to be decoded in every epoch, since `obstacle`, and DALI is not installed."""
    if importlib.util.find_spec("nvidia") is None or importlib.util.find_spec("nvidia.dali") is None:
        raise UserError(
            f"--data: {split.name} is to be decoded in every epoch ({obstacle}), and DALI is not installed; install "
            f"nvidia-dali-cuda120" + (", or use --data resident" if of_one_size(split) else "")
        )


def _sizes(split: Split) -> int:
    """How many different sizes the images have."""
    return len(set(zip(split.widths.tolist(), split.heights.tolist(), strict=True)))


def _bytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
