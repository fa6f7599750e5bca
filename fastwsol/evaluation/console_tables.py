"""Reports as tables on the console: one by default, all of them on demand. Each carries the baselines."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fastwsol.config import Config
from fastwsol.evaluation.metrics import IOU_THRESHOLDS, LOC_NAMES, CamClass, percent
from fastwsol.evaluation.pixel_tables import print_pixels
from fastwsol.evaluation.table_cells import (
    console,
    localizer_name,
    percent_text,
    rate_cell,
    share_text,
    table_of,
    threshold_text,
    title_of,
)
from fastwsol.localizer.localizers import PREFERRED
from fastwsol.network.networks import network_name

_PROTOCOL_NOTES = {
    "strict": "largest component by pixels, IoU >= threshold",
    "paper2018": "the rule of Choe et al. 2018's code, IoU > threshold",
    "wsoleval": "the rule of Choe et al. 2020's evaluator: OpenCV contours, inclusive boxes",
}


_SPLIT_NAMES = {
    "val": "val images",
    "holdout": "images held out of train",
    "train": "training images, which the network has seen",
}
_CAM_CLASSES = {"truth": "true", "predicted": "predicted"}
_ORACLE_TITLES = {
    "max_box_acc": "MaxBoxAcc\nIoU 0.5, one box",
    "max_box_acc_v2": "MaxBoxAccV2\nbest of all boxes",
    "max_box_acc_v2_single": "the same with\none box",
}
_MANY_CLASSES = 5  # with no more, to be among the first five says nothing


THIS_RUN = "this run"
SUMMARY_WIDTH = 100
"""Columns that the summary takes at most."""

NO_BOX_IN_TRAIN = "none of train's images has a box"

_SUMMARY_RATES = ("top1_clas", "top1_loc@0.5", "gt_known_loc@0.5", "gt_known_loc@0.7")


def heading_of(report: dict[str, Any]) -> str:
    """What a run's report is about, in a sentence."""
    config = Config.from_json(report["config"])
    few = config.localizer.boxes_per_class
    unfinished = "" if report["step"] >= report["total_steps"] else f" (unfinished: {report['total_steps']:,} steps)"
    return (
        f"{report['source']}, {len(report['classes'])} classes, {report['images']:,} {_SPLIT_NAMES[report['split']]}; "
        f"{network_name(config.network)}, aug {config.views.aug}, batch {config.optimizer.batch_size}, "
        f"{report['step']:,} steps{unfinished}, seed {config.seed} (one run)"
        + (
            f"; its mask head had boxes of up to {few} images a class"
            if (few := config.localizer.boxes_per_class)
            else ""
        )
    )


def print_summary(
    report: dict[str, Any],
    path: Path | None,
    heading: str = "",
    row_name: str = THIS_RUN,
    why_no_fixed_box: str = NO_BOX_IN_TRAIN,
) -> None:
    """Print one table: the rates at the thresholds of the report, and the baselines. It fits `SUMMARY_WIDTH` columns.

    path: the file that holds the rest; heading: by default the run's; why_no_fixed_box: said where there is none.
    """
    out = console(SUMMARY_WIDTH)
    out.print(f"\n{heading or heading_of(report)}")
    names = _of_cam_class(_SUMMARY_RATES, report["cam_class"])
    names = [name for name in names if report["rates"]["strict"].get(name) is not None]
    if not report["images_with_boxes"]:
        _print_no_boxes(out, names, report, row_name)
    else:
        _print_left_out(report, out)
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
        _print_no_fixed_box(report, why_no_fixed_box, out)
    print_pixels(report, out, row_name)
    print_warnings(report, out)
    rest = f"{path} holds the rest, {path.with_suffix('.csv').name} each image; " if path is not None else ""
    out.print(f"{rest}--all-tables prints every table.")


def _summary_table(
    report: dict[str, Any],
    names: Sequence[str],
    row_name: str,
    taken: Sequence[dict[str, Any]],
    others: Sequence[dict[str, Any]],
) -> Table:
    """The rates `names`: first of the localizer that predictions take, then of `cam`, then of the others, then the
    baselines'.
    """
    table = table_of("", [title_of(name).replace("\n", " ") for name in names])

    def add(row: str, of: dict[str, Any], style: str = "") -> None:
        table.add_row(row, *_cells(names, of["rates"], of["intervals"], beside=True), style=style)

    for each in taken:
        add(f"{localizer_name(each)}, {_cut_text(each['cut'])}", each, "bold")
    at_fixed = f"at {threshold_text(report['cam_threshold'])}"
    for protocol, rates in report["rates"].items():
        of_protocol = {"rates": rates, "intervals": report["intervals"][protocol]}
        add(f"{row_name}, {at_fixed}, {protocol}", of_protocol, "bold" if protocol == "strict" else "")
    for other in report["strict_at"]:
        if other["kind"] != "oracle":
            at = "/".join(dict.fromkeys(threshold_text(other["thresholds"][t]) for t in ("0.5", "0.7")))
            add(f"{other['kind']} at {at}, strict", other)
    for each in others:
        add(f"{localizer_name(each)}, {_cut_text(each['cut'])}", each, "bold")
    table.add_section()
    for baseline in report["baselines"]:
        if baseline["iou_threshold"] in (None, 0.5, 0.7):
            table.add_row(f"{baseline['name']}, strict", *_cells(names, baseline["rates"]["strict"]))
    return table


def _by_preference(report: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The localizers of a report but for `cam`, which its other numbers are of: the one that predictions take, where
    that is another, and the others.
    """
    every = {each["name"]: each for each in report.get("localizers", [])}
    taken = next((name for name in PREFERRED if name in every), "cam")
    beside = [each for name, each in every.items() if name != "cam"]
    return [each for each in beside if each["name"] == taken], [each for each in beside if each["name"] != taken]


def _cut_text(cut: dict[str, Any]) -> str:
    """Where maps were cut, in a few words."""
    if cut["value"] is None:
        return f"{cut['rule']}"
    return f"at {threshold_text(cut['value'])}" + ("" if cut["rule"] == "fixed" else f" ({cut['rule']})")


_COLLAPSED = 0.02
_WHOLE = 0.9


def print_warnings(report: dict[str, Any], out: Console) -> None:
    """Say where the maps of a mask look as no object does, which needs no box to be seen."""
    for each in report.get("localizers", []):
        if each["scale"] != "own":
            continue
        mean = each["maps"].get("mean_value")  # not the area at the cut, which follows where masks go
        if mean is not None and mean < _COLLAPSED:
            out.print(f"warning: {each['name']}: masks have collapsed (their mean is {mean:.3f})")
        elif mean is not None and mean > _WHOLE:
            out.print(f"warning: {each['name']}: masks are nearly the whole image (their mean is {mean:.3f})")


def _print_localizers(report: dict[str, Any], out: Console) -> None:
    """Each localizer at the run's cut, at the oracle, and how much the two differ."""
    names = _columns(report)
    table = table_of("localizers, strict, each at its own cut and at the oracle's", [title_of(name) for name in names])
    for each in report.get("localizers", []):
        kind = "class-specific" if each["class_specific"] else "one for all classes"
        first = f"{localizer_name(each)} ({each['scale']}, {kind}), {_cut_text(each['cut'])}"
        table.add_row(first, *_cells(names, each["rates"], each["intervals"]), style="bold")
        oracle = each["oracle"]
        at = "/".join(threshold_text(oracle["thresholds"][str(t)]) for t in IOU_THRESHOLDS)
        table.add_row(f"oracle (at {at})", *_cells(names, oracle["rates"]))
        gaps = {
            name: None if rate is None or each["rates"].get(name) is None else rate - each["rates"][name]
            for name, rate in oracle["rates"].items()
        }
        table.add_row("gap", *_cells(names, gaps), end_section=True)
    out.print(table)
    _print_looks(report, out)


def _print_looks(report: dict[str, Any], out: Console) -> None:
    """What can be told of maps without a box."""
    localizers = report.get("localizers", [])
    asked = any("class_probability" in each for each in localizers)  # of a mask, what the network says of both sides
    columns = ["mean area", "three edges", "empty", *(["class\ninside", "class\noutside"] if asked else [])]
    table = table_of("maps at the cut, of all images, without a box", columns)
    for each in localizers:
        look, classes = each["maps"], each.get("class_probability", {})
        shares = [look["mean_area"], look["three_edges"], look["empty"]]
        shares += [classes.get("inside"), classes.get("outside")] if asked else []
        table.add_row(localizer_name(each), *(percent_text(None if share is None else 100 * share) for share in shares))
    out.print(table)
    if asked:
        out.print(
            "Inside and outside: the mean probability of the true class under the mask, and under what it leaves."
        )


_INTERVALS = "± half of a 95 % interval, by resampling these images (not the training)."


def _print_no_boxes(out: Console, names: Sequence[str], report: dict[str, Any], row_name: str) -> None:
    if names:
        table = table_of("", [title_of(name).replace("\n", " ") for name in names])
        rates, intervals = report["rates"]["strict"], report["intervals"]["strict"]
        table.add_row(row_name, *_cells(names, rates, intervals, beside=True), style="bold")
        out.print(table)
        out.print(_INTERVALS)
    out.print("None of these images has a ground-truth box: how well objects are localized cannot be measured.")


def print_report(report: dict[str, Any], per_class: bool = False) -> None:
    """Print every table of a run's report: one a protocol, the network's rows above the baselines'."""
    maps = f"map of the {_CAM_CLASSES[report['cam_class']]} class"
    print_numbers(report, heading_of(report), "this run", maps, per_class, NO_BOX_IN_TRAIN)
    out = console()
    if report["images_with_boxes"]:
        out.print(
            "Baselines answer one box for every image, found on the boxes of train, and take this run's classification."
        )
    seconds = ", ".join(f"{name} {spent:.2f} s" for name, spent in report["seconds"].items())
    out.print(f"{seconds[0].upper()}{seconds[1:]}.")


def print_numbers(
    report: dict[str, Any], heading: str, row_name: str, maps: str, per_class: bool, why_no_fixed_box: str
) -> None:
    """Print the part of a report that `measure` made."""
    out = console()
    out.print(f"\n{heading}")
    if not report["images_with_boxes"]:
        _print_classification(report, row_name, per_class, out)
        print_pixels(report, out, row_name, whole=True)
        if report.get("localizers"):
            _print_looks(report, out)
            print_warnings(report, out)
        return
    _print_left_out(report, out)
    names = _columns(report)
    for protocol, rates in report["rates"].items():
        title = f"{protocol}: {_PROTOCOL_NOTES[protocol]}; {maps} kept at {report['cam_threshold']:g} of the maximum"
        table = table_of(title, [title_of(name) for name in names])
        intervals = report["intervals"][protocol]
        others = report["strict_at"] if protocol == "strict" else []
        at_fixed = f"{row_name} (at {threshold_text(report['cam_threshold'])})"
        table.add_row(at_fixed, *_cells(names, rates, intervals), style="bold", end_section=not others)
        for number, other in enumerate(others, 1):
            at = "/".join(threshold_text(other["thresholds"][str(each)]) for each in IOU_THRESHOLDS)
            cells = _cells(names, other["rates"], other["intervals"])
            table.add_row(f"{other['name']} (at {at})", *cells, end_section=number == len(others))
        for baseline in report["baselines"]:
            box = ",".join(str(edge) for edge in baseline["box"])
            table.add_row(f"{baseline['name']} ({box})", *_cells(names, baseline["rates"][protocol]))
        out.print(table)
    if report.get("localizers"):
        _print_localizers(report, out)
        print_warnings(report, out)
    _print_oracles(report, row_name, out)
    _print_sizes(report, row_name, out)
    print_pixels(report, out, row_name, whole=True)
    if per_class and report["classes"]:
        _print_classes(report, out)
    out.print(
        "± half of the rate's 95 % interval, by 1,000 resamples of these images (not of the training), oracles' held."
    )
    _print_no_fixed_box(report, why_no_fixed_box, out)


def _print_left_out(report: dict[str, Any], out: Console) -> None:
    if without := report["images"] - report["images_with_boxes"]:
        out.print(f"{without:,} images have no ground-truth box and do not count for localization")
    if cut := report["images_cut"]:
        out.print(f"{cut:,} images have a box that reaches out of the middle square that is shown (--fit crop)")


def _print_no_fixed_box(report: dict[str, Any], why: str, out: Console) -> None:
    if all(baseline["kind"] != "best-box" for baseline in report["baselines"]):
        out.print(f"No best fixed box can stand here: {why}.")


def _print_classification(report: dict[str, Any], row_name: str, per_class: bool, out: Console) -> None:
    """What can be told of images without ground-truth boxes."""
    names = [name for name in _columns(report) if name.endswith("clas")]
    if names:
        table = table_of("classification", [title_of(name) for name in names])
        table.add_row(row_name, *_cells(names, report["rates"]["strict"], report["intervals"]["strict"]), style="bold")
        out.print(table)
        if per_class and report["classes"]:
            _print_classes(report, out)
        out.print("± half of the rate's 95 % interval, by 1,000 resamples of these images (not of the training).")
    out.print(
        "None of these images has a ground-truth box: how well objects are localized cannot be measured. The boxes "
        "themselves: python -m fastwsol.predict"
    )


def _columns(report: dict[str, Any]) -> list[str]:
    """The rates that are shown, in order: those that could be measured."""
    loc = LOC_NAMES[report["cam_class"]]
    names = ["top1_clas", "top5_clas", *(f"top1_loc@{t}" for t in IOU_THRESHOLDS), "top5_loc@0.5"]
    names += [f"{loc}@{t}" for t in IOU_THRESHOLDS]
    if len(report["classes"]) <= _MANY_CLASSES:
        names = [name for name in names if not name.startswith("top5")]
    strict = report["rates"]["strict"]
    return [name for name in names if name in strict]


def _of_cam_class(names: Sequence[str], cam_class: CamClass) -> list[str]:
    """The same rates, of the class whose maps were boxed."""
    return [name.replace("gt_known_loc", LOC_NAMES[cam_class]) for name in names]


def _cells(
    names: Sequence[str],
    rates: Mapping[str, float | None],
    intervals: Mapping[str, Any] | None = None,
    beside: bool = False,
) -> list[Text]:
    """Rates, with half of the interval of each below it, or `beside` it, where there is one."""
    return [rate_cell(rates.get(name), (intervals or {}).get(name), " " if beside else "\n") for name in names]


def _print_oracles(report: dict[str, Any], row_name: str, out: Console) -> None:
    """MaxBoxAcc beside what boxes reach that look at no image."""
    for protocol, of_protocol in report["max_box_acc"].items():
        title = f"{protocol}: the threshold that is best on these very images (an oracle), for each IoU threshold"
        title += f"; maps of {report['wsoleval_side']} pixels" if protocol == "wsoleval" else ""
        table = table_of(title, list(_ORACLE_TITLES.values()))
        cells = _cells(list(_ORACLE_TITLES), of_protocol["rates"], of_protocol["intervals"])
        table.add_row(row_name, *cells, style="bold", end_section=True)
        loc = LOC_NAMES[report["cam_class"]]
        for baseline in report["baselines"]:
            if baseline["kind"] == "whole-image":
                at = [baseline["rates"][protocol][f"{loc}@{t}"] for t in IOU_THRESHOLDS]
                table.add_row(baseline["name"], *_oracle_cells(at))
        best = {each["iou_threshold"]: each["rates"][protocol] for each in report["baselines"]}
        own = [best.get(t, {}).get(f"{loc}@{t}") for t in IOU_THRESHOLDS]
        if None not in own:
            table.add_row("best boxes of train, one for each IoU threshold", *_oracle_cells(own))
        out.print(table)


def _oracle_cells(at_thresholds: Sequence[float | None]) -> list[Text]:
    known = [each for each in at_thresholds if each is not None]
    mean = sum(known) / len(known) if len(known) == len(at_thresholds) else None
    return [rate_cell(each, None) for each in (at_thresholds[IOU_THRESHOLDS.index(0.5)], mean, mean)]


def _print_sizes(report: dict[str, Any], row_name: str, out: Console) -> None:
    loc = f"{LOC_NAMES[report['cam_class']]}@0.5"
    baselines = beside_gt_known(report)
    classified = "top1_clas" in report["rates"]["strict"]
    columns = ["images", *(["Top-1\nClas"] if classified else []), f"{row_name}\n{title_of(loc)}"]
    columns += [each["name"] for each in baselines]
    table = table_of("strict, by the share of the image that its largest box covers", columns, "share")
    for row in report["sizes"]:
        if not row["images"]:
            continue
        counts = [*([row["counts"]["top1_clas"]] if classified else []), row["counts"][loc]]
        counts += [row["baselines"][each["key"]]["gt_known_loc@0.5"] for each in baselines]
        cells = [percent_text(percent(*count)) for count in counts]
        table.add_row(share_text(row["share"]), f"{row['images']:,}", *cells)
    out.print(table)


def _print_classes(report: dict[str, Any], out: Console) -> None:
    names = [name for name in _columns(report) if report["rates"]["strict"][name] is not None]
    table = table_of("strict, by class", ["images", *(title_of(name) for name in names)], "class")
    for row in report["classes"]:
        if not row["images"]:
            continue
        rates = [percent_text(percent(*row["counts"][name])) for name in names]
        table.add_row(row["class"], f"{row['images']:,}", *rates)
    out.print(table)


def beside_gt_known(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The baselines that stand beside GT-known Loc at IoU 0.5: the whole image, and the box that is best there."""
    return [each for each in report["baselines"] if each["iou_threshold"] in (None, 0.5)]


def summary_line(rates: dict[str, dict[str, float | None]]) -> str:
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
