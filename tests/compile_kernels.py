"""Compile the kernels of a training and its evaluation, a minute of one core: processes that begin together, as the
tests' workers, find them compiled.
"""

import sys
import tempfile
from pathlib import Path

from fastwsol import train
from fastwsol.dataset.packer import pack
from fastwsol.host.command_line import run_command
from fastwsol.sources.synthetic import Synthetic


def main() -> int:
    """Pack a few images, and train a few steps."""
    with tempfile.TemporaryDirectory() as folder:
        shards = Path(folder, "shards")
        pack(Synthetic(class_count=2, train_count=16, val_count=8), shards)
        flags = ["--aug", "gr-hns", "--depth", "18", "--stem", "C", "--batch-size", "16", "--epochs", "1", "--flip"]
        flags += ["--color", "--step", "eager", "--threads", "1", "--localizer", "cam"]
        return run_command(train.main, [*flags, "--shards", str(shards), "--run-dir", str(Path(folder, "run"))])


if __name__ == "__main__":
    sys.exit(main())
