"""The numbers that certainties are made of, each by an example that can be reckoned by hand."""

from collections.abc import Mapping

import numpy as np
import pytest

from fastwsol.evaluation.certainty import calibration_error, certainty_inputs, uncalibrated
from fastwsol.formats.labelled_images import LabelledImage, LabelledObject
from fastwsol.localizer.localizers import LOCALIZERS
from fastwsol.prediction.components import least_score_of_objects
from fastwsol.prediction.signals import Looks, WayToCut, in_smaller, other_localizer, shares_of, signals_of_boxes

SQUARE = 64


def image(signals: Mapping[str, float] | None, score: float = 0.8) -> LabelledImage:
    thing = LabelledObject(0, (0, 0, 4, 4), score=score, signals=signals)
    weaker = LabelledObject(1, (0, 0, 4, 4), score=score / 2, signals={"other": 0.9})
    return LabelledImage("a", 9, 9, (weaker, thing))


@pytest.mark.parametrize(
    ("signals", "agreement"),
    [
        ({"mirrored": 0.5, "smaller": 0.25, "other": 0.0}, 0.25),
        ({"mirrored": 0.4}, 0.8),
        (None, 1.0),
    ],
)
def test_an_image_agrees_by_the_mean_of_the_three_looks_at_its_best_object(
    signals: Mapping[str, float] | None, agreement: float
) -> None:
    assert uncalibrated(image(signals)) == pytest.approx(0.8 * agreement)
    ((odds, found),) = certainty_inputs([image(signals)])
    assert (odds, found) == (pytest.approx(np.log(4)), pytest.approx(agreement))


def test_an_image_without_an_object_has_neither_a_score_nor_an_agreement() -> None:
    empty = LabelledImage("a", 9, 9)
    assert uncalibrated(empty) == 0
    np.testing.assert_allclose(certainty_inputs([empty]), [[np.log(1e-4 / (1 - 1e-4)), 0]])


def test_the_calibration_error_is_the_mean_distance_weighted_by_images() -> None:
    """Over- and underconfidence do not make up for each other: (10 * 0.4 + 30 * 0.2) / 40."""
    bins = [{"images": 10, "certainty": 0.9, "right": 0.5}, {"images": 30, "certainty": 0.2, "right": 0.4}]
    assert calibration_error(bins) == pytest.approx(0.25)  # type: ignore[arg-type]


def map_of(*boxes: tuple[float, float, float, float]) -> np.ndarray:
    found = np.zeros((1, SQUARE, SQUARE), np.float32)
    for x0, y0, x1, y1 in np.round(boxes).astype(int).tolist():
        found[0, y0:y1, x0:x1] = 1
    return found


def test_each_look_is_compared_where_the_box_lies_in_it() -> None:
    boxes = np.array([[0, 0, 32, 32]], np.int32)
    whole, smaller = map_of((0, 0, 32, 32)), map_of(*in_smaller(boxes, SQUARE))
    cut = WayToCut(lambda maps: 0.5, "own")
    looks = Looks(whole, smaller, map_of((32, 32, 64, 64)))
    (signals,) = signals_of_boxes(np.zeros(1, np.int64), boxes, np.array([[0.7, 0.3]]), whole, looks, SQUARE, cut, cut)
    assert signals.margin == pytest.approx(0.4)
    assert signals.share == signals.mirrored == 1
    assert signals.smaller > 0.9
    assert signals.other == 0


def test_a_components_share_is_of_its_own_image() -> None:
    maps = np.concatenate([map_of((0, 0, 40, 40)), map_of((4, 4, 12, 12), (30, 30, 38, 38))])
    owners, boxes = np.array([0, 1, 1]), np.array([[0, 0, 40, 40], [4, 4, 12, 12], [30, 30, 38, 38]], np.int32)
    np.testing.assert_allclose(shares_of(maps, SQUARE, 0.5, "own", owners, boxes), [1, 0.5, 0.5])


def test_the_other_localizer_shares_no_map() -> None:
    others = {name: other_localizer(LOCALIZERS[name]).name for name in ("cam", "cam-positive", "mask", "mask-cam")}
    assert others == {"cam": "cam-positive", "cam-positive": "cam", "mask": "cam-positive", "mask-cam": "cam"}


def test_an_object_scores_twice_what_chance_gives_and_half_at_most() -> None:
    assert [least_score_of_objects(classes) for classes in (2, 4, 10)] == [0.5, 0.5, 0.2]
