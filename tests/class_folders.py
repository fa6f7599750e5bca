"""Class folders of noise for the tests of `imagefolder`, and what is asked of them."""

from pathlib import Path

from conftest import noise_jpeg

from fastwsol.dataset.shards import Split
from fastwsol.sources.imagefolder import ImageFolder

CLASSES = ("bird", "cat", "dog")
SIZES = [(64, 48), (40, 90), (33, 33)]


def fill(folder: Path, per_class: int, first: int = 0) -> None:
    """Class folders with `per_class` images each, some of them one folder deeper."""
    for label, name in enumerate(CLASSES):
        for k in range(first, first + per_class):
            path = folder / name / ("deep" if k % 3 == 2 else "") / f"{name}_{k}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(noise_jpeg(100 * label + k, size=SIZES[k % 3]))


def ten_of_each_class(folder: Path) -> Path:
    """With two files that are no images."""
    fill(folder, 10)
    (folder / "readme.txt").write_text("hello")
    (folder / "cat" / "labels.csv").write_text("x")
    return folder


def train_and_val(folder: Path) -> Path:
    """Three and two images of each class."""
    fill(folder / "train", 3)
    fill(folder / "val", 2, first=50)
    return folder


def names(source: ImageFolder, split: str) -> list[str]:
    return [record.name for record in source.records(split)]


def boxes_of(split: Split) -> dict[str, list[list[float]]]:
    offsets = split.box_offsets
    every = split.names(range(len(split)))
    return {
        name: split.boxes[offsets[k] : offsets[k + 1]].tolist()
        for k, name in enumerate(every)
        if offsets[k + 1] > offsets[k]
    }


def pack_flags(photos: Path, *arguments: object) -> list[str]:
    return [
        "--layout",
        "imagefolder",
        "--source",
        str(photos),
        "--out",
        str(photos.parent / "out"),
        *map(str, arguments),
    ]


def split_names(photos: Path, **more: bool) -> dict[str, list[str]]:
    source = ImageFolder(photos, **more)
    return {split: names(source, split) for split in ("train", "val")}
