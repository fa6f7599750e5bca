"""The table of a report that is printed by default: a row a localizer at the run's own cuts, and the baselines."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fastwsol.evaluation.metrics import LOC_NAMES, CamClass
from fastwsol.evaluation.pixel_tables import print_pixels
from fastwsol.evaluation.report_types import Intervals, LocalizerRow, Rates, Report
from fastwsol.evaluation.report_words import (
    NO_BOX_IN_TRAIN,
    NO_TRUTH,
    print_few,
    print_left_out,
    print_no_fixed_box,
    print_warnings,
)
from fastwsol.evaluation.table_cells import (
    console,
    cut_text,
    localizer_name,
    rate_cells,
    table_of,
    threshold_text,
    title_of,
)
from fastwsol.localizer.localizers import preferred

THIS_RUN = "this run"
SUMMARY_WIDTH = 100
"""Columns that the summary takes at most."""

_SUMMARY_RATES = ("top1_clas", "top1_loc@0.5", "gt_known_loc@0.5", "gt_known_loc@0.7")
_INTERVALS = "± half of a 95 % interval, by resampling these images (not the training)."


def print_summary(
    report: Report,
    path: Path | None,
    heading: str,
    row_name: str = THIS_RUN,
    why_no_fixed_box: str = NO_BOX_IN_TRAIN,
) -> None:
    """Print one table: the rates at the thresholds of the report, and the baselines. It fits `SUMMARY_WIDTH` columns.

    path: the file that holds the rest; heading: what the report is about; why_no_fixed_box: said where there is none.
    """
    out = console(SUMMARY_WIDTH)
    out.print(f"\n{heading}")
    names = _of_cam_class(_SUMMARY_RATES, report["cam_class"])
    names = [name for name in names if report["rates"]["strict"].get(name) is not None]
    if not report["images_with_boxes"]:
        _print_no_boxes(out, names, report, row_name)
    else:
        print_left_out(report, out)
        taken, others = _by_preference(report)
        if taken and row_name == THIS_RUN:
            row_name = "cam"
        out.print(_summary_table(report, names, row_name, taken, others))
        if taken:
            out.print("The first row is of the localizer that predict takes.")
        out.print(f"A threshold is a share of the map's maximum, a mask's of 1. {_INTERVALS}")
        for other in report["strict_at"]:
            if other["kind"] == "chosen":
                out.print(f"The threshold was {other['name']}.")
        print_no_fixed_box(report, why_no_fixed_box, out)
    print_few(report, out)
    print_pixels(report, out, row_name)
    print_warnings(report, out)
    rest = f"{path} holds the rest, {path.with_suffix('.csv').name} each image; " if path is not None else ""
    out.print(f"{rest}--all-tables prints every table.")


def _summary_table(
    report: Report,
    names: Sequence[str],
    row_name: str,
    taken: Sequence[LocalizerRow],
    others: Sequence[LocalizerRow],
) -> Table:
    """The rates `names`: first of the localizer that predictions take, then of `cam`, then of the others, then the
    baselines'.
    """
    table = table_of("", [title_of(name).replace("\n", " ") for name in names])

    def add(row: str, rates: Rates, intervals: Intervals, style: str = "") -> None:
        table.add_row(row, *rate_cells(names, rates, intervals, beside=True), style=style)

    def add_localizers(rows: Sequence[LocalizerRow]) -> None:
        for each in rows:
            add(f"{localizer_name(each)}, {cut_text(each['cut'])}", each["rates"], each["intervals"], "bold")

    add_localizers(taken)
    at_fixed = f"at {threshold_text(report['cam_threshold'])}"
    for protocol, rates in report["rates"].items():
        style = "bold" if protocol == "strict" else ""
        add(f"{row_name}, {at_fixed}, {protocol}", rates, report["intervals"][protocol], style)
    for other in report["strict_at"]:
        if other["kind"] != "oracle":
            at = "/".join(dict.fromkeys(threshold_text(other["thresholds"][t]) for t in ("0.5", "0.7")))
            add(f"{other['kind']} at {at}, strict", other["rates"], other["intervals"])
    add_localizers(others)
    table.add_section()
    for baseline in report["baselines"]:
        if baseline["iou_threshold"] in (None, 0.5, 0.7):
            table.add_row(f"{baseline['name']}, strict", *rate_cells(names, baseline["rates"]["strict"]))
    return table


def _by_preference(report: Report) -> tuple[list[LocalizerRow], list[LocalizerRow]]:
    """The localizers of a report but for `cam`, which its other numbers are of: the one that predictions take, where
    that is another, and the others.
    """
    every = {each["name"]: each for each in report.get("localizers", [])}
    taken = preferred(every)
    beside = [each for name, each in every.items() if name != "cam"]
    return [each for each in beside if each["name"] == taken], [each for each in beside if each["name"] != taken]


def _print_no_boxes(out: Console, names: Sequence[str], report: Report, row_name: str) -> None:
    if names:
        table = table_of("", [title_of(name).replace("\n", " ") for name in names])
        rates, intervals = report["rates"]["strict"], report["intervals"]["strict"]
        table.add_row(row_name, *rate_cells(names, rates, intervals, beside=True), style="bold")
        out.print(table)
        out.print(_INTERVALS)
    out.print(NO_TRUTH)


def _of_cam_class(names: Sequence[str], cam_class: CamClass) -> list[str]:
    """The same rates, of the class whose maps were boxed."""
    return [name.replace("gt_known_loc", LOC_NAMES[cam_class]) for name in names]
