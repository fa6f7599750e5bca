"""Class folders, which `pack --layout imagefolder` reads, with boxes and masks beside them.

    images/[SPLIT/]CLASS/NAME          the images, each in the folder of its class
    masks/[SPLIT/]CLASS/NAME.png       the masks of those that have one (`png_masks`), of objects of that class alone
    boxes.csv                          `name,x0,y0,x1,y1,label,difficult,width,height,score,verdict`, a line
                                       a box

A folder is called by the class's id, which of a set of class folders is its name. An image whose path has its split and
class in it keeps what stands behind them. Scores stand with boxes that a network predicted and nobody has judged; the
verdict is that of a review on the image.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from fastwsol.formats.folders import as_it_is_read, image_file, path_inside, upright, write_file
from fastwsol.formats.labelled_images import About, Images, LabelledImage, Skipped, class_of
from fastwsol.formats.png_masks import has_mask, save_mask
from fastwsol.host.errors import UserError
from fastwsol.host.files import csv_text

_HEAD = ("name", "x0", "y0", "x1", "y1", "label", "difficult", "width", "height", "score", "verdict")


def write_class_folders(folder: Path, splits: Mapping[str, Images], about: About) -> None:
    """Write the images of each split, "" for a set without splits, but for those without a class. Raises UserError for
    a class that can be no folder, and where no image has a class.
    """
    lines: list[tuple[object, ...]] = [_HEAD]
    for split, images in splits.items():
        for each in images:
            if isinstance(each, Skipped) or (label := class_of(each)) is None:
                continue
            assert each.encoded is not None
            encoded = upright(as_it_is_read(each.encoded(), each.name))
            path = split / _in_class(image_file(each.name, encoded), split, _folder_of(about.classes[label].wnid))
            write_file(folder / "images" / path, encoded)
            save_mask(folder / "masks", replace(_of_its_class(each, label), name=str(path)))
            lines += _boxes(each, path, about)
    if not (folder / "images").exists():
        raise UserError("--format class-folders: no image has a class; choose another format")
    write_file(folder / "boxes.csv", csv_text(lines).encode())


def has_mask_of_its_class(image: LabelledImage) -> bool:
    """Whether the mask of an image is written."""
    label = class_of(image)
    return label is not None and has_mask(_of_its_class(image, label))


def _of_its_class(image: LabelledImage, label: int) -> LabelledImage:
    """With the objects of its class alone; where all are of others, it has no mask: nobody said that its own class is
    not there.
    """
    return replace(image, objects=tuple(thing for thing in image.objects if thing.label == label))


def _folder_of(wnid: str) -> str:
    if path_inside(wnid) != PurePosixPath(wnid) or "/" in wnid:
        raise UserError(f"--format class-folders: the class {wnid!r} can be no folder; choose another format")
    return wnid


def _in_class(path: PurePosixPath, split: str, name: str) -> PurePosixPath:
    """The path of an image below its split, in the folder of its class."""
    parts = path.parts
    for before in (split, name):
        if len(parts) > 1 and parts[0] == before:
            parts = parts[1:]
    return PurePosixPath(name, *parts)


def _boxes(image: LabelledImage, path: PurePosixPath, about: About) -> list[tuple[object, ...]]:
    return [
        (
            path,
            *(f"{edge:.9g}" for edge in each.box),
            about.classes[each.label].wnid,
            int(each.difficult),
            *(image.width, image.height),
            "" if image.verdict or each.score is None else f"{each.score:.6g}",
            image.verdict,
        )
        for each in image.objects
    ]
