"""Evaluation of a split: ours beside what a careful user would write without it.

    pytest bench/test_evaluation.py --benchmark-only --shards data/shards

From packed JPEGs to hits: forward pass, class activation maps of the true class, one box an image under both protocols,
its IoU with the true boxes, hits at three thresholds. Both sides run the same network on the same cores in the same
precision, without compilation, which would help both.

- ours: `fastwsol.evaluation.forward`.
- dataloader and opencv: a torch DataLoader with Pillow whose workers stay alive, a forward hook that keeps the last
  features, maps upsampled a batch at a time by torch, `cv2.connectedComponentsWithStats` an image.

Their predictions, boxes and hits are compared before they are timed.
"""

from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from rounds import Side
from test_pipeline import all_of_size, data_of, pillow_decode, scale_and_shift, started

from fastwsol.batches.feed import Feed
from fastwsol.config import Config
from fastwsol.evaluation.boxes import PROTOCOLS, localize
from fastwsol.evaluation.forward import EvaluationSetup, forward_split
from fastwsol.evaluation.metrics import IOU_THRESHOLDS
from fastwsol.evaluation.of_network import rates_of
from fastwsol.evaluation.thresholds import CAM_THRESHOLD
from fastwsol.host.device import pick_autocast
from fastwsol.host.process import Process
from fastwsol.localizer.localizing import LocalizingModel
from fastwsol.network.preact_resnet import build_preact_resnet

BATCH = 256
ROUNDS = 7
SIZE = 64
CPU = torch.device("cpu")
# bf16 has 8 bits: logits of another summation order may tie otherwise. Upsampling in float32 may put a pixel on the
# other side of the threshold. Of the 64 images of a check one may differ.
SAME_PREDICTIONS, SAME_BOXES = 0.98, 0.98


class PillowSplit(torch.utils.data.Dataset):
    """Item k is a batch of the split: uint8 [B, S, S, 3], and its labels."""

    def __init__(self, split):
        self.split = split

    def __len__(self):
        return -(-len(self.split) // BATCH)

    def __getitem__(self, step):
        rows = range(step * BATCH, min((step + 1) * BATCH, len(self.split)))
        pixels = np.stack([np.asarray(pillow_decode(self.split.image(row))) for row in rows])
        return pixels, self.split.labels[rows.start : rows.stop]


class DataLoaderAndOpenCV:
    """Calling it evaluates: predictions [N], and by protocol boxes [N, 4] and hits [T, N], one row an IoU threshold."""

    def __init__(self, model, shards, autocast, cores):
        self.model, self.autocast, self.split = model, autocast, shards.splits["val"]
        self.scale, self.shift = (torch.from_numpy(each) for each in scale_and_shift(shards))
        self.loader = torch.utils.data.DataLoader(
            PillowSplit(self.split), batch_size=None, num_workers=cores, persistent_workers=True
        )

    def __call__(self):
        predictions, maps = self.forward()
        found: dict[str, list[Any]] = {"strict": [], "paper2018": []}
        for pixels in maps:
            found["strict"].append(largest_component(pixels >= 0.2))
            levels = np.minimum((256 * pixels).astype(np.int32), 255)
            found["paper2018"].append(widest_component(levels > int(0.2 * levels.max())))
        boxes = {protocol: np.array(each, np.float32) for protocol, each in found.items()}
        strict = ious(boxes["strict"], self.split.boxes, clamped=True)
        paper2018 = ious(boxes["paper2018"], self.split.boxes, clamped=False)
        hits = {
            "strict": np.stack([strict >= threshold for threshold in IOU_THRESHOLDS]),
            "paper2018": np.stack([paper2018 > threshold for threshold in IOU_THRESHOLDS]),
        }
        return predictions, boxes, hits

    def forward(self):
        """Predictions int64 [N], and maps float32 [N, S, S] of the true class in 0..1."""
        features = []
        hook = self.model.groups.register_forward_hook(lambda module, inputs, output: features.append(output))
        predictions, maps = [], []
        with torch.inference_mode():
            for pixels, labels in started(self.loader):
                images = torch.addcmul(self.shift, pixels.float(), self.scale).permute(0, 3, 1, 2)
                with self.autocast():
                    logits, _ = self.model(images)
                predictions.append(logits.argmax(1))
                cams = torch.einsum("nchw,nc->nhw", features.pop().float(), self.model.fc.weight[labels])
                upsampled = F.interpolate(cams[:, None], size=(SIZE, SIZE), mode="bilinear", align_corners=False)[:, 0]
                low, high = upsampled.amin((1, 2), keepdim=True), upsampled.amax((1, 2), keepdim=True)
                maps.append((upsampled - low) / (high - low))
        hook.remove()
        return torch.cat(predictions).numpy(), torch.cat(maps).numpy()


def largest_component(mask):
    stats = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8, ltype=cv2.CV_32S)[2][1:]
    x, y, width, height, _ = stats[stats[:, cv2.CC_STAT_AREA].argmax()]
    return x, y, x + width, y + height


def widest_component(mask):
    """The largest bounding rectangle, a pixel larger, as the paper's code has it."""
    stats = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8, ltype=cv2.CV_32S)[2][1:]
    x, y, width, height, _ = stats[(stats[:, cv2.CC_STAT_WIDTH] * stats[:, cv2.CC_STAT_HEIGHT]).argmax()]
    return x, y, x + width + 1, y + height + 1


def ious(boxes, truths, clamped):
    """IoU [N] of boxes [N, 4]; not `clamped` is the paper's code: two negative sides make an intersection."""
    sides = np.minimum(boxes[:, 2:], truths[:, 2:]) - np.maximum(boxes[:, :2], truths[:, :2])
    intersections = (sides.clip(0) if clamped else sides).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (truths[:, 2:] - truths[:, :2]).prod(axis=1)
    return intersections / (areas - intersections)


def test_evaluation(paired_rounds, shards, cores):
    split = shards.splits["val"]
    if not (all_of_size(split, SIZE) and (np.diff(split.box_offsets) == 1).all()):
        pytest.skip(f"{shards.folder}: needs {SIZE}x{SIZE} images with one box each")
    config, autocast = Config.of(depth=18, stem="C"), pick_autocast("auto", CPU)
    model = build_preact_resnet(config.network.depth, config.network.stem, len(shards.manifest.classes), seed=0).eval()
    feed = Feed(autocast, cores, compiled=False, stores={}, classes=len(shards.manifest.classes))
    statistics = shards.manifest.statistics
    setup = EvaluationSetup(config, shards, feed, statistics, Process(autocast, cores))
    theirs = DataLoaderAndOpenCV(model, shards, autocast, cores)

    def ours():
        outputs = forward_split(LocalizingModel(model), split, setup)
        return outputs, rates_of(outputs, split, config.views)

    outputs, our_rates = ours()
    predictions, boxes, hits = theirs()
    assert (predictions == outputs.predicted[:, 0]).mean() >= SAME_PREDICTIONS
    for protocol in PROTOCOLS:
        our_boxes = localize(outputs.cams, protocol, SIZE, split.widths, split.heights, CAM_THRESHOLD, "min-max")
        assert (boxes[protocol] == our_boxes).all(axis=1).mean() >= SAME_BOXES
        their_rates = 100 * hits[protocol].mean(axis=1)
        ours_at = [our_rates[protocol][f"gt_known_loc@{threshold}"] for threshold in IOU_THRESHOLDS]
        assert np.abs(their_rates - ours_at).max() <= 100 * (1 - SAME_BOXES)
    paired_rounds(
        {"ours": Side(ours), "dataloader and opencv": Side(theirs)},
        images=len(split),
        rounds=ROUNDS if len(split) <= 2000 else 3,
        data=data_of(shards, "val"),
        depth=config.network.depth,
        stem=config.network.stem,
        precision=autocast.precision,
        batch_size=BATCH,
    )
