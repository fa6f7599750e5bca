"""Boxes for a folder of JPEGs of mixed sizes, from files to boxes, beside a plain loop of Pillow, torch and SciPy.

The photographs are made of the val images of --shards: as many of them side by side as a size holds, each enlarged.
"""

import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from rounds import Side
from scipy import ndimage

from fastwsol.config import Config
from fastwsol.host.device import pick_autocast
from fastwsol.localizer.localizing import LocalizingModel
from fastwsol.network.preact_resnet import build_preact_resnet
from fastwsol.prediction.predictions import Request
from fastwsol.prediction.predictor import Predictor
from fastwsol.prediction.user_images import find_images
from fastwsol.runs.info import RunInfo

CPU = torch.device("cpu")
SIZES = [(500, 375), (375, 500), (640, 480), (333, 500), (320, 240), (500, 500), (224, 224), (1024, 683)]
"""Width and height: photographs as ImageNet has them, and a larger one."""
PHOTOS, ROUNDS = 160, 7
CHECKED = 48
"""Photographs where the sides are compared and not timed."""
TILE = 125
"""Pixels a side that a val image is enlarged to."""
THRESHOLD = 0.2
SAME_BOXES = 0.97
"""Share of the boxes that must lie within a pixel: the sides round and treat edges differently, which moves a box in
rare cases. (The network has learnt nothing here; bench/predict_cost.py compares the boxes of a trained one.)
"""


def make_photos(folder, shards, count):
    """Write `count` JPEGs, in the sizes of `SIZES` by turns."""
    split = shards.splits["val"]
    for k in range(count):
        width, height = SIZES[k % len(SIZES)]
        photo = Image.new("RGB", (width, height))
        for tile in range(-(-width // TILE) * -(-height // TILE)):
            with Image.open(io.BytesIO(split.image((7 * k + tile) % len(split)))) as image:
                enlarged = image.convert("RGB").resize((TILE, TILE), Image.Resampling.BICUBIC)
            columns = -(-width // TILE)
            photo.paste(enlarged, (TILE * (tile % columns), TILE * (tile // columns)))
        photo.save(folder / f"{k:05d}.jpg", quality=90)


class PlainLoop:
    """An image at a time, as a script would do it: open, resize, normalise, network, map, largest component."""

    def __init__(self, info, model, autocast, threshold):
        self._threshold = threshold
        self._model, self._autocast, self._size = model, autocast, info.config.views.image_size
        self._mean, self._std = map(torch.tensor, info.statistics)

    @torch.inference_mode()
    def __call__(self, path):
        """The likeliest class and its box in the image's pixels."""
        size = self._size
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        width, height = image.size
        pixels = torch.from_numpy(np.asarray(image.resize((size, size), Image.Resampling.BICUBIC)).copy()).float()
        view = ((pixels - self._mean) / self._std).permute(2, 0, 1)[None]
        with self._autocast():
            logits, features = self._model(view)
        label = int(logits.argmax())
        cam = torch.einsum("chw,c->hw", features[0].float(), self._model.fc.weight[label])
        cam = F.interpolate(cam[None, None], size=(size, size), mode="bilinear", align_corners=False)[0, 0]
        scaled = ((cam - cam.min()) / (cam.max() - cam.min())).numpy()
        components, count = ndimage.label(scaled >= self._threshold, structure=np.ones((3, 3)))
        largest = 1 + int(np.bincount(components.ravel(), minlength=count + 1)[1:].argmax())
        rows, columns = ndimage.find_objects(components)[largest - 1]
        edges = np.array([columns.start, rows.start, columns.stop, rows.stop])
        return label, edges * np.array([width, height, width, height]) / size


@pytest.mark.parametrize(("stem", "image_size"), [("C", 64), pytest.param("C", 224, marks=pytest.mark.long)])
def test_predict(paired_rounds, shards, cores, tmp_path, stem, image_size, pytestconfig):
    timing = pytestconfig.option.benchmark_only
    make_photos(tmp_path, shards, PHOTOS if timing else CHECKED)
    config, manifest = Config.of(depth=18, stem=stem, image_size=image_size), shards.manifest
    wnids = tuple(each.wnid for each in manifest.classes)
    info = RunInfo(config, shards.folder, shards.digest, wnids, wnids, manifest.statistics)
    model = build_preact_resnet(config.network.depth, config.network.stem, len(wnids), seed=0).eval()
    paths = sorted(tmp_path.iterdir())

    def sides(precision, paths):
        autocast = pick_autocast(precision, CPU)
        predictor = Predictor(info, LocalizingModel(model), 0, autocast, cores)
        plain = PlainLoop(info, model, autocast, THRESHOLD)

        def ours():
            return [*predictor.stream(find_images(paths).images, Request(threshold=THRESHOLD))]

        def theirs():
            return [plain(path) for path in paths]

        return ours, theirs, autocast.precision

    # In float32: in bf16 the sides' convolutions, of a batch and of one image, round differently.
    compared = paths if image_size == 64 else paths[: PHOTOS // 2 if timing else CHECKED // 3]
    ours, theirs, _ = sides("fp32", compared)
    same = 0
    for one, (label, box) in zip(ours(), theirs(), strict=True):
        near = np.abs(np.array(one.boxes[0][2:6]) - box).max() <= 1
        same += wnids[label] == one.classes[0].wnid and bool(near)
    assert same / len(compared) >= SAME_BOXES
    timed = (paths if image_size == 64 else paths[: PHOTOS // 4]) if timing else paths[: len(SIZES)]
    ours, theirs, precision = sides("auto", timed)
    paired_rounds(
        {"ours": Side(ours), "plain loop": Side(theirs)},
        images=len(timed),
        rounds=ROUNDS,
        data=f"{len(timed)} JPEGs of {len(SIZES)} sizes, made of val images of {manifest.source}",
        depth=config.network.depth,
        stem=stem,
        image_size=image_size,
        precision=precision,
        same_boxes=same / len(compared),
    )
