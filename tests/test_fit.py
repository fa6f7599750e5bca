"""`--fit crop`: the network is shown the middle square of each image, and boxes are in the image's own pixels."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fastwsol import evaluate, predict, report, train
from fastwsol.batches.dali_batches import DaliBatches
from fastwsol.batches.stream import Stream, training_plan
from fastwsol.batches.views_reference import batch as reference_batch
from fastwsol.config import Augmentation
from fastwsol.dataset.shards import open_shards
from fastwsol.draws import draw_views
from fastwsol.evaluation.fixed_boxes import fixed_box_hits, fixed_boxes
from fastwsol.evaluation.maps import NetworkMaps, localize_maps
from fastwsol.evaluation.truths import Truths
from fastwsol.geometry import shown_windows
from fastwsol.host.command_line import run_command
from kernels.reference import best_iou

WIDTHS, HEIGHTS = np.array([100, 60, 80, 61], np.int32), np.array([60, 100, 80, 40], np.int32)


def test_the_middle_square_is_shown_and_crops_lie_in_it():
    windows = shown_windows("crop", WIDTHS, HEIGHTS)
    assert windows.tolist() == [[20, 0, 60, 60], [0, 20, 60, 60], [0, 0, 80, 80], [10, 0, 40, 40]]
    ids = np.arange(4).repeat(200)
    epochs = np.tile(np.arange(200), 4)
    views = draw_views(Augmentation("gr", fit="crop"), 0, ids, epochs, WIDTHS[ids], HEIGHTS[ids])
    inside = windows[ids]
    assert (views.windows[:, :2] >= inside[:, :2]).all()
    assert (views.windows[:, :2] + views.windows[:, 2:] <= inside[:, :2] + inside[:, 2:]).all()
    plain = draw_views(Augmentation("none", fit="crop"), 0, ids, epochs, WIDTHS[ids], HEIGHTS[ids])
    assert np.array_equal(plain.windows, inside)


@pytest.mark.parametrize("aug", ["none", "gr", "gr-hns", "hns-gr"])
def test_dali_shows_what_the_reference_shows(picture_shards, aug):
    shards = open_shards(picture_shards)
    split, augmentation = shards.splits["train"], Augmentation(aug, flip=True, image_size=64, fit="crop")
    statistics = shards.manifest.statistics
    stream = Stream(split, training_plan(3, len(split), 8), 8, augmentation, 3, statistics)
    batches = DaliBatches(stream, torch.device("cpu"), threads=1)
    for step in range(4):
        ids, epochs = stream.plan(step)
        encoded = [split.image(index) for index in ids]
        expected = reference_batch(encoded, stream.views(ids, epochs), augmentation, statistics)
        shown = next(batches).images.permute(0, 2, 3, 1).numpy()
        assert (np.abs(shown - expected) * np.array(shards.manifest.statistics.std)).max() < 1.001


def iou(box, truth) -> float:
    """By the slow twin."""
    return float(best_iou(np.array([box], np.float32), np.array([truth], np.float32), np.array([0, 1]))[0])


@pytest.fixture
def truths() -> Truths:
    """A box in the middle, one cut off above, one of which nothing is cut off, one outside of what is shown."""
    boxes = np.array([[30, 10, 70, 50], [5, 10, 50, 70], [0, 5, 80, 40], [0, 0, 9, 40]], np.float32)
    return Truths(WIDTHS, HEIGHTS, boxes, np.arange(5), "crop")


def test_boxes_and_ious_are_those_of_the_original_image(truths):
    """A map's box is put into the image by hand, and measured against the whole ground truth."""
    cams = np.zeros((4, 8, 8), np.float32)
    cams[:, 2:6, 1:7] = 1
    localized = localize_maps(NetworkMaps(cams, 64), truths)
    in_square = localize_maps(NetworkMaps(cams, 64), Truths(*np.full((2, 4), 64, np.int32), truths.boxes, np.arange(5)))
    measured = localized.boxes["strict"]
    for k, (x, y, side, _) in enumerate(shown_windows("crop", WIDTHS, HEIGHTS).tolist()):
        expected = in_square.boxes["strict"].boxes[k] * side / 64 + [x, y, x, y]
        assert measured.boxes[k] == pytest.approx(expected, abs=1e-4)
        assert measured.ious[k] == pytest.approx(iou(expected, truths.boxes[k]), abs=1e-6)


def test_fixed_boxes_are_the_same_however_images_are_shown(truths):
    """They look at no image: the whole image is the whole image."""
    stretched = Truths(WIDTHS, HEIGHTS, truths.boxes, truths.offsets)
    for one, other in zip(fixed_boxes(truths, 64), fixed_boxes(stretched, 64), strict=True):
        assert one.box.tolist() == other.box.tolist()
        hits = [fixed_box_hits(each, known, 64, "strict") for each, known in ((one, truths), (other, stretched))]
        assert np.array_equal(*hits)


def test_images_whose_objects_are_cut_off_are_counted(truths):
    assert truths.images_cut == 2
    assert Truths(WIDTHS, HEIGHTS, truths.boxes, truths.offsets).images_cut == 0
    assert truths.digest() == Truths(WIDTHS, HEIGHTS, truths.boxes, truths.offsets).digest(), "the same ground truth"


@pytest.fixture(scope="module")
def run(picture_shards, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    flags = [
        "--preset",
        "demo",
        "--localizer",
        "cam",
        "--stem",
        "C",
        "--image-size",
        "64",
        "--epochs",
        "4",
        "--batch-size",
        "8",
    ]
    flags += ["--threads", "1", "--device", "cpu", "--step", "eager", "--fit", "crop", "--aug", "gr"]
    assert run_command(train.main, ["--shards", str(picture_shards), "--run-dir", str(folder), *flags]) == 0
    return folder


def test_objects_that_are_cut_off_are_said(run, capsys):
    assert run_command(evaluate.main, [str(run), "--threads", "1"]) == 0
    report = json.loads((run / "report.json").read_text())
    assert 0 < report["images_cut"] < report["images"]
    assert f"{report['images_cut']} images have a box that reaches out of the middle" in capsys.readouterr().out


def test_predicted_boxes_lie_in_the_middle_square(run, picture_folders, tmp_path):
    out = tmp_path / "boxes.json"
    flags = ["--out", str(out), "--threads", "1", "--threshold", "0", "--overlays", str(tmp_path / "pictures")]
    assert run_command(predict.main, [str(run), str(picture_folders / "val"), *flags]) == 0
    predictions = json.loads(out.read_text())
    sizes = {each["id"]: (each["width"], each["height"]) for each in predictions["images"]}
    assert len(predictions["annotations"]) == 10
    for each in predictions["annotations"]:
        width, height = sizes[each["image_id"]]
        side = min(width, height)
        assert each["bbox"] == pytest.approx([(width - side) // 2, (height - side) // 2, side, side], abs=1e-3)
    assert len([*(tmp_path / "pictures").rglob("*.jpg")]) == 10


def test_a_page_shows_the_middle_squares(run, tmp_path):
    page = tmp_path / "page.html"
    assert run_command(report.main, [str(run), "--gallery", "3", "--out", str(page), "--threads", "1"]) == 0


@pytest.mark.parametrize("flag", ["--export-maps", "--wsoleval"])
def test_what_wants_maps_of_whole_images_is_refused(run, tmp_path, capsys, flag):
    arguments = [str(tmp_path / "maps")] if flag == "--export-maps" else []
    assert run_command(evaluate.main, [str(run), flag, *arguments]) == 2
    assert f"{flag}: wants maps of whole images" in capsys.readouterr().err
    assert not (tmp_path / "maps").exists()


def test_an_empty_map_has_no_box_in_the_middle_square():
    maps = np.zeros((2, 4, 4), np.float32)
    maps[1, 1:3, 1:3] = 0.9
    truths = Truths(
        *(np.full(2, side, np.int32) for side in (300, 100)), np.float32([[110, 10, 190, 90]] * 2), np.arange(3), "crop"
    )
    found = localize_maps(NetworkMaps(maps, 64, "own"), truths, 0.5, True).at_cut
    assert found.boxes[0].tolist() == [0, 0, 0, 0]
    assert found.boxes[1, 0] > 100
    assert found.ious[0] == 0
