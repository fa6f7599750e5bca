"""What `predict` costs end to end: files to boxes beside a plain loop, each a process of its own, and its memory.

    python bench/predict_cost.py --run RUN --shards SHARDS --out bench/results/predict-cost.json

- rates: 5,000 JPEGs of mixed sizes, made of the val images of SHARDS, by `python -m fastwsol.predict` and by a loop of
  Pillow, torch and SciPy (bench/test_predict.py), in turns, start included; and the share of boxes within a pixel.
- memory: the resident memory of `predict` over 100,000 images, which are links to the same files, every few thousand.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from test_predict import SIZES, PlainLoop, make_photos

from fastwsol.dataset.shards import open_shards
from fastwsol.host.device import pick_autocast, use_threads
from fastwsol.host.environment import environment
from fastwsol.host.files import write_json
from fastwsol.network.networks import network_name
from fastwsol.runs.folder import RunDir
from fastwsol.runs.trained import read_run, trained_model

TURNS = 2
SECONDS_BETWEEN_LOOKS = 5.0


def plain(run: Path, folder: Path, out: Path) -> None:
    """The loop over a folder, written as CSV: a child of `rates`."""
    use_threads(0)
    info, saved = read_run(RunDir(run))
    autocast = pick_autocast(saved.scalars["precision"], torch.device("cpu"))
    loop = PlainLoop(info, trained_model(info, saved.tensors).eval(), autocast, threshold=0.2)
    with out.open("w", newline="") as file:
        writer = csv.writer(file)
        for path in sorted(folder.iterdir()):
            label, box = loop(path)
            writer.writerow([path.name, info.classes[label], *box])


def rates(run: Path, folder: Path, count: int) -> dict:
    """Images a second of both, and how often their boxes are the same."""
    seconds: dict[str, list[float]] = {"ours": [], "plain loop": []}
    with tempfile.TemporaryDirectory() as place:
        files = {name: Path(place) / f"{name}.csv" for name in seconds}
        commands = {
            "ours": ["-m", "fastwsol.predict", run, folder, "--out", files["ours"]],
            "plain loop": [__file__, "--plain", folder, "--run", run, "--out", files["plain loop"]],
        }
        for _ in range(TURNS):
            for name, command in commands.items():
                files[name].unlink(missing_ok=True)
                start = time.perf_counter()
                subprocess.run([sys.executable, *map(str, command)], check=True, capture_output=True)
                seconds[name].append(time.perf_counter() - start)
                print(f"{name}: {count / seconds[name][-1]:.0f} images/s", flush=True)
        found = [read_boxes(files["ours"], header=True), read_boxes(files["plain loop"], header=False)]
    apart = np.array([np.abs(np.subtract(found[0][name][1], box)).max() for name, (_, box) in found[1].items()])
    same_class = np.array([found[0][name][0] == label for name, (label, _) in found[1].items()])
    turns = [other / ours for ours, other in zip(seconds["ours"], seconds["plain loop"], strict=True)]
    return {
        "images": count,
        "sizes": SIZES,
        "seconds": seconds,
        "images_per_second": {name: count / statistics.median(each) for name, each in seconds.items()},
        "ratio": statistics.median(turns),
        "ratios": turns,
        "same_class": float(same_class.mean()),
        "boxes_within_a_pixel": float((same_class & (apart <= 1)).mean()),
        "median_pixels_apart": float(np.median(apart)),
    }


def read_boxes(path: Path, header: bool) -> dict[str, tuple[str, list[float]]]:
    """Class and box by the name of the image."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))[header:]
    if header:
        return {row[0]: (row[7], [float(side or "nan") for side in row[3:7]]) for row in rows}
    return {row[0]: (row[1], [*map(float, row[2:])]) for row in rows}


def memory(run: Path, folder: Path, count: int) -> dict:
    """The resident memory of a process that predicts `count` links to the folder's files, as it goes."""
    originals = sorted(folder.iterdir())
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        many = Path(place) / "many"
        many.mkdir()
        for k in range(count):
            os.link(originals[k % len(originals)], many / f"{k:06d}.jpg")
        command = [sys.executable, "-m", "fastwsol.predict", run, many, "--out", Path(place) / "boxes.json"]
        start = time.perf_counter()
        process = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        looks = []
        while process.poll() is None:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            status = Path(f"/proc/{process.pid}/status")
            lines = status.read_text().splitlines() if status.exists() else []
            looks += [(time.perf_counter() - start, int(line.split()[1]) * 1024) for line in lines if "VmRSS" in line]
        if process.returncode:
            raise SystemExit(f"predict ended with {process.returncode}")
    third = len(looks) // 3
    first, last = (
        statistics.median(size for _, size in part) for part in (looks[third : 2 * third], looks[2 * third :])
    )
    return {
        "images": count,
        "looks": looks,
        "middle_third": first,
        "last_third": last,
        "grown_percent": 100 * (last / first - 1),
    }


def main() -> None:
    """Measure, print, write OUT."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of a run")
    parser.add_argument("--shards", type=Path, help="folder that pack.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--many", type=int, default=100_000, help="images of the look at memory; 0: none")
    parser.add_argument("--memory-alone", action="store_true", help="no rates, which need a network of ours")
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.plain is not None:
        plain(flags.run, flags.plain, flags.out)
        return
    shards = open_shards(flags.shards, verify=False)
    config = RunDir(flags.run).read_info().config
    with tempfile.TemporaryDirectory(dir=flags.out.parent) as place:
        folder = Path(place) / "photos"
        folder.mkdir()
        make_photos(folder, shards, flags.images)
        found: dict = {}
        if not flags.memory_alone:
            found["rates"] = rates(flags.run, folder, flags.images)
            print(json.dumps(found["rates"], indent=1), flush=True)
        if flags.many:
            found["memory"] = memory(flags.run, folder, flags.many)
    about = {"network": network_name(config.network), "image_size": config.views.image_size}
    write_json(flags.out, {**environment(), "data": shards.manifest.source, **about, **found})


if __name__ == "__main__":
    main()
