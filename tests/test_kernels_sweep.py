"""All thresholds at once: the sweeps against their plain twins, against single thresholds, and by hand."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from masks import component_boxes, largest_box
from shapes import SHAPES

import kernels
from kernels import reference
from kernels.levels import LEVELS, level_of, threshold_of

MAPS_A_BATCH = 10


@pytest.fixture
def threads():
    before = numba.get_num_threads()
    yield numba.set_num_threads
    numba.set_num_threads(before)


@st.composite
def batches(draw):
    """MAPS_A_BATCH maps of one size made of shapes, plateaus and noise, some of them views of other arrays; what is
    seen as an image, and its true boxes.
    """
    side = draw(st.one_of(st.integers(1, 11), st.sampled_from([63, 64, 65])))
    height = min(side, 7) if side > 11 else side
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kinds = draw(st.lists(st.sampled_from([*SHAPES, "noise", "plateaus"]), min_size=10, max_size=10))
    maps = np.empty((MAPS_A_BATCH, height, side), np.uint8)
    for kind, pixels in zip(kinds, maps, strict=True):
        if kind in SHAPES:  # on ground of another level, of one level or with few ties
            low, high = rng.integers(0, 256, 2)
            pixels[:] = np.where(np.rot90(SHAPES[kind](side), rng.integers(4)), high, low)[:height]
        else:
            pixels[:] = rng.choice(rng.integers(0, 256, 6 if kind == "noise" else 2), (height, side))
    if draw(st.booleans()):  # not contiguous, and not square
        maps = maps.repeat(2, axis=1)[:, ::2, : draw(st.integers(1, side))]
    numbers = rng.integers(0, 4, MAPS_A_BATCH)
    offsets = np.cumsum([0, *numbers])
    truths = rng.integers(-2, 2 * side + 2, (offsets[-1], 4)).astype(np.float32) / 2
    sizes = rng.integers(1, 40, (MAPS_A_BATCH, 2), np.int32) if draw(st.booleans()) else own_pixels(maps)
    return maps, truths, offsets, sizes


def own_pixels(maps):
    """Images of the maps' own size."""
    return np.tile(np.array(maps.shape[:0:-1], np.int32), (len(maps), 1))


def test_thousands_of_maps_give_their_twins_boxes_on_one_thread_and_on_two(threads, full):
    """Ten thousand maps and more with --full."""
    seen = []
    examples = 100 if numba.config.BOUNDSCHECK else 1000 if full else 200

    @settings(max_examples=examples, deadline=None)
    @given(batches())
    def check(batch):
        seen.append(len(batch[0]))
        check_against_twins(threads, *batch)

    check()
    assert sum(seen) >= 10 * examples


def check_against_twins(threads, maps, truths, offsets, sizes):
    before = maps.copy()
    sweep = reference.threshold_sweep(maps)
    ious = reference.sweep_ious(maps, truths, offsets, sizes)
    level = int(maps[0, 0, 0])
    components = component_boxes(maps, level, by=reference)
    for count in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
        threads(count)
        np.testing.assert_array_equal(kernels.threshold_sweep(maps), sweep)
        np.testing.assert_array_equal(kernels.sweep_ious(maps, truths, offsets, sizes), ious)
        np.testing.assert_array_equal(largest_box(maps, level), sweep[:, level])
        for ours, twin in zip(component_boxes(maps, level), components, strict=True):
            np.testing.assert_array_equal(ours, twin)
    np.testing.assert_array_equal(maps, before)


def fields(kind, count=40, height=64, width=64):
    rng = np.random.default_rng(3)
    if kind == "noise":
        return rng.integers(0, 256, (count, height, width)).astype(np.uint8)
    return kernels.cam_levels(rng.standard_normal((count, 8, 8)).astype(np.float32), (height, width))


@pytest.mark.parametrize("kind", ["smooth", "noise"])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (7, 130), (130, 7), (1, 1), (1, 200), (200, 1)])
def test_a_sweep_is_every_single_threshold(kind, height, width):
    maps = fields(kind, 12, height, width)
    sweep = kernels.threshold_sweep(maps)
    assert sweep.dtype == np.int32
    for level in range(LEVELS):
        np.testing.assert_array_equal(sweep[:, level], largest_box(maps, level))


@pytest.mark.parametrize("kind", ["smooth", "noise"])
def test_sweep_ious_are_those_of_the_boxes_at_each_level(kind):
    maps = fields(kind)
    rng = np.random.default_rng(4)
    offsets = np.cumsum([0, *rng.integers(1, 4, len(maps))])
    corners = rng.uniform(0, 32, (offsets[-1], 2))
    truths = np.concatenate([corners, corners + rng.uniform(1, 32, (offsets[-1], 2))], axis=1).astype(np.float32)
    of_largest, best_of_all = kernels.sweep_ious(maps, truths, offsets, own_pixels(maps))
    boxes = kernels.threshold_sweep(maps)
    for level in (0, 1, 20, 51, 100, 200, 254, 255):
        np.testing.assert_array_equal(of_largest[:, level], kernels.best_iou(boxes[:, level], truths, offsets))
        every, _, starts = component_boxes(maps, level)
        for n in range(len(maps)):
            own = truths[offsets[n] : offsets[n + 1]]
            mine = every[starts[n] : starts[n + 1]]
            ious = kernels.best_iou(mine, np.tile(own, (len(mine), 1)), np.arange(len(mine) + 1) * len(own))
            assert best_of_all[n, level] == max(ious, default=0)
    assert (best_of_all >= of_largest).all()
    assert (best_of_all > of_largest).any()


@pytest.mark.parametrize("kind", ["smooth", "noise"])
@pytest.mark.parametrize(("height", "width"), [(1024, 1024), (1024, 1000), (3, 65535)])
def test_large_maps_are_swept_like_small_ones(kind, height, width):
    if kind == "noise":
        maps = np.random.default_rng(0).integers(0, 256, (1, height, width)).astype(np.uint8)
    else:
        maps = fields(kind, 1, height, width)
    truth, offsets = np.array([[0, 0, width / 2, height]], np.float32), np.array([0, 1])
    sweep = kernels.threshold_sweep(maps)
    of_largest, _ = kernels.sweep_ious(maps, truth, offsets, own_pixels(maps))
    for level in (0, 1, 60, 130, 150, 220, 255):
        np.testing.assert_array_equal(sweep[:, level], largest_box(maps, level))
        np.testing.assert_array_equal(of_largest[:, level], kernels.best_iou(sweep[:, level], truth, offsets))


def test_maps_too_wide_for_a_pixels_place_are_refused():
    with pytest.raises(ValueError, match=r"shape \(1, 1, 65536\), expected sides of at most 65535"):
        kernels.threshold_sweep(np.zeros((1, 1, 65536), np.uint8))


def test_a_sweep_by_hand():
    #   two hills, the left one higher and the right one wider, and a saddle between them
    maps = np.array([[[9, 5, 7, 7], [0, 3, 0, 0]]], np.uint8)
    sweep = kernels.threshold_sweep(maps)[0]
    expected = {0: [0, 0, 4, 2], 1: [0, 0, 4, 2], 3: [0, 0, 4, 2], 4: [0, 0, 4, 1], 5: [0, 0, 4, 1]}
    expected |= {6: [2, 0, 4, 1], 7: [2, 0, 4, 1], 8: [0, 0, 1, 1], 9: [0, 0, 1, 1], 10: [0, 0, 0, 0]}
    assert {level: sweep[level].tolist() for level in expected} == expected


def test_a_tie_that_comes_later_but_lies_first_wins():
    # The right pair is there from level 8 on; the left one, as large, only from 5 on, but in an earlier row.
    maps = np.array([[[0, 5, 5, 0, 0], [0, 0, 0, 0, 8], [0, 0, 0, 0, 8]]], np.uint8)
    sweep = kernels.threshold_sweep(maps)[0]
    assert sweep[6].tolist() == [4, 1, 5, 3]
    assert sweep[5].tolist() == [1, 0, 3, 1]


def test_a_hole_is_no_box():
    maps = np.full((1, 9, 9), 200, np.uint8)
    maps[0, 2:7, 2:7] = 10
    truth = np.array([[2, 2, 7, 7]], np.float32)
    _, best_of_all = kernels.sweep_ious(maps, truth, np.array([0, 1]), own_pixels(maps))
    assert (best_of_all == 25 / 81).sum() == 201


def test_ious_are_taken_in_the_pixels_of_the_image():
    maps = np.zeros((1, 4, 4), np.uint8)
    maps[0, 1:3, 1:3] = 255
    truth = np.array([[25, 50, 75, 150]], np.float32)
    of_largest, _ = kernels.sweep_ious(maps, truth, np.array([0, 1]), np.array([[100, 200]], np.int32))
    assert (of_largest[0, 1:] == 1).all()
    assert of_largest[0, 0] == 0.25


def test_images_without_ground_truth_are_nan_at_every_level():
    maps = fields("smooth", 3, 8, 8)
    ious = kernels.sweep_ious(maps, np.array([[0, 0, 4, 4]], np.float32), np.array([0, 0, 1, 1]), own_pixels(maps))
    for each in ious:
        assert np.isnan(each).all(axis=1).tolist() == [True, False, True]


def test_an_empty_batch_gives_an_empty_batch():
    maps, truths = np.empty((0, 5, 5), np.uint8), np.empty((0, 4), np.float32)
    assert kernels.threshold_sweep(maps).shape == (0, LEVELS, 4)
    assert kernels.sweep_ious(maps, truths, np.zeros(1, np.int64), own_pixels(maps))[1].shape == (0, LEVELS)
    assert kernels.cam_levels(np.empty((0, 3, 3), np.float32), 8).shape == (0, 8, 8)
    assert component_boxes(maps, 1)[2].tolist() == [0]


@pytest.mark.parametrize(("cells", "size"), [(4, 64), (8, 64), (1, 5), (7, (30, 50)), (8, 5)])
def test_levels_are_their_twins_and_a_level_is_a_threshold_of_cam_boxes(cells, size):
    cams = np.random.default_rng(cells).standard_normal((30, cells, cells)).astype(np.float32)
    cams[3] = 7
    levels = kernels.cam_levels(cams, size)
    np.testing.assert_array_equal(levels, reference.cam_levels(cams, size))
    sweep = kernels.threshold_sweep(levels)
    varied = levels.any(axis=(1, 2))
    assert not varied[3]
    for level in range(LEVELS):
        boxes = kernels.cam_boxes(cams, size, threshold_of(level))
        np.testing.assert_array_equal(sweep[varied, level], boxes[varied])
    np.testing.assert_array_equal(sweep[varied, level_of(0.2)], kernels.cam_boxes(cams, size, 0.2)[varied])


def test_pixels_at_a_level_exactly_are_in():
    """k / 255 and its two neighbours among the float64, for every k: rounding never moves a pixel over a level."""
    k = np.arange(256)
    for values, expected in (
        (k / 255, k),
        (np.nextafter(k / 255, -1), np.maximum(k - 1, 0)),
        (np.nextafter(k / 255, 2), k),
    ):
        x = np.clip(values, 0, 1)
        levels = (x[:, np.newaxis] >= np.arange(1, 256) / 255).sum(axis=1)
        np.testing.assert_array_equal(levels, expected)
        quantised = np.empty((1, 1, 256), np.uint8)
        kernels.boxes._quantise(x[np.newaxis], 0.0, 1.0, quantised, 0)
        np.testing.assert_array_equal(quantised[0, 0], expected)


def test_wrong_input_is_refused_in_words():
    maps, truths, offsets = np.zeros((2, 4, 4), np.uint8), np.zeros((2, 4), np.float32), np.array([0, 1, 2])
    for call, message in (
        (lambda: kernels.threshold_sweep(maps.astype(np.float32)), "maps are float32, expected a NumPy array of uint8"),
        (lambda: kernels.threshold_sweep(maps[0]), r"maps have shape \(4, 4\)"),
        (lambda: kernels.sweep_ious(maps, truths, offsets[:2], own_pixels(maps)), "int64 array of 3 numbers"),
        (lambda: kernels.sweep_ious(maps, truths[:, :3], offsets, own_pixels(maps)), r"truths have shape \(2, 3\)"),
        (lambda: kernels.sweep_ious(maps, truths, offsets, np.ones((2, 2))), r"sizes must be int32 \[2, 2\]"),
        (lambda: kernels.sweep_ious(maps, truths, offsets, np.zeros((2, 2), np.int32)), "at least 1"),
        (lambda: kernels.cam_levels(np.full((1, 2, 2), np.nan, np.float32), 4), "map 0 holds NaN or infinity"),
        (lambda: kernels.cam_levels(maps, 4), "maps are uint8, expected a NumPy array of float32"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="Numba was started with one thread")
def test_sweeps_do_not_depend_on_the_number_of_threads(threads):
    maps = fields("smooth", 101)
    truths, offsets = np.tile(np.array([[8, 8, 50, 60]], np.float32), (101, 1)), np.arange(102)
    threads(1)
    alone = kernels.threshold_sweep(maps), *kernels.sweep_ious(maps, truths, offsets, own_pixels(maps))
    threads(2)
    for one, other in zip(
        alone,
        (kernels.threshold_sweep(maps), *kernels.sweep_ious(maps, truths, offsets, own_pixels(maps))),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
