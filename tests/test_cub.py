"""CUB-200-2011 in its official form: read as it stands, every mistake named by file and line."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from layouts import BIRDS, draw_birds
from PIL import Image

from fastwsol import pack as pack_command
from fastwsol.dataset.packer import pack
from fastwsol.dataset.shards import open_shards
from fastwsol.host.command_line import run_command
from fastwsol.sources import Record
from fastwsol.sources.cub import Cub


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    root = tmp_path / "CUB_200_2011"
    draw_birds(root)
    return root


def test_the_official_layout_is_read(birds: Path) -> None:
    source = Cub(birds)
    assert source.identity == "CUB-200-2011"
    first = source.classes[0]
    assert (first.wnid, first.name) == (BIRDS[0], "Black footed Albatross")
    train = [*source.records("train")]
    assert [record.name for record in train if isinstance(record, Record)][:2] == [
        f"images/{BIRDS[0]}/Black_footed_Albatross_0001_2.jpg",
        f"images/{BIRDS[0]}/Black_footed_Albatross_0003_4.jpg",
    ]
    assert source.labels("train").tolist() == source.labels("val").tolist() == [0, 0, 1, 1, 2, 2]
    assert isinstance(train[0], Record)
    np.testing.assert_array_equal(train[0].boxes, [[1, 1.5, 41, 31.5]])
    assert re.search(r"images\.txt line 2$", source.origin("train", 0))


def test_the_folder_around_it_and_a_zip_give_the_same(birds: Path, as_zip: Callable[..., Path]) -> None:
    expected = [record.name for record in Cub(birds).records("train")]
    for place in (birds.parent, as_zip(birds, "CUB_200_2011/"), as_zip(birds, "")):
        assert [record.name for record in Cub(place).records("train")] == expected


def test_it_packs_and_the_first_classes_can_be_kept(birds: Path, tmp_path: Path) -> None:
    flags = ["--layout", "cub", "--source", str(birds), "--out", str(tmp_path / "shards"), "--classes", "2"]
    assert run_command(pack_command.main, flags) == 0
    shards = open_shards(tmp_path / "shards")
    assert [len(shards.splits[split]) for split in ("train", "val")] == [4, 4]
    assert len(shards.splits["val"].boxes) == 4


def change(file: str, line: int, to: str) -> Callable[[Path], None]:
    """Another text for a line, from 1; an empty one takes it out."""

    def spoil(root: Path) -> None:
        lines = (root / file).read_text().split("\n")
        lines[line - 1 : line] = [to] if to else []
        (root / file).write_text("\n".join(lines))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda root: (root / "images.txt").unlink(), "not the layout of CUB_200_2011"),
        (lambda root: (root / "classes.txt").unlink(), "classes.txt: missing"),
        (lambda root: (root / "bounding_boxes.txt").write_bytes(b"\xff\xfe"), "bounding_boxes.txt line 1: not UTF-8"),
        (lambda root: (root / "train_test_split.txt").write_text(""), "train_test_split.txt: has no line"),
        (change("classes.txt", 2, "two Laysan"), "classes.txt line 2: 'two' is no number"),
        (change("classes.txt", 2, "1 Laysan"), "classes.txt line 2: 1 stands there twice"),
        (change("images.txt", 3, "3"), "images.txt line 3: found '3', expected <number> <image>"),
        (change("images.txt", 3, "3 a b.jpg"), "images.txt line 3"),
        (change("images.txt", 3, "2 x.jpg"), "images.txt line 3: 2 stands there twice"),
        (change("images.txt", 12, ""), "image_class_labels.txt line 12: there is no image 12"),
        (change("image_class_labels.txt", 5, "5 9"), "image 5 is of class '9'"),
        (change("image_class_labels.txt", 5, ""), "image_class_labels.txt: has no line for image 5"),
        (change("train_test_split.txt", 4, "4 2"), "image 4 has '2', expected 0 or 1"),
        (change("bounding_boxes.txt", 7, "7 1.0 2.0 3.0"), "bounding_boxes.txt line 7: found"),
        (change("bounding_boxes.txt", 7, "7 1.0 -2.0 3.0 4.0"), "bounding_boxes.txt line 7: '-2.0', expected a number"),
        (change("bounding_boxes.txt", 7, "99 1.0 2.0 3.0 4.0"), "bounding_boxes.txt line 7: 99 is no image's number"),
        (change("bounding_boxes.txt", 7, "6 1.0 2.0 3.0 4.0"), "bounding_boxes.txt line 7: 6 stands there twice"),
        (change("bounding_boxes.txt", 7, ""), "bounding_boxes.txt: has no line for image 7"),
        (change("bounding_boxes.txt", 2, "2 50.0 2.0 40.0 4.0"), "reaches outside the 80x60 pixels"),
        (lambda root: shutil.rmtree(root / "images" / BIRDS[1]), "no such image"),
        (lambda root: (root / "images" / "stray.jpg").write_bytes(b""), "images.txt does not name it"),
    ],
)
def test_every_mistake_is_named_by_file_and_line(birds: Path, tmp_path: Path, spoil, words: str, capsys) -> None:
    spoil(birds)
    flags = ["--layout", "cub", "--source", str(birds), "--out", str(tmp_path / "shards")]
    assert run_command(pack_command.main, flags) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not (tmp_path / "shards" / "manifest.json").exists()


def test_images_that_are_missing_can_be_quarantined(birds: Path, tmp_path: Path) -> None:
    (birds / "images" / BIRDS[1] / "Laysan_Albatross_0001_6.jpg").unlink()
    manifest = pack(Cub(birds), tmp_path / "shards", quarantine=True)
    assert [split.quarantined for split in manifest.splits.values()] == [1, 0]


def test_an_image_that_exif_would_turn_stays_as_its_box_has_it(birds: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = next((birds / "images" / BIRDS[0]).iterdir())
    with Image.open(file) as image:
        image.save(file, exif=exif)
    pack(Cub(birds), tmp_path / "shards")
    for split in open_shards(tmp_path / "shards").splits.values():
        assert set(split.widths.tolist()) == {80}
        assert set(split.heights.tolist()) == {60}
