"""Tables of the first pages, whose rows are of several files."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from pages import tables_of

from fastwsol.config import Config
from fastwsol.experiments.paper_numbers import published
from fastwsol.training.presets import PRESETS
from figures.of_photographs import few_boxes
from figures.reading import (
    CLAS,
    GT,
    LOC,
    Rows,
    Values,
    day,
    fixed_boxes,
    localizer_rates,
    median_rate,
    of_localizers,
    over_seeds,
    result,
    runs_named,
    spread,
)

PRESET_NAMES = ("paper", "fast", "strong", "demo", "photos")


def of_presets() -> Rows:
    configs = [PRESETS[name]().config.flat() for name in PRESET_NAMES]
    evaluations = [PRESETS[name]().log.eval_epochs for name in PRESET_NAMES]
    columns = {
        f"--{name.replace('_', '-')}": [each[name] for each in configs] for name in ("epochs", "lr", "batch_size")
    }
    return columns | {"--eval-epochs": evaluations}


def on_two_cores() -> Rows:
    """The table of the summary, whose rows are of the tables above."""
    rows: Rows = {}
    said = tables_of("docs/measured.md", "On two cores")[0]

    def row(begins: str, values: Values) -> None:
        (title,) = (each for each in said if each.startswith(begins))
        rows[title] = values

    def of(reports: Sequence[Mapping[str, Any]], fixed: float) -> Values:
        return [*over_seeds(reports, ("strict", CLAS), ("strict", LOC), ("strict", GT[1])), fixed]

    birds, clips = (runs_named(f"photographs-{name}", ".") for name in ("cub10", "tinyvid"))
    for begins, of_cam, reports in (
        ("photographs of 10 bird", "the same runs, cam", birds),
        ("five classes of frames", "the same runs, cam, 90.9 ± 0.0", clips),
    ):
        for name, title in {"mask": begins, "cam": of_cam}.items():
            rates = localizer_rates(reports, name, LOC, GT[1])
            values = [*over_seeds(reports, ("strict", CLAS)), *rates, fixed_boxes(reports[0])[1][1]]
            if name == "mask":
                row(title, values)
            else:
                rows[title] = values
    scratch = runs_named("photographs-scratch-cub10", ".")
    row("the bird species from scratch", of(scratch, fixed_boxes(scratch[0])[1][1]))
    for aug, begins in {"none": "synthetic set, none", "hns": "synthetic set, hns", "gr": "synthetic set, gr"}.items():
        reports = runs_named("synthetic-3-seeds", f"synthetic-{aug}-")
        row(begins, of(reports, fixed_boxes(reports[0])[1][1]))
    for aug in ("none", "gr"):
        reports = runs_named("real-20-classes", f"real-{aug}")
        row(f"Tiny ImageNet, 20 classes, 10 epochs, {aug}", of(reports, fixed_boxes(reports[0])[1][1]))
    few = result("few-images")
    for aug in ("none", "hns", "gr"):
        reports = [each for each in few["runs"] if each["config"]["aug"] == aug]
        row(f"Tiny ImageNet, 10 classes of 50 images, 60 epochs, {aug}", of(reports, fixed_boxes(few)[1][1]))
    return rows


def on_a_gpu() -> Rows:
    runs = day("brief-gr-0", "brief-gr-1", "brief-gr-2")
    reports, strong = [each["report"] for each in runs], [day("strong34-0")[0]["report"]]

    def row(of: Sequence[Mapping[str, Any]]) -> Values:
        return [*over_seeds(of, ("strict", CLAS), ("paper2018", LOC)), *localizer_rates(of, "ddt", LOC)]

    papers_best = published(Config.of(depth=34, aug="gr", batch_size=32))
    assert papers_best is not None
    return {
        "the paper's best (depth 34, GR, batch 32)": [papers_best.top1_loc],
        "--preset fast --depth 18 --aug gr, 3 seeds": [*row(reports), *spread(each["seconds"] for each in runs)],
        "--preset strong --aug gr (depth 34), 1 seed": [*row(strong), day("strong34-0")[0]["seconds"]],
    }


def six_trainings() -> Rows:
    """Of each: GT-known and Top-1 Loc, Top-1 Loc of the fixed box, Top-1 Clas; the paper's; images/s."""
    rows = {}
    runs = {each["run"]: each for each in result("h200/trainings")["runs"]}
    for depth, aug in ((18, "none"), (18, "hns"), (18, "gr"), (18, "gr-hns"), (34, "none"), (34, "gr")):
        run = runs[f"fast-{depth}-{aug}"]
        report = run["report"]
        rates = report["rates"]["paper2018"]
        boxes = {each["name"]: each["rates"]["paper2018"] for each in report["baselines"]}
        ours = [rates[GT[1]], rates[LOC], boxes["best box at IoU 0.5"][LOC], rates[CLAS]]
        at_256, at_128 = (published(Config.of(depth=depth, aug=aug, batch_size=size)) for size in (256, 128))
        assert at_256 is not None
        of_paper = [at_256.gt_known_loc, at_256.top1_loc, *([at_128.top1_loc] if at_128 else []), at_256.top1_clas]
        rows[f"{depth}, {aug}"] = [*ours, *of_paper, round(median_rate(run), -2)]
    fixed = {each["name"]: each["rates"]["paper2018"][GT[1]] for each in report["baselines"]}
    return rows | {"whole image": [fixed["whole frame"]], "best fixed box": [fixed["best box at IoU 0.5"]]}


def of_readme() -> Rows:
    birds = runs_named("photographs-cub10", ".")
    mask, cam = (
        [statistics.mean(each["rates"][key] for each in of_localizers(birds, name)) for key in GT[1:]]
        for name in ("mask", "cam")
    )
    best_cut = statistics.mean(each["oracle"]["rates"][GT[1]] for each in of_localizers(birds, "cam"))
    of_few = few_boxes()
    with_boxes, without = (of_few[f"cub10, {title}"] for title in ("boxes of 10 images a class", "no box"))
    said = tables_of("README.md", "fastwsol")[0]
    first, second = list(said)[2:]
    # The title of the column has an IoU, the row that of its second number.
    return {
        first: [mask[0], 0.7, mask[1], cam[0], best_cut, fixed_boxes(birds[0])[1][1]],
        second: [*with_boxes[:4:2], *without[:4:2]],
    }
