"""Accept fastwsol on a GPU: try its claims there and measure its rates, phase by phase, each within a time limit.

    python scripts/accept_gpu.py [PHASE ...] --out DIR [--shards DIR] [--phase-minutes 9] [-- FLAGS OF TRAIN]
    python scripts/accept_gpu.py --out DIR --dry-run        the same code on a CPU, small, in a minute or two

| phase | DALI | what it proves or measures | on an H200, about |
|---|---|---|---|
| step | no | gradients and losses in fp32, bf16, fp16; compiled against eager; layouts; maps and boxes | 3 min |
|      |    | against the CPU; exact and close resume; that no step waits for the host | |
| head | no | a mask head's masks against the CPU's; captured and compiled steps against eager ones | 1 min |
| augment | no | torch's views of decoded images against the twin, compiled and eager; that nothing waits | 1 min |
| rates | no | the bf16 matrix product and the device copy; then the step, eager, compiled, captured and | 8 min |
|       |    | both, at batch 256, 32, 1024, 128: images/s, shares of the ceilings, memory, seconds to the | |
|       |    | first step; where an eager step's time goes; 1, 2 and 4 trainings side by side; evaluation | |
| resident | last | images/s of views of decoded images; trainings fed so beside synthetic input, and DALI | 3 min |
| data | yes | every augmentation's batches against the Pillow twin, host and mixed; stream and errors | 1 min |
| pipeline | yes | images/s of the batches, in 72 ways, and of a whole training fed by them | 3 min |
| resume | no | `train` stopped by SIGTERM and continued, to the bit with --deterministic; `evaluate` twice | 3 min |
| training | no | a real training that goes on from call to call (default: --preset fast, depth 18, stem A) | 2 min |
| recipe | no | none, hns and gr under --preset fast at depth 18, then 34, gone on with from call to call; | 15 min |
|      |    | their table beside the paper's numbers | |

Trainings take their images from a store, decoded once, and so need no DALI.

The times are of an H200 with 16 cores (bench/results/h200; where a phase was not carried out whole, what is left is
estimated); compiling takes 10 to 20 s for each network and batch size. Within a phase the checks stand in the order of
worth; one that no longer fits before the phase's deadline is "not reached", and never counts as passed.

For half an hour with a GPU, in calls of at most ten minutes (fastwsol must be importable: PYTHONPATH=. where it is not
installed; DALI for CUDA 13 serves as well as the one pinned):

    python scripts/accept_gpu.py step head augment --out $OUT --shards DIR --phase-minutes 3    first: they need no DALI
    python scripts/accept_gpu.py rates resident --out $OUT --shards DIR --phase-minutes 4
    python scripts/accept_gpu.py recipe --out $OUT --shards DIR --phase-minutes 8
    python scripts/accept_gpu.py resume pipeline data --out $OUT --shards DIR --phase-minutes 3

Each phase leaves DIR/PHASE.json, whole after every check, with command, commit, versions, machine and GPU; clocks and
other settings of the card are left as they are found. A training's own files stand in training.json under `files`. The
table comes last, but where DALI 2.4 ends the process with SIGSEGV, as the last check of `data` saw it do. Exit status:
0 all passed, 1 some failed, 2 a mistake in what was asked, 3 none failed and some were not reached, 75 stopped.
"""

import importlib
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import torch
import tyro
from acceptance.record import Check, Record, line_of, run_checks
from acceptance.setting import Setting, opened

from fastwsol.dataset.packer import pack
from fastwsol.host.command_line import FAILURE, parse_flags, run_command
from fastwsol.host.device import pick_device, use_threads
from fastwsol.host.environment import environment
from fastwsol.host.errors import Interrupted, UserError
from fastwsol.host.flags import OptionalPath, shown_as
from fastwsol.sources.synthetic import Synthetic

PROG = "scripts/accept_gpu.py"
NOT_REACHED = 3
Phase = Literal["step", "head", "augment", "rates", "resident", "data", "pipeline", "resume", "training", "recipe"]
DESCRIPTION = f"""Try the claims on a GPU and measure its rates, phase by phase: {
    ", ".join(get_args(Phase))
}. The head of this script says what each proves and how long it takes.
What follows `--` are flags of the phase training's train.

Exit status: 0 all passed, 1 some failed, 2 a mistake in what was asked, 3 none failed and some were not reached, 75
stopped."""


@dataclass(frozen=True)
class Flags:
    """The command line."""

    out: Path
    """folder for one JSON a phase, and for exported weights; a phase's older file there is replaced"""
    phases: Annotated[tuple[Phase, ...], tyro.conf.Positional, shown_as("PHASE...")] = get_args(Phase)
    """those above, in this order; default: all"""
    shards: OptionalPath = None
    """folder that pack.py wrote; default data/shards, in a dry run a synthetic set of its own"""
    phase_minutes: float = 9.0
    """no check is begun that would end later than this after its phase's start"""
    only: str = ""
    """carry out the checks alone whose names hold this"""
    dry_run: bool = False
    """everything small, on the CPU; what a CPU cannot do is skipped"""
    run: OptionalPath = None
    """folder of the phase `training`'s run; default data/runs/accept, in a dry run one that goes at its end"""
    export_weights: bool = False
    """let the phase `training` write its newest weights too"""


def main(arguments: Sequence[str]) -> int:
    """Carry out the phases and print the table; the exit status is the module's docstring's."""
    own, train_flags = _split_flags(arguments)
    flags = parse_flags(Flags, own, PROG, DESCRIPTION)
    if not torch.cuda.is_available() and not flags.dry_run:
        raise UserError("no CUDA device here; --dry-run does everything small on the CPU")
    if flags.phase_minutes <= 0:
        raise UserError(f"--phase-minutes {flags.phase_minutes}: must be greater than 0")
    flags.out.mkdir(parents=True, exist_ok=True)
    records: list[Record] = []
    try:
        with _folders(flags) as (shards, run):
            for phase in flags.phases:
                _carry_out(phase, flags, shards, run, train_flags, records)
    except KeyboardInterrupt:
        _print_table(records)
        raise Interrupted(f"what was found so far is in {flags.out}") from None
    if not any(record.rows for record in records):
        raise UserError(
            f"--only {flags.only}: {' and '.join(flags.phases)} have no check of that name; see {flags.out}"
        )
    return _print_table(records)


def _split_flags(arguments: Sequence[str]) -> tuple[list[str], list[str] | None]:
    """This command's arguments, and those after `--`, which are train's; None where there is no `--`."""
    if "--" not in arguments:
        return list(arguments), None
    at = list(arguments).index("--")
    return list(arguments[:at]), list(arguments[at + 1 :])


@contextmanager
def _folders(flags: Flags) -> Iterator[tuple[Path, Path]]:
    """Where the shards and the training's run are; a dry run makes its own where none is named."""
    if not flags.dry_run:
        shards, run = flags.shards or Path("data/shards"), flags.run or Path("data/runs/accept")
        yield shards.resolve(), run.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="accept-") as folder:
        if flags.shards is None:
            pack(Synthetic(class_count=4, train_count=20, val_count=10), Path(folder) / "shards")
        yield (flags.shards or Path(folder) / "shards").resolve(), (flags.run or Path(folder) / "run").resolve()


def _carry_out(
    phase: Phase, flags: Flags, shards: Path, run: Path, train_flags: list[str] | None, records: list[Record]
) -> None:
    """Carry out one phase, and add its record to `records` at its start."""
    device = torch.device("cpu") if flags.dry_run else pick_device("auto")
    start = time.monotonic()
    # On a CPU a single thread: a dry run is small, and shares the machine.
    setting = Setting(device, shards, flags.dry_run, start + 60 * flags.phase_minutes, use_threads(int(flags.dry_run)))
    opened(shards)  # a mistake in --shards is told before anything is tried
    about = {
        "phase": phase,
        "dry_run": flags.dry_run,
        "phase_minutes": flags.phase_minutes,
        "shards": {"source": opened(shards).manifest.source, "digest": opened(shards).digest},
        **environment(),
        "gpu": gpu(device),
    }
    file = flags.out / f"{phase}.json"
    # Imported in its turn: DALI, which some phases need, may be missing where others are wanted.
    try:
        module = importlib.import_module(f"acceptance.{phase}")
    except ModuleNotFoundError as missing:
        if not str(missing.name).startswith("nvidia"):
            raise
        print(f"{phase}: not tried, since {missing.name} is not installed", flush=True)
        records.append(Record(phase, [f"all, since {missing.name} is not installed"], file, about))
        return
    checks: list[Check]
    if phase == "training":
        trained = module.default_flags(flags.dry_run) if train_flags is None else train_flags
        checks = module.checks(setting, run, trained, flags.out, flags.export_weights)
    elif phase == "recipe":
        checks = module.checks(setting, run)
    else:
        checks = module.checks(setting)
    checks = [check for check in checks if flags.only in check.name]
    print(f"{phase}: {len(checks)} checks", flush=True)
    records.append(Record(phase, [check.name for check in checks], file, about))
    run_checks(checks, records[-1], setting.deadline, flags.dry_run)


def gpu(device: torch.device) -> dict[str, Any] | None:
    """The GPU as it was found; None on a CPU."""
    if device.type != "cuda":
        return None
    properties = torch.cuda.get_device_properties(device)
    fields = "driver_version,pstate,clocks.sm,clocks.mem,power.draw,temperature.gpu"
    try:
        command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader", f"--id={device.index or 0}"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        answer = ""
    return {
        "name": properties.name,
        "bytes": properties.total_memory,
        "multiprocessors": properties.multi_processor_count,
        "capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "nvidia-smi": {fields: answer},
        "clocks": "as found, never set",
        "host": platform.node(),
    }


def _print_table(records: list[Record]) -> int:
    """Print every check's line, failures last, then the counts; return the exit status."""
    rows = [row for record in records for row in record.rows]
    order = ("measured", "passed", "skipped", "not reached", "failed")
    print()
    for outcome in order:
        for row in rows:
            if row["outcome"] == outcome:
                print(line_of(row))
    counts = Counter(row["outcome"] for row in rows)
    print(", ".join(f"{counts[outcome]} {outcome}" for outcome in order if counts[outcome]) or "no check of that name")
    if counts["failed"]:
        return FAILURE
    return NOT_REACHED if counts["not reached"] else 0


if __name__ == "__main__":
    sys.exit(run_command(main))
