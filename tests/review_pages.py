"""Pages of `python -m fastwsol.review` in a browser, and the hands that work on them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from conftest import noise_jpeg
from pycocotools import mask as coco_mask

from fastwsol import review
from fastwsol.host.command_line import run_command

CLASSES = ["cat", "dog </script> & co", "größe"]
WIDTH, HEIGHT = 200, 120
BOX = [40.0, 30.0, 90.0, 60.0]


def predictions_of(folder: Path, count: int) -> Path:
    """Predictions of so many images, with masks; image k has the score k / count, and every tenth no box."""
    (folder / "images").mkdir()
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    pixels[30:90, 40:130] = 1
    runs = {"size": [HEIGHT, WIDTH], "counts": coco_mask.encode(pixels)["counts"].decode()}
    images, annotations = [], []
    for k in range(count):
        (folder / "images" / f"{k:04}.jpg").write_bytes(noise_jpeg(k % 7, size=(WIDTH, HEIGHT)))
        images.append(
            {
                "id": k + 1,
                "file_name": f"{k:04}.jpg",
                "width": WIDTH,
                "height": HEIGHT,
                "category_id": 1 + k % 3,
                "probabilities": [0.5, 0.25, 0.25],
            }
        )
        if k % 10 != 9:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": k + 1,
                    "category_id": 1 + k % 3,
                    "bbox": BOX,
                    "segmentation": runs,
                    "area": 5400,
                    "score": k / count,
                    "probability": 0.5,
                }
            )
    categories = [{"id": k, "name": name, "wnid": name} for k, name in enumerate(CLASSES, 1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "p.json").write_text(json.dumps(content))
    return folder / "p.json"


def write_page(folder: Path, *more: object) -> Path:
    flags = [folder / "p.json", "--images", folder / "images", "--out", folder / "review.html", *more]
    assert run_command(review.main, [str(each) for each in flags]) == 0
    return folder / "review.html"


def exported(tab: Any, folder: Path) -> dict[str, Any]:
    with tab.expect_download() as download:
        tab.keyboard.press("e")
    download.value.save_as(folder / "reviewed.json")
    return json.loads((folder / "reviewed.json").read_text())


def order_of(path: Path) -> list[dict[str, Any]]:
    """The images as the page has them."""
    text = path.read_text().partition('id="data">')[2].partition("</script>")[0]
    return json.loads(text)["images"]


def place(tab: Any, x: float, y: float) -> tuple[float, float]:
    """Where a point of the image lies on the page."""
    frame = tab.locator("#boxes").bounding_box()
    return frame["x"] + x / WIDTH * frame["width"], frame["y"] + y / HEIGHT * frame["height"]


def drag(tab: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    tab.mouse.move(*place(tab, *start))
    tab.mouse.down()
    tab.mouse.move(*place(tab, *[(a + b) / 2 for a, b in zip(start, end, strict=True)]))
    tab.mouse.move(*place(tab, *end))
    tab.mouse.up()
