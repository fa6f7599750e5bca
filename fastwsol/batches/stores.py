"""Which splits have their images decoded once, in stores, and why the others do not."""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from fastwsol.batches.decoded_store import Store, default_folder
from fastwsol.batches.stream import of_one_size
from fastwsol.config import Fit
from fastwsol.dataset.shards import Shards, Split
from fastwsol.host.errors import UserError
from fastwsol.host.flags import OptionalPath
from fastwsol.host.kept_arrays import KeptArray
from fastwsol.host.kept_files import why_too_large
from fastwsol.host.limits import memory_available
from fastwsol.host.stop_signals import never
from fastwsol.host.words import bytes_text

Data = Literal["auto", "dali", "resident"]


@dataclass(frozen=True)
class DataFlags:
    """How images become batches. All choices give the same batches, with one exception: to train on images of many
    sizes, resident and auto bring them to a square first.
    """

    data: Data = "auto"
    """resident: decode the images once, into a file that is mapped (on a GPU, a tensor); dali: decode them
    whenever they are read; auto: resident where that fits, and says so"""
    store: OptionalPath = None
    """folder for the decoded images; default: `decoded` in the shards' folder"""


StoreKey = tuple[str, int]
"""The name of a packed split, and the side of the square that its images were brought to; 0: they are of one size."""


@dataclass(frozen=True)
class StoreRules:
    """What decides whether a split of `shards` has a store. fit: how images are brought to a square; builds: whether
    stores are built under --data auto; gives_up: as of `open_store`.
    """

    flags: DataFlags
    shards: Shards
    fit: Fit
    device: torch.device
    builds: bool = True
    gives_up: Callable[[], bool] = never

    def open(self, keys: Sequence[StoreKey], threads: int, verify: bool) -> dict[StoreKey, KeptArray]:
        """The stores that splits have, those that are missing built on `threads` threads; it is said where each split's
        images come from. Raises UserError where the flags ask for what is not possible here, Interrupted where it gives
        up.
        """
        if self.flags.data == "dali" and self.flags.store is not None:
            raise UserError(
                f"--store {self.flags.store}: --data dali keeps no decoded images; leave one of the two out"
            )
        folder = folder_of(self.flags, self.shards)
        stores: dict[StoreKey, KeptArray] = {}
        for name, square in keys:
            split, asked = self.shards.splits[name], Store(self.shards, name, folder, square, self.fit)
            obstacle = self._obstacle(asked, sum(store.values.nbytes for store in stores.values()))
            if obstacle is None:
                try:
                    store = asked.open(threads, verify, self.gives_up)
                except OSError as error:
                    obstacle = f"{error.filename or folder} cannot be written ({error.strerror})"
            if obstacle is not None:
                self._refuse_to_do_without(name, square, obstacle)
                require_dali(split, obstacle)
                print(f"{name}: decoded whenever it is read ({obstacle})", flush=True)
                continue
            stores[name, square] = store
            brought = f", brought to {square} x {square} pixels" if square else ""
            print(f"{name}: decoded once{brought}, {store.path} ({bytes_text(store.values.nbytes)})", flush=True)
        return stores

    def _obstacle(self, store: Store, bytes_in_memory: int) -> str | None:
        """Why a split is to have no store, or None. bytes_in_memory: of the stores that others have."""
        square, split = store.square, self.shards.splits[store.name]
        if self.flags.data == "dali":
            if square:
                raise UserError(
                    f"--data dali: the run's images were brought to squares of {square} pixels; leave the flag out, or "
                    f"train anew in another --run-dir"
                )
            return "as asked"
        if not square and not of_one_size(split):
            return f"its images have {_sizes(split):,} sizes"
        has_store = store.is_built()
        if self.flags.data == "auto" and not square and not self.builds and not has_store:
            return "decoded once it is worth a store"
        if square and has_store and self.device.type == "cpu":
            return None  # where memory is short, a mapped file is slow, and the run can have no other
        return why_no_room(store, self.device, bytes_in_memory)

    def _refuse_to_do_without(self, name: str, square: int, obstacle: str) -> None:
        """Raise UserError where a store was asked for, or the run can have no other images."""
        if square:
            raise UserError(
                f"--store-size {square}: {name}: {obstacle}; name another folder with --store, or train anew with "
                f"--data dali in another --run-dir"
            )
        if self.flags.data != "resident":
            return
        if of_one_size(self.shards.splits[name]):
            raise UserError(f"--data resident: {name}: {obstacle}; use --data dali, or another folder with --store")
        if name == "train" or not self.builds:
            raise UserError(
                f"--data resident: {name}: {obstacle}, and only a training brings images to a square; use --data auto"
            )


def folder_of(flags: DataFlags, shards: Shards) -> Path:
    """Where the stores of `shards` are."""
    return flags.store if flags.store is not None else default_folder(shards)


def why_no_room(store: Store, device: torch.device, bytes_in_memory: int = 0) -> str | None:
    """Why there is no room for a store, or None. `bytes_in_memory`: of other stores."""
    available, memory = memory_available(), "memory"
    if device.type == "cuda":
        available, memory = torch.cuda.mem_get_info(device)[0], "GPU memory"
    needed, is_there = store.array.nbytes, store.is_built()
    return why_too_large(needed, store.folder, available, memory=memory, in_use=bytes_in_memory, is_there=is_there)


def has_dali() -> bool:
    """Whether DALI is installed."""
    return importlib.util.find_spec("nvidia") is not None and importlib.util.find_spec("nvidia.dali") is not None


def require_dali(split: Split, obstacle: str) -> None:
    """Raise UserError where a split is to be decoded in every epoch, since `obstacle`, and DALI is not installed."""
    if not has_dali():
        raise UserError(
            f"--data: {split.name} is to be decoded in every epoch ({obstacle}), and DALI is not installed; install "
            f"nvidia-dali-cuda120" + (", or use --data resident" if of_one_size(split) else "")
        )


def _sizes(split: Split) -> int:
    """How many different sizes the images have."""
    return len(set(zip(split.widths.tolist(), split.heights.tolist(), strict=True)))
