"""What a training step costs on this machine, and what stands beside it.

    python bench/step_cost.py --out bench/results/step-cost.json

- ceilings: the rate of square matrix products in each number format, of a copy in memory.
- steps: images a second against batch size, with the share of the matrix products' rate; depth 18, stem C.
- start: seconds from a process's start to the end of its first step, compiled: with an empty compile cache, and again.
- evaluation: the forward pass, maps and boxes over as many images as val has, beside an epoch, by the rates of both.

Batches are noise; nothing is read. Rates are the best of a few turns.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from fastwsol.config import Config, Stem
from fastwsol.evaluation.boxes import PROTOCOLS, localize
from fastwsol.evaluation.thresholds import CAM_THRESHOLD
from fastwsol.host.device import Autocast, pick_autocast, use_threads
from fastwsol.host.environment import environment
from fastwsol.host.files import write_json
from fastwsol.network.cam import class_activation_maps
from fastwsol.network.preact_resnet import GMAC
from fastwsol.training.step import make_loss, new_state, train_step

CPU = torch.device("cpu")
CLASSES, SIZE = 200, 64
BATCHES = (32, 64, 128, 256, 512, 1024)
TURNS = 3
TRAIN_IMAGES, VAL_IMAGES = 100_000, 10_000


def best(work: Callable[[], object]) -> float:
    """Seconds of the fastest of a few turns, after one that does not count."""
    work()
    found = []
    for _ in range(TURNS):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found)


def ceilings() -> dict:
    """Operations a second of matrix products, bytes a second of a copy (read and written)."""
    side, count = 2048, 2**26
    found: dict = {}
    for name, dtype in {"fp32": torch.float32, "bf16": torch.bfloat16}.items():
        a, b = (torch.randn(side, side).to(dtype) for _ in range(2))
        found[f"{name} matrix product, FLOP/s"] = 2 * side**3 / best(partial(torch.matmul, a, b))
    source = torch.randn(count)
    target = torch.empty_like(source)
    found["copy, bytes/s"] = 2 * source.nbytes / best(lambda: target.copy_(source))
    return found


def noise(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and labels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, SIZE, SIZE, generator=generator).contiguous(memory_format=torch.channels_last)
    return images, torch.randint(0, CLASSES, (count,), generator=generator)


def step_rate(config: Config, count: int, autocast: Autocast) -> float:
    """Images a second of eager training steps."""
    state = new_state(config, CLASSES, autocast)
    loss_of = make_loss(state.model, autocast, compiled=False)
    images, labels = noise(count)
    return count / best(lambda: train_step(state, loss_of, images, labels, 0.01))


def forward_rate(config: Config, autocast: Autocast) -> float:
    """Images a second of what an evaluation does with batches of 256: forward pass, maps, boxes of both protocols."""
    model = new_state(config, CLASSES, autocast).model.eval()
    images, labels = noise(256)

    def evaluate() -> None:
        with torch.inference_mode(), autocast():
            _, features = model(images)
            cams = class_activation_maps(features, model.classifier.weight, labels).float().numpy()
        for protocol in PROTOCOLS:
            localize(cams, protocol, SIZE, np.full(256, SIZE), np.full(256, SIZE), CAM_THRESHOLD, "min-max")

    return 256 / best(evaluate)


def first_step() -> None:
    """One compiled step: a child of `starts`."""
    use_threads(0)
    state = new_state(Config.of(depth=18, stem="C"), CLASSES, pick_autocast("auto", CPU))
    train_step(state, make_loss(state.model, pick_autocast("auto", CPU), compiled=True), *noise(32), 0.01)


def starts() -> dict:
    """Seconds of processes that take one step, the second of which finds what the first compiled."""
    with tempfile.TemporaryDirectory() as cache:
        found = {}
        for name in ("empty compile cache", "again"):
            start = time.perf_counter()
            environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache}
            subprocess.run([sys.executable, __file__, "--first-step", "--out", os.devnull], env=environment, check=True)
            found[name] = time.perf_counter() - start
    return found


def main() -> None:
    """Measure, print, write OUT."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    parser.add_argument("--first-step", action="store_true", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.first_step:
        first_step()
        return
    threads, autocast = use_threads(0), pick_autocast("auto", CPU)
    found: dict = {"threads": threads, "precision": autocast.precision, "ceilings": ceilings()}
    print(json.dumps(found, indent=1), flush=True)
    products = found["ceilings"][f"{autocast.precision} matrix product, FLOP/s"]
    rows = found["steps"] = []
    others: list[tuple[int, Stem]] = [(18, "A"), (34, "A"), (34, "C")]
    sizes: list[tuple[int, Stem, int]] = [(18, "C", size) for size in BATCHES]
    sizes += [(*network, 32) for network in others]
    for depth, stem, size in sizes:
        rate = step_rate(Config.of(depth=depth, stem=stem), size, autocast)
        share = rate * 6e9 * GMAC[depth, stem] / products
        rows.append({"depth": depth, "stem": stem, "batch": size, "images_per_second": rate, "of_products": share})
        print(rows[-1], flush=True)
    found["starts"] = starts()
    print(found["starts"], flush=True)
    forward = forward_rate(Config.of(depth=18, stem="C"), autocast)
    training = max(row["images_per_second"] for row in rows)
    found["evaluation"] = {
        "images_per_second": forward,
        "of_an_epoch": (VAL_IMAGES / forward) / (TRAIN_IMAGES / training),
    }
    print(found["evaluation"])
    write_json(flags.out, {**environment(), **found})


if __name__ == "__main__":
    main()
