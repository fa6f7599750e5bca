"""Certainties and intervals: what they are made of, and whether they mean what they say."""

import numpy as np
import pytest
from colour_network import colour_predictor, picture
from scipy.stats import binomtest

from fastwsol.evaluation.certainty import (
    area_under_curve,
    calibration_error,
    cross_fitted_chances,
    fit_chances,
    reliability,
    share_interval,
    share_to_look_at,
)
from fastwsol.prediction.predictor import Predictor
from fastwsol.prediction.signals import SMALLER, agreement, in_smaller, sharpness


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return colour_predictor()


@pytest.mark.parametrize("share", [0.5, 0.7, 0.8, 0.85, 0.9, 0.95])
def test_the_interval_of_a_review_covers_the_share_in_94_to_98_of_100_reviews(share: float) -> None:
    """2,000 reviews of 200 of 2,000 images each, drawn anew."""
    right = round(2000 * share)
    accepted = np.random.default_rng(0).hypergeometric(right, 2000 - right, 200, 2000)
    interval_of = {count: share_interval(count, 200, 2000) for count in {*accepted.tolist()}}
    covered = [low <= share <= high for low, high in (interval_of[count] for count in accepted.tolist())]
    assert 0.94 <= np.mean(covered) <= 0.98, np.mean(covered)


def test_the_interval_ends_at_0_and_1() -> None:
    assert share_interval(0, 40, 10**8)[0] == 0
    assert share_interval(40, 40, 10**8)[1] == 1
    assert share_interval(0, 40, 10**8)[1] < 0.1


@pytest.mark.parametrize(("count", "of"), [(0, 40), (33, 40), (190, 200)])
def test_of_very_many_images_the_interval_is_that_of_the_binomial(count: int, of: int) -> None:
    """Clopper and Pearson's."""
    expected = binomtest(count, of).proportion_ci(0.95, "exact")
    np.testing.assert_allclose(share_interval(count, of, 10**8), expected, atol=1e-5)


def test_right_and_wrong_may_be_numbers() -> None:
    certainties = np.array([0.1, 0.9, 0.4, 0.8])
    for right in ([True, True, False, False], [1, 1, 0, 0], np.array([1, 1, 0, 0], np.uint8)):
        assert area_under_curve(certainties, right) == 0.5  # type: ignore[arg-type]


@pytest.mark.parametrize("numbers", [(60, 50, 1000), (-1, 50, 1000), (5, 50, 40)])
def test_a_sample_that_cannot_be_has_no_interval(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        share_interval(*numbers)


def test_what_was_looked_at_is_no_guess() -> None:
    """Of 205 images 200 were reviewed: the other five are all that is not known."""
    low, high = share_interval(190, 200, 205)
    assert 190 / 205 <= low < 190 / 200 < high <= 195 / 205
    assert share_interval(190, 200, 200) == (0.95, 0.95)


def chances_and_outcomes(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, the true chance that each is right, and whether it is."""
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(count, 3)) * (1, 5, 0.1) + (0, 2, 9)
    chances = 1 / (1 + np.exp(-(inputs @ (1.0, -0.3, 4.0) - 34.8)))
    return inputs, chances, random.random(count) < chances


def test_a_fit_finds_the_chances_and_those_of_others_are_nearly_as_good() -> None:
    inputs, chances, right = chances_and_outcomes(6000)
    np.testing.assert_allclose(fit_chances(inputs, right)(inputs), chances, atol=0.08)
    np.testing.assert_allclose(cross_fitted_chances(inputs, right), chances, atol=0.1)
    assert calibration_error(reliability(cross_fitted_chances(inputs, right), right)) < 0.02


def test_chances_of_others_do_not_know_their_own_outcome() -> None:
    """With features that say nothing a fit of many to few images would seem to know; those of others do not."""
    random = np.random.default_rng(1)
    inputs, right = random.normal(size=(60, 20)), random.random(60) < 0.5
    seen, unseen = (
        area_under_curve(each, right)
        for each in (fit_chances(inputs, right)(inputs), cross_fitted_chances(inputs, right))
    )
    assert seen is not None
    assert unseen is not None
    assert seen > 0.8
    assert 0.25 < unseen < 0.75


def test_a_feature_without_a_difference_is_no_trouble() -> None:
    right = np.arange(20) % 3 > 0
    np.testing.assert_allclose(fit_chances(np.ones((20, 2)), right)(np.ones((4, 2))), right.mean(), atol=1e-3)


def slow_area(certainties: np.ndarray, right: np.ndarray) -> float:
    pairs = [(a > b) + 0.5 * (a == b) for a in certainties[right] for b in certainties[~right]]
    return float(np.mean(pairs))


def test_the_area_under_the_curve_is_the_share_of_pairs_in_order() -> None:
    random = np.random.default_rng(0)
    certainties, right = random.integers(0, 9, 80) / 8, random.random(80) < 0.6
    assert area_under_curve(certainties, right) == pytest.approx(slow_area(certainties, right))
    assert area_under_curve(certainties, np.ones(80, np.bool_)) is None


def test_as_many_must_be_looked_at_as_bring_the_share_to_95_of_100() -> None:
    certainties = np.arange(100) / 100
    right = np.ones(100, np.bool_)
    assert share_to_look_at(certainties, right) == 0
    right[[3, 10, 50, 60, 70, 80, 90]] = False
    assert share_to_look_at(certainties, right) == 0.11, "the two of the least certain leave five wrong"
    right[:] = False
    assert share_to_look_at(certainties, right) == 0.95


def test_bins_hold_all_images_once() -> None:
    certainties, right = np.random.default_rng(0).random(37), np.arange(37) % 2 == 0
    bins = reliability(certainties, right)
    assert sum(each["images"] for each in bins) == 37
    assert sum(each["images"] * each["right"] for each in bins) == pytest.approx(right.sum())
    assert [each["certainty"] for each in bins] == sorted(each["certainty"] for each in bins)
    assert len(reliability(certainties[:3], right[:3])) == 3


# Signals


def test_what_is_found_again_in_every_look_agrees(predictor: Predictor) -> None:
    """The network sees colours alone, so a mirror image and a smaller one change nothing but the place."""
    (plain,) = predictor.predict([picture()], boxes="all")
    (found,) = predictor.predict([picture()], boxes="all", signals=True)
    assert len(found.boxes) == 2
    for box, without in zip(found.boxes, plain.boxes, strict=True):
        assert without.signals is None
        assert box[:8] == without[:8]
        assert box.signals is not None
        assert box.signals.mirrored > 0.95
        assert box.signals.smaller > 0.3, "its cells are a quarter of the object"
        assert 0 < box.signals.sharpness <= 1
        assert 0 <= box.signals.margin <= 1
    assert sum(box.signals.share for box in found.boxes if box.signals) == pytest.approx(1)
    (nothing,) = predictor.predict([np.full((64, 64, 3), 127, np.uint8)], signals=True)
    assert nothing.boxes == ()
    (asked,) = predictor.predict([picture()], top=2, signals=True)
    assert all(box.signals is not None for box in asked.boxes)


def test_agreement_is_the_best_iou_and_0_where_nothing_is_found() -> None:
    maps = np.zeros((3, 8, 8), np.float32)
    maps[0, :4, :4] = maps[0, 6:, 6:] = maps[2] = 1
    boxes = np.array([[0, 0, 32, 32], [48, 48, 64, 64], [0, 0, 64, 64], [0, 0, 64, 32]], np.float64)
    found = agreement(maps, 64, 0.5, "own", np.array([0, 0, 1, 2]), boxes)
    np.testing.assert_allclose(found, [1, 1, 0, 0.5], atol=0.2)
    assert found[2] == 0
    assert len(agreement(maps, 64, 0.5, "own", np.zeros(0, np.int64), np.zeros((0, 4)))) == 0


def test_a_box_of_the_smaller_image_lies_in_its_middle() -> None:
    (whole,) = in_smaller(np.array([[0, 0, 100, 100]], np.int32), 100)
    assert whole[2] - whole[0] == pytest.approx(100 * SMALLER)
    assert whole[0] == pytest.approx(100 - whole[2])


def test_a_map_that_says_all_or_nothing_is_sharp() -> None:
    maps = np.stack([np.eye(4), np.full((4, 4), 0.5), np.linspace(0, 1, 16).reshape(4, 4)]).astype(np.float32)
    np.testing.assert_allclose(sharpness(maps, "own"), [1, 0, 0.533], atol=1e-2)
    np.testing.assert_allclose(sharpness(5 * maps[[0, 2]] - 3, "min-max"), [1, 0.533], atol=1e-2)


# The command
