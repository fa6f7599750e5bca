"""What the packer asks of a `Source`, so that a mistake in one of a user's own is told by its place, and not packed."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from fastwsol.host.errors import UserError
from fastwsol.sources import Fault, Record, Source


def check_source(source: Source) -> None:
    """Raise UserError for a source without train, a split without images, a class without images to train on, and two
    classes of one wnid.
    """
    if "train" not in source.splits:
        raise UserError(f"{source.identity}: has no split 'train'; give it the images to train on")
    twice = [wnid for wnid, count in Counter(each.wnid for each in source.classes).items() if count > 1]
    if twice:
        raise UserError(f"{source.identity}: two classes have the wnid {twice[0]!r}; give each its own")
    for split in source.splits:
        if source.count(split) == 0:
            raise UserError(
                f"{source.identity}: split {split!r} has no images; give it some, or remove its folder, so that some "
                f"are drawn of train (of a class with one image none is), or check annotations and --classes"
            )
        labels = source.labels(split)
        if len(labels) != source.count(split) or not np.isin(labels, np.arange(len(source.classes))).all():
            raise UserError(
                f"{source.identity}: labels of {split!r} are {len(labels)} from {min(labels)} to {max(labels)}; give "
                f"one from 0 to {len(source.classes) - 1} for each of {source.count(split)} images"
            )
    without = set(range(len(source.classes))) - set(source.labels("train").tolist())
    if without:
        wnid = source.classes[min(without)].wnid
        raise UserError(f"{source.identity}: class {wnid} has no images to train on; check its annotations")


def checked_records(source: Source, split: str, start: int) -> Iterator[Record | Fault]:
    """`source.records`. Raises UserError, with the place that the source tells, for a record that is not as `Record`
    describes it, one of another label than `source.labels` has, and a name that was there already.
    """
    labels, names = source.labels(split), set[str]()
    for index, record in enumerate(source.records(split, start), start):
        if isinstance(record, Record):
            if (mistake := _mistake(record, int(labels[index]), names)) is not None:
                raise UserError(
                    f"{record.name}: {mistake} ({source.origin(split, index)}); mend the source, {source.identity}"
                )
            names.add(record.name)
        elif not isinstance(record, Fault):
            raise UserError(
                f"{source.identity}: image {index} of {split!r} is a {type(record).__name__}; give a Record or a Fault"
            )
        yield record


def _mistake(record: Record, label: int, names: set[str]) -> str | None:
    """What of a record is not as it must be; None where all is."""
    if not isinstance(record.image, bytes):
        return f"its image is a {type(record.image).__name__}, not the bytes of an encoded file"
    if record.label != label:
        return f"its label is {record.label}, and labels() has {label}"
    if record.name in names:
        return "an image before it has this name too"
    boxes = record.boxes
    if not isinstance(boxes, np.ndarray) or boxes.dtype != np.float32 or boxes.ndim != 2 or boxes.shape[1] != 4:
        kind = f"{boxes.dtype} {list(boxes.shape)}" if isinstance(boxes, np.ndarray) else type(boxes).__name__
        return f"its boxes are {kind}, not float32 [k, 4], x0, y0, x1, y1 in pixels"
    for name, of_boxes in (("box_labels", record.box_labels), ("difficult", record.difficult)):
        if of_boxes is not None and np.shape(of_boxes) != (len(boxes),):
            return f"its {name} have shape {np.shape(of_boxes)}, and there are {len(boxes)} boxes"
    return None
