"""A small generated set on which localization can be tried: a fixture for the software, never evidence for the paper.

Every image shows one object, a body with a part, before clutter. The part is a glyph of 8 px that alone decides the
class. The body carries a weak cue of its own: a tint in a direction of the class, whose spread from image to image is
as large as its mean. The background has none. A classifier trained plainly may stop at the part; one whose images are
cropped or partly hidden often does not see it and has to use the body. The box is the body's, exact.

Everything in an image follows from (seed, split, class, number within the class), so asking for more images, or more
classes, changes none that are there.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fastwsol.host.errors import UserError
from fastwsol.sources import SYNTHETIC, Class, Fault, Record
from fastwsol.sources.encode import encoded

IMAGE_SIZE = 64
"""Pixels a side, Tiny ImageNet's."""
BODY_SIZES = (24, 44)
"""Shortest and longest side of a body's box, px: a box of the whole image then has IoU .14 to .47, a plain miss."""
PART_SIZE = 8
"""Pixels a side of a glyph: one cell of the 8x8 map, a twentieth of a middling body."""
TINT = 20.0
"""Mean shift of a body's colour along its class's direction, and its standard deviation in every direction of the
colour plane, in levels: a body's mean colour alone then tells 8 classes apart in about one case of three.
"""
JPEG_QUALITY = 90
"""Keeps the glyphs' 2 px cells sharp; the colour planes are halved (4:2:0), as in Tiny ImageNet."""

# Left halves of the glyphs, four rows of two cells, each mirrored to the right: a flip changes nothing. They are the
# words of weight 4 of the extended Hamming code [8, 4, 4]: equal ink, so the mean brightness says nothing, and any two
# differ in at least 8 of the 16 cells.
_GLYPHS = (
    "## .. ## ..",
    "#. #. #. #.",
    ".# #. .# #.",
    "#. .# #. .#",
    "## .. .. ##",
    "#. #. .# .#",
    ".# #. #. .#",
    "#. .# .# #.",
    ".# .# .# .#",
    ".. ## .. ##",
    ".# .# #. #.",
    ".. ## ## ..",
    "## ## .. ..",
    ".. .. ## ##",
)
_NAMES = (
    *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta"),
    *("theta", "iota", "kappa", "lambda", "mu", "nu", "xi"),
)
# Sixteenths of the colour circle in the order in which halving it gives them: the first 2, 4 or 8 classes lie evenly.
_DIRECTIONS = (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11)
# An orthonormal basis of the plane of equal brightness in R, G, B.
_COLOUR_PLANE = np.array([[1, -1, 0], [1, 1, -2]]) / np.sqrt([[2], [6]])

_SPLIT_KEYS = {"train": 0, "val": 1}


@dataclass(frozen=True, eq=False)
class Scene:
    """One image before it is encoded, and what it is made of.

    pixels: uint8 [64, 64, 3]; body: bool [64, 64], its visible pixels, the part's included; part: x0, y0, x1, y1 of
    the glyph, half-open.
    """

    pixels: NDArray[np.uint8]
    body: NDArray[np.bool_]
    part: tuple[int, int, int, int]

    @property
    def box(self) -> NDArray[np.float32]:
        """The body's tight box, float32 [4], x0, y0, x1, y1, half-open."""
        columns, rows = np.flatnonzero(self.body.any(axis=0)), np.flatnonzero(self.body.any(axis=1))
        return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)


class Synthetic:
    """A `Source` of generated images, `train_count` and `val_count` of each class.

    Raises UserError when there are not that many classes.
    """

    upright = False
    notes: Sequence[str] = ()
    boxes_used = 0
    beyond_boxes = False
    splits = ("train", "val")

    def __init__(self, class_count: int = 8, train_count: int = 200, val_count: int = 50, seed: int = 0):
        if not 1 <= class_count <= len(_GLYPHS):
            raise UserError(f"--classes {class_count}: the synthetic set has 1 to {len(_GLYPHS)} classes")
        self.classes = tuple(Class(f"synthetic-{k}", _NAMES[k]) for k in range(class_count))
        self.identity = f"{SYNTHETIC}{seed}, {train_count} train and {val_count} val images a class)"
        self._counts = {"train": train_count, "val": val_count}
        self._seed = seed

    def count(self, split: str) -> int:
        """How many records `records(split)` yields."""
        return self._counts[split] * len(self.classes)

    def labels(self, split: str) -> NDArray[np.int64]:
        """The labels of all records."""
        return np.repeat(np.arange(len(self.classes)), self._counts[split])

    def known_faults(self, split: str) -> dict[int, Fault]:
        """None: what is drawn is good."""
        return {}

    def records(self, split: str, start: int = 0) -> Iterator[Record]:
        """Yield the records of `split` from index `start` on, class by class."""
        for index in range(start, self.count(split)):
            label, within = divmod(index, self._counts[split])
            scene = draw_scene(self._seed, split, label, within)
            name = f"{split}/{self.classes[label].wnid}/{within:05d}.jpg"
            yield Record(name, encode(scene.pixels), label, scene.box[None])

    def origin(self, split: str, index: int, box: int | None = None) -> str:
        """The scene that record `index` shows."""
        label, within = divmod(index, self._counts[split])
        return f"draw_scene({self._seed}, {split!r}, {label}, {within})"

    def fingerprint(self, split: str, start: int, stop: int) -> str:
        """A hash over what the records follow from."""
        return hashlib.sha256(f"{self.identity} {len(self.classes)} {split} {start} {stop}".encode()).hexdigest()


def draw_scene(seed: int, split: str, label: int, index: int) -> Scene:
    """Draw image `index` of class `label` in `split`."""
    return draw_object(np.random.SeedSequence([seed, _SPLIT_KEYS[split], label, index]), label)


def draw_object(seed: np.random.SeedSequence, label: int) -> Scene:
    """Draw the scene of `seed` with an object of class `label`; only the tint and the glyph depend on the class."""
    rng = np.random.Generator(np.random.Philox(seed))
    pixels = _background(rng)
    body = _body(rng)
    pixels[body] = _body_colour(rng, label)[body]
    x, y = _part_place(rng, body)
    pixels[y : y + PART_SIZE, x : x + PART_SIZE] = _glyph(label)
    return Scene(np.clip(np.rint(pixels), 0, 255).astype(np.uint8), body, (x, y, x + PART_SIZE, y + PART_SIZE))


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """`pixels` as a JPEG file."""
    return encoded(Image.fromarray(pixels), "JPEG", quality=JPEG_QUALITY)


def _background(rng: np.random.Generator) -> NDArray[np.float64]:
    """Coloured clouds, boxes and ellipses in front of them, and grain; float64 [64, 64, 3]."""
    pixels = rng.uniform(60, 195, 3) + 30 * _clouds(rng, 4, 3) + 15 * _clouds(rng, 16, 3)
    y, x = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE] + 0.5
    for _ in range(6):
        centre_x, centre_y = rng.uniform(0, IMAGE_SIZE, 2)
        radius_x, radius_y = rng.uniform(2, 12, 2)
        power = 2 if rng.random() < 0.5 else 16  # an ellipse or nearly a rectangle
        inside = np.abs((x - centre_x) / radius_x) ** power + np.abs((y - centre_y) / radius_y) ** power <= 1
        pixels[inside] = rng.uniform(20, 235, 3) + rng.normal(0, 8, (int(inside.sum()), 1))
    return pixels + rng.normal(0, 6, pixels.shape)


def _body(rng: np.random.Generator) -> NDArray[np.bool_]:
    """The pixels of a rounded body of random size, aspect, shape and place, wholly in the image; bool [64, 64]."""
    width, height = rng.integers(BODY_SIZES[0], BODY_SIZES[1], 2, endpoint=True)
    x0 = rng.integers(0, IMAGE_SIZE - width, endpoint=True)
    y0 = rng.integers(0, IMAGE_SIZE - height, endpoint=True)
    power = rng.uniform(2, 5)  # a superellipse: 2 is an ellipse, 5 a rectangle with round corners
    y, x = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE] + 0.5
    u, v = 2 * (x - x0) / width - 1, 2 * (y - y0) / height - 1
    return np.abs(u) ** power + np.abs(v) ** power <= 1


def _body_colour(rng: np.random.Generator, label: int) -> NDArray[np.float64]:
    """Grey of any brightness, shaded and grained like any body's, under the class's noisy tint; float64 [64, 64, 3]."""
    angle = 2 * math.pi * _DIRECTIONS[label] / 16
    tint = (TINT * np.array([math.cos(angle), math.sin(angle)]) + rng.normal(0, TINT, 2)) @ _COLOUR_PLANE
    grey = rng.uniform(90, 165) + 12 * _clouds(rng, 4, 1) + rng.normal(0, 6, (IMAGE_SIZE, IMAGE_SIZE, 1))
    return grey + tint


def _part_place(rng: np.random.Generator, body: NDArray[np.bool_]) -> tuple[int, int]:
    """The upper left corner x, y of a glyph that lies wholly inside `body`, every such place being as likely."""
    windows = np.lib.stride_tricks.sliding_window_view(body, (PART_SIZE, PART_SIZE))
    places = np.argwhere(windows.all(axis=(2, 3)))
    y, x = places[rng.integers(len(places))].tolist()
    return x, y


def _glyph(label: int) -> NDArray[np.float64]:
    """The class's glyph in black and white, float64 [8, 8, 1]."""
    cells = np.array([mark == "#" for mark in _GLYPHS[label].replace(" ", "")]).reshape(4, 2)
    cells = np.hstack([cells, cells[:, ::-1]])
    return np.where(np.kron(cells, np.ones((2, 2))), 250.0, 5.0)[..., None]


def _clouds(rng: np.random.Generator, cells: int, channels: int) -> NDArray[np.float64]:
    """Smooth noise of `cells` waves a side, about -1 to 1, float64 [64, 64, channels]."""
    waves = rng.normal(0, 0.5, (channels, cells, cells)).astype(np.float32)
    size = (IMAGE_SIZE, IMAGE_SIZE)
    smooth = [np.asarray(Image.fromarray(wave).resize(size, Image.Resampling.BICUBIC), np.float64) for wave in waves]
    return np.stack(smooth, axis=-1)
