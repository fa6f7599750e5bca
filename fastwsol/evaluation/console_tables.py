"""Reports as tables on the console. Every table carries the baselines and says what it was made of."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fastwsol.evaluation.metrics import IOU_THRESHOLDS, LOC_NAMES, percent

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
_LOC_TITLES = {"gt_known_loc": "GT-known", "predicted_loc": "Predicted"}
_ORACLE_TITLES = {
    "max_box_acc": "MaxBoxAcc\nIoU 0.5, one box",
    "max_box_acc_v2": "MaxBoxAccV2\nbest of all boxes",
    "max_box_acc_v2_single": "the same with\none box",
}
_FIRST_COLUMN = 24  # characters: a baseline's name stays readable
_MANY_CLASSES = 5  # with no more, to be among the first five says nothing


def print_report(report: dict[str, Any], per_class: bool = False) -> None:
    """Print what `validation.evaluate_model` gave: one table a protocol, the network's rows above the baselines'."""
    config = report["config"]
    done = "" if report["step"] >= report["total_steps"] else f" (unfinished: {report['total_steps']:,} steps)"
    heading = (
        f"{report['source']}, {len(report['classes'])} classes, {report['images']:,} {_SPLIT_NAMES[report['split']]}; "
        f"ResNet-{config['depth']}, stem {config['stem']}, aug {config['aug']}, batch {config['batch_size']}, "
        f"{report['step']:,} steps{done}, seed {config['seed']} (one run)"
    )
    maps = f"map of the {_CAM_CLASSES[report['cam_class']]} class"
    print_numbers(report, heading, "this run", maps, per_class, "none of train's images has a box")
    out = console()
    if report["images_with_boxes"]:
        out.print(
            "Baselines answer one box for every image, found on the boxes of train, and take this run's classification."
        )
    out.print("Forward pass {forward:.1f} s, boxes {boxes:.2f} s, numbers {numbers:.2f} s.".format(**report["seconds"]))


def print_numbers(
    report: dict[str, Any], heading: str, row_name: str, maps: str, per_class: bool, why_no_fixed_box: str
) -> None:
    """Print the part of a report that `analysis.measure` made."""
    out = console()
    out.print(f"\n{heading}")
    without = report["images"] - report["images_with_boxes"]
    if not report["images_with_boxes"]:
        _print_classification(report, row_name, per_class, out)
        return
    if without:
        out.print(f"{without:,} images have no ground-truth box and do not count for localization")
    names = _columns(report)
    for protocol, rates in report["rates"].items():
        title = f"{protocol}: {_PROTOCOL_NOTES[protocol]}; {maps} kept at {report['cam_threshold']:g} of the maximum"
        table = table_of(title, [title_of(name) for name in names])
        intervals = report["intervals"][protocol]
        others = report["strict_at"] if protocol == "strict" else []
        at_fixed = f"{row_name} (at {_tau(report['cam_threshold'])})"
        table.add_row(at_fixed, *_cells(names, rates, intervals), style="bold", end_section=not others)
        for number, other in enumerate(others, 1):
            at = "/".join(_tau(other["thresholds"][str(each)]) for each in IOU_THRESHOLDS)
            cells = _cells(names, other["rates"], other["intervals"])
            table.add_row(f"{other['name']} (at {at})", *cells, end_section=number == len(others))
        for baseline in report["baselines"]:
            box = ",".join(str(edge) for edge in baseline["box"])
            table.add_row(f"{baseline['name']} ({box})", *_cells(names, baseline["rates"][protocol]))
        out.print(table)
    _print_oracles(report, row_name, out)
    _print_sizes(report, row_name, out)
    if per_class and report["classes"]:
        _print_classes(report, out)
    out.print(
        "± half of the rate's 95 % interval, by 1,000 resamples of these images (not of the training), oracles' held."
    )
    if not any("IoU" in baseline["name"] for baseline in report["baselines"]):
        out.print(f"No best fixed box can stand here: {why_no_fixed_box}.")


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


def console() -> Console:
    """Where tables go: as wide as the terminal, or 120 characters."""
    return Console(highlight=False, markup=False, width=None if Console().is_terminal else 120)


def _columns(report: dict[str, Any]) -> list[str]:
    """The rates that are shown, in order: those that could be measured."""
    loc = LOC_NAMES[report["cam_class"]]
    wanted = ["top1_clas", "top5_clas", *(f"top1_loc@{t}" for t in IOU_THRESHOLDS), "top5_loc@0.5"]
    wanted += [f"{loc}@{t}" for t in IOU_THRESHOLDS]
    if len(report["classes"]) <= _MANY_CLASSES:
        wanted = [name for name in wanted if not name.startswith("top5")]
    known = report["rates"]["strict"]
    return [name for name in wanted if name in known]


def title_of(name: str) -> str:
    """The heading of a rate's column."""
    rate, _, iou_threshold = name.partition("@")
    title = _LOC_TITLES.get(rate) or f"Top-{rate[3]}"
    return f"{title}\nLoc {_tau(float(iou_threshold))}" if iou_threshold else f"{title}\nClas"


def table_of(title: str, columns: Sequence[str], first: str = "%") -> Table:
    """An empty table with its numbers to the right."""
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column(first, min_width=_FIRST_COLUMN, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _cells(
    names: Sequence[str], rates: Mapping[str, float | None], intervals: Mapping[str, Any] | None = None
) -> list[Text]:
    """Rates, with the interval of each below it where there is one."""
    return [_cell(rates.get(name), (intervals or {}).get(name)) for name in names]


def _cell(rate: float | None, interval: Sequence[float] | None) -> Text:
    cell = Text(percent_text(rate))
    if interval is not None:
        cell.append(f"\n±{(interval[1] - interval[0]) / 2:.1f}", style="dim not bold")
    return cell


def _tau(threshold: float) -> str:
    text = f"{threshold:.2g}"
    return text.removeprefix("0") if text.startswith("0.") else text


def _print_oracles(report: dict[str, Any], row_name: str, out: Console) -> None:
    """MaxBoxAcc beside what boxes reach that look at no image."""
    for protocol, found in report["max_box_acc"].items():
        title = f"{protocol}: the threshold that is best on these very images (an oracle), for each IoU threshold"
        title += f"; maps of {report['wsoleval_side']} pixels" if protocol == "wsoleval" else ""
        table = table_of(title, list(_ORACLE_TITLES.values()))
        cells = _cells(list(_ORACLE_TITLES), found["rates"], found["intervals"])
        table.add_row(row_name, *cells, style="bold", end_section=True)
        loc = LOC_NAMES[report["cam_class"]]
        for baseline in report["baselines"][:1]:
            at = [baseline["rates"][protocol][f"{loc}@{t}"] for t in IOU_THRESHOLDS]
            table.add_row(baseline["name"], *_oracle_cells(at))
        own = [
            next((b["rates"][protocol][f"{loc}@{t}"] for b in report["baselines"] if b["name"].endswith(str(t))), None)
            for t in IOU_THRESHOLDS
        ]
        if None not in own:
            table.add_row("best boxes of train, one for each IoU threshold", *_oracle_cells(own))
        out.print(table)


def _oracle_cells(at_thresholds: Sequence[float | None]) -> list[Text]:
    known = [each for each in at_thresholds if each is not None]
    mean = sum(known) / len(known) if len(known) == len(at_thresholds) else None
    return [_cell(each, None) for each in (at_thresholds[IOU_THRESHOLDS.index(0.5)], mean, mean)]


def _print_sizes(report: dict[str, Any], row_name: str, out: Console) -> None:
    loc = f"{LOC_NAMES[report['cam_class']]}@0.5"
    beside = [each["name"] for each in report["baselines"] if each["name"].endswith(("frame", "0.5"))]
    classified = "top1_clas" in report["rates"]["strict"]
    columns = ["images", *(["Top-1\nClas"] if classified else []), f"{row_name}\n{title_of(loc)}"]
    table = table_of("strict, by the share of the image that its largest box covers", [*columns, *beside], "share")
    for row in report["sizes"]:
        if not row["images"]:
            continue
        counts = [*([row["counts"]["top1_clas"]] if classified else []), row["counts"][loc]]
        counts += [row["baselines"][name]["gt_known_loc@0.5"] for name in beside]
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


def share_text(share: Sequence[float]) -> str:
    """A range of shares, ends in 0..1, in percent."""
    low, high = share
    return f"{100 * low:.0f} to {100 * high:.0f} %"


def percent_text(rate: float | None) -> str:
    """Two digits, or a dash where nothing could be measured (no image has a box)."""
    return "–" if rate is None else f"{rate:.2f}"


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
