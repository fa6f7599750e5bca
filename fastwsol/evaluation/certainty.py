"""The chance that a predicted class and box are right, from what the network says of them.

Without reviewed images it is the score times the mean agreement of other looks, named uncalibrated. With some it is a
logistic regression on the score's log odds and that agreement, whose own values for these images come from fits that
have not seen them (5 parts, each predicted by the others). Both numbers were chosen on images held out of train, among
regressions on more numbers and on fewer (docs/results.md, "Certainties").
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import hypergeom, rankdata

from fastwsol.draws import review_order
from fastwsol.evaluation.report_types import Bin, CertaintyNumbers
from fastwsol.formats.labelled_images import LabelledImage, LabelledObject

PARTS = 5
LEAST_OF_EACH = 5
"""Images that are right, and images that are wrong, without which nothing is calibrated."""
BINS = 10
_PRIOR = 1.0
"""The weights' penalty: that of one image's doubt on each, of numbers scaled to a deviation of 1."""
_AGREEMENTS = ("mirrored", "smaller", "other")


def best_object(image: LabelledImage) -> LabelledObject | None:
    """The object of the highest score, which stands for the image; the first of equals."""
    return max(image.objects, key=lambda each: each.score if each.score is not None else 0.0, default=None)


def uncalibrated(image: LabelledImage) -> float:
    """The score of an image's best object, times the mean agreement of other looks where it has signals; 0 where there
    is no object. It orders images, and is no chance.
    """
    best = best_object(image)
    if best is None or best.score is None:
        return 0.0
    return best.score * _agreement(best)


def certainty_inputs(images: Sequence[LabelledImage]) -> NDArray[np.float64]:
    """What a chance is made of, [N, 2]: of each image's best object the score as log odds, and the mean agreement of
    other looks, 1 where it has no signals. An image without an object has a score and an agreement of 0.
    """
    rows = []
    for best in map(best_object, images):
        score = 0.0 if best is None or best.score is None else best.score
        rows.append([_log_odds(score), 0.0 if best is None else _agreement(best)])
    return np.array(rows, np.float64).reshape(len(images), 2)


def _agreement(thing: LabelledObject) -> float:
    if thing.signals is None:
        return 1.0
    return float(np.mean([thing.signals.get(name, 1.0) for name in _AGREEMENTS]))


def _log_odds(share: float) -> float:
    clipped = min(max(share, 1e-4), 1 - 1e-4)
    return float(np.log(clipped / (1 - clipped)))


Chances = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def fit_chances(inputs_NF: NDArray[np.float64], right_N: NDArray[np.bool_]) -> Chances:
    """A function from such inputs to chances, by logistic regression with a small penalty on its weights."""
    mean, deviation = inputs_NF.mean(0), inputs_NF.std(0)
    deviation[deviation == 0] = 1

    def scaled(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return (values - mean) / deviation

    inputs, signs = scaled(inputs_NF), np.where(right_N, -1.0, 1.0)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        wrongness = signs * (inputs @ weights[1:] + weights[0])
        pull = signs * _logistic(wrongness)
        gradient = np.concatenate([[pull.sum()], inputs.T @ pull + _PRIOR * weights[1:]])
        return float(np.logaddexp(0, wrongness).sum() + _PRIOR / 2 * (weights[1:] ** 2).sum()), gradient

    weights = minimize(loss, np.zeros(inputs.shape[1] + 1), jac=True, method="L-BFGS-B").x
    return lambda values: _logistic(scaled(values) @ weights[1:] + weights[0])


def _logistic(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(-np.logaddexp(0, -values))


def cross_fitted_chances(inputs_NF: NDArray[np.float64], right_N: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The chance of each image by a fit to the other parts: [N]."""
    part = np.empty(len(right_N), np.int64)
    for kind in (False, True):  # right and wrong ones shared out alike
        rows = np.flatnonzero(right_N == kind)
        part[rows[review_order(len(rows), 0)]] = np.arange(len(rows)) % PARTS
    chances = np.empty(len(right_N))
    for number in range(PARTS):
        held = part == number
        chances[held] = fit_chances(inputs_NF[~held], right_N[~held])(inputs_NF[held])
    return chances


def area_under_curve(certainties: NDArray[np.float64], right: NDArray[np.bool_]) -> float | None:
    """The chance that a right image has a higher certainty than a wrong one, ties counted half (AUROC); None where all
    are right or all wrong.
    """
    right = np.asarray(right, np.bool_)
    good, bad = int(right.sum()), int((~right).sum())
    if not good or not bad:
        return None
    return float((rankdata(certainties)[right].sum() - good * (good + 1) / 2) / (good * bad))


def reliability(certainties: NDArray[np.float64], right: NDArray[np.bool_]) -> list[Bin]:
    """Up to ten bins of as many images each, the least certain first."""
    order = np.argsort(certainties, kind="stable")
    parts = [part for part in np.array_split(order, min(BINS, len(order))) if len(part)]
    return [
        Bin(images=len(part), certainty=float(certainties[part].mean()), right=float(right[part].mean()))
        for part in parts
    ]


def calibration_error(bins: Sequence[Bin]) -> float:
    """The mean distance of certainty and share right over the bins, weighted by their images (ECE)."""
    total = sum(each["images"] for each in bins)
    return sum(each["images"] * abs(each["certainty"] - each["right"]) for each in bins) / total


def share_to_look_at(certainties: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """The share of all images, the least certain first, that must be reviewed and mended so that 95 % of all are
    right.
    """
    order = np.argsort(certainties, kind="stable")
    right_behind = np.concatenate([[0], np.cumsum(right[order][::-1])])[::-1]  # among those not reviewed
    shares = (np.arange(len(order) + 1) + right_behind) / len(order)
    return float(np.argmax(shares >= 0.95 - 1e-12) / len(order))


def share_interval(count: int, of: int, population: int) -> tuple[float, float]:
    """The 95 % interval of a share among `population` images, of which a random sample of `of` has `count`: all shares
    under which a count at least so high and a count at least so low each have a chance above 2.5 % (exact, drawn
    without replacement: hypergeometric). Raises ValueError unless 0 <= count <= of <= population.
    """
    if not 0 <= count <= of <= population:
        raise ValueError(f"{count} of a sample of {of} from {population} images cannot be")

    def first_not(is_too_few: Callable[[int], bool], low: int, high: int) -> int:
        """The least number in low .. high that is not too few."""
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if is_too_few(middle) else (low, middle)
        return low

    least, largest, tail = count, population - (of - count), (1 - 0.95) / 2
    low = first_not(lambda right: hypergeom.sf(count - 1, population, right, of) <= tail, least, largest)
    high = first_not(lambda right: hypergeom.cdf(count, population, right, of) > tail, least, largest + 1) - 1
    return low / population, max(low, high) / population


def certainty_numbers(certainties: NDArray[np.float64], right: NDArray[np.bool_]) -> CertaintyNumbers:
    """What a report says of certainties [N] of images of which is known which are `right` [N]."""
    bins = reliability(certainties, right)
    return {
        "images": len(right),
        "right": int(right.sum()),
        "auroc": area_under_curve(certainties, right),
        "calibration_error": calibration_error(bins),
        "reliability": bins,
        "share_to_look_at_for_95": share_to_look_at(certainties, right),
    }
