"""Where batches come from: decoded anew in each epoch, or from stores, where a split's images were decoded once.

Either way the same images are shown in the same way at each step; on a CPU to the same bits.
"""

import importlib.util
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from fastwsol.batches.decoded_store import (
    Store,
    default_folder,
    free_disk_bytes,
    is_built,
    never,
    open_store,
    store_bytes,
)
from fastwsol.batches.store_batches import DeviceBatches, StoreBatches
from fastwsol.batches.stream import Batches, Stream, of_one_size
from fastwsol.dataset.shards import Shards, Split
from fastwsol.host.command_line import OptionalPath
from fastwsol.host.device import Autocast, memory_available
from fastwsol.host.errors import UserError
from fastwsol.host.processes import World

Data = Literal["auto", "dali", "resident"]

_SHARE_OF_MEMORY = 0.5
"""The share of the free memory that stores may take. A mapped file that does not fit is read from the disk again and
again.
"""


@dataclass(frozen=True)
class DataFlags:
    """How images become batches. Every choice gives the same batches."""

    data: Data = "auto"
    """resident: decode the images once, into a file that is mapped (on a GPU, a tensor); dali: decode them in every
    epoch; auto: resident where that fits, and says so"""
    store: OptionalPath = None
    """folder for the decoded images; default: `decoded` beside the shards"""


class Feed:
    """Makes batches in this process. `stores`: by the name of the packed split; the others are decoded by DALI."""

    def __init__(self, autocast: Autocast, threads: int, compiled: bool, stores: dict[str, Store]) -> None:
        self._autocast, self._threads, self._compiled, self._stores = autocast, threads, compiled, stores
        self._on_device: dict[str, torch.Tensor] = {}

    def batches(self, stream: Stream, start: int = 0, threads: int | None = None) -> Batches:
        """The batches of `stream` from step `start` on, made by `threads` threads, by default the feed's."""
        threads, name = threads or self._threads, stream.split.packed_name
        device, dtype = self._autocast.device, self._autocast.dtype
        if name not in self._stores:
            from fastwsol.batches.dali_batches import DaliBatches  # here: DALI is not there on every machine

            return DaliBatches(stream, device, threads, start)
        if device.type == "cpu":
            return StoreBatches(stream, self._stores[name], dtype, threads, start)
        return DeviceBatches(stream, self._pixels(name), dtype, self._compiled, start)

    def data(self, split: Split) -> Literal["resident", "dali"]:
        """Where a split's images come from."""
        return "resident" if split.packed_name in self._stores else "dali"

    def views_by(self, split: Split) -> Literal["kernel", "dali", "torch", "torch, compiled"]:
        """What makes a split's views of decoded images: equal answers mean equal bits."""
        if self._autocast.device.type == "cpu":
            return "kernel" if of_one_size(split) else "dali"
        if split.packed_name not in self._stores:
            return "dali"
        return "torch, compiled" if self._compiled else "torch"

    def _pixels(self, name: str) -> torch.Tensor:
        if name not in self._on_device:
            with warnings.catch_warnings():  # of an array that is read-only: so is what is made of it
                warnings.simplefilter("ignore")
                # Of the file that was verified, though another may have taken its place since.
                mapped = torch.from_numpy(self._stores[name].pixels)
            self._on_device[name] = mapped.to(self._autocast.device)
        return self._on_device[name]


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
) -> Feed:
    """The feed for the packed splits `names` of `shards`, none of which may be a subset.

    Stores are built where there are none; under --data auto only where `builds`. Raises UserError where the path asked
    for is not possible here, and Interrupted where `gives_up` returns true while a store is built.
    """

    def open_stores(verify: bool) -> dict[str, Store]:
        return _open_stores(flags, shards, names, autocast.device, threads, verify, builds, gives_up)

    return Feed(autocast, threads, compiled, world.machine_lead_first(open_stores))


def _open_stores(
    flags: DataFlags,
    shards: Shards,
    names: Sequence[str],
    device: torch.device,
    threads: int,
    verify: bool,
    builds: bool,
    gives_up: Callable[[], bool],
) -> dict[str, Store]:
    folder = flags.store if flags.store is not None else default_folder(shards)
    stores: dict[str, Store] = {}
    bytes_in_memory = 0
    for name in names:
        if flags.data == "dali":
            obstacle: str | None = "as asked"
        elif flags.data == "auto" and not builds and not is_built(shards, name, folder):
            obstacle = "decoded once it is worth a store"
        else:
            obstacle = _obstacle(shards, name, folder, device, bytes_in_memory)
        if obstacle is None:
            try:
                stores[name] = open_store(shards, name, folder, threads, verify, gives_up)
            except OSError as error:
                obstacle = f"{error.filename or folder} cannot be written ({error.strerror})"
        if obstacle is None:
            bytes_in_memory += store_bytes(shards.splits[name])
            print(f"{name}: decoded once, {stores[name].path} ({_bytes(stores[name].pixels.nbytes)})", flush=True)
        elif flags.data == "resident":
            raise UserError(f"--data resident: {name}: {obstacle}; use --data dali, or another folder with --store")
        else:
            _require_dali(name, obstacle)
            print(f"{name}: decoded in every epoch ({obstacle})", flush=True)
    return stores


def _obstacle(shards: Shards, name: str, folder: Path, device: torch.device, bytes_in_memory: int) -> str | None:
    """Why the packed split cannot be decoded once, or None. `bytes_in_memory`: of other stores."""
    split = shards.splits[name]
    if not of_one_size(split):
        sizes = len(np.unique(np.stack([split.widths, split.heights]), axis=1).T)
        return f"its images have {sizes:,} sizes, and a store needs them at a single fixed one"
    needed = store_bytes(split)
    if not is_built(shards, name, folder) and needed > (free := free_disk_bytes(folder)):
        return f"needs {_bytes(needed)} in {folder}, where {_bytes(free)} are free"
    available = memory_available()
    if device.type == "cuda":
        available = torch.cuda.mem_get_info(device)[0]
    if bytes_in_memory + needed > _SHARE_OF_MEMORY * available:
        what = "GPU memory" if device.type == "cuda" else "memory"
        return f"takes {_bytes(needed)}, and {_bytes(available)} of {what} are free"
    return None


def _require_dali(name: str, obstacle: str) -> None:
    if importlib.util.find_spec("nvidia") is None or importlib.util.find_spec("nvidia.dali") is None:
        raise UserError(
            f"--data: {name} is to be decoded in every epoch ({obstacle}), and DALI is not installed; install "
            f"nvidia-dali-cuda120, or use --data resident"
        )


def _bytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
