"""What the warm path costs a run: its share of the CPU's time, the memory of each process, the time to the first batch.

    python bench/warm_cost.py --shards data/shards --out bench/results/warm-cost.json

- share: training steps of depth 18 at stems A and C, batch 64, beside the CPU seconds that the data path spends, by the
  clocks of its threads: draws, views and copies in its own, and what the consumer's spends inside `next`.
- memory: the proportional set size (PSS; a page that n processes map counts 1/n in each) of one and of two processes
  that take batches of 256 float32 images from the store, and of the same processes on synthetic batches.
- start: seconds from opening the feed to the first batch, in a process of its own: with no store, with one, with one
  whose pages are cached by nobody's reading, and with DALI's decoder.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from fastwsol.batches import store_batches as resident
from fastwsol.batches.feed import open_feed
from fastwsol.batches.stores import DataFlags
from fastwsol.batches.stream import Stream, training_plan
from fastwsol.config import Config
from fastwsol.dataset.shards import Shards, open_shards
from fastwsol.host.device import Autocast, pick_autocast, use_threads
from fastwsol.host.environment import environment
from fastwsol.host.files import write_json
from fastwsol.host.process import Process
from fastwsol.training.step import make_loss, new_state, train_step

CPU = torch.device("cpu")
STEPS, STEP_BATCH, WARMING = 16, 64, 4  # 16 and 4: whole chunks of batches
MEMORY_BATCH, MEMORY_BATCHES = 256, 400
TURNS = 5


def stream_of(shards: Shards, config: Config, batch: int) -> Stream:
    split, manifest = shards.splits["train"], shards.manifest
    plan = training_plan(config.seed, len(split), batch)
    return Stream(split, plan, batch, config.views, config.seed, manifest.statistics)


def feed_of(shards: Shards, data: str, store: Path, autocast: Autocast, threads: int):
    flags = DataFlags(data, store)  # type: ignore[arg-type]
    return open_feed(flags, shards, ["train"], Process(autocast, threads))


def share(shards: Shards, store: Path, stem: str, aug: str, threads: int) -> dict:
    """The data path's share of the CPU seconds of a training."""
    config, autocast = Config.of(aug=aug, depth=18, stem=stem), pick_autocast("auto", CPU)
    state = new_state(config, len(shards.manifest.classes), autocast)
    loss_of = make_loss(state.model, autocast, compiled=False)
    feed = feed_of(shards, "resident", store, autocast, threads)
    made: list[float] = []
    make = resident._make

    def timed(*arguments):
        began = time.thread_time()
        try:
            return make(*arguments)
        finally:
            made.append(time.thread_time() - began)

    resident._make = timed
    try:
        batches = feed.batches(stream_of(shards, config, STEP_BATCH), threads=max(1, threads // 2))
        taken = before = start = 0.0
        for step in range(STEPS + WARMING):
            if step == WARMING:
                before, start, taken = time.process_time(), time.perf_counter(), 0.0
                made.clear()
            began = time.thread_time()
            batch = next(batches)
            taken += time.thread_time() - began
            train_step(state, loss_of, batch.images, batch.labels, 0.01)
        whole, wall = time.process_time() - before, time.perf_counter() - start
    finally:
        resident._make = make
    # Batches are made several at a time, so that the steps timed may have made more or fewer than they took.
    images = len(made) * max(resident.CHUNK_VIEWS, STEP_BATCH)
    spent = taken + sum(made) * STEPS * STEP_BATCH / images
    return {
        "stem": stem,
        "aug": aug,
        "precision": autocast.precision,
        "images_per_second": STEPS * STEP_BATCH / wall,
        "cpu_seconds": whole,
        "data_cpu_seconds": spent,
        "share_percent": 100 * spent / whole,
    }


def take(shards: Shards, store: Path, kind: str) -> None:
    """Take batches, say so, wait for a line, say the memory: a child of `memory`."""
    use_threads(1)
    config = Config.of(aug="gr-hns", resampler="bilinear")
    if kind == "synthetic":
        images = torch.zeros(MEMORY_BATCH, 3, 64, 64).contiguous(memory_format=torch.channels_last)
        for _ in range(MEMORY_BATCHES):
            images.sum()
    else:
        feed = feed_of(shards, "resident", store, Autocast(CPU, "fp32"), 1)
        batches = feed.batches(stream_of(shards, config, MEMORY_BATCH))
        for _ in range(MEMORY_BATCHES):
            next(batches).images.sum()
    print("taken", flush=True)
    sys.stdin.readline()
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    values = {line.split()[0]: int(line.split()[1]) * 1024 for line in lines[1:]}
    print(
        json.dumps({"pss": values["Pss:"], "anonymous": values["Pss_Anon:"], "file": values["Pss_File:"]}), flush=True
    )
    sys.stdin.readline()


def memory(flags: argparse.Namespace, store: Path, kind: str, count: int) -> list[dict]:
    """PSS of `count` processes that stand side by side, each after its batches."""
    command = [sys.executable, __file__, "--shards", str(flags.shards), "--out", str(flags.out), "--take", kind]
    processes = [
        subprocess.Popen([*command, "--store", str(store)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    for process in processes:
        while process.stdout.readline() != "taken\n":  # type: ignore[union-attr]
            pass
    found = []
    for process in processes:
        process.stdin.write("\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
        found.append(json.loads(process.stdout.readline()))  # type: ignore[union-attr]
    for process in processes:
        process.communicate("\n")
    return found


def first_batch(shards: Shards, store: Path, data: str) -> None:
    """Open the feed and take one batch, say how long each took: a child of `starts`."""
    threads = use_threads(0)
    start = time.perf_counter()
    feed = feed_of(shards, data, store, Autocast(CPU, "fp32"), threads)
    opened = time.perf_counter()
    next(feed.batches(stream_of(shards, Config(), MEMORY_BATCH)))
    print(json.dumps({"opened": opened - start, "first_batch": time.perf_counter() - opened}), flush=True)


def starts(flags: argparse.Namespace, store: Path) -> dict:
    """Seconds to the first batch, each the median of a few processes."""

    def seconds(data: str) -> dict:
        command = [sys.executable, __file__, "--shards", str(flags.shards), "--out", str(flags.out)]
        command += ["--first-batch", data, "--store", str(store)]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])

    def median(runs: list[dict]) -> dict:
        return {name: statistics.median(run[name] for run in runs) for name in runs[0]}

    seconds("dali")  # whatever is cached on a machine that has run before, is
    cold = []
    for _ in range(TURNS):
        shutil.rmtree(store, ignore_errors=True)
        cold.append(seconds("resident"))
    warm = [seconds("resident") for _ in range(TURNS)]
    return {"no store": median(cold), "store": median(warm), "dali": median([seconds("dali") for _ in range(TURNS)])}


def main() -> None:
    """Measure, print, write OUT."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path, required=True, help="folder that pack.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    parser.add_argument("--store", type=Path, help="folder for the decoded images; default: one that goes at the end")
    parser.add_argument("--take", help=argparse.SUPPRESS)
    parser.add_argument("--first-batch", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    shards = open_shards(flags.shards, verify=False)
    if flags.take is not None:
        take(shards, flags.store, flags.take)
        return
    if flags.first_batch is not None:
        first_batch(shards, flags.store, flags.first_batch)
        return
    with tempfile.TemporaryDirectory(dir=flags.out.parent) as folder:
        store = flags.store or Path(folder) / "decoded"
        threads = use_threads(0)
        found: dict = {"starts": starts(flags, store)}
        print(json.dumps(found["starts"], indent=1), flush=True)
        found["shares"] = [share(shards, store, stem, aug, threads) for stem in ("A", "C") for aug in ("gr", "gr-hns")]
        for row in found["shares"]:
            print(row, flush=True)
        pss = {
            kind: {count: memory(flags, store, kind, count) for count in (1, 2)} for kind in ("synthetic", "resident")
        }
        totals = {
            kind: {count: sum(row["pss"] for row in rows) for count, rows in of.items()} for kind, of in pss.items()
        }
        further = {kind: of[2] - of[1] for kind, of in totals.items()}
        found["memory"] = {
            "store_bytes": sum(path.stat().st_size for path in store.glob("*.npy")),
            "processes": pss,
            "a_further_process": further,
            "more_than_synthetic": further["resident"] - further["synthetic"],
        }
    print(json.dumps(found["memory"], indent=1))
    data = {"source": shards.manifest.source, "digest": shards.digest}
    write_json(flags.out, {**environment(), "data": data, **found})


if __name__ == "__main__":
    main()
