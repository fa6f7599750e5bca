"""The store: a split's images decoded once, as uint8 in a memory-mapped file that all processes of a machine share.

    shards/decoded/
      train.npy     uint8 [N, H, W, 3] in the packed order; NumPy can open it
      train.json    which shards it was made from (`host.kept_arrays`)

Images of one size are stored as they are. What is shown of images of many sizes (all of it, or the middle square) is
brought to a square first, by a cubic filter that is wider where an image shrinks: `train-256.npy`, or
`train-256-crop.npy`, for squares of 256 pixels.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fastwsol.batches.stream import of_one_size
from fastwsol.config import Fit
from fastwsol.dataset.shards import Shards
from fastwsol.geometry import shown_windows
from fastwsol.host.errors import Interrupted, RunFailure
from fastwsol.host.kept_arrays import ComputedOnce, Found, KeptArray
from fastwsol.host.stop_signals import never
from fastwsol.host.ticker import image_ticker
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


@dataclass(frozen=True)
class Store:
    """Which store: of the packed split `name` of `shards`, in `folder`. square: the side in pixels that what is shown
    of images is brought to; 0: they are of one size, and stay as they are. fit: what is shown of images.
    """

    shards: Shards
    name: str
    folder: Path
    square: int = 0
    fit: Fit = "stretch"

    @property
    def array(self) -> ComputedOnce:
        """The decoded images, uint8 [N, H, W, 3], and what they are of."""
        split, square = self.shards.splits[self.name], self.square
        assert len(split) == self.shards.manifest.splits[self.name].images  # not a subset
        assert square or of_one_size(split)
        height, width = (square, square) if square else (int(split.heights[0]), int(split.widths[0]))
        shape = (len(split), height, width, 3)
        key = {
            "format_version": FORMAT_VERSION,
            "shards": [shard.sha256 for shard in self.shards.manifest.splits[self.name].shards],
            "shape": list(shape),
            **({"filter": _FILTER.name, "fit": self.fit} if square else {}),
        }
        file_name = self.name + (f"-{square}" + "-crop" * (self.fit == "crop") if square else "")
        return ComputedOnce(self.folder, file_name, key, SOURCES_OF_PIXELS, PACKAGES_OF_PIXELS, shape)

    def is_built(self) -> bool:
        """Whether the store lies there; that it is whole, and of this version, is not checked."""
        return self.array.is_there()

    def open(self, threads: int, verify: bool = True, gives_up: Callable[[], bool] = never) -> KeptArray:
        """The store; it is built on `threads` threads where there is none.

        Raises RunFailure naming an image that does not decode, OSError where the file cannot be written, and
        Interrupted where building is to be given up; for the rest see `ComputedOnce.open`.
        """
        array = self.array

        def tell(found: Found) -> None:
            if found in ("outdated", "damaged"):
                why = "was made by another version" if found == "outdated" else "is of other shards or damaged"
                print(f"{array.path}: {why}, and is built anew", flush=True)

        def fill(pixels: NDArray[np.uint8]) -> None:
            _decode(self, pixels, threads, gives_up)

        return array.open(fill, tell, verify, gives_up)


def default_folder(shards: Shards) -> Path:
    """Where the stores of `shards` lie unless another folder is named."""
    return shards.folder / FOLDER_NAME


def default_square(image_size: int) -> int:
    """Pixels a side of the square that images of many sizes are brought to: 1.15 x the image size, rounded to 32."""
    return 32 * round(1.15 * image_size / 32)


_FILTER = Image.Resampling.BICUBIC


def in_square(pixels: NDArray[np.uint8], square: int, fit: Fit = "stretch") -> NDArray[np.uint8]:
    """What is shown of an image uint8 [H, W, 3], stretched to uint8 [square, square, 3]. Where an axis shrinks, the
    filter is as much wider, so that no detail aliases.
    """
    height, width, _ = pixels.shape
    ((x, y, shown_width, shown_height),) = shown_windows(fit, np.array([width]), np.array([height])).tolist()
    shown = pixels[y : y + shown_height, x : x + shown_width]
    return np.asarray(Image.fromarray(shown).resize((square, square), _FILTER))


def _decode(store: Store, pixels: NDArray[np.uint8], threads: int, gives_up: Callable[[], bool]) -> None:
    """Decode the images of a store into `pixels`."""
    split = store.shards.splits[store.name]

    def decode_chunk(first: int) -> int:
        rows = range(first, min(first + _CHUNK, len(split)))
        for row in rows:
            try:
                decoded = decode(split.image(row))
            except ValueError as error:
                raise RunFailure(f"{split.names([row])[0]} cannot be decoded ({error}); pack anew") from None
            pixels[row] = in_square(decoded, store.square, store.fit) if store.square else decoded
        return len(rows)

    decoded_images = 0
    with image_ticker(f"decoding {split.name} once", len(split)) as ticker, ThreadPoolExecutor(threads) as pool:
        try:
            for count in pool.map(decode_chunk, range(0, len(split), _CHUNK)):
                decoded_images += count
                ticker.update(decoded_images)
                if gives_up():
                    raise Interrupted(f"{store.array.path} is not built yet; the same command begins it anew")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
