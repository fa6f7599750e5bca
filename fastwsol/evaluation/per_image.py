"""What a report says of each image, as CSV files beside it: for a look at single images, and to compare two networks.

`report.csv` is of the report's first localizer at the paper's threshold, under every protocol; `report-NAME.csv` of a
localizer under `strict` at its cut (under `auto` the one for IoU .5), which the first one has where that is another.

Columns: name, label, predicted (up to five classes, `;` between them, empty where nothing was classified; a `;` in a
class's name is written `\\;`, and a backslash `\\\\`), boxes (how many ground-truth boxes it has), and for each
protocol the box in the original image's pixels and its IoU with the best ground-truth box by the protocol's rule (empty
without one): strict_x0 ... strict_y1, strict_iou, ...

The file of a localizer's cut also says, under `strict`, which images MaxBoxAcc and MaxBoxAccV2 count, 1 or 0, empty
without a ground-truth box: best_single@0.3, ... of the largest component's box, at the threshold that is best for that
IoU on these images; best_multiple@0.3, ... of any component's box. Where there are ground-truth masks, mask_iou comes
last, empty without one: of what is kept at the cut. Where the first localizer is cut elsewhere than at the paper's
threshold, its `report-NAME.csv` alone has these columns.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from fastwsol.evaluation.boxes import ProtocolName
from fastwsol.evaluation.evaluated_images import EvaluatedImages
from fastwsol.evaluation.maps import MeasuredBoxes
from fastwsol.evaluation.metrics import IOU_THRESHOLDS
from fastwsol.evaluation.thresholds import BestHits
from fastwsol.host.errors import UserError
from fastwsol.host.files import csv_text, write_bytes
from fastwsol.sources.boxes import SIDES

SEPARATOR = ";"


_BEST_HITS = tuple(f"best_{boxes}@{iou}" for boxes in BestHits._fields for iou in IOU_THRESHOLDS)
_MASK_IOU = "mask_iou"


@dataclass(frozen=True)
class ImageRows:
    """N images' results."""

    names: Sequence[str]
    labels: NDArray[np.str_]
    """[N]; empty where none is known."""
    predicted: NDArray[np.str_]
    """[N, up to 5], the first is the one predicted; [N, 0] where nothing was classified."""
    box_counts: NDArray[np.int64]
    """[N], ground-truth boxes."""
    boxes: Mapping[ProtocolName, MeasuredBoxes]
    """By protocol."""
    best_hits: BestHits | None = None
    """None where they are not of a localizer's cut, or were written before there were such columns."""
    mask_ious: NDArray[np.float64] | None = None
    """[N], NaN without a mask; None where no image has one."""

    @staticmethod
    def of(
        images: EvaluatedImages, boxes: Mapping[ProtocolName, MeasuredBoxes], best_hits: BestHits | None = None
    ) -> ImageRows:
        """Of images whose maps gave `boxes`."""
        class_names = np.array([*images.classes, ""])  # -1, beyond what is known, is the empty one
        count = len(images.names)
        return ImageRows(
            images.names,
            class_names[images.labels] if images.labels is not None else np.full(count, ""),
            class_names[images.predicted] if images.predicted is not None else np.empty((count, 0), np.str_),
            np.diff(images.truths.offsets),
            boxes,
            best_hits,
        )

    def write(self, path: Path) -> None:
        """Write them durably."""
        columns = [f"{protocol}_{what}" for protocol in self.boxes for what in (*SIDES, "iou")]
        measured = [
            [
                [*(map(_short, sides)), "" if np.isnan(iou) else repr(iou)]
                for sides, iou in zip(boxes, ious, strict=True)
            ]
            for boxes, ious in ((each.boxes.tolist(), each.ious.tolist()) for each in self.boxes.values())
        ]
        at_best: list[list[object]] = [[]] * len(self.names)
        if self.best_hits is not None:
            columns += _BEST_HITS
            flags, has_boxes = np.hstack(self.best_hits).astype(int).tolist(), (self.box_counts > 0).tolist()
            at_best = [own if known else [""] * len(own) for own, known in zip(flags, has_boxes, strict=True)]
        of_masks: list[list[str]] = [[]] * len(self.names)
        if self.mask_ious is not None:
            columns.append(_MASK_IOU)
            of_masks = [["" if np.isnan(iou) else repr(iou)] for iou in self.mask_ious.tolist()]
        rows: list[list[object]] = [["name", "label", "predicted", "boxes", *columns]]
        for n, (name, label, predicted) in enumerate(
            zip(self.names, self.labels.tolist(), self.predicted.tolist(), strict=True)
        ):
            cells = [cell for of_protocol in measured for cell in of_protocol[n]] + at_best[n] + of_masks[n]
            rows.append([name, label, join_classes(filter(None, predicted)), self.box_counts[n], *cells])
        write_bytes(path, csv_text(rows).encode())

    @staticmethod
    def read(path: Path) -> ImageRows:
        """Read what `write` wrote. Raises UserError naming the file and line where it is something else."""
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"{path}: cannot be read ({error}); evaluate again to make it anew") from None
        try:
            columns = [*rows[0]] if rows else []
            protocols: list[ProtocolName] = [name for name in get_args(ProtocolName) if f"{name}_iou" in columns]
            predicted = [split_classes(row["predicted"]) for row in rows]
            most = max(map(len, predicted), default=0)
            predicted = [[*each, *[""] * (most - len(each))] for each in predicted]
            return ImageRows(
                [row["name"] for row in rows],
                np.array([row["label"] for row in rows], np.str_),
                np.array(predicted, np.str_).reshape(len(rows), -1),
                np.array([int(row["boxes"]) for row in rows]),
                {
                    protocol: MeasuredBoxes(
                        np.array([[float(row[f"{protocol}_{side}"]) for side in SIDES] for row in rows], np.float32),
                        np.array([float(row[f"{protocol}_iou"] or "nan") for row in rows]),
                    )
                    for protocol in protocols
                },
                _best_hits(rows) if {*_BEST_HITS} <= {*columns} else None,
                np.array([float(row[_MASK_IOU] or "nan") for row in rows]) if _MASK_IOU in columns else None,
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}: not the images of a report ({error}); evaluate again to make it anew") from None


def _best_hits(rows: Sequence[Mapping[str, str]]) -> BestHits:
    """Raises ValueError for a cell that is none of `write`'s."""
    flags = np.zeros((len(rows), len(_BEST_HITS)), bool)
    for n, row in enumerate(rows):
        cells = [row[column] for column in _BEST_HITS]
        if any(cell not in (("0", "1") if int(row["boxes"]) else ("",)) for cell in cells):
            raise ValueError(f"{row['name']}: hits {cells}")
        flags[n] = [cell == "1" for cell in cells]
    return BestHits(*np.split(flags, 2, axis=1))


def join_classes(names: Iterable[str]) -> str:
    """Classes in one cell, `;` between them; a `;` or a backslash in a name gets a backslash before it."""
    return SEPARATOR.join(name.replace("\\", "\\\\").replace(SEPARATOR, f"\\{SEPARATOR}") for name in names)


def split_classes(cell: str) -> list[str]:
    """The classes of a cell that `join_classes` wrote. A backslash before another character stands for itself."""
    names, name = [], ""
    characters = iter(cell)
    for character in characters:
        if character == SEPARATOR:
            names.append(name)
            name = ""
            continue
        if character == "\\":
            escaped = next(characters, "")
            character = escaped if escaped in (SEPARATOR, "\\") else f"\\{escaped}"
        name += character
    return [*names, name] if cell else []


def _short(side: float) -> str:
    return f"{side:.9g}"  # nine digits hold a float32
