"""Do masks hold the object, or do they write the class into their shape? Pixels outside of them are painted over, and
networks are asked what is left.

    python bench/mask_pixels.py --run RUN [--judges RUN ...] --out FILE

RUN is a finished run with a mask head. A head is trained on masked *features*, which its tail alone has to read; that a
network which sees masked *pixels* tells the class too is a control. Every mask is cut at the run's own cut; outside of
it (and, for the rest, inside) stands the network's mean colour. `--judges` are runs of other networks on the same
shards: a mask that speaks to one network alone tells them nothing. Labels are used, and no box. Images: those trained
on.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from fastwsol.batches.feed import open_feed
from fastwsol.batches.stream import Stream, evaluation_plan, valid_images
from fastwsol.dataset.holdout import hold_out
from fastwsol.dataset.shards import Shards, Split, open_shards
from fastwsol.evaluate import OfRun
from fastwsol.evaluation.forward import images_at_once
from fastwsol.host.command_line import parse_flags, run_command
from fastwsol.host.device import Autocast, autocast_of_run, take_device, use_threads
from fastwsol.host.environment import environment
from fastwsol.host.errors import UserError
from fastwsol.host.files import write_json
from fastwsol.host.places import require_new
from fastwsol.host.process import Process
from fastwsol.localizer.localizing import upsampled
from fastwsol.network.classifier import Classifier
from fastwsol.network.networks import network_name
from fastwsol.runs.folder import RunDir
from fastwsol.runs.info import RunInfo
from fastwsol.runs.trained import read_run, read_trained, trained_model


@dataclass(frozen=True)
class Flags:
    """The command line."""

    run: Path
    """folder of a finished run with a mask head"""
    out: Path
    """JSON file to write; one that is there is not replaced"""
    judges: tuple[Path, ...] = ()
    """folders of runs of other networks on the same shards"""


class Judge:
    """A network that is asked about pixels, with the statistics that its own images are normalised by."""

    def __init__(self, network: Classifier, info: RunInfo) -> None:
        self.network, self.size = network.eval(), info.config.views.image_size
        self._mean, self._std = (torch.tensor(each)[:, None, None] for each in info.statistics)

    def correct(self, pixels: Tensor, labels: Tensor) -> int:
        """How many classes it tells of pixels 0..255, float32 [N, 3, h, w]."""
        if pixels.shape[-1] != self.size:
            pixels = F.interpolate(pixels, size=(self.size, self.size), mode="bilinear", antialias=True)
        logits, _ = self.network((pixels - self._mean) / self._std)
        return int((logits.argmax(1) == labels).sum())


def main(arguments: Sequence[str]) -> int:
    """Ask every network about every image, whole, inside of its mask and outside; print a line each, write the file."""
    flags = parse_flags(Flags, arguments, "bench/mask_pixels.py", "What masked pixels tell networks.")
    require_new("--out", flags.out)
    threads = use_threads(0)
    run = RunDir(flags.run)
    info, saved, model = read_trained(run)
    if model.head is None:
        raise UserError(f"{flags.run}: has no mask head; name a run trained with --localizer mask")
    autocast = autocast_of_run("auto", saved.scalars["precision"], take_device("cpu"))
    model.eval()
    packed = open_shards(info.shards)
    split = hold_out(packed, info.config.data.holdout).splits["train"]
    cut = (run.read_cuts() or {})["mask"].value
    assert cut is not None
    judges = {network_name(info.config.network): Judge(model.network, info)}
    for folder in flags.judges:
        other, its = read_run(RunDir(folder))
        if other.shards_digest != info.shards_digest:
            raise UserError(f"{folder}: was trained on other shards than {flags.run}; name a run on the same")
        judges[network_name(other.config.network)] = Judge(trained_model(other, its.tensors), other)
    counts = {"features": dict.fromkeys(("whole", "inside", "outside"), 0)}
    counts |= {f"pixels, {name}": dict.fromkeys(("whole", "inside", "outside"), 0) for name in judges}
    mean, std = (torch.tensor(each)[:, None, None] for each in info.statistics)
    area = 0.0
    with torch.inference_mode():
        for images, labels in batches_of(split, packed, info, autocast, threads):
            passed = model(images)
            assert passed.trunk_features is not None
            assert passed.mask is not None
            parts = {"whole": torch.ones_like(passed.mask), "inside": passed.mask, "outside": 1 - passed.mask}
            for part, mask in parts.items():
                classes = model.classes_inside(passed.trunk_features, mask).argmax(1)
                counts["features"][part] += int((classes == labels).sum())
            inside = (upsampled(passed.mask, *images.shape[2:]) >= cut).float()[:, None]
            area += float(inside.mean((1, 2, 3)).sum())
            pixels = images * std + mean
            shown = {"whole": pixels}
            shown |= {"inside": painted(pixels, inside, mean), "outside": painted(pixels, 1 - inside, mean)}
            for name, judge in judges.items():
                for part, each in shown.items():
                    counts[f"pixels, {name}"][part] += judge.correct(each, labels)
    shares = {what: {part: 100 * count / len(split) for part, count in each.items()} for what, each in counts.items()}
    for what, of_parts in shares.items():
        print(f"{what}: " + ", ".join(f"{part} {share:.1f} %" for part, share in of_parts.items()), flush=True)
    about = {"run": flags.run.name, "judges": [folder.name for folder in flags.judges], "images": len(split)}
    about |= {"cut": cut, "mean_area_inside": area / len(split), "config": info.config.to_json()}
    write_json(flags.out, {**about, "top1_clas": shares, **environment()})
    print(f"inside lie {100 * area / len(split):.0f} % of the pixels")
    return 0


def painted(pixels: Tensor, kept: Tensor, mean: Tensor) -> Tensor:
    """The pixels where `kept` is 1, the mean colour where it is 0."""
    return pixels * kept + mean * (1 - kept)


def batches_of(
    split: Split, packed: Shards, info: RunInfo, autocast: Autocast, threads: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """The images of a split as an evaluation sees them, and their labels, without the padding."""
    views = info.config.views.plain
    size = min(images_at_once(views.image_size), len(split))
    feed = open_feed(OfRun(), packed, ["train"], Process(autocast, threads), builds=False)
    stream = Stream(split, evaluation_plan(len(split), size), size, views, info.config.seed, info.statistics)
    batches = feed.batches(stream)
    for number in range(-(-len(split) // size)):
        batch, valid = next(batches), valid_images(number, len(split), size)
        yield batch.images[:valid].float(), batch.labels[:valid]


if __name__ == "__main__":
    sys.exit(run_command(main))
