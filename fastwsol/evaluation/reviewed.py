"""What somebody knows of predicted images: a review's export, or anyone's boxes in COCO's JSON or as CSV."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast, get_args

import numpy as np
from numpy.typing import NDArray

from fastwsol.formats.labelled_images import About, LabelledImage
from fastwsol.host.errors import UserError
from fastwsol.sources.boxes import CORRECT, Box, lies_in
from fastwsol.sources.coco_json import CocoAnnotation, CocoFile
from fastwsol.sources.known_boxes import image_finder, names_of_both
from fastwsol.sources.verdicts import Phase, Verdict

Known = Verdict | Literal["boxes"]
"""What is known of an image: what a review says, or boxes from elsewhere."""
Wrong = Literal["class", "box", "both"]
"""What is wrong with the best object of a rejected image."""


class KnownObject(NamedTuple):
    """An object: a label of the predictions' classes, -1 for another class, and its box in the image's pixels."""

    label: int
    box: Box


@dataclass(frozen=True)
class KnownImage:
    """What is known of an image."""

    kind: Known
    phase: Phase | None
    """Of a review."""
    objects: tuple[KnownObject, ...]
    boxes_kept: bool = True
    """Whether the boxes are those predicted, of a corrected image."""
    wrong: Wrong | None = None
    """Of a rejected image, where it was said."""


@dataclass(frozen=True)
class KnownImages:
    """The n reviewed images, in the order of the predictions."""

    places: NDArray[np.int64]
    """Among the predictions: [n]."""
    images: list[KnownImage]
    phases: Mapping[str, int]
    """How many images a review has in each phase; of a file that is no review none."""
    not_predicted: int
    """How many images of the file are none of the predictions'."""
    without_box: int
    """How many of the predicted images the file knows without a box that counts: they are not reviewed."""
    other_classes: Mapping[str, int]
    """How many known boxes are of each class that is none of the predictions'."""

    def of(self, *kinds: Known) -> NDArray[np.bool_]:
        """Which are of these kinds."""
        return np.array([each.kind in kinds for each in self.images], np.bool_)

    def in_phase(self, *phases: Phase) -> NDArray[np.bool_]:
        """Which were reviewed in these phases."""
        return np.array([each.phase in phases for each in self.images], np.bool_)

    @property
    def of_unknown_fault(self) -> NDArray[np.bool_]:
        """Which were rejected without a word whether class or box is wrong."""
        return np.array([each.kind == "rejected" and each.wrong is None for each in self.images], np.bool_)

    @property
    def by_chance(self) -> NDArray[np.bool_]:
        """Which were drawn from all images, not chosen for their certainty, and judged: a rejection of an image whose
        box was not shown says nothing of that.
        """
        return ~self.in_phase("uncertain") & ~(self.in_phase("drawn") & self.of("rejected"))


def known_images(images: Sequence[LabelledImage], about: About, file: CocoFile) -> KnownImages:
    """What a file knows of predicted images.

    Raises UserError where there is none, where the two share no class, where an image is of another size in each, or
    where a review was of other predictions.
    """
    place_of = {image.name: place for place, image in enumerate(images)}
    find = image_finder(place_of, file, f"--reviewed {file.path}")
    label_of = _labels_of(about, file)
    phases = _phases(file)
    of_image = _known_boxes(file, is_review=phases is not None)
    known: dict[int, KnownImage] = {}
    seen: list[Any] = []
    not_predicted = without_box = 0
    for number, image in file.images.items():
        name = find(image.name)
        if name is None:
            not_predicted += 1
            continue
        place = place_of[name]
        predicted = images[place]
        if place in known:
            raise UserError(f"{image.where}: {image.name!r:.80} is listed twice; give each image once")
        if image.size not in (None, (predicted.width, predicted.height)):
            raise UserError(
                f"{image.where}: {image.name!r:.80} has {image.size} pixels, and {predicted.width}x{predicted.height} "
                f"were predicted; give what is known of these very images"
            )
        _refuse_outside(of_image.get(number, []), predicted)
        objects = tuple(
            KnownObject(-1 if each.category is None else label_of.get(each.category.wnid, -1), each.box)
            for each in of_image.get(number, [])
        )
        if phases is not None:
            known[place] = _of_review(image.review, objects, predicted, image.where)
        elif objects:
            known[place] = KnownImage("boxes", None, objects)
        else:
            without_box += 1
            continue
        seen.append(number)
    if not known:
        raise UserError(
            f"--reviewed {file.path}: none of its images is among the predictions{names_of_both(file, [*place_of])}; "
            f"give what was exported of these predictions' review, or boxes under the same names"
        )
    known = dict(sorted(known.items()))  # certainties are fitted to parts of them, whatever the file's order
    others = _other_classes(of_image, seen, label_of)
    return KnownImages(np.array([*known]), [*known.values()], phases or {}, not_predicted, without_box, others)


def _refuse_outside(annotations: Sequence[CocoAnnotation], image: LabelledImage) -> None:
    """Raise UserError where a box reaches out of its image, as those of a larger copy of it do."""
    for each in annotations:
        if not lies_in(each.box, image.width, image.height):
            shown = ", ".join(f"{edge:g}" for edge in each.box)
            raise UserError(
                f"{each.where}: a box of {image.name!r:.80}, ({shown}), reaches outside its {image.width}x"
                f"{image.height} pixels; give boxes of these very images"
            )


def _other_classes(
    of_image: Mapping[Any, Sequence[CocoAnnotation]], seen: Collection[Any], label_of: Mapping[str, int]
) -> dict[str, int]:
    """How many boxes are of each class that is none of the predictions', in the images `seen`."""
    named = (each.category for image in seen for each in of_image.get(image, []) if each.category is not None)
    return dict(Counter(one.name for one in named if label_of.get(one.wnid, -1) < 0))


def _known_boxes(file: CocoFile, is_review: bool) -> dict[Any, list[CocoAnnotation]]:
    """A file's boxes, but for crowds and difficult ones, by their image's id. Raises UserError where they are
    predictions.
    """
    of_image: dict[Any, list[CocoAnnotation]] = defaultdict(list)
    for each in file.annotations():
        if not is_review and ("score" in each.fields or file.content.get("predicted")):
            raise UserError(
                f"--reviewed {file.path}: its boxes have scores, so they are predictions and no review; give what the "
                f"page exported, or known boxes (perhaps the two files are the wrong way round)"
            )
        if not is_review and each.image.verdict == "accepted":
            raise UserError(
                f"--reviewed {file.path}: has predicted boxes that a review accepted, which are no ground truth; give "
                f"what the page exported (COCO's JSON), which tells how each image was reviewed"
            )
        if each.counts:
            of_image[each.image_id].append(each)
    return of_image


def _labels_of(about: About, file: CocoFile) -> dict[str, int]:
    """The predictions' labels of a file's classes, by wnid: those of the same wnid, else of the same name."""
    by_wnid = {one.wnid: label for label, one in enumerate(about.classes)}
    by_name = {one.name: label for label, one in enumerate(about.classes)}
    if not file.categories and file.path.suffix.lower() == ".csv":
        raise UserError(f"--reviewed {file.path}: has no column label; give each box the name of its class there")
    found = {one.wnid: by_wnid.get(one.wnid, by_name.get(one.name, -1)) for one in file.categories.values()}
    ours = {name.casefold(): name for name in (*by_name, *by_wnid)}
    for one in file.categories.values():
        if found[one.wnid] < 0 and (like := ours.get(one.name.casefold())) is not None:
            raise UserError(
                f"--reviewed {file.path}: {one.name!r:.60} is the predictions' class {like!r:.60} but for case; write "
                f"both alike"
            )
    if all(label < 0 for label in found.values()):
        named = ", ".join([*found][:3]) or "none"
        raise UserError(
            f"--reviewed {file.path}: its categories ({named}) are none of the predictions' classes "
            f"({', '.join([*by_wnid][:3])}); name classes alike in both"
        )
    return found


def _phases(file: CocoFile) -> dict[str, int] | None:
    """How many images a review has in each phase; None where the file is no review's."""
    info = file.content.get("info")
    review = info.get("review") if isinstance(info, dict) else None
    if review is None:
        return None
    phases = review.get("phases") if isinstance(review, dict) else None
    if isinstance(phases, dict) and all(type(each) is int for each in phases.values()):
        return phases
    raise UserError(f"--reviewed {file.path}: its review has no phases; give the file that the page exported")


def _of_review(
    said: Mapping[str, Any],
    objects: tuple[KnownObject, ...],
    image: LabelledImage,
    where: str,
) -> KnownImage:
    verdict, phase = said.get("verdict"), said.get("phase")
    if verdict not in get_args(Verdict) or phase not in get_args(Phase):
        raise UserError(f"{where}: its review is {dict(said)!r:.60}, no verdict and phase; {CORRECT}")
    wrong = said.get("wrong")
    if wrong is not None and (wrong not in get_args(Wrong) or verdict != "rejected"):
        raise UserError(
            f"{where}: its review says that {wrong!r:.40} is wrong, and the image is {verdict}; class, box or both may "
            f"be wrong, of a rejected one; {CORRECT}"
        )
    _refuse_other_predictions(said.get("predicted"), image, where)
    predicted = [each.box for each in image.objects]
    boxes_kept = len(objects) == len(predicted) and bool(
        np.allclose([each.box for each in objects] or 0, predicted or 0, atol=1e-3)
    )
    return KnownImage(cast(Verdict, verdict), cast(Phase, phase), objects, boxes_kept, cast(Wrong | None, wrong))


def _refuse_other_predictions(said: Any, image: LabelledImage, where: str) -> None:
    """Raise UserError where what a review says was predicted of an image is not what the predictions say."""
    ours = [[each.label + 1, *each.box] for each in image.objects]
    try:
        theirs = [
            [each["category_id"], x, y, x + width, y + height]
            for each in said
            for x, y, width, height in [each["bbox"]]
        ]
        same = len(ours) == len(theirs) and bool(np.allclose(ours or 0.0, theirs or 0.0, atol=0.01))
    except (KeyError, TypeError, ValueError):
        same = False
    if not same:
        raise UserError(
            f"{where}: {image.name!r:.80} was reviewed with other predictions than these; give those that the page was "
            f"made of, or review these"
        )
