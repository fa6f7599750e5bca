"""Images a second of one training by one process and by several, which exchange gradients by gloo on this machine.

    python bench/processes.py --out bench/results/processes.json

The sides take turns, on the same cores: a process with both cores, a process with one, and two processes with one each
under torchrun. What two processes on two cores cannot show is what a network between machines costs, or NCCL between
GPUs: the figures say what the exchange costs where memory carries it, and no more.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rounds import ratio

from fastwsol.dataset.packer import pack
from fastwsol.host.environment import environment
from fastwsol.host.files import write_json
from fastwsol.runs.folder import RunDir
from fastwsol.sources.synthetic import Synthetic

TURNS, STEPS, LOG_STEPS = 3, 24, 8
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
SIDES = {
    "one process, two threads": ((), 2),
    "one process, one thread": ((), 1),
    "two processes, one thread each": (TORCHRUN, 1),
}
"""What starts the training, and the threads of each process."""


def images_per_second(side: str, batch: int, shards: Path, folder: Path, turn: int) -> float:
    """The median over the stretches of a training, without the first."""
    launcher, threads = SIDES[side]
    run = folder / f"{side} {batch} {turn}"
    flags = {"aug": "gr", "depth": 18, "stem": "C", "batch-size": batch, "epochs": STEPS * batch / 3200, "lr": 0.01}
    flags |= {"step": "eager", "threads": threads, "log-steps": LOG_STEPS, "shards": shards, "run-dir": run}
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    environment = os.environ | {"OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": str(threads)}
    subprocess.run(
        [sys.executable, *launcher, "-m", "fastwsol.train", *words], env=environment, check=True, capture_output=True
    )
    rows = [row for row in RunDir(run).rows() if row["kind"] == "train"]
    return statistics.median(row["images_per_second"] for row in rows[1:])


def main() -> None:
    """Measure, print, write OUT."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    parser.add_argument("--batch-size", type=int, nargs="+", default=[64])
    flags = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[:2]
    os.sched_setaffinity(0, cores)
    found: dict[int, dict] = {}
    with tempfile.TemporaryDirectory(dir=flags.out.parent) as place:
        folder = Path(place)
        pack(Synthetic(class_count=8, train_count=400, val_count=8), folder / "shards")
        for batch in flags.batch_size:
            rates: dict[str, list[float]] = {side: [] for side in SIDES}
            for turn in range(TURNS):
                for side in SIDES:
                    rates[side].append(images_per_second(side, batch, folder / "shards", folder, turn))
            of_two = [1 / rate for rate in rates["two processes, one thread each"]]
            ratios = {side: ratio(of_two, [1 / rate for rate in rates[side]]) for side in list(SIDES)[:2]}
            found[batch] = {"images_per_second": rates, "two_processes_over": ratios}
            print(batch, json.dumps(found[batch], indent=1), flush=True)
    write_json(flags.out, {**environment(), "batch_sizes": found})


if __name__ == "__main__":
    main()
