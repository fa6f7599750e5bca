"""A process of a training under torchrun, which may die: python -m faults.rank RANK STEP FLAGS...

The process of that rank dies by SIGKILL after that step, in torchrun's first attempt.
"""

import os
import signal
import sys

from fastwsol import train

from . import dying, works


def main(rank: str, step: str, *flags: str) -> int:
    """The training of `flags`."""
    if os.environ["RANK"] == rank and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        dying.signal_after_step(int(step), signal.SIGKILL)
    return works.run_small(train.main, flags)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
