"""The table of a report that is printed by default: a row a localizer at the run's own cuts, and the baselines."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fastwsol.evaluation.metrics import LOC_NAMES, CamClass
from fastwsol.evaluation.pixel_tables import print_pixels
from fastwsol.evaluation.reading import has_papers_threshold, preferred_row
from fastwsol.evaluation.report_rows import rows_file
from fastwsol.evaluation.report_types import Intervals, LocalizerRow, Rates, Report
from fastwsol.evaluation.report_words import (
    NO_BOX_IN_TRAIN,
    NO_TRUTH,
    print_classes_apart,
    print_few,
    print_left_out,
    print_no_fixed_box,
    print_warnings,
)
from fastwsol.evaluation.table_cells import (
    at_text,
    console,
    cut_text,
    localizer_name,
    rate_cells,
    table_of,
    title_of,
)
from fastwsol.localizer.localizers import preferred

SUMMARY_WIDTH = 100
"""Columns that the summary takes at most."""

_SUMMARY_RATES = ("top1_clas", "top1_loc@0.5", "gt_known_loc@0.5", "gt_known_loc@0.7")
_INTERVALS = "± half of a 95 % interval, by resampling these images (not the training)."


def print_summary(
    report: Report,
    path: Path | None,
    heading: str,
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
        _print_no_boxes(out, names, report)
    else:
        print_left_out(report, out)
        taken, others = _by_preference(report)
        out.print(_summary_table(report, names, taken, others))
        if taken:
            out.print("The first row is of the localizer that predict takes.")
        out.print(f"{_about_thresholds(report)} {_INTERVALS}")
        if (cut := report["localizers"][0]["cut"])["rule"] in ("auto", "box-free"):
            out.print(f"The thresholds were chosen on {cut['chosen_on']}.")
        print_above_best_box(report, out)
        print_no_fixed_box(report, why_no_fixed_box, out)
    print_few(report, out)
    print_classes_apart(report, out)
    print_pixels(report, out)
    print_warnings(report, out)
    rest = ""
    if path is not None:
        rest = f"{path} holds the rest, {rows_file(path, report, preferred_row(report)['name']).name} each image; "
    out.print(f"{rest}evaluate --all-tables prints every table.")


def print_above_best_box(report: Report, out: Console) -> None:
    """Say by how much each localizer is better than the best box that looks at no image, at its cut."""
    rate = f"{LOC_NAMES[report['cam_class']]}@0.5"
    taken, others = _by_preference(report)
    told = []
    for row in (*taken, report["localizers"][0], *others):
        above = row.get("above_best_box", {}).get(rate)
        if above is None or above["points"] is None:
            continue
        reach = above["interval"]
        told.append(
            f"{localizer_name(row)} {above['points']:+.1f}"
            + (f" ({reach[0]:+.1f} to {reach[1]:+.1f})" if reach is not None else "")
        )
    if told:
        title = title_of(rate).replace("\n", " ")
        out.print(f"{title} less that of the best box at IoU 0.5, in points (95 % interval): {', '.join(told)}.")


def _about_thresholds(report: Report) -> str:
    """What the thresholds of the rows are shares of."""
    scales = {each["scale"] for each in report["localizers"]}
    if scales == {"own"}:
        return "A threshold is a share of 1."
    of_masks = ", a mask's of 1" if "own" in scales else ""
    return f"A threshold is a share of the map's maximum{of_masks}."


def _summary_table(
    report: Report,
    names: Sequence[str],
    taken: Sequence[LocalizerRow],
    others: Sequence[LocalizerRow],
) -> Table:
    """The rates `names`: first of the localizer that predictions take, then of `cam` at the paper's threshold and,
    where that is another, at its cut, then of the others, then the baselines'.
    """
    table = table_of("", [title_of(name).replace("\n", " ") for name in names])

    def add(row: str, rates: Rates, intervals: Intervals, style: str = "") -> None:
        table.add_row(row, *rate_cells(names, rates, intervals, beside=True), style=style)

    def add_localizers(rows: Sequence[LocalizerRow]) -> None:
        for each in rows:
            add(f"{localizer_name(each)}, {cut_text(each)}", each["rates"], each["intervals"], "bold")

    add_localizers(taken)
    first = report["localizers"][0]
    at_fixed = f"{localizer_name(first)}, {at_text([report['cam_threshold']])}"
    for protocol, rates in report["rates"].items() if has_papers_threshold(report) else ():
        style = "bold" if protocol == "strict" else ""
        add(f"{at_fixed}, {protocol}", rates, report["intervals"][protocol], style)
    if first["cut"]["rule"] != "fixed":
        add(f"{localizer_name(first)}, {cut_text(first)}, strict", first["rates"], first["intervals"])
    add_localizers(others)
    table.add_section()
    for baseline in report["baselines"]:
        if baseline["iou_threshold"] in (None, 0.5, 0.7):
            table.add_row(f"{baseline['name']}, strict", *rate_cells(names, baseline["rates"]["strict"]))
    return table


def _by_preference(report: Report) -> tuple[list[LocalizerRow], list[LocalizerRow]]:
    """The localizers of a report but for the first, `cam`, which also has rates at the paper's threshold: the one that
    predictions take, where that is another, and the others.
    """
    beside = report["localizers"][1:]
    taken = preferred(each["name"] for each in beside)
    return [each for each in beside if each["name"] == taken], [each for each in beside if each["name"] != taken]


def _print_no_boxes(out: Console, names: Sequence[str], report: Report) -> None:
    if names:
        table = table_of("", [title_of(name).replace("\n", " ") for name in names])
        rates, intervals = report["rates"]["strict"], report["intervals"]["strict"]
        table.add_row("classification", *rate_cells(names, rates, intervals, beside=True), style="bold")
        out.print(table)
        out.print(_INTERVALS)
    out.print(NO_TRUTH)


def _of_cam_class(names: Sequence[str], cam_class: CamClass) -> list[str]:
    """The same rates, of the class whose maps were boxed."""
    return [name.replace("gt_known_loc", LOC_NAMES[cam_class]) for name in names]
