"""Queries on a report: the preferred localizer, and the oracle rates of fixed boxes."""

from collections.abc import Sequence

from fastwsol.evaluation.metrics import IOU_THRESHOLDS, LOC_NAMES
from fastwsol.evaluation.report_types import LocalizerRow, Numbers
from fastwsol.localizer.localizers import preferred


def preferred_row(report: Numbers) -> LocalizerRow:
    """The localizer whose boxes predictions take; anyone's score maps are the only one."""
    of = {each["name"]: each for each in report["localizers"]}
    return of.get(preferred(of), report["localizers"][0])


def has_papers_threshold(report: Numbers) -> bool:
    """Whether the paper's threshold, a share of each map's maximum, says something of the first localizer's maps."""
    return report["localizers"][0]["scale"] == "min-max"


def fixed_box_oracles(report: Numbers, protocol: str) -> list[tuple[str, dict[str, float | None]]]:
    """What stands beside MaxBoxAcc, MaxBoxAccV2, the same with one box, and the parts of MaxBoxAccV2, in percent, of
    boxes that look at no image: the whole image, and the boxes that are best on train, one for each IoU threshold,
    where there are some.
    """
    loc = LOC_NAMES[report["cam_class"]]
    rows = [
        (each["name"], [each["rates"][protocol][f"{loc}@{t}"] for t in IOU_THRESHOLDS])
        for each in report["baselines"]
        if each["kind"] == "whole-image"
    ]
    best = {each["iou_threshold"]: each["rates"][protocol] for each in report["baselines"]}
    own = [best.get(t, {}).get(f"{loc}@{t}") for t in IOU_THRESHOLDS]
    if None not in own:
        rows.append(("best boxes of train, one for each IoU threshold", own))
    return [(name, _as_oracle(at_thresholds)) for name, at_thresholds in rows]


def _as_oracle(at_thresholds: Sequence[float | None]) -> dict[str, float | None]:
    known = [each for each in at_thresholds if each is not None]
    mean = sum(known) / len(known) if len(known) == len(at_thresholds) else None
    return {
        "max_box_acc": at_thresholds[IOU_THRESHOLDS.index(0.5)],
        "max_box_acc_v2": mean,
        "max_box_acc_v2_single": mean,
        **{f"max_box_acc_v2@{t}": rate for t, rate in zip(IOU_THRESHOLDS, at_thresholds, strict=True)},
    }
