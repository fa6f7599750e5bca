"""python -m fastwsol.report RUN...: one HTML file to look at runs with: numbers, curves, and what the networks look at.

The file needs no network and no server.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from fastwsol.host.starting import run

    run("report")

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from fastwsol.batches.feed import open_feed
from fastwsol.batches.stores import DataFlags
from fastwsol.dataset.holdout import hold_out
from fastwsol.evaluation.forward import EvaluationSetup
from fastwsol.evaluation.report_types import LocalizerRow
from fastwsol.experiments.table_files import check_table, write_table
from fastwsol.host.command_line import parse_flags
from fastwsol.host.device import Autocast, Precision, autocast_of_run, take_device, use_threads
from fastwsol.host.errors import UserError
from fastwsol.host.files import write_bytes
from fastwsol.host.flags import OptionalPath, shown_as
from fastwsol.host.places import require_apart, require_new
from fastwsol.host.process import Process
from fastwsol.host.words import number_of
from fastwsol.localizer.localizers import LOCALIZERS, LocalizerName
from fastwsol.page.compared_runs import (
    ComparedRun,
    check_alike,
    read_compared_run,
    read_model,
    settings_of,
)
from fastwsol.page.report_page import Shown, report_page
from fastwsol.runs.folder import RunDir
from fastwsol.runs.tensorboard_curves import write_curves
from fastwsol.runs.trained import shards_of_run

PROG = "python -m fastwsol.report"
MOST_IMAGES = 600
MOST_PICTURES = 7200
"""Maps on a page: at some 6,000 bytes each, more would take a browser long to open."""
_BYTES_A_MAP = 6_000


@dataclass(frozen=True)
class Flags(DataFlags):
    """The command line."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, shown_as("RUN...")] = ()
    """folders of finished runs, evaluated on the same images"""
    out: Path = Path("report.html")
    """the file to write; one that is there is not replaced"""
    table: OptionalPath = None
    """also write the page's first tables to this file, in the form of its ending: .csv, .md or .tex; one that is there
    is replaced"""
    gallery: int = 300
    """images in the gallery, at most 600: a third the best, a third the worst, the rest drawn; 0: none, which needs no
    checkpoints"""
    localizers: Annotated[tuple[LocalizerName, ...], shown_as()] = ()
    """those whose maps the gallery shows; default: of one run all that it has, of several `cam` and what was trained"""
    tensorboard: bool = False
    """also write each run's curves for TensorBoard, into RUN/tensorboard"""
    title: str = "Weakly supervised object localization"
    """the page's heading"""
    shards: OptionalPath = None
    """folder that pack.py wrote; default: the one the runs were trained on. Of the same images, packed with boxes that
    came later, the page shows what evaluate --shards reported"""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N"""
    precision: Precision = "auto"
    """auto: the number format each run's report was made in, where the device has it"""
    threads: int = 0
    """threads of the CPU's part of the work; 0: all cores"""


def main(arguments: Sequence[str]) -> int:
    """Write the page."""
    flags = parse_flags(Flags, arguments, PROG, "Write one HTML file to look at finished runs with.", Flags())
    check(flags)
    runs = [read_compared_run(folder, flags.shards) for folder in flags.runs]
    check_alike(runs)
    check_size(flags.gallery, len(runs), sum(len(shown_localizers(run, flags)) for run in runs))
    if flags.gallery:
        for run in runs:  # before there is work to lose
            read_model(run)
    if flags.tensorboard:
        for run in runs:
            print(f"curves for TensorBoard in {write_curves(RunDir(run.folder))}")
    settings, setups = settings_of(runs), open_setups(runs, flags)
    shown = Shown(
        flags.title,
        flags.gallery,
        lambda run: shown_localizers(run, flags),
        lambda run: setups[autocast_of(flags, run).precision],
    )
    content = report_page(settings, shown)
    write_bytes(flags.out, content, is_new=True)
    if flags.table is not None:
        write_table(flags.table, [each.over_seeds for each in settings])
    print(f"written to {flags.out} ({len(content) / 1e6:.1f} MB){f' and {flags.table}' if flags.table else ''}")
    return 0


def check(flags: Flags) -> None:
    """Raise UserError for flags that no report can have."""
    if not flags.runs:
        raise UserError(f"no run is named; give the folders of finished runs (flags: {PROG} --help)")
    if not 0 <= flags.gallery <= MOST_IMAGES:
        raise UserError(f"--gallery {flags.gallery}: must lie in 0 .. {MOST_IMAGES}")
    require_new("--out", flags.out)
    check_table(flags.table)
    require_apart({"--out": flags.out, "--table": flags.table})


def open_setups(runs: Sequence[ComparedRun], flags: Flags) -> dict[Precision, EvaluationSetup]:
    """With what the networks of runs look at images again, by the number format that they compute in."""
    first = runs[0].info
    packed_set = shards_of_run(runs[0].folder, first, flags.shards, with_other_boxes=True)
    threads = use_threads(flags.threads)
    shards = hold_out(packed_set, first.config.data.holdout)
    names = [*dict.fromkeys([shards.splits[first.config.eval_split].packed_name, "train"])]
    processes = {
        autocast.precision: Process(autocast, threads) for autocast in (autocast_of(flags, run) for run in runs)
    }
    return {
        precision: EvaluationSetup(
            first.config,
            shards,
            open_feed(flags, packed_set, names, process, builds=False),
            first.statistics,
            process,
        )
        for precision, process in processes.items()
    }


def check_size(gallery: int, runs: int, localizers: int) -> None:
    """Raise UserError where a page would be too large to open. localizers: those of all runs that are shown."""
    if (pictures := gallery * localizers) > MOST_PICTURES:
        raise UserError(
            f"--gallery {gallery} of {number_of(runs, 'run')} with {number_of(localizers, 'localizer')} in all: "
            f"{pictures:,} maps, some {pictures * _BYTES_A_MAP / 1e6:.0f} MB; give --gallery "
            f"{MOST_PICTURES // localizers}, or fewer runs or --localizers"
        )


def autocast_of(flags: Flags, run: ComparedRun) -> Autocast:
    """Where, and in which number format, a run's network computes."""
    return autocast_of_run(flags.precision, run.report["precision"], take_device(flags.device))


def shown_localizers(run: ComparedRun, flags: Flags) -> list[LocalizerRow]:
    """Those that the gallery shows of a run, as its report has them. Raises UserError where the run lacks one that is
    asked for.
    """
    # First what predictions take, which charts are of too.
    rows = sorted(run.report["localizers"], key=lambda row: row["name"] != run.taken["name"])
    localizers: dict[str, LocalizerRow] = {row["name"]: row for row in rows}
    if lacking := [name for name in flags.localizers if name not in localizers]:
        raise UserError(
            f"--localizers {lacking[0]}: {run.folder} has no such maps; choose among {', '.join(localizers)}"
        )
    if flags.localizers:
        return [localizers[name] for name in dict.fromkeys(flags.localizers)]
    several = len(flags.runs) > 1
    return [each for name, each in localizers.items() if not several or name == "cam" or LOCALIZERS[name].trained]
