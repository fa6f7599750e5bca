"""What maps are worth pixel by pixel, as tables on the console."""

from typing import Any

from rich.console import Console

from fastwsol.evaluation.table_cells import (
    localizer_name,
    percent_text,
    rate_cell,
    share_text,
    table_of,
    threshold_text,
)


def print_pixels(report: dict[str, Any], out: Console, row_name: str, whole: bool = False) -> None:
    """Print what maps are worth pixel by pixel, where there are masks. whole: also by size and class."""
    if why := report.get("no_pixels"):
        out.print(f"The images have masks, but pixels are not measured: {why}.")
    pixels = report.get("pixels")
    if pixels is None:
        return
    of_localizers = {localizer_name(each): each["pixels"] for each in report.get("localizers", [])}
    of_localizers = of_localizers or {row_name: pixels}
    table = table_of(f"pixels of {pixels['images']:,} masks", ["PxAP", "mean IoU", "best IoU", "at"])
    for name, each in of_localizers.items():
        iou, of_each = each["iou"], each["intervals"]
        at = "otsu" if iou["threshold"] is None else f"at {threshold_text(iou['threshold'])}"
        cells = [rate_cell(each["pxap"], of_each["pxap"], " "), rate_cell(iou["mean"], of_each["iou"], " ")]
        table.add_row(f"{name}, {at}", *cells, percent_text(iou["best"]), threshold_text(iou["best_threshold"]))
    table.add_section()
    for fixed in pixels["baselines"]:
        table.add_row(fixed["name"], percent_text(fixed["pxap"]), percent_text(fixed["iou"]))
    out.print(table)
    without = report["images"] - pixels["images"]
    rest = [f"{without:,} images have no mask"] if without else []
    if empty := pixels["images"] - pixels["images_with_object"]:
        rest.append(f"{empty:,} masks have no object, so no IoU")
    left_out = f" Left out: {', '.join(rest)}." if rest else ""
    out.print(f"PxAP is of maps scaled each by its own extremes.{left_out}")
    if whole:
        for kind, key in (("sizes", "share"), ("classes", "class")):
            _print_pixel_groups(of_localizers, kind, key, out)


def _print_pixel_groups(of_localizers: dict[str, Any], kind: str, key: str, out: Console) -> None:
    """Mean IoU of each localizer by size or by class."""
    title = f"mean IoU of masks, by {'the share of the image that the object covers' if key == 'share' else 'class'}"
    table = table_of(title, ["images", *of_localizers], key)
    for k, row in enumerate(next(iter(of_localizers.values()))[kind]):
        if row["images"]:
            ious = [percent_text(each[kind][k]["iou"]) for each in of_localizers.values()]
            table.add_row(share_text(row[key]) if key == "share" else row[key], f"{row['images']:,}", *ious)
    if table.row_count:
        out.print(table)
