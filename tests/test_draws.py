"""Draws: the published generator, and views that depend on nothing but seed, epoch, image and purpose."""

import math

import numba
import numpy as np
import pytest
import slow_draws

from fastwsol.batches import views_reference as reference
from fastwsol.config import Augmentation
from fastwsol.draws import (
    CELLS,
    GRIDS,
    Purpose,
    bootstrap_weights,
    draw_views,
    epoch_order,
    gallery_order,
    review_order,
    signs,
    stream_slice,
    val_order,
)
from fastwsol.geometry import enlarge_cells, shown_windows
from kernels.philox import philox4x32

ALL = Augmentation("gr-hns", flip=True, color=True, resampler="bicubic", image_size=64)


@numba.njit
def _philox(counter, key):
    return philox4x32(counter[0], counter[1], counter[2], counter[3], key[0], key[1])


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_gives_the_published_vectors(counter, key, expected):
    """The known answers of the Random123 distribution for Philox4x32-10."""
    words = _philox(np.array(counter, np.uint32), np.array(key, np.uint32))
    assert [int(word) for word in words] == expected


def test_every_epoch_shows_every_image_once():
    ids, epochs = stream_slice(seed=5, count=37, start=0, size=3 * 37)
    for epoch in range(3):
        assert sorted(ids[epochs == epoch]) == list(range(37))
    assert not np.array_equal(ids[:37], ids[37:74])


def test_the_stream_does_not_depend_on_how_it_is_cut():
    whole, whole_epochs = stream_slice(seed=5, count=37, start=0, size=120)
    pieces = [stream_slice(seed=5, count=37, start=start, size=8) for start in range(0, 120, 8)]
    assert np.array_equal(np.concatenate([ids for ids, _ in pieces]), whole)
    assert np.array_equal(np.concatenate([epochs for _, epochs in pieces]), whole_epochs)


def test_other_seeds_give_other_orders_even_above_32_bits():
    orders = [epoch_order(seed, 0, 100) for seed in (0, 1, 1 << 32)]
    assert not np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], orders[2])


def _views(ids, epochs, augmentation=ALL, seed=1, width=64, height=64):
    size = np.full(len(ids), 1, np.int32)
    return draw_views(augmentation, seed, ids, epochs, size * width, size * height)


def test_views_do_not_depend_on_the_batch_they_are_drawn_in():
    ids, epochs = np.arange(100), np.full(100, 3)
    together = _views(ids, epochs)
    order = np.random.default_rng(0).permutation(100)
    for alone in range(0, 100, 7):
        rows = order[alone : alone + 7]
        apart = _views(ids[rows], epochs[rows])
        assert np.array_equal(apart.windows, together.windows[rows])
        assert np.array_equal(apart.flips, together.flips[rows])
        assert np.array_equal(apart.cells, together.cells[rows])
        assert np.array_equal(apart.color.matrices, together.color.matrices[rows])
        assert np.array_equal(apart.color.offsets, together.color.offsets[rows])


def test_an_augmentation_switched_on_moves_no_other_draw():
    ids, epochs = np.arange(50), np.zeros(50, np.int64)
    plain_gr = _views(ids, epochs, Augmentation("gr", False, False, "bicubic", 64))
    assert np.array_equal(plain_gr.windows, _views(ids, epochs).windows)
    assert plain_gr.cells is None
    assert plain_gr.color is None
    assert not plain_gr.flips.any()


def test_views_change_with_epoch_and_seed():
    ids = np.arange(50)
    first = _views(ids, np.zeros(50, np.int64))
    for other in (_views(ids, np.ones(50, np.int64)), _views(ids, np.zeros(50, np.int64), seed=2)):
        assert not np.array_equal(first.windows, other.windows)
        assert not np.array_equal(first.flips, other.flips)
        assert not np.array_equal(first.cells, other.cells)


def test_windows_lie_in_the_image_and_have_the_papers_areas_and_ratios():
    views = _views(np.arange(20_000), np.zeros(20_000, np.int64), width=640, height=480)
    x, y, width, height = views.windows.T
    assert (x >= 0).all()
    assert (y >= 0).all()
    assert (x + width <= 640).all()
    assert (y + height <= 480).all()
    drawn = ~((width == 640) & (height == 480))  # the fallback keeps the image's own shape
    share = width * height / (640 * 480)
    ratio = np.maximum(width, height) / np.minimum(width, height)
    assert 0.079 < share.min() < 0.085
    assert ratio[drawn].max() < 1.345


def test_window_areas_are_uniform_where_every_shape_fits():
    """Up to 75 % of a square, every ratio fits at once; the tries beyond only add to all areas in proportion."""
    _, _, width, height = _views(np.arange(40_000), np.zeros(40_000, np.int64), width=640, height=640).windows.T
    share = width * height / 640**2
    parts = [np.mean((share > low) & (share <= low + 0.22)) for low in (0.08, 0.30, 0.52)]
    assert parts == pytest.approx([np.mean(parts)] * 3, rel=0.04)


def test_window_offsets_reach_both_edges_and_are_uniform_between():
    views = _views(np.arange(20_000), np.zeros(20_000, np.int64))
    x, _, width, _ = views.windows.T
    free = 64 - width
    assert (x[free > 0] == 0).any()
    assert (x[free > 0] == free[free > 0]).any()
    assert np.mean((x / np.maximum(free, 1))[free > 8]) == pytest.approx(0.5, abs=0.02)


def test_an_image_that_no_window_fits_is_shown_whole():
    views = _views(np.arange(200), np.zeros(200, np.int64), width=1000, height=20)
    whole = shown_windows("stretch", np.full(200, 1000, np.int32), np.full(200, 20, np.int32))
    assert np.array_equal(views.windows, whole)


def test_hidden_cells_come_from_the_four_grids_in_equal_parts():
    views = _views(np.arange(20_000), np.zeros(20_000, np.int64))
    assert set(np.unique(views.cells)) == {0, 1}
    seen = dict.fromkeys(GRIDS, 0)
    for cells in views.cells:
        # The coarsest grid whose cells explain the mask; two grids are confused once in 2^48 masks.
        for grid in (0, 4, 8, 16):
            if grid == 0 and cells.all():
                break
            if grid and np.array_equal(cells, _blocks(cells, grid)):
                break
        seen[grid] += 1
    for grid in GRIDS:
        assert seen[grid] / 20_000 == pytest.approx(0.25, abs=0.02)
    assert views.cells.mean() == pytest.approx(0.25 + 0.75 / 2, abs=0.01)


def _blocks(cells, grid):
    step = CELLS // grid
    return cells[::step, ::step].repeat(step, 0).repeat(step, 1)


def test_color_steps_leave_a_grey_image_of_mean_colour_in_place_but_for_brightness_and_lighting():
    """Contrast and saturation map the mean colour of a uniform grey image to itself: rows of A + w sum to 1."""
    color = _views(np.arange(500), np.zeros(500, np.int64)).color
    response = color.matrices.sum(axis=3) + color.mean_weights[..., None]
    brightness_steps = ~np.isclose(response, 1, atol=1e-5).all(axis=2)
    assert (brightness_steps.sum(axis=1) <= 1).all()
    assert response.min() >= 0.6
    assert response.max() <= 1.4
    lit = np.abs(color.offsets).sum(axis=2) > 0
    assert (lit.sum(axis=1) == 1).all()
    assert {tuple(np.flatnonzero(row)) for row in lit} == {(0,), (1,), (2,), (3,)}, "the order of the steps is drawn"


SEED = 0x0123456789ABCDEF


@pytest.mark.parametrize(("width", "height"), [(64, 64), (500, 333), (1, 1), (3, 200), (1000, 20), (17, 16)])
def test_windows_flips_and_cells_equal_the_slow_twin(width, height):
    ids = np.concatenate([np.arange(300), [2**31, 2**32 - 1]])
    epochs = np.concatenate([np.arange(300) % 7, [0, 2**32 - 1]])
    views = _views(ids, epochs, seed=SEED, width=width, height=height)
    for k, (index, epoch) in enumerate(zip(ids.tolist(), epochs.tolist(), strict=True)):
        assert tuple(views.windows[k]) == slow_draws.crop_window(SEED, index, epoch, width, height)
        assert views.flips[k] == slow_draws.flip(SEED, index, epoch)
        assert views.cells[k].tolist() == slow_draws.kept_cells(SEED, index, epoch)


def test_colour_steps_equal_the_slow_twin():
    color = _views(np.arange(100), np.full(100, 2), seed=SEED).color
    for index in range(100):
        pixel, mean = np.array([200.0, 90.0, 30.0]), np.array([120.0, 110.0, 100.0])
        expected = slow_draws.jittered(SEED, index, 2, pixel.tolist(), mean.tolist())
        for k in range(4):
            matrix, weight, offset = color.matrices[index, k], color.mean_weights[index, k], color.offsets[index, k]
            pixel, mean = matrix @ pixel + weight * mean + offset, matrix @ mean + weight * mean + offset
        assert pixel == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("size", [1, 16, 37, 50, 64, 81, 333])
def test_a_pixel_takes_the_cell_its_centre_lies_in(size):
    """Against the reference, which reckons in fractions."""
    cells = np.random.default_rng(0).integers(0, 2, (16, 16)).astype(np.uint8)
    assert np.array_equal(enlarge_cells(cells, size, 45), reference.enlarge_cells(cells, size, 45))


def test_bootstrap_weights_are_poisson_of_mean_1():
    weights = bootstrap_weights(np.arange(2000), 400)
    assert weights.shape == (400, 2000)
    for k, probability in enumerate(np.exp(-1) / np.array([1, 1, 2, 6, 24])):
        assert (weights == k).mean() == pytest.approx(probability, abs=0.002)
    # independent from one image to the next, and from one resample to the next
    assert abs(np.corrcoef(weights[0], weights[1])[0, 1]) < 0.1
    assert weights.sum(axis=1).std() == pytest.approx(np.sqrt(2000), rel=0.15)


def test_bootstrap_weights_depend_on_the_image_alone():
    whole = bootstrap_weights(np.arange(50), 21)
    np.testing.assert_array_equal(bootstrap_weights(np.array([7, 3]), 21), whole[:, [7, 3]])
    np.testing.assert_array_equal(bootstrap_weights(np.arange(50), 8), whole[:8])


def test_a_purpose_keeps_its_number():
    """A run of an earlier version goes on with the draws that it began with."""
    names = (
        "ORDER",
        "CROP",
        "FLIP",
        "GRID",
        "CELLS",
        "COLOR",
        "HOLDOUT",
        "BOOTSTRAP",
        "VAL",
        "GALLERY",
        "MIX",
        "REVIEW",
    )
    assert [each.name for each in sorted(Purpose)] == [*names, "ATTENTION", "SIGNS"]
    assert [*map(int, sorted(Purpose))] == [*range(14)]


def test_the_images_that_earlier_versions_took_are_taken():
    assert sorted(val_order(20)[:4].tolist()) == [6, 9, 13, 14]
    assert gallery_order(8).tolist() == [6, 7, 4, 1, 3, 5, 2, 0]
    assert review_order(8, 0).tolist() == [6, 0, 3, 7, 1, 5, 2, 4]
    assert review_order(8, 3).tolist() == [6, 2, 7, 0, 1, 4, 3, 5]
    assert signs(np.arange(2), 8).tolist() == [[1, 1, 1, -1, 1, 1, -1, -1], [1, -1, -1, 1, 1, 1, -1, 1]]


def test_a_resample_has_an_image_many_times_as_seldom_as_poisson_says():
    weights = bootstrap_weights(np.arange(20_000), 200)
    for k in (5, 6, 7):
        assert (weights == k).sum() == pytest.approx(weights.size * math.exp(-1) / math.factorial(k), rel=0.1)
