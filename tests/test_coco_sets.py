"""`pack --layout coco` of sets that others wrote: what is taken, by which rule, and what is quarantined."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import noise_jpeg
from layouts import mask_of, packed_again, run

from fastwsol import convert, pack
from fastwsol.dataset.shards import open_shards
from fastwsol.host.errors import UserError
from fastwsol.sources.coco import Coco
from fastwsol.sources.coco_json import _marks_masks_as_crowds
from fastwsol.sources.of_objects import class_of_areas
from fastwsol.sources.segmentations import pixels_of
from fastwsol.training.launch_flags import flags_named, photographs_want_photos


def coco_set(root: Path, **changes: Any) -> Path:
    """A set as COCO's own is laid out: two splits, polygons, a crowd, an image with two classes, one with nothing."""
    for split, names in (("train2017", "abcdef"), ("val2017", "xy")):
        (root / split).mkdir(parents=True)
        for number, name in enumerate(names):
            (root / split / f"{name}.jpg").write_bytes(noise_jpeg(number, size=(60, 40)))
    categories = [{"id": 5, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 9, "name": "unseen"}]

    def image(number: int, name: str) -> dict[str, Any]:
        return {"id": number, "file_name": f"{name}.jpg", "width": 60, "height": 40}

    def thing(number: int, category: int, *box: float, **more: Any) -> dict[str, Any]:
        x, y, width, height = box
        polygon = [[x, y, x + width, y, x + width, y + height, x, y + height]]
        return {"image_id": number, "category_id": category, "bbox": [*box], "segmentation": polygon, **more}

    annotations = [
        thing(1, 5, 2, 3, 20, 10),
        thing(2, 2, 2, 3, 20, 10),
        thing(3, 2, 0, 0, 8, 10),
        thing(3, 5, 10, 10, 9, 9),
        thing(3, 5, 30, 10, 9, 9),
        thing(4, 5, 10, 10, 9, 9),
        thing(4, 2, 0, 0, 60, 40, iscrowd=1, segmentation={"size": [40, 60], "counts": [0, 2400]}),
        thing(6, 2, 10, 10, 9, 9),
    ]
    images = [image(number, name) for number, name in enumerate("abcdef", 1)]
    (root / "annotations").mkdir()
    train = {"images": images, "categories": categories, "annotations": annotations, **changes}
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(train))
    (root / "annotations" / "captions_train2017.json").write_text("{}")
    val = [thing(1, 5, 1, 1, 5, 5), thing(2, 9, 1, 1, 5, 5), thing(2, 9, 1, 1, 5, 5)]
    content = {"images": [image(1, "x"), image(2, "y")], "categories": categories, "annotations": val}
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    return root


def two_on_an_image(root: Path, small: str) -> Path:
    """A set of images with a small triangle of their own class in the box of a large one. small: `other class`, where
    the large one is of the other, or `same class`.
    """
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    for split in ("train", "val"):
        (root / split).mkdir(parents=True)
        images, annotations = [], []
        for number in (1, 2):
            (root / split / f"{number}.jpg").write_bytes(noise_jpeg(number, size=(60, 40)))
            own = number if small == "other class" else 1
            images.append(
                {"id": number, "file_name": f"{split}/{number}.jpg", "width": 60, "height": 40, "category_id": own}
            )
            for category, corners in (
                (3 - own if small == "other class" else own, [0, 0, 50, 0, 0, 39]),
                (own, [40, 30, 45, 30, 45, 38]),
            ):
                x, y = corners[::2], corners[1::2]
                box = [min(x), min(y), max(x) - min(x), max(y) - min(y)]
                annotations.append(
                    {"image_id": number, "category_id": category, "bbox": box, "segmentation": [corners]}
                )
        images.append({"id": 3, "file_name": f"{split}/3.jpg", "width": 60, "height": 40, "category_id": 2})
        (root / split / "3.jpg").write_bytes(noise_jpeg(3, size=(60, 40)))
        annotations.append(
            {"image_id": 3, "category_id": 2, "bbox": [1, 1, 9, 9], "segmentation": [[1, 1, 10, 1, 1, 10]]}
        )
        content = {"images": images, "categories": categories, "annotations": annotations}
        (root / f"instances_{split}.json").write_text(json.dumps(content))
    return root


def test_masks_of_objects_whose_boxes_overlap_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed_again(two_on_an_image(tmp_path / "set", "same class"), "coco")
    for form, said in (("coco", "8 masks of objects whose boxes overlap may have pixels of others"), ("csv", "")):
        capsys.readouterr()
        assert run(convert.main, tmp_path / "set-packed", "--format", form, "--out", tmp_path / form) == 0
        told = capsys.readouterr().out
        assert said in told if said else "boxes overlap" not in told


def test_a_class_that_boxes_do_not_tell_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """VOC tells an image's class by its boxes alone, and here the largest is another's."""
    packed_again(two_on_an_image(tmp_path / "set", "other class"), "coco")
    capsys.readouterr()
    assert run(convert.main, tmp_path / "set-packed", "--format", "voc", "--out", tmp_path / "voc") == 0
    assert "4 classes of images that their boxes do not tell" in capsys.readouterr().out


def test_a_set_of_cocos_own_layout_is_packed_by_the_rule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = packed_again(coco_set(tmp_path / "set"), "coco")
    said = capsys.readouterr().out
    assert [each.name for each in found.manifest.classes] == ["cat", "dog"]
    train, val = found.splits["train"], found.splits["val"]
    assert train.names(range(len(train))) == [f"train2017/{name}.jpg" for name in "abcdf"]
    assert train.labels.tolist() == [0, 1, 0, 0, 1], "of c the cats cover more than the dog"
    assert val.labels.tolist() == [0]
    assert np.diff(train.objects.offsets).tolist() == [1, 1, 3, 1, 1]
    assert np.diff(train.box_offsets).tolist() == [1, 1, 2, 1, 1]
    for words in (
        "1 image without an object that counts, left out",
        "1 class of no image to train on, left out (unseen)",
        "1 image of classes that are not packed, left out",
        "1 box of crowds, left out",
        "1 box beside them, of other classes than their image's, or difficult",
        "1 image with objects of several classes: of the one whose boxes cover the most",
        "1 box repeated, of the same class and edges: taken once",
    ):
        assert words in said, said
    of_a = mask_of(train, 0)
    assert of_a is not None
    assert (of_a == 255).sum() == 200


def test_a_crowd_of_an_images_class_is_left_out_of_its_mask(tmp_path: Path) -> None:
    root = coco_set(tmp_path / "set")
    path = root / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"][6]["category_id"] = 5
    path.write_text(json.dumps(content))
    found = mask_of(packed_again(root, "coco").splits["train"], 3)
    assert found is not None
    assert {int(value): int((found == value).sum()) for value in np.unique(found)} == {128: 2400 - 81, 255: 81}


def test_a_file_in_each_splits_folder_is_found_and_one_file_is_divided(tmp_path: Path) -> None:
    root = coco_set(tmp_path / "a")
    for split in ("train", "valid"):
        source = f"{split.replace('valid', 'val')}2017"
        (root / source).rename(root / split)
        shutil.move(root / "annotations" / f"instances_{source}.json", root / split / "_annotations.coco.json")
    shutil.rmtree(root / "annotations")
    found = packed_again(root, "coco")
    assert [len(split) for split in found.splits.values()] == [5, 1]
    shutil.copy(root / "train" / "_annotations.coco.json", tmp_path / "mine.json")
    out = tmp_path / "one"
    flags = ("--layout", "coco", "--boxes", tmp_path / "mine.json", "--val-fraction", "0.5")
    assert run(pack.main, *flags, "--source", root / "train", "--out", out) == 0
    assert [len(split) for split in open_shards(out).splits.values()] == [2, 3]


COCO_MISTAKES = [
    ({"annotations": [{"image_id": 1, "category_id": 7, "bbox": [1, 1, 2, 2]}]}, "category_id 7 is none of the file's"),
    ({"annotations": [{"image_id": 77, "category_id": 5, "bbox": [1, 1, 2, 2]}]}, "image_id 77 is in no list"),
    ({"annotations": []}, "its images to train on are of 0 classes; two at least are needed"),
    ({"categories": []}, "lists no categories, so no image has a class; add them"),
    (
        {"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]},
        "two categories are 'a'; give each its own",
    ),
    ({"images": []}, "image_id 1 is in no list of the file"),
]


@pytest.mark.parametrize(("changes", "words"), COCO_MISTAKES)
def test_mistakes_in_a_coco_set_are_named(
    changes: dict[str, Any], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coco_set(tmp_path / "set", **changes)
    assert run(pack.main, "--layout", "coco", "--source", tmp_path / "set", "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert words in said, said
    assert said.count("\n") == 1


def test_annotations_in_the_place_of_the_images_are_told_where_to_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = coco_set(tmp_path / "set") / "annotations" / "instances_val2017.json"
    assert run(pack.main, "--layout", "coco", "--source", path, "--out", tmp_path / "out") == 2
    assert "is a file of annotations; name the images' folder with --source" in capsys.readouterr().err


def test_an_image_that_is_missing_is_not_taken_from_another_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = coco_set(tmp_path / "set")
    shutil.move(root / "train2017" / "b.jpg", root / "val2017" / "b.jpg")
    flags = ("--layout", "coco", "--source", root, "--out", tmp_path / "out")
    assert run(pack.main, *flags) == 2
    assert "b.jpg: no such image, and the annotations list it" in capsys.readouterr().err
    assert run(pack.main, *flags, "--quarantine") == 3


def test_images_anywhere_below_are_found_by_the_end_of_their_paths(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = coco_set(tmp_path / "set")
    boxes = shutil.move(root / "annotations" / "instances_train2017.json", tmp_path / "boxes.json")
    flags = ("--layout", "coco", "--source", root, "--boxes", boxes, "--out", tmp_path / "out")
    assert run(pack.main, *flags) == 0, capsys.readouterr().err
    (root / "copies").mkdir()
    shutil.copy(root / "train2017" / "a.jpg", root / "copies" / "a.jpg")
    assert run(pack.main, *flags[:-1], tmp_path / "other") == 2
    said = capsys.readouterr().err
    assert "a.jpg: may be copies/a.jpg or train2017/a.jpg" in said
    assert "give its path in the annotations" in said


@pytest.mark.parametrize("how", ["in its folder", "as a zip"])
def test_a_coco_set_in_an_outer_folder_is_found(how: str, tmp_path: Path) -> None:
    coco_set(tmp_path / "outer" / "set")
    source = tmp_path / "outer"
    if how == "as a zip":
        source = Path(shutil.make_archive(str(tmp_path / "zipped"), "zip", tmp_path / "outer"))
    assert run(pack.main, "--layout", "coco", "--source", source, "--out", tmp_path / "out") == 0
    train = open_shards(tmp_path / "out").splits["train"]
    assert train.names(range(len(train))) == [f"set/train2017/{name}.jpg" for name in "abcdf"]


def test_images_of_a_split_are_found_in_the_folder_that_is_called_so(tmp_path: Path) -> None:
    root = coco_set(tmp_path / "set")
    (root / "annotations" / "instances_train2017.json").rename(root / "annotations" / "annotations_train.json")
    (root / "annotations" / "captions_train2017.json").unlink()
    (root / "train2017").rename(root / "train")
    train = packed_again(root, "coco").splits["train"]
    assert train.names(range(len(train))) == [f"train/{name}.jpg" for name in "abcdf"]


def test_of_one_file_folders_that_images_had_elsewhere_are_ignored(tmp_path: Path) -> None:
    root = coco_set(tmp_path / "set")
    file = root / "annotations" / "instances_train2017.json"
    content = json.loads(file.read_text())
    for each in content["images"]:
        each["file_name"] = f"/home/me/labelled/{each['file_name']}"
    (tmp_path / "one.json").write_text(json.dumps(content))
    flags = ("--layout", "coco", "--source", root / "train2017", "--boxes", tmp_path / "one.json")
    assert run(pack.main, *flags, "--out", tmp_path / "out") == 0
    splits = open_shards(tmp_path / "out").splits.values()
    assert sorted(name for split in splits for name in split.names(range(len(split)))) == [
        f"{name}.jpg" for name in "abcdf"
    ]


@pytest.mark.parametrize("listed", ["A/0.jpg B/0.jpg", "A/0.jpg"])
def test_folders_are_ignored_where_that_joins_no_two_images(
    listed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two cameras that call their images alike."""
    root = coco_set(tmp_path / "set")
    file = root / "annotations" / "instances_train2017.json"
    content = json.loads(file.read_text())
    for name, image in zip(listed.split(), content["images"], strict=False):
        image["file_name"] = name
    (root / "train2017" / "a.jpg").rename(root / "train2017" / "0.jpg")
    (tmp_path / "one.json").write_text(json.dumps(content))
    flags = ("--layout", "coco", "--source", root / "train2017", "--boxes", tmp_path / "one.json", "--quarantine")
    status = run(pack.main, *flags, "--out", tmp_path / "out")
    assert status == (3 if " " in listed else 0), capsys.readouterr().err
    aside = json.loads((tmp_path / "out" / "quarantine.json").read_text()) if status else []
    assert sorted(each["name"] for each in aside) == listed.split() * (status == 3)


def test_boxes_without_a_side_and_masks_of_other_classes_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Official sets have some of the first."""
    root = coco_set(tmp_path / "set")
    file = root / "annotations" / "instances_train2017.json"
    content = json.loads(file.read_text())
    content["annotations"].append({"image_id": 1, "category_id": 2, "bbox": [3, 3, 0, 9]})
    crossed = {"image_id": 1, "category_id": 5, "bbox": [30, 3, -20, 9]}
    file.write_text(json.dumps(content | {"annotations": [*content["annotations"], crossed]}))
    assert run(pack.main, "--layout", "coco", "--source", root, "--out", tmp_path / "crossed") == 2
    assert "box (30, 3, 10, 12), half-open, reaches outside" in capsys.readouterr().err, "corners that are exchanged"
    content["annotations"].append(content["annotations"][0] | {"category_id": 2, "bbox": [1, 1, 2, 2]})
    file.write_text(json.dumps(content))
    packed_again(root, "coco")
    said = capsys.readouterr().out
    assert "1 box without a width or a height, left out" in said
    assert "masks of objects of other classes than their image's not kept, an image has one" in said


def test_images_of_test_are_told_as_that(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = coco_set(tmp_path / "set")
    (root / "test2017").mkdir()
    for name in ("s", "t", "of-none"):
        (root / "test2017" / f"{name}.jpg").write_bytes(noise_jpeg(9, size=(60, 40)))
    (root / "annotations" / "image_info_test-deep2017.json").write_text(100_000 * "[")
    shutil.move(root / "annotations" / "instances_train2017.json", root / "train2017" / "instances_of_a_test.json")
    images = [{"id": k, "file_name": f"{name}.jpg", "width": 60, "height": 40} for k, name in enumerate("st")]
    (root / "annotations" / "image_info_test2017.json").write_text(json.dumps({"images": images}))
    packed_again(root, "coco")
    said = capsys.readouterr().out
    assert "2 images of test not packed\n" in said
    assert "1 image of the folder in no file of annotations, and not packed\n" in said


def test_a_box_that_is_left_out_takes_no_mask_away(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = coco_set(tmp_path / "set")
    place = root / "annotations" / "instances_train2017.json"
    content = json.loads(place.read_text())
    content["annotations"].append(
        {"image_id": 1, "category_id": 5, "bbox": [9, 9, 0, 5], "segmentation": [[9, 9, 9, 14]]}
    )
    place.write_text(json.dumps(content))
    found = packed_again(root, "coco")
    assert "1 box without a width or a height, left out" in capsys.readouterr().out
    train = found.splits["train"]
    mask = mask_of(train, train.names(range(len(train))).index("train2017/a.jpg"))
    assert mask is not None
    assert (mask == 255).sum() == 20 * 10


def test_a_bad_box_is_named_by_its_own_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = coco_set(tmp_path / "set")
    file = root / "annotations" / "instances_train2017.json"
    content = json.loads(file.read_text())
    content["annotations"].append({"id": 99, "image_id": 1, "category_id": 5, "bbox": [50, 3, 40, 9]})
    file.write_text(json.dumps(content))
    assert run(pack.main, "--layout", "coco", "--source", root, "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert "a.jpg: box (50, 3, 90, 12), half-open, reaches outside" in said
    assert "annotation 8 (id 99)); correct the box" in said


def test_names_with_another_systems_slashes_are_found(tmp_path: Path) -> None:
    root = coco_set(tmp_path / "set")
    boxes = shutil.move(root / "annotations" / "instances_train2017.json", tmp_path / "boxes.json")
    content = json.loads(boxes.read_text())
    for image in content["images"]:
        image["file_name"] = f"train2017\\{image['file_name']}"
    last = content["images"][-1]
    (root / last["file_name"].replace("\\", "/")).rename(root / last["file_name"])  # as some unpack it
    boxes.write_text(json.dumps(content))
    flags = ("--layout", "coco", "--source", root, "--boxes", boxes, "--out", tmp_path / "out")
    assert run(pack.main, *flags) == 0


def test_boxes_in_shares_of_their_images_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = coco_set(tmp_path / "set")
    path = root / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    for each in content["annotations"]:
        each["bbox"] = [0.1, 0.2, 0.5, 0.6]
    empty = [content["annotations"][0] | {"bbox": box} for box in ([0.4, 0.3, 0, 0.2], [0.4, 0.3, 0.2, 0])]
    content["annotations"] += empty
    path.write_text(json.dumps(content))
    assert run(pack.main, "--layout", "coco", "--source", root, "--out", tmp_path / "out") == 2
    assert "annotation 0: edges (0.1, 0.2, 0.6, 0.8) lie between 0 and 1, as shares" in capsys.readouterr().err
    assert run(convert.main, path, "--out", tmp_path / "a.csv") == 2
    assert "lie between 0 and 1, as shares" in capsys.readouterr().err
    path.write_text(json.dumps(content | {"annotations": [empty[0] | {"bbox": [0, 0, 0, 0]}]}))
    assert run(convert.main, path, "--out", tmp_path / "a.csv") == 0
    assert "1 box outside of their image, or empty" in capsys.readouterr().out


def as_runs(annotation: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The annotation with its box as run lengths, marked as a crowd."""
    x, y, width, height = (int(each) for each in annotation["bbox"])
    mask = np.zeros((40, 60), bool)
    mask[y : y + height, x : x + width] = True
    flat = np.concatenate([[False], mask.T.ravel(), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], edges, [mask.size]])).tolist()
    return annotation | {"iscrowd": 1, "segmentation": {"size": [40, 60], "counts": counts}} | more


@pytest.mark.parametrize("by_cvat", [True, False])
def test_masks_that_cvat_marks_as_crowds_are_objects(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], by_cvat: bool
) -> None:
    """Datumaro, and with it CVAT, marks each mask so. Without its `attributes` they are crowds, as in COCO's own."""
    root = coco_set(tmp_path / "set")
    assert run(pack.main, "--layout", "coco", "--source", root, "--out", tmp_path / "before") == 0
    more = {"attributes": {"occluded": False}} if by_cvat else {}
    for path in (root / "annotations").glob("instances*"):
        content = json.loads(path.read_text())
        content["annotations"] = [
            each if each.get("iscrowd") else as_runs(each, **more) for each in content["annotations"]
        ]
        path.write_text(json.dumps(content))
    capsys.readouterr()
    code = run(pack.main, "--layout", "coco", "--source", root, "--out", tmp_path / "out")
    if not by_cvat:
        assert code == 2
        assert "are of 0 classes (11 objects are marked as crowds, iscrowd 1" in capsys.readouterr().err
        return
    assert code == 0
    said = capsys.readouterr().out
    assert "10 masks that are marked as crowds, as CVAT and Datumaro mark every mask, are taken for objects" in said
    before, after = open_shards(tmp_path / "before"), open_shards(tmp_path / "out")
    for name in ("train", "val"):
        np.testing.assert_array_equal(before.splits[name].boxes, after.splits[name].boxes)
        for k in range(len(before.splits[name])):
            np.testing.assert_array_equal(mask_of(before.splits[name], k), mask_of(after.splits[name], k))


def test_segmentations_that_give_no_mask_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = coco_set(tmp_path / "set")
    path = root / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    del content["images"][0]["width"], content["images"][0]["height"]
    content["annotations"][3]["segmentation"] = []  # one of two of its class
    path.write_text(json.dumps(content))
    assert run(pack.main, "--layout", "coco", "--source", root, "--out", tmp_path / "out") == 0
    assert "2 images with segmentations and no mask" in capsys.readouterr().out


def test_an_image_in_two_splits_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = coco_set(tmp_path / "set")
    path = root / "annotations" / "instances_val2017.json"
    content = json.loads(path.read_text())
    content["images"][0]["file_name"] = "../train2017/a.jpg"
    shutil.copy(root / "train2017" / "a.jpg", root / "a.jpg")
    content["images"][0]["file_name"] = "train2017/a.jpg"
    path.write_text(json.dumps(content))
    assert run(pack.main, "--layout", "coco", "--source", root, "--out", tmp_path / "out") == 2
    assert "'train2017/a.jpg' is " in capsys.readouterr().err


def test_bad_segmentations_and_missing_images_are_quarantined_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = coco_set(tmp_path / "set")
    path = root / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"] = [[1, 2]]
    path.write_text(json.dumps(content))
    (root / "train2017" / "b.jpg").unlink()
    flags = ("--layout", "coco", "--source", root, "--out", tmp_path / "out")
    assert run(pack.main, *flags) == 2
    assert "b.jpg: no such image, and the annotations list it" in capsys.readouterr().err
    assert run(pack.main, *flags, "--quarantine") == 3
    assert "4 packed and 2 quarantined, 6 in all" in capsys.readouterr().out


def test_runs_of_another_size_or_number_of_pixels_are_refused() -> None:
    """As those of an image whose width and height were taken for each other, which have as many pixels."""
    with pytest.raises(UserError, match=r"is of \[4, 6\] pixels \(height, width\), and the image has \[6, 4\]"):
        pixels_of({"size": [4, 6], "counts": [24]}, 4, 6, "here")
    for counts in ([3, 2], "32"):
        with pytest.raises(UserError, match="runs of another number of pixels"):
            pixels_of({"size": [4, 4], "counts": counts}, 4, 4, "here")


def test_a_segmentation_that_was_changed_shows_in_the_fingerprint(tmp_path: Path) -> None:
    """So that a packing that was stopped does not go on with other masks."""
    root = coco_set(tmp_path / "set")
    before = Coco(root).fingerprint("train", 0, 5)
    assert Coco(root).fingerprint("train", 0, 5) == before
    path = root / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"][0][:2] = [4, 4]
    path.write_text(json.dumps(content))
    assert Coco(root).fingerprint("train", 0, 5) != before


def test_a_crowd_that_is_drawn_as_polygons_stays_one() -> None:
    """CVAT marks run lengths as crowds, and no polygons."""
    marked = {"iscrowd": 1, "attributes": {}}
    runs, polygons = {"size": [4, 4], "counts": [16]}, [[0, 0, 4, 0, 4, 4]]
    assert _marks_masks_as_crowds({**marked, "segmentation": runs})
    assert not _marks_masks_as_crowds({**marked, "segmentation": polygons})


def test_of_classes_that_cover_as_much_the_first_is_taken() -> None:
    place = {"a": 0, "b": 1}.__getitem__
    assert class_of_areas([("b", 4), ("a", 4)], place) == "a"
    assert class_of_areas([("b", 5), ("a", 4)], place) == "b"


def test_photographs_of_every_layout_take_the_preset_photos(tmp_path: Path, synthetic_shards: Path) -> None:
    """Also those of a folder that is called as the synthetic set is."""
    packed_again(coco_set(tmp_path / "synthetic"), "coco")
    for shards, wanted in ((tmp_path / "synthetic-packed", True), (synthetic_shards, False)):
        assert photographs_want_photos(flags_named(["--shards", str(shards)], "train")) is wanted
    named = ["--shards", str(tmp_path / "synthetic-packed"), "--preset", "paper"]
    assert not photographs_want_photos(flags_named(named, "train"))
