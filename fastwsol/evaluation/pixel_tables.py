"""What maps are worth pixel by pixel, as tables on the console."""

from collections.abc import Mapping, Sequence

from rich.console import Console

from fastwsol.evaluation.report_types import ClassIou, Report, SizeIou
from fastwsol.evaluation.table_cells import (
    localizer_name,
    percent_text,
    rate_cell,
    share_text,
    table_of,
    threshold_text,
)
from fastwsol.host.words import number_of


def print_pixels(report: Report, out: Console, whole: bool = False) -> None:
    """Print what maps are worth pixel by pixel, where there are masks. whole: also by size and class."""
    if why := report.get("no_pixels"):
        out.print(f"The images have masks, but pixels are not measured: {why}.")
    masks = report.get("masks")
    if masks is None:
        return
    of_localizers = {localizer_name(each): each["pixels"] for each in report["localizers"]}
    pixels = next(iter(of_localizers.values()))
    columns = ["PxAP", "mean IoU", "best IoU", "at", *(["PxAP, wsoleval"] if "pxap_wsoleval" in pixels else [])]
    table = table_of(f"pixels of {pixels['images']:,} masks", columns)
    for name, each in of_localizers.items():
        iou, of_each = each["iou"], each["intervals"]
        at = "otsu" if iou["threshold"] is None else f"at {threshold_text(iou['threshold'])}"
        cells = [rate_cell(each["pxap"], of_each["pxap"], " "), rate_cell(iou["mean"], of_each["iou"], " ")]
        best = [percent_text(iou["best"]), threshold_text(iou["best_threshold"])]
        if "pxap_wsoleval" in each:
            best.append(percent_text(each["pxap_wsoleval"]))
        table.add_row(f"{name}, {at}", *cells, *best)
    table.add_section()
    for fixed in masks["baselines"]:
        table.add_row(fixed["name"], percent_text(fixed["pxap"]), percent_text(fixed["iou"]))
    out.print(table)
    without = report["images"] - pixels["images"]
    rest = [f"{number_of(without, 'image has', 'images have')} no mask"] if without else []
    if empty := pixels["images"] - pixels["images_with_object"]:
        rest.append(f"{number_of(empty, 'mask has', 'masks have')} no object, so no IoU")
    left_out = f" Left out: {', '.join(rest)}." if rest else ""
    out.print(f"PxAP is of maps scaled each by its own extremes.{left_out}")
    if whole:
        shares = [share_text(row["share"]) for row in pixels["sizes"]]
        sizes = {name: each["sizes"] for name, each in of_localizers.items()}
        _print_groups("the share of the image that the object covers", "share", shares, sizes, out)
        classes = {name: each["classes"] for name, each in of_localizers.items()}
        _print_groups("class", "class", [row["class"] for row in pixels["classes"]], classes, out)


def _print_groups(
    by: str,
    heading: str,
    names: Sequence[str],
    of_localizers: Mapping[str, Sequence[SizeIou] | Sequence[ClassIou]],
    out: Console,
) -> None:
    """Mean IoU of each localizer in groups of images, which have these `names`; groups without an image are left
    out.
    """
    table = table_of(f"mean IoU of masks, by {by}", ["images", *of_localizers], heading)
    for name, *rows in zip(names, *of_localizers.values(), strict=True):
        if images := rows[0]["images"]:
            table.add_row(name, f"{images:,}", *(percent_text(row["iou"]) for row in rows))
    if table.row_count:
        out.print(table)
