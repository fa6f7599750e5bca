"""Which images a report shows, and what the page is told of each."""

import base64
import io

import numpy as np
import pytest
from conftest import noise_jpeg
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fastwsol.config import Augmentation
from fastwsol.dataset.shards import open_shards
from fastwsol.evaluation.boxes import curve_hits, localize, score_boxes
from fastwsol.evaluation.metrics import IOU_THRESHOLDS
from fastwsol.evaluation.thresholds import CAM_THRESHOLD, PAPER_LEVEL
from fastwsol.page.gallery import LONGEST_SIDE, choose_images, hundredths, picture, shown_images, shown_maps
from kernels.levels import LEVELS

SQUARE = 64
VIEWS = Augmentation(image_size=SQUARE)
WHOLE = np.array([0, 0, 600, 300])


def test_best_and_worst_are_by_the_mean_over_runs_and_no_image_is_shown_twice():
    a, b = np.array([0.9, 0.1, 0.5, 0.2, 0.6, 0.3]), np.array([0.9, 0.1, 0.7, 0.3, 0.2, 0.3])
    found = choose_images([a, b], 6)
    assert found.ids[:4].tolist() == [0, 2, 1, 3]
    assert found.kinds == ["best", "best", "worst", "worst", "random", "random"]
    assert sorted(found.ids.tolist()) == list(range(6))


@pytest.mark.parametrize(("count", "third"), [(300, 50), (90, 30)])
def test_a_set_of_fewer_images_than_are_asked_for_has_drawn_ones_too(count, third):
    found = choose_images([np.random.default_rng(0).random(150)], count)
    assert [found.kinds.count(kind) for kind in ("best", "worst", "random")] == [third] * 3


def test_a_picture_with_a_large_text_is_shown():
    """Pillow by itself refuses to open one."""
    texts = PngInfo()
    texts.add_text("workflow", "x" * 2_000_000, zip=True)
    file = io.BytesIO()
    Image.new("RGB", (600, 300), "red").save(file, "PNG", pnginfo=texts)
    assert picture(file.getvalue(), WHOLE).startswith("data:image/jpeg")


def test_images_without_ground_truth_are_only_drawn():
    ious = np.array([np.nan, 0.5, np.nan, 0.1])
    found = choose_images([ious], 30)
    assert dict(zip(found.ids.tolist(), found.kinds, strict=True)) == {1: "best", 3: "worst", 0: "random", 2: "random"}


def test_equal_runs_show_equal_images():
    ious = np.random.default_rng(0).random(1000)
    assert choose_images([ious], 300).ids.tolist() == choose_images([ious.copy()], 300).ids.tolist()
    assert len(set(choose_images([ious], 300).ids.tolist())) == 300


@pytest.mark.parametrize("threshold", IOU_THRESHOLDS)
def test_hundredths_tell_a_hit_exactly(threshold):
    exact = np.array([threshold, np.nextafter(threshold, 0), np.nextafter(threshold, 1), 0.0, 1.0, np.nan])
    found = hundredths(exact)
    assert ((found >= round(100 * threshold)) & (found != 255)).tolist() == (exact >= threshold).tolist()
    assert found.tolist()[3:] == [0, 100, 255]


def test_boxes_and_hits_at_every_level_are_those_of_the_tables(synthetic_shards):
    split = open_shards(synthetic_shards).splits["val"]
    ids = np.array([7, 0, 30])
    cams = np.random.default_rng(1).normal(size=(3, 8, 8)).astype(np.float32)
    cams[2] = 1.0  # a constant map
    shown = shown_maps(cams, np.zeros(3, np.int64), split, ids, VIEWS, "min-max")
    part = split.subset("part", ids)
    facts = part.widths, part.heights, part.boxes, part.box_offsets
    hits = curve_hits(cams, SQUARE, *facts, "min-max").single
    for k, each in enumerate(shown):
        boxes = np.frombuffer(base64.b64decode(each["boxes"]), "<u2").reshape(LEVELS, 4)
        ious = np.frombuffer(base64.b64decode(each["ious"]), np.uint8)
        for t, threshold in enumerate(IOU_THRESHOLDS):
            assert ((ious >= round(100 * threshold)) == hits[k, t]).all()
        size = part.widths[k : k + 1], part.heights[k : k + 1]
        at_fixed = localize(cams[k : k + 1], "strict", SQUARE, *size, CAM_THRESHOLD, "min-max")
        assert boxes[PAPER_LEVEL].tolist() == at_fixed[0].tolist()
        expected = score_boxes(at_fixed, part.boxes[k : k + 1], np.array([0, 1]), "strict")
        assert ious[PAPER_LEVEL] == hundredths(expected)[0]


def test_a_map_on_the_page_is_its_levels(synthetic_shards):
    split = open_shards(synthetic_shards).splits["val"]
    cams = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 8, 8)
    (shown,) = shown_maps(cams, np.zeros(1, np.int64), split, np.array([0]), VIEWS, "min-max")
    image = Image.open(io.BytesIO(base64.b64decode(shown["map"].partition(",")[2])))
    assert image.size == (SQUARE, SQUARE)
    assert image.getextrema() == (0, 255)


def test_small_pictures_are_shown_as_they_came_and_large_ones_shrunk(synthetic_shards):
    split = open_shards(synthetic_shards).splits["val"]
    (shown,) = shown_images(split, choose_images([np.full(len(split), np.nan)], 1), VIEWS)
    assert base64.b64decode(shown["picture"].partition(",")[2]) in {split.image(row) for row in range(len(split))}
    assert shown["truths"]
    file = io.BytesIO()
    Image.new("RGBA", (600, 300), (255, 0, 0, 128)).save(file, "PNG")
    small = Image.open(io.BytesIO(base64.b64decode(picture(file.getvalue(), WHOLE).partition(",")[2])))
    assert (small.format, small.size) == ("JPEG", (LONGEST_SIDE, LONGEST_SIDE // 2))


def test_no_image_is_best_and_worst(monkeypatch):
    found = choose_images([np.array([np.nan] * 8 + [0.5])], 9)
    assert sorted(found.ids.tolist()) == list(range(9))
    assert set(found.kinds) == {"random"}


def test_a_window_of_a_small_image_is_cut_out():
    shown = picture(noise_jpeg(0, size=(100, 60)), np.array([20, 0, 60, 60]))
    assert Image.open(io.BytesIO(base64.b64decode(shown.partition(",")[2]))).size == (60, 60)


def test_a_constant_map_on_its_own_scale_is_shown_as_it_is(synthetic_shards):
    split = open_shards(synthetic_shards).splits["val"]
    (shown,) = shown_maps(
        np.full((1, 8, 8), 0.5, np.float32), np.zeros(1, np.int64), split, np.zeros(1, int), VIEWS, "own"
    )
    boxes = np.frombuffer(base64.b64decode(shown["boxes"]), "<u2").reshape(LEVELS, 4)
    whole = [0, 0, SQUARE, SQUARE]
    assert boxes[0].tolist() == boxes[100].tolist() == whole
    assert boxes[200].tolist() == [0, 0, 0, 0]
