"""Images as a user has them: files, folders and zips; any common format, decoded upright to RGB.

Alpha is dropped, 16 bits become 8, of an animation the first frame is taken, and an image is turned as its EXIF
orientation says, so that boxes are in the pixels that a viewer shows. JPEGs are decoded as strictly as packing does it.
"""

import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from fastwsol.host.errors import UserError
from fastwsol.host.words import number_of
from fastwsol.sources import heif
from fastwsol.sources.annotated import IMAGE_SUFFIXES, LEFT_OUT, NO_TEXT, images_below, is_text
from fastwsol.sources.decode import (
    MAX_PIXELS,
    NONE_OF_OURS,
    as_rgb,
    check_announced_size,
    check_size,
    decode,
    of_16_bits,
    pillows_reasons,
)
from fastwsol.sources.jpeg_markers import JPEG_START
from fastwsol.sources.orientation import orientation, turned
from fastwsol.sources.png_chunks import PNG_START, without_texts
from fastwsol.sources.tiff import check_tiff
from fastwsol.sources.tree import BadFile, Folder, Tree, Zip

MAX_BYTES = 3 * MAX_PIXELS + 2**20
"""Largest file: one that is not compressed. (A JPEG may have `decode.MAX_IMAGE_BYTES`.)"""
_FORMATS = ("PNG", "BMP", "WEBP", "GIF", "TIFF")


@dataclass(frozen=True)
class NamedImage:
    """An image: what it is called, and how to get its pixels, uint8 [H, W, 3], upright (ValueError where it is bad);
    and, of a file, its bytes.
    """

    name: str
    pixels: Callable[[], NDArray[np.uint8]]
    encoded: Callable[[], bytes] | None = None
    label: int | None = None
    """The label of the image's class, where that is known: boxes of that class are then asked for."""
    folders: tuple[str, ...] = ()
    """The folders that it lies in: those inside the place that was named, from the top, and then that place itself."""
    stamp: str = ""
    """For a file, a text that changes when the file does (`Tree.stamps`)."""


@dataclass(frozen=True)
class ImageListing:
    """The images that were found, in order, and what is said of other files that lay between them, in sentences."""

    images: list[NamedImage]
    """As `Predictor.predict` and `stream` take them; each has its `name`."""
    notes: list[str]


def find_images(
    places: Iterable[Path | str] | Path | str, follow_links: bool = False, relative_to: Path | str | None = None
) -> ImageListing:
    """The images of files, folders (all they hold) and zips, each place's in the order of their paths; one place may
    stand alone. follow_links: in folders also what lies behind links that lead out of them.

    Images are named by their path below `relative_to`. Where that is None, they are named by their path in the folder
    or zip, preceded by the path of that folder or zip where there are several places. Of images with the same name one
    counts. Raises UserError for a place that is not there, does not lie in `relative_to`, holds no image or a link to a
    folder that is not to be followed, or is a zip that is not whole.
    """
    paths_of_places = [Path(each) for each in ([places] if isinstance(places, Path | str) else places)]
    above = None if relative_to is None else Path(relative_to)
    images, left_out = [], 0
    ignored_files: Counter[str] = Counter()
    for place in paths_of_places:
        if not place.exists():
            raise UserError(f"{place}: no such file or folder; name images, folders or zips")
        name = str(place) if above is None else _below(place, above)
        if place.is_dir() or place.suffix.lower() == ".zip":
            tree: Tree = Folder(place, follow_links) if place.is_dir() else Zip(place, "", "make it anew")
            unnameable: list[str] = []
            paths, others = images_below(tree, "", unnameable)
            if not paths and not unnameable:
                raise UserError(f"{place}: holds no image (by its ending: {', '.join(IMAGE_SUFFIXES)}); name another")
            before = f"{name}/" if name and (len(paths_of_places) > 1 or above is not None) else ""
            itself = (place.resolve().name,) if place.is_dir() else ()
            images += [
                replace(_in_tree(before + path, tree, path), folders=(*path.split("/")[:-1], *itself), stamp=stamp)
                for path, stamp in paths.items()
            ]
            images += [
                replace(image_without_a_name(before + path), folders=(*path.split("/")[:-1], *itself))
                for path in sorted(unnameable)
            ]
            ignored_files += others
            left_out += tree.left_out
        elif is_text(str(place)):
            images.append(replace(image_file(place), name=name))
        else:
            images.append(replace(image_without_a_name(name), folders=(_folder_of(place),)))
    notes = [f"{number_of(count, 'other file')} in the folders ignored, {why}" for why, count in ignored_files.items()]
    if left_out:
        notes.append(f"{left_out:,} {LEFT_OUT}")
    return ImageListing([*{image.name: image for image in images}.values()], notes)


def _below(place: Path, folder: Path) -> str:
    """A place's path below a folder, empty where it is the folder itself. Raises UserError where there is no such
    folder, or the place does not lie in it.
    """
    if not folder.is_dir():
        raise UserError(f"--relative-to {folder}: no such folder; name one that holds all images")
    try:
        below = Path(os.path.normpath(place.absolute())).relative_to(os.path.normpath(folder.absolute()))
        return "" if below == Path() else below.as_posix()
    except ValueError:
        raise UserError(f"--relative-to {folder}: {place} does not lie in it; name a folder that holds all") from None


def _folder_of(path: Path) -> str:
    """The name of the folder that a file lies in, however its path goes there."""
    return os.path.basename(os.path.dirname(os.path.abspath(path)))


def image_file(path: Path) -> NamedImage:
    """The image that a file is."""
    real = path.resolve()
    image = _in_tree(str(path), Folder(real.parent), real.name)
    try:
        status = real.stat()
        stamp = f"{status.st_size} {status.st_mtime_ns}"
    except OSError:  # which is said where it is read
        stamp = ""
    return replace(image, folders=(_folder_of(path),), stamp=stamp)


def unreadable_image(name: str, reason: str) -> NamedImage:
    """What is no image, or a bad one: it is skipped, with the reason."""

    def pixels() -> NDArray[np.uint8]:
        raise ValueError(reason)

    return NamedImage(name, pixels)


def image_without_a_name(name: str) -> NamedImage:
    """An image that no file of results could name: it is skipped, under its name with what is no text escaped."""
    return unreadable_image(ascii(name)[1:-1], NO_TEXT)


def _in_tree(name: str, tree: Tree, path: str) -> NamedImage:
    def encoded() -> bytes:
        try:
            return tree.read(path, MAX_BYTES)
        except BadFile as error:
            raise ValueError(str(error)) from None

    return NamedImage(name, lambda: decode_upright(encoded()), encoded)


def has_more_frames(image: NamedImage) -> bool:
    """Whether a GIF, TIFF, WEBP or AVIF, by its name, holds more frames or pages than the one shown; False where its
    header cannot be read. (Animated PNGs are not looked for: large sets of PNGs would be read once more.)
    """
    if image.encoded is None or not image.name.lower().endswith((".gif", ".tif", ".tiff", ".webp", ".avif")):
        return False
    try:
        with Image.open(io.BytesIO(image.encoded()), formats=(*_FORMATS, "AVIF")) as opened:
            return bool(getattr(opened, "is_animated", False))
    except Exception:  # as damaged data has Pillow's decoders raise
        return False


def decode_upright(image: bytes) -> NDArray[np.uint8]:
    """The pixels of an encoded image, uint8 [H, W, 3], as a viewer shows them. Raises ValueError with the reason when
    it is bad.
    """
    if image.startswith(JPEG_START):
        pixels, how = decode(image, min_side=1), orientation(image)
        return pixels if how == 1 else turned(pixels, how)
    check_announced_size(image, min_side=1)
    of_png: int | None = None
    if image.startswith(PNG_START):  # whose texts may tell an orientation, and may be damaged where its pixels are not
        of_png, image = orientation(image), without_texts(image)
    formats: tuple[str, ...] = _FORMATS
    if (kind := heif.kind_of(image)) is not None:
        heif.let_pillow_read(kind)
        formats = (kind,)
    try:
        with pillows_reasons(), Image.open(io.BytesIO(image), formats=formats) as opened:
            width, height = opened.size
            check_size(width, height, min_side=1)
            check_tiff(opened)
            return upright_rgb(opened) if of_png is None else turned(as_rgb(opened), of_png)
    except UnidentifiedImageError:
        try:
            decode(image)  # which says what it is instead
        except ValueError as what:
            raise ValueError(str(what).replace(NONE_OF_OURS, "no image of a format that is read")) from None
        raise ValueError("damaged: its header cannot be read") from None


def upright_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """A Pillow image's first frame, upright, as uint8 [H, W, 3]. Raises ValueError for pixels without a range."""
    return as_rgb(ImageOps.exif_transpose(image))


def opened_upright(image: Image.Image) -> NDArray[np.uint8]:
    """`upright_rgb` of a user's Pillow image, which may be read from its file only now. Raises ValueError where that is
    bad.
    """
    try:
        return upright_rgb(image)
    except (ValueError, MemoryError):
        raise
    except Exception as error:  # as of a file that is cut short, or closed
        raise ValueError(f"damaged, or its file is closed: {str(error) or type(error).__name__}") from None


def as_pixels(array: NDArray) -> NDArray[np.uint8]:
    """A user's array as uint8 [H, W, 3]: RGB, RGBA or grey, [H, W] or [H, W, 1], of 8 or 16 bits. Raises ValueError
    for another.
    """
    if array.dtype.newbyteorder("=") not in (np.uint8, np.uint16) or array.ndim not in (2, 3) or 0 in array.shape:
        of_shares = "; of values in 0..1: (255 * array).round().astype('uint8')" if array.dtype.kind == "f" else ""
        raise ValueError(
            f"an array of {array.dtype} {list(array.shape)}, expected uint8 or uint16 [H, W, 3] or [H, W]{of_shares}"
        )
    if array.dtype.itemsize == 2:
        array = of_16_bits(array)
    if array.ndim == 2 or array.shape[2] == 1:
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    if array.shape[2] not in (3, 4):
        first = "where they come first, np.moveaxis(array, -3, -1); " if array.shape[0] in (1, 3, 4) else ""
        raise ValueError(
            f"an array with {array.shape[2]} channels, expected 3 (RGB); give {first}several grey images as a list"
        )
    return np.ascontiguousarray(array[..., :3])


def in_chunks(images: Iterable[NamedImage], size: int) -> Iterator[list[NamedImage]]:
    """Lists of `size` images, the last one perhaps shorter."""
    every = iter(images)
    while chunk := list(islice(every, size)):
        yield chunk
