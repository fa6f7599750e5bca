"""Small images and a source of them that several tests pack."""

import io

import numpy as np
from conftest import noise_jpeg
from PIL import Image

from fastwsol.sources import Class, Record


def turned_jpeg(orientation: int, pixels: np.ndarray, form: str = "JPEG") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, exif=exif, **({"quality": 95} if form == "JPEG" else {}))
    return file.getvalue()


class OtherSizes:
    """A source of one class of images that are neither 64 pixels nor square, with sides that 16 cells do not divide."""

    identity, classes, splits = "other sizes", (Class("n01", "one"),), ("train", "val")
    upright = beyond_boxes = False

    def __init__(self, sizes):
        self.sizes = sizes

    def count(self, split):
        return 20

    def labels(self, split):
        return np.zeros(20, np.int64)

    def known_faults(self, split):
        return {}

    def fingerprint(self, split, start, stop):
        return f"{split} {start} {stop}"

    def records(self, split, start=0):
        for k in range(start, 20):
            image = noise_jpeg(k, "L" if k % 4 == 0 else "RGB", self.sizes[k % len(self.sizes)])
            yield Record(f"{split}/{k}.jpg", image, 0, np.array([[0, 0, 20, 30]], np.float32))

    def origin(self, split, index):
        return f"image {index}"
