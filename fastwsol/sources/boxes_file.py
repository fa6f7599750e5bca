"""Boxes of a user's images, from a CSV or COCO JSON file.

CSV has a header with at least `name,x0,y0,x1,y1` and a line a box, half-open edges in the image's pixels. `label`,
`difficult` (0 or 1), `width,height` and the `verdict` of a review may stand there too; other columns are ignored
and named, and so is a line without edges counted.
COCO's JSON has its `images` and `annotations`. A name is an image's path below the source's folder, or the end of it
where only one image has that, in either Unicode form; what a labelling tool put before all names of COCO's JSON is
taken away. Pixels are those of the upright image.

A file is for one image size and one list of classes. What shows that it is for others is refused by its place: a size
that is not the image's, a box in shares of the image, an id that repeats or is in no list, a name that is another's but
for case or Unicode form. A box of another class of the set than its image's, and a difficult one, is kept as
that, and is no ground truth of the image's class. A crowd, and a box of no class of the set, is left out and counted.
"""

import csv
import difflib
import io
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, get_args

from fastwsol.host.errors import UserError
from fastwsol.host.files import read_utf8
from fastwsol.host.words import first_few, number_of, plain
from fastwsol.sources.boxes import CORRECT, SIDES, Box, box_of, refuse_shares, size_of
from fastwsol.sources.coco_json import CocoFile, parse_coco
from fastwsol.sources.names import Names, own_names
from fastwsol.sources.splits import SPLIT_CALLED
from fastwsol.sources.verdicts import Verdict

_SIZE = ("width", "height")
_LABEL = "label"
_DIFFICULT = "difficult"
_VERDICT = "verdict"

CROWD = "crowds"
OTHER_CLASS = "of another class than their image's"
DIFFICULT = "difficult"
NO_CLASS = "of no class of the set"
NO_IMAGE = "of no image of the source"


class FileBox(NamedTuple):
    """A box of a file; `where` it stands, for messages."""

    box: Box
    where: str
    other_class: str | None
    """The name of its class, where that is not its image's."""
    difficult: bool

    @property
    def beside(self) -> str | None:
        """Why it is no ground truth of its image's class; None where it is."""
        return OTHER_CLASS if self.other_class else DIFFICULT if self.difficult else None


@dataclass
class ImageBoxes:
    """An image's boxes, and the width and height that the file tells."""

    size: tuple[int, int] | None = None
    boxes: list[FileBox] = field(default_factory=list)


@dataclass
class FileBoxes:
    """The boxes of a file by the path of their image, and what of it was left out: how many boxes, by reason."""

    of_image: dict[str, ImageBoxes] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    """Boxes of no class of the set, by the name that they have."""
    alike: tuple[str, ...] = ()
    """Classes of the set that are called nearly like one of those."""
    without_edges: int = 0
    """Lines of CSV that name an image and no box."""
    other_columns: tuple[str, ...] = ()
    """Columns of CSV that were ignored."""
    predicted: bool = False
    """Whether boxes have scores, as predictions have them, that nobody has judged."""
    accepted: set[str] = field(default_factory=set)
    """The images whose boxes somebody has accepted as they were predicted."""

    @property
    def used(self) -> int:
        """How many boxes are ground truth of their image's class."""
        return self._beside()[None]

    def _beside(self) -> Counter[str | None]:
        """How many boxes are kept but no ground truth, by why; None: are ground truth."""
        return Counter(box.beside for image in self.of_image.values() for box in image.boxes)

    def account(self) -> str:
        """What became of all boxes, in words."""
        beside = self._beside()
        used, kept = beside[None], beside.total() - beside[None]
        said = f"{used + kept + self.left_out.total():,} boxes, {used:,} used"
        if kept:
            whys = [f"{beside[why]:,} {why}" for why in (OTHER_CLASS, DIFFICULT) if beside[why]]
            said += f", {kept:,} kept but no ground truth ({', '.join(whys)})"
        if self.left_out:
            whys = [f"{count:,} {why}" for why, count in self.left_out.items()]
            said += f", {self.left_out.total():,} left out ({', '.join(whys)})"
        if self.unknown:
            said += f"; of no class: {plain(first_few([f'{n:,} {name}' for name, n in self.unknown.most_common()], 4))}"
        if self.alike:
            said += f" (the set has {plain(', '.join(self.alike))})"
        return "; ".join([said, *self.ignored()])

    def ignored(self) -> list[str]:
        """What of a CSV file says nothing of boxes, in words."""
        lines = [f"{number_of(self.without_edges, 'line')} without edges"] if self.without_edges else []
        return [*lines, f"columns ignored: {plain(', '.join(self.other_columns))}"] if self.other_columns else lines

    def leave_out(self, paths: Collection[str], reason: str) -> None:
        """Leave out the boxes of these images."""
        for path in paths:
            if path in self.of_image:
                self.left_out[reason] += len(self.of_image.pop(path).boxes)

    def leave_out_classes(self, names: Collection[str], reason: str) -> None:
        """Leave out the boxes of these classes in images of other ones."""
        for image in self.of_image.values():
            kept = [each for each in image.boxes if each.other_class not in names]
            if len(kept) < len(image.boxes):
                self.left_out[reason] += len(image.boxes) - len(kept)
            image.boxes = kept


def read_boxes(
    file: Path, paths: Collection[str], class_of: Mapping[str, str], classes: Collection[str], of_more: bool = False
) -> FileBoxes:
    """The boxes of a file whose images are among `paths`.

    class_of: each path's class; classes: the names of all; of_more: whether the file may have boxes of other images,
    which are left out. Raises UserError naming file and line (or annotation) for what is no box or is meant for other
    images, and for a name that is no image's or may be several's.
    """
    if file.exists() and not file.is_file():
        raise UserError(f"--boxes {file}: cannot be read (it is no plain file); name a CSV or COCO JSON file")
    text = read_utf8(file, f"--boxes {file}", "name a CSV or COCO JSON file")
    check = _class_checker(classes)
    found, listed = FileBoxes(), []
    if file.suffix.lower() == ".json":
        content = parse_coco(file, text, f"--boxes {file}")
        listed = [image.name for image in content.images.values()]
        lines = _coco_lines(content, classes)
    else:
        lines = csv_lines(file, text, found, f"--boxes {file}")
    finder = _Finder(paths, of_more, listed, classes, f"--boxes {file}")
    for line in lines:
        path = finder.path(line.name, line.where)
        if (why := line.why_left_out or (NO_IMAGE if path is None else None)) is not None:
            found.left_out[why] += 1
            continue
        assert path is not None
        other = line.label if line.label != class_of[path] else None
        if other is not None:
            check(other, line.where)
            if other not in classes:
                found.left_out[NO_CLASS] += 1
                found.unknown[other] += 1
                continue
        refuse_shares(line.box, line.where)
        refuse_crossed(line.box, line.where)
        found.predicted |= line.unjudged
        found.accepted |= {path} if line.verdict == "accepted" else set()
        _add(found.of_image.setdefault(path, ImageBoxes(size=line.size)), line, other)
    near = (difflib.get_close_matches(name, classes, n=1) for name, _ in found.unknown.most_common(4))
    found.alike = tuple(dict.fromkeys(name for names in near for name in names))
    return found


def refuse_crossed(box: Box, where: str) -> None:
    """Raise UserError for a box that ends before it begins, as where width and height stand in the place of ends."""
    x0, y0, x1, y1 = box
    if x1 < x0 or y1 < y0:
        raise UserError(
            f"{where}: x0 {x0:g} .. x1 {x1:g}, y0 {y0:g} .. y1 {y1:g} is no box; x1,y1 is its lower right corner "
            f"(where they are width and height, add x0,y0 to them)"
        )


class BoxLine(NamedTuple):
    """A box: where it stands, its image's name, the box; its label and its image's width and height where they are
    told; why it is left out, where it is for itself.
    """

    where: str
    name: str
    box: Box
    label: str | None
    size: tuple[int, int] | None
    why_left_out: str | None = None
    difficult: bool = False
    scored: bool = False
    """Whether it has a score, as a prediction's."""
    verdict: str = ""
    """A review's on its image, where there is one."""

    @property
    def unjudged(self) -> bool:
        """Whether a network predicted it, and nobody has judged it."""
        return self.scored and not self.verdict


def _add(image: ImageBoxes, line: BoxLine, other_class: str | None) -> None:
    image.boxes.append(FileBox(line.box, line.where, other_class, line.difficult))
    image.size = image.size or line.size
    if image.size is not None and line.size not in (None, image.size):
        raise UserError(f"{line.where}: {line.name!r:.80} has two sizes, {image.size} and {line.size}; {CORRECT}")


class _Finder:
    """Finds the images that the names of a file mean."""

    def __init__(
        self, paths: Collection[str], of_more: bool, listed: Sequence[str], classes: Collection[str], said: str
    ) -> None:
        """paths: of the images; of_more: whether the file may have boxes of others; listed: the names of all images of
        the file, where it lists them; classes: of the set; said: how messages name the file.
        """
        self._paths, self._of_more = paths, of_more
        self._names = Names(paths)
        self._own = own_names(listed, self._names, classes)
        if self._own is not None:
            print(f"{said}: {self._own.told}")
        self._like = {_plain(known): known for path in paths for known in (path.rpartition("/")[2], path)}

    def path(self, name: str, where: str) -> str | None:
        """The path of the image of a name; None of no image, where the file may have others. Raises UserError with
        `where` it stands.
        """
        path = self._found(name if self._own is None else self._own.of[name], where)
        if path is None:
            self._refuse_unknown(name, where)
        return path

    def _found(self, name: str, where: str) -> str | None:
        if (path := self._names.whole(name)) is not None:
            return path
        split, _, inside = name.partition("/")
        if split in SPLIT_CALLED:  # as `convert` calls those of a packed set, and a GIF or TIFF x.gif.png
            found = (self._names.whole(each) for each in (inside, inside.rpartition(".")[0]))
            if (path := next(filter(None, found), None)) is not None:
                return path
        candidates = self._names.by_end(name)
        if len(candidates) > 1:
            raise UserError(f"{where}: {name!r} may be {' or '.join(candidates[:3])}; give its path")
        return candidates[0] if candidates else None

    def _refuse_unknown(self, name: str, where: str) -> None:
        if (known := self._like.get(_plain(name))) is not None:
            raise UserError(f"{where}: {name!r:.80} is {known!r:.80} {_BUT_FOR_FORM}")
        if self._of_more:
            return
        example = f" (they are called like {min(self._paths)!r:.80})" if self._paths else ""
        raise UserError(
            f"{where}: {name[:80]!r} is no image of the source{example}; {CORRECT}; or where the file is of more "
            f"images than these, add --boxes-of-more"
        )


_BUT_FOR_FORM = "but for case or Unicode form; write both alike"


def _plain(name: str) -> str:
    """A name without what tells apart names that look alike."""
    return unicodedata.normalize("NFKC", name).casefold().strip()


def _class_checker(classes: Collection[str]) -> Callable[[str, str], None]:
    """A function that refuses a label, by where it stands, that is a class but for its form."""
    by_plain = {_plain(name): name for name in classes}

    def check(label: str, where: str) -> None:
        like = by_plain.get(_plain(label))
        if label not in classes and like is not None:
            raise UserError(f"{where}: {label!r:.80} is the class {like!r:.80} {_BUT_FOR_FORM}")

    return check


def csv_lines(file: Path, text: str, found: FileBoxes, said: str) -> Iterator[BoxLine]:
    """The boxes of a CSV file; what of it is ignored is noted in `found`. said: how messages name the file. Raises
    UserError naming the line for what is no box.
    """
    reader = csv.DictReader(io.StringIO(text, newline=""))
    names = _columns(reader, text, said)
    found.other_columns = tuple(
        name for name in names if name not in ("name", *SIDES, *_SIZE, _LABEL, _DIFFICULT, _VERDICT)
    )
    try:
        for row in reader:
            where = f"{file} line {reader.line_num}"
            values = [row[side] for side in SIDES]
            if None in row:
                raise UserError(
                    f"{where}: found {len(names) + len(row[None])} values for {len(names)} columns; numbers have a "
                    f"decimal point, and a name with a comma stands in quotes"
                )
            if row["name"] and not any(values):
                found.without_edges += 1
                continue
            if not row["name"] or not all(values):
                raise UserError(f"{where}: found {len([*filter(None, row.values())])} values; {CORRECT}")
            size = size_of([row[side] for side in _SIZE], where) if {*_SIZE} <= {*names} else None
            difficult = row.get(_DIFFICULT) or "0"
            if difficult not in ("0", "1"):
                raise UserError(f"{where}: difficult {difficult!r:.40} is neither 0 nor 1; {CORRECT}")
            box, label = box_of(values, where), row.get(_LABEL) or None
            scored = bool(row.get("score"))
            verdict = row.get(_VERDICT) or ""
            if verdict and verdict not in get_args(Verdict):
                known = ", ".join(get_args(Verdict))
                raise UserError(
                    f"{where}: verdict {verdict!r:.40} is none of {known}; correct it, or call the column otherwise"
                )
            yield BoxLine(
                where, row["name"], box, label, size, difficult=difficult == "1", scored=scored, verdict=verdict
            )
    except csv.Error as error:
        raise UserError(f"{file} line {reader.line_num}: {error}; {CORRECT}") from None


def _columns(reader: "csv.DictReader[str]", text: str, said: str) -> Sequence[str]:
    """The names of a CSV file's columns. Raises UserError where they are no file's of boxes."""
    try:
        names = reader.fieldnames or ()
    except csv.Error as error:
        raise UserError(f"{said} line 1: {error}; {CORRECT}") from None
    wanted = {name for name in ("name", *SIDES, _LABEL, _DIFFICULT) if name not in names}
    if {*_SIZE} <= {_plain(name) for name in names}:
        wanted |= {name for name in _SIZE if name not in names}
    if odd := next((name for name in names if _plain(name) in wanted), None):
        raise UserError(
            f"{said} line 1: the column {odd!r:.40} is {_plain(odd)!r} but for its form; write it so, or call it "
            f"otherwise"
        )
    missing = [name for name in ("name", *SIDES) if name not in names]
    if missing:
        first = text.partition("\n")[0]
        if separator := next((each for each in (";", "\t") if each in first and "," not in first), None):
            called = "semicolons" if separator == ";" else "tabs"
            raise UserError(
                f"{said} line 1: columns are separated by {called}; store it with commas, numbers with points"
            )
        raise UserError(
            f"{said} line 1: no column {missing[0]!r}; begin with name,{','.join(SIDES)} (upper left and lower right "
            f"corner; a column label names a box's class)"
        )
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(f"{said} line 1: two columns {twice[0]!r}; give each column its own name")
    if len({*_SIZE} & {*names}) == 1:
        raise UserError(f"{said} line 1: one of {' and '.join(_SIZE)} without the other; give both or neither")
    return names


def _coco_lines(content: CocoFile, classes: Collection[str]) -> Iterator[BoxLine]:
    for each in content.annotations():
        crowd = CROWD if each.crowd else None
        name = None
        if each.category is not None:
            name = each.category.wnid if each.category.wnid in classes else each.category.name
        scored, verdict = "score" in each.fields, each.image.verdict
        yield BoxLine(
            each.where, each.image.name, each.box, name, each.image.size, crowd, each.difficult, scored, verdict
        )
