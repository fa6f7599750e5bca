"""Pascal VOC's folders, which `pack --layout voc` reads.

    JPEGImages/NAME                  the images; those that EXIF or XMP turns upright, encoded anew
    Annotations/NAME.xml             what is in them, an `object` each
    SegmentationObject/NAME.png      of images with masks: the number of the object that a pixel is of, in their order,
                                     255 where it is left out, as are the boxes of a review's objects without masks
    SegmentationClass/NAME.png       the same by class, in the order of labelmap.txt (of up to 254 classes)
    ImageSets/Main/SPLIT.txt         the images of a split; of a set without splits trainval.txt
    ImageSets/Segmentation/SPLIT.txt those of them with masks
    labelmap.txt                     the names of the classes, with the colours of their pixels

VOC counts pixels from 1 and its ends are the last pixels, so edges are rounded outwards to whole ones. `source` of an
XML says where boxes are predictions that nobody has judged; `pack` says so too, then.
"""

import functools
from collections.abc import Mapping
from math import ceil, floor
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fastwsol.formats.folders import as_it_is_read, image_file, in_split, path_inside, upright, write_file
from fastwsol.formats.labelled_images import MOST_NUMBERS, About, Images, LabelledImage, Skipped, object_numbers
from fastwsol.formats.xml_text import xml_text
from fastwsol.sources.encode import encoded
from fastwsol.sources.voc import ACCEPTED, PREDICTED, VOID
from kernels.pixels import IGNORED, OBJECT


def write_voc(folder: Path, splits: Mapping[str, Images], about: About) -> None:
    """Write the images of each split, "" for a set without splits, what is in them, and the names of the classes."""
    for split, images in splits.items():
        _write_split(folder, split, images, about)
    _write_labelmap(folder, about)


def xml_file(name: str) -> PurePosixPath:
    """Where the XML of an image of this name goes, below the folder of annotations."""
    return path_inside(name).with_suffix(".xml")


def _write_split(folder: Path, split: str, images: Images, about: About) -> None:
    names = about.names
    listed: list[str] = []
    with_masks: list[str] = []
    for each in images:
        if isinstance(each, Skipped):
            continue
        path = in_split(path_inside(each.name), split)
        if each.encoded is not None:
            encoded = upright(as_it_is_read(each.encoded(), each.name))
            path = in_split(image_file(each.name, encoded), split)
            write_file(folder / "JPEGImages" / path, encoded)
        stem = path.with_suffix("")
        listed.append(str(stem))
        numbers, labels = _segmentations(each, len(names))
        write_file(folder / "Annotations" / f"{stem}.xml", _xml(each, path, names, numbers is not None))
        if numbers is not None:
            with_masks.append(str(stem))
        for kind, pixels in (("SegmentationObject", numbers), ("SegmentationClass", labels)):
            if pixels is not None:
                write_file(folder / kind / f"{stem}.png", _png(pixels))
    for kind, stems in (("Main", listed), ("Segmentation", with_masks)):
        if stems or kind == "Main":
            text = "".join(f"{name}\n" for name in stems)
            write_file(folder / "ImageSets" / kind / f"{split or 'trainval'}.txt", text.encode())


def _write_labelmap(folder: Path, about: About) -> None:
    """Write `labelmap.txt`, unless a class's name has a colon, which would end it there, or there are more classes
    than colours."""
    if len(about.names) > MOST_NUMBERS or any(":" in name for name in about.names):
        return
    colours = _colours()
    lines = [
        f"{name}:{','.join(map(str, colours[number % 256]))}::\n"
        for number, name in enumerate(["background", *about.names])
    ]
    write_file(folder / "labelmap.txt", "".join(["# label:color_rgb:parts:actions\n", *lines]).encode())


def _xml(image: LabelledImage, path: PurePosixPath, names: list[str], segmented: bool) -> bytes:
    root = ElementTree.Element("annotation")
    _add(root, "folder", str(path.parent))
    _add(root, "filename", str(path))  # below JPEGImages, where tools look for it
    if image.is_predicted or image.is_accepted:
        by = PREDICTED if image.is_predicted else ACCEPTED
        _add(ElementTree.SubElement(root, "source"), "annotation", by)
    size = ElementTree.SubElement(root, "size")
    for name, value in (("width", image.width), ("height", image.height), ("depth", 3)):
        _add(size, name, str(value))
    _add(root, "segmented", str(int(segmented)))
    for each in image.objects:
        thing = ElementTree.SubElement(root, "object")
        parts = (("name", names[each.label]), ("pose", "Unspecified"), ("truncated", "0"))
        for name, text in (*parts, ("difficult", str(int(each.difficult)))):
            _add(thing, name, text)
        edges = ElementTree.SubElement(thing, "bndbox")
        x0, y0, x1, y1 = each.box
        ends = (("xmin", floor(x0) + 1), ("ymin", floor(y0) + 1), ("xmax", ceil(x1)), ("ymax", ceil(y1)))
        for name, value in ends:
            _add(edges, name, str(value))
    ElementTree.indent(root)
    return ElementTree.tostring(root, "utf-8") + b"\n"


def _add(parent: ElementTree.Element, name: str, text: str) -> None:
    ElementTree.SubElement(parent, name).text = xml_text(text)


def _segmentations(image: LabelledImage, class_count: int) -> tuple[NDArray[np.uint8] | None, NDArray[np.uint8] | None]:
    """The pixels [H, W] by the number of their object, and by class; None where there are none, or too many numbers.
    Of overlapping masks `object_numbers` says which is in front. Boxes without a mask are left out, behind all of them.
    Where the image has a mask of its own, that says what is of its class, also where no object has it, and boxes of
    others are left out by class.
    """
    if not any(each.mask is not None for each in image.objects):
        return None, None
    left_out = np.zeros((image.height, image.width), np.bool_)
    if image.mask is not None:
        left_out = image.mask() == IGNORED
    without = np.zeros_like(left_out)
    for each in image.objects:
        if each.mask is None and (image.mask is None or each.label != image.label):
            x0, y0, x1, y1 = each.box
            without[max(0, floor(y0)) : max(0, ceil(y1)), max(0, floor(x0)) : max(0, ceil(x1))] = True
    if image.mask is None:
        left_out |= without
    numbers, _ = object_numbers(image)
    of_no_object = np.zeros_like(left_out)
    if image.mask is not None:
        of_no_object = (image.mask() == OBJECT) & (numbers == 0)
        left_out |= of_no_object
    numbers[left_out & (numbers == 0)] = VOID
    if class_count > MOST_NUMBERS:
        return numbers, None
    label_of = np.full(256, VOID, np.uint8)
    label_of[: len(image.objects[:MOST_NUMBERS]) + 1] = [0, *(each.label + 1 for each in image.objects[:MOST_NUMBERS])]
    labels = label_of[numbers]
    labels[without & (numbers == 0)] = VOID
    if image.label is not None:
        labels[of_no_object] = image.label + 1
    return numbers, labels


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """Numbers [H, W] as PNG with VOC's palette."""
    picture = Image.fromarray(pixels, "P")
    picture.putpalette(_colours().tobytes())
    return encoded(picture, "PNG")


@functools.cache
def _colours() -> NDArray[np.uint8]:
    """VOC's palette, [256, 3]: the bits of a number, from the lowest on, are spread over red, green and blue."""
    number = np.arange(256)
    colours = np.zeros((256, 3), np.int64)
    for level in range(8):
        for channel in range(3):
            colours[:, channel] |= ((number >> channel) & 1) << (7 - level)
        number >>= 3
    return colours.astype(np.uint8)
