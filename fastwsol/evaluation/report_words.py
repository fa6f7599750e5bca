"""What is said beside the tables of a report."""

from rich.console import Console

from fastwsol.config import Config
from fastwsol.evaluation.report_types import Report, RunReport
from fastwsol.host.words import number_of
from fastwsol.network.networks import network_name

NO_TRUTH = "None of these images has a ground-truth box: how well objects are localized cannot be measured."
NO_BOX_IN_TRAIN = "none of train's images has a box"

_SPLIT_NAMES = {
    "val": "val images",
    "holdout": "images held out of train",
    "fullsup": "images of fullsup",
    "train": "training images, which the network has seen",
}


def heading_of(report: RunReport) -> str:
    """What a run's report is about, in a sentence."""
    config = Config.from_json(report["config"])
    few = config.localizer.boxes_per_class
    unfinished = "" if report["step"] >= report["total_steps"] else f" (unfinished: {report['total_steps']:,} steps)"
    return (
        f"{report['source']}, {report['classes']} classes, {report['images']:,} {_SPLIT_NAMES[report['split']]}; "
        f"{network_name(config.network)}, aug {config.views.aug}, batch {config.optimizer.batch_size}, "
        f"{report['step']:,} steps{unfinished}, seed {config.seed} (one run)"
        + (f"; its mask head had boxes of up to {few} images a class" if few else "")
    )


_COLLAPSED = 0.02
_WHOLE = 0.9


def warnings_of(report: Report) -> list[str]:
    """Where the maps of a mask look as no object does, which needs no box to be seen."""
    warnings = []
    for each in report["localizers"]:
        if each["scale"] != "own":
            continue
        mean = each["maps"].get("mean_value")  # not the area at the cut, which follows where masks go
        if mean is not None and mean < _COLLAPSED:
            warnings.append(f"{each['name']}: masks have collapsed (their mean is {mean:.3f})")
        elif mean is not None and mean > _WHOLE:
            warnings.append(f"{each['name']}: masks are nearly the whole image (their mean is {mean:.3f})")
    return warnings


def print_warnings(report: Report, out: Console) -> None:
    """Print `warnings_of`."""
    for each in warnings_of(report):
        out.print(f"warning: {each}")


def print_left_out(report: Report, out: Console) -> None:
    """Print `left_out`."""
    for each in left_out(report):
        out.print(each)


def left_out(report: Report) -> list[str]:
    """How many images do not count, or are seen in part."""
    notes = []
    if without := report["images"] - report["images_with_boxes"]:
        have, do = ("has", "does") if without == 1 else ("have", "do")
        notes.append(f"{number_of(without, 'image')} {have} no ground-truth box and {do} not count for localization")
    if cut := report["images_cut"]:
        have = "has" if cut == 1 else "have"
        notes.append(
            f"{number_of(cut, 'image')} {have} a box that reaches out of the middle square that is shown (--fit crop)"
        )
    return notes


def images_of(report: RunReport) -> str:
    """What a run was evaluated on: classes, images, and how many of them have a box where that is not all or none."""
    classes, images = number_of(report["classes"], "class", "classes"), number_of(report["images"], "image")
    with_boxes = report["images_with_boxes"]
    counted = f", {with_boxes:,} of them with a box" if 0 < with_boxes < report["images"] else ""
    return f"{classes}, {images} of {report['split']}{counted}"


_FEW = 30


def print_few(report: Report, out: Console) -> None:
    """Say what rates of a few images are worth: those of 0 and 100 % stand without an interval, which resampling does
    not give, and look as if they were certain. The bounds are exact (Clopper and Pearson's).
    """
    count = report["images_with_boxes"] or report["images"]
    if 0 < count < _FEW:
        least = 100 * 0.025 ** (1 / count)
        all_or_none = f"{least:.0f} % at least, one of 0 % that it is {100 - least:.0f} % at most (95 %)"
        out.print(f"{number_of(count, 'image')} alone: a rate of 100 % says that it is {all_or_none}.")


def print_classes_apart(report: Report, out: Console) -> None:
    """Where classes have unequal numbers of images, say what the rate over all images does not: the mean over classes,
    the worst one, and what a guess of the commonest reaches.
    """
    rows = [each for each in report["localizers"][0]["classes"] if each["images"] and "top1_clas" in each["counts"]]
    images = {each["class"]: each["images"] for each in rows}
    if len(rows) < 2 or max(images.values()) <= _UNEQUAL * min(images.values()):
        return
    shares = {each["class"]: 100 * each["counts"]["top1_clas"][0] / each["images"] for each in rows}
    worst = min(shares, key=lambda name: shares[name])
    least, most = min(images.values()), max(images.values())
    out.print(
        f"Classes have {least:,} to {most:,} images. Top-1 Clas, mean over classes: "
        f"{sum(shares.values()) / len(shares):.2f}; least: {worst}, {shares[worst]:.2f} of "
        f"{number_of(images[worst], 'image')}; the commonest class for every image: "
        f"{100 * most / sum(images.values()):.2f}."
    )


_UNEQUAL = 2
"""Times as many images as the smallest class has: more are told."""


def print_no_fixed_box(report: Report, why: str, out: Console) -> None:
    """Say why no best fixed box stands among the baselines, where there is none."""
    if all(baseline["kind"] != "best-box" for baseline in report["baselines"]):
        out.print(f"No best fixed box can stand here: {why}.")
