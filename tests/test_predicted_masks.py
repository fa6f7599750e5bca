"""The pixels that boxes keep: as arrays, as PNG files, and as COCO's run lengths beside pycocotools."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from test_two_objects import picture
from test_two_objects import predictor as predictor  # a fixture

from fastwsol.host.errors import UserError
from fastwsol.prediction.file_formats import About, export
from fastwsol.prediction.masks import mask_file, run_lengths, save_mask
from fastwsol.prediction.predictor import Predictor
from fastwsol.prediction.user_images import NamedImage, refuse_shared_files
from fastwsol.sources.mask_images import read_mask


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.98, 1.0])
@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (90, 1), (37, 53), (480, 640)])
def test_run_lengths_are_pycocotools_own(shape: tuple[int, int], share: float) -> None:
    rng = np.random.default_rng(shape[0])
    noise = rng.random((shape[0] // 8 + 1, shape[1] // 8 + 1)).repeat(8, 0).repeat(8, 1)[: shape[0], : shape[1]]
    for mask in (noise < share, rng.random(shape) < share):
        theirs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert run_lengths(mask) == {"size": theirs["size"], "counts": theirs["counts"].decode()}


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
@pytest.mark.parametrize("threshold", [None, "otsu", 0.5])
def test_masks_are_cut_where_boxes_are(predictor: Predictor, localizer: str, threshold: object) -> None:
    own = Predictor(predictor.info, predictor._model, 0, predictor._autocast, 1, localizer)
    (prediction,) = own.predict([picture()], threshold=threshold, top=2)
    for box in prediction.boxes:
        mask = prediction.mask(box)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        found = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        assert np.abs(found - np.array([box.x0, box.y0, box.x1, box.y1])).max() <= 1


def test_mask_files_are_what_packing_reads(predictor: Predictor, tmp_path: Path) -> None:
    (prediction,) = predictor.predict([wide_picture()], boxes="all")
    save_mask(tmp_path, prediction)
    pixels = read_mask((tmp_path / f"{prediction.name}.png").read_bytes(), (256, 128))
    np.testing.assert_array_equal(pixels == 255, prediction.mask_of_all())
    assert (tmp_path / f"{prediction.name}.png").stat().st_size < 1024


def test_two_images_whose_masks_would_share_a_file_are_refused() -> None:
    images = [NamedImage(name, lambda: picture()) for name in ("../a.jpg", "b.jpg", "A.jpg")]
    with pytest.raises(UserError, match=r"--masks found: '../a.jpg' and 'A.jpg' would share A.jpg.png; rename one"):
        refuse_shared_files("--masks found", images, mask_file)


def test_coco_holds_the_pixels_of_each_box(predictor: Predictor, tmp_path: Path) -> None:
    predictions = predictor.predict([wide_picture()], boxes="all")
    file = io.BytesIO()
    export(file, "coco", predictions, About("a run", (("red", "red"), ("blue", "blue"))))
    (tmp_path / "boxes.json").write_bytes(file.getvalue())
    coco = COCO(tmp_path / "boxes.json")
    for annotation, box in zip(json.loads(file.getvalue())["annotations"], predictions[0].boxes, strict=True):
        np.testing.assert_array_equal(coco.annToMask(annotation).astype(bool), predictions[0].mask(box))
        assert annotation["area"] == predictions[0].mask(box).sum()
