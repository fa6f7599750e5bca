"""One HTML file of runs: numbers, curves, and what the networks look at. It needs no network and no server."""

import html
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from string import Template
from typing import Any

from plotly.colors import sample_colorscale, unlabel_rgb
from plotly.offline import get_plotlyjs

from fastwsol.evaluation.directions import find_directions
from fastwsol.evaluation.forward import EvaluationSetup, forward_split
from fastwsol.evaluation.report_types import LocalizerRow
from fastwsol.evaluation.report_words import images_of
from fastwsol.evaluation.thresholds import PAPER_LEVEL, CutRow
from fastwsol.localizer.localizers import LOCALIZERS
from fastwsol.page import tables as page_tables
from fastwsol.page.augmentation_figure import augmentation_figure
from fastwsol.page.compared_runs import ComparedRun, ComparedSetting, of_what, read_model, short_names
from fastwsol.page.figures import figures
from fastwsol.page.gallery import NO_TRUTH, GalleryImages, choose_images, shown_images, shown_maps
from kernels.levels import LEVELS, TOP_LEVEL, level_of, threshold_of


@dataclass(frozen=True)
class Shown:
    """What a page shows of runs."""

    title: str
    gallery: int
    """Images in the gallery."""
    localizers: Callable[[ComparedRun], list[LocalizerRow]]
    """Those of a run whose maps the gallery shows, as its report has them."""
    setup: Callable[[ComparedRun], EvaluationSetup]
    """With what the network of a run looks at images again."""


def report_page(settings: Sequence[ComparedSetting], shown: Shown) -> bytes:
    """The HTML file."""
    runs = [run for setting in settings for run in setting.runs]
    chart_of = figures(settings)
    charts = "".join(chart(name, each) for name, each in chart_of.items())
    judged = page_tables.claims(settings)
    first, setup = runs[0], shown.setup(runs[0])
    own = resources.files("fastwsol.page")
    # "<" is written so that nothing a name holds can end the element that the data stands in.
    data = json.dumps(page_data(settings, chart_of, shown), allow_nan=False).replace("<", "\\u003c")
    text = Template(own.joinpath("page.html").read_text("utf-8")).substitute(
        title=html.escape(shown.title),
        lead=html.escape(lead(settings)),
        style=own.joinpath("page.css").read_text("utf-8"),
        script=own.joinpath("page.js").read_text("utf-8"),
        plotly=get_plotlyjs(),
        data=data,
        levels=LEVELS,
        top_level=TOP_LEVEL,
        paper_level=PAPER_LEVEL,
        charts=charts,
        **legends(bool(first.report["images_with_boxes"]), any(run.chosen is not None for run in runs)),
        runs=page_tables.runs(settings),
        numbers=page_tables.numbers(settings),
        claims=f'<section id="claims"><h2>The paper\'s claims</h2>{judged}</section>' if judged else "",
        not_shown=not_shown(runs, shown),
        augmentations=augmentation_figure(setup.shards, first.info, setup.feed),
        by_size_and_class=page_tables.by_size_and_class(settings),
    )
    return text.encode()


def legends(has_boxes: bool, has_chosen: bool) -> dict[str, str]:
    """What explains charts and pictures, by its place on the page: of what there is. has_boxes: whether images have
    ground truth; has_chosen: whether a run has a threshold that was chosen on other images.
    """
    best_and_worst = (
        "Best and worst are by the mean IoU over all runs of the boxes that predict gives, random ones are drawn from "
        "the rest."
    )
    marked = "The threshold that <code>--threshold auto</code> has chosen is marked."
    return {
        "about_thresholds": f'<p class="note">{marked}</p>' if has_boxes and has_chosen else "",
        "key": 'Ground truth <span class="key truth"></span> blue,' if has_boxes else "Without ground truth:",
        "chosen": best_and_worst if has_boxes else "The images are drawn at random.",
    }


def page_data(settings: Sequence[ComparedSetting], chart_of: dict[str, dict[str, Any]], shown: Shown) -> dict[str, Any]:
    """What the page's script shows: the figures, the gallery's images, and of each run its maps and boxes."""
    runs = [run for setting in settings for run in setting.runs]
    first = runs[0].info
    split = shown.setup(runs[0]).shards.splits[first.config.eval_split]
    gallery = choose_images([run.images.boxes["strict"].ious for run in runs], shown.gallery)
    shown_of_runs = [
        {"name": gallery_title(setting, of["name"]), "localizer": of["name"], "seed": str(run.info.config.seed)}
        | of["shown"]
        for setting in settings
        for run in setting.runs
        for of in shown_of_run(run, shown.localizers(run), gallery, shown.setup(run))
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
        "colours": colours_of_levels(),
    }


def lead(settings: Sequence[ComparedSetting]) -> str:
    """One line on what the page is about."""
    report, runs = settings[0].runs[0].report, sum(len(setting.runs) for setting in settings)
    many = "One run" if runs == 1 else f"{runs} runs"
    if runs > len(settings):
        many += f" of {len(settings)} settings" if len(settings) > 1 else " of one setting"
    return f"{many} on {report['source']}: {images_of(report)}."


def chart(place: str, figure: dict[str, Any]) -> str:
    """The place of a figure, with its title as text, which wraps where the page is narrow."""
    title = html.escape(figure["layout"].pop("title")["text"])
    return f'<figure><figcaption>{title}</figcaption><div class="chart" id="{place}"></div></figure>'


def not_shown(runs: Sequence[ComparedRun], of_page: Shown) -> str:
    """A paragraph of the localizers that runs have and the gallery leaves out; nothing where there are none."""
    every = dict.fromkeys(each["name"] for run in runs for each in run.report["localizers"])
    shown = {each["name"] for run in runs for each in of_page.localizers(run)}
    left_out = [name for name in every if name not in shown]
    if not left_out:
        return ""
    names = f"{', '.join(left_out)} (<code>--localizers</code> names those that are)"
    return f'<p class="note">Localizers whose maps are not shown here: {names}.</p>'


def seeds_of(settings: Sequence[ComparedSetting]) -> list[int]:
    """The seeds to choose among, where a setting has several runs; else none, since all runs stand side by side."""
    if all(len(setting.runs) == 1 for setting in settings):
        return []
    return sorted({run.info.config.seed for setting in settings for run in setting.runs})


def gallery_title(setting: ComparedSetting, localizer: str) -> str:
    """What the gallery calls the maps of a setting's localizer."""
    return setting.name if localizer == "cam" and not of_what([setting]) else f"{setting.name}, {localizer}"


def shown_of_run(
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


def colours_of_levels() -> list[list[int]]:
    """The colours of all levels."""
    return [
        [round(each) for each in unlabel_rgb(text)]
        for text in sample_colorscale("Turbo", [threshold_of(level) for level in range(LEVELS)])
    ]
