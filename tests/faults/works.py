"""What the processes of the fault tests do: the real commands, on sets of a few images.

The network is an eighth as wide as the real one, so that a trial, most of which is the writing of checkpoints, takes
seconds.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fastwsol import evaluate, train
from fastwsol.batches.decoded_store import Store, default_folder
from fastwsol.dataset.packer import pack
from fastwsol.dataset.shards import open_shards
from fastwsol.host.command_line import run_command
from fastwsol.network import preact_resnet as model
from fastwsol.sources.synthetic import Synthetic
from fastwsol.training import progress

STEPS = 15
"""Of 16 images out of 80: epochs begin with steps 0, 5 and 10."""


def pack_small(out: Path) -> int:
    """Pack a set whose splits are several shards each."""
    source = Synthetic(class_count=2, train_count=30, val_count=15)

    def main(_: object) -> int:
        pack(source, out, max_shard_bytes=48 * 1024, workers=1)
        return 0

    return run_command(main, [])


def train_small(shards: Path, run: Path, *more: str) -> int:
    """A training of STEPS steps, which saves each of them, and its evaluation."""
    return run_small(train.main, training_flags(shards, run, *more))


def training_flags(shards: Path, run: Path, *more: str) -> list[str]:
    """Its command line."""
    values: dict[str, Any] = {"depth": 18, "stem": "C", "batch-size": 16, "epochs": STEPS * 16 / 80, "lr": 0.02}
    values |= {"aug": "gr-hns", "log-steps": 4, "eval-epochs": 1, "threads": 1, "step": "eager"}
    words = [word for name, value in values.items() for word in (f"--{name}", str(value))]
    return [*words, "--flip", "--checkpoint-minutes", "0", "--shards", str(shards), "--run-dir", str(run), *more]


def evaluate_small(run: Path) -> int:
    """The report of a finished run, again."""
    return run_small(evaluate.main, [str(run), "--threads", "1"])


def build_store(shards: Path) -> int:
    """Decode the training images once."""

    def main(_: object) -> int:
        opened = open_shards(shards)
        Store(opened, "train", default_folder(opened)).open(threads=1)
        return 0

    return run_command(main, [])


def run_small(command: Callable[[Sequence[str]], int], flags: Sequence[str]) -> int:
    """A command with a narrow network, without the measurement of the cost, which takes steps of its own."""
    model.WIDTHS = (8, 16, 32, 64)
    progress.probe_seconds = lambda *_: 0.01  # type: ignore[assignment]
    return run_command(command, flags, by_several=True)
