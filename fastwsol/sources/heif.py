"""Photographs in HEIF containers (ISO/IEC 23008-12): AVIF, which Pillow reads, and HEIC, which its plugin pillow-heif
reads where it is installed (the extra `heic`).
"""

import functools
import importlib.util
from typing import Literal

from PIL import features

Kind = Literal["AVIF", "HEIF"]
"""As Pillow calls their formats."""
KINDS: tuple[Kind, Kind] = ("AVIF", "HEIF")
_SUFFIXES: dict[Kind, tuple[str, ...]] = {"AVIF": (".avif",), "HEIF": (".heic", ".heif", ".hif")}
_REMEDIES: dict[Kind, str] = {
    "AVIF": "pip install --upgrade pillow, or convert them to JPEG",
    "HEIF": "pip install 'fastwsol[heic]', or convert them to JPEG",
}
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def kind_of(image: bytes) -> Kind | None:
    """What an encoded image is by its first box; None where it is no HEIF container."""
    if image[4:8] != b"ftyp":
        return None
    brands = image[8 : int.from_bytes(image[:4])]
    if b"avif" in brands or b"avis" in brands:
        return "AVIF"
    return "HEIF" if brands[:4] in _HEIF_BRANDS else None


def is_read(kind: Kind) -> bool:
    """Whether images of that kind can be read here."""
    return bool(features.check("avif")) if kind == "AVIF" else importlib.util.find_spec("pillow_heif") is not None


def suffixes_read() -> tuple[str, ...]:
    """The endings of what can be read here."""
    return tuple(suffix for kind in KINDS if is_read(kind) for suffix in _SUFFIXES[kind])


def remedies_of_suffixes() -> dict[str, str]:
    """By the endings of what cannot be read here, what would change that."""
    return {suffix: _REMEDIES[kind] for kind in KINDS if not is_read(kind) for suffix in _SUFFIXES[kind]}


@functools.cache
def let_pillow_read(kind: Kind) -> None:
    """Register the plugin that reads them. Raises ValueError where there is none, with the remedy."""
    if not is_read(kind):
        raise ValueError(f"{'an AVIF' if kind == 'AVIF' else 'a HEIC'}, which cannot be read here; {_REMEDIES[kind]}")
    if kind == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
