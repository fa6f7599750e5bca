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
        if (
            not isinstance(labels, np.ndarray)
            or labels.shape != (source.count(split),)
            or labels.dtype.kind not in "iu"
        ):
            raise UserError(
                f"{source.identity}: labels of {split!r} are no NumPy array of whole numbers, one for each of "
                f"{source.count(split)} images; give np.array(labels)"
            )
        if labels.min() < 0 or labels.max() >= len(source.classes):
            raise UserError(
                f"{source.identity}: labels of {split!r} go from {labels.min()} to {labels.max()}, and those of its "
                f"classes from 0 to {len(source.classes) - 1}; number them from 0"
            )
    without = set(range(len(source.classes))) - set(source.labels("train").tolist())
    if without:
        wnid = source.classes[min(without)].wnid
        raise UserError(f"{source.identity}: class {wnid} has no images to train on; check its annotations")


def checked_records(source: Source, split: str, start: int) -> Iterator[Record | Fault]:
    """`source.records`. Raises UserError, with the place that the source tells, for a record that is not as `Record`
    describes it, one of another label than `source.labels` has, and a name that was there already.
    """
    labels, names, index = source.labels(split), set[str](), start - 1
    for index, record in enumerate(source.records(split, start), start):
        if index >= len(labels):
            raise UserError(f"{source.identity}: gives more records of {split!r} than the {len(labels)} of count()")
        if isinstance(record, Record):
            if (mistake := _mistake(record, int(labels[index]), names, len(source.classes))) is not None:
                raise UserError(
                    f"{record.name}: {mistake} ({source.origin(split, index)}); mend the source, {source.identity}"
                )
            names.add(record.name)
        elif not isinstance(record, Fault):
            raise UserError(
                f"{source.identity}: image {index} of {split!r} is a {type(record).__name__}; give a Record or a Fault"
            )
        yield record
    if index + 1 < len(labels):
        raise UserError(f"{source.identity}: gives {index + 1} records of {split!r}, and count() has {len(labels)}")


def _mistake(record: Record, label: int, names: set[str], classes: int) -> str | None:
    """What of a record is not as it must be; None where all is."""
    if not isinstance(record.name, str):
        return "its name is no text"
    if not isinstance(record.image, bytes):
        return f"its image is a {type(record.image).__name__}, not the bytes of an encoded file"
    if not isinstance(record.mask, bytes | None):
        return f"its mask is a {type(record.mask).__name__}, not the bytes of a PNG"
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
    labels = np.asarray([] if record.box_labels is None else record.box_labels)
    if len(labels) and (labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= classes):
        return f"its box_labels are not from 0 to {classes - 1}, the labels of the classes"
    return None
