"""Anyone's score maps against a boxes file: what a report says of them."""

import sys
from pathlib import Path

import numpy as np

from fastwsol.evaluation.annotations_file import read_annotations
from fastwsol.evaluation.evaluated_images import EvaluatedImages
from fastwsol.evaluation.fixed_masks import fixed_masks
from fastwsol.evaluation.masks import find_masks
from fastwsol.evaluation.measure import measure
from fastwsol.evaluation.of_localizer import CutMaps
from fastwsol.evaluation.per_image import SEPARATOR
from fastwsol.evaluation.pixels import measure_pixels
from fastwsol.evaluation.question import Question
from fastwsol.evaluation.report_rows import ReportRows
from fastwsol.evaluation.report_types import AboutMaps, MapsReport
from fastwsol.evaluation.score_map_files import ScoreMaps
from fastwsol.evaluation.thresholds import CAM_THRESHOLD, Cut
from fastwsol.host.errors import UserError
from fastwsol.host.words import number_of
from fastwsol.localizer.localizers import LOCALIZERS
from kernels import Scale

_PAPERS_CUT = Cut("fixed", CAM_THRESHOLD, "the paper")


def report_of_maps(
    folder: Path,
    boxes: Path,
    masks: Path | None,
    train_boxes: Path | None,
    question: Question,
    threads: int,
    scale: Scale | None = None,
    square: int | None = None,
) -> tuple[MapsReport, ReportRows]:
    """The report of the maps in a folder or file, and what it says of each image. Its one
    localizer is called `maps`.

    boxes: the ground truth; masks: a folder of them; train_boxes: what fixed boxes are found on; scale, square: see
    `ScoreMaps`. The threshold that the `question` names, if any, needs no other images. Raises UserError naming the
    flag and file where one cannot be read, there is nothing to measure, or maps on their own scale come without a
    threshold; warns where labels and predictions have no name in common.
    """
    images = read_annotations(boxes)
    if masks is None:
        _refuse_nothing_to_measure(boxes, images)
    train = read_annotations(train_boxes).truths if train_boxes is not None else None
    if train is not None and not train.has_boxes.any():
        raise UserError(f"--train-boxes {train_boxes}: has no box; leave it out, or give the training images'")
    _warn_of_unknown_labels(boxes, images)
    maps = ScoreMaps(folder, images, boxes, scale, square)
    if maps.scale == "own" and question.threshold is None:
        raise UserError(
            f"--maps {folder}: the values of these maps are shares of 1; name a --threshold, since the paper's "
            f"{CAM_THRESHOLD:g} is a share of each map's maximum"
        )
    known = find_masks(masks, images.names, images.truths) if masks is not None else None
    if unused := maps.unused():
        print(f"{number_of(unused, 'map')} in {folder}, left out: of no image in {boxes}")
    if known is not None and known.unused:
        print(f"{number_of(known.unused, 'mask')} in {masks}, left out: of no image in {boxes}")
    class_specific = maps.localizer is None or LOCALIZERS[maps.localizer].class_specific
    cut_maps = CutMaps("maps", "these maps", class_specific, maps, question.asked_cut or _PAPERS_CUT)
    measurement = measure(images, [cut_maps], question, train, threads)
    about: AboutMaps = {"maps": folder.name, "boxes": boxes.name, "on_square": maps.covers_square}
    report: MapsReport = {**measurement.making(threads, {}), **about, **measurement.numbers}
    rows = measurement.rows
    if known is not None:
        pixels = measure_pixels(
            {"maps": maps}, measurement.thresholds, images, known, fixed_masks(None), question.wsoleval
        )
        pixels.add_to(report)
        rows = rows.with_mask_ious(pixels.ious)
    return report, rows


def _warn_of_unknown_labels(boxes: Path, images: EvaluatedImages) -> None:
    """Warn where no label is among the classes that are predicted: the two columns may use other names."""
    if images.labels is None or images.predicted is None or np.isin(images.labels, images.predicted).any():
        return
    print(
        f"warning: {boxes}: no label is ever predicted; use the same names in both columns, {SEPARATOR!r} between "
        f"predictions",
        file=sys.stderr,
    )


def _refuse_nothing_to_measure(boxes: Path, images: EvaluatedImages) -> None:
    """Raise UserError where the boxes file knows neither a box nor what the images are."""
    if not images.truths.has_boxes.any() and (images.labels is None or images.predicted is None):
        raise UserError(
            f"--boxes {boxes}: has neither a box nor both labels and predictions, so nothing can be measured; fill in "
            f"x0 to y1, or give --masks"
        )
