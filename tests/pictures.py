"""Class folders of pictures of many sizes: a disc or a square, bright on dark, at any place, with its box."""

from pathlib import Path

import numpy as np
from PIL import Image


def draw_class_folders(root: Path) -> None:
    """Write train/CLASS, val/CLASS and boxes.csv below `root`, as `pack.py --layout imagefolder --boxes` takes them."""
    draw = np.random.default_rng(0)
    lines = ["name,x0,y0,x1,y1"]
    for split, count in (("train", 12), ("val", 5)):
        for label, shape in enumerate(("disc", "square")):
            (root / split / shape).mkdir(parents=True)
            for k in range(count):
                width, height = (int(each) for each in draw.integers(90, 150, 2))
                pixels = draw.integers(0, 60, (height, width, 3))
                side = int(draw.integers(40, 60))
                x, y = int(draw.integers(0, width - side)), int(draw.integers(0, height - side))
                rows, columns = np.mgrid[:height, :width]
                inside = (rows >= y) & (rows < y + side) & (columns >= x) & (columns < x + side)
                if label == 0:
                    inside = (rows - y - side / 2) ** 2 + (columns - x - side / 2) ** 2 < (side / 2) ** 2
                pixels[inside] = (250, 200, 40) if label == 0 else (60, 120, 250)
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / shape / f"{k}.png")
                lines.append(f"{split}/{shape}/{k}.png,{x},{y},{x + side},{y + side}")
    (root / "boxes.csv").write_text("\n".join(lines))
