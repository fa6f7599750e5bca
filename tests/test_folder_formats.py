"""Predictions as YOLO's and VOC's folders: read back by plain means, and what is refused."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from test_two_objects import picture
from test_two_objects import predictor as predictor  # a fixture

from fastwsol.host.errors import UserError
from fastwsol.prediction.folder_formats import export_folder
from fastwsol.prediction.predictions import Prediction, Request
from fastwsol.prediction.predictor import Predictor
from fastwsol.prediction.user_images import find_images

CLASSES = (("red", "red: a colour"), ("blue", 'the "blue" one'))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """One with two objects, one with none, one that is no image."""
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    Image.fromarray(picture()).resize((128, 96)).save(tmp_path / "photos" / "deep" / "two.png")
    Image.fromarray(np.full((64, 64, 3), 127, np.uint8)).save(tmp_path / "photos" / "none.png")
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"no image")
    return tmp_path / "photos"


def exported(predictor: Predictor, photos: Path, form) -> tuple[Path, dict[str, Prediction]]:
    images = find_images([photos]).images
    answers = [*predictor.stream(images, Request(boxes="all"))]
    folder = photos.parent / form
    export_folder(folder, form, images, answers, CLASSES)
    return folder, {each.name: each for each in answers if isinstance(each, Prediction)}


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_yolo_holds_the_images_and_their_boxes_as_shares(predictor: Predictor, photos: Path) -> None:
    yaml = pytest.importorskip("yaml")
    folder, predictions = exported(predictor, photos, "yolo")
    labels = ["labels/deep/two.txt", "labels/none.txt"]
    assert files_in(folder) == ["data.yaml", "images/deep/two.png", "images/none.png", *labels]
    assert (folder / "images/deep/two.png").read_bytes() == (photos / "deep/two.png").read_bytes()
    about = yaml.safe_load((folder / "data.yaml").read_text())
    assert about == {"train": "images", "val": "images", "names": {0: "red: a colour", 1: 'the "blue" one'}}
    assert (folder / "labels/none.txt").read_text() == ""
    lines = (folder / "labels/deep/two.txt").read_text().splitlines()
    boxes = predictions["deep/two.png"].boxes
    assert len(lines) == len(boxes) == 2
    for line, box in zip(lines, boxes, strict=True):
        number, x, y, width, height = map(float, line.split())
        edges = [(x - width / 2) * 128, (y - height / 2) * 96, (x + width / 2) * 128, (y + height / 2) * 96]
        np.testing.assert_allclose(edges, [box.x0, box.y0, box.x1, box.y1], atol=1e-3)
        assert ("red", "blue")[int(number)] == box.wnid


def test_voc_holds_boxes_rounded_outwards(predictor: Predictor, photos: Path) -> None:
    folder, predictions = exported(predictor, photos, "voc")
    assert files_in(folder) == ["Annotations/deep/two.xml", "Annotations/none.xml"]
    root = ElementTree.parse(folder / "Annotations/deep/two.xml").getroot()
    assert (root.findtext("folder"), root.findtext("filename")) == ("deep", "two.png")
    assert [root.findtext(f"size/{side}") for side in ("width", "height", "depth")] == ["128", "96", "3"]
    things = root.findall("object")
    boxes = predictions["deep/two.png"].boxes
    assert [thing.findtext("name") for thing in things] == [box.name for box in boxes]
    for thing, box in zip(things, boxes, strict=True):
        x0, y0, x1, y1 = (int(thing.findtext(f"bndbox/{side}") or 0) for side in ("xmin", "ymin", "xmax", "ymax"))
        assert 0 <= box.x0 - (x0 - 1) < 1
        assert 0 <= box.y0 - (y0 - 1) < 1
        assert 0 <= x1 - box.x1 < 1
        assert 0 <= y1 - box.y1 < 1
    assert ElementTree.parse(folder / "Annotations/none.xml").getroot().find("object") is None


@pytest.mark.parametrize("form", ["yolo", "voc"])
def test_two_images_do_not_share_a_file(predictor: Predictor, photos: Path, form) -> None:
    Image.fromarray(picture()).save(photos / "none.jpg")
    with pytest.raises(UserError, match=f"--format {form}: 'none.jpg' and 'none.png' would share none"):
        exported(predictor, photos, form)
    assert not (photos.parent / form).exists()
