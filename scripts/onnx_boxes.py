"""python scripts/onnx_boxes.py MODEL.onnx IMAGES...: the class and box of each image, by onnxruntime, without torch."""

import json
import signal
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps
from scipy import ndimage

signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it without a word
if len(sys.argv) < 3:
    sys.exit("usage: python scripts/onnx_boxes.py MODEL.onnx IMAGES...")
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
about = {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
side, resampler = about["image_size"], Image.Resampling[about["resampler"].upper()]
for path in sys.argv[2:]:
    if Path(path).is_dir():
        sys.exit(f"error: {path}: is a folder; name the images in it")
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip at 255
        image = Image.fromarray(((np.asarray(image).astype(np.int64) + 128) // 257).astype(np.uint8))
    image = image.convert("RGB")
    x = y = 0
    if about["fit"] == "crop":  # the network sees the middle square
        square = min(image.size)
        x, y = (image.width - square) // 2, (image.height - square) // 2
        image = image.crop((x, y, x + square, y + square))
    pixels = np.asarray(image.resize((side, side), resampler))
    (logits,), (maps,) = session.run(["logits", "maps"], {"pixels": pixels[np.newaxis]})
    label = logits.argmax()
    cam = Image.fromarray(maps[label if about["class_specific"] else 0])
    shares = np.asarray(cam.resize((side, side), Image.Resampling.BILINEAR))
    if about["scale"] == "min-max":
        shares = (shares - shares.min()) / max(np.ptp(shares), 1e-30)
    parts, count = ndimage.label(shares >= about["cut"]["value"], np.ones((3, 3)))
    largest = 1 + np.bincount(parts.ravel(), minlength=2)[1:].argmax()
    rows, columns = np.nonzero(parts == largest)
    scale = np.array([*image.size, *image.size]) / side
    box = scale * [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] + [x, y, x, y] if count else []
    print(path, about["class_names"][label], *(f"{edge:.2f}" for edge in box), sep="\t")
