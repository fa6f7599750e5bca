"""python -m fastwsol.report RUN...: one HTML file to look at runs with: numbers, curves, and what the networks look at.

The file needs no network and no server.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from fastwsol.host.starting import prepare_imports

    prepare_imports()

import html
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from string import Template
from typing import Annotated, Any

import tyro
from plotly.colors import sample_colorscale, unlabel_rgb
from plotly.offline import get_plotlyjs

from fastwsol.batches.feed import open_feed
from fastwsol.batches.stores import DataFlags
from fastwsol.dataset.holdout import hold_out
from fastwsol.evaluation.forward import EvaluationSetup, forward_split
from fastwsol.evaluation.of_training_images import find_directions
from fastwsol.evaluation.report_types import LocalizerRow
from fastwsol.evaluation.report_words import images_of
from fastwsol.evaluation.thresholds import PAPER_LEVEL, CutRow
from fastwsol.experiments.table_files import check_table, write_table
from fastwsol.host.command_line import parse_flags, run_command
from fastwsol.host.device import Autocast, Precision, autocast_of_run, take_device, use_threads
from fastwsol.host.errors import UserError
from fastwsol.host.files import write_bytes
from fastwsol.host.flags import OptionalPath, shown_as
from fastwsol.host.places import require_apart, require_new
from fastwsol.host.process import Process
from fastwsol.host.processes import World, joined
from fastwsol.localizer.localizers import LOCALIZERS, LocalizerName
from fastwsol.page import tables as page_tables
from fastwsol.page.augmentation_figure import augmentation_figure
from fastwsol.page.compared_runs import (
    ComparedRun,
    ComparedSetting,
    check_alike,
    of_what,
    read_compared_run,
    read_model,
    settings_of,
    short_names,
)
from fastwsol.page.figures import figures
from fastwsol.page.gallery import NO_TRUTH, GalleryImages, choose_images, shown_images, shown_maps
from fastwsol.runs.folder import RunDir
from fastwsol.runs.tensorboard_curves import write_curves
from fastwsol.runs.trained import shards_of_run
from kernels.levels import LEVELS, TOP_LEVEL, level_of, threshold_of

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
    """also write the page's first tables to this file, in the form of its ending: .csv, .md or .tex"""
    gallery: int = 300
    """images in the gallery, at most 600: a third the best, a third the worst, the rest drawn; 0: none, which needs no
    checkpoints"""
    localizers: Annotated[tuple[LocalizerName, ...], shown_as()] = ()
    """those whose maps the gallery shows; default: of one run all that it has, of several `cam` and what was trained"""
    tensorboard: bool = False
    """also write each run's curves for TensorBoard, into the folder tensorboard of the run's"""
    title: str = "Weakly supervised object localization"
    """the page's heading"""
    shards: OptionalPath = None
    """folder that pack.py wrote; default: the one the runs were trained on"""
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
    with joined() as world:
        runs = [read_compared_run(folder) for folder in flags.runs]
        check_alike(runs)
        check_size(flags.gallery, sum(len(shown_localizers(run, flags)) for run in runs))
        if flags.gallery:
            for run in runs:  # before there is work to lose
                read_model(run)
        if flags.tensorboard:
            for run in runs:
                print(f"curves for TensorBoard in {write_curves(RunDir(run.folder))}")
        settings = settings_of(runs)
        content = page(settings, flags, world)
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


def page(settings: Sequence[ComparedSetting], flags: Flags, world: World) -> bytes:
    """The HTML file."""
    runs = [run for setting in settings for run in setting.runs]
    setups = open_setups(runs, flags, world)
    chart_of = figures(settings)
    charts = "".join(chart(name, each) for name, each in chart_of.items())
    judged = page_tables.claims(settings)
    first, setup = runs[0], next(iter(setups.values()))
    own = resources.files("fastwsol.page")
    # "<" is written so that nothing a name holds can end the element that the data stands in.
    data = json.dumps(page_data(settings, chart_of, setups, flags), allow_nan=False).replace("<", "\\u003c")
    text = Template(own.joinpath("page.html").read_text("utf-8")).substitute(
        title=html.escape(flags.title),
        lead=html.escape(lead(settings)),
        style=own.joinpath("page.css").read_text("utf-8"),
        script=own.joinpath("page.js").read_text("utf-8"),
        plotly=get_plotlyjs(),
        data=data,
        levels=LEVELS,
        top_level=TOP_LEVEL,
        paper_level=PAPER_LEVEL,
        charts=charts,
        runs=page_tables.runs(settings),
        numbers=page_tables.numbers(settings),
        claims=f'<section id="claims"><h2>The paper\'s claims</h2>{judged}</section>' if judged else "",
        not_shown=not_shown(runs, flags),
        augmentations=augmentation_figure(setup.shards, first.info, setup.feed),
        by_size_and_class=page_tables.by_size_and_class(settings),
    )
    return text.encode()


def open_setups(runs: Sequence[ComparedRun], flags: Flags, world: World) -> dict[Precision, EvaluationSetup]:
    """With what the networks of runs look at images again, by the number format that they compute in."""
    first = runs[0].info
    packed_set = shards_of_run(runs[0].folder, first, flags.shards)
    threads = use_threads(flags.threads)
    shards = hold_out(packed_set, first.config.data.holdout)
    names = [*dict.fromkeys([shards.splits[first.config.eval_split].packed_name, "train"])]
    processes = {
        autocast.precision: Process(autocast, threads, world) for autocast in (autocast_of(flags, run) for run in runs)
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


def page_data(
    settings: Sequence[ComparedSetting],
    chart_of: dict[str, dict[str, Any]],
    setups: dict[Precision, EvaluationSetup],
    flags: Flags,
) -> dict[str, Any]:
    """What the page's script shows: the figures, the gallery's images, and of each run its maps and boxes."""
    runs = [run for setting in settings for run in setting.runs]
    first = runs[0].info
    split = next(iter(setups.values())).shards.splits[first.config.eval_split]
    gallery = choose_images([run.images.boxes["strict"].ious for run in runs], flags.gallery)
    shown_of_runs = [
        {"name": name_of(setting, of["name"]), "localizer": of["name"], "seed": str(run.info.config.seed)} | of["shown"]
        for setting in settings
        for run in setting.runs
        for of in of_run(run, shown_localizers(run, flags), gallery, setups[autocast_of(flags, run).precision])
    ]
    return {
        "square": first.config.views.image_size,
        "levels": {"top": TOP_LEVEL},
        "no_truth": int(NO_TRUTH),
        "classes": short_names(first.all_classes),
        "seeds": [str(seed) for seed in seeds_of(settings)],
        "images": shown_images(split, gallery, first.config.views),
        "runs": shown_of_runs,
        "figures": chart_of,
        "colours": turbo(),
    }


def not_shown(runs: Sequence[ComparedRun], flags: Flags) -> str:
    """A paragraph of the localizers that runs have and the gallery leaves out; nothing where there are none."""
    every = dict.fromkeys(each["name"] for run in runs for each in run.report["localizers"])
    shown = {each["name"] for run in runs for each in shown_localizers(run, flags)}
    left_out = [name for name in every if name not in shown]
    if not left_out:
        return ""
    names = f"{', '.join(left_out)} (<code>--localizers</code> names those that are)"
    return f'<p class="note">Localizers whose maps are not shown here: {names}.</p>'


def check_size(gallery: int, runs: int) -> None:
    """Raise UserError where a page would be too large to open. runs: each counted for every localizer it shows."""
    if (pictures := gallery * runs) > MOST_PICTURES:
        raise UserError(
            f"--gallery {gallery} of {runs} runs: {pictures:,} maps, some {pictures * _BYTES_A_MAP / 1e6:.0f} MB; "
            f"give --gallery {MOST_PICTURES // runs}, or fewer runs"
        )


def seeds_of(settings: Sequence[ComparedSetting]) -> list[int]:
    """The seeds to choose among, where a setting has several runs; else none, since all runs stand side by side."""
    if all(len(setting.runs) == 1 for setting in settings):
        return []
    return sorted({run.info.config.seed for setting in settings for run in setting.runs})


def chart(place: str, figure: dict[str, Any]) -> str:
    """The place of a figure, with its title as text, which wraps where the page is narrow."""
    title = html.escape(figure["layout"].pop("title")["text"])
    return f'<figure><figcaption>{title}</figcaption><div class="chart" id="{place}"></div></figure>'


def autocast_of(flags: Flags, run: ComparedRun) -> Autocast:
    """Where, and in which number format, a run's network computes."""
    return autocast_of_run(flags.precision, run.report["precision"], take_device(flags.device))


def name_of(setting: ComparedSetting, localizer: str) -> str:
    """What the gallery calls the maps of a setting's localizer."""
    return setting.name if localizer == "cam" and not of_what([setting]) else f"{setting.name}, {localizer}"


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


def of_run(
    run: ComparedRun, shown: Sequence[LocalizerRow], gallery: GalleryImages, setup: EvaluationSetup
) -> list[dict[str, Any]]:
    """What the page holds of one run: of each localizer of `shown`."""
    config = run.info.config
    images: dict[str, list[dict[str, Any]]] = {each["name"]: [] for each in shown}
    if len(gallery.ids):
        split = setup.shards.splits[config.eval_split]
        # Read anew, so that one run's tensors at a time are in memory.
        model = read_model(run).to(setup.process.autocast.device)
        own = replace(setup, config=config, statistics=run.info.statistics)
        if model.directions is None and "ddt" in images:
            model.directions = find_directions(model, own)
        outputs = forward_split(model, split.subset(split.name, gallery.ids), own, localizers=[*images])
        images = {
            name: shown_maps(maps, outputs.predicted[:, 0], split, gallery.ids, config.views, LOCALIZERS[name].scale)
            for name, maps in outputs.maps.items()
        }
    return [
        {
            "name": each["name"],
            "shown": {
                "square": config.views.image_size,
                "images": images[each["name"]],
                "curve": each["curve"]["single"],
                "level": level_of(threshold_of_cut(each["cut"])),
                "with_boxes": run.report["images_with_boxes"],
            },
        }
        for each in shown
    ]


def threshold_of_cut(cut: CutRow) -> float:
    """Where a run cuts maps by itself, which is a number: thresholds of each image's own are only asked for."""
    assert cut["value"] is not None
    return cut["value"]


def turbo() -> list[list[int]]:
    """The colours of all levels."""
    return [
        [round(each) for each in unlabel_rgb(text)]
        for text in sample_colorscale("Turbo", [threshold_of(level) for level in range(LEVELS)])
    ]


def lead(settings: Sequence[ComparedSetting]) -> str:
    """One line on what the page is about."""
    report, runs = settings[0].runs[0].report, sum(len(setting.runs) for setting in settings)
    many = "One run" if runs == 1 else f"{runs} runs"
    if runs > len(settings):
        many += f" of {len(settings)} settings" if len(settings) > 1 else " of one setting"
    return f"{many} on {report['source']}: {images_of(report)}."


if __name__ == "__main__":
    sys.exit(run_command(main))
