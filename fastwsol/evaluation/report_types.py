"""What reports hold, key by key: the JSON that evaluations write, and that tables, pages and comparisons read.

Rates, intervals and IoUs are in percent; shares, thresholds and levels lie in 0..1; seconds are of the wall clock. None
stands where something could not be measured.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict

from fastwsol.evaluation.metrics import CamClass
from fastwsol.evaluation.thresholds import CutRow
from fastwsol.host.environment import Environment
from kernels import Scale

REPORT_FORMAT_VERSION = 6

SplitName = Literal["val", "holdout", "fullsup", "train"]
"""Which images a run's report can be of."""

Interval = Sequence[float] | None
"""The ends of a 95 % interval; None where all images are alike, of which resampling tells nothing."""
Rates = Mapping[str, float | None]
"""By the rate's name, as `top1_loc@0.5`."""
Intervals = Mapping[str, Interval]
Counts = Mapping[str, Sequence[int]]
"""By the rate's name: the images of which it holds, and those that count."""
HitsByLevel = Mapping[str, Mapping[str, Sequence[int]]]
"""By `single` (the largest component's box) and `multiple` (any component's), then by IoU threshold: how many images
are hit at each level of `kernels.levels`.
"""


class Rated(TypedDict):
    """What was counted over all images."""

    counts: Counts
    rates: Rates
    intervals: Intervals


class OracleRates(TypedDict):
    """MaxBoxAcc and its kin: rates at the thresholds that are best on these very images."""

    rates: Rates
    intervals: Intervals


class SizeRow(TypedDict):
    """Images whose object covers a share of them from `share[0]` to `share[1]`."""

    share: Sequence[float]
    images: int
    counts: Counts


ClassRow = TypedDict("ClassRow", {"class": str, "images": int, "counts": Counts})
"""The images of a class."""

FixedBoxRow = TypedDict(
    "FixedBoxRow",
    {
        "kind": Literal["whole-image", "best-box"],
        "key": str,
        "name": str,
        "iou_threshold": float | None,
        "box": Sequence[int],
        "from": str,
    },
)
"""One box for all images, in pixels of the square that they are stretched to."""


class Baseline(FixedBoxRow):
    """A fixed box with what it reaches."""

    rates: Mapping[str, Rates]
    """By protocol."""
    sizes: Sequence[SizeRow]
    """Under `strict`."""


class OracleRow(Rated):
    """Rates at the thresholds that are best on these very images."""

    thresholds: Mapping[str, float]
    """By IoU threshold."""


class AboveBox(TypedDict):
    """A rate less the same rate of a fixed box, on the same images, in points: with its 95 % interval, by a bootstrap
    in which both are resampled together, and p of the exact sign test.
    """

    of_box: float | None
    """The rate of the fixed box, in percent."""
    points: float | None
    interval: Interval
    p: float


class MapStatistics(TypedDict):
    """What maps keep, without a box, as shares: of the image that is kept, of maps that keep nothing, of maps that
    reach three edges; and of maps on their own scale their mean.
    """

    mean_area: float
    empty: float
    three_edges: float
    mean_value: NotRequired[float]


class ClassProbability(TypedDict):
    """The mean probability of the true class under the mask, and under what it leaves."""

    images: int
    inside: float
    outside: float


class MaskIou(TypedDict):
    """The mean IoU of masks at the cut (`threshold`, None under otsu), and at the best threshold."""

    threshold: float | None
    mean: float
    best: float
    best_threshold: float


class SizeIou(TypedDict):
    """The mean IoU of masks, by size."""

    share: Sequence[float]
    images: int
    iou: float | None


ClassIou = TypedDict("ClassIou", {"class": str, "images": int, "iou": float | None})
"""The mean IoU of masks of a class."""

FixedMaskRow = TypedDict("FixedMaskRow", {"kind": str, "name": str, "from": str, "pxap": float, "iou": float})
"""One mask for all images, with what it reaches."""


class Pixels(TypedDict):
    """A localizer's maps against masks."""

    images: int
    images_with_object: int
    pxap: float
    pxap_on_own_scale: float
    pxap_wsoleval: NotRequired[float]
    """Of maps that are enlarged bicubically, as the benchmark's evaluator has it, where that was asked for."""
    iou: MaskIou
    intervals: Intervals
    sizes: Sequence[SizeIou]
    classes: Sequence[ClassIou]


class MeasuredMasks(TypedDict):
    """What is the same for all localizers that are measured against masks."""

    digest: str
    baselines: Sequence[FixedMaskRow]


class LocalizerRow(Rated):
    """One localizer of a run, or anyone's maps: what it reaches under `strict` at its cut, and what it could."""

    name: str
    """Of a localizer, or `maps`."""
    title: str
    class_specific: bool
    scale: Scale
    cut: CutRow
    thresholds: NotRequired[Mapping[str, float]]
    """By IoU threshold, where the cut was chosen for each: under the rule `auto`."""
    oracle: OracleRow
    max_box_acc: Mapping[str, OracleRates]
    """By protocol: `strict`, and `wsoleval` where it was asked for."""
    curve: HitsByLevel
    maps: MapStatistics
    sizes: Sequence[SizeRow]
    classes: Sequence[ClassRow]
    above_best_box: NotRequired[Mapping[str, AboveBox]]
    """By the name of a rate of localization alone: beside the box that is best on train at its IoU threshold, where
    train has boxes."""
    class_probability: NotRequired[ClassProbability]
    """Of a mask."""
    boxes_per_class: NotRequired[int]
    """Of a mask that was trained with boxes: of at most so many images a class."""
    pixels: NotRequired[Pixels]
    """Where images have masks."""


class Numbers(TypedDict):
    """What `measure` makes of maps, predictions and truths."""

    cam_class: CamClass
    cam_threshold: float
    square: int
    classes: int
    """How many there are; 0 where no label is known."""
    images: int
    images_with_boxes: int
    images_cut: int
    truths_digest: str
    wsoleval_side: int | None
    counts: Mapping[str, Counts]
    """By protocol, of the first localizer (`cam`, or anyone's maps) at `cam_threshold`, the paper's; `rates` and
    `intervals` are too."""
    rates: Mapping[str, Rates]
    intervals: Mapping[str, Intervals]
    localizers: list[LocalizerRow]
    baselines: Sequence[Baseline]


class Making(Environment):
    """How a report was made."""

    format_version: int
    threads: int
    seconds: Mapping[str, float]
    """By phase."""


class Report(Making, Numbers):
    """A report of a run's maps or of anyone's."""

    masks: NotRequired[MeasuredMasks]
    """Where images have masks, which the localizers' `pixels` are measured against."""
    no_pixels: NotRequired[str]
    """Why maps are not measured against the masks that images have."""


class AboutRun(TypedDict):
    """What the report of a run is of."""

    source: str
    split: str
    """One of `SplitName`."""
    seeds: int
    config: dict[str, Any]
    """As `Config.to_json` gives it."""
    config_digest: str
    shards_digest: str
    step: int
    total_steps: int
    precision: Literal["bf16", "fp16", "fp32"]
    device: str
    data: Literal["resident", "dali"]
    world_size: int


class RunReport(Report, AboutRun):
    """A report of a run."""


class AboutMaps(TypedDict):
    """What the report of anyone's score maps is of. The names of their files."""

    maps: str
    boxes: str
    on_square: bool
    """Whether maps were enlarged to the square, as a run's are, and not to the size of their image."""


class MapsReport(Report, AboutMaps):
    """A report of anyone's score maps."""


class Sample(TypedDict):
    """What a review says of a random sample of the images."""

    size: int
    looked_at: int
    accepted: int
    share: float | None
    """Of those reviewed that were accepted, in 0..1."""
    interval: tuple[float, float] | None
    """Of the share among all images; None unless all of the sample, and less than all images, was reviewed."""


BoxCounts = TypedDict(
    "BoxCounts",
    {
        "images": int,
        "top1_clas": int | None,
        "predicted_loc@0.5": int | None,
        "predicted_loc@0.7": int | None,
        "top1_loc@0.5": int | None,
    },
)
"""How many of the images are right; None where nobody said what is wrong with a rejected one, or classes were given.
`predicted_loc`: the box of the predicted class, or of the given one, is right, whatever the class.
"""


class Bin(TypedDict):
    """Images of like certainty: how many, their mean certainty, and the share of them that is right."""

    images: int
    certainty: float
    right: float


class CertaintyNumbers(TypedDict):
    """What certainties are worth, by images of which it is known whether they are right."""

    images: int
    right: int
    auroc: float | None
    """None where all are right, or all wrong."""
    calibration_error: float
    reliability: Sequence[Bin]
    share_to_look_at_for_95: float


class Certainty(TypedDict):
    """What certainties are worth before and after they are calibrated."""

    uncalibrated: CertaintyNumbers | None
    calibrated: NotRequired[CertaintyNumbers]
    why_not: NotRequired[str]
    """Why none are kept; else it says on which images they were calibrated, and from which numbers."""
    calibrated_on: NotRequired[str]
    made_of: NotRequired[str]
    of_one_class: NotRequired[str]
    """The class of all known boxes, where the predictions have others too."""


class PredictionsReport(Environment):
    """A report of predictions, by reviewed images."""

    format_version: int
    predictions: Sequence[str]
    reviewed: str
    """Names of files, as `predictions`."""
    images: int
    looked_at: int
    not_predicted: int
    without_box: int
    """Predicted images that the file of known boxes has without one: they are not among those reviewed."""
    boxes_of_other_classes: Mapping[str, int]
    """Known boxes by class, of classes that are none of the predictions', in the reviewed images."""
    cut_on_these: bool
    """Whether the maps were cut where boxes of a file of this name are hit: if it is this one, the rates are an
    oracle's.
    """
    verdicts: Mapping[str, int]
    sample: Sample | None
    boxes: Mapping[str, BoxCounts]
    """By what is known of the boxes; `whole-image` is the box that needs no network, beside ground truth."""
    classes_given: bool
    """Whether classes were known beforehand, as with `predict --class-of-folder`."""
    model: str | None
    """What predicted."""
    certainty: Certainty
