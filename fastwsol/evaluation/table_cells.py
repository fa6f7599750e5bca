"""What tables on the console are made of: cells, headings and their widths."""

import math
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fastwsol.evaluation.metrics import IOU_THRESHOLDS
from fastwsol.evaluation.report_types import Interval, Intervals, LocalizerRow, Rates
from fastwsol.localizer.localizers import LOCALIZERS

_LOC_TITLES = {"gt_known_loc": "GT-known", "predicted_loc": "Predicted"}
_FIRST_COLUMN = 24  # characters: a baseline's name stays readable
ORACLE_TITLES = {
    "max_box_acc": "MaxBoxAcc\nIoU 0.5, one box",
    "max_box_acc_v2": "MaxBoxAccV2\nbest of all boxes",
    "max_box_acc_v2_single": "the same with\none box",
}
"""Of rates at the thresholds that are best on the images themselves."""
V2_PARTS = {f"max_box_acc_v2@{threshold}": f"V2 of\nIoU {threshold}" for threshold in IOU_THRESHOLDS}
"""Of what MaxBoxAccV2 is the mean of."""


def console(most: int | None = None) -> Console:
    """Where tables go: as wide as the terminal, or 120 characters; at most `most`."""
    width = Console().width if Console().is_terminal else 120
    return Console(highlight=False, markup=False, width=min(width, most or width))


def table_of(title: str, columns: Sequence[str], first: str = "%", least: int = _FIRST_COLUMN) -> Table:
    """An empty table with its numbers to the right. least: characters of the first column."""
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column(first, min_width=least, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def title_of(name: str) -> str:
    """The heading of a rate's column."""
    rate, _, iou_threshold = name.partition("@")
    title = _LOC_TITLES.get(rate) or f"Top-{rate[3]}"
    return f"{title}\nLoc {threshold_text(float(iou_threshold))}" if iou_threshold else f"{title}\nClas"


def localizer_name(row: LocalizerRow) -> str:
    """A localizer of a report by its name, and with the boxes that it was trained with, where it was. Maps that nobody
    named are called by their title.
    """
    few = row.get("boxes_per_class", 0)
    name = row["name"] if row["name"] in LOCALIZERS else row["title"]
    return f"{name}, boxes of up to {few} images a class" if few else name


def rate_cell(rate: float | None, interval: Interval, between: str = "\n") -> Text:
    """A rate, with half of its interval behind it, where there is one."""
    cell = Text(percent_text(rate))
    if interval is not None:
        cell.append(f"{between}±{(interval[1] - interval[0]) / 2:.1f}", style="dim not bold")
    return cell


def rate_cells(
    names: Sequence[str],
    rates: Rates,
    intervals: Intervals | None = None,
    beside: bool = False,
) -> list[Text]:
    """Rates, with half of the interval of each below it, or `beside` it, where there is one."""
    return [rate_cell(rates.get(name), (intervals or {}).get(name), " " if beside else "\n") for name in names]


def cut_text(row: LocalizerRow) -> str:
    """Where a localizer's maps were cut, in a few words."""
    cut = row["cut"]
    if cut["value"] is None:
        return f"{cut['rule']}"
    thresholds = row.get("thresholds", {}).values() or [cut["value"]]
    return at_text(thresholds) + ("" if cut["rule"] == "fixed" else f" ({cut['rule']})")


def at_text(thresholds: Iterable[float]) -> str:
    """One threshold, or one for each IoU threshold."""
    return f"at {'/'.join(dict.fromkeys(map(threshold_text, thresholds)))}"


def percent_text(rate: float | None) -> str:
    """Two digits, or a dash where nothing could be measured (no image has a box)."""
    return "–" if rate is None else f"{rate:.2f}"


def share_text(share: Sequence[float]) -> str:
    """A range of shares, ends in 0..1, in percent."""
    low, high = share
    return f"{100 * low:.0f} to {100 * high:.0f} %"


def to_type(threshold: float) -> str:
    """A threshold in digits that, typed, cut maps at the same level (`kernels.levels`): rounded down, as a level keeps
    what is at or above it.
    """
    return f"{math.floor(1e4 * threshold + 1e-6) / 1e4:.4g}"


def threshold_text(threshold: float) -> str:
    """A threshold in two digits, without the 0 before the point."""
    text = f"{threshold:.2g}"
    return text.removeprefix("0") if text.startswith("0.") else text


def summary_line(rates: Mapping[str, Rates]) -> str:
    """The rates at IoU .5 in one line: classification, then localization under strict / paper2018."""
    strict, paper = rates["strict"], rates["paper2018"]
    if strict["gt_known_loc@0.5"] is None:
        return f"Top-1 Clas {percent_text(strict['top1_clas'])}, no boxes to measure localization on"
    return (
        f"Top-1 Clas {percent_text(strict['top1_clas'])}  "
        f"Top-1 Loc {percent_text(strict['top1_loc@0.5'])} / {percent_text(paper['top1_loc@0.5'])}  "
        f"GT-known {percent_text(strict['gt_known_loc@0.5'])} / {percent_text(paper['gt_known_loc@0.5'])} "
        "(strict / paper2018)"
    )
