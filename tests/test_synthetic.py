"""The synthetic set is what it says: exact boxes, one deciding part, one weak tint, a background that says nothing."""

import io
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from fastwsol.host.errors import UserError
from fastwsol.sources.synthetic import BODY_SIZES, PART_SIZE, TINT, Scene, Synthetic, draw_object, draw_scene, encode

CLASSES = 14


def scenes(seed: int, label: int, count: int) -> list:
    return [draw_scene(seed, "train", label, index) for index in range(count)]


def test_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    def images(seed: int) -> list[bytes]:
        return [record.image for record in Synthetic(2, 3, 2, seed=seed).records("train")]

    assert images(0) == images(0)
    assert not set(images(0)) & set(images(1))


def test_every_image_is_another_across_splits_classes_and_numbers() -> None:
    source = Synthetic(4, 5, 5)
    images = [record.image for split in source.splits for record in source.records(split)]
    assert len(set(images)) == len(images) == 40


def test_larger_set_holds_the_images_of_the_smaller() -> None:
    small = {record.name: record.image for record in Synthetic(2, 2, 1).records("train")}
    large = {record.name: record.image for record in Synthetic(5, 4, 3).records("train")}
    assert small.items() <= large.items()


def test_counts_labels_and_names_agree() -> None:
    source = Synthetic(3, 4, 2)
    for split, each in (("train", 4), ("val", 2)):
        records = list(source.records(split))
        assert source.count(split) == len(records) == 3 * each
        assert [record.label for record in records] == np.repeat(range(3), each).tolist()
        assert len({record.name for record in records}) == len(records)
    assert len({one.wnid for one in source.classes}) == len({one.name for one in source.classes}) == 3


def test_records_are_jpegs_of_the_scene_that_origin_names() -> None:
    record = list(Synthetic(2, 3, 1, seed=5).records("train"))[4]
    scene = draw_scene(5, "train", 1, 1)
    assert Synthetic(2, 3, 1, seed=5).origin("train", 4) == "draw_scene(5, 'train', 1, 1)"
    with Image.open(io.BytesIO(record.image)) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (64, 64))
        error = np.abs(np.asarray(image).astype(int) - scene.pixels).mean()
    assert error < 12  # chroma at half size and quality 90; another scene is off by 60
    np.testing.assert_array_equal(record.boxes, scene.box[None])


def test_box_is_tight_around_the_body() -> None:
    for scene in scenes(0, 0, 50):
        x0, y0, x1, y1 = scene.box.astype(int)
        inside = scene.body[y0:y1, x0:x1]
        assert inside.sum() == scene.body.sum()
        assert inside[0].any()
        assert inside[-1].any()
        assert inside[:, 0].any()
        assert inside[:, -1].any()


def test_bodies_vary_in_size_and_place_within_their_limits() -> None:
    boxes = np.array([scene.box for scene in scenes(0, 0, 300)])
    sides = boxes[:, 2:] - boxes[:, :2]
    # A superellipse's outermost row or column may miss every pixel centre.
    assert sides.min() >= BODY_SIZES[0] - 2
    assert sides.max() <= BODY_SIZES[1]
    assert np.ptp(sides) > 15
    assert boxes[:, :2].min() == 0
    assert boxes[:, 2:].max() == 64


def test_part_lies_inside_the_body_at_changing_places() -> None:
    offsets = set()
    for scene in scenes(0, 0, 50):
        x0, y0, x1, y1 = scene.part
        assert (x1 - x0, y1 - y0) == (PART_SIZE, PART_SIZE)
        assert scene.body[y0:y1, x0:x1].all()
        offsets.add((x0 - scene.box[0], y0 - scene.box[1]))
    assert len(offsets) > 30


def test_class_changes_nothing_outside_the_body() -> None:
    for k in range(20):
        drawn = [draw_object(np.random.SeedSequence(k), label) for label in range(CLASSES)]
        for scene in drawn[1:]:
            np.testing.assert_array_equal(scene.body, drawn[0].body)
            assert scene.part == drawn[0].part
            np.testing.assert_array_equal(scene.pixels[~scene.body], drawn[0].pixels[~scene.body])


def test_part_alone_decides_the_class() -> None:
    def glyph(label: int, index: int) -> np.ndarray:
        scene = draw_scene(0, "train", label, index)
        x0, y0, x1, y1 = scene.part
        return scene.pixels[y0:y1, x0:x1, 0]

    glyphs = [glyph(label, 0) for label in range(CLASSES)]
    for label, first in enumerate(glyphs):
        np.testing.assert_array_equal(first, glyph(label, 1))
        np.testing.assert_array_equal(first, first[:, ::-1])  # mirroring an image keeps its class
        assert np.mean(first > 128) == 0.5  # nor does brightness betray it
    for a, b in combinations(glyphs, 2):
        assert np.mean(a != b) >= 0.5


def test_tint_has_a_direction_of_its_class_and_spreads_as_far_as_its_mean() -> None:
    plane = np.array([[1, -1, 0], [1, 1, -2]]) / np.sqrt([[2], [6]])
    means = []
    for label in range(8):
        tints = []
        for scene in scenes(0, label, 150):
            body = scene.body.copy()
            x0, y0, x1, y1 = scene.part
            body[y0:y1, x0:x1] = False
            tints.append(plane @ scene.pixels[body].mean(axis=0))
        mean, spread = np.mean(tints, axis=0), np.std(tints, axis=0)
        assert np.linalg.norm(mean) == pytest.approx(TINT, rel=0.3)
        np.testing.assert_allclose(spread, TINT, rtol=0.3)
        means.append(mean)
    angles = np.sort(np.arctan2(*np.transpose(means)))
    assert np.diff(angles).min() > np.pi / 8  # evenly would be pi / 4


@pytest.mark.parametrize("count", [0, CLASSES + 1])
def test_class_count_out_of_range(count: int) -> None:
    with pytest.raises(UserError, match=rf"--classes {count}: the synthetic set has 1 to {CLASSES} classes"):
        Synthetic(class_count=count)


def test_both_cues_can_be_learnt() -> None:
    """From train, told on val: the part always, the body without it far above chance, the background not at all."""
    classes, count = 8, {"train": 60, "val": 60}
    cues = ("part", "body", "rest")
    features: dict[str, dict[str, list[np.ndarray]]] = {cue: {"train": [], "val": []} for cue in cues}
    for split in count:
        for label in range(classes):
            scenes = [decoded_scene(split, label, k) for k in range(count[split])]
            for cue, made in features.items():
                made[split].append(np.stack([cue_of(scene, pixels, cue) for scene, pixels in scenes]))
    chance = 1 / classes
    right = {cue: nearest_mean_accuracy(made["train"], made["val"]) for cue, made in features.items()}
    assert right["part"] > 0.98
    assert right["body"] > 2 * chance
    assert right["rest"] < 1.5 * chance


def decoded_scene(split: str, label: int, index: int) -> tuple[Scene, np.ndarray]:
    """A scene, and its pixels after the JPEG: what a network sees."""
    scene = draw_scene(0, split, label, index)
    return scene, np.asarray(Image.open(io.BytesIO(encode(scene.pixels))), np.float64)


def cue_of(scene: Scene, pixels: np.ndarray, cue: str) -> np.ndarray:
    """The part's brightness cell by cell; the body's mean hue without the part; the background's mean hue."""
    x0, y0, x1, y1 = scene.part
    if cue == "part":
        return pixels[y0:y1, x0:x1].mean(axis=2).ravel()
    body = scene.body.copy()
    # JPEG smears the glyph over its neighbours.
    body[max(0, y0 - 4) : y1 + 4, max(0, x0 - 4) : x1 + 4] = False
    mean = pixels[body if cue == "body" else ~scene.body].mean(axis=0)
    return mean - mean.mean()


def nearest_mean_accuracy(train: list[np.ndarray], val: list[np.ndarray]) -> float:
    """The share of `val` that lies nearest to its own class's mean over `train`; a list entry a class."""
    means = np.stack([features.mean(axis=0) for features in train])
    right = [np.linalg.norm(features[:, None] - means, axis=2).argmin(axis=1) == k for k, features in enumerate(val)]
    return float(np.mean(right))
