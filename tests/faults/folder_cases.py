"""Bad inputs of scripts/pack.py --layout imagefolder: folders of images and files of boxes as people have them."""

import copy
import io
import json
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from .case import Case, Place
from .pack_cases import encoded

CLASSES = ("café", "dog")
NAMES = [f"{name}/{name}{k}.jpg" for name in CLASSES for k in range(3)]
GOOD: dict[str, Any] = {
    "images": [{"id": k, "file_name": name, "width": 64, "height": 48} for k, name in enumerate(NAMES)],
    "annotations": [
        {"id": k, "image_id": k, "category_id": 1 + k // 3, "bbox": [10, 8, 20, 24]} for k in range(len(NAMES))
    ],
    "categories": [{"id": 1 + k, "name": name} for k, name in enumerate(CLASSES)],
}


def photos(place: Place) -> Path:
    """Three images of each class."""
    root = place.root / "photos"
    if not root.exists():
        for name in NAMES:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(encoded("JPEG", size=(64, 48)))
    return root


def flags(place: Place, *more: object) -> list[object]:
    return ["--layout", "imagefolder", "--source", photos(place), "--out", place.out, *more]


def folder_case(name: str, spoil: Callable[[Path], object], *words: str) -> Case:
    def make(place: Place) -> list[object]:
        spoil(photos(place))
        return flags(place)

    return Case("folders", name, make, words)


def boxes_case(name: str, spoil: Callable[[dict[str, Any]], object], *words: str) -> Case:
    def make(place: Place) -> list[object]:
        content = copy.deepcopy(GOOD)
        spoil(content)
        (place.root / "boxes.json").write_text(json.dumps(content))
        return flags(place, "--boxes", place.root / "boxes.json")

    return Case("boxes", name, make, words)


def csv_case(name: str, content: str, *words: str) -> Case:
    def make(place: Place) -> list[object]:
        (place.root / "boxes.csv").write_text(content)
        return flags(place, "--boxes", place.root / "boxes.csv")

    return Case("boxes", name, make, words)


def masks_case(name: str, spoil: Callable[[Path], object], *words: str) -> Case:
    """A mask for each image, in a folder beside them."""

    def make(place: Place) -> list[object]:
        masks = place.root / "masks"
        for image in NAMES:
            (masks / image).parent.mkdir(parents=True, exist_ok=True)
            (masks / image).with_suffix(".png").write_bytes(grey_png((64, 48), 255))
        spoil(masks)
        return flags(place, "--masks", masks)

    return Case("masks", name, make, words)


def grey_png(size: tuple[int, int], grey: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", size, grey).save(file, "PNG")
    return file.getvalue()


def grey_mask(size: tuple[int, int], colour: int) -> Callable[[Path], object]:
    """Another first mask of the dogs."""
    return lambda masks: (masks / "dog" / "dog0.png").write_bytes(grey_png(size, colour))


def class_behind_a_link(root: Path) -> None:
    (root / "dog").rename(root.parent / "dogs")
    (root / "dog").symlink_to(root.parent / "dogs")


def val_behind_a_link(root: Path) -> None:
    shutil.copytree(root, root.parent / "elsewhere")
    moved = root.rename(root.parent / "train")
    root.mkdir()
    moved.rename(root / "train")
    (root / "val").symlink_to(root.parent / "elsewhere")


def image_in(folder: str) -> Callable[[Path], object]:
    """An image in a folder below a class."""

    def spoil(root: Path) -> None:
        (root / "dog" / folder).mkdir()
        (root / "dog" / folder / "1.jpg").write_bytes(encoded("JPEG", size=(64, 48)))

    return spoil


def unknown_splits(root: Path) -> None:
    moved = root.rename(root.parent / "part1")
    root.mkdir()
    shutil.copytree(moved, root / "part2")
    moved.rename(root / "part1")


def photographs_of_another_kind(root: Path) -> None:
    for path in (root / "dog").iterdir():
        path.rename(path.with_suffix(".jxl"))


def change_all(part: str, **values: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], None]:
    def spoil(content: dict[str, Any]) -> None:
        for each in content[part]:
            each.update({name: value(each) for name, value in values.items()})

    return spoil


CASES = [
    folder_case(
        "a folder of two lines below a class", image_in("day\n1"), "its name is no text in UTF-8 of a single line"
    ),
    Case(
        "folders",
        "shards among the classes",
        lambda place: ["--layout", "imagefolder", "--source", photos(place), "--out", photos(place) / "shards"],
        ("photos/shards: lies in --source ", "among its class folders", "name a folder elsewhere"),
    ),
    folder_case("a class that is a link", class_behind_a_link, "photos/dog: is a link to a folder outside", "--follow"),
    folder_case("a val that is a link", val_behind_a_link, "photos/val: is a link to a folder outside", "--follow"),
    folder_case("splits of unknown names", unknown_splits, "all hold the same folders", "name them train and val"),
    folder_case(
        "a class of another kind of photographs",
        photographs_of_another_kind,
        "photos/dog: class dog has no images to train on (3 files ignored, as photographs that end in .jxl",
        "convert them to JPEG",
    ),
    folder_case(
        "a class in two Unicode forms",
        lambda root: shutil.copytree(root / "café", root / unicodedata.normalize("NFD", "café")),
        "beside it but for Unicode form",
    ),
    boxes_case(
        "sizes that are not the images'",
        change_all("images", width=lambda _: 32, height=lambda _: 24),
        "the image has 64x48 pixels, and its annotation says 32x24",
    ),
    boxes_case(
        "boxes in shares",
        change_all("annotations", bbox=lambda _: [0.1, 0.2, 0.5, 0.5]),
        "boxes.json annotation 0 (id 0): edges (0.1, 0.2, 0.6, 0.7) lie between 0 and 1",
        "multiply them by its width and height",
    ),
    boxes_case(
        "ids of two files", change_all("images", id=lambda each: each["id"] % 4), "image 4: its id 0 is another's"
    ),
    boxes_case(
        "categories from 0",
        change_all("annotations", category_id=lambda each: each["category_id"] - 1),
        "category_id 0 is none of the file's categories (1, 2)",
    ),
    boxes_case(
        "a category in another case",
        lambda content: content["categories"][1].update(name="DOG"),
        "'DOG' is the class 'dog' but for case or Unicode form",
    ),
    boxes_case(
        "a name in another case",
        lambda content: content["images"][3].update(file_name="dog/DOG0.jpg"),
        "'dog/DOG0.jpg' is 'dog/dog0.jpg' but for case or Unicode form",
    ),
    boxes_case(
        "categories of other classes alone",
        change_all("categories", name=lambda _: "person"),
        "no box is used: 6 boxes, 0 used, 6 left out (6 of no class of the set)",
    ),
    boxes_case("no box at all", lambda content: content["annotations"].clear(), "it holds no box"),
    csv_case("CSV in shares", "name,x0,y0,x1,y1\ndog0.jpg,.1,.2,.6,1\n", "boxes.csv line 2: edges (0.1, 0.2, 0.6, 1)"),
    csv_case(
        "a difficult that is a word",
        "name,x0,y0,x1,y1,difficult\ndog0.jpg,10,8,30,32,yes\n",
        "boxes.csv line 2: difficult 'yes' is neither 0 nor 1",
    ),
    csv_case(
        "difficult boxes alone",
        "name,x0,y0,x1,y1,difficult\ndog0.jpg,10,8,30,32,1\n",
        "no box is used: 1 boxes, 0 used, 1 kept but no ground truth (1 difficult)",
    ),
    masks_case("masks that are not there", shutil.rmtree, "masks: no such folder or zip; name the one that holds"),
    masks_case(
        "masks of other images",
        lambda masks: [path.rename(path.with_stem(f"{path.stem}-mask")) for path in masks.rglob("*.png")],
        "none of the 6 masks there is of an image; the mask of café/café0.jpg is café/café0.jpg.png or",
    ),
    masks_case(
        "a mask of another size",
        grey_mask((48, 64), 255),
        "dog/dog0.jpg: its mask",
        "has 48x64 pixels, its image 64x48",
        "save it as PNG of 8 bits grey",
    ),
    masks_case("a mask of classes", grey_mask((64, 48), 3), "masks/dog/dog0.png has a pixel of 3"),
    masks_case(
        "a mask in colours",
        lambda masks: (masks / "dog" / "dog0.png").write_bytes(encoded("PNG", size=(64, 48))),
        "masks/dog/dog0.png is a PNG of mode RGB",
    ),
    masks_case(
        "a mask that is a text",
        lambda masks: (masks / "dog" / "dog0.png").write_text("mask"),
        "masks/dog/dog0.png cannot be read as a mask (it is no PNG)",
    ),
    csv_case(
        "CSV of another size",
        "name,width,height,x0,y0,x1,y1\ndog0.jpg,640,480,100,80,300,320\n",
        "the image has 64x48 pixels, and its annotation says 640x480",
    ),
]
