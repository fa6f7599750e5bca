"""Small sets in the forms that others distribute theirs in, what a review exports, and packing such sets."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from conftest import noise_jpeg
from numpy.typing import NDArray
from PIL import Image

from fastwsol import pack
from fastwsol.dataset.shards import Shards, Split, open_shards
from fastwsol.host.command_line import run_command
from fastwsol.sources.mask_images import read_mask

BIRDS = ("001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross")
FOLDERS = ("n01", "n02")
WIDTH, HEIGHT = 48, 40
"""Of images with masks."""


def png(pixels: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def region(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (WIDTH, HEIGHT)) -> NDArray[np.uint8]:
    found = np.zeros((size[1], size[0]), np.uint8)
    for x0, y0, x1, y1 in boxes:
        found[y0:y1, x0:x1] = 255
    return found


def draw_birds(root: Path) -> None:
    """CUB-200-2011 in its official form: three classes of four images of 80x60, two of each for training."""
    lines: dict[str, list[str]] = {
        name: [] for name in ("images", "image_class_labels", "train_test_split", "bounding_boxes")
    }
    number = 0
    for label, name in enumerate(BIRDS, 1):
        (root / "images" / name).mkdir(parents=True)
        for k in range(4):
            number += 1
            file = f"{name}/{name[4:]}_{k:04d}_{number}.jpg"
            (root / "images" / file).write_bytes(noise_jpeg(number, size=(80, 60)))
            lines["images"].append(f"{number} {file}")
            lines["image_class_labels"].append(f"{number} {label}")
            lines["train_test_split"].append(f"{number} {k % 2}")
            lines["bounding_boxes"].append(f"{number} {k}.0 {label}.5 40.0 30.0")
    for name, each in lines.items():
        (root / f"{name}.txt").write_text("".join(f"{line}\n" for line in each))
    (root / "classes.txt").write_text("".join(f"{label} {name}\n" for label, name in enumerate(BIRDS, 1)))
    (root / "README").write_text("as distributed")


def draw_benchmark(root: Path, fullsup: bool = False) -> None:
    """The WSOL benchmark's metadata beside its images: two classes, two images of train and one of test each, and
    three of val where `fullsup` is asked for; train without boxes.
    """
    for number, (split, count) in enumerate({"train": 2, "test": 1, **({"val": 3} if fullsup else {})}.items()):
        texts = root / "metadata" / split
        texts.mkdir(parents=True)
        lines: dict[str, list[str]] = {name: [] for name in ("class_labels", "image_ids", "image_sizes")}
        boxes = []
        for label, folder in enumerate(FOLDERS):
            for k in range(count):
                path = f"train/{folder}/{k}.JPEG"
                if split != "train":
                    path = f"{'val' if split == 'test' else 'v2'}/{folder}_{k}.JPEG"
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_bytes(noise_jpeg(100 * (number == 2) + 10 * label + k, size=(70, 50)))
                lines["class_labels"].append(f"{path},{label}")
                lines["image_ids"].append(path)
                lines["image_sizes"].append(f"{path},70,50")
                boxes += [f"{path},0,1,69,49", f"{path},{k},2,30,40"]
        for name, each in lines.items():
            (texts / f"{name}.txt").write_text("".join(f"{line}\n" for line in each))
        if split != "train":
            (texts / "localization.txt").write_text("".join(f"{line}\n" for line in boxes))


def draw_benchmark_with_masks(root: Path, masks: Path) -> None:
    """The WSOL benchmark's form with masks for test, without sizes, as OpenImages has it: two classes, one image of
    train and one of test each.
    """
    for split in ("train", "test"):
        texts = {"image_ids": "", "class_labels": ""}
        for label, name in enumerate("ab"):
            path = f"{split}/{name}/0.jpg"
            put(root / path, noise_jpeg(label, size=(WIDTH, HEIGHT)))
            texts["image_ids"] += f"{path}\n"
            texts["class_labels"] += f"{path},{label}\n"
        for name, text in texts.items():
            put(root / "metadata" / split / f"{name}.txt", text.encode())
    lines = "test/a/0.jpg,a/one.png,a/ignored.png\ntest/a/0.jpg,a/two.png,a/ignored.png\ntest/b/0.jpg,b/one.png,\n"
    put(root / "metadata/test/localization.txt", lines.encode())
    put(masks / "a" / "one.png", png(region((0, 0, 10, 10))))
    put(masks / "a" / "two.png", png(region((20, 20, 30, 30))))
    put(masks / "a" / "ignored.png", png(region((5, 5, 25, 25))))
    put(masks / "b" / "one.png", png(region((0, 0, 50, 60), size=(100, 120))))


def accept_all(predictions: Path, reviewed: Path) -> None:
    """Write what the page of the review exports where every image of the sample was accepted."""
    content = json.loads(predictions.read_text())
    of_image: dict[int, list[dict[str, object]]] = {}
    for each in content["annotations"]:
        of_image.setdefault(each["image_id"], []).append({name: each[name] for name in ("category_id", "bbox")})
    for image in content["images"]:
        predicted = of_image.get(image["id"], [])
        verdict = "accepted" if predicted else "rejected"
        image["review"] = {"phase": "sample", "verdict": verdict, "predicted": predicted}
    content["info"] = {"review": {"phases": {"drawn": 0, "sample": len(content["images"]), "uncertain": 0}}}
    reviewed.write_text(json.dumps(content))


def run(command: Any, *arguments: object) -> int:
    return run_command(command, [str(each) for each in arguments])


def packed_again(folder: Path, layout: str, *more: object) -> Shards:
    out = folder.parent / f"{folder.name}-packed"
    assert run(pack.main, "--layout", layout, "--source", folder, "--out", out, *more) == 0
    return open_shards(out)


def mask_of(split: Split, k: int) -> NDArray[np.uint8] | None:
    found = split.mask(k)
    return None if found is None else read_mask(found)
