"""The kernel that makes views of decoded images against the plain twin of the whole path, `views_reference`."""

import dataclasses
import io
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from fastwsol.batches import views_reference as reference
from fastwsol.config import Augmentation, Statistics
from fastwsol.draws import Views, draw_views
from kernels import Jitter, ViewOptions, show_views

MEAN, STD = (121.3, 113.9, 100.2), (64.1, 61.5, 66.7)
STATISTICS = Statistics(MEAN, STD)
HIDDEN_PIXEL = np.rint(MEAN).astype(np.uint8)
SIZE = 32
COUNT = 24


def look(resampler="bicubic", hides_first=False):
    return ViewOptions(resampler == "bicubic", hides_first, HIDDEN_PIXEL, np.array(MEAN), np.array(STD))


def random_case(seed, height, width, with_cells=True):
    """Images and views of every kind: windows from one pixel to the whole image, half of them mirrored."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (COUNT, height, width, 3), np.uint8)
    sides = np.stack([rng.integers(1, width + 1, COUNT), rng.integers(1, height + 1, COUNT)], axis=1)
    sides[0], sides[1] = (1, 1), (width, height)
    corners = [[rng.integers(0, width - w + 1), rng.integers(0, height - h + 1)] for w, h in sides]
    windows = np.concatenate([corners, sides], axis=1).astype(np.int32)
    cells = rng.integers(0, 2, (COUNT, 16, 16)).astype(np.uint8) if with_cells else None
    return images, Views(windows, rng.integers(0, 2, COUNT).astype(np.int32), cells, color=None)


def shown(images, views, look, size=SIZE):
    out = np.full((len(images), size, size, 3), np.nan, np.float32)
    ids = np.arange(len(images))
    show_views(images, ids, views.windows, views.flips, views.cells, None, look, out)
    return out


def as_png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("aug", ["gr", "gr-hns", "hns-gr"])
@pytest.mark.parametrize("resampler", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (37, 50), (SIZE, SIZE), (5, 90)])
def test_views_equal_the_reference(aug, resampler, height, width):
    """But for float32: a level apart, and seldom."""
    augmentation = Augmentation(aug, True, False, resampler, SIZE)
    images, views = random_case(1, height, width, augmentation.hides)
    expected = reference.batch([as_png(image) for image in images], views, augmentation, STATISTICS)
    levels_apart = np.abs(shown(images, views, look(resampler, augmentation.hides_first)) - expected) * STD
    assert levels_apart.max() < 1.001
    assert (levels_apart > 0.5).mean() < 1e-3


@pytest.mark.parametrize("resampler", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("height", "width"), [(33, 32), (64, 64), (76, 200), (9, 400), (300, 20), (1, 65)])
def test_images_that_shrink_are_filtered_as_the_reference_filters_them(resampler, height, width):
    images, views = random_case(11, height, width, with_cells=False)
    views.windows[:] = 0, 0, width, height
    expected = np.stack([reference.resize(image, SIZE, resampler) for image in images])
    expected = np.where(views.flips[:, None, None, None] != 0, expected[:, :, ::-1], expected)
    levels = shown(images, views, look(resampler)) * np.array(STD) + MEAN
    assert np.abs(levels - expected).max() < 1.01
    assert (np.abs(levels - expected) > 0.5).mean() < 1e-2  # 33 to 32 has many sums halfway between two levels


@pytest.mark.parametrize("resampler", ["bicubic", "bilinear"])
def test_inside_a_large_image_shrinking_is_what_pillow_makes_of_it(resampler):
    """Pillow leaves out what lies beyond the edges; elsewhere the two are the same filter, rounded once and twice."""
    image = np.random.default_rng(1).integers(0, 256, (3 * SIZE, 5 * SIZE, 3), np.uint8)
    how = Image.Resampling.BICUBIC if resampler == "bicubic" else Image.Resampling.BILINEAR
    expected = np.asarray(Image.fromarray(image).resize((SIZE, SIZE), how)).astype(int)
    views = SimpleNamespace(
        windows=np.array([[0, 0, 5 * SIZE, 3 * SIZE]], np.int32), flips=np.zeros(1, np.int32), cells=None
    )
    levels = shown(image[None], views, look(resampler))[0] * np.array(STD) + MEAN
    assert np.abs(levels - expected)[2:-2, 2:-2].max() < 2.01


@pytest.mark.parametrize("resampler", ["bicubic", "bilinear"])
def test_a_fine_checkerboard_shrinks_to_grey_and_a_plain_image_stays_plain(resampler):
    board = np.indices((4 * SIZE, 4 * SIZE)).sum(0) % 2 * 255
    images = np.stack([np.repeat(board[..., None], 3, 2), np.full((4 * SIZE, 4 * SIZE, 3), 200)]).astype(np.uint8)
    whole = np.array([[0, 0, 4 * SIZE, 4 * SIZE]] * 2, np.int32)
    views = SimpleNamespace(windows=whole, flips=np.zeros(2, np.int32), cells=None)
    levels = shown(images, views, look(resampler)) * np.array(STD) + MEAN
    assert np.abs(levels[0, 1:-1, 1:-1] - 127.5).max() < 2
    np.testing.assert_allclose(levels[1], 200, atol=1e-3)


@pytest.mark.parametrize("aug", ["gr", "gr-hns", "hns-gr"])
def test_jittered_views_equal_the_reference(aug):
    """A level's difference grows through the four steps (by 1.4 a step at most), and stays rare."""
    augmentation = Augmentation(aug, True, True, "bicubic", SIZE)
    images, views = random_case(6, 41, 64, augmentation.hides)
    ids = np.arange(COUNT)
    whole = np.full(COUNT, 64, np.int32), np.full(COUNT, 41, np.int32)
    color = draw_views(augmentation, 3, ids, np.zeros_like(ids), *whole).color
    out = np.empty((COUNT, SIZE, SIZE, 3), np.float32)
    show_views(images, ids, views.windows, views.flips, views.cells, color, look("bicubic", aug == "hns-gr"), out)
    views = dataclasses.replace(views, color=color)
    expected = reference.batch([as_png(image) for image in images], views, augmentation, STATISTICS)
    apart = np.abs(out - expected) * STD
    assert apart.max() < 1 + 1.4 + 1.4**2 + 1.4**3
    assert (apart > 0.5).mean() < 0.01


def test_halves_are_the_float32_views_rounded_to_even():
    images, views = random_case(7, 64, 64)
    halves = np.empty((COUNT, SIZE, SIZE, 3), np.uint16)
    show_views(images, np.arange(COUNT), views.windows, views.flips, views.cells, None, look(), halves)
    expected = torch.from_numpy(shown(images, views, look())).bfloat16()
    assert torch.equal(torch.from_numpy(halves).view(torch.bfloat16), expected)


@pytest.mark.parametrize("size", [SIZE, 10, 7])
def test_memory_that_is_not_aligned_holds_the_same_views(size):
    """Aligned lines are written past the cache; a line of 7 or 10 pixels is no whole number of blocks."""
    images, views = random_case(8, 40, 64)
    expected = shown(images, views, look(), size)
    memory = np.full(expected.size + 9, np.nan, np.float32)
    for offset in range(9):
        out = memory[offset : offset + expected.size].reshape(expected.shape)
        show_views(images, np.arange(COUNT), views.windows, views.flips, views.cells, None, look(), out)
        np.testing.assert_array_equal(out, expected)


def test_a_view_is_of_the_image_that_its_id_names():
    images, views = random_case(9, 64, 64)
    ids = np.array([5, 0, 5, 23] * (COUNT // 4))
    out = np.empty((COUNT, SIZE, SIZE, 3), np.float32)
    show_views(images, ids, views.windows, views.flips, views.cells, None, look(), out)
    np.testing.assert_array_equal(out, shown(images[ids], views, look()))
    for bad in (-1, COUNT):
        with pytest.raises(ValueError, match="ids"):
            show_views(images, np.full(COUNT, bad), views.windows, views.flips, views.cells, None, look(), out)


def test_a_whole_image_of_the_views_size_keeps_its_pixels():
    images, views = random_case(2, SIZE, SIZE, with_cells=False)
    views.windows[:] = 0, 0, SIZE, SIZE
    views.flips[:] = 0
    for resampler in ("bicubic", "bilinear"):
        levels = shown(images, views, look(resampler)) * np.array(STD) + MEAN
        np.testing.assert_allclose(levels, images, atol=1e-3)


def test_a_view_does_not_depend_on_the_batch_it_is_in():
    images, views = random_case(3, 41, 64)
    together = shown(images, views, look())
    for i in (0, 1, COUNT - 1):
        alone = SimpleNamespace(
            windows=views.windows[i : i + 1], flips=views.flips[i : i + 1], cells=views.cells[i : i + 1]
        )
        np.testing.assert_array_equal(shown(images[i : i + 1], alone, look())[0], together[i])


@pytest.mark.parametrize("window", [(-1, 0, 4, 4), (0, 0, 0, 4), (0, 0, 65, 4), (60, 0, 5, 4), (0, 39, 4, 2)])
def test_a_window_that_is_not_inside_the_image_is_refused(window):
    images, views = random_case(4, 40, 64)
    views.windows[3] = window
    with pytest.raises(ValueError, match="window"):
        shown(images, views, look())


def test_arrays_of_another_number_of_images_are_refused():
    images, views = random_case(5, 40, 64)
    ids, out = np.arange(COUNT), np.empty((COUNT, SIZE, SIZE, 3), np.float32)
    with pytest.raises(ValueError, match=re.escape("windows: int32 [23, 4], expected int32 [24, 4]")):
        show_views(images, ids, views.windows[:-1], views.flips, None, None, look(), out)
    with pytest.raises(ValueError, match="out: float32"):
        show_views(images, ids, views.windows, views.flips, None, None, look(), out[:, :, :8])
    with pytest.raises(ValueError, match="float64"):
        show_views(images, ids, views.windows, views.flips, None, None, look(), out.astype(np.float64))


def jitter_of(offsets=(COUNT, 2, 3), matrices=(COUNT, 2, 3, 3), weights=(COUNT, 2)):
    return Jitter(np.zeros(matrices, np.float32), np.zeros(weights, np.float32), np.zeros(offsets, np.float32))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": np.zeros((COUNT, 40, 64, 4), np.uint8)}, "images: uint8 [24, 40, 64, 4], expected uint8 [any"),
        ({"images": np.zeros((COUNT, 40, 64, 3), np.float32)}, "images: float32"),
        ({"images": np.zeros((COUNT, 40, 64), np.uint8)}, "images: uint8 [24, 40, 64]"),
        ({"images": [[0]]}, "images: a list, expected a NumPy array of uint8"),
        ({"images": np.zeros((COUNT, 40, 64, 6), np.uint8)[..., ::2]}, "C-contiguous"),
        ({"ids": np.zeros((COUNT, 1), np.int64)}, "ids: int64 [24, 1], expected int64 [any]"),
        ({"ids": np.arange(1, COUNT + 1)}, "ids 1..24 reach outside the 24 images"),
        ({"flips": np.zeros(COUNT, np.int64)}, "flips: int64"),
        ({"windows": np.full((COUNT, 4), 2**31 - 10, np.int32)}, "a window is empty or reaches outside"),
        ({"cells": np.full((COUNT, 4, 4), 255, np.uint8)}, "cells: [24, 4, 4] up to 255, expected [24, c, c] of 0 and"),
        ({"cells": np.zeros((COUNT, 4, 5), np.uint8)}, "expected [24, c, c] of 0 and 1"),
        (
            {"jitter": jitter_of(offsets=(COUNT, 0, 3))},
            "jitter.matrices: float32 [24, 2, 3, 3], expected float32",
        ),
        ({"jitter": jitter_of(weights=(COUNT, 1))}, "jitter.mean_weights: float32 [24, 1], expected float32 [24, 2]"),
        ({"options": look()._replace(hidden_pixel=HIDDEN_PIXEL[:1])}, "options.hidden_pixel: uint8 [1], expected"),
        ({"options": look()._replace(mean=np.array([120.0]))}, "options.mean: float64 [1], expected float64 [3]"),
        ({"options": look()._replace(std=np.array(STD, np.float32))}, "options.std: float32 [3], expected float64 [3]"),
        ({"out": [0]}, "out: a list, expected a NumPy array of float32"),
    ],
)
def test_what_would_be_misread_is_refused(changed, message):
    images, views = random_case(6, 40, 64)
    given = {
        "images": images,
        "ids": np.arange(COUNT),
        "windows": views.windows,
        "flips": views.flips,
        "cells": views.cells,
        "jitter": jitter_of(),
        "options": look(),
        "out": np.empty((COUNT, SIZE, SIZE, 3), np.float32),
    }
    show_views(**given)
    with pytest.raises(ValueError, match=re.escape(message)):
        show_views(**{**given, **changed})
