"""`pack --layout yolo` of sets that others wrote: where their files may lie, and what is quarantined."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import noise_jpeg
from layouts import mask_of, packed_again, put, run
from PIL import Image

from fastwsol import convert, pack
from fastwsol.dataset.shards import Shards, open_shards
from fastwsol.sources.yolo import Yolo, _labels_of
from fastwsol.sources.yolo_labels import _box_and_outline

CAT, DOG = "0 0.3 0.25 0.4 0.5", "1 0.5 0.5 0.2 0.4"
"""Of an image of 60 x 40 pixels the boxes 6, 0, 30, 20 and 24, 12, 36, 28."""


def yolo_set(root: Path, *, train: str = "images/train", val: str = "images/valid", told: str | None = None) -> Path:
    """A cat and a dog for each split, an image of test, and one that is in none."""
    number = 0
    for place, lines in ((train, (CAT, DOG)), (val, (CAT, DOG)), ("images/test", (CAT,)), ("images/more", (CAT,))):
        for name, line in zip(("a", "b"), lines, strict=False):
            number += 1
            put(root / place / f"{name}.jpg", noise_jpeg(number, size=(60, 40)))
            put(root / place.replace("images", "labels") / f"{name}.txt", f"{line}\n".encode())
    text = f"path: ../datasets/set\ntrain: {train}\nval: {val}\ntest: images/test\nnc: 2\nnames: [cat, no]\n"
    put(root / "data.yaml", (text if told is None else told).encode())
    return root


def names_in(found: Shards) -> dict[str, list[str]]:
    return {name: split.names(range(len(split))) for name, split in found.splits.items()}


def refused(root: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert run(pack.main, "--layout", "yolo", "--source", root, "--out", root.parent / "out") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_labels_are_those_of_the_folder_images_whatever_is_inside(tmp_path: Path) -> None:
    """As `convert` writes them of a VOC set, whose images lie in JPEGImages."""
    root = yolo_set(tmp_path / "set", train="images/train/JPEGImages", val="images/valid/JPEGImages")
    assert (root / "labels/train/JPEGImages/a.txt").is_file()
    found = packed_again(root, "yolo")
    assert names_in(found)["train"] == ["images/train/JPEGImages/a.jpg", "images/train/JPEGImages/b.jpg"]
    assert all(len(split.boxes) == 2 for split in found.splits.values())


def test_a_set_as_ultralytics_trains_on_it_is_packed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = packed_again(yolo_set(tmp_path / "set"), "yolo")
    said = capsys.readouterr().out
    assert [each.name for each in found.manifest.classes] == ["cat", "no"], "no is a name, and not false"
    assert names_in(found) == {
        "train": ["images/train/a.jpg", "images/train/b.jpg"],
        "val": ["images/valid/a.jpg", "images/valid/b.jpg"],
    }
    np.testing.assert_allclose(found.splits["train"].boxes, [[6, 0, 30, 20], [24, 12, 36, 28]], atol=1e-5)
    assert "1 image of test not packed" in said
    assert "1 image in no split, and not packed" in said
    assert "yolo" in found.manifest.source


LAYOUTS = {
    "split/images": ("train/images", "valid/images", "train: ../train/images\nval: ../valid/images\nnames: [a, b]\n"),
    "of another machine": (
        "images/train",
        "images/val",
        "train: /content/a set/images/train\nval: C:\\data\\images\\val\nnames: {0: a, 1: b}\n",
    ),
    "folders in lists": ("images/one", "images/two", "train: [images/one]\nval: [images/two]\nnames: [a, b]\n"),
    "images in lists": ("images/one", "images/two", "train: in/train.txt\nval: in/val.txt\nnames: [a, b]\n"),
    "names alone": ("images/train2017", "images/val2017", "names: [a, b]\n"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("outer", ["", "zip"])
def test_splits_are_found_where_a_set_tells_them(layout: str, outer: str, tmp_path: Path) -> None:
    train, val, told = LAYOUTS[layout]
    root = yolo_set(tmp_path / "set", train=train, val=val, told=told)
    put(root / "in/train.txt", f"./../{train}/a.jpg\n\n/data/set/{train}/b.jpg\r\n".encode())
    put(root / "in/val.txt", f"set/{val}/b.jpg\n{val}/a.jpg\n".encode())
    before = ""
    if outer:
        with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
            for path in sorted(root.rglob("*")):
                file.write(path, f"birds/{path.relative_to(root)}")
        root, before = tmp_path / "set.zip", "birds/"
    found = names_in(packed_again(root, "yolo"))
    assert {name: sorted(each) for name, each in found.items()} == {
        "train": [f"{before}{train}/a.jpg", f"{before}{train}/b.jpg"],
        "val": [f"{before}{val}/a.jpg", f"{before}{val}/b.jpg"],
    }


def test_labels_may_lie_beside_their_images_with_names_in_a_text(tmp_path: Path) -> None:
    """As Darknet and CVAT have them, with lists of another folder."""
    root = tmp_path / "set"
    for number, (name, line) in enumerate({"a": CAT, "b": DOG, "c": CAT, "d": DOG}.items()):
        put(root / "obj_train_data" / f"{name}.jpg", noise_jpeg(number, size=(60, 40)))
        put(root / "obj_train_data" / f"{name}.txt", line.encode())
    put(root / "obj.names", b"cat\ndog\n")
    put(root / "train.txt", b"data/obj_train_data/a.jpg\ndata/obj_train_data/b.jpg\n")
    put(root / "valid.txt", b"data/obj_train_data/c.jpg\ndata/obj_train_data/d.jpg\n")
    found = packed_again(root, "yolo")
    assert [each.name for each in found.manifest.classes] == ["cat", "dog"]
    assert names_in(found)["val"] == ["obj_train_data/c.jpg", "obj_train_data/d.jpg"]
    (root / "train.txt").unlink()
    (root / "valid.txt").unlink()
    (root / "obj.names").rename(root / "obj_train_data" / "classes.txt")
    (root / "obj_train_data").rename(root / "photos")
    assert [len(each) for each in names_in(packed_again(root / "photos", "yolo")).values()] == [2, 2]


def test_the_same_images_as_train_and_val_have_no_val_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = "train: images\nval: images\nnames: [cat, dog]\n"
    found = packed_again(yolo_set(tmp_path / "set", told=told), "yolo", "--val-fraction", "0.3")
    assert [len(each) for each in names_in(found).values()] == [4, 2]
    said = capsys.readouterr().out
    assert "train and val are the same images, so that there is no val of its own" in said
    assert "there is no val: of each class 0.3 was drawn, 2 images" in said


def test_images_without_labels_repeats_and_labels_without_images_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = yolo_set(tmp_path / "set")
    put(root / "images/train/c.jpg", noise_jpeg(9))
    put(root / "labels/train/d.txt", CAT.encode())
    put(root / "labels/train/a.txt", f"{CAT}\n{CAT}\n{DOG}\n1 .5 .5 0 .5\n".encode())
    found = packed_again(root, "yolo")
    said = capsys.readouterr().out
    for words in (
        "1 image without an object that counts, left out",
        "1 file of labels without an image, and not packed",
        "1 box repeated, of the same class and edges: taken once",
        "1 box beside them, of other classes than their image's, or difficult",
        "1 box without a width or a height, left out",
        "1 image with objects of several classes: of the one whose boxes cover the most",
    ):
        assert words in said, said
    assert len(found.splits["train"]) == 2


def test_shares_are_of_the_upright_image(tmp_path: Path) -> None:
    root = yolo_set(tmp_path / "set")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 40), "red").save(root / "images/train/a.jpg", exif=exif)
    train = packed_again(root, "yolo").splits["train"]
    np.testing.assert_allclose(train.boxes[0], [4, 0, 20, 30], atol=1e-5)


TRIANGLE = "0.1 0.1 0.5 0.1 0.1 0.9"


def test_outlines_become_masks_where_every_object_of_the_class_has_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = yolo_set(tmp_path / "set")
    put(root / "labels/train/a.txt", f"0 {TRIANGLE}\n0 0.6 0.6 0.9 0.6 0.9 0.9 0.7 0.95 0.6 0.9\n".encode())
    put(root / "labels/train/b.txt", f"1 {TRIANGLE}\n{DOG}\n0 {TRIANGLE}\n0 0.2 0.2 0.4 0.2 0.3 0.4\n".encode())
    put(root / "labels/valid/a.txt", b"0 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5\n")
    found = packed_again(root, "yolo")
    said = capsys.readouterr().out
    train, val = found.splits["train"], found.splits["val"]
    assert train.has_mask.tolist() == [True, False]
    assert not val.has_mask.any(), "an outline of four corners along the edges is a box"
    mask = mask_of(train, 0)
    assert mask is not None
    assert mask.shape == (40, 60)
    assert mask[5, 7] == mask[30, 45] == 255
    assert mask[35, 25] == mask[2, 2] == 0
    np.testing.assert_allclose(train.boxes[:2], [[6, 4, 30, 36], [36, 24, 54, 38]], atol=1e-5)
    np.testing.assert_allclose(val.boxes[0], [6, 4, 30, 20], atol=1e-5)
    assert "1 image with outlines and no mask, as not every object of its class has one" in said
    assert "2 outlines of objects of other classes than their image's not kept" in said


def test_of_turned_boxes_and_poses_the_boxes_are_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = yolo_set(tmp_path / "turned")
    put(root / "labels/train/a.txt", b"0 0.2 0.1 0.5 0.3 0.4 0.5 0.1 0.3\n")
    found = packed_again(root, "yolo")
    assert "all outlines have four corners, as turned boxes have: the boxes around them were taken" in (
        capsys.readouterr().out
    )
    assert not found.splits["train"].has_mask.any()
    np.testing.assert_allclose(found.splits["train"].boxes[0], [6, 4, 30, 20], atol=1e-5)
    root = yolo_set(tmp_path / "poses")
    put(root / "data.yaml", (root / "data.yaml").read_bytes() + b"kpt_shape: [2, 3]\n")
    put(root / "labels/train/a.txt", f"{CAT} 0.1 0.2 2 0.3 0.4 0\n".encode())
    found = packed_again(root, "yolo")
    assert "of poses the boxes were taken, and no points" in capsys.readouterr().out
    np.testing.assert_allclose(found.splits["train"].boxes[0], [6, 0, 30, 20], atol=1e-5)


def test_predicted_boxes_are_said_to_be_predicted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = yolo_set(tmp_path / "set")
    put(root / "labels/train/a.txt", f"{CAT} 0.87\n".encode())
    put(root / "labels/train/b.txt", f"1 {TRIANGLE} 0.5\n".encode())
    found = packed_again(root, "yolo")
    assert "2 images with boxes that a network predicted and nobody has judged" in capsys.readouterr().out
    assert found.manifest.source.endswith("(yolo, with predicted boxes)")
    np.testing.assert_allclose(found.splits["train"].boxes[0], [6, 0, 30, 20], atol=1e-5)


@pytest.mark.parametrize("form", ["yolo", "yolo-segments", "voc"])
def test_predictions_in_a_form_without_scores_stay_predictions(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, annotations = [], []
    for number in range(6):
        put(tmp_path / "photos" / f"{number}.jpg", noise_jpeg(number, size=(60, 40)))
        review = {"review": {"verdict": "accepted"}} if number == 5 else {}
        images.append({"id": number, "file_name": f"{number}.jpg", "width": 60, "height": 40, **review})
        score = {"score": 0.5} if number > 1 else {}
        outline = {"segmentation": [[1, 2, 21, 2, 21, 22]]} if form == "yolo-segments" else {}
        annotations.append({"image_id": number, "category_id": number % 2, "bbox": [1, 2, 20, 20], **score, **outline})
    categories = [{"id": number, "name": name} for number, name in enumerate(("cat", "dog"))]
    content = {"images": images, "categories": categories, "annotations": annotations}
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    flags = ("--format", form, "--images", tmp_path / "photos", "--out", tmp_path / form)
    assert run(convert.main, tmp_path / "boxes.json", *flags) == 0
    found = packed_again(tmp_path / form, form.partition("-")[0])
    assert "3 images with boxes that a network predicted and nobody has judged" in capsys.readouterr().out
    assert found.manifest.source.endswith(", with predicted boxes)")


@pytest.mark.parametrize("form", ["yolo", "yolo-segments"])
def test_what_convert_writes_is_packed_to_the_same_boxes_and_masks(form: str, tmp_path: Path) -> None:
    root = yolo_set(tmp_path / "set")
    for split in ("train", "valid"):
        for number, name in enumerate("ab"):
            put(root / f"labels/{split}/{name}.txt", f"{number} {TRIANGLE}\n".encode())
    first = packed_again(root, "yolo")
    assert run(convert.main, tmp_path / "set-packed", "--format", form, "--out", tmp_path / form) == 0
    again = packed_again(tmp_path / form, "yolo")
    assert [each.name for each in again.manifest.classes] == ["cat", "no"]
    for name, one in first.splits.items():
        other = again.splits[name]
        np.testing.assert_array_equal(one.labels, other.labels)
        # A written outline is of the mask's pixels, and a box of their ends.
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1)
        for k in range(len(one)):
            mask = mask_of(other, k)
            assert (mask is None) == (form == "yolo")
            if mask is not None:
                np.testing.assert_array_equal(mask, mask_of(one, k))


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("labels/train/a.txt", "2 .5 .5 .1 .1", "a.txt line 1: class 2 is none of 0, 1, which have names"),
        ("labels/train/a.txt", f"{CAT}\n0 30 20 24 20", "a.txt line 2: 30 is no share of an image, 0 to 1; divide"),
        ("labels/train/a.txt", "0 .5 .5 .1", "a.txt line 1: '0 .5 .5 .1' is neither class x y width height nor"),
        ("labels/train/a.txt", "cat .5 .5 .1 .1", "is neither class x y width height nor a class and the corners"),
        ("labels/train/a.txt", "0.5 .5 .5 .1 .1", "class 0.5 is none of 0, 1"),
        ("labels/train/a.txt", "0 nan .5 .1 .1", "is neither class x y width height"),
        ("data.yaml", "names: [a\n", "data.yaml line 2: not YAML"),
        ("data.yaml", "names: [a, a]\n", "data.yaml: classes 0 and 1 are both 'a'; give each its own name"),
        ("data.yaml", "names: [a, [b]]\n", "data.yaml: class 1 has no name of a single line; give it one"),
        ("data.yaml", "names: a\n", "data.yaml: names is no list of classes"),
        ("data.yaml", "names: {a: b}\n", "data.yaml: names is no list of classes"),
        ("data.yaml", "nc: 2\n", "no data.yaml with names and no classes.txt in it"),
        ("data.yaml", "val: images/valid\nnames: [a, b]\n", "tells where val is, and not where train is; add it"),
        ("data.yaml", "train: {a: 1}\nnames: [a, b]\n", "train is told twice, or is neither a path nor a list"),
        (
            "data.yaml",
            "train: images/none\nnames: [a, b]\n",
            "data.yaml: train 'images/none' is no folder of images here, and no list of them; correct it",
        ),
        (
            "data.yaml",
            "train: images\nval: images/valid\nnames: [a, b]\n",
            "data.yaml: 2 images of train also of val (images/valid/a.jpg); take them out of one",
        ),
        ("data.yaml", "predicted: some\nnames: [a, b]\n", "data.yaml: predicted 'some' is no number of images"),
        ("more.yaml", "names: [a, b]\n", ""),
        ("images/train/a.jpg", "x", "images/train/a.jpg: "),
    ],
)
def test_mistakes_in_a_yolo_set_are_named(
    file: str, text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = yolo_set(tmp_path / "set")
    put(root / file, text.encode())
    if words:
        assert words in refused(root, capsys)
    else:
        packed_again(root, "yolo")
        (root / "data.yaml").rename(root / "other.yml")
        assert "other.yml: 'more.yaml' names classes too; put one of them away" in refused(root, capsys)


def test_lists_and_folders_that_cannot_be_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = yolo_set(tmp_path / "set", told="train: train.txt\nnames: [a, b]\n")
    put(root / "train.txt", b"images/train/a.jpg\nimages/train/z.jpg\n")
    assert "train.txt line 2: 'images/train/z.jpg' is no image here" in refused(root, capsys)
    put(root / "train.txt", b"\n")
    assert "data.yaml: train has no image; correct where it is told to be" in refused(root, capsys)
    put(root / "data.yaml", b"names: [a, b]\n")
    (root / "train.txt").unlink()
    shutil.rmtree(root / "images/train")
    assert "has folders of test and val, and none of train; add it" in refused(root, capsys)
    shutil.rmtree(root / "labels")
    put(root / "images/train/a.jpg", noise_jpeg(0))
    assert "no image has a file of labels; put them there, the first image's at " in refused(root, capsys)
    shutil.rmtree(root / "images")
    assert "holds no image; give the folder of a set in YOLO's form" in refused(root, capsys)


def test_bad_images_are_quarantined_and_a_changed_label_packs_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = yolo_set(tmp_path / "set")
    put(root / "images/train/c.jpg", b"%PDF-1.4")
    put(root / "labels/train/c.txt", CAT.encode())
    put(root / "images/train/d.jpg", noise_jpeg(7, size=(60, 40)))
    put(root / "labels/train/d.txt", b"0 0.99 0.5 0.4 0.2")
    out = tmp_path / "out"
    assert run(pack.main, "--layout", "yolo", "--source", root, "--out", out, "--quarantine") == 3
    assert "4 packed and 2 quarantined, 6 in all" in capsys.readouterr().out
    aside = json.loads((out / "quarantine.json").read_text())
    assert sorted(each["name"] for each in aside) == ["images/train/c.jpg", "images/train/d.jpg"]
    assert [len(split) for split in open_shards(out).splits.values()] == [2, 2]


def test_folders_are_splits_by_their_own_names_and_the_innermost_counts(tmp_path: Path) -> None:
    root = yolo_set(tmp_path / "set", train="training_data/images/train", val="training_data/images/val", told=NAMES)
    found = names_in(packed_again(root, "yolo"))
    assert found["val"] == ["training_data/images/val/a.jpg", "training_data/images/val/b.jpg"]
    assert found["train"] == ["training_data/images/train/a.jpg", "training_data/images/train/b.jpg"]


NAMES = "names: [cat, dog]\n"


def test_a_folder_of_trains_alone_is_no_split(tmp_path: Path) -> None:
    root = yolo_set(tmp_path / "set", train="images/train", val="images/bus", told=NAMES)
    shutil.rmtree(root / "images/test")
    shutil.rmtree(root / "images/more")
    assert [len(each) for each in names_in(packed_again(root, "yolo")).values()] == [2, 2]


@pytest.mark.parametrize("names", ["data.yaml", "classes.txt"])
def test_lists_tell_the_splits_where_the_names_alone_stand(names: str, tmp_path: Path) -> None:
    root = yolo_set(tmp_path / "set", train="images/one", val="images/two", told=NAMES)
    if names != "data.yaml":
        (root / "data.yaml").unlink()
        put(root / names, b"cat\ndog\n")
    put(root / "train.txt", b"images/one/a.jpg\nimages/one/b.jpg\n")
    put(root / "val.txt", b"images/two/a.jpg\nimages/two/b.jpg\n")
    expected = {"train": ["images/one/a.jpg", "images/one/b.jpg"], "val": ["images/two/a.jpg", "images/two/b.jpg"]}
    assert names_in(packed_again(root, "yolo")) == expected
    put(root / "obj.data", b"classes = 2\ntrain = data/lists/mine.txt\nvalid=data/lists/others.txt\n")
    (root / "lists").mkdir()
    (root / "train.txt").rename(root / "lists/others.txt")
    (root / "val.txt").rename(root / "lists/mine.txt")
    shutil.rmtree(tmp_path / "set-packed")
    assert names_in(packed_again(root, "yolo")) == {"train": expected["val"], "val": expected["train"]}


def test_lists_that_leave_a_split_open_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = yolo_set(tmp_path / "set", told=NAMES)
    put(root / "val.txt", b"images/valid/a.jpg\n")
    assert "there is no train.txt beside val.txt; add it, or take that away" in refused(root, capsys)
    put(root / "train.txt", b"images/train/a.jpg\n")
    put(root / "valid.txt", b"images/valid/a.jpg\n")
    assert "val.txt and valid.txt may both be val; put one of them away" in refused(root, capsys)


def test_images_of_a_test_list_need_not_be_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As of COCO, whose test images few have."""
    told = "train: images/train\nval: images/valid\ntest: test-dev2017.txt\nnames: [cat, dog]\n"
    root = yolo_set(tmp_path / "set", told=told)
    put(root / "test-dev2017.txt", b"./images/test2017/1.jpg\n./images/test/a.jpg\n")
    packed_again(root, "yolo")
    assert "1 image of test not packed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("test: images/test\nnames: [a, b]\n", "data.yaml: tells where test is, and not where train is; add it"),
        ("train:\nval: null\ntest: images/test\nnames: [a, b]\n", "tells where test is, and not where train is"),
        (
            "train: /x/set_train/images\nval: /x/set_val/images\nnames: [a, b]\n",
            "train '/x/set_train/images' and val '/x/set_val/images' lead to the same images here; correct them",
        ),
        ("kpt_shape: 3\nnames: [a, b]\n", "kpt_shape '3' is no number of points and of their numbers"),
    ],
)
def test_paths_that_lead_astray_are_named(
    told: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in refused(yolo_set(tmp_path / "set", told=told), capsys)


def test_rectangles_among_outlines_are_boxes_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = yolo_set(tmp_path / "set")
    put(root / "labels/train/a.txt", b"0 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5 0.1 0.1\n")
    put(root / "labels/train/b.txt", f"1 {TRIANGLE}\n".encode())
    train = packed_again(root, "yolo").splits["train"]
    assert train.has_mask.tolist() == [False, True]
    np.testing.assert_allclose(train.boxes[0], [6, 4, 30, 20], atol=1e-5)
    assert "1 image with rectangles as outlines, which are taken for boxes: no mask" in capsys.readouterr().out


def test_what_ultralytics_predicts_is_told_from_outlines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = yolo_set(tmp_path / "tracks")
    put(root / "labels/train/a.txt", f"{CAT} 0.87 7\n".encode())
    assert "a.txt line 1: 7 is no share of an image, 0 to 1; take the tracks' numbers off" in refused(root, capsys)
    root = yolo_set(tmp_path / "poses")
    put(root / "data.yaml", (root / "data.yaml").read_bytes() + b"kpt_shape: [1, 3]\n")
    put(root / "labels/train/a.txt", f"{CAT} 0.1 0.2 2 0.87\n".encode())
    packed_again(root, "yolo")
    assert "1 image with boxes that a network predicted" in capsys.readouterr().out
    put(root / "labels/train/a.txt", f"{CAT} 0.1 0.2\n".encode())
    assert "a.txt line 1: 2 numbers behind the box, and kpt_shape says 3" in refused(root, capsys)


def test_folders_may_be_darknets_or_capitalised_and_other_files_lie_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = yolo_set(tmp_path / "set", train="images/one", val="images/two", told=NAMES)
    shutil.rmtree(root / "images/test")
    shutil.rmtree(root / "labels/test")
    (root / "images").rename(root / "JPEGImages")
    put(root / "args.yaml", b"a: [\n")
    put(root / "labels/classes.txt", b"cat\ndog\n")
    put(root / "JPEGImages/one/readme.txt", b"words\n")
    put(root / "JPEGImages/one/gone.txt", CAT.encode())
    packed_again(root, "yolo")
    assert "1 file of labels without an image, and not packed" in capsys.readouterr().out
    root = yolo_set(tmp_path / "Set", train="images/one", val="images/two", told=NAMES)
    (root / "images/test").rename(root / "images/tests of mine")
    (root / "labels/test").rename(root / "labels/tests of mine")
    (root / "images").rename(root / "Images")
    (root / "labels").rename(root / "Labels")
    assert sum(len(each) for each in names_in(packed_again(root, "yolo")).values()) == 6


@pytest.mark.parametrize("form", ["yolo", "voc", "coco"])
def test_a_packed_set_of_predictions_is_one_in_every_form(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = yolo_set(tmp_path / "set")
    put(root / "labels/train/a.txt", f"{CAT} 0.87\n".encode())
    packed_again(root, "yolo")
    assert run(convert.main, tmp_path / "set-packed", "--format", form, "--out", tmp_path / form) == 0
    assert "boxes that a network predicted and nobody has judged" in capsys.readouterr().out
    assert packed_again(tmp_path / form, form).manifest.source.endswith(", with predicted boxes)")
    assert "4 of the images in the annotations" in (said := capsys.readouterr().out) or "4 images with boxes" in said


def test_labels_lie_in_the_place_of_the_last_folder_of_images() -> None:
    assert _labels_of("images/x/images/a.jpg")[0] == "images/x/labels/a"
    assert _labels_of("photos/a.jpg") == ["photos/a"]


@pytest.mark.parametrize(
    ("shares", "box", "is_outline"),
    [
        ([0.1, 0.1, 0.5, 0.1, 0.1, 0.5, 0.1, 0.1], (0.1, 0.1, 0.5, 0.5), True),  # a triangle that is closed
        ([0.1, 0.1, 0.5, 0.1, 0.5, 0.5, 0.1, 0.5], (0.1, 0.1, 0.5, 0.5), False),
        ([0.5, 0.5, 1.000001, 1.0], (0, 0, 1, 1), False),
        ([0.5, 0.5, 1.01, 1.0], (-0.005, 0, 1.005, 1), False),
    ],
)
def test_boxes_are_told_from_outlines(shares: list[float], box: tuple[float, ...], is_outline: bool) -> None:
    found, outline = _box_and_outline(shares)
    np.testing.assert_allclose(found, box, atol=1e-9)
    assert (outline is not None) == is_outline


def test_one_outline_of_four_corners_among_others_is_a_mask_too(tmp_path: Path) -> None:
    root = yolo_set(tmp_path / "set")
    put(root / "labels/train/a.txt", f"0 {TRIANGLE}\n".encode())
    put(root / "labels/train/b.txt", b"1 0.2 0.1 0.5 0.3 0.4 0.5 0.1 0.3\n")
    assert packed_again(root, "yolo").splits["train"].has_mask.tolist() == [True, True]


def test_an_outline_that_was_changed_shows_in_the_fingerprint(tmp_path: Path) -> None:
    root = yolo_set(tmp_path / "set")
    put(root / "labels/train/a.txt", f"0 {TRIANGLE}\n".encode())
    before = Yolo(root).fingerprint("train", 0, 2)
    assert Yolo(root).fingerprint("train", 0, 2) == before
    put(root / "labels/train/a.txt", b"0 0.1 0.1 0.5 0.2 0.1 0.9\n")
    assert Yolo(root).fingerprint("train", 0, 2) != before


def test_the_outer_folder_of_a_zip_says_nothing_of_splits(tmp_path: Path) -> None:
    root = yolo_set(tmp_path / "set", val="images/val", told=NAMES)
    with zipfile.ZipFile(tmp_path / "birds.zip", "w") as file:
        for path in sorted(root.rglob("*")):
            file.write(path, f"valid-birds/{path.relative_to(root)}")
    assert [len(each) for each in names_in(packed_again(tmp_path / "birds.zip", "yolo")).values()] == [2, 2]


def test_paths_count_from_the_sets_own_and_lead_no_further_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"train": "sub/images/train", "val": "sub/images/valid"}
    told = "path: sub\ntrain: images/train\nval: images/valid\ntest: images/valid\nnames: [cat, dog]\n"
    root = yolo_set(tmp_path / "set", **places, told=told)
    put(root / ".DS_Store", b"x")
    assert [len(each) for each in names_in(packed_again(root, "yolo")).values()] == [2, 2]
    said = capsys.readouterr().out
    assert "of test not packed" not in said, "what is val is no test"
    assert "1 files and folders were left out, as they are hidden" in said
    put(root / "data.yaml", told.replace("train: images", "train: wrong/images").encode())
    assert "train 'wrong/images/train' is no folder of images here" in refused(root, capsys)


def test_of_two_sets_side_by_side_none_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        yolo_set(tmp_path / "both" / name)
    assert "no data.yaml with names and no classes.txt in it" in refused(tmp_path / "both", capsys)


def test_an_outline_that_reaches_out_a_little_is_taken(tmp_path: Path) -> None:
    root = yolo_set(tmp_path / "set")
    put(root / "labels/train/a.txt", b"0 -0.005 0.1 0.5 0.1 0.1 0.9\n")
    assert packed_again(root, "yolo").splits["train"].has_mask.tolist() == [True, False]


def test_poses_are_no_predictions(tmp_path: Path) -> None:
    """Though their numbers are odd."""
    root = yolo_set(tmp_path / "set")
    put(root / "data.yaml", (root / "data.yaml").read_bytes() + b"kpt_shape: [1, 3]\n")
    put(root / "labels/train/a.txt", f"{CAT} 0.1 0.2 2\n".encode())
    assert packed_again(root, "yolo").manifest.source.endswith("(yolo)")
