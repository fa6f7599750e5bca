"""All tables of a report on the console, each with the baselines. `summary_table` has the one that is the default."""

from rich.console import Console

from fastwsol.evaluation.metrics import IOU_THRESHOLDS, LOC_NAMES, percent
from fastwsol.evaluation.pixel_tables import print_pixels
from fastwsol.evaluation.reading import fixed_box_oracles, has_papers_threshold, preferred_row
from fastwsol.evaluation.report_types import Baseline, Report, RunReport
from fastwsol.evaluation.report_words import (
    NO_BOX_IN_TRAIN,
    NO_TRUTH,
    heading_of,
    print_left_out,
    print_no_fixed_box,
    print_warnings,
)
from fastwsol.evaluation.summary_table import print_above_best_box
from fastwsol.evaluation.table_cells import (
    ORACLE_TITLES,
    V2_PARTS,
    at_text,
    console,
    cut_text,
    localizer_name,
    percent_text,
    rate_cells,
    share_text,
    table_of,
    title_of,
    to_type,
)
from fastwsol.host.words import number_of

_PROTOCOL_NOTES = {
    "strict": "largest component by pixels, IoU >= threshold",
    "paper2018": "the rule of Choe et al. 2018's code, IoU > threshold",
    "wsoleval": "the rule of Choe et al. 2020's evaluator: OpenCV contours, inclusive boxes",
}


_CAM_CLASSES = {"truth": "true", "predicted": "predicted"}
_MANY_CLASSES = 5  # with no more, to be among the first five says nothing


def print_report(report: RunReport, per_class: bool = False) -> None:
    """Print every table of a run's report: of each protocol, of its localizers, and of groups of images."""
    maps = f"map of the {_CAM_CLASSES[report['cam_class']]} class"
    print_numbers(report, heading_of(report), maps, per_class, NO_BOX_IN_TRAIN)
    out = console()
    if report["images_with_boxes"]:
        out.print(
            "Baselines give every image one box, found on the boxes of train, and take their classes from this run."
        )
    seconds = ", ".join(f"{name} {spent:.2f} s" for name, spent in report["seconds"].items())
    out.print(f"{seconds[0].upper()}{seconds[1:]}.")


def print_numbers(report: Report, heading: str, maps: str, per_class: bool, why_no_fixed_box: str) -> None:
    """Print the part of a report that `measure` made. maps: what is cut, as titles call it."""
    out = console()
    out.print(f"\n{heading}")
    if not report["images_with_boxes"]:
        _print_classification(report, per_class, out)
        print_pixels(report, out, whole=True)
        _print_map_statistics(report, out)
        print_warnings(report, out)
        return
    print_left_out(report, out)
    names = _columns(report)
    for protocol, rates in report["rates"].items():
        at_papers = has_papers_threshold(report)
        of_maps = f"; {maps} kept at {report['cam_threshold']:g} of the maximum" if at_papers else ", fixed boxes"
        table = table_of(f"{protocol}: {_PROTOCOL_NOTES[protocol]}{of_maps}", [title_of(name) for name in names])
        if at_papers:
            cells = rate_cells(names, rates, report["intervals"][protocol])
            at_fixed = f"{localizer_name(report['localizers'][0])}, {at_text([report['cam_threshold']])}"
            table.add_row(at_fixed, *cells, style="bold", end_section=True)
        for baseline in report["baselines"]:
            box = ",".join(str(edge) for edge in baseline["box"])
            table.add_row(f"{baseline['name']} ({box})", *rate_cells(names, baseline["rates"][protocol]))
        out.print(table)
    _print_localizers(report, out)
    print_warnings(report, out)
    _print_oracles(report, out)
    _print_sizes(report, out)
    print_pixels(report, out, whole=True)
    if per_class:
        _print_classes(report, out)
    out.print(
        "± half of the rate's 95 % interval, by 1,000 resamples of these images (not of the training), oracles' held."
    )
    print_above_best_box(report, out)
    print_no_fixed_box(report, why_no_fixed_box, out)


def _print_localizers(report: Report, out: Console) -> None:
    """Each localizer at its cut, at the oracle, and how much the two differ."""
    names = _columns(report)
    title = "strict: each at its cut, and at the thresholds that are best on these very images (an oracle)"
    table = table_of(title, [title_of(name) for name in names])
    for each in report["localizers"]:
        kind = "class-specific" if each["class_specific"] else "one for all classes"
        first = f"{localizer_name(each)} ({each['scale']}, {kind}), {cut_text(each)}"
        table.add_row(first, *rate_cells(names, each["rates"], each["intervals"]), style="bold")
        oracle = each["oracle"]
        at = "/".join(to_type(oracle["thresholds"][str(t)]) for t in IOU_THRESHOLDS)
        table.add_row(f"oracle (at {at})", *rate_cells(names, oracle["rates"], oracle["intervals"]))
        own = each["rates"]
        gaps = {
            name: None if rate is None or (at_cut := own.get(name)) is None else rate - at_cut
            for name, rate in oracle["rates"].items()
        }
        table.add_row("gap", *rate_cells(names, gaps), end_section=True)
    out.print(table)
    _print_map_statistics(report, out)


def _print_map_statistics(report: Report, out: Console) -> None:
    """What can be told of maps without a box."""
    localizers = report["localizers"]
    asked = any("class_probability" in each for each in localizers)  # of a mask, what the network says of both sides
    columns = ["mean area", "three edges", "empty", *(["class\ninside", "class\noutside"] if asked else [])]
    table = table_of("maps at the cut, of all images, without a box", columns)
    for each in localizers:
        look, classes = each["maps"], each.get("class_probability")
        shares = [look["mean_area"], look["three_edges"], look["empty"]]
        shares += [classes["inside"], classes["outside"]] if classes is not None else []
        cells = [percent_text(100 * share) for share in shares]
        table.add_row(localizer_name(each), *cells, *(["–"] * (len(columns) - len(cells))))
    out.print(table)
    if asked:
        images = max(each["class_probability"]["images"] for each in localizers if "class_probability" in each)
        out.print(
            f"Inside and outside: the mean probability of the true class under the mask, and under what it leaves, of "
            f"{number_of(images, 'image')} spread over the split."
        )


def _print_classification(report: Report, per_class: bool, out: Console) -> None:
    """What can be told of images without ground-truth boxes."""
    names = [name for name in _columns(report) if name.endswith("clas")]
    if names:
        table = table_of("", [title_of(name) for name in names])
        cells = rate_cells(names, report["rates"]["strict"], report["intervals"]["strict"])
        table.add_row("classification", *cells, style="bold")
        out.print(table)
        if per_class:
            _print_classes(report, out)
        out.print("± half of the rate's 95 % interval, by 1,000 resamples of these images (not of the training).")
    out.print(f"{NO_TRUTH} The boxes themselves: python -m fastwsol.predict")


def _columns(report: Report) -> list[str]:
    """The rates that are shown, in order: those that could be measured."""
    loc = LOC_NAMES[report["cam_class"]]
    names = ["top1_clas", "top5_clas", *(f"top1_loc@{t}" for t in IOU_THRESHOLDS), "top5_loc@0.5"]
    names += [f"{loc}@{t}" for t in IOU_THRESHOLDS]
    if report["classes"] <= _MANY_CLASSES:
        names = [name for name in names if not name.startswith("top5")]
    strict = report["rates"]["strict"]
    return [name for name in names if name in strict]


def _print_oracles(report: Report, out: Console) -> None:
    """MaxBoxAcc of each localizer beside what boxes reach that look at no image."""
    for protocol in report["localizers"][0]["max_box_acc"]:
        title = f"{protocol}: the threshold that is best on these very images (an oracle), for each IoU threshold"
        title += f"; maps of {report['wsoleval_side']} pixels" if protocol == "wsoleval" else ""
        titles = {**ORACLE_TITLES, **V2_PARTS}
        table = table_of(title, [*titles.values()])
        for each in report["localizers"]:
            best_possible = each["max_box_acc"][protocol]
            cells = rate_cells([*titles], best_possible["rates"], best_possible["intervals"])
            table.add_row(localizer_name(each), *cells, style="bold")
        table.add_section()
        for name, rates in fixed_box_oracles(report, protocol):
            table.add_row(name, *rate_cells([*titles], rates))
        out.print(table)


def _print_sizes(report: Report, out: Console) -> None:
    """GT-known Loc of each localizer in groups of images."""
    localizers, baselines = report["localizers"], beside_gt_known(report)
    loc = f"{LOC_NAMES[report['cam_class']]}@0.5"
    classified = ["top1_clas"] if "top1_clas" in report["rates"]["strict"] else []
    columns = ["images", *map(title_of, classified), *map(localizer_name, localizers)]
    columns += [each["name"].replace("box ", "box\n") for each in baselines]
    measured = title_of(loc).replace("\n", " ")
    title = f"strict, {measured} at the cuts, by the share of the image that its largest box covers"
    table = table_of(title, columns, "share", least=0)
    for group, row in enumerate(localizers[0]["sizes"]):
        if not row["images"]:
            continue
        counts = [row["counts"][name] for name in classified]
        counts += [each["sizes"][group]["counts"][loc] for each in localizers]
        counts += [each["sizes"][group]["counts"]["gt_known_loc@0.5"] for each in baselines]
        cells = [percent_text(percent(*count)) for count in counts]
        table.add_row(share_text(row["share"]), f"{row['images']:,}", *cells)
    out.print(table)


def _print_classes(report: Report, out: Console) -> None:
    """The rates of each class, by the localizer that predictions take; nothing where no label is known."""
    taken = preferred_row(report)
    shown = [name for name in _columns(report) if not name.startswith("top5")]  # or the table would be too wide
    names = [name for name in shown if taken["rates"][name] is not None]
    title = f"strict, {localizer_name(taken)}, {cut_text(taken)}, by class"
    table = table_of(title, ["images", *(title_of(name) for name in names)], "class")
    for row in taken["classes"]:
        if not row["images"]:
            continue
        rates = [percent_text(percent(*row["counts"][name])) for name in names]
        table.add_row(row["class"], f"{row['images']:,}", *rates)
    if table.row_count:
        out.print(table)


def beside_gt_known(report: Report) -> list[Baseline]:
    """The baselines that stand beside GT-known Loc at IoU 0.5: the whole image, and the box that is best there."""
    return [each for each in report["baselines"] if each["iou_threshold"] in (None, 0.5)]
