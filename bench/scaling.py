"""What boxes cost against the size of the maps and their number: a JSON file and a picture of it.

    python bench/scaling.py --out bench/results/box-scaling

One thread. Against size: random smooth maps of 32 to 512 pixels a side, as many as have 2**24 pixels together. Against
number: 1 to 100,000 maps of 64 x 64. The median of five turns each. Beside them stands what a process grew by while it
made all boxes and curves of 100,000 maps, which have 8 x 8 cells.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import kernels
from fastwsol.evaluation.maps import NetworkMaps, localize_maps
from fastwsol.evaluation.truths import Truths
from fastwsol.host.device import use_threads
from fastwsol.host.environment import environment
from fastwsol.host.files import write_json

SIDES = (32, 48, 64, 96, 128, 192, 256, 384, 512)
NUMBERS = (1, 10, 100, 1_000, 10_000, 100_000)
PIXELS = 2**24
TURNS = 5
CELLS = 8


def cams(count: int) -> np.ndarray:
    """Random maps float32 [count, CELLS, CELLS]; upsampled they are smooth."""
    return np.random.default_rng(0).standard_normal((count, CELLS, CELLS), np.float32)


def truths(count: int, side: int) -> Truths:
    """The middle of each image."""
    box = np.array([[0.25, 0.25, 0.75, 0.75]]) * side
    sides = np.full(count, side, np.int32)
    return Truths(sides, sides, np.tile(box, (count, 1)).astype(np.float32), np.arange(count + 1))


def work(count: int, side: int) -> dict[str, Callable[[], object]]:
    """The kernels on `count` maps of `side` pixels."""
    maps = cams(count)
    levels = kernels.cam_levels(maps, side)
    known, sizes = truths(count, side), np.full((count, 2), side, np.int32)
    return {
        "cam_boxes": lambda: kernels.cam_boxes(maps, side, 0.2),
        "threshold_sweep": lambda: kernels.threshold_sweep(levels),
        "sweep_ious": lambda: kernels.sweep_ious(levels, known.boxes, known.offsets, sizes),
    }


def seconds(turn: Callable[[], object]) -> float:
    """The median of TURNS, after one that is not counted."""
    times = []
    for _ in range(TURNS + 1):
        start = time.perf_counter()
        turn()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def peak_memory(count: int) -> int:
    """Bytes that this process grows by at most while it makes boxes and curves of `count` maps."""
    localize_maps(NetworkMaps(cams(64), 64), truths(64, 64))  # compiled
    maps, known = cams(count), truths(count, 64)
    before = _kilobytes("VmRSS")
    localize_maps(NetworkMaps(maps, 64), known)
    return 1024 * (_kilobytes("VmHWM") - before)


def _kilobytes(what: str) -> int:
    """A figure of this process's memory as Linux tells it (getrusage's peak is older than the program, since exec)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:"))


def plot(found: dict, path: Path) -> None:
    """Time a pixel against the side, time a map against the number."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for axes, rows, x, divisor, label in (
        (left, found["size"], "side", "pixels", "ns a pixel"),
        (right, found["number"], "maps", "maps", "µs a map of 64 x 64"),
    ):
        for name in rows[0]["seconds"]:
            scale = 1e9 if divisor == "pixels" else 1e6
            axes.plot(
                [row[x] for row in rows],
                [scale * row["seconds"][name] / row[divisor] for row in rows],
                "o-",
                label=name,
            )
        axes.set(xscale="log", yscale="log", xlabel=x, ylabel=label)
        axes.grid(alpha=0.3, which="both")
    left.set_xticks(SIDES, [str(side) for side in SIDES], minor=False)
    left.minorticks_off()
    left.set_title("against the size of a map; level: linear in its pixels")
    right.set_title("against the number of maps; level: linear")
    right.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, write OUT.json and OUT.png."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="path of both files, without their endings")
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    use_threads(1)
    if flags.memory_of is not None:
        print(peak_memory(flags.memory_of))
        return
    found: dict = {"size": [], "number": [], "memory": {}}
    for side in SIDES:
        count = PIXELS // side**2
        measured = {name: seconds(turn) for name, turn in work(count, side).items()}
        found["size"].append({"side": side, "maps": count, "pixels": count * side**2, "seconds": measured})
        print(side, {name: f"{1e9 * each / count / side**2:.1f} ns a pixel" for name, each in measured.items()})
    for count in NUMBERS:
        measured = {name: seconds(turn) for name, turn in work(count, 64).items()}
        found["number"].append({"side": 64, "maps": count, "seconds": measured})
        print(count, {name: f"{1e6 * each / count:.1f} us a map" for name, each in measured.items()})
    command = [sys.executable, __file__, "--out", flags.out, "--memory-of", str(NUMBERS[-1])]
    grown = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    found["memory"] = {"maps": NUMBERS[-1], "side": 64, "peak_growth_bytes": grown}
    print(f"{NUMBERS[-1]:,} maps: {grown / 2**20:.0f} MiB more at the peak")
    write_json(flags.out.with_suffix(".json"), {**environment(), "threads": 1, "turns": TURNS, **found})
    plot(found, flags.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
