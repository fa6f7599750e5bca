"""Where a run's maps are best cut, by the boxes that are known of some of the images."""

import sys
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from fastwsol.dataset.ragged_boxes import offsets_of
from fastwsol.evaluation.thresholds import BY_BOXES, LEAST_IMAGES, Cut, choose_levels
from fastwsol.evaluation.truths import Truths
from fastwsol.host.errors import UserError
from fastwsol.host.words import number_of
from fastwsol.prediction.predictions import Prediction, Request
from fastwsol.prediction.predictor import Predictor
from fastwsol.prediction.user_images import NamedImage
from fastwsol.sources import Class
from fastwsol.sources.boxes import Box, lies_in
from fastwsol.sources.coco_json import CocoFile, unjudged_images
from fastwsol.sources.known_boxes import image_finder, names_of_both, read_known_boxes


def cut_on_boxes(predictor: Predictor, request: Request, images: Sequence[NamedImage], file: Path) -> Cut:
    """The cut at which most of the boxes in a file (`fastwsol.sources.known_boxes`) are hit at IoU 0.5, by the maps of
    the class that is requested. Of equals, the nearest to where the run cuts.

    Raises UserError where the file cannot be read, tells another size of an image than it has, has a box that reaches
    outside of its image, or knows boxes of fewer than `LEAST_IMAGES` of the images.
    """
    content = read_known_boxes(file, f"--cut-on {file}")
    find = image_finder((image.name for image in images), content, f"--cut-on {file}")
    if unjudged := unjudged_images(content):
        raise UserError(
            f"--cut-on {file}: {number_of(unjudged, 'image')} in it with boxes that have scores: a network predicted "
            f"them, and nobody has judged them; give known boxes, or a review's export"
        )
    known = _known_boxes(predictor, request, images, content, find)
    with_boxes = [image for image in images if image.name in known]
    of_that_class = Request(of_class=request.of_class)
    found = [each for each in predictor.stream(with_boxes, of_that_class) if isinstance(each, Prediction)]
    if len(found) < LEAST_IMAGES:
        raise UserError(
            f"--cut-on {file}: has boxes of {len(found)} of the images, and {LEAST_IMAGES} at least are needed"
            f"{names_of_both(content, [image.name for image in images])}; give a review's export of these images, or "
            f"boxes under the same names, or leave the flag out"
        )
    size_in_file = {find(image.name): image.size for image in content.images.values()}
    for each in found:
        told, here = size_in_file[each.name], (each.width, each.height)
        if told is not None and told != here:
            raise UserError(
                f"--cut-on {file}: {each.name} has {told[0]}x{told[1]} pixels there, and {here[0]}x{here[1]} here; "
                f"give boxes of these very images"
            )
        for box in known[each.name]:
            if not lies_in(box, *here):
                shown = ", ".join(f"{edge:g}" for edge in box)
                raise UserError(
                    f"--cut-on {file}: a box of {each.name}, ({shown}), reaches outside its {here[0]}x{here[1]} "
                    f"pixels; give boxes of these very images"
                )
    sizes = np.array([(each.width, each.height) for each in found], np.int32)
    boxes = [known[each.name] for each in found]
    views, offsets = predictor.info.config.views, offsets_of([len(each) for each in boxes])
    truths = Truths(sizes[:, 0], sizes[:, 1], np.array([*chain(*boxes)], np.float32), offsets, views.fit)
    maps = np.stack([each.maps[0] for each in found])
    curve = truths.shown.curve_hits(maps, views.image_size, predictor.localizer.scale)
    names = {each.name for each in found}
    # An accepted box is that of the cut it was predicted at.
    accepted = sum(each.verdict == "accepted" for each in content.images.values() if find(each.name) in names)
    if request.of_class is None:
        _warn_of_one_class(predictor, content, find, found, file)
    if unknown := sum(find(image.name) is None for image in content.images.values()):
        print(f"--cut-on {file}: images of it that are none of these: {unknown:,} of {len(content.images):,}")
    of_those = f", {accepted} of which were merely accepted" if accepted else ""
    by_whom = f"{len(found)} images of {file.name}, {BY_BOXES}{of_those}"
    return choose_levels(curve, by_whom, predictor.cut.value).cut()


def _warn_of_one_class(
    predictor: Predictor,
    content: CocoFile,
    find: Callable[[str], str | None],
    found: Sequence[Prediction],
    file: Path,
) -> None:
    """Say where the boxes of the images that were found are all of one class of several, whose maps may be like no
    others'. Where the file names no classes, those that are predicted count.
    """
    names = {each.name for each in found}
    of_those = (each for each in content.annotations() if each.category and find(each.image.name) in names)
    classes = {each.category.wnid for each in of_those if each.category}
    said = "the boxes are all of one class" if classes else "the images with boxes are all taken for one class"
    classes = classes or {each.classes[0].name for each in found}
    if len(classes) == 1 and len(predictor.info.classes) > 1:
        print(
            f"warning: --cut-on {file}: {said}, {min(classes)}, and images of others may be cut badly; give boxes of "
            f"all classes",
            file=sys.stderr,
        )


def _known_boxes(
    predictor: Predictor,
    request: Request,
    images: Sequence[NamedImage],
    content: CocoFile,
    find: Callable[[str], str | None],
) -> dict[str, list[Box]]:
    """The boxes of a file by the names of the images that it means, crowds and difficult ones left out. Where a class
    is asked for, of all images or of each its own, those of other classes of the run are left out too, and counted. A
    category that is no class of the run, as `object`, is any.
    """
    classes, of_all = predictor.info.all_classes, predictor.check(request)
    asked = {image.name: of_all if image.label is None else image.label for image in images}
    boxes: dict[str, list[Box]] = {}
    others = 0
    for each in content.annotations():
        name = find(each.image.name) if each.counts else None
        if name is None:
            continue
        label, category = asked.get(name), each.category
        of_another = label is not None and category is not None and not _is_named(classes[label], category)
        if of_another and any(_is_named(one, category) for one in classes):
            others += 1
            continue
        boxes.setdefault(name, []).append(each.box)
    if others:
        print(f"boxes of other classes than the one that is asked for, left out: {others:,}")
    return boxes


def _is_named(one: Class, category: Class | None) -> bool:
    """Whether a file's category means a class."""
    return category is not None and (category.wnid in (one.wnid, one.name, one.short_name) or category.name == one.name)
