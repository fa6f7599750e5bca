"""Where maps are cut by other images: which images those are, and which cut is taken."""

import copy
import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from fastwsol.config import Augmentation
from fastwsol.dataset.holdout import hold_out
from fastwsol.dataset.shards import open_shards
from fastwsol.evaluation import tuning
from fastwsol.evaluation.question import Question
from fastwsol.evaluation.thresholds import Cut, box_free_threshold
from fastwsol.evaluation.truths import Truths
from fastwsol.evaluation.tuning import CutChoice, TuningImages, TuningMaps, tuning_images
from fastwsol.localizer.localizers import LOCALIZERS


def without_boxes(split, keep=0):
    """The same images, of which the first `keep` have a box."""
    few = copy.copy(split)
    few.boxes, few.box_offsets = few.boxes[:keep], few.box_offsets.clip(max=keep)
    return few


def test_a_threshold_without_boxes_is_found_on_images_trained_on_whichever_are_evaluated(synthetic_shards, monkeypatch):
    shards = hold_out(open_shards(synthetic_shards), 3)
    monkeypatch.setattr(tuning, "MOST_FOR_BOX_FREE", 20)
    for evaluated in ("train", "val", "holdout"):
        found, said = tuning_images(shards, evaluated, "box-free")
        assert np.bincount(found.labels).tolist() == [5] * 4
        assert said == "20 images trained on"
    splits = {**shards.splits, "train": without_boxes(shards.splits["train"])}
    found, _ = tuning_images(dataclasses.replace(shards, splits=splits), "val", "box-free")
    assert np.bincount(found.labels).tolist() == [5] * 4, "none has a box"


def test_of_images_that_cuts_are_found_on_by_boxes_those_with_boxes_are_counted(synthetic_shards):
    shards = hold_out(open_shards(synthetic_shards), 3)
    splits = {**shards.splits, "holdout": without_boxes(shards.splits["holdout"], keep=7)}
    found, said = tuning_images(dataclasses.replace(shards, splits=splits), "val")
    assert (len(found), said) == (12, "7 of 12 images held out of train")


def test_of_images_trained_on_those_with_a_box_are_taken(synthetic_shards):
    """Also where others lie before them."""
    shards = open_shards(synthetic_shards)
    train = copy.copy(shards.splits["train"])
    train.boxes = train.boxes[-3:]
    train.box_offsets = (train.box_offsets - train.box_offsets[-1] + 3).clip(min=0)
    found, said = tuning_images(dataclasses.replace(shards, splits={**shards.splits, "train": train}), "val")
    assert said == "3 images trained on"
    assert np.diff(found.box_offsets).tolist() == [1, 1, 1]
    assert found.names(range(3)) == train.names(range(77, 80))


def test_maps_are_cut_as_asked_or_else_as_the_run_cuts_them_or_else_as_all_runs_do():
    cam, own = LOCALIZERS["cam"], {"cam": Cut("box-free", 0.4, "images")}
    assert CutChoice(Question(threshold=0.3), own, None).cut(cam, None).value == 0.3
    assert CutChoice(Question(), own, None).cut(cam, None).value == 0.4
    assert CutChoice(Question(), {}, None).cut(cam, None).value == cam.cut
    assert CutChoice(Question(), own, None).levels(cam) is None


def test_of_cuts_that_are_as_good_by_boxes_the_nearest_to_the_runs_own_is_taken(synthetic_shards):
    """Every cut of these maps hits every image, or none."""
    split = open_shards(synthetic_shards).splits["val"]
    maps = {"cam": np.zeros((len(split), 8, 8), np.float32)}
    maps["cam"][:, 0, 0] = 1
    tuned = TuningMaps(TuningImages(split, "images"), SimpleNamespace(maps=maps), Augmentation(image_size=8))
    for near in (0.3, 0.7):
        choice = CutChoice(Question(threshold="auto"), {"cam": Cut("box-free", near, "images")}, tuned)
        levels = choice.levels(LOCALIZERS["cam"])
        assert choice.cut(LOCALIZERS["cam"], levels).value == pytest.approx(near, abs=1 / 255)


def test_a_mask_has_its_cut_without_boxes_on_its_own_scale(synthetic_shards):
    split = open_shards(synthetic_shards).splits["val"]
    maps = {"mask": (0.2 + 0.3 * np.random.default_rng(0).random((len(split), 8, 8))).astype(np.float32)}
    tuned = TuningMaps(TuningImages(split, "40 images"), SimpleNamespace(maps=maps), Augmentation(image_size=8))
    cut = tuned.box_free_cut(LOCALIZERS["mask"])
    assert (cut.rule, cut.chosen_on) == ("box-free", "40 images, without a box")
    assert cut.value == box_free_threshold(maps["mask"], 8, "own") < 0.4


def test_levels_by_boxes_are_found_in_what_the_run_sees_of_images():
    """Of images four times as wide as high a run that crops sees the middle, where here the objects are squares."""
    split = SimpleNamespace(
        widths=np.full(6, 200, np.int32),
        heights=np.full(6, 50, np.int32),
        boxes=np.tile(np.float32([90, 15, 110, 35]), (6, 1)),
        box_offsets=np.arange(7),
    )
    distances = np.hypot(*np.mgrid[-15.5:16, -15.5:16])
    maps = {"cam": np.tile(np.float32(1 - distances / distances.max()), (6, 1, 1))}
    views = Augmentation(image_size=32, fit="crop")
    tuned = TuningMaps(TuningImages(split, "6 images"), SimpleNamespace(maps=maps), views)
    cut = tuned.levels_by_boxes(LOCALIZERS["cam"], None).cut()
    assert cut.chosen_on == "6 images, by their boxes"
    shown = Truths.of_split(split, "crop").shown
    assert (shown.ious(shown.localize(maps["cam"], "strict", 32, cut.value, "min-max"), "strict") >= 0.5).all()
