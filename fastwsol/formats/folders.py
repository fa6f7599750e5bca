"""What folders with a file an image share: where an image and what belongs to it go."""

import io
import os
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from PIL import Image, ImageOps

from fastwsol.host.errors import UserError
from fastwsol.host.files import naming
from fastwsol.sources import heif
from fastwsol.sources.decode import GIF_START, as_rgb, judge_images
from fastwsol.sources.encode import as_png
from fastwsol.sources.jpeg_markers import JPEG_START
from fastwsol.sources.orientation import orientation
from fastwsol.sources.png_chunks import PNG_START

_LONGEST_NAME = 255
"""Bytes."""
_ENDINGS = {JPEG_START: (".jpg", ".jpeg", ".jpe", ".jfif"), PNG_START: (".png",)}


def path_inside(name: str) -> PurePosixPath:
    """The path of an image of this name below any folder, which nothing in it leads out of."""
    parts = [part for part in PurePosixPath(name.replace(os.sep, "/")).parts if part not in ("/", "..", ".")]
    return PurePosixPath(*(parts or ["image"]))


def refuse_shared_files(flag: str, names: Iterable[str], file_of: Callable[[str], PurePosixPath]) -> None:
    """Raise UserError, naming the flag and what it was given, where two images would share a file, or a file's name is
    longer than file systems take. file_of: the file's path, by the image's name; one that differs in case alone is the
    same on some file systems.
    """
    owner: dict[str, str] = {}
    for name in names:
        path = file_of(name)
        refuse_long(flag, name, path)
        other = owner.setdefault(str(path).lower(), name)
        if other != name:
            raise UserError(
                f"{flag}: {other!r} and {name!r} would share {path}; rename one (and pack anew what is packed), or do "
                f"without the flag"
            )


def refuse_long(flag: str, name: str, path: PurePosixPath) -> None:
    """Raise UserError where a file of an image would have a longer name than file systems take."""
    if any(len(os.fsencode(part)) > _LONGEST_NAME for part in path.parts):
        raise UserError(
            f"{flag}: {name!r:.80} is too long a name, to which an ending is added; rename it, or do without the flag"
        )


def mask_file(name: str) -> PurePosixPath:
    """Where the mask of an image of this name goes, below the folder of masks."""
    path = path_inside(name)
    return path.with_name(f"{path.name}.png")


def image_file(name: str, encoded: bytes) -> PurePosixPath:
    """Where an image goes, below the folder of images: under its name, with an ending behind it where its own is not
    that of what it is, as of a photograph that was packed anew.
    """
    path = path_inside(name)
    for start, endings in _ENDINGS.items():
        if encoded.startswith(start) and path.suffix.lower() not in endings:
            return path.with_name(path.name + endings[0])
    return path


def in_split(path: PurePosixPath, split: str) -> PurePosixPath:
    """Where a file of a split goes, "" for a set without splits: below the split's folder, which a name that begins
    with it does not repeat.
    """
    return path if split and len(path.parts) > 1 and path.parts[0] == split else split / path


def upright(encoded: bytes) -> bytes:
    """The bytes of an image file whose pixels every reader sees as boxes have them: encoded anew where EXIF or XMP
    turns it, which not every reader minds.
    """
    if orientation(encoded) == 1:
        return encoded
    (facts,) = judge_images([encoded], turns=True)
    if not isinstance(facts, str) and facts.instead is not None:
        return facts.instead
    with Image.open(io.BytesIO(encoded)) as opened:  # too small or large to be packed
        return as_png(as_rgb(ImageOps.exif_transpose(opened)))


def write_file(path: Path, content: bytes) -> None:
    """Write a file, and the folders it lies in. Raises UserError where it is there already, as of another image that
    has come to the same name; an OSError names the file.
    """
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("xb") as file:
                file.write(content)
        except FileExistsError:
            raise UserError(f"{path.name}: two images would share this file ({path}); rename one of them") from None


def as_it_is_read(encoded: bytes, name: str) -> bytes:
    """The bytes of an image file that every tool reads alike: a GIF's first frame, AVIF and HEIC as PNG. Raises
    UserError for one that cannot be decoded, by its image's name.
    """
    kind = "GIF" if encoded.startswith(GIF_START) else heif.kind_of(encoded)
    if kind is None:
        return encoded
    if kind != "GIF":
        heif.let_pillow_read(kind)
    try:
        with Image.open(io.BytesIO(encoded), formats=[kind]) as opened:
            return as_png(as_rgb(ImageOps.exif_transpose(opened)))
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{name}: cannot be decoded ({error!s:.80}); put a whole file in its place") from None
