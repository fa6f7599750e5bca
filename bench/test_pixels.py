"""PxAP, mean IoU of masks and their intervals from maps and masks of 224 pixels a side.

    pytest bench/test_pixels.py --benchmark-only

Masks are held in memory: reading PNGs is the disk's time, and libpng's. The other side is the slow one that tests
compare with, the plain twins of the kernels, on few images; it stops at the counts. Images in the figures are maps.
"""

from pathlib import Path

import numpy as np
from rounds import Side

import kernels
from fastwsol.evaluation.evaluated_images import EvaluatedImages
from fastwsol.evaluation.fixed_masks import fixed_masks
from fastwsol.evaluation.maps import NetworkMaps
from fastwsol.evaluation.masks import PIXEL_SIDE, MaskFiles
from fastwsol.evaluation.pixels import measure_pixels
from fastwsol.evaluation.truths import Truths
from kernels import reference
from kernels.pixels import IGNORED, OBJECT

IMAGES = 10_000
FEW_IMAGES = 40
THRESHOLD = 0.2


class HeldMasks(MaskFiles):
    """Masks of ellipses with a ring that is left out, drawn anew from few."""

    def __init__(self, truths: Truths) -> None:
        super().__init__({row: Path() for row in range(len(truths))}, truths)
        rng = np.random.default_rng(4)
        y, x = np.mgrid[:PIXEL_SIDE, :PIXEL_SIDE]
        centres, axes = rng.uniform(60, 160, (2, 64)), rng.uniform(30, 90, (2, 64))
        distances = ((x - centres[0][:, None, None]) / axes[0][:, None, None]) ** 2
        distances += ((y - centres[1][:, None, None]) / axes[1][:, None, None]) ** 2
        self.drawn = np.where(distances < 1, OBJECT, np.where(distances < 1.1, IGNORED, 0)).astype(np.uint8)

    def read(self, rows):
        return self.drawn[rows % len(self.drawn)]


def truths_of(count):
    sides = np.full(count, PIXEL_SIDE, np.int32)
    return Truths(sides, sides, np.zeros((0, 4), np.float32), np.zeros(count + 1, np.int64))


def test_all_numbers_of_pixels(benchmark, paired_rounds, smooth_cams, cores):
    count = FEW_IMAGES if benchmark.disabled else IMAGES
    cams, data = np.resize(smooth_cams[0], (count, 8, 8)), f"{smooth_cams[1]}, {count:,} in all, and drawn masks"
    truths = truths_of(count)
    masks = HeldMasks(truths)
    images = EvaluatedImages([*map(str, range(count))], truths, None, None, [])

    def ours():
        maps = {"maps": NetworkMaps(cams, PIXEL_SIDE)}
        measured = measure_pixels(maps, {"maps": THRESHOLD}, images, masks, fixed_masks(None), wsoleval=False)
        return measured.of_localizer["maps"].numbers

    assert ours()["images"] == count
    paired_rounds({"ours": Side(ours)}, images=count, rounds=5, data=data, threads=cores)


def test_counts_beside_the_slow_twins(paired_rounds, smooth_cams, cores):
    cams, data = smooth_cams[0][:FEW_IMAGES], smooth_cams[1]
    masks = HeldMasks(truths_of(FEW_IMAGES)).read(np.arange(FEW_IMAGES))

    def counted(by):
        return *by.pixel_histograms(cams, masks), by.pixel_counts(cams, masks, THRESHOLD)

    for one, other in zip(counted(kernels), counted(reference), strict=True):
        np.testing.assert_array_equal(one, other)
    sides = {"ours": Side(lambda: counted(kernels)), "slow twins": Side(lambda: counted(reference))}
    paired_rounds(sides, images=FEW_IMAGES, rounds=5, data=data, threads=cores)
