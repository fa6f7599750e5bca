"""Images as a Python program has them: paths, files, encoded bytes, Pillow images, arrays."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sized
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fastwsol.prediction.user_images import NamedImage, as_pixels, decode_upright, image_file, opened_upright

ImageLike = (
    str | Path | bytes | bytearray | memoryview | IO[bytes] | Image.Image | NDArray[np.uint8] | NDArray[np.uint16]
)
"""A path, an encoded image or a file of one, a Pillow image, or pixels of 8 or 16 bits, [H, W, 3] in RGB or [H, W]."""


def several_images(images: Iterable[Any] | ImageLike) -> Iterable[Any]:
    """Images, of which one may stand alone; an array [N, H, W, C] is N."""
    if isinstance(images, str | Path | bytes | bytearray | memoryview | Image.Image) or hasattr(images, "read"):
        return [images]
    if isinstance(images, np.ndarray) and images.dtype.kind in "OU":  # of paths or images, as a table has them
        return list(images.ravel())
    if isinstance(images, np.ndarray) and images.ndim < 4:
        return [images]
    return images


def named_image(image: ImageLike, number: int) -> NamedImage:
    """The image under the name it has in messages and results. Raises TypeError for what is no image."""
    if isinstance(image, str | Path):
        return _folder(Path(image)) if os.path.isdir(image) else image_file(Path(image))
    if isinstance(image, NamedImage):
        return image
    if hasattr(image, "read"):
        return NamedImage(str(number), lambda: decode_upright(_read(cast(IO[bytes], image))))
    if isinstance(image, bytes | bytearray | memoryview):
        encoded = bytes(image)
        return NamedImage(str(number), lambda: decode_upright(encoded))
    if isinstance(image, Image.Image):
        return NamedImage(str(number), lambda: opened_upright(image))
    if isinstance(image, np.ndarray):
        return NamedImage(str(number), lambda: as_pixels(image))
    raise TypeError(f"image {number} is of type {type(image).__name__}; give paths, bytes, Pillow images or arrays")


def _read(file: IO[bytes]) -> bytes:
    """What is in an open file. Raises ValueError where it cannot be read."""
    try:
        content = file.read()
    except (OSError, ValueError) as error:  # closed; text in another encoding
        raise ValueError(f"cannot be read ({error}); give a file that is open in binary mode") from None
    if not isinstance(content, bytes):
        raise ValueError("is open in text mode; open it in binary mode")
    return content


def _folder(path: Path) -> NamedImage:
    """A folder, which is no image."""

    def pixels() -> NDArray[np.uint8]:
        raise ValueError(f"is a folder; give the images in it, as sorted(Path({str(path)!r}).rglob('*.jpg'))")

    return NamedImage(str(path), pixels)


_CLASSES_AND_IMAGES = "classes in of_class: {}, images: {}; give a class for each"


def with_labels(images: Iterable[NamedImage], several: Iterable[Any], labels: list[int]) -> Iterator[NamedImage]:
    """Each image with its label. Raises ValueError where there are not as many of both, at once where that is known."""
    if isinstance(several, Sized) and len(several) != len(labels):
        raise ValueError(_CLASSES_AND_IMAGES.format(len(labels), len(several)))

    def labelled() -> Iterator[NamedImage]:
        count = 0
        for count, image in enumerate(images, 1):
            if count > len(labels):
                break
            yield replace(image, label=labels[count - 1])
        if count != len(labels):
            raise ValueError(_CLASSES_AND_IMAGES.format(len(labels), "more" if count > len(labels) else count))

    return labelled()
