"""Reports as tables on the console. Every table carries the baselines and says what it was made of."""

from typing import Any

from rich.console import Console
from rich.table import Table

from fastwsol.metrics import IOU_THRESHOLDS, LOC_NAMES

_PROTOCOL_NOTES = {
    "strict": "largest component by pixels, IoU >= threshold",
    "paper2018": "the rule of Choe et al. 2018's code, IoU > threshold",
}


_SPLIT_NAMES = {
    "val": "val images",
    "holdout": "images held out of train",
    "train": "training images, which the network has seen",
}
_CAM_CLASSES = {"truth": "true", "predicted": "predicted"}
_LOC_TITLES = {"gt_known_loc": "GT-known", "predicted_loc": "Predicted Loc"}


def print_report(report: dict[str, Any]) -> None:
    """Print what `validation.evaluate_model` gave: one table a protocol, the network's row above the baselines'."""
    console = Console(highlight=False, width=None if Console().is_terminal else 120)
    config = report["config"]
    done = "" if report["step"] >= report["total_steps"] else f" (unfinished: {report['total_steps']:,} steps)"
    console.print(
        f"\n{report['source']}, {report['classes']} classes, {report['images']:,} {_SPLIT_NAMES[report['split']]}; "
        f"ResNet-{config['depth']}, stem {config['stem']}, aug {config['aug']}, batch {config['batch_size']}, "
        f"{report['step']:,} steps{done}, seed {config['seed']} (one run)"
    )
    for protocol, rates in report["rates"].items():
        table = Table(
            title=f"{protocol}: {_PROTOCOL_NOTES[protocol]}; map of the {_CAM_CLASSES[report['cam_class']]} class kept "
            f"at {report['cam_threshold']:g} of its maximum",
            title_justify="left",
            title_style="bold",
        )
        table.add_column("%")
        table.add_column("Top-1\nClas", justify="right")
        loc_name = LOC_NAMES[report["cam_class"]]
        for name in ("Top-1 Loc", _LOC_TITLES[loc_name]):
            for threshold in IOU_THRESHOLDS:
                table.add_column(f"{name}\nIoU {threshold}", justify="right")
        table.add_row("this run", *_cells(rates, loc_name), style="bold", end_section=True)
        for baseline in report["baselines"]:
            box = ",".join(str(edge) for edge in baseline["box"])
            table.add_row(f"{baseline['name']} ({box})", *_cells(baseline["rates"][protocol], loc_name))
        console.print(table)
    console.print(
        "Baselines answer one box for every image, found on the boxes of train, and take this run's classification.\n"
        f"Forward pass {report['seconds']['forward']:.1f} s, boxes and counts {report['seconds']['boxes']:.2f} s."
    )


def _cells(rates: dict[str, float | None], loc_name: str) -> list[str]:
    names = ["top1_clas", *(f"{name}@{t}" for name in ("top1_loc", loc_name) for t in IOU_THRESHOLDS)]
    return [_percent(rates[name]) for name in names]


def _percent(rate: float | None) -> str:
    """Two digits, or a dash where nothing could be measured (no image has a box)."""
    return "–" if rate is None else f"{rate:.2f}"


def summary_line(rates: dict[str, dict[str, float | None]]) -> str:
    """The rates at IoU .5 in one line: classification, then localization under strict / paper2018."""
    strict, paper = rates["strict"], rates["paper2018"]
    return (
        f"Top-1 Clas {_percent(strict['top1_clas'])}  "
        f"Top-1 Loc {_percent(strict['top1_loc@0.5'])} / {_percent(paper['top1_loc@0.5'])}  "
        f"GT-known {_percent(strict['gt_known_loc@0.5'])} / {_percent(paper['gt_known_loc@0.5'])} (strict / paper2018)"
    )
