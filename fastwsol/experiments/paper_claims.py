"""The paper's four claims, each as comparisons of two settings that differ in nothing else.

A comparison is decided by the difference of two means over seeds, whose 95 % interval is Student's: the spread over
seeds is taken to be the same in the settings that a claim compares, and is estimated from these together, since each
has few seeds.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import stdtrit

from fastwsol.config import AugName, Setting
from fastwsol.useless_options import without_use

Verdict = Literal["holds", "fails", "not separable"]

CLAIMS = {
    1: "GR localises better than HnS, and HnS better than CAM",
    2: "HnS added to GR, in either order, is worse than GR alone",
    3: "smaller batches localise better",
    4: "the deeper network localises better",
}

OPTIONS = ("aug", "batch_size", "depth")
"""What settings differ in that the claims compare."""

_BETTER_AUGS: tuple[tuple[int, AugName, AugName], ...] = (
    (1, "gr", "hns"),
    (1, "hns", "none"),
    (1, "gr", "none"),
    (2, "gr", "gr-hns"),
    (2, "gr", "hns-gr"),
)


@dataclass(frozen=True)
class Comparison:
    """Two settings of which a claim says that the first localises better."""

    claim: int
    better: Setting
    worse: Setting

    @property
    def sides(self) -> tuple[str, str]:
        """What is different, on either side."""
        field = {1: "aug", 2: "aug", 3: "batch_size", 4: "depth"}[self.claim]
        word = {"aug": "", "batch_size": "batch ", "depth": "depth "}[field]
        return f"{word}{self.better.flat()[field]}", f"{word}{self.worse.flat()[field]}"


@dataclass(frozen=True)
class Difference:
    """A difference of two means in points, its standard error, and the degrees of freedom of that: 0 where no setting
    has two seeds. Seeds that all agree, as on few images, tell no error: 0 then.
    """

    points: float
    error: float
    freedom: int

    def half_interval_among(self, number: int) -> float:
        """Half of the interval that holds the truth with 95 % in all of `number` comparisons at once (Bonferroni);
        infinite where no error is known.
        """
        if not self.freedom or not self.error:
            return math.inf
        return float(stdtrit(self.freedom, 1 - 0.025 / number)) * self.error

    @property
    def half_interval(self) -> float:
        """Half of the 95 % interval."""
        return self.half_interval_among(1)

    @property
    def verdict(self) -> Verdict:
        """Whether the first is higher, beyond what the spread over seeds explains."""
        if abs(self.points) <= self.half_interval:
            return "not separable"
        return "holds" if self.points > 0 else "fails"


def comparisons(settings: Sequence[Setting]) -> list[Comparison]:
    """All comparisons that the claims make among `settings`, claim by claim, in the order of the settings."""
    possible = []
    flat = {setting: setting.flat() for setting in settings}
    for worse in settings:
        batch_size = worse.optimizer.batch_size
        candidates: list[tuple[int, dict[str, Any]]] = [
            (claim, {"aug": better}) for claim, better, aug in _BETTER_AUGS if aug == worse.views.aug
        ]
        # Values are compared, and no settings made: what is wanted may be one that no run can have.
        sizes = [each["batch_size"] for each in flat.values() if each | {"batch_size": batch_size} == flat[worse]]
        if smaller := [each for each in sizes if each < batch_size]:
            candidates.append((3, {"batch_size": max(smaller)}))
        if worse.network.depth == 18:
            candidates.append((4, {"depth": 34}))
        for claim, change in candidates:
            wanted = flat[worse] | change
            possible += [Comparison(claim, each, worse) for each in settings if _is_alike(each, wanted, worse)]
    return sorted(possible, key=lambda each: each.claim)


def _is_alike(setting: Setting, wanted: dict[str, Any], beside: Setting) -> bool:
    """Whether a setting has the values that are wanted, but for options that change nothing in it, or in the one that
    it is compared with: 4 crops an image beside no crops.
    """
    values = setting.flat()
    free = without_use(setting).keys() | without_use(beside).keys()
    return wanted | {name: values[name] for name in free} == values


def pooled_spread(of_settings: Sequence[Sequence[float]]) -> tuple[float, int]:
    """The standard deviation over seeds, pooled over settings, and its degrees of freedom; NaN and 0 where no
    setting has two seeds.
    """
    squares = sum(float(np.sum((np.asarray(values) - np.mean(values)) ** 2)) for values in of_settings if len(values))
    freedom = sum(len(values) - 1 for values in of_settings if len(values))
    return (math.sqrt(squares / freedom), freedom) if freedom else (math.nan, 0)


def difference(better: Sequence[float], worse: Sequence[float], spread: float, freedom: int) -> Difference:
    """The difference of two settings' means. values: one a seed; the spread over seeds and its degrees of freedom give
    the interval.
    """
    error = spread * math.sqrt(1 / len(better) + 1 / len(worse))
    return Difference(float(np.mean(better) - np.mean(worse)), error, freedom)


def overall(differences: Sequence[Difference]) -> Verdict:
    """The verdict on a claim. It holds where every comparison holds at 95 %. It fails where one comparison is worse by
    more than its Bonferroni interval.
    """
    if any(-each.points > each.half_interval_among(len(differences)) for each in differences):
        return "fails"
    return "holds" if {each.verdict for each in differences} == {"holds"} else "not separable"


def overall_name(comparisons: Sequence[Comparison]) -> str:
    """What the verdict on a claim is over: all of it, or a part, where comparisons are missing of those that claim 1 or
    2 makes; claims 3 and 4 are over what there is. Several of the same two augmentations, as with different numbers of
    crops, are one.
    """
    pairs = {
        (tuple((each.worse.flat() | {"aug": "none"}).items()), each.better.views.aug, each.worse.views.aug)
        for each in comparisons
    }
    whole = len({others for others, *_ in pairs}) * {1: 3, 2: 2}.get(comparisons[0].claim, 0)
    number = len(pairs)
    return "overall" if number >= whole else f"overall, of {number} of {whole} comparisons"


def judge(values: Mapping[Setting, Sequence[float]]) -> dict[Comparison, Difference]:
    """Every comparison among settings, given the values of each, one a seed, in percent. The spread is pooled over the
    settings that its claim compares, whatever others there are.
    """
    found = comparisons([setting for setting, each in values.items() if len(each)])
    spreads = {}
    for claim in {each.claim for each in found}:
        compared = {side for each in found if each.claim == claim for side in (each.better, each.worse)}
        spreads[claim] = pooled_spread([values[setting] for setting in compared])
    return {each: difference(values[each.better], values[each.worse], *spreads[each.claim]) for each in found}
