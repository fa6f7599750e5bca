"""What labels alone buy: a detector trained on the boxes that a run finds, beside one trained on true boxes.

    python bench/detector.py RUN --out detector.json        # RUN: trained on shards whose train and val have boxes

The detector is small and stands on the run's frozen features before the tail: two layers of 3x3, and for each cell the
chance of each class, the distances to the box's four sides, and how central the cell is (FCOS, Tian et al. 2019, at one
level). Both kinds see the same images, whole and mirrored, with the class that is known of each image; they differ in
the boxes alone: those of the run's own maps of the training images, or the true ones. mAP at IoU 0.5 by pycocotools on
val, three seeds; one setting for both, tried on no set.
"""

import argparse
import io
import json
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor, nn

import fastwsol
from fastwsol.dataset.shards import Split, open_shards
from fastwsol.host.environment import git_state, machine, versions
from fastwsol.prediction.predictions import Prediction
from fastwsol.prediction.predictor import Predictor
from fastwsol.prediction.user_images import NamedImage, decode_upright

EPOCHS, BATCH, WIDTH = 60, 32, 128
_SIDES = torch.tensor([-1.0, -1.0, 1.0, 1.0])


class Detector(nn.Module):
    """Features [N, C, h, w] -> class logits [N, K, h, w], distances to four sides in cells, centrality logits."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, WIDTH, 3, padding=1, bias=False),
            nn.BatchNorm2d(WIDTH),
            nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False),
            nn.BatchNorm2d(WIDTH),
            nn.ReLU(),
        )
        self.classes = nn.Conv2d(WIDTH, classes, 1)
        self.sides = nn.Conv2d(WIDTH, 4, 1)
        self.central = nn.Conv2d(WIDTH, 1, 1)
        assert self.classes.bias is not None
        nn.init.constant_(self.classes.bias, -4.0)  # at first nothing is anywhere

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = self.body(features)
        return self.classes(hidden), F.softplus(self.sides(hidden)) * 2, self.central(hidden)[:, 0]


def middles(cells: int) -> Tensor:
    """The middles of the cells as shares of the image, x and y: [2, h, w]."""
    line = (torch.arange(cells) + 0.5) / cells
    return torch.stack(torch.meshgrid(line, line, indexing="xy"))


def loss_of(outputs: tuple[Tensor, Tensor, Tensor], labels: Tensor, boxes: Tensor) -> Tensor:
    """Focal loss of classes, IoU loss of boxes, cross-entropy of centrality, at the cells in each image's box.

    boxes: [N, 4], shares of the image; without a box (negative) an image has no cell of an object.
    """
    logits, sides, central = outputs
    cells = logits.shape[2]
    middle = middles(cells)
    to_sides = torch.stack(
        [
            middle[0] - boxes[:, 0, None, None],
            middle[1] - boxes[:, 1, None, None],
            boxes[:, 2, None, None] - middle[0],
            boxes[:, 3, None, None] - middle[1],
        ],
        dim=1,
    )
    inside = to_sides.amin(1) > 0
    targets = torch.zeros_like(logits)
    targets[torch.arange(len(labels)), labels] = inside.float()
    chance = logits.sigmoid()
    wrong = torch.where(targets > 0, 1 - chance, chance)
    weight = torch.where(targets > 0, 0.25, 0.75) * wrong**2
    of_cells = F.binary_cross_entropy_with_logits(logits, targets, reduction="none") * weight
    count = inside.sum().clamp(min=1)
    total = of_cells.sum() / count
    if inside.any():
        ours = (sides / cells).permute(0, 2, 3, 1)[inside]
        theirs = to_sides.permute(0, 2, 3, 1)[inside]
        low = torch.minimum(ours, theirs)
        shared = (low[:, 0] + low[:, 2]) * (low[:, 1] + low[:, 3])
        areas = [(each[:, 0] + each[:, 2]) * (each[:, 1] + each[:, 3]) for each in (ours, theirs)]
        total = total - torch.log((shared / (areas[0] + areas[1] - shared)).clamp(min=1e-6)).mean()
        pairs = theirs[:, [0, 2]], theirs[:, [1, 3]]
        how_central = torch.stack([each.amin(1) / each.amax(1) for each in pairs]).prod(0).sqrt()
        total = total + F.binary_cross_entropy_with_logits(central[inside], how_central)
    return total


def features_of(predictor: Predictor, split: Split) -> Tensor:
    """The features before the tail of whole images and, behind them, of their mirror images: [2, N, C, h, w]."""
    size = predictor.info.config.views.image_size
    views = np.empty((len(split), size, size, 3), np.float32)
    for k in range(len(split)):
        predictor.show(decode_upright(split.image(k)), views[k])
    images = torch.from_numpy(views).permute(0, 3, 1, 2)
    network = predictor.model.network
    with torch.inference_mode():
        found = [
            torch.cat([network.trunk_cells(network.trunk(part)) for part in each.split(32)])
            for each in (images, images.flip(3))
        ]
    return torch.stack(found).clone()


def true_boxes(split: Split) -> NDArray[np.float32]:
    """The first box of each image as shares of it: [N, 4]."""
    first = split.boxes[split.box_offsets[:-1]]
    return first / np.stack([split.widths, split.heights] * 2, axis=1)


def found_boxes(predictor: Predictor, split: Split) -> NDArray[np.float32]:
    """The box that a run finds of each image's own class, as shares of it: [N, 4], negative where it finds none."""
    images = [NamedImage(str(k), lambda k=k: decode_upright(split.image(k))) for k in range(len(split))]  # type: ignore[misc]
    boxes = np.full((len(split), 4), -1, np.float32)
    for k, each in enumerate(predictor.stream(images)):
        assert isinstance(each, Prediction)  # packed images can be read
        if each.boxes:
            box = each.boxes[0]
            boxes[k] = np.array([box.x0, box.y0, box.x1, box.y1]) / ([each.width, each.height] * 2)
    return boxes


def trained(features: Tensor, labels: Tensor, boxes: Tensor, classes: int, seed: int) -> Detector:
    """A detector trained on whole and mirrored images."""
    torch.manual_seed(seed)
    detector = Detector(features.shape[2], classes)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=2e-3, weight_decay=1e-2)
    steps = EPOCHS * (len(labels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    mirrored = boxes[:, [2, 1, 0, 3]] * torch.tensor([-1, 1, -1, 1]) + torch.tensor([1, 0, 1, 0])
    mirrored[boxes[:, 0] < 0] = -1
    both = torch.stack([boxes, mirrored])
    for _ in range(EPOCHS):
        order = torch.randperm(len(labels))
        for first in range(0, len(order) - BATCH + 1, BATCH):
            ids = order[first : first + BATCH]
            view = torch.randint(0, 2, (BATCH,))
            optimizer.zero_grad()
            loss_of(detector(features[view, ids]), labels[ids], both[view, ids]).backward()
            optimizer.step()
            schedule.step()
    return detector.eval()


def detections(detector: Detector, features: Tensor, split: Split) -> list[dict[str, Any]]:
    """The best 20 boxes of each image behind suppression of those of a class that overlap by half."""
    found = []
    with torch.inference_mode():
        logits, sides, central = detector(features)
    cells = logits.shape[2]
    middle = middles(cells)
    scores = (logits.sigmoid() * central.sigmoid()[:, None]).sqrt()
    shares = sides / cells * _SIDES[:, None, None] + torch.cat([middle, middle])
    for k in range(len(split)):
        size = torch.tensor([split.widths[k], split.heights[k]] * 2)
        of_image, boxes = scores[k].flatten(1), shares[k].flatten(1).T.clamp(0, 1) * size
        kept: list[tuple[float, int, Tensor]] = []
        best, places = of_image.flatten().topk(200)
        for score, at in zip(best.tolist(), places.tolist(), strict=True):
            label, cell = divmod(at, cells * cells)
            box = boxes[cell]
            if all(label != other or _iou(box, theirs) < 0.5 for _, other, theirs in kept):
                kept.append((score, label, box))
            if len(kept) == 20:
                break
        for score, label, box in kept:
            x0, y0, x1, y1 = box.tolist()
            found.append(
                {"image_id": k + 1, "category_id": label + 1, "bbox": [x0, y0, x1 - x0, y1 - y0], "score": score}
            )
    return found


def _iou(one: Tensor, other: Tensor) -> float:
    low, high = torch.maximum(one[:2], other[:2]), torch.minimum(one[2:], other[2:])
    shared = float((high - low).clamp(min=0).prod())
    return shared / (float((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod()) - shared + 1e-9)


def mean_precision(found: list[dict[str, Any]], split: Split, classes: int) -> float:
    """mAP at IoU 0.5, in percent, by pycocotools."""
    annotations: list[dict[str, Any]] = []
    for k in range(len(split)):
        for x0, y0, x1, y1 in split.boxes[split.box_offsets[k] : split.box_offsets[k + 1]].tolist():
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": k + 1,
                    "category_id": int(split.labels[k]) + 1,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "iscrowd": 0,
                }
            )
    truth = COCO()
    truth.dataset = {
        "images": [{"id": k + 1} for k in range(len(split))],
        "categories": [{"id": label + 1, "name": str(label)} for label in range(classes)],
        "annotations": annotations,
    }
    with redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return 100 * float(evaluation.stats[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    flags = parser.parse_args()
    predictor = fastwsol.load(flags.run, "cpu", precision="fp32")
    config, shards = predictor.info.config, open_shards(predictor.info.shards)
    train, val = shards.splits["train"], shards.splits["val"]
    has_box = np.flatnonzero(np.diff(train.box_offsets) > 0)
    train = train.subset("train", has_box)
    classes = len(shards.manifest.classes)
    labels = torch.from_numpy(train.labels)
    of_train, of_val = features_of(predictor, train), features_of(predictor, val)[0]
    kinds = {"found by the run": found_boxes(predictor, train), "true": true_boxes(train)}
    rows: dict[str, list[float]] = {}
    for name, boxes in kinds.items():
        rows[name] = []
        for seed in range(flags.seeds):
            start = time.perf_counter()
            detector = trained(of_train, labels, torch.from_numpy(boxes), classes, seed)
            rows[name].append(round(mean_precision(detections(detector, of_val, val), val, classes), 2))
            print(f"{name}, seed {seed}: {rows[name][-1]} in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    report = {
        "command": "python bench/detector.py RUN",
        "source": shards.manifest.source,
        "run": f"{config.network.backbone}, {predictor.localizer.name}, seed {config.seed}",
        "train_images": len(train),
        "val_images": len(val),
        "map50": {
            name: {"seeds": values, "mean": round(mean(values), 2), "deviation": round(stdev(values), 2)}
            for name, values in rows.items()
        },
        "commit": git_state(),
        "machine": machine(),
        "versions": versions(),
    }
    flags.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report["map50"], indent=1))


if __name__ == "__main__":
    main()
