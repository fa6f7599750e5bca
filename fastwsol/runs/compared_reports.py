"""Reports of networks on the same images, read for a comparison: what each measures of every image."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fastwsol.config import Config
from fastwsol.evaluation.boxes import ProtocolName, hits_of
from fastwsol.evaluation.metrics import IOU_THRESHOLDS, TOP, CamClass, Outcomes, outcomes, ranks
from fastwsol.evaluation.per_image import ImageRows
from fastwsol.evaluation.reading import preferred_row
from fastwsol.evaluation.report_rows import rows_file
from fastwsol.evaluation.report_types import REPORT_FORMAT_VERSION, LocalizerRow, Report, RunReport
from fastwsol.evaluation.table_cells import ORACLE_TITLES, title_of
from fastwsol.evaluation.thresholds import BestHits
from fastwsol.host.errors import UserError
from fastwsol.runs.folder import RunDir
from fastwsol.runs.reports import ReportOf


@dataclass(frozen=True)
class ComparedReport:
    """One of the reports that are compared: what it says of one localizer."""

    path: Path
    cam_class: CamClass
    classes: int
    truths_digest: str
    masks_digest: str | None
    rows_file: Path
    rows: ImageRows
    localizer: str
    """Its name, or `maps`."""
    cut: float | None
    """Where its maps were cut; None where each has a threshold of its own."""
    config: Config | None
    """The run's; None of anyone's score maps."""
    facts: Mapping[str, Any]
    """How it was made, by name: equal in reports that were made in the same way."""
    cut_for_each_iou: bool
    """Whether the report's rates have a cut of their own at each IoU, while `rows` have the boxes of the cut for IoU
    .5.
    """

    @property
    def cut_at(self) -> str:
        """The cut in words."""
        return "a threshold for each image" if self.cut is None else f"{self.cut:.2g}"


def read_compared_report(path: Path, localizer: str | None = None) -> ComparedReport:
    """What a report says of a localizer. path: the report's file, or a run's folder; localizer: by default the one that
    predictions take. Raises UserError where there is no such report or localizer.
    """
    file = _report_in(path) if path.is_dir() else path
    if not path.exists():
        raise UserError(f"{path}: no such folder or file; name a run's folder, or one that evaluate --out wrote")
    try:
        report: Report = json.loads(file.read_bytes())
        if "looked_at" in report:
            raise UserError(f"{file}: is of predictions; compare takes reports of runs, and of evaluate --maps")
        if report["format_version"] != REPORT_FORMAT_VERSION:
            raise ValueError("of another version")
        localizers = {each["name"]: each for each in report["localizers"]}
        name = preferred_row(report)["name"]
        if localizer is not None and name != "maps":  # score maps are what they are
            name = localizer
        if name not in localizers:
            raise UserError(f"--localizers {name}: {file} has {', '.join(localizers)}; name one of them")
        return _side_of(report, file, localizers[name])
    except OSError as error:
        raise UserError(
            f"{file}: cannot be read ({error.strerror}); let the run finish (its train command makes its report), or "
            f"name one that evaluate made"
        ) from None
    except (ValueError, KeyError, TypeError, IndexError):
        raise UserError(
            f"{file}: is not a report of this version; name a run's folder or report.json, or evaluate again"
        ) from None


def _report_in(folder: Path) -> Path:
    """A folder's report: on val, or of a run without one, as on images held out, that on what the run evaluates itself
    on.
    """
    run, on_val = RunDir(folder), folder / "report.json"
    if on_val.exists() or not run.has_info():
        return on_val
    return run.report_file(ReportOf(run.read_info().config.eval_split))


_FACTS = ("step", "total_steps", "precision", "split", "shards_digest")


def _side_of(report: Report, file: Path, localizer: LocalizerRow) -> ComparedReport:
    """One side of the comparison: what a report in `file` says of one of its localizers."""
    masks = report.get("masks")
    images = rows_file(file, report, localizer["name"])
    return ComparedReport(
        path=file,
        cam_class=report["cam_class"],
        classes=report["classes"],
        truths_digest=report["truths_digest"],
        masks_digest=masks["digest"] if masks is not None else None,
        rows_file=images,
        rows=ImageRows.read(images),
        localizer=localizer["name"],
        cut=localizer["cut"]["value"],
        config=Config.from_json(cast(RunReport, report)["config"]) if "config" in report else None,
        facts={
            "localizer": localizer["name"],
            "a cut by the rule": localizer["cut"]["rule"],
            **{name.replace("_", " "): report[name] for name in _FACTS if name in report},  # type: ignore[literal-required]
        },
        cut_for_each_iou="thresholds" in localizer,
    )


def check_same_images(a: ComparedReport, b: ComparedReport) -> None:
    """Raise UserError where the two reports are not on the same images, or not on maps of the same class."""
    if a.cam_class != b.cam_class:
        raise UserError(
            f"{b.path}: boxes maps of the {b.cam_class} class, {a.path} of the {a.cam_class} class; evaluate both alike"
        )
    if a.classes != b.classes and None not in (a.config, b.config):  # maps know the classes of their images alone
        raise UserError(
            f"{b.path}: is of a set of {b.classes:,} classes, {a.path} of one of {a.classes:,}; compare runs of one set"
        )
    for what, ours, theirs in (
        ("image", np.array(a.rows.names), np.array(b.rows.names)),
        ("label", a.rows.labels, b.rows.labels),
        ("number of boxes", a.rows.box_counts, b.rows.box_counts),
    ):
        if len(ours) != len(theirs):
            raise UserError(
                f"{b.path}: is about {len(theirs):,} images, {a.path} about {len(ours):,}; evaluate both on the same"
            )
        if len(different := np.flatnonzero(ours != theirs)):
            row = different[0]
            raise UserError(
                f"{b.path}: image {row + 1} has another {what} than in {a.path} ({theirs[row]}, not {ours[row]}); "
                f"evaluate both on the same images"
            )
    if a.truths_digest != b.truths_digest:
        raise UserError(f"{b.path}: was measured against other boxes than {a.path}; evaluate both on the same")


@dataclass(frozen=True)
class Measured:
    """Some rates, or means over images, of all reports, measured in one way."""

    name: str
    """A protocol, `max_box_acc_strict` or `masks`, as files have it."""
    title: str
    titles: Mapping[str, str]
    """Of the rates, by name."""
    of_images: Mapping[str, Sequence[NDArray[np.float64]]]
    """By name, of each report: what it measures of each image, [N] in 0..1, NaN of one that does not count."""
    are_means: bool = False
    """Whether they are means over images, and no rates of right ones."""


def measured(sides: Sequence[ComparedReport]) -> tuple[list[Measured], list[str]]:
    """What can be compared of reports on the same images; and sentences that say what cannot, or how it is."""
    found, notes = _rates(sides)
    for of_one, note in (_oracles(sides), _masks(sides)):
        found += [of_one] if of_one is not None else []
        notes += [note] if note else []
    return found, notes


def _rates(sides: Sequence[ComparedReport]) -> tuple[list[Measured], list[str]]:
    """The rates under each protocol that all were evaluated under."""
    rows, notes = sides[0].rows, []
    has_boxes = bool(rows.box_counts.any())
    protocols = [name for name in rows.boxes if all(name in side.rows.boxes for side in sides)]
    if not has_boxes:  # classes are the same under each
        protocols = protocols[:1]
        notes.append("None of these images has a box: boxes are not compared.")
        later = [str(each) for side in sides for each in sorted(side.path.parent.glob("report*-boxes-*.json"))]
        if later:
            notes.append(f"Reports on boxes that came later, to be named in place of the runs: {', '.join(later)}.")
    left_out: tuple[str, ...] = ()
    if any(side.cut_for_each_iou for side in sides):
        left_out = tuple(f"@{each}" for each in IOU_THRESHOLDS if each != 0.5)
        notes.append("Under auto each IoU has a cut of its own: of rates at the cut those at IoU 0.5 are compared.")
    found = []
    for protocol in protocols:
        every = [outcomes_of(side, protocol) for side in sides]
        names = [name for name in every[0] if all(name in each for each in every) and not name.endswith(left_out)]
        of_images = {
            name: [np.where(each[name].counted, each[name].succeeded * 1.0, np.nan) for each in every]
            for name in names
            if every[0][name].counted.any()
        }
        if of_images:
            titles = {name: title_of(name) for name in of_images}
            found.append(Measured(protocol, protocol if has_boxes else "", titles, of_images))
    return found, notes


def _oracles(sides: Sequence[ComparedReport]) -> tuple[Measured | None, str]:
    """MaxBoxAcc and MaxBoxAccV2 under `strict`, where images have boxes; and what is to be known of them."""
    has_box = sides[0].rows.box_counts > 0
    if not has_box.any():
        return None, ""
    if lacking := [str(side.rows_file) for side in sides if side.rows.best_hits is None]:
        files = " and ".join(dict.fromkeys(lacking))
        return None, f"MaxBoxAcc is not compared: its columns are missing in {files}; evaluate again."
    every = [oracle_hits(side.rows.best_hits) for side in sides]
    of_images = {name: [np.where(has_box, each[name].mean(axis=1), np.nan) for each in every] for name in every[0]}
    title = "strict, each cut where it is best on these very images (an oracle)"
    note = "MaxBoxAcc: cuts are chosen on these images and held; its intervals and p leave out that choice."
    return Measured("max_box_acc_strict", title, ORACLE_TITLES, of_images, are_means=True), note


def oracle_hits(best: BestHits | None) -> dict[str, NDArray[np.bool_]]:
    """The hits that each oracle counts, by its name: [N, IoU thresholds], .5 alone for MaxBoxAcc."""
    assert best is not None
    half = IOU_THRESHOLDS.index(0.5)
    return {
        "max_box_acc": best.single[:, [half]],
        "max_box_acc_v2": best.multiple,
        "max_box_acc_v2_single": best.single,
    }


def _masks(sides: Sequence[ComparedReport]) -> tuple[Measured | None, str]:
    """The IoU of masks at the cuts, where all were measured against the same; else why not."""
    ious = [side.rows.mask_ious for side in sides]
    known = [each for each in ious if each is not None]
    if not known:
        return None, ""
    if len(known) < len(ious) or len({side.masks_digest for side in sides}) > 1:
        which = "one of the two was" if len(sides) == 2 else "some were"
        return None, f"Masks are not compared: {which} measured without them, or against others."
    return Measured("masks", "masks", {"mean_iou": "mean IoU"}, {"mean_iou": known}, are_means=True), ""


def outcomes_of(side: ComparedReport, protocol: ProtocolName) -> Outcomes:
    """What happened to each image."""
    rows = side.rows
    of_labels = None
    if rows.predicted.shape[1] and rows.labels.astype(bool).all():
        of_labels = ranks(rows.predicted, rows.labels)
    five = rows.predicted.shape[1] == min(TOP, side.classes) and bool(rows.predicted.astype(bool).all())
    return outcomes(hits_of(rows.boxes[protocol].ious, protocol), rows.box_counts > 0, of_labels, side.cam_class, five)
