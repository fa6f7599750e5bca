"""An hour on a GPU: an ordered queue of what is to be proved there, gone on with from call to call.

    python scripts/gpu_day.py --out OUT --shards SHARDS [--minutes 9] [--only ITEM ...] [--photos SHARDS]
    python scripts/gpu_day.py --out OUT --dry-run                      the same code on a CPU, small

| item | what it proves | on an H200, about |
|---|---|---|
| recipe | settings of `fast` and `strong` at depth 18, by images held out of train | 22 min |
| masks | mask heads on all of Tiny ImageNet, behind GR at depth 18, three seeds | 7 min |
| record | seconds from the command to the paper's best Top-1 Loc, one at a time: five, three of 16 epochs | 9 min |
| augs | none and HnS beside the GR of `record`, three seeds: the paper's first claim | 5 min |
| strong | the network for the best Top-1 Loc within ten minutes, three seeds | 25 min |
| orders | GR with HnS in either order, and batch 32 beside 256, three seeds | 30 min |
| photos | photographs: all of a pretrained backbone trained, beside its last layer; needs --photos | 2 min |

Each training is `python -m fastwsol.train` in a process of its own, whose folder lies in --runs. Within --minutes they
are begun in this order; what is still at work then is stopped by SIGTERM, and the next call goes on with it. Nothing is
asked of a network. gpu-day.json, in --runs and in --out, has everything that is finished, whole after each training:
its report without the curves, its starts, every tenth row of its losses, and the seconds that its processes took in
all. What is in it is not done again; with --done neither is what such a file of an earlier machine has. A training that
was stopped is gone on with where its folder in --runs lies, which is the one thing that would have to be carried to
another machine (its newest checkpoint is some 90 MB).

Exit status: 0 all is done, 3 something is left, 1 a training failed, 2 a mistake in what was asked.
"""

import itertools
import json
import shlex
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accept_gpu import NOT_REACHED, gpu
from acceptance.commands import STOPPED_PROPERLY, run_module
from acceptance.recipe import PAPERS_BEST
from collect_results import collect

from fastwsol.config import Config
from fastwsol.dataset.packer import pack
from fastwsol.dataset.shards import read_manifest
from fastwsol.experiments.paper_claims import CLAIMS, judge, overall
from fastwsol.host.command_line import FAILURE, parse_flags, run_command
from fastwsol.host.device import pick_device
from fastwsol.host.errors import Interrupted, UserError
from fastwsol.host.files import write_json
from fastwsol.sources.synthetic import Synthetic

PROG = "scripts/gpu_day.py"
FORMAT_VERSION = 1
_KEPT_ROWS = 10
_SECONDS_TO_STOP = 15.0
_SECONDS_TO_START = 30.0


@dataclass(frozen=True)
class Training:
    """A run by its flags. photos: on the photographs and not on Tiny ImageNet."""

    name: str
    flags: str
    photos: bool = False


@dataclass(frozen=True)
class Item:
    """What is to be proved, and the trainings that do. alone: they are timed, and nothing runs beside them."""

    name: str
    what: str
    trainings: tuple[Training, ...]
    alone: bool = False


THIRTY = "--epochs 30 --schedule one-cycle --batch-size 128 --flip --eval-epochs 5 --depth 18 --localizer mask"
"""What `--preset fast` was before it grew its images."""
UNTRIED = "--step compiled-captured"
"""What is the fastest alone would not be found by a trial beside another training."""


def _over_seeds(name: str, flags: str, seeds: Sequence[int] = (0, 1, 2), photos: bool = False) -> list[Training]:
    return [Training(f"{name}-{seed}", f"{flags} --seed {seed}", photos) for seed in seeds]


def _settings_over_seeds(
    of_names: Mapping[str, str], seeds: Sequence[int] = (0, 1, 2), photos: bool = False
) -> tuple[Training, ...]:
    """All settings with the first seed, then all with the second."""
    columns = [_over_seeds(name, flags, seeds, photos) for name, flags in of_names.items()]
    return tuple(itertools.chain(*zip(*columns, strict=True)))


CAPTURED = "--step captured --eval-epochs 1000"
BRIEF = f"--preset fast --depth 18 {CAPTURED}"
STRONG = f"--preset strong --aug gr {UNTRIED}"
HELD_OUT = f"{BRIEF} --aug gr --image-size 64 --end-size 0 --holdout 25"
SHORT = f"{HELD_OUT} --epochs 16"
LONG = f"{HELD_OUT} --epochs 30 --label-smoothing 0.1"

ITEMS = (
    Item(
        "recipe",
        "settings of the recipes, on 25 images a class held out of train",
        _settings_over_seeds(
            {
                "wd1e-4": f"{SHORT} --weight-decay 1e-4",
                "wd5e-4": SHORT,
                "wd5e-4-smooth": f"{SHORT} --label-smoothing 0.1",
                "wd1e-3-smooth": f"{SHORT} --weight-decay 1e-3 --label-smoothing 0.1",
                "wd5e-4-lr0.1": f"{SHORT} --lr 0.1",
                "end48": f"{BRIEF} --aug gr --image-size 64 --end-size 48 --holdout 25",
                "long": LONG,
                "long-cutmix": f"{LONG} --mix cutmix",
                "long-mixup": f"{LONG} --mix mixup",
                "long-adl": f"{LONG} --attention-dropout 0.75",
                "long-average": f"{LONG} --average-steps 400",
                "longer": f"{LONG} --epochs 80",
                "longer-cutmix": f"{LONG} --epochs 80 --mix cutmix",
            },
            seeds=[0],
        ),
    ),
    Item("masks", "mask heads behind GR", _settings_over_seeds({"gr": f"{THIRTY} --aug gr {UNTRIED}"})),
    Item(
        "record",
        "seconds from the command to the paper's best Top-1 Loc",
        (
            *_over_seeds("brief-gr", f"{BRIEF} --aug gr", seeds=range(5)),
            *_over_seeds("brief16-gr", f"{BRIEF} --aug gr --epochs 16"),
        ),
        alone=True,
    ),
    Item(
        "augs",
        "the paper's first claim",
        _settings_over_seeds({f"brief-{aug}": f"{BRIEF} --aug {aug}" for aug in ("none", "hns")}),
    ),
    Item(
        "strong",
        "the best Top-1 Loc within ten minutes",
        tuple(_over_seeds("strong34", STRONG)),
    ),
    Item(
        "orders",
        "the paper's second and third claims",
        _settings_over_seeds(
            {
                "gr-hns": f"{THIRTY} --aug gr-hns {UNTRIED}",
                "hns-gr": f"{THIRTY} --aug hns-gr {UNTRIED}",
                "gr-b256": f"{THIRTY} --aug gr --batch-size 256 {UNTRIED}",
                "gr-b32": f"{THIRTY} --aug gr --batch-size 32 {UNTRIED}",
            }
        ),
    ),
    Item(
        "photos",
        "all of a pretrained backbone trained, beside its last layer",
        _settings_over_seeds(
            {
                "photos-frozen": "--preset photos",
                "photos-all": "--preset photos --train-part all --aug gr --epochs 30 --lr 0.02",
            },
            photos=True,
        ),
    ),
)
"""In the order of worth."""

_DRY = "--preset demo --stem C --batch-size 8 --epochs 0.2 --head-steps 2 --log-steps 1 --step eager"


@dataclass(frozen=True)
class Flags:
    """The command line."""

    out: Path
    """folder for gpu-day.json, which is replaced"""
    minutes: float = 9.0
    """no training is begun that could not stop in time before so many minutes are over"""
    shards: Path | None = None
    """all of Tiny ImageNet, packed; in a dry run a synthetic set of its own"""
    photos: Path | None = None
    """a packed folder of photographs, for the item of that name"""
    runs: Path | None = None
    """folder of the runs' folders; default data/runs/gpu-day, in a dry run one that goes at its end"""
    only: tuple[str, ...] = ()
    """names of items; default: all, in their order"""
    done: Path | None = None
    """a gpu-day.json of an earlier machine: what is in it is not done again"""
    beside: int = 2
    """trainings at a time, where they are not timed: one starts and reports while the other trains"""
    dry_run: bool = False
    """everything small, on the CPU, one training an item"""


def main(arguments: Sequence[str]) -> int:
    """Take what fits from the queue, and print the tables."""
    flags = parse_flags(Flags, arguments, PROG, "An ordered queue of what is to be proved on a GPU.")
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
    flags.out.mkdir(parents=True, exist_ok=True)
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


class Day:
    """What is finished, in a file that is whole after each training, and what is left."""

    def __init__(self, flags: Flags, shards: Path, runs: Path) -> None:
        self._flags, self._shards, self._runs = flags, shards, runs
        self._deadline = time.monotonic() + 60 * flags.minutes
        self._device = torch.device("cpu") if flags.dry_run else pick_device("auto")
        self.file = flags.out / "gpu-day.json"
        self._kept = runs / self.file.name
        self._lock = threading.Lock()
        self.finished: dict[str, dict[str, Any]] = finished_in(flags.done) if flags.done is not None else {}
        self.finished |= finished_in(self._kept) if self._kept.is_file() else {}
        runs.mkdir(parents=True, exist_ok=True)
        self.left: list[str] = []
        self.failed: list[str] = []
        self._write()

    def take(self, item: Item) -> None:
        """Begin or go on with the trainings of an item that are not finished, as far as time allows."""
        todo = [each for each in item.trainings if each.name not in self.finished]
        if self._flags.dry_run:
            todo = todo[:1]
        if self._flags.photos is None and not self._flags.dry_run and any(each.photos for each in todo):
            print(f"{item.name}: left out; name --photos", flush=True)
            self.left += [each.name for each in todo]
            return
        with ThreadPoolExecutor(1 if item.alone else self._flags.beside) as pool:
            for _ in pool.map(lambda training: self._train(item, training), todo):
                pass

    def _train(self, item: Item, training: Training) -> None:
        seconds_left = self._deadline - time.monotonic()
        if seconds_left < (0 if self._flags.dry_run else _SECONDS_TO_START):
            self.left.append(training.name)
            return
        folder = self._runs / training.name
        start = time.monotonic()
        if not any((folder / name).is_file() for name in ("report.json", "report-holdout.json")):
            ended = run_module(
                "fastwsol.train",
                self._arguments(item, training, folder),
                seconds_left - _SECONDS_TO_STOP,
                stop_in_time=not self._flags.dry_run,
            )
            self._add_seconds(training, time.monotonic() - start)
            if ended.status == STOPPED_PROPERLY:
                self.left.append(training.name)
                print(f"{training.name}: stopped, to be gone on with", flush=True)
                return
            if ended.status != 0:
                self.failed.append(training.name)
                print("\n".join([f"{training.name}: {ended}", *ended.tail]), flush=True)
                return
        seconds = round(self._add_seconds(training, 0.0), 1)
        found = _thinned(collect(folder)) | {"item": item.name, "seconds": seconds, "flags": training.flags}
        with self._lock:
            self.finished[training.name] = found
            self._write()
        print(f"{training.name}: {_line(found)}", flush=True)

    def _add_seconds(self, training: Training, seconds: float) -> float:
        """Add to what the training's processes have taken, which is kept beside its folder; the sum."""
        file = self._runs / f"{training.name}.seconds"
        total = (float(file.read_text()) if file.is_file() else 0.0) + seconds
        file.write_text(f"{total!r}\n")
        return total

    def _arguments(self, item: Item, training: Training, folder: Path) -> list[str]:
        flags = self._flags
        beside = 1 if item.alone else flags.beside
        shards = self._flags.photos if training.photos and flags.photos is not None else self._shards
        named = ["--shards", str(shards), "--run-dir", str(folder), "--device", str(self._device)]
        if flags.dry_run:
            return [*shlex.split(_DRY), *named, "--threads", "1"]
        return [
            *shlex.split(training.flags),
            *named,
            "--threads",
            str(max(1, torch.get_num_threads() // beside)),
        ]

    def _write(self) -> None:
        about = {"format_version": FORMAT_VERSION, "gpu": gpu(self._device), "dry_run": self._flags.dry_run}
        for file in (self._kept, self.file):
            write_json(file, about | {"trainings": self.finished})

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


def finished_in(path: Path) -> dict[str, dict[str, Any]]:
    """The trainings in a gpu-day.json. Raises UserError where it is none."""
    try:
        content = json.loads(path.read_bytes())
        if content["format_version"] == FORMAT_VERSION:
            return dict(content["trainings"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise UserError(f"{path}: is no gpu-day.json of this version; take it away, or name another")


def _thinned(found: dict[str, Any]) -> dict[str, Any]:
    """What was collected of a run, with some of its rows of losses, the last of each part among them."""
    kept = [row for row in found["metrics"] if row["kind"] == "eval"]
    for kind in ("train", "head"):
        of_kind = [row for row in found["metrics"] if row["kind"] == kind]
        kept += [row for k, row in enumerate(of_kind, 1) if k % _KEPT_ROWS == 0 or k == len(of_kind)]
    for each in found["report"]["localizers"]:
        for large in ("classes", "sizes"):
            each.pop(large, None)
    return found | {"metrics": sorted(kept, key=lambda row: row["step"])}


def _rates(found: dict[str, Any]) -> dict[str, float]:
    """Top-1 Clas, and under `strict` each localizer's GT-known Loc at .5 and .7 and Top-1 Loc at .5; the CAM's under
    `paper2018`.
    """
    report = found["report"]
    rates = {"Clas": report["rates"]["strict"]["top1_clas"]}
    for each in report["localizers"]:
        for name, key in (("GT .5", "gt_known_loc@0.5"), ("GT .7", "gt_known_loc@0.7"), ("Loc .5", "top1_loc@0.5")):
            rates[f"{each['name']} {name}"] = each["rates"][key]
    of_paper = report["rates"]["paper2018"]
    return rates | {"paper2018 GT .5": of_paper["gt_known_loc@0.5"], "paper2018 Loc .5": of_paper["top1_loc@0.5"]}


def _line(found: dict[str, Any]) -> str:
    rates = _rates(found)
    shown = ["Clas", "paper2018 Loc .5", "cam GT .5", "mask GT .5", "mask-cam GT .5", "mask-cam Loc .5"]
    return ", ".join(f"{name} {rates[name]:.2f}" for name in shown if name in rates) + f"; {found['seconds']:.0f} s"


def table_over_seeds(found: dict[str, dict[str, Any]]) -> list[str]:
    """Markdown: a row for each rate, a column for each setting, mean and standard deviation over its seeds."""
    settings: dict[str, list[dict[str, Any]]] = {}
    for name, each in found.items():
        settings.setdefault(_setting_in(name), []).append(each)
    columns = list(dict.fromkeys(column for each in found.values() for column in _rates(each)))
    lines = [f"| | {' | '.join(settings)} |", "|" + "---|" * (1 + len(settings))]
    lines.append(f"| seeds | {' | '.join(str(len(runs)) for runs in settings.values())} |")
    for column in columns:
        cells = [_mean([_rates(each)[column] for each in runs if column in _rates(each)]) for runs in settings.values()]
        lines.append(f"| {column} | {' | '.join(cells)} |")
    seconds = [_mean([each["seconds"] for each in runs]) for runs in settings.values()]
    return [*lines, f"| seconds | {' | '.join(seconds)} |"]


def _setting_in(name: str) -> str:
    """A training's name without its seed."""
    return name.rsplit("-", 1)[0]


def _mean(values: Sequence[float]) -> str:
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}"


def claims_judged(finished: dict[str, dict[str, Any]]) -> list[str]:
    """What becomes of the paper's claims, by the CAM's Top-1 Loc under `paper2018`."""
    values: dict[Any, list[float]] = {}
    for found in finished.values():
        if found["item"] in ("masks", "record", "augs", "orders"):
            setting = Config.from_json(found["report"]["config"]).setting
            values.setdefault(setting, []).append(_rates(found)["paper2018 Loc .5"])
    lines = []
    differences = judge(values)
    for comparison, difference in differences.items():
        better, worse = comparison.sides
        lines.append(
            f"claim {comparison.claim}: {better} over {worse}: {difference.points:+.2f} ± "
            f"{difference.half_interval:.2f}, {difference.verdict}"
        )
    for claim, text in CLAIMS.items():
        of_claim = [each for comparison, each in differences.items() if comparison.claim == claim]
        lines += [f"claim {claim} ({text}): {overall(of_claim)}"] if of_claim else []
    return lines


def record_lines(finished: dict[str, dict[str, Any]]) -> list[str]:
    """Seconds of the runs that were timed, and how many of them reached the paper's best, by which localizer."""
    settings: dict[str, list[dict[str, Any]]] = {}
    for name, each in finished.items():
        if each["item"] == "record":
            settings.setdefault(_setting_in(name), []).append(each)
    lines = []
    for setting, runs in settings.items():
        lines.append(f"{setting}: {_mean([each['seconds'] for each in runs])} s over {len(runs)} runs")
        columns = dict.fromkeys(column for each in runs for column in _rates(each) if column.endswith("Loc .5"))
        for column in columns:
            values = [_rates(each)[column] for each in runs if column in _rates(each)]
            reached = sum(value >= PAPERS_BEST for value in values)
            lines.append(f"  {column} {_mean(values)}: {reached} of {len(values)} at or above {PAPERS_BEST}")
    return lines


if __name__ == "__main__":
    sys.exit(run_command(main))
