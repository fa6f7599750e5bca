"""What reviewed predictions came to, on the console."""

from typing import Literal

from rich.console import Console

from fastwsol.evaluation.certainty import share_interval
from fastwsol.evaluation.report_types import Certainty, PredictionsReport, Sample
from fastwsol.evaluation.table_cells import console, table_of
from fastwsol.host.words import first_few, number_of

_GROUPS = {
    "boxes": "ground truth",
    "drawn": "drawn without help",
    "redrawn": "redrawn, once it was seen",
    "sample": "whole sample: upper bound",
    "whole-image": "whole image, no network",
}
_POPULATION = 10**8
"""Images that those reviewed are taken for a sample of: so many that their number does not matter."""
_RATES: dict[Literal["top1_clas", "predicted_loc@0.5", "predicted_loc@0.7", "top1_loc@0.5"], str] = {
    "top1_clas": "Top-1 Clas",
    "predicted_loc@0.5": "Predicted\nLoc .5",
    "predicted_loc@0.7": "Predicted\nLoc .7",
    "top1_loc@0.5": "Top-1 Loc\n.5",
}


def print_judged(report: PredictionsReport) -> None:
    """Print the share accepted, the rates by what is known of boxes, and what certainties are worth."""
    out = console(110)
    verdicts = ", ".join(f"{count:,} {name}" for name, count in report["verdicts"].items())
    out.print(f"\n{report['images']:,} images predicted, {report['looked_at']:,} reviewed: {verdicts}")
    if report["model"]:
        out.print(f"predicted by {report['model']}")
    if report["not_predicted"]:
        others = number_of(report["not_predicted"], "image")
        out.print(f"not predicted, and left out: {others} of {report['reviewed']}")
    if report["without_box"]:
        others = number_of(report["without_box"], "predicted image")
        out.print(f"without a known box in {report['reviewed']}, and left out: {others}, whatever was found there")
    if others_of := report["boxes_of_other_classes"]:
        named = first_few([f"{count:,} of {name}" for name, count in others_of.items()], 5)
        out.print(
            f"warning: known boxes of classes that are none of the predictions': {named}; no prediction has such a "
            f"class right. Where it is misspelled, correct {report['reviewed']}"
        )
    if (sample := report["sample"]) is not None:
        _print_sample(out, sample, report["images"])
    if report["boxes"]:
        _print_boxes(out, report)
    _print_certainty(out, report["certainty"], report["images"])


def _print_boxes(out: Console, report: PredictionsReport) -> None:
    table = table_of("boxes, percent", ["images", *_RATES.values()], "known boxes")
    for name, of in report["boxes"].items():
        table.add_row(_GROUPS[name], f"{of['images']:,}", *(_percent(of[rate], of["images"], name) for rate in _RATES))
    out.print(table)
    if {*report["boxes"]} - _WITHOUT_INTERVAL:
        out.print("In brackets: the exact 95 % interval, if the images are a random sample of all that matter.")
    if report["cut_on_these"]:
        out.print(
            f"The maps were cut where boxes of a file called {report['reviewed']} are hit: if it is this one, the "
            f"rates are an oracle's, and boxes of other images are needed."
        )
    out.print("Predicted Loc: the box of the highest score is right, whatever class is predicted.")
    if report["classes_given"]:
        out.print("Its class was given here: where that is the true one, Predicted Loc is GT-known Loc.")
        out.print("Classes were given (--class-of-folder), so no rate that counts them says anything.")
    if "redrawn" in report["boxes"]:
        out.print("Boxes are redrawn where they are wrong: their row says nothing of images as a whole.")
    if "sample" in report["boxes"]:
        out.print("A box that is shown anchors the eye: of the sample as a whole the rates are upper bounds.")
        if report["boxes"]["sample"]["predicted_loc@0.5"] is None:
            out.print(
                "What is wrong with a rejected image, its class or its box, was not said of all: Top-1 Loc alone "
                "counts them."
            )


def _print_sample(out: Console, sample: Sample, images: int) -> None:
    looked, size = sample["looked_at"], sample["size"]
    if looked < size:
        out.print(
            f"random sample: {looked:,} of {size:,} reviewed, {sample['accepted']:,} of them accepted; review all of "
            f"it for the share of all images and its interval"
        )
        return
    assert sample["share"] is not None
    share = f"accepted: {100 * sample['share']:.1f} %"
    if size == images:
        out.print(f"{share} of all {images:,} images")
        return
    assert sample["interval"] is not None
    low, high = (100 * each for each in sample["interval"])
    out.print(f"{share} of a random sample of {size:,}; of all images {low:.1f} to {high:.1f} % (95 %)")


def _print_certainty(out: Console, certainty: Certainty, images: int) -> None:
    if (why := certainty.get("why_not")) is not None:
        out.print(f"Certainties stay uncalibrated: {why}.")
        return
    columns = ["AUROC", "calibration error\npoints", "to look at for\n95 % right"]
    table = table_of("certainties", columns, "certainty")
    for name, found in (("uncalibrated", certainty["uncalibrated"]), ("calibrated", certainty.get("calibrated"))):
        if found is None:
            continue
        auroc = "-" if found["auroc"] is None else f"{found['auroc']:.3f}"
        share = found["share_to_look_at_for_95"]
        error = f"{100 * found['calibration_error']:.1f}"
        count = round(share * images)
        table.add_row(name, auroc, error, f"{count:,} ({100 * count / images:.0f} %)")
    if table.rows:
        out.print(table)
    if (found := certainty.get("calibrated")) is not None:
        out.print(f"calibrated on {certainty['calibrated_on']}, from {certainty['made_of']}")
        if (one := certainty.get("of_one_class")) is not None:
            out.print(
                f"warning: the known boxes are all of one class, {one}, and certainties of others may be wrong; give "
                f"boxes of images of all classes"
            )
        bins = table_of("reliability, the least certain first", ["images", "mean", "right"], "part")
        for k, each in enumerate(found["reliability"], 1):
            shares = (f"{100 * share:.0f} %" for share in (each["certainty"], each["right"]))
            bins.add_row(str(k), str(each["images"]), *shares)
        out.print(bins)


_WITHOUT_INTERVAL = {"redrawn", "sample"}
"""Groups that are no sample, or whose numbers are bounds."""


def _percent(count: int | None, of: int, group: str) -> str:
    if count is None:
        return ""
    if group in _WITHOUT_INTERVAL:
        return f"{100 * count / of:.1f}"
    low, high = share_interval(count, of, _POPULATION)
    return f"{100 * count / of:.1f} ({100 * low:.0f}–{100 * high:.0f})"
