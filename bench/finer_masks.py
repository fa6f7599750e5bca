"""Do finer masks pay? A mask head's masks made at larger sizes, and filtered along the edges of the photograph.

    python bench/finer_masks.py --runs RUN ... --out FILE

Each RUN is a finished run with a mask head. Its masks of up to --images photographs of train are measured as they are;
made from larger images, at the run's own cut and at one found anew on them without a box; and passed through a guided
filter (He et al. 2010) whose guide is the photograph, grey or in colours. Boxes and masks of train choose here, and
enter no training and no cut. Nothing in the package does any of this.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import kernels
from fastwsol.batches.feed import open_feed
from fastwsol.batches.stores import DataFlags
from fastwsol.dataset.shards import Split, open_shards
from fastwsol.evaluation.boxes import hits_of
from fastwsol.evaluation.forward import EvaluationSetup, forward_split
from fastwsol.evaluation.maps import NetworkMaps, localize_maps
from fastwsol.evaluation.masks import PIXEL_SIDE, SplitMasks
from fastwsol.evaluation.thresholds import box_free_threshold
from fastwsol.evaluation.truths import Truths
from fastwsol.host.command_line import parse_flags, run_command
from fastwsol.host.device import autocast_of_run, take_device, use_threads
from fastwsol.host.environment import environment
from fastwsol.host.errors import UserError
from fastwsol.host.files import write_json
from fastwsol.host.places import require_new
from fastwsol.host.process import Process
from fastwsol.runs.folder import RunDir
from fastwsol.runs.trained import read_trained
from fastwsol.sources.decode import decode

_AT_ONCE = 25
"""Images that are filtered together."""


@dataclass(frozen=True)
class Flags:
    """The command line."""

    runs: tuple[Path, ...]
    """folders of finished runs with a mask head"""
    out: Path
    """JSON file to write; one that is there is not replaced"""
    images: int = 150
    """photographs of each set, spread over train"""
    sizes: tuple[int, ...] = (256, 288, 320)
    """sides of the network's square that are tried, in pixels"""
    radii: tuple[int, ...] = (8, 16)
    """of the guided filter, in pixels of a square of 224"""
    eps: float = 1e-3
    """of the guided filter: variances below it are smoothed away"""


@dataclass(frozen=True)
class Masks:
    """Masks of a set's photographs, float32 [N, h, w], and the side of the square that they cover."""

    split: Split
    maps: NDArray[np.float32]
    square: int
    cut: float


def main(arguments: Sequence[str]) -> int:
    """Measure, print a line each, and write the file."""
    flags = parse_flags(Flags, arguments, "bench/finer_masks.py", "Masks at larger sizes, and filtered along edges.")
    require_new("--out", flags.out)
    found: dict[str, Any] = {}
    for run in flags.runs:
        found[run.name] = {}
        for name, masks, seconds in variants(run, flags):
            found[run.name][name] = measured(masks) | {"ms_an_image": 1000 * seconds / len(masks.maps)}
            said = ", ".join(f"{what} {value:.2f}" for what, value in found[run.name][name].items())
            print(f"{run.name}, {name}: {said}")
    write_json(flags.out, {"split": "train", "images": flags.images, "runs": found, **environment()})
    return 0


def variants(run: Path, flags: Flags) -> Iterator[tuple[str, Masks, float]]:
    """Each kind of masks with the seconds that they cost beside the plain ones."""
    plain, seconds = masks_of(run, flags.images, None)
    yield "as they are", plain, 0.0
    for size in flags.sizes:
        larger, more = masks_of(run, flags.images, size)
        yield f"at {size} pixels", larger, more - seconds
        anew = box_free_threshold(larger.maps, size, "own")
        yield f"at {size} pixels, cut found anew", Masks(larger.split, larger.maps, size, anew), more - seconds
    guides = photographs(plain.split)
    for radius in flags.radii:
        for name, guide in (("grey", guides.mean(1, keepdim=True)), ("colours", guides)):
            start = time.perf_counter()
            finer = filtered(guide, torch.from_numpy(plain.maps), radius, flags.eps)
            spent = time.perf_counter() - start
            yield f"guided by {name}, radius {radius}", Masks(plain.split, finer, PIXEL_SIDE, plain.cut), spent


def masks_of(run: Path, most: int, size: int | None) -> tuple[Masks, float]:
    """A run's masks of `most` photographs of train shown at `size` pixels, by default its own; and the seconds."""
    folder = RunDir(run)
    info, saved, model = read_trained(folder)
    if model.head is None:
        raise UserError(f"{run}: has no mask head; train it with --localizer mask")
    config = info.config if size is None else info.config.changed(image_size=size)
    shards, threads = open_shards(info.shards, verify=False), use_threads(0)
    autocast = autocast_of_run("auto", saved.scalars["precision"], take_device("auto"))
    process = Process(autocast, threads)
    feed = open_feed(DataFlags(), shards, ["train"], process, builds=False)
    setup = EvaluationSetup(config, shards, feed, info.statistics, process)
    train = shards.splits["train"]
    part = train.subset("train", np.unique(np.linspace(0, len(train) - 1, most).astype(np.int64)))
    model.to(autocast.device)
    forward_split(model, part.subset("train", np.arange(8)), setup, localizers=["mask"])  # kernels are compiled
    start = time.perf_counter()
    maps = forward_split(model, part, setup, localizers=["mask"]).maps["mask"]
    cut = folder.read_cuts()["mask"].value
    assert cut is not None
    return Masks(part, maps, config.views.image_size, cut), time.perf_counter() - start


def photographs(split: Split) -> Tensor:
    """The split's images at `PIXEL_SIDE`: float32 [N, 3, side, side] in 0..1."""
    side = (PIXEL_SIDE, PIXEL_SIDE)
    images = [Image.fromarray(decode(split.image(row))) for row in range(len(split))]
    small = [np.asarray(image.resize(side, Image.Resampling.BICUBIC)) for image in images]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float() / 255


def filtered(guides: Tensor, masks_NHW: Tensor, radius: int, eps: float) -> NDArray[np.float32]:
    """Masks filtered along the edges of their guides [N, C, S, S]: float32 [N, S, S]."""
    size = (guides.shape[2], guides.shape[3])
    masks = F.interpolate(masks_NHW[:, None], size=size, mode="bilinear", align_corners=False)
    parts = [
        guided_filter(guides[first : first + _AT_ONCE], masks[first : first + _AT_ONCE], radius, eps)
        for first in range(0, len(masks), _AT_ONCE)
    ]
    return torch.cat(parts)[:, 0].numpy()


def guided_filter(guides: Tensor, masks: Tensor, radius: int, eps: float) -> Tensor:
    """In every window the linear function of the guide's channels that is nearest to the mask (He et al. 2010).

    guides: [n, C, S, S]; masks: [n, 1, S, S].
    """

    def mean(values: Tensor) -> Tensor:
        padded = F.pad(values, (radius,) * 4, mode="replicate")
        return F.avg_pool2d(padded, 2 * radius + 1, 1)

    channels = guides.shape[1]
    of_guide, of_mask = mean(guides), mean(masks)
    with_mask = mean(guides * masks) - of_guide * of_mask
    between = torch.stack(
        [
            torch.cat([mean(guides[:, [i]] * guides[:, [j]]) for j in range(channels)], 1) - of_guide[:, [i]] * of_guide
            for i in range(channels)
        ],
        1,
    ).permute(0, 3, 4, 1, 2)
    slopes = torch.linalg.solve(between + eps * torch.eye(channels), with_mask.permute(0, 2, 3, 1)[..., None])
    slopes = slopes[..., 0].permute(0, 3, 1, 2)
    offsets = of_mask - (slopes * of_guide).sum(1, keepdim=True)
    return ((mean(slopes) * guides).sum(1, keepdim=True) + mean(offsets)).clamp(0, 1)


def measured(masks: Masks) -> dict[str, float]:
    """GT-known Loc at IoU .5 and .7 and, where there are masks, their mean IoU: in percent, at the cut."""
    truths = Truths.of_split(masks.split)
    localized = localize_maps(NetworkMaps(masks.maps, masks.square, "own"), truths, masks.cut)
    hit = 100 * hits_of(localized.at_cut.ious, "strict")[:, truths.has_boxes].mean(1)
    found = {"cut": masks.cut, "gt_known_loc@0.5": float(hit[1]), "gt_known_loc@0.7": float(hit[2])}
    if len(rows := SplitMasks(masks.split).rows):
        counts = kernels.pixel_counts(masks.maps[rows], SplitMasks(masks.split).read(rows), masks.cut, "own")
        found["mask_iou"] = 100 * float((counts[:, 0] / counts.sum(1)).mean())
    return found


if __name__ == "__main__":
    sys.exit(run_command(main))
