"""The kernel that makes views of decoded images against the plain twin of the whole path, `fastwsol.reference`."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fastwsol import reference
from fastwsol.config import Augmentation
from fastwsol.draws import Views
from kernels import Look, show_views

MEAN, STD = (121.3, 113.9, 100.2), (64.1, 61.5, 66.7)
HIDDEN_PIXEL = np.rint(MEAN).astype(np.uint8)
SIZE = 32
COUNT = 24


def look(resampler="bicubic", hides_first=False):
    return Look(resampler == "bicubic", hides_first, HIDDEN_PIXEL, np.array(MEAN), np.array(STD))


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
    expected = reference.batch([as_png(image) for image in images], views, augmentation, MEAN, STD)
    levels_apart = np.abs(shown(images, views, look(resampler, augmentation.hides_first)) - expected) * STD
    assert levels_apart.max() < 1.001
    assert (levels_apart > 0.5).mean() < 1e-3


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
    with pytest.raises(ValueError, match="24 views"):
        show_views(images, ids, views.windows[:-1], views.flips, None, None, look(), out)
    with pytest.raises(ValueError, match="out has shape"):
        show_views(images, ids, views.windows, views.flips, None, None, look(), out[:, :, :8])
