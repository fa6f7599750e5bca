"""python docs/pictures/draw.py OUT.jpg IMAGE BOXES.json [IMAGE BOXES.json ...]: photographs, each with mask and box.

The picture of the README is of two photographs that scikit-image ships, both CC0: `chelsea` by Stefan van der Walt,
predicted by a run of `train --preset photos` on three breeds of pets, and `coffee` by Rachel Michetti, predicted by

    python -m fastwsol.predict --backbone tf_efficientnet_lite0 coffee.png --class cup --threshold 0.4 --out boxes.json
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask

HEIGHT, GAP = 300, 10

tiles = []
for image, predictions in zip(sys.argv[2::2], sys.argv[3::2], strict=True):
    annotation = json.loads(Path(predictions).read_text())["annotations"][0]
    pixels = np.asarray(Image.open(image).convert("RGB")).astype(float)
    inside = mask.decode(annotation["segmentation"]).astype(bool)
    pixels[inside] = 0.55 * pixels[inside] + 0.45 * np.array([255, 47, 160])
    tile = Image.fromarray(pixels.astype(np.uint8))
    canvas = ImageDraw.Draw(tile)
    x, y, width, height = annotation["bbox"]
    canvas.rectangle([x, y, x + width - 1, y + height - 1], outline=(0, 0, 0), width=5)
    canvas.rectangle([x + 1, y + 1, x + width - 2, y + height - 2], outline=(255, 212, 0), width=3)
    tiles.append(tile.resize((round(tile.width * HEIGHT / tile.height), HEIGHT), Image.Resampling.LANCZOS))
picture = Image.new("RGB", (sum(tile.width for tile in tiles) + GAP * (len(tiles) - 1), HEIGHT), "white")
left = 0
for tile in tiles:
    picture.paste(tile, (left, 0))
    left += tile.width + GAP
picture.save(sys.argv[1], quality=86)
