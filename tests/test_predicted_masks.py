"""The pixels that boxes keep: as arrays, as PNG files, and as COCO's run lengths beside pycocotools."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from colour_network import colour_predictor, picture
from pycocotools.coco import COCO

from fastwsol.formats.labelled_images import About, LabelledImage
from fastwsol.formats.png_masks import save_mask
from fastwsol.formats.writing import write_in_file
from fastwsol.host.errors import UserError
from fastwsol.prediction.labelled import labelled
from fastwsol.prediction.predictor import Predictor
from fastwsol.sources import Class
from fastwsol.sources.mask_images import read_mask


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return colour_predictor()


def wide_picture() -> np.ndarray:
    """The same picture, twice as wide as high."""
    return picture().repeat(4, axis=1).repeat(2, axis=0)


def test_a_mask_lies_in_its_box_and_fills_it(predictor: Predictor) -> None:
    (prediction,) = predictor.predict([wide_picture()], boxes="all")
    assert (prediction.width, prediction.height) == (256, 128)
    for box in prediction.boxes:
        mask = prediction.mask(box)
        assert mask.shape == (128, 256)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        found = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        assert np.abs(found - np.array([box.x0, box.y0, box.x1, box.y1])).max() <= 4, "a pixel of the square or less"
        inside = wide_picture()[mask]
        assert (np.ptp(inside.astype(int), axis=1) > 100).mean() > 0.6, "most of it is coloured"
    both = prediction.mask_of_all()
    assert both.sum() == sum(prediction.mask(box).sum() for box in prediction.boxes)


@pytest.mark.parametrize("localizer", ["cam", "mask"])
@pytest.mark.parametrize("threshold", [None, "otsu", 0.5, 0.9])
def test_masks_are_cut_where_boxes_are(predictor: Predictor, localizer: str, threshold: object) -> None:
    own = Predictor(predictor.info, predictor.model, 0, predictor._autocast, 1, localizer)
    (prediction,) = own.predict([picture()], threshold=threshold, top=2)
    for box in prediction.boxes:
        mask = prediction.mask(box)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        found = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        np.testing.assert_array_equal(found, [box.x0, box.y0, box.x1, box.y1])


def test_detections_are_the_boxes_and_their_masks(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    supervision = pytest.importorskip("supervision")
    something, nothing = predictor.predict([wide_picture(), np.full((64, 64, 3), 127, np.uint8)], boxes="all")
    found = predictor.detections(something)
    assert isinstance(found, supervision.Detections)
    assert found["class_name"].tolist() == [box.name for box in something.boxes]
    for (xyxy, mask, confidence, label, _, _), box in zip(found, something.boxes, strict=True):
        np.testing.assert_allclose(xyxy, [box.x0, box.y0, box.x1, box.y1], rtol=1e-6)
        np.testing.assert_array_equal(mask, something.mask(box))
        assert confidence == pytest.approx(box.score)
        assert predictor.info.classes[label] == box.wnid
    assert len(predictor.detections(nothing)) == 0
    drawn = supervision.MaskAnnotator().annotate(wide_picture(), found)
    assert (drawn != wide_picture()).any()
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(UserError, match=r"needs supervision, which is not installed; pip install 'fastwsol\[superv"):
        predictor.detections(something)


def test_mask_files_are_what_packing_reads(predictor: Predictor, tmp_path: Path) -> None:
    (prediction,) = predictor.predict([wide_picture()], boxes="all")
    (image,) = labelled([prediction], ["red", "blue"])
    assert isinstance(image, LabelledImage)
    save_mask(tmp_path, image)
    pixels = read_mask((tmp_path / f"{prediction.name}.png").read_bytes(), (256, 128))
    np.testing.assert_array_equal(pixels == 255, prediction.mask_of_all())
    assert (tmp_path / f"{prediction.name}.png").stat().st_size < 1024


def test_coco_holds_the_pixels_of_each_box(predictor: Predictor, tmp_path: Path) -> None:
    predictions = predictor.predict([wide_picture()], boxes="all")
    file = io.BytesIO()
    about = About("a run", (Class("red", "red"), Class("blue", "blue")))
    write_in_file(file, "coco", labelled(predictions, ["red", "blue"]), about)
    (tmp_path / "boxes.json").write_bytes(file.getvalue())
    coco = COCO(tmp_path / "boxes.json")
    for annotation, box in zip(json.loads(file.getvalue())["annotations"], predictions[0].boxes, strict=True):
        np.testing.assert_array_equal(coco.annToMask(annotation).astype(bool), predictions[0].mask(box))
        assert annotation["area"] == predictions[0].mask(box).sum()
