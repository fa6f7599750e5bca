"""Images as a Python program has them: paths, files, encoded bytes, Pillow images, arrays."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fastwsol.prediction.user_images import (
    NamedImage,
    as_pixels,
    decode_upright,
    image_file,
    image_without_a_name,
    opened_upright,
    unreadable_image,
)
from fastwsol.sources.annotated import is_text

ImageLike = (
    NamedImage
    | str
    | Path
    | bytes
    | bytearray
    | memoryview
    | IO[bytes]
    | Image.Image
    | NDArray[np.uint8]
    | NDArray[np.uint16]
)
"""What `find_images` found, a path, an encoded image or a file of one, a Pillow image, or pixels of 8 or 16 bits,
[H, W, 3] in RGB, [H, W, 4] whose alpha is dropped, or grey, [H, W] or [H, W, 1].
"""


class IndexedImages(Protocol):
    """Images by their number, as a data set of torch has them."""

    def __getitem__(self, index: int, /) -> ImageLike:
        """Raises IndexError behind the last."""


SeveralImages = Iterable[ImageLike] | IndexedImages | NDArray[np.object_] | NDArray[np.str_]
"""Several images, or an array of paths, as the column of a table is."""


def several_images(images: SeveralImages | ImageLike) -> Iterable[Any]:
    """The images, where one may be given alone; an array [N, H, W, C] is N images. Raises TypeError for others."""
    one = NamedImage | str | Path | bytes | bytearray | memoryview | Image.Image
    if isinstance(images, one) or hasattr(images, "read"):
        return [images]
    if isinstance(images, np.ndarray) and images.dtype.kind in "OU":  # of paths or images, as a table has them
        return list(images.ravel())
    if isinstance(images, np.ndarray) and images.ndim < 4:
        return [images]
    try:
        several = iter(images)  # which sequences without `__iter__` have too, as data sets of torch
    except TypeError:
        several = None
    if several is None or isinstance(images, Mapping):
        raise TypeError(f"images of type {type(images).__name__}; give paths, bytes, Pillow images or arrays")
    return images if isinstance(images, Iterable) else several


def named_image(image: ImageLike, number: int) -> NamedImage:
    """The image under the name it has in messages and results. An image that is not a path is read now, since it may
    have been changed or closed when its turn comes. Raises TypeError for what is no image.
    """
    if isinstance(image, str | Path):
        return _file_or_folder(Path(image))
    if isinstance(image, NamedImage):
        return image
    name = str(number)
    try:
        if hasattr(image, "read"):
            encoded = _read(cast(IO[bytes], image))
            return NamedImage(name, lambda: decode_upright(encoded))
        if isinstance(image, bytes | bytearray | memoryview):
            copied = bytes(image)
            return NamedImage(name, lambda: decode_upright(copied))
        if isinstance(image, Image.Image | np.ndarray):
            pixels = opened_upright(image) if isinstance(image, Image.Image) else _own_pixels(image)
            return NamedImage(name, lambda: pixels)
    except ValueError as error:
        return unreadable_image(name, str(error))
    raise TypeError(
        f"image {number} is of type {type(image).__name__}; give paths, bytes, Pillow images or arrays [H, W, 3] (of a "
        f"tensor [3, H, W]: tensor.permute(1, 2, 0).numpy())"
    )


def _own_pixels(array: NDArray) -> NDArray[np.uint8]:
    """`as_pixels`, in memory of its own: the program may show its next image in the same array."""
    pixels = as_pixels(array)
    return pixels.copy() if np.may_share_memory(pixels, array) else pixels


def _read(file: IO[bytes]) -> bytes:
    """What is in an open file. Raises ValueError where it cannot be read."""
    try:
        content = file.read()
    except (OSError, ValueError) as error:  # closed; text in another encoding
        raise ValueError(f"cannot be read ({error}); give a file that is open in binary mode") from None
    if not isinstance(content, bytes):
        raise ValueError("is open in text mode; open it in binary mode")
    return content


def _file_or_folder(path: Path) -> NamedImage:
    """What a program names, which may be no path at all."""
    if not is_text(str(path)):
        return image_without_a_name(str(path))
    if re.match("https?:/", str(path)):
        return unreadable_image(str(path), "is an address; download it first")
    try:
        os.lstat(path)
        if not os.path.isdir(path):
            return image_file(path)
    except (FileNotFoundError, NotADirectoryError):
        return unreadable_image(str(path), f"missing{_looked_for_in(path)}; give the path of an image that is there")
    except (OSError, RuntimeError, ValueError) as error:  # as a loop of links
        return unreadable_image(str(path), f"cannot be read ({error})")
    return unreadable_image(str(path), f"is a folder; give its images, fastwsol.find_images({str(path)!r}).images")


def _looked_for_in(path: Path) -> str:
    """Where a relative path begins, in words; empty where that is not known."""
    try:
        return "" if path.is_absolute() else f" in {os.getcwd()}"
    except OSError:  # that folder was removed
        return ""


_CLASSES_AND_IMAGES = "classes in of_class: {}, images: {}; give a class for each"


def with_labels(images: Iterable[NamedImage], several: Iterable[Any], labels: list[int]) -> Iterator[NamedImage]:
    """Each image with its label. Raises ValueError where there are not as many labels as images, at once where both
    numbers are known.
    """
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
