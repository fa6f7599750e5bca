"""`pack --layout voc` of sets that others wrote: where its files may lie, and what is quarantined."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import noise_jpeg
from layouts import mask_of, packed_again, put, run
from PIL import Image

from fastwsol import pack
from fastwsol.dataset.shards import open_shards
from fastwsol.sources.voc import Voc


def voc_set(root: Path, one_based: bool = True) -> Path:
    """A set in VOC's own folders, flat, with lists of its splits."""
    first = 1 if one_based else 0
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main", "SegmentationObject"):
        (root / "VOCdevkit" / "VOC2012" / folder).mkdir(parents=True)
    inner = root / "VOCdevkit" / "VOC2012"
    names = {"a 1": "cat", "b": "dog", "c": "cat", "d": "dog", "e": "dog"}
    for number, (name, kind) in enumerate(names.items()):
        (inner / "JPEGImages" / f"{name}.jpg").write_bytes(noise_jpeg(number, size=(50, 40)))
        other = "dog" if kind == "cat" else "cat"
        things = "".join(
            f"<object><name>{of}</name><difficult>{hard}</difficult><bndbox><xmin>{x}</xmin><ymin>{y}</ymin>"
            f"<xmax>{x + side - first}</xmax><ymax>{y + side - first}</ymax></bndbox></object>"
            for of, hard, x, y, side in ((other, 0, 9, 9, 3), (kind, 0, first, first, 20), (other, 1, 2, 2, 30))
        )
        text = f"<annotation><filename>{name}.jpg</filename><size><width>50</width><height>40</height></size>{things}"
        (inner / "Annotations" / f"{name}.xml").write_text(text + "</annotation>")
    numbers = np.zeros((40, 50), np.uint8)
    numbers[:20, :20], numbers[9:12, 9:12], numbers[30] = 2, 1, 255
    picture = Image.fromarray(numbers, "P")
    picture.putpalette([*range(256)] * 3)
    picture.save(inner / "SegmentationObject" / "b.png")
    (inner / "ImageSets" / "Main" / "train.txt").write_text("a 1\nb\n")
    (inner / "ImageSets" / "Main" / "val.txt").write_text("c\nd\n\n")
    return root


@pytest.mark.parametrize("one_based", [True, False])
def test_a_set_of_vocs_own_layout_is_packed(
    one_based: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = packed_again(voc_set(tmp_path / "set", one_based), "voc")
    said = capsys.readouterr().out
    assert [each.name for each in found.manifest.classes] == ["cat", "dog"]
    train, val = found.splits["train"], found.splits["val"]
    assert [name.rpartition("/")[2] for name in train.names(range(2))] == ["a 1.jpg", "b.jpg"]
    assert (train.labels.tolist(), val.labels.tolist()) == ([0, 1], [0, 1])
    np.testing.assert_array_equal(train.boxes, [[0, 0, 20, 20]] * 2)
    assert "1 annotated image in none of train.txt and val.txt not packed" in said
    assert "8 boxes beside them, of other classes than their image's, or difficult" in said
    assert ("so all are taken to count from 0" in said) == (not one_based)
    of_b = mask_of(train, 1)
    assert of_b is not None
    assert {int(value): int((of_b == value).sum()) for value in np.unique(of_b)} == {0: 1559, 128: 50, 255: 391}


def lists_of_voc(folder: Path, **names: str) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    for name, listed in names.items():
        (folder / f"{name}.txt").write_text("".join(f"{'a 1' if each == 'a' else each}\n" for each in listed))


@pytest.mark.parametrize(
    ("lists", "train", "val", "left_out"),
    [
        ({"Train": "abe", "Valid": "cd"}, "abe", "cd", ""),
        ({"trainval": "abcd", "test": "e"}, "abcd", "", "1 annotated image not in trainval.txt not packed"),
        ({"trainval": "abcde", "val": "cd"}, "abe", "cd", ""),
        ({"test": "e"}, "abcd", "", "1 annotated image in test.txt not packed"),
        ({"cat_train": "ab", "dog_val": "cd"}, "abcde", "", ""),
        (
            {"train": "ab", "val": "cd", "trainval": "abcdz", "test": "yz"},
            "ab",
            "cd",
            "1 annotated image in none of train.txt",
        ),
        (
            {"train": "ab", "training": "cz", "val": "cd"},
            "ab",
            "cd",
            "1 annotated image in none of train.txt and val.txt",
        ),
        ({"test": "eyz"}, "abcd", "", "1 annotated image in test.txt not packed"),
    ],
)
def test_lists_of_voc_say_what_is_trained_on_and_never_what_is_tested(
    lists: dict[str, str], train: str, val: str, left_out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = voc_set(tmp_path / "set")
    lists_of_voc(root / "VOCdevkit/VOC2012/ImageSets/Main", **lists)
    found = packed_again(root, "voc")
    said = capsys.readouterr().out
    packed = {
        name: "".join(sorted(each.rpartition("/")[2][0] for each in split.names(range(len(split)))))
        for name, split in found.splits.items()
    }
    if val:
        assert packed == {"train": train, "val": val}
    else:  # drawn of train
        assert "".join(sorted(packed["train"] + packed["val"])) == train
    assert (left_out in said) if left_out else ("annotated image" not in said)
    assert ("there is no val: of each class 0.1 was drawn" in said) == (not val)


@pytest.mark.parametrize(
    ("lists", "words"),
    [
        ({"Train": "ab", "training": "cd"}, "training.txt: 'Train.txt' may be train too; put one of them away"),
        ({"val": "cd"}, "there is no train.txt beside val.txt"),
        ({"trainval": "ab", "val": "ab"}, "trainval.txt names no image that val.txt does not; correct it"),
        ({"trainval": "abz"}, "trainval.txt line 3: 'z' has no XML"),
    ],
)
def test_lists_of_voc_that_cannot_be_are_named(
    lists: dict[str, str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = voc_set(tmp_path / "set")
    lists_of_voc(root / "VOCdevkit/VOC2012/ImageSets/Main", **lists)
    assert run(pack.main, "--layout", "voc", "--source", root, "--out", tmp_path / "out") == 2
    assert words in capsys.readouterr().err


def test_endings_of_voc_may_be_in_any_case(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = voc_set(tmp_path / "set")
    inner = root / "VOCdevkit" / "VOC2012"
    (inner / "Annotations" / "b.xml").rename(inner / "Annotations" / "b.XML")
    (inner / "JPEGImages" / "b.jpg").rename(inner / "JPEGImages" / "b.Jpg")
    (inner / "SegmentationObject" / "b.png").rename(inner / "SegmentationObject" / "b.PNG")
    train = packed_again(root, "voc").splits["train"]
    assert [name.rpartition("/")[2] for name in train.names(range(2))] == ["a 1.jpg", "b.Jpg"]
    assert train.has_mask.tolist() == [False, True]
    shutil.copy(inner / "Annotations" / "b.XML", inner / "Annotations" / "b.xml")
    assert run(pack.main, "--layout", "voc", "--source", root, "--out", tmp_path / "out") == 2
    said = capsys.readouterr()
    assert "has the same name; take one of them away" in said.err
    assert "without an XML" not in said.out


def test_images_and_xmls_that_were_renamed_stay_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The XML of `c` still gives the name `b.jpg`, which another image has. And an image without an XML is counted."""
    root = voc_set(tmp_path / "set")
    inner = root / "VOCdevkit" / "VOC2012"
    xml = inner / "Annotations" / "c.xml"
    xml.write_text(xml.read_text().replace("c.jpg", "b.jpg"))
    (inner / "JPEGImages" / "more.jpg").write_bytes(noise_jpeg(9))
    found = packed_again(root, "voc")
    names = [name.rpartition("/")[2] for split in found.splits.values() for name in split.names(range(len(split)))]
    assert names == ["a 1.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert "1 image without an XML, and not packed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda inner: (inner / "Annotations" / "b.xml").write_text("<annotation>"), "b.xml: not XML"),
        (lambda inner: (inner / "ImageSets/Main/train.txt").write_text("b\nz\n"), "train.txt line 2: 'z' has no XML"),
        (lambda inner: (inner / "ImageSets/Main/val.txt").write_text("b\n"), "val.txt line 1: 'b' is in train already"),
        (lambda inner: (inner / "ImageSets/Main/train.txt").unlink(), "there is no train.txt beside val.txt"),
        (lambda inner: (inner / "JPEGImages" / "b.jpg").unlink(), "b.jpg: no such image"),
        (lambda inner: shutil.rmtree(inner / "Annotations"), "no folder Annotations in it, and no XML"),
        (
            lambda inner: (inner / "Annotations" / "b.xml").write_text("<a><object><name>x</name></object></a>"),
            "b.xml: an object has no bndbox",
        ),
        (
            lambda inner: (inner / "Annotations" / "b.xml").write_text("<a><object></object></a>"),
            "b.xml: an object has no name",
        ),
        (
            lambda inner: (inner / "Annotations" / "b.xml").write_text(
                "<annotation><size><width>x</width></size></annotation>"
            ),
            "are no width and height in pixels",
        ),
        (lambda inner: (inner / "SegmentationObject" / "b.png").write_bytes(b"x"), "its mask"),
        (
            lambda inner: shutil.copy(inner / "Annotations" / "b.xml", inner / "Annotations" / "other.xml"),
            "other.xml: is of VOCdevkit/VOC2012/JPEGImages/b.jpg, as VOCdevkit/VOC2012/Annotations/b.xml is",
        ),
    ],
)
def test_mistakes_in_a_voc_set_are_named(
    spoil: Any, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = voc_set(tmp_path / "set")
    spoil(root / "VOCdevkit" / "VOC2012")
    assert run(pack.main, "--layout", "voc", "--source", root, "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert words in said, said
    assert said.count("\n") == 1


def test_marks_of_difficult_objects_may_be_words_and_names_end_in_a_blank(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = voc_set(tmp_path / "set")
    inner = root / "VOCdevkit" / "VOC2012"
    assert run(pack.main, "--layout", "voc", "--source", root, "--out", tmp_path / "before") == 0
    capsys.readouterr()
    for path in (inner / "Annotations").iterdir():
        text = (
            path.read_text().replace("<difficult>0<", "<difficult>False<").replace("<difficult>1<", "<difficult>True<")
        )
        path.write_text(text)
    for folder, ending in (("JPEGImages", "jpg"), ("Annotations", "xml")):
        (inner / folder / f"a 1.{ending}").rename(inner / folder / f"a 1 .{ending}")
    (inner / "ImageSets" / "Main" / "train.txt").write_text("a 1 \r\nb\r\n")
    assert run(pack.main, "--layout", "voc", "--source", root, "--out", tmp_path / "after") == 0
    for name in ("train", "val"):
        one, other = (open_shards(tmp_path / each).splits[name] for each in ("before", "after"))
        np.testing.assert_array_equal(one.objects.difficult, other.objects.difficult)
        assert one.objects.difficult.any()
    path = inner / "Annotations" / "b.xml"
    path.write_text(path.read_text().replace("<difficult>True<", "<difficult>maybe<"))
    assert run(pack.main, "--layout", "voc", "--source", root, "--out", tmp_path / "never") == 2
    assert "difficult 'maybe' is neither 0 nor 1" in capsys.readouterr().err


def beside(root: Path, *folders: str) -> Path:
    """XMLs beside their images, one of each class in each folder."""
    for number, folder in enumerate(folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for label, name in enumerate(("cat", "dog")):
            stem = f"{folder.replace('/', '-')}{name}"
            (root / folder / f"{stem}.jpg").write_bytes(noise_jpeg(2 * number + label, size=(50, 40)))
            (root / folder / f"{stem}.xml").write_text(
                f"<annotation><filename>{stem}.jpg</filename><object><name>{name}</name><bndbox><xmin>2</xmin>"
                f"<ymin>3</ymin><xmax>20</xmax><ymax>30</ymax></bndbox></object></annotation>"
            )
    return root


def test_xmls_beside_their_images_are_packed_by_the_splits_of_their_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = packed_again(beside(tmp_path / "set", "export/train", "export/valid", "export/test", "export"), "voc")
    names = {name: split.names(range(len(split))) for name, split in found.splits.items()}
    assert names == {
        "train": ["export/train/export-traincat.jpg", "export/train/export-traindog.jpg"],
        "val": ["export/valid/export-validcat.jpg", "export/valid/export-validdog.jpg"],
    }
    np.testing.assert_array_equal(found.splits["train"].boxes, [[1, 2, 20, 30]] * 2)
    assert "4 annotated images in no folder of train or val not packed" in capsys.readouterr().out


def test_xmls_beside_their_images_without_splits_are_divided(tmp_path: Path) -> None:
    found = packed_again(beside(tmp_path / "set", "one", "more"), "voc")
    assert [len(split) for split in found.splits.values()] == [2, 2]


def test_folders_of_val_and_none_of_train_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = beside(tmp_path / "set", "val", "test")
    assert run(pack.main, "--layout", "voc", "--source", root, "--out", tmp_path / "out") == 2
    assert "has folders of test and val, and none of train; add it" in capsys.readouterr().err


def test_folders_may_be_called_annotations_and_images(tmp_path: Path) -> None:
    root = beside(tmp_path / "set", "images", "images/more")
    shutil.copytree(root / "images", root / "annotations", ignore=shutil.ignore_patterns("*.jpg"))
    for path in (root / "images").rglob("*.xml"):
        path.unlink()
    names = [name for split in packed_again(root, "voc").splits.values() for name in split.names(range(len(split)))]
    assert sorted(names) == [
        "images/imagescat.jpg",
        "images/imagesdog.jpg",
        "images/more/images-morecat.jpg",
        "images/more/images-moredog.jpg",
    ]


def test_an_edge_of_0_in_either_direction_shows_that_a_set_counts_from_0(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = beside(tmp_path / "set", "train", "val")
    for path in root.rglob("*.xml"):
        path.write_text(path.read_text().replace("<ymin>3<", "<ymin>0<"))
    found = packed_again(root, "voc")
    said = " ".join(capsys.readouterr().out.split())
    assert re.search(r"\d of \d+ boxes begin before pixel 1, the first in .*\.xml.*: so all are taken to count", said)
    np.testing.assert_array_equal(found.splits["train"].boxes, [[2, 0, 20, 30]] * 2)


def test_difficult_objects_are_kept_beside_and_not_counted_as_used(tmp_path: Path) -> None:
    """Of a cat, a difficult cat and a smaller dog one box is used."""
    root = beside(tmp_path / "set", "train", "val")
    path = root / "train" / "traincat.xml"
    more = "".join(
        f"<object><name>{name}</name>{hard}<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>{x}</xmax><ymax>9</ymax></bndbox>"
        f"</object>"
        for name, hard, x in (("cat", "<difficult>1</difficult>", 40), ("dog", "", 9))
    )
    path.write_text(path.read_text().replace("</annotation>", f"{more}</annotation>"))
    source = Voc(root)
    assert source.boxes_used == 4, "one an image"


def test_images_are_found_by_the_names_that_their_xmls_give(tmp_path: Path) -> None:
    """As of Oxford's pets, whose XMLs lie in annotations/xmls."""
    root = beside(tmp_path / "set", "annotations/xmls", "annotations/xmls/more")
    for path in sorted(root.rglob("*.jpg")):
        put(root / "images" / path.name, path.read_bytes())
        path.unlink()
    found = packed_again(root, "voc")
    names = [name for split in found.splits.values() for name in split.names(range(len(split)))]
    assert sorted(names) == sorted(f"images/annotations-xmls{more}{one}.jpg" for more in ("", "-more") for one in KINDS)


KINDS = ("cat", "dog")


def test_xmls_of_other_tools_are_ignored_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = beside(tmp_path / "set", "train", "val")
    put(root / "train" / "traincat.jpg.aux.xml", b"<PAMDataset></PAMDataset>")
    packed_again(root, "voc")
    assert "1 XML of something else, ignored" in capsys.readouterr().out
    for path in root.rglob("*.xml"):
        path.write_text("<annotations></annotations>")
    assert run(pack.main, "--layout", "voc", "--source", root, "--out", tmp_path / "out") == 2
    assert "no XML in it is an annotation in VOC's form; give such a set" in capsys.readouterr().err


def test_all_folders_may_be_in_lower_case(tmp_path: Path) -> None:
    root = voc_set(tmp_path / "set")
    inner = root / "VOCdevkit" / "VOC2012"
    (inner / "ImageSets" / "Main").rename(inner / "ImageSets" / "main")
    for folder in ("JPEGImages", "Annotations", "ImageSets", "SegmentationObject"):
        (inner / folder).rename(inner / folder.lower())
    found = packed_again(root, "voc")
    assert [len(split) for split in found.splits.values()] == [2, 2]
    assert found.splits["train"].has_mask.tolist() == [False, True]
