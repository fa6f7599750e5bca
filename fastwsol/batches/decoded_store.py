"""The store: a split's images decoded once, as uint8 in a memory-mapped file that all processes of a machine share.

    shards/decoded/
      train.npy     uint8 [N, H, W, 3] in the packed order; NumPy can open it
      train.json    written last: which shards it was made from and by which code, and its SHA-256
      train.lock    held by the process that builds or checks it

Images of one size are stored as they are. What is shown of images of many sizes (all of it, or the middle square) is
brought to a square first, by a cubic filter that is wider where an image shrinks: `train-256.npy`, or
`train-256-crop.npy`, for squares of 256 pixels. What lies there is made from the shards and may be deleted at any time:
a store of other shards, of another version, or not as it was written is built anew (one of another version that cannot
be replaced is used, with a warning).
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fastwsol.batches.stream import of_one_size
from fastwsol.config import Fit
from fastwsol.dataset.shards import Shards, Split
from fastwsol.geometry import shown_windows
from fastwsol.host.command_line import duration
from fastwsol.host.errors import Interrupted, RunFailure
from fastwsol.host.files import write_json
from fastwsol.host.kept_files import array_when_whole, contents_of, locked, never, read_about, what_is_kept
from fastwsol.host.source_code import made_by
from fastwsol.host.ticker import Ticker
from fastwsol.sources.decode import decode

FORMAT_VERSION = 1
FOLDER_NAME = "decoded"
SOURCES_OF_PIXELS = (
    "fastwsol/batches/decoded_store.py",
    "fastwsol/geometry.py",
    "fastwsol/sources/decode.py",
    "fastwsol/sources/heif.py",
    "fastwsol/sources/jpeg_markers.py",
    "fastwsol/sources/orientation.py",
    "fastwsol/sources/png_chunks.py",
    "fastwsol/sources/tiff.py",
)
"""The modules that decide what an image's pixels are."""
PACKAGES_OF_PIXELS = ("numpy", "pillow", "pillow-heif", "simplejpeg")
_CHUNK = 256
"""Images that a thread decodes at a time."""


@dataclass(frozen=True, eq=False)
class Store:
    """One packed split, decoded. `pixels`: uint8 [N, H, W, 3], mapped from `path`, read-only."""

    path: Path
    pixels: NDArray[np.uint8]
    sha256: str
    """Of the file, as it was when it was written."""


def default_folder(shards: Shards) -> Path:
    """Where the stores of `shards` lie unless another folder is named."""
    return shards.folder / FOLDER_NAME


def store_bytes(split: Split, square: int = 0) -> int:
    """How large the store of a packed split is: of images of one size, or brought to a square."""
    return math.prod(_shape(split, square))


def default_square(image_size: int) -> int:
    """Pixels a side of the square that images of many sizes are brought to: 1.15 x the image size, rounded to 32."""
    return 32 * round(1.15 * image_size / 32)


def is_built(shards: Shards, name: str, folder: Path, square: int = 0, fit: Fit = "stretch") -> bool:
    """Whether a store of the packed split `name` lies in `folder`; that it is whole, and of this version, is not
    checked.
    """
    return read_about(folder, _file_name(name, square, fit)).get("key") == _key(shards, name, square, fit)


def open_store(
    shards: Shards,
    name: str,
    folder: Path,
    threads: int,
    verify: bool = True,
    gives_up: Callable[[], bool] = never,
    square: int = 0,
    fit: Fit = "stretch",
) -> Store:
    """The store of the packed split `name`, which must not be a subset, in `folder`; it is built where there is none.

    square: the side in pixels that what is shown of images is brought to; 0: they are of one size, and stay as they
    are. With `verify` a store that is there is hashed first. Of several processes one builds, on `threads` threads, and
    the others wait. Raises RunFailure naming an image that does not decode, OSError where the file cannot be written,
    and Interrupted where building is to be given up.
    """
    split = shards.splits[name]
    assert len(split) == shards.manifest.splits[name].images
    assert square or of_one_size(split)
    folder.mkdir(parents=True, exist_ok=True)
    file_name, key = _file_name(name, square, fit), _key(shards, name, square, fit)
    path = folder / f"{file_name}.npy"
    with locked(folder, file_name, gives_up):
        about, made = read_about(folder, file_name), made_by(SOURCES_OF_PIXELS, PACKAGES_OF_PIXELS)
        kept = what_is_kept(path, about, key, made, verify)
        if kept != "this":
            if about:
                why = "was made by another version" if kept == "outdated" else "is of other shards or damaged"
                print(f"{path}: {why}, and is built anew", flush=True)
            _build(split, square, fit, path, threads, gives_up)
            about = {"key": key, "made_by": made, **contents_of(path)}
            write_json(folder / f"{file_name}.json", about)
        pixels = np.load(path, mmap_mode="r")
    return Store(path, pixels, about["sha256"])


def _file_name(name: str, square: int, fit: Fit) -> str:
    return name + (f"-{square}" + "-crop" * (fit == "crop") if square else "")


def _shape(split: Split, square: int) -> tuple[int, int, int, int]:
    if square:
        return len(split), square, square, 3
    return len(split), int(split.heights[0]), int(split.widths[0]), 3


def _key(shards: Shards, name: str, square: int, fit: Fit) -> dict[str, Any]:
    """What a store is of. Equal keys mean equal pixels, made by one version."""
    key = {
        "format_version": FORMAT_VERSION,
        "shards": [shard.sha256 for shard in shards.manifest.splits[name].shards],
        "shape": list(_shape(shards.splits[name], square)),
    }
    return key | ({"filter": _FILTER.name, "fit": fit} if square else {})


_FILTER = Image.Resampling.BICUBIC


def in_square(pixels: NDArray[np.uint8], square: int, fit: Fit = "stretch") -> NDArray[np.uint8]:
    """What is shown of an image uint8 [H, W, 3], stretched to uint8 [square, square, 3]. Where an axis shrinks, the
    filter is as much wider, so that no detail aliases.
    """
    height, width, _ = pixels.shape
    ((x, y, shown_width, shown_height),) = shown_windows(fit, np.array([width]), np.array([height])).tolist()
    shown = pixels[y : y + shown_height, x : x + shown_width]
    return np.asarray(Image.fromarray(shown).resize((square, square), _FILTER))


def _build(split: Split, square: int, fit: Fit, path: Path, threads: int, gives_up: Callable[[], bool]) -> None:
    """Decode the split into `path`."""

    def line(images: int, rate: float, left: float) -> str:
        return f"decoding {split.name} once  {images:,} of {len(split):,} images  {duration(left)} left"

    ticker, decoded_images = Ticker(len(split), line), 0
    with array_when_whole(path, _shape(split, square)) as pixels:

        def decode_chunk(first: int) -> int:
            rows = range(first, min(first + _CHUNK, len(split)))
            for row in rows:
                try:
                    decoded = decode(split.image(row))
                except ValueError as error:
                    raise RunFailure(f"{split.names([row])[0]} cannot be decoded ({error}); pack anew") from None
                pixels[row] = in_square(decoded, square, fit) if square else decoded
            return len(rows)

        with ThreadPoolExecutor(threads) as pool:
            try:
                for count in pool.map(decode_chunk, range(0, len(split), _CHUNK)):
                    decoded_images += count
                    ticker.update(decoded_images)
                    if gives_up():
                        raise Interrupted(f"{path} is not built yet; the same command begins it anew")
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        ticker.close()
