"""How the warm path scales: batch size, threads, images in the store; and how far it is from the machine's memory.

    python bench/warm_scaling.py --out bench/results/warm-scaling

Needs matplotlib (`pip install '.[plots]'`). Writes OUT.json and OUT.png. The store is of random pixels, which cost what
others do, on the disk beside OUT. Every point is the best of several turns. Bandwidth is of float32 far larger than any
cache: a read, a write (which ordinary stores make of a read and a write) and a write past the cache.
"""

import argparse
import tempfile
import time
from pathlib import Path

import matplotlib
import numba
import numpy as np
import torch

from fastwsol.batches.store_batches import StoreBatches
from fastwsol.batches.stream import Stream, training_plan
from fastwsol.config import Augmentation, Statistics
from fastwsol.host.device import use_threads
from fastwsol.host.environment import environment
from fastwsol.host.files import write_json
from fastwsol.host.kept_arrays import KeptArray
from kernels.lanes import STREAMED_BYTES, finish_streaming, stream

matplotlib.use("Agg")
from matplotlib import pyplot as plt

SIZE = 64
BATCHES = (32, 64, 128, 256, 512, 1024)
STORES = (1_000, 3_000, 10_000, 30_000, 100_000)
THREADS = (1, 2)
USUAL_BATCH, USUAL_STORE = 256, 100_000
TURNS = 7
VIEWS_A_TURN = 16_384
IMAGE_BYTES = SIZE * SIZE * 3
MEAN, STD = (122.0, 114.0, 101.0), (70.0, 68.0, 72.0)


class Images:
    """As much of a split as the warm path looks at."""

    def __init__(self, count: int) -> None:
        self.labels, self.rows = np.zeros(count, np.int64), np.arange(count)
        self.widths = self.heights = np.full(count, SIZE, np.int32)
        self.packed_name = "random"

    def __len__(self) -> int:
        return len(self.labels)


def best_rate(store: KeptArray, count: int, batch: int, threads: int, aug: str, dtype: torch.dtype) -> float:
    """Images a second of the first `count` images of the store, in the best of a few turns."""
    images = Images(count)
    augmentation = Augmentation(aug, True, False, "bilinear", SIZE)  # type: ignore[arg-type]
    plan = training_plan(0, count, batch)
    batches = StoreBatches(Stream(images, plan, batch, augmentation, 0, Statistics(MEAN, STD)), store, dtype, threads)  # type: ignore[arg-type]
    steps = VIEWS_A_TURN // batch
    best = float("inf")
    for _ in range(TURNS):
        for _ in range(threads + 2):
            next(batches)
        start = time.perf_counter()
        for _ in range(steps):
            next(batches)
        best = min(best, time.perf_counter() - start)
    return steps * batch / best


@numba.njit(parallel=True)
def read(source):
    total = np.uint64(0)  # whole numbers, which may be added in any order, and so many at a time
    for i in numba.prange(len(source)):
        total += source[i]
    return total


@numba.njit(parallel=True)
def write(target):
    for i in numba.prange(len(target)):
        target[i] = 1


@numba.njit(parallel=True)
def write_past_the_cache(target):
    line = np.ones(STREAMED_BYTES // 4, np.float32)
    for part in numba.prange(64):
        size = len(target) // 64
        piece = target[part * size : (part + 1) * size]
        for block in range(size * 4 // STREAMED_BYTES):
            stream(piece[block * STREAMED_BYTES // 4 :], 0, line)
        finish_streaming()


def bandwidth(threads: int) -> dict[str, float]:
    """Bytes a second, of 256 MiB."""
    numba.set_num_threads(threads)
    memory = torch.ones(64 * 2**20).numpy()
    found = {}
    for name, work in (("read", read), ("write", write), ("write past the cache", write_past_the_cache)):
        target = memory.view(np.uint64) if work is read else memory
        work(target)
        seconds = []
        for _ in range(TURNS):
            start = time.perf_counter()
            work(target)
            seconds.append(time.perf_counter() - start)
        found[name] = memory.nbytes / min(seconds)
    return found


def plot(found: dict, path: Path) -> None:
    figure, (by_batch, by_store, floor) = plt.subplots(1, 3, figsize=(15, 4.5))
    for point in ("gr", "gr-hns"):
        for threads in THREADS:
            rows = [row for row in found["batch"] if (row["aug"], row["threads"]) == (point, threads)]
            style = {"marker": "o", "linestyle": "-" if threads == 2 else "--"}
            name = f"{point}, {threads} thread{'s' if threads > 1 else ''}"
            by_batch.plot(
                [row["batch"] for row in rows], [row["images_per_second"] for row in rows], label=name, **style
            )
            rows = [row for row in found["store"] if (row["aug"], row["threads"]) == (point, threads)]
            by_store.plot(
                [row["images"] for row in rows], [row["images_per_second"] for row in rows], label=name, **style
            )
    for axes, name in ((by_batch, "batch size"), (by_store, "images in the store")):
        axes.set(xscale="log", xlabel=name, ylabel="images a second", ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend()
    by_batch.set_xticks(BATCHES, [str(each) for each in BATCHES])
    by_batch.minorticks_off()
    names, values = zip(*found["microseconds_an_image"].items(), strict=True)
    floor.barh(names, values, color=["C0"] * (len(names) - 1) + ["C3"])
    floor.invert_yaxis()
    floor.set(xlabel=f"microseconds an image, {max(THREADS)} threads, gr, float32")
    for y, value in enumerate(values):
        floor.text(value, y, f" {value:.2f}", va="center")
    floor.margins(x=0.15)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, write OUT.json and OUT.png."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="path of both files, without their endings")
    flags = parser.parse_args()
    use_threads(max(THREADS))
    found: dict = {"batch": [], "store": [], "bandwidth": {}}
    with tempfile.TemporaryDirectory(dir=flags.out.parent) as folder:
        path = Path(folder) / "pixels.npy"
        pixels = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(max(STORES), SIZE, SIZE, 3))
        rng = np.random.default_rng(0)
        for first in range(0, len(pixels), 1000):
            pixels[first : first + 1000] = rng.integers(0, 256, pixels[first : first + 1000].shape, np.uint8)
        store = KeptArray(path, np.load(path, mmap_mode="r"), "")
        for aug in ("gr", "gr-hns"):
            for threads in THREADS:
                about = {"aug": aug, "threads": threads}
                for batch in BATCHES:
                    rate = best_rate(store, USUAL_STORE, batch, threads, aug, torch.float32)
                    half = best_rate(store, USUAL_STORE, batch, threads, aug, torch.bfloat16)
                    row = {**about, "batch": batch, "images_per_second": rate, "bf16_images_per_second": half}
                    found["batch"].append(row)
                    print(row, flush=True)
                for count in STORES:
                    rate = best_rate(store, count, USUAL_BATCH, threads, aug, torch.float32)
                    found["store"].append({**about, "images": count, "images_per_second": rate})
                    print(found["store"][-1], flush=True)
    for threads in THREADS:
        found["bandwidth"][str(threads)] = bandwidth(threads)
    most = found["bandwidth"][str(max(THREADS))]
    rate = best_of(found, "gr", max(THREADS))
    floor = IMAGE_BYTES / most["read"] + 4 * IMAGE_BYTES / most["write past the cache"]
    found["microseconds_an_image"] = {
        "reading the image": 1e6 * IMAGE_BYTES / most["read"],
        "writing the view": 1e6 * 4 * IMAGE_BYTES / most["write past the cache"],
        "both: the floor": 1e6 * floor,
        "measured": 1e6 / rate,
    }
    print(found["bandwidth"], found["microseconds_an_image"])
    write_json(flags.out.with_suffix(".json"), {**environment(), "turns": TURNS, **found})
    plot(found, flags.out.with_suffix(".png"))


def best_of(found: dict, aug: str, threads: int) -> float:
    """The rate at the usual batch and store."""
    return next(
        row["images_per_second"]
        for row in found["batch"]
        if (row["aug"], row["threads"], row["batch"]) == (aug, threads, USUAL_BATCH)
    )


if __name__ == "__main__":
    main()
