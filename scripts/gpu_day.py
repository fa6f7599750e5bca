"""An hour on a GPU: an ordered queue of what is to be proved there, gone on with from call to call.

    python scripts/gpu_day.py --out OUT --shards SHARDS [--loan-minutes 30] [--only ITEM ...] [--photos SHARDS]
    python scripts/gpu_day.py --out OUT --dry-run                      the same code on a CPU, small

| item | what it proves | on an H200, about |
|---|---|---|
| recipe | settings of `fast` and `strong` at depth 18, by images held out of train | 22 min |
| masks | mask heads on all of Tiny ImageNet, behind GR at depth 18, three seeds | 7 min |
| record | seconds from the command to the paper's best Top-1 Loc, one at a time: five, three of 16 epochs | 9 min |
| augs | GR, none and HnS, three seeds: the paper's first claim, at 64 pixels and as `fast` has it | 20 min |
| strong | the network for the best Top-1 Loc within ten minutes, three seeds | 25 min |
| orders | GR with HnS in either order, and batch 32 beside 256, three seeds | 30 min |
| photos | photographs: all of a pretrained backbone trained, beside its last layer; needs --photos | 2 min |

Each training is `python -m fastwsol.train` in a process of its own, whose folder lies in --runs. Within --minutes they
are begun in this order; what is still at work then, or when this command is stopped, is stopped by SIGTERM, and the
next call goes on with it. Nothing is asked of a network. gpu-day.json, in --runs and in --out, has everything that is
finished, whole after each training: its report without the curves, its starts, every tenth row of its losses, and the
seconds that its processes took in all. A training that failed is not tried again but with --again, nor are the other
seeds of its setting. What is finished is not done again; with --done neither is what such a file of an
earlier machine has, but for trainings that had other flags than those of the queue now, and timed ones of another
version of the program. Before timed ones a short training decodes images and compiles kernels. The weights of the
first `strong` come back too, in pieces below 16 MiB. A training that was stopped is
gone on with where its folder in --runs lies, which is the one thing that would have to be carried to another machine
(its newest checkpoint is some 90 MB).

Exit status: 0 all is done, 3 something is left, 1 a training failed, 2 a mistake in what was asked.
"""

import math
import shlex
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from accept_gpu import NOT_REACHED, gpu
from acceptance.commands import STOPPED_PROPERLY, Running, run_module
from acceptance.training import export
from collect_results import collect
from day.items import DRY_RUN, ITEMS, Item, Training
from day.results import (
    FORMAT_VERSION,
    claims_judged,
    difference,
    failures_in,
    finished_in,
    line_of,
    record_lines,
    setting_in,
    table_over_seeds,
    thinned,
    without_seed,
)
from day.stopwatch import Stopwatch

from fastwsol import train
from fastwsol.batches.stores import has_dali
from fastwsol.batches.stream import of_one_size
from fastwsol.config import Config
from fastwsol.dataset.packer import pack
from fastwsol.dataset.shards import open_shards, read_manifest
from fastwsol.host.command_line import FAILURE, parse_flags, run_command
from fastwsol.host.device import pick_device
from fastwsol.host.errors import Interrupted, UserError
from fastwsol.host.files import write_bytes, write_json
from fastwsol.host.flags import OptionalPath, shown_as
from fastwsol.host.source_code import source_digest
from fastwsol.runs.folder import RunDir
from fastwsol.sources.synthetic import Synthetic

PROG = "scripts/gpu_day.py"
DESCRIPTION = f"""An ordered queue of what is to be proved on a GPU, gone on with from call to call: {
    ", ".join(item.name for item in ITEMS)
}. The head of this script says what each proves and how long it takes.

Exit status: 0 all is done, 3 something is left, 1 a training failed, 2 a mistake in what was asked."""
_SECONDS_TO_STOP = 15.0
_SECONDS_UNTIL_KILLED = 25.0
_SECONDS_TO_START = 30.0
_SECONDS_BETWEEN_LOOKS = 0.2


@dataclass(frozen=True)
class Flags:
    """The command line."""

    out: Path
    """folder for gpu-day.json, which is replaced"""
    minutes: float = 8.5
    """no training is begun that could not stop in time before so many minutes are over, and none that is timed that
    could not be finished"""
    loan_minutes: Annotated[float | None, shown_as("MINUTES")] = None
    """of a machine that is lent: what is left of its time, in this call and those after it. No training is begun that
    would not be finished until then"""
    shards: OptionalPath = None
    """all of Tiny ImageNet, packed; in a dry run a synthetic set of its own"""
    photos: OptionalPath = None
    """a packed folder of photographs, for the item of that name"""
    runs: OptionalPath = None
    """folder of the runs' folders; default data/runs/gpu-day, in a dry run one that goes at its end"""
    only: Annotated[tuple[str, ...], shown_as("ITEM...")] = ()
    """names of items (those above); default: all, in their order"""
    done: OptionalPath = None
    """a gpu-day.json of an earlier machine: what is in it is not done again"""
    again: bool = False
    """try again what failed before"""
    beside: int = 2
    """trainings at a time, where they are not timed: one starts and reports while the other trains"""
    dry_run: bool = False
    """everything small, on the CPU, one training an item"""


def main(arguments: Sequence[str]) -> int:
    """Take what fits from the queue, and print the tables."""
    flags = parse_flags(Flags, arguments, PROG, DESCRIPTION)
    if not torch.cuda.is_available() and not flags.dry_run:
        raise UserError("no CUDA device here; --dry-run does everything small on the CPU")
    if flags.shards is None and not flags.dry_run:
        raise UserError("--shards: name the folder in which all of Tiny ImageNet is packed")
    if flags.beside < 1:
        raise UserError(f"--beside {flags.beside}: must be at least 1")
    if unknown := sorted(set(flags.only) - {item.name for item in ITEMS}):
        raise UserError(f"--only {unknown[0]}: choose from {', '.join(item.name for item in ITEMS)}")
    for shards in filter(None, (flags.shards, flags.photos)):
        read_manifest(shards)
    with _folders(flags) as (shards, runs):
        day = Day(flags, shards, runs)
        try:
            for item in ITEMS:
                if not flags.only or item.name in flags.only:
                    day.take(item)
        except KeyboardInterrupt:
            raise Interrupted(f"what is finished is in {day.file}; the same command goes on") from None
    print("\n".join(day.tables()))
    return FAILURE if day.failed else NOT_REACHED if day.left else 0


@contextmanager
def _folders(flags: Flags) -> Iterator[tuple[Path, Path]]:
    """The shards and the runs' folder; a dry run makes its own where none is named."""
    if not flags.dry_run:
        assert flags.shards is not None
        yield flags.shards.resolve(), (flags.runs or Path("data/runs/gpu-day")).resolve()
        return
    with tempfile.TemporaryDirectory(prefix="gpu-day-") as folder:
        if flags.shards is None:
            pack(Synthetic(class_count=4, train_count=20, val_count=10), Path(folder) / "shards")
        yield (flags.shards or Path(folder) / "shards").resolve(), (flags.runs or Path(folder) / "runs").resolve()


def why_no_photos(shards: Path) -> str | None:
    """Why a packed folder of photographs cannot be trained on here, or None."""
    if has_dali():
        return None
    splits = open_shards(shards, verify=False).splits.values()
    if all(of_one_size(split) for split in splits):
        return None
    return "they have many sizes, which DALI decodes, and it is not installed; pack photographs of one size"


class Day:
    """What is finished, in a file that is whole after each training, and what is left."""

    def __init__(self, flags: Flags, shards: Path, runs: Path) -> None:
        photos = None if flags.photos is None else flags.photos.resolve()  # trainings have a folder of their own
        self._flags, self._shards, self._runs = replace(flags, photos=photos), shards, runs
        self._deadline = time.monotonic() + 60 * flags.minutes
        self._end_of_loan = time.monotonic() + 60 * (math.inf if flags.loan_minutes is None else flags.loan_minutes)
        self._deadline = min(self._deadline, self._end_of_loan)
        self._device = torch.device("cpu") if flags.dry_run else pick_device("auto")
        self.file = flags.out / "gpu-day.json"
        self._kept = runs / self.file.name
        self._lock, self._running = threading.Lock(), Running()
        self.finished: dict[str, dict[str, Any]] = {}
        self.others: dict[str, dict[str, Any]] = {}
        """Finished trainings of other flags than those of this name in the queue: they stay in the file until that is
        done.
        """
        for file in (flags.done, self._kept):
            if file is not None and (file == flags.done or file.is_file()):
                self.finished |= finished_in(file)
        for item in ITEMS:
            for training in item.trainings:
                self._leave_out_another(item, training)
        self._failures = failures_in(self._kept) if self._kept.is_file() else {}
        """Why trainings failed on this machine, by name, with their flags and the program's source."""
        for folder in (flags.out, runs):
            folder.mkdir(parents=True, exist_ok=True)
        self.left: list[str] = []
        self.failed: list[str] = []
        self._write()

    def take(self, item: Item) -> None:
        """Begin or go on with the trainings of an item that are not finished, as far as time allows."""
        for training in item.trainings:
            self._leave_out_older(item, training)
        todo = [each for each in item.trainings if each.name not in self.finished]
        if self._flags.dry_run:
            todo = todo[:1]
        if any(each.photos for each in todo) and (why := self._why_no_photos()) is not None:
            print(f"{item.name}: left out; {why}", flush=True)
            self.left += [each.name for each in todo]
            return
        if item.alone and todo:
            self._warm_up(item, todo[0])
        futures: list[Future[None]] = []
        with ThreadPoolExecutor(1 if item.alone else self._flags.beside) as pool:
            try:
                for training in todo:
                    futures.append(pool.submit(self._train, item, training))
                # A signal that another thread takes is seen here between two waits.
                while wait(futures, _SECONDS_BETWEEN_LOOKS).not_done:
                    pass
                for each in futures:
                    each.result()
            except BaseException:
                self._running.stop()
                for each in futures:
                    each.cancel()
                raise

    def _why_no_photos(self) -> str | None:
        if self._flags.photos is not None:
            return why_no_photos(self._flags.photos)
        return None if self._flags.dry_run else "name --photos"

    def _train(self, item: Item, training: Training) -> None:
        folder = self._runs / training.name
        watch, arguments = Stopwatch(folder), self._arguments(item, training, folder)
        seconds_left = self._deadline - time.monotonic()
        if (failed := self._failed_before(training)) is not None:
            self.failed.append(training.name)
            print(f"{training.name}: left out, as {failed} failed; --again tries it", flush=True)
            return
        if (why := self._why_not(item, training, watch)) is not None:
            self.left.append(training.name)
            if why:
                print(f"{training.name}: {why}", flush=True)
            return
        if not any((folder / name).is_file() for name in ("report.json", "report-holdout.json")):
            in_time = not self._flags.dry_run
            with watch.running():
                seconds = seconds_left - _SECONDS_TO_STOP
                ended = run_module(
                    "fastwsol.train",
                    arguments,
                    seconds,
                    stop_in_time=in_time,
                    among=self._running,
                    grace=_SECONDS_UNTIL_KILLED,
                )
            was_stopped = ended.was_asked and ended.status in (-signal.SIGTERM, -signal.SIGKILL)
            if was_stopped or ended.status == STOPPED_PROPERLY:
                self.left.append(training.name)
                print(f"{training.name}: stopped, to be gone on with", flush=True)
                return
            if ended.status != 0:
                self._fail(training, "\n".join([str(ended), *ended.tail]))
                return
        elif differs := difference(RunDir(folder).read_info().config, self._config(item, training)):
            self.failed.append(training.name)  # and not remembered as failed: it was not tried
            print(f"{training.name}: {folder} holds another run ({differs}); take it away, or name another --runs")
            return
        found = thinned(collect(folder)) | {"item": item.name, "seconds": round(watch.seconds, 1)}
        found |= {"processes": watch.processes, "source": source_digest()}
        if training.keep_weights:  # before it is known as finished, so that a next call would make up for them
            self._keep_weights(training, folder)
        with self._lock:
            self.finished[training.name] = found | {"flags": training.flags}
            self._failures.pop(training.name, None)
            self._write()
        print(f"{training.name}: {line_of(self.finished[training.name])}", flush=True)

    def _warm_up(self, item: Item, training: Training) -> None:
        """Before trainings are timed: a short one, which counts nowhere, so that images are decoded, kernels compiled
        and libraries read from the disk, as `bench/results/record.md` has it. Where there is no time for it, nothing.
        """
        if self._why_not(item, training, Stopwatch(self._runs / training.name)) is not None:
            return
        with tempfile.TemporaryDirectory(prefix="warm-up-", dir=self._runs) as folder:
            flags = [*self._arguments(item, training, Path(folder) / "run"), "--epochs", "0.02"]
            print(f"{item.name}: a short training first, which is not timed", flush=True)
            seconds = self._deadline - time.monotonic() - _SECONDS_TO_STOP
            ended = run_module("fastwsol.train", flags, seconds, stop_in_time=True, among=self._running)
            if ended.status not in (0, STOPPED_PROPERLY):
                print("\n".join([f"{item.name}: the short training: {ended}", *ended.tail]), flush=True)

    def _keep_weights(self, training: Training, folder: Path) -> None:
        """The weights of a training whose network is worth more than its numbers, in pieces that come back."""
        with tempfile.TemporaryDirectory() as made:
            export(folder, Path(made))
            for piece in Path(made).iterdir():
                write_bytes(self._flags.out / f"{training.name}-{piece.name}", piece.read_bytes())

    def _why_not(self, item: Item, training: Training, watch: Stopwatch) -> str | None:
        """Why a training is not begun now, to be said where it is not plain; None where it is."""
        now = time.monotonic()
        least = 0 if self._flags.dry_run else _SECONDS_TO_START
        if self._deadline - now < least or self._running.stops:
            return ""
        if self._flags.dry_run:
            return None
        needed = max(_SECONDS_TO_START, training.seconds - watch.seconds)
        if self._end_of_loan - now < needed:
            return f"would take some {needed:.0f} s, and the machine goes back in {self._end_of_loan - now:.0f}"
        if item.alone and self._deadline - now - _SECONDS_TO_STOP < needed:
            return "is timed, and would not be finished in this call"
        return None

    def _failed_before(self, training: Training) -> str | None:
        """The training of the same setting that failed, with flags and a program as now; None where none did."""
        if self._flags.again:
            return None
        for name, failure in self._failures.items():
            is_same = setting_in(name) == setting_in(training.name) and failure["source"] == source_digest()
            if is_same and without_seed(failure["flags"]) == without_seed(training.flags):
                return name
        return None

    def _fail(self, training: Training, why: str) -> None:
        with self._lock:
            self.failed.append(training.name)
            self._failures[training.name] = {"flags": training.flags, "source": source_digest(), "why": why}
            self._write()
        print(f"{training.name}: {why}", flush=True)

    def _leave_out_another(self, item: Item, training: Training) -> None:
        """Take a finished training of this name for none, and say so, where it had other flags than the queue's."""
        found = self.finished.get(training.name)
        if found is None:
            return
        try:
            differs = difference(Config.from_json(found["report"]["config"]), self._config(item, training))
        except UserError:  # as without timm, where it cannot be trained either
            return
        if differs:
            self._leave_out(training, differs)

    def _leave_out_older(self, item: Item, training: Training) -> None:
        """The same of what was timed with another version of the program."""
        found = self.finished.get(training.name)
        if found is not None and item.alone and not self._flags.dry_run and found.get("source") != source_digest():
            self._leave_out(training, "timed with another version of the program")

    def _leave_out(self, training: Training, differs: str) -> None:
        print(f"{training.name}: finished is another one of this name ({differs}), which is not taken", flush=True)
        self.others[training.name] = self.finished.pop(training.name)

    def _config(self, item: Item, training: Training) -> Config:
        return train.read_flags(self._arguments(item, training, self._runs / training.name)).config

    def _arguments(self, item: Item, training: Training, folder: Path) -> list[str]:
        flags = self._flags
        beside = 1 if item.alone else flags.beside
        shards = self._flags.photos if training.photos and flags.photos is not None else self._shards
        named = ["--shards", str(shards), "--run-dir", str(folder), "--device", str(self._device)]
        if flags.dry_run:
            return [*shlex.split(DRY_RUN), *named, "--threads", "1"]
        if not item.alone:  # a machine may go at any time; a timed one is begun where it can be finished
            named += ["--checkpoint-minutes", "1"]
        return [*shlex.split(training.flags), *named, "--threads", str(max(1, torch.get_num_threads() // beside))]

    def _write(self) -> None:
        about = {"format_version": FORMAT_VERSION, "gpu": gpu(self._device), "dry_run": self._flags.dry_run}
        for file in (self._kept, self.file):
            write_json(file, about | {"trainings": self.others | self.finished, "failures": self._failures})

    def tables(self) -> list[str]:
        """A table of each item's trainings, means over seeds; the claim; the record; what is left."""
        lines: list[str] = []
        for item in ITEMS:
            found = {each.name: self.finished[each.name] for each in item.trainings if each.name in self.finished}
            if found:
                lines += ["", f"{item.name}: {item.what}", *table_over_seeds(found)]
        lines += ["", *claims_judged(self.finished), *record_lines(self.finished)]
        for what, names in {"left": self.left, "failed": self.failed}.items():
            lines += [f"{what}: {', '.join(names)}"] if names else []
        return lines


if __name__ == "__main__":
    sys.exit(run_command(main))
