"""The box kernels against their plain twins, bit for bit, and against answers worked out by hand."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from masks import component_boxes, largest_box
from shapes import checkerboard, comb, isolated, spiral

import kernels
from kernels import reference

CAM_KERNELS = ("cam_boxes", "cam_boxes_paper2018")
WIDTHS_AROUND_WORDS = (1, 2, 7, 8, 9, 63, 64, 65, 127, 128, 129, 200)


@pytest.fixture
def threads():
    before = numba.get_num_threads()
    yield numba.set_num_threads
    numba.set_num_threads(before)


def drawn(*rows):
    """A mask [1, H, W] from rows of `#` and `.`, as uint8."""
    return np.array([[[pixel == "#" for pixel in row] for row in rows]], np.uint8)


def box_of(*rows):
    return largest_box(drawn(*rows), 1)[0].tolist()


def smooth_maps(rng, count, height, width):
    coarse = rng.standard_normal((count, 5, 5)).astype(np.float32)
    return np.stack([reference.upsample(cam, (height, width)) for cam in coarse]).astype(np.float32)


def test_kernels_is_the_package_of_this_repository():
    assert Path(kernels.__file__).resolve() == Path(__file__).resolve().parents[1] / "kernels" / "__init__.py"


def test_kernels_work_where_scipy_cannot_be_imported():
    program = "import sys; sys.modules['scipy'] = None; import kernels"
    root = Path(__file__).resolve().parents[1]
    subprocess.run([sys.executable, "-c", program], cwd=root, check=True)


def test_an_empty_mask_gives_no_box():
    assert box_of("...", "...") == [0, 0, 0, 0]


def test_one_pixel_is_a_box_of_one_pixel():
    assert box_of("....", "..#.", "....") == [2, 1, 3, 2]


def test_a_full_mask_gives_the_whole_map():
    for width in WIDTHS_AROUND_WORDS:
        assert largest_box(np.ones((1, 3, width), np.uint8), 1).tolist() == [[0, 0, width, 3]]


def test_corners_connect():
    assert box_of("#...", ".#..", "..#.", "#..#") == [0, 0, 4, 4]
    assert box_of("...#", "..#.", ".#..", "#...") == [0, 0, 4, 4]


def test_a_gap_of_one_pixel_separates():
    assert box_of("##.###", "##.###") == [3, 0, 6, 2]
    assert box_of("##..", "....", "###.") == [0, 2, 3, 3]


def test_runs_at_both_ends_of_neighbouring_rows_are_apart():
    for width in WIDTHS_AROUND_WORDS[3:]:
        mask = np.zeros((1, 2, width), np.uint8)
        mask[0, 0, -2:] = mask[0, 1, 0] = 1
        assert largest_box(mask, 1).tolist() == [[width - 2, 0, width, 1]]


def test_the_largest_has_the_most_pixels_and_not_the_largest_box():
    assert box_of("#....###", ".#...###", "..#..###", "...#....") == [5, 0, 8, 3]


def test_ties_go_to_the_first_pixel_in_row_order():
    assert box_of("....##", "##....") == [4, 0, 6, 1]
    assert box_of("##..##") == [0, 0, 2, 1]
    # The right one begins first, and its first pixel counts, not its leftmost.
    assert box_of("......#", "##....#", "##...##") == [5, 0, 7, 3]


def test_arms_that_meet_below_are_one_component_with_all_its_pixels():
    assert box_of("#.#.#...###", "#.#.#...###", "#####......") == [0, 0, 5, 3]
    assert box_of("#...#....", "#.#.#.###", "#.#.#.###", ".#.#..###") == [0, 0, 5, 4]


def test_a_ring_and_its_core_are_two_components():
    assert box_of("#######", "#.....#", "#.###.#", "#.###.#", "#.###.#", "#.....#", "#######") == [0, 0, 7, 7]
    assert box_of("####...", "#..#...", "#..####", "####.##") == [0, 0, 7, 4]


@pytest.mark.parametrize("side", [5, 8, 33, 64, 67])
def test_a_checkerboard_is_one_component_and_isolated_pixels_are_many(side):
    assert largest_box(checkerboard(side)[None], 1).tolist() == [[0, 0, side, side]]
    assert largest_box(isolated(side)[None], 1).tolist() == [[0, 0, 1, 1]]


@pytest.mark.parametrize("side", [9, 21, 64, 65])
def test_a_spiral_and_a_comb_are_one_component_however_they_lie(side):
    for mask in (spiral(side), comb(side)):
        for turns in range(4):
            maps = np.ascontiguousarray(np.rot90(mask, turns))[None]
            assert largest_box(maps, 1).tolist() == [[0, 0, side, side]]


def test_all_components_come_in_row_order_of_their_first_pixels():
    three, none, one = drawn("..#..", "#...#", "##..#"), drawn(*3 * ["....."]), drawn("#....", ".....", ".....")
    maps = np.concatenate([three, none, one])
    boxes, pixels, offsets = component_boxes(maps, 1)
    assert offsets.tolist() == [0, 3, 3, 4]
    assert boxes.tolist() == [[2, 0, 3, 1], [0, 1, 2, 3], [4, 1, 5, 3], [0, 0, 1, 1]]
    assert pixels.tolist() == [1, 3, 2, 1]


@pytest.mark.parametrize("width", WIDTHS_AROUND_WORDS)
def test_random_masks_give_their_twins_components(width):
    maps = np.random.default_rng(width).random((12, 11, width), np.float32)
    for threshold in (0.2, 0.5, 0.8):
        ours = component_boxes(maps, threshold)
        theirs = component_boxes(maps, threshold, by=reference)
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)
            assert one.dtype == other.dtype
        np.testing.assert_array_equal(largest_box(maps, threshold), largest_box(maps, threshold, by=reference))


@settings(max_examples=150, deadline=None)
@given(
    arrays(np.uint8, st.tuples(st.integers(0, 4), st.integers(1, 9), st.integers(1, 12)), elements=st.integers(0, 2))
)
def test_any_small_mask_gives_its_twins_box(maps):
    for threshold in (1, 2):
        np.testing.assert_array_equal(largest_box(maps, threshold), largest_box(maps, threshold, by=reference))


@pytest.mark.parametrize("width", WIDTHS_AROUND_WORDS)
@pytest.mark.parametrize("density", [0.1, 0.35, 0.6, 0.95])
def test_random_masks_of_any_width_give_their_twins_boxes(width, density):
    maps = np.random.default_rng(width).random((12, 11, width), np.float32)
    np.testing.assert_array_equal(largest_box(maps, 1 - density), largest_box(maps, 1 - density, by=reference))


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_smooth_maps_give_their_twins_boxes_at_a_threshold_each(dtype):
    rng = np.random.default_rng(1)
    maps = (40 * smooth_maps(rng, 200, 40, 70) + 128).clip(0, 255).astype(dtype)
    thresholds = rng.uniform(90, 200, len(maps))
    np.testing.assert_array_equal(largest_box(maps, thresholds), largest_box(maps, thresholds, by=reference))


def test_a_pixel_equal_to_the_threshold_is_kept():
    for value in (0.1, 0.2, 0.7, 1.0):
        cam = np.array([[[0, value, 1]]], np.float32)
        least = float(cam[0, 0, 1])  # as float32 holds it
        assert kernels.cam_boxes(cam, (1, 3), least).tolist() == [[1, 0, 3, 1]]


def test_a_components_peak_is_the_greatest_value_in_its_box():
    cam = np.array([[[0, 8, 0, 4, 5], [0, 7, 0, 0, 0], [10, 0, 0, 0, 0]]], np.float32)
    boxes, pixels, peaks, offsets = kernels.cam_component_boxes(cam, (3, 5), 0.4)
    assert boxes.tolist() == [[0, 0, 2, 3], [3, 0, 5, 1]]
    assert pixels.tolist() == [3, 2]
    assert peaks.tolist() == [1, 0.5]
    assert offsets.tolist() == [0, 2]


@pytest.mark.parametrize(("cells", "size"), [(4, 64), (8, (40, 65)), (1, 5), (8, 5)])
def test_all_components_of_cams_are_their_twins_and_the_largest_is_cam_boxes(cells, size):
    cams = np.random.default_rng(cells).standard_normal((40, cells, cells)).astype(np.float32)
    cams[3] = 7
    for threshold in (0.0, 0.2, 0.5, 1.0):
        ours = kernels.cam_component_boxes(cams, size, threshold)
        for one, other in zip(ours, reference.cam_component_boxes(cams, size, threshold), strict=True):
            np.testing.assert_array_equal(one, other)
            assert one.dtype == other.dtype
        boxes, pixels, _, offsets = ours
        single = kernels.cam_boxes(cams, size, threshold)
        for n, (first, end) in enumerate(itertools.pairwise(offsets)):
            largest = boxes[first + pixels[first:end].argmax()] if first < end else [0, 0, 0, 0]
            np.testing.assert_array_equal(single[n], largest)


@pytest.mark.parametrize("name", CAM_KERNELS)
@settings(max_examples=150, deadline=None)
@given(
    cams=arrays(
        np.float32,
        st.tuples(st.integers(0, 3), st.integers(1, 5), st.integers(1, 5)),
        elements=st.one_of(st.integers(-3, 3).map(float), st.floats(width=32, allow_nan=False, allow_infinity=False)),
    ),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    threshold=st.one_of(st.sampled_from([0.0, 0.2, 0.5, 1.0]), st.floats(0, 1)),
)
def test_any_cam_gives_its_twins_box(name, cams, height, width, threshold):
    ours = getattr(kernels, name)(cams, (height, width), threshold)
    np.testing.assert_array_equal(ours, getattr(reference, name)(cams, (height, width), threshold))


@pytest.mark.parametrize("name", CAM_KERNELS)
@pytest.mark.parametrize(("cells", "size"), [(4, 64), (8, 64), (16, 64), (7, 100), (8, 5)])
def test_random_cams_give_their_twins_boxes(name, cells, size):
    cams = np.random.default_rng(cells).standard_normal((60, cells, cells)).astype(np.float32)
    for threshold in (0.2, 0.6):
        ours = getattr(kernels, name)(cams, size, threshold)
        np.testing.assert_array_equal(ours, getattr(reference, name)(cams, size, threshold))


def test_upsampling_is_torchs_bilinear_without_aligned_corners():
    cam = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)
    for size in ((64, 64), (40, 65), (3, 4)):
        theirs = torch.nn.functional.interpolate(
            torch.from_numpy(cam)[None, None].double(), size=size, mode="bilinear", align_corners=False
        )
        np.testing.assert_allclose(reference.upsample(cam, size), theirs[0, 0].numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", CAM_KERNELS)
def test_a_constant_cam_says_nothing(name):
    cams = np.stack([np.full((3, 3), value, np.float32) for value in (0, 0.1, -7.3, 1e30)])
    assert not getattr(kernels, name)(cams, (17, 23), 0.2).any()
    assert not getattr(kernels, name)(cams, (17, 23), threshold=0).any()


def test_a_constant_cam_takes_no_box_from_the_map_before_it(threads):
    threads(1)  # so that all maps pass through the same scratch
    cams = np.random.default_rng(3).standard_normal((3, 4, 4)).astype(np.float32)
    cams[1] = 5
    for boxes_of in (kernels.cam_boxes, kernels.cam_boxes_paper2018):
        boxes = boxes_of(cams, 32, 0.2)
        assert boxes[1].tolist() == [0, 0, 0, 0]
        np.testing.assert_array_equal(boxes[[0, 2]], boxes_of(cams[[0, 2]], 32, 0.2))


def test_cam_boxes_at_the_cams_own_size_are_the_boxes_of_its_cells():
    cam = np.array([[[0, 0, 0, 0], [0, 1, 5, 0], [0, 0, 2, 0]]], np.float32)
    assert kernels.cam_boxes(cam, (3, 4), threshold=0.2).tolist() == [[1, 1, 3, 3]]
    assert kernels.cam_boxes(cam, (3, 4), threshold=0.3).tolist() == [[2, 1, 3, 3]]
    assert kernels.cam_boxes(cam, (3, 4), threshold=1).tolist() == [[2, 1, 3, 2]]


def test_paper2018_takes_the_largest_rectangle_and_a_pixel_more():
    cam = 10 * drawn("#....###", ".#...###", "..#..###", "...#....").astype(np.float32)
    assert kernels.cam_boxes_paper2018(cam, (4, 8), 0.2).tolist() == [[0, 0, 5, 5]]
    assert kernels.cam_boxes(cam, (4, 8), 0.2).tolist() == [[5, 0, 8, 3]]


def test_paper2018_ties_go_to_the_first_pixel_in_row_order():
    cam = 10 * drawn("....##", "##...#", "##....").astype(np.float32)
    assert kernels.cam_boxes_paper2018(cam, (3, 6), 0.2).tolist() == [[4, 0, 7, 3]]


def test_paper2018_may_reach_a_pixel_past_the_map():
    cam = np.array([[[1, 0, 1], [1, 1, 1]]], np.float32)
    assert kernels.cam_boxes_paper2018(cam, (2, 3), 0.2).tolist() == [[0, 0, 4, 3]]


def test_paper2018_cuts_between_whole_levels():
    # int(0.2 * 255) = 51, so level 51 goes and level 52 stays: x = 51.9 / 256 is above 0.2 and still not kept.
    levels = np.array([[[0, 51.9, 256, 52, 0]]], np.float32)
    assert kernels.cam_boxes_paper2018(levels, (1, 5), 0.2).tolist() == [[2, 0, 5, 2]]
    assert kernels.cam_boxes(levels, (1, 5), 0.2).tolist() == [[1, 0, 4, 1]]


def test_paper2018_keeps_nothing_above_the_maximum():
    assert not kernels.cam_boxes_paper2018(np.eye(3, dtype=np.float32)[None], 3, threshold=1).any()


def test_an_empty_batch_gives_an_empty_batch():
    for boxes in (
        kernels.cam_component_boxes(np.empty((0, 4, 4), np.float32), 8, 0.5)[0],
        kernels.cam_boxes(np.empty((0, 4, 4), np.float32), 8, 0.2),
        kernels.cam_boxes_paper2018(np.empty((0, 4, 4), np.float32), 8, 0.2),
    ):
        assert boxes.shape == (0, 4)
        assert boxes.dtype == np.int32


def test_memory_layout_does_not_matter_and_inputs_are_not_modified():
    contiguous = np.random.default_rng(4).standard_normal((6, 8, 8)).astype(np.float32)
    layouts = [np.asfortranarray(contiguous), np.repeat(contiguous, 2, axis=2)[:, :, ::2], contiguous[::-1][::-1]]
    for box in (
        lambda maps: kernels.cam_component_boxes(maps, 20, 0.3)[0],
        lambda maps: kernels.cam_boxes(maps, 20, 0.2),
        lambda maps: kernels.cam_boxes_paper2018(maps, 20, 0.2),
    ):
        expected = box(contiguous.copy())
        for maps in [contiguous, *layouts]:
            before = maps.copy()
            maps.flags.writeable = False
            np.testing.assert_array_equal(box(maps), expected)
            np.testing.assert_array_equal(maps, before)
            maps.flags.writeable = True


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="Numba was started with one thread")
def test_boxes_do_not_depend_on_the_number_of_threads(threads):
    maps = smooth_maps(np.random.default_rng(5), 101, 64, 64)
    boxes = []
    for count in (1, 2):
        threads(count)
        boxes.append(
            [*kernels.cam_component_boxes(maps[:, ::8, ::8], 64, 0.3), kernels.cam_boxes(maps[:, ::8, ::8], 64, 0.2)]
        )
    for one, other in zip(*boxes, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_map_that_is_not_finite_is_named(bad):
    maps = np.zeros((5, 6, 70), np.float32)
    maps[3, 5, 69] = maps[4, 0, 0] = bad
    for call in (
        lambda: kernels.cam_component_boxes(maps, 8, 0.5),
        lambda: kernels.cam_boxes(maps, 8, 0.2),
        lambda: kernels.cam_boxes_paper2018(maps, 8, 0.2),
    ):
        with pytest.raises(ValueError, match="map 3 holds NaN or infinity"):
            call()


def test_wrong_input_is_refused_in_words():
    maps = np.zeros((2, 4, 4), np.float32)
    for call, message in (
        (lambda: kernels.cam_component_boxes(maps.astype(np.float64), 8, 1), "float64, expected a NumPy array of"),
        (lambda: kernels.cam_boxes(maps.astype(np.uint8), 8, 0.2), "uint8, expected a NumPy array of float32"),
        (lambda: kernels.cam_boxes(maps[0], 8, 1), r"shape \(4, 4\), expected \[N, H, W\]"),
        (lambda: kernels.cam_component_boxes(maps[:, :0], 8, 1), r"shape \(2, 0, 4\)"),
        (lambda: kernels.cam_component_boxes(maps, 8, np.nan), r"threshold is nan, expected 0\.\.1"),
        (lambda: kernels.cam_boxes(maps, (0, 8), 0.2), "0 x 8 pixels"),
        (lambda: kernels.cam_boxes(maps, 8, 1.5), r"threshold is 1.5, expected 0\.\.1"),
        (lambda: kernels.cam_boxes_paper2018(maps, 8, np.nan), r"threshold is nan, expected 0\.\.1"),
        (lambda: kernels.cam_boxes(maps.astype(np.float64), 8, 1), r"give array\.astype\(np\.float32\)"),
        (lambda: kernels.cam_boxes(torch.zeros(2, 4, 4), 8, 1), r"torch\.float32, .*; give tensor\.cpu\(\)\.numpy"),
        (lambda: kernels.cam_boxes(maps[0], 8, 1), r"of a single map give maps\[np\.newaxis\]"),
        (lambda: kernels.cam_boxes(maps, (8, 8, 3), 0.2), r"as image\.shape\[:2\]"),
        (
            lambda: kernels.cam_boxes(maps, 8, np.full(3, 0.2)),
            r"shape \(3,\), expected one number or one for each",
        ),
        (lambda: kernels.cam_boxes(maps, 8, 0.2, "Own"), "no scale 'Own'; choose from min-max, own"),
        (lambda: kernels.cam_levels(maps, 8, None), "no scale None"),
        (
            lambda: kernels.mask_in_box(maps, 8, (8, 8), (0, 0, 1, 1), 0.2),
            r"expected that of one map",
        ),
        (lambda: kernels.mask_in_box(maps[0], 8, (8, 8), (0, 0, 1, 1), np.zeros(2)), "expected one number"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="NOT TESTED: no fork here")
@pytest.mark.parametrize(
    ("parent", "child"),
    [("boxes()", "boxes()"), ("numba.set_num_threads(1)", "boxes()"), ("boxes()", "hits()"), ("hits()", "boxes()")],
)
def test_a_forked_process_whose_parent_had_the_threads_is_refused_and_not_ended(parent, child):
    """GNU's OpenMP would end it without a word of ours."""
    program = FORKING.format(parent=parent, child=child)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    layer, status = done.stdout.split()
    assert (layer, status) == ("omp", "3") or (layer != "omp" and status == "0"), done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="NOT TESTED: no fork here")
def test_a_process_that_was_forked_before_there_were_threads_has_its_own():
    program = FORKING.format(parent="None", child="numba.set_num_threads(1); boxes(); hits(); boxes()")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split()[1] == "0", done.stderr


FORKING = """
import os, numba, numpy as np, kernels
maps, offsets = np.eye(4, dtype=np.float32)[None], np.arange(2)
box = np.array([[0, 0, 2, 2]], np.float32)
boxes = lambda: kernels.cam_boxes(maps, 8, 0.2)
hits = lambda: kernels.fixed_box_hits(box, box, offsets, np.array([0.5]))
{parent}
if (forked := os.fork()) == 0:
    try:
        {child}
    except RuntimeError as error:
        os._exit(3 if "by spawn" in str(error) else 4)
    os._exit(0)
status = os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1])
boxes()
print(numba.threading_layer(), status)
"""
