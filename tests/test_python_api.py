"""What a Python program gets wrong with a predictor, and is told."""

from pathlib import Path

import numpy as np
import pytest
from colour_network import colour_predictor, picture

from fastwsol.host.errors import UserError
from fastwsol.prediction.predictor import Predictor


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return colour_predictor()


def test_pixels_may_have_one_channel_or_an_alpha_channel(predictor: Predictor) -> None:
    grey = picture()[..., :1]
    as_rows, as_one, as_three = predictor.predict([grey[..., 0], grey, np.repeat(grey, 3, axis=2)])
    assert as_rows.boxes == as_one.boxes == as_three.boxes
    rgb = picture()
    plain, with_alpha = predictor.predict([rgb, np.concatenate([rgb, grey], axis=2)])
    assert plain.boxes == with_alpha.boxes


def test_channels_that_come_first_are_told_how_to_be_put_last(predictor: Predictor) -> None:
    with pytest.raises(
        ValueError, match=r"60 channels, expected 3 .*where they come first, np\.moveaxis\(array, -3, -1\)"
    ):
        predictor.predict(np.zeros((3, 50, 60), np.uint8))


@pytest.mark.parametrize("images", [None, 3, {"a": 1}])
def test_what_is_neither_an_image_nor_several_is_told(predictor: Predictor, images: object) -> None:
    with pytest.raises(TypeError, match=r"images of type .*; give paths, bytes, Pillow images or arrays"):
        predictor.predict(images)  # type: ignore[arg-type]


def test_an_address_is_no_path(predictor: Predictor) -> None:
    with pytest.raises(ValueError, match="is an address; download it first"):
        predictor.predict("https://example.org/a.jpg")


@pytest.mark.parametrize("top", [0, 2.0, 3])
def test_a_number_of_classes_that_cannot_be_is_told(predictor: Predictor, top: object) -> None:
    with pytest.raises(UserError, match="must be a whole number of classes, 1 to 2"):
        predictor.predict([picture()], top=top)  # type: ignore[arg-type]


def test_options_and_cuts_of_another_kind_are_refused(predictor: Predictor) -> None:
    with pytest.raises(TypeError, match="request of type dict; give a Request"):
        next(predictor.stream([picture()], {"top": 2}))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"cut 0\.5: is no Cut; give a number to predict, as threshold=0\.5"):
        predictor.cut = 0.5  # type: ignore[assignment]


def test_a_mask_is_of_the_predictions_own_boxes(predictor: Predictor) -> None:
    one, other = predictor.predict([picture(), picture()[::-1, ::2]])
    with pytest.raises(ValueError, match=r"0: .* is none of this prediction's boxes"):
        one.mask(other.boxes[0])


def test_predictions_are_written_by_the_predictor_that_made_them(predictor: Predictor, tmp_path: Path) -> None:
    (own,) = predictor.predict([picture()])
    (of_another,) = colour_predictor("cam").predict([picture()])
    for wrong, error, said in (
        (
            of_another,
            UserError,
            r"was predicted by another predictor, \(step 0, cam, configuration \w+\); give it to that one",
        ),
        (picture(), TypeError, "ndarray: is no prediction; give what predict or stream has returned"),
    ):
        with pytest.raises(error, match=said):
            predictor.write(tmp_path / "boxes.json", [own, wrong])  # type: ignore[list-item]
        assert not (tmp_path / "boxes.json").exists()
    predictor.write(tmp_path / "boxes.json", own)
    assert (tmp_path / "boxes.json").is_file()
