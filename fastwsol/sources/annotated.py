"""What the layouts of images in files have in common: a list of annotated images for each split, read one by one."""

import contextlib
import hashlib
import itertools
import re
import statistics
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fastwsol.host.errors import UserError, line_of
from fastwsol.host.limits import usable_cores
from fastwsol.host.ticker import image_ticker
from fastwsol.host.words import number_of
from fastwsol.sources import Class, Fault, Record, heif
from fastwsol.sources.boxes import Box
from fastwsol.sources.decode import judge_images
from fastwsol.sources.tree import BadFile, Tree, joined

MAX_TEXT_BYTES = 64 * 2**20
"""Largest annotation file; Tiny ImageNet's largest, words.txt, has 2.6 MB."""
MAX_FILE_BYTES = 64 * 2**20
"""Largest image file that is read. The packer has a smaller limit of its own, and names the images above it."""
_READERS = 8
"""Threads that read images, so that a disk or network that takes its time for each is asked for several at once."""
_BYTES_AHEAD = 64 * 2**20
"""Of images that are read before their turn, were all as large as the one that came last."""
_TRIED = 16
"""Images by which it is found how fast files come."""
_SLOW = 4.0
"""Times the work of reading that it takes, from which on files are read by several threads."""

_PLAIN_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff")
IMAGE_SUFFIXES = _PLAIN_SUFFIXES + heif.suffixes_read()
"""Endings, in any case, by which files in folders are taken for images. The packer names those that it cannot pack."""

_CONVERT = "convert them to JPEG"
_UNREAD_PHOTOGRAPHS = {
    **dict.fromkeys((".jxl", ".jp2", ".j2k", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf"), _CONVERT),
    **heif.remedies_of_suffixes(),
}
"""Remedies by the endings of photographs that cannot be read here."""
_GOES_ON = re.compile("(" + "|".join(map(re.escape, _PLAIN_SUFFIXES)) + r")[?@&%:;=#!~ (]", re.IGNORECASE)

PUT_WHOLE = "put a whole copy in its place, or remove image and line"


class AnnotatedBox(NamedTuple):
    """The box of an object, and its class as a label."""

    box: Box
    label: int
    difficult: bool = False
    origin: str = ""
    """Where it stands, for messages; empty: where its image does."""


@dataclass(frozen=True)
class AnnotatedImage:
    """One annotated image.

    path: in the tree, and the image's name; origin: where label and boxes stand, for messages; stamp: the image file's,
    as `Tree.stamps` has it; fault: what is wrong already; size: the width and height that the layout says it has.
    """

    path: str
    label: int
    boxes: tuple[AnnotatedBox, ...]
    origin: str
    stamp: str = ""
    fault: Fault | None = None
    size: tuple[int, int] | None = None
    mask: str | None = None
    """The path of a mask in the tree of masks."""

    @property
    def box_labels(self) -> tuple[int, ...] | None:
        """The label of each box; None where all are of the image's class."""
        labels = tuple(each.label for each in self.boxes)
        return labels if any(label != self.label for label in labels) else None

    @property
    def difficult(self) -> tuple[bool, ...] | None:
        """Which boxes are difficult; None where none is."""
        flags = tuple(each.difficult for each in self.boxes)
        return flags if any(flags) else None


class MaskSource(Protocol):
    """The masks of a layout's images."""

    own_sizes: bool
    """Whether a mask may have another size than its image."""

    def read(self, name: str) -> bytes:
        """A mask as PNG, by what `AnnotatedImage.mask` calls it. Raises BadFile, whose message names the file."""

    def stamp(self, name: str) -> str:
        """Another text when the mask was changed."""

    def where(self, name: str) -> str:
        """The mask as the user would find it."""


class FileSource:
    """A `Source` over the files of a tree. Boxes are in the pixels as stored, unless a layout says otherwise."""

    upright = False
    notes: Sequence[str] = ()
    boxes_used = 0

    def __init__(
        self,
        identity: str,
        classes: tuple[Class, ...],
        tree: Tree,
        annotations: Mapping[str, Sequence[AnnotatedImage]],
        masks: MaskSource | None = None,
    ):
        self.identity, self.classes, self.splits = identity, classes, tuple(annotations)
        self._tree, self._annotations, self._masks = tree, annotations, masks
        every = (each for of_split in annotations.values() for each in of_split)
        self.beyond_boxes = masks is not None or any(each.box_labels or each.difficult for each in every)

    def count(self, split: str) -> int:
        """How many records and faults `records(split)` yields."""
        return len(self._annotations[split])

    def labels(self, split: str) -> NDArray[np.int64]:
        """The labels of all annotated images."""
        return np.array([annotation.label for annotation in self._annotations[split]], np.int64)

    def known_faults(self, split: str) -> dict[int, Fault]:
        """The annotations whose image is missing or whose box cannot be."""
        annotations = enumerate(self._annotations[split])
        return {index: annotation.fault for index, annotation in annotations if annotation.fault is not None}

    def records(self, split: str, start: int = 0) -> Iterator[Record | Fault]:
        """Yield the records of `split` from index `start` on; names are paths in the layout."""
        annotations = self._annotations[split][start:]
        return self._read_ahead(annotations) if self._is_slow(annotations) else map(self._read, annotations)

    def _is_slow(self, annotations: Sequence[AnnotatedImage]) -> bool:
        """Whether a disk or network has files waited for: tried on some of them, far apart. (Where it has not, threads
        that read would cost more than they bring, as each of them stops the others.)
        """
        taken, worked = [0.0], [0.0]
        size = 0
        for each in annotations[:: max(1, len(annotations) // _TRIED)][:_TRIED] if self._tree.gives_several else []:
            begun, work = time.perf_counter(), time.thread_time()
            with contextlib.suppress(BadFile):
                size += len(self._tree.read(each.path, MAX_FILE_BYTES))
            worked.append(time.thread_time() - work)
            taken.append(time.perf_counter() - begun)
            if size > _BYTES_AHEAD:
                break
        return statistics.median(taken) > _SLOW * statistics.median(worked)  # a few wait for a busy processor

    def _read_ahead(self, annotations: Sequence[AnnotatedImage]) -> Iterator[Record | Fault]:
        """The records of images, several of which are asked for at once."""
        waiting: deque[Future[Record | Fault]] = deque()
        rest, ahead = iter(annotations), 1
        pool = ThreadPoolExecutor(_READERS)
        try:
            while True:
                more = max(0, ahead - len(waiting))
                waiting += [pool.submit(self._read, each) for each in itertools.islice(rest, more)]
                if not waiting:
                    return
                record = waiting.popleft().result()
                if isinstance(record, Record):
                    ahead = max(1, min(_READERS, _BYTES_AHEAD // max(1, len(record.image))))
                yield record
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # a file that does not come keeps nobody from stopping

    def _read(self, annotation: AnnotatedImage) -> Record | Fault:
        """The record of an image, its file and that of its mask read; by several threads at once."""
        if annotation.fault is not None:
            return annotation.fault
        try:
            image = self._tree.read(annotation.path, MAX_FILE_BYTES)
        except BadFile as error:
            return Fault(annotation.path, str(error), PUT_WHOLE)
        return self._record(annotation, image)

    def _record(self, annotation: AnnotatedImage, image: bytes) -> Record | Fault:
        with np.errstate(over="ignore"):  # what is infinite then lies in no image
            boxes = np.array([each.box for each in annotation.boxes], np.float32).reshape(-1, 4)
        labels, difficult = annotation.box_labels, annotation.difficult
        record = Record(
            annotation.path,
            image,
            annotation.label,
            boxes,
            size=annotation.size,
            box_labels=None if labels is None else np.array(labels, np.int64),
            difficult=None if difficult is None else np.array(difficult, np.bool_),
        )
        if annotation.mask is None:
            return record
        assert self._masks is not None
        try:
            mask = self._masks.read(annotation.mask)
        except BadFile as error:
            return Fault(
                annotation.path, f"its mask {error}", "put a whole mask in its place, or remove image and mask"
            )
        own_size = self._masks.own_sizes
        return replace(record, mask=mask, mask_name=self._masks.where(annotation.mask), mask_is_of_own_size=own_size)

    def origin(self, split: str, index: int, box: int | None = None) -> str:
        """Where record `index` got its label and boxes, or that one of its boxes."""
        annotation = self._annotations[split][index]
        return (annotation.boxes[box].origin if box is not None else "") or annotation.origin

    def fingerprint(self, split: str, start: int, stop: int) -> str:
        """A hash over paths, labels, boxes, the sizes told of images, and the checksums (zip) or sizes and times of
        change (folder) of images and masks.
        """
        digest = hashlib.sha256()
        for each in self._annotations[split][start:stop]:
            told = f"\t{each.size}" if each.size is not None else ""
            labels, difficult = each.box_labels, each.difficult
            if labels is not None or difficult is not None:
                told += f"\t{labels}\t{difficult}"
            if each.mask is not None and self._masks is not None:
                told += f"\t{each.mask}\t{self._masks.stamp(each.mask)}"
            boxes = tuple(of.box for of in each.boxes)
            digest.update(f"{each.path}\t{each.label}\t{boxes}\t{each.stamp}\t{each.fault}{told}\n".encode())
        return digest.hexdigest()


class GoodImages:
    """Which images of a tree can be packed, by their paths; `bad`: how many that were asked for cannot."""

    def __init__(self, tree: Tree) -> None:
        self._tree, self.bad = tree, 0

    def __call__(self, paths: Sequence[str]) -> list[bool]:
        """Whether each image can be packed: they are read and decoded, by all cores."""
        found: list[bool] = []
        with image_ticker("drawn for val", len(paths)) as ticker, ThreadPoolExecutor(usable_cores()) as pool:
            for is_good in pool.map(self._is_good, paths):
                found.append(is_good)
                ticker.update(len(found))
        self.bad += found.count(False)
        return found

    def _is_good(self, path: str) -> bool:
        try:
            (found,) = judge_images([self._tree.read(path, MAX_FILE_BYTES)])
        except BadFile:
            return False
        return not isinstance(found, str)

    def notes(self) -> list[str]:
        """What to say of them."""
        return [f"{number_of(self.bad, 'bad image')} ignored where val was drawn"] if self.bad else []


def first_classes(classes: tuple[Class, ...], count: int | None, where: str) -> tuple[Class, ...]:
    """The first `count` classes, or all. Raises UserError where there are not so many; `where` names their list."""
    if count is not None and not 1 <= count <= len(classes):
        raise UserError(f"--classes {count}: {where} has {len(classes)} classes; choose 1 to {len(classes)}")
    return classes[:count]


def read_text(tree: Tree, path: str, remedy: str) -> str:
    """A text file. Raises UserError where it is missing, too large or no UTF-8."""
    try:
        return tree.read(path, MAX_TEXT_BYTES).decode("utf-8-sig")
    except BadFile as error:
        raise UserError(f"{tree.where(path)}: {error}; {remedy}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{tree.where(path)} line {line_of(error)}: not UTF-8 text; {remedy}") from None


def read_rows(
    tree: Tree,
    path: str,
    fields: str,
    replace: str,
    correct: str,
    separator: str = "\t",
    last_may_be_empty: bool = False,
) -> Iterator[tuple[int, list[str]]]:
    """Yield line number (from 1) and the separated values of each line that is not blank.

    `fields` names them, separated by blanks; `replace` and `correct` are the remedies of a bad file and of a bad line.
    Raises UserError for a line with another number of values.
    """
    field_count = len(fields.split())
    # Not splitlines(), which also splits at characters that a name may hold.
    for line, content in enumerate(read_text(tree, path, replace).split("\n"), start=1):
        values = content.rstrip("\r").split(separator)
        if values == [""]:
            continue
        if len(values) != field_count or not all(values[:-1] if last_may_be_empty else values):
            between = {"\t": "tabs", " ": "single blanks", ",": "commas"}[separator]
            raise UserError(
                f"{tree.where(path)} line {line}: found {content.strip()[:80]!r}, expected {fields} separated by "
                f"{between}; {correct}"
            )
        yield line, values


def images_below(tree: Tree, folder: str, unnameable: list[str] | None = None) -> tuple[dict[str, str], Counter[str]]:
    """The images in `folder` and all folders below it, path to stamp, in the order of their paths; and how many other
    files there are, by why they are ignored (`why_no_image`). Images whose names are no text go to `unnameable`;
    without that list UserError is raised for one.
    """
    stamps: dict[str, str] = {}
    others: Counter[str] = Counter()
    folders = [folder]
    while folders:
        current = folders.pop()
        inner = tree.folders(current)
        for name, stamp in tree.stamps(current).items():
            path = joined(current, name)
            if name in inner:
                folders.append(path)
            elif name.lower().endswith(IMAGE_SUFFIXES):
                if is_text(path):
                    stamps[path] = stamp
                elif unnameable is not None:
                    unnameable.append(path)
                else:
                    raise UserError(f"{tree.where(path)!a}: {NO_TEXT}")
            else:
                others[why_no_image(name)] += 1
    return dict(sorted(stamps.items())), others


def files_below(tree: Tree, folder: str, ending: str) -> list[str]:
    """The files in `folder` and all folders below it whose names end so, in any case, sorted."""
    found: list[str] = []
    folders = [folder]
    while folders:
        current = folders.pop()
        inner = tree.folders(current)
        for name in tree.names(current):
            if name in inner:
                folders.append(joined(current, name))
            elif name.lower().endswith(ending):
                found.append(joined(current, name))
    return sorted(found)


def why_no_image(name: str) -> str:
    """Why a file is ignored by its name, to stand behind "files ignored,"."""
    stem, dot, ending = name.rpartition(".")
    suffix = f".{ending.lower()}"
    if remedy := _UNREAD_PHOTOGRAPHS.get(suffix):
        return f"as photographs that end in {suffix} cannot be read here ({remedy})"
    if _GOES_ON.search(name):
        return "as their names go on behind an image's ending, as in x.jpg?w=300 (rename them)"
    if not (stem and dot):
        return "as their names have no ending (where they are images, give them one)"
    return "as their endings are no image's"


LEFT_OUT = "files and folders were left out, as they are hidden or a system's own (@eaDir, lost+found and the like)"
"""To stand behind `Tree.left_out`."""

NO_TEXT = "its name is no text in UTF-8 of a single line; rename it"


def is_text(name: str) -> bool:
    """Whether a name can stand in every file of results: UTF-8, on a single line."""
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes of a file's name that are no UTF-8
        return False
    return not any(character < " " for character in name)
