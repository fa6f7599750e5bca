"""python -m fastwsol.report RUN...: one HTML file to look at runs with: numbers, curves, and what the networks look at.

The file needs no network and no server.
"""

import html
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from string import Template
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray
from PIL import Image
from plotly.colors import sample_colorscale, unlabel_rgb
from plotly.offline import get_plotlyjs

from fastwsol.batches import Stream
from fastwsol.checkpoint import Checkpoint
from fastwsol.command import OptionalPath, parse_flags, run_command
from fastwsol.config import AugName
from fastwsol.distributed import World, joined
from fastwsol.durable import write_bytes
from fastwsol.errors import UserError
from fastwsol.feed import DataFlags, Feed, open_feed
from fastwsol.figures import Drawn, figures
from fastwsol.gallery import Chosen, choose_images, data_address, shown_images, shown_maps
from fastwsol.holdout import hold_out
from fastwsol.image_rows import ImageRows
from fastwsol.machine import Autocast, Precision, pick_autocast, take_device, use_threads
from fastwsol.published import CLASSES, published
from fastwsol.rundir import RunDir, RunInfo
from fastwsol.shards import Shards, open_shards
from fastwsol.sweep_tables import COLUMNS
from fastwsol.tables import percent_text
from fastwsol.trained import read_run, trained_model
from fastwsol.validation import forward_split

PROG = "python -m fastwsol.report"
MOST_IMAGES = 600


@dataclass(frozen=True)
class Flags(DataFlags):
    """The command line."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """folders of finished runs, evaluated on the same images"""
    out: Path = Path("report.html")
    """the file to write; one that is there is not replaced"""
    gallery: int = 300
    """images in the gallery, at most 600: a third the best, a third the worst, the rest drawn; 0: none"""
    shards: OptionalPath = None
    """folder that pack.py wrote; default: the one the runs were trained on"""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N"""
    precision: Precision = "auto"
    """auto: the number format each run was trained in"""
    threads: int = 0
    """threads of the CPU's part of the work; 0: all cores"""


@dataclass(frozen=True)
class Side:
    """One run, by the name that tells it apart on the page."""

    folder: Path
    info: RunInfo
    saved: Checkpoint
    report: dict[str, Any]
    images: ImageRows
    rows: list[dict[str, Any]]
    starts: list[dict[str, Any]]
    name: str


def main(arguments: Sequence[str]) -> int:
    """Write the page."""
    flags = parse_flags(Flags, arguments, PROG, "Write one HTML file to look at finished runs with.", Flags())
    check(flags)
    with joined() as world:
        sides = [read_side(folder) for folder in flags.runs]
        check_same_images(sides)
        names = names_of(sides)
        sides = [replace(side, name=name) for side, name in zip(sides, names, strict=True)]
        content = page(sides, flags, world)
    flags.out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(flags.out, content)
    print(f"written to {flags.out} ({len(content) / 1e6:.1f} MB)")
    return 0


def check(flags: Flags) -> None:
    """Raise UserError for flags that no report can have."""
    if not flags.runs:
        raise UserError(f"no run is named; give the folders of finished runs (flags: {PROG} --help)")
    if not 0 <= flags.gallery <= MOST_IMAGES:
        raise UserError(f"--gallery {flags.gallery}: must lie in 0 .. {MOST_IMAGES}")
    if flags.out.exists():
        raise UserError(f"--out {flags.out}: exists; nothing was changed, name another file")


def read_side(folder: Path) -> Side:
    """A finished run. Raises UserError where it is none."""
    run = RunDir(folder)
    info, saved = read_run(run)
    if not run.finished(info.config):
        raise UserError(f"{folder}: not finished; let it train to its end first")
    path = run.report_file(info.config.eval_split)
    return Side(
        folder,
        info,
        saved,
        json.loads(path.read_bytes()),
        ImageRows.read(path.with_suffix(".csv")),
        run.rows(),
        run.starts(),
        folder.name,
    )


def check_same_images(sides: Sequence[Side]) -> None:
    """Raise UserError where two runs were evaluated on different images, or trained on different shards."""
    first = sides[0]
    for side in sides[1:]:
        same = side.info.shards_digest == first.info.shards_digest and side.images.names == first.images.names
        if not same:
            raise UserError(f"{side.folder}: was evaluated on other images than {first.folder}; report on it alone")


def names_of(sides: Sequence[Side]) -> list[str]:
    """What tells the runs apart: the fields of the configuration in which they differ, or else their folders' names."""
    configs = [side.info.config.to_json() for side in sides]
    differing = [name for name in configs[0] if len({str(config[name]) for config in configs}) > 1]
    if len(sides) == 1:
        return [sides[0].info.config.aug]
    shown = [", ".join(f"{name.replace('_', ' ')} {config[name]}" for name in differing) for config in configs]
    return shown if len(set(shown)) == len(shown) else [side.folder.name for side in sides]


def page(sides: Sequence[Side], flags: Flags, world: World) -> bytes:
    """The HTML file."""
    first = sides[0]
    packed = open_shards(flags.shards if flags.shards is not None else first.info.shards)
    if packed.digest != first.info.shards_digest:
        raise UserError(f"{packed.folder}: not the shards that {first.folder} was trained on; name those with --shards")
    threads = use_threads(flags.threads)
    shards = hold_out(packed, first.info.config.holdout)
    split = shards.splits[first.info.config.eval_split]
    autocast = autocast_of(flags, first)
    names = dict.fromkeys([split.packed_name, "train"])
    feed = open_feed(flags, packed, [*names], autocast, threads, False, world, builds=False)
    chosen = choose_images([side.images.found["strict"].ious for side in sides], flags.gallery)
    drawn = [Drawn(side.name, side.report, side.rows, side.info.class_names) for side in sides]
    shown = figures(drawn)
    charts = "".join(chart(name, each) for name, each in shown.items())
    frame = first.info.config.image_size
    data = {
        "frame": frame,
        "classes": list(first.info.class_names),
        "images": shown_images(split, chosen, frame),
        "runs": [of_run(side, shards, chosen, autocast_of(flags, side), feed, world) for side in sides],
        "figures": shown,
        "colours": turbo(),
    }
    template = Template(resources.files("fastwsol.page").joinpath("page.html").read_text())
    files = {name: resources.files("fastwsol.page").joinpath(f"page.{name}").read_text() for name in ("css", "js")}
    # "<" is written so that nothing a name holds can end the element that the data stands in.
    text = template.substitute(
        title="Weakly supervised object localization",
        lead=html.escape(lead(sides)),
        style=files["css"],
        script=files["js"],
        plotly=get_plotlyjs(),
        data=json.dumps(data, allow_nan=False).replace("<", "\\u003c"),
        charts=charts,
        runs=runs_table(sides),
        tables=tables(sides),
        fed=fed(shards, first, feed, autocast),
        footer=html.escape("Made by fastwsol. Pictures are the data set's, under its licence."),
    )
    return text.encode()


def chart(place: str, figure: dict[str, Any]) -> str:
    """The place of a figure, with its title as text, which wraps where the page is narrow."""
    title = html.escape(figure["layout"].pop("title")["text"])
    return f'<figure><figcaption>{title}</figcaption><div class="chart" id="{place}"></div></figure>'


def autocast_of(flags: Flags, side: Side) -> Autocast:
    """Where, and in which number format, a run's network computes."""
    precision = side.saved.scalars["precision"] if flags.precision == "auto" else flags.precision
    return pick_autocast(precision, take_device(flags.device))


def of_run(side: Side, shards: Shards, chosen: Chosen, autocast: Autocast, feed: Feed, world: World) -> dict[str, Any]:
    """What the page holds of one run."""
    config = side.info.config
    images: list[dict[str, Any]] = []
    if len(chosen.ids):
        part = shards.splits[config.eval_split].subset(config.eval_split, chosen.ids)
        model = trained_model(side.info, side.saved.tensors).to(autocast.device)
        outputs = forward_split(model, shards, part, config, autocast, feed, world, "truth")
        split = shards.splits[config.eval_split]
        images = shown_maps(outputs.cams, outputs.predicted[:, 0], split, chosen.ids, config.image_size)
    return {
        "name": side.name,
        "frame": config.image_size,
        "images": images,
        "curve": side.report["curve"]["single"],
        "with_boxes": side.report["images_with_boxes"],
    }


def turbo() -> list[list[int]]:
    """The colours of 256 levels."""
    return [
        [round(each) for each in unlabel_rgb(text)]
        for text in sample_colorscale("Turbo", [k / 255 for k in range(256)])
    ]


def lead(sides: Sequence[Side]) -> str:
    """One line on what the page is about."""
    report = sides[0].report
    many = f"{len(sides)} runs" if len(sides) > 1 else "One run"
    images = f"{len(report['classes'])} classes, {report['images']:,} images of {report['split']}"
    return f"{many} on {report['source']}: {images}."


def runs_table(sides: Sequence[Side]) -> str:
    """What was run and how."""
    rows = []
    for side in sides:
        config, last = side.info.config, side.starts[-1]
        rows.append(
            [
                side.name,
                f"ResNet-{config.depth}, stem {config.stem}, {config.aug}",
                f"{config.epochs:g} epochs, batch {config.batch_size}, seed {config.seed}",
                f"{side.report['precision']} on {side.report['device']}",
                str(last["git"])[:12],
                f"<code>{html.escape(last['command'])}</code>",
            ]
        )
    return table("", ["run", "network", "training", "number format", "commit", "command"], rows, raw_last=True)


def tables(sides: Sequence[Side]) -> str:
    """The numbers under each protocol, with the baselines, and the paper's."""
    found = []
    titles = [title.replace("\n", " ") for title in COLUMNS.values()]
    for protocol in sides[0].report["rates"]:
        rows = [
            [side.name, *(percent_text(side.report["rates"][protocol].get(rate)) for rate in COLUMNS)] for side in sides
        ]
        below = [
            [
                baseline["name"],
                "",
                "",
                *(percent_text(baseline["rates"][protocol].get(rate)) for rate in list(COLUMNS)[2:]),
            ]
            for baseline in sides[0].report["baselines"]
        ]
        for side in sides:
            config = side.info.config
            said = published(config.depth, config.aug, config.batch_size)
            if said is not None and protocol == "paper2018" and len(side.report["classes"]) == CLASSES:
                cells = [percent_text(each) for each in (said.top1_clas, said.top1_loc)]
                below.append([f"the paper: {side.name}", *cells, "", percent_text(said.gt_known_loc), ""])
        found.append(
            table(
                f"{protocol}, percent, maps kept at 0.2",
                ["", *titles],
                rows,
                below,
            )
        )
    return "".join(found)


def table(
    caption: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    below: Sequence[Sequence[str]] = (),
    raw_last: bool = False,
) -> str:
    """An HTML table; cells are text, the last of a row may be HTML."""
    head = "".join(f'<th scope="col">{html.escape(each)}</th>' for each in heads)

    def row(cells: Sequence[str], style: str) -> str:
        safe = [each if raw_last and k == len(cells) - 1 else html.escape(each) for k, each in enumerate(cells)]
        return f"<tr{style}>{''.join(f'<td>{each}</td>' for each in safe)}</tr>"

    body = "".join(row(each, "") for each in rows) + "".join(row(each, ' class="baseline"') for each in below)
    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    inner = f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll" tabindex="0">{inner}</div>'


_AUGS: dict[AugName, str] = {
    "none": "none (CAM)",
    "hns": "hns (HnS)",
    "gr": "gr (GR)",
    "gr-hns": "gr-hns (HnS after GR)",
    "hns-gr": "hns-gr (GR after HnS)",
}
_FED_IMAGES = 4
_FED_EPOCHS = 3


def fed(shards: Shards, side: Side, feed: Feed, autocast: Autocast) -> str:
    """The paper's Figure 1: what comes out of the pipeline for the same images under each augmentation."""
    train, config = shards.splits["train"], side.info.config
    ids = np.repeat(np.linspace(0, len(train) - 1, _FED_IMAGES).astype(np.int64), _FED_EPOCHS)
    epochs = np.tile(np.arange(_FED_EPOCHS), _FED_IMAGES)
    found = []
    for aug, title in _AUGS.items():
        augmentation = replace(config.augmentation, aug=aug)
        mean, std = shards.manifest.mean, shards.manifest.std
        stream = Stream(train, lambda step: (ids, epochs), len(ids), augmentation, config.seed, mean, std)
        images = next(feed.batches(stream)).images.float().cpu().permute(0, 2, 3, 1).numpy()
        pixels = np.rint(images * np.asarray(std) + np.asarray(mean)).clip(0, 255).astype(np.uint8)
        shown = "".join(f'<img alt="a training image under {aug}" src="{png(each)}">' for each in pixels)
        found.append(f"<b>{html.escape(title)}</b>{shown}")
    note = f"{_FED_IMAGES} training images in {_FED_EPOCHS} epochs each, as they come out of the pipeline."
    return f'<p class="note">{note}</p><div class="fed">{"".join(found)}</div>'


def png(pixels: NDArray[np.uint8]) -> str:
    """Pixels uint8 [S, S, 3] as a data address."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return data_address("image/png", file.getvalue())


if __name__ == "__main__":
    sys.exit(run_command(main))
