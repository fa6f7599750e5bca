"""What the files of bench/results say, as the rows of the tables that pages have of them.

Each function gives the rows of one table: the first cell of each, and its numbers as they stand in the files.
"""

import functools
import json
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pages import NUMBER, ROOT, tables_of

from fastwsol.training.presets import PRESETS

RESULTS = ROOT / "bench" / "results"

Values = list[float]
Rows = dict[str, Values]
CLAS = "top1_clas"
LOC = "top1_loc@0.5"
GT = ("gt_known_loc@0.3", "gt_known_loc@0.5", "gt_known_loc@0.7")


@functools.cache
def result(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_bytes())


def spread(values: Iterable[float]) -> Values:
    """Mean and standard deviation over seeds; of one value itself."""
    given = list(values)
    return [statistics.mean(given), statistics.stdev(given)] if len(given) > 1 else given


def runs_named(name: str, *parts: str) -> list[dict[str, Any]]:
    """The reports of a file of runs whose names have the parts, in order."""
    found = [each["report"] for each in result(name)["runs"] if re.search("-".join(parts), each["run"])]
    assert found, parts
    return found


def over_seeds(reports: Sequence[Mapping[str, Any]], *keys: tuple[str, str]) -> Values:
    """Means and deviations of rates, each a protocol and a name."""
    return [value for protocol, key in keys for value in spread(each["rates"][protocol][key] for each in reports)]


def of_localizers(reports: Sequence[Mapping[str, Any]], name: str) -> list[dict[str, Any]]:
    return [each for report in reports for each in report["localizers"] if each["name"] == name]


STRICT_ROW = (("strict", CLAS), ("strict", LOC), ("paper2018", LOC), *(("strict", key) for key in GT))


def fixed_boxes(report: Mapping[str, Any]) -> tuple[Values, Values]:
    """GT-known Loc at .3, .5 and .7 of the whole image, and of the box that is best for each."""
    whole, *best = report["baselines"]
    assert whole.get("kind", "whole-image") == "whole-image"
    rates = [each["rates"]["strict"] for each in (whole, *best)]
    return [rates[0][key] for key in GT], [rates[k][key] for k, key in enumerate(GT, 1)]


WHOLE, BEST = "whole image", "best fixed box of train at each threshold"


def twenty_classes() -> Rows:
    reports = {aug: runs_named("real-20-classes", f"real-{aug}") for aug in ("none", "gr")}
    whole, best = fixed_boxes(reports["none"][0])
    return {aug: over_seeds(each, *STRICT_ROW) for aug, each in reports.items()} | {WHOLE: whole, BEST: best}


def map_bounds() -> Rows:
    of = {name: each["gt_known_loc"] for name, each in result("map-bounds").items()}
    fixed = [of["cam"][f"best box at IoU {iou}"][k] for k, iou in enumerate(("0.3", "0.5", "0.7"))]
    return {name: of[name]["largest component"] for name in ("cam", "cam-positive", "ddt")} | {
        "best fixed box for each IoU": fixed,
        "ddt, the threshold that is best on these images": of["ddt"]["largest component, best threshold"],
        "and of all components the one that is best": of["ddt"]["best component, best threshold"],
        "perfect masks on its grid, 10 x 10 cells, cut at 0.5": of["ddt"]["perfect mask, 10 x 10 cells, at 0.5"],
        "on 4 x 4 cells": of["ddt"]["perfect mask, 4 x 4 cells, at 0.5"],
    }


def settings_on_holdout() -> Rows:
    names = {"none of the three": "base", "--flip": "flip", "--color": "color", "--backbone-lr-mult 0.1": "mult"}
    reports = {title: runs_named("settings-on-holdout", f"settings-{name}") for title, name in names.items()}
    whole, best = fixed_boxes(reports["none of the three"][0])
    keys = (("strict", CLAS), ("strict", LOC), *(("strict", key) for key in GT))
    return {title: over_seeds(each, *keys) for title, each in reports.items()} | {WHOLE: whole, BEST: best}


def fast_recipe() -> Rows:
    names = {
        "nothing": "base",
        "--label-smoothing 0.1": "smoothing",
        "--weight-decay 1e-4": "decay",
        "--average-steps 100": "average",
        "--batch-size 32": "batch32",
        "--batch-size 128": "batch128",
        "--schedule step --lr-step-epochs 1.5": "step-schedule",
        "--start-size 32 (0.60 of the operations, 0.9 of the time)": "sizes",
        "--start-size 32 --epochs 6.6 (the same operations, 1.4 of the time)": "sizes-equal-work",
        "--epochs 5.6 (1.4 of the operations and the time; 2 seeds)": "longer",
    }
    reports = {title: runs_named("fast-ablations", f"^{name}-s") for title, name in names.items()}
    base = statistics.mean(each["rates"]["strict"][LOC] for each in reports["nothing"])
    rows = {}
    for title, each in reports.items():
        rows[title] = over_seeds(each, ("strict", CLAS), ("strict", LOC))
        if title != "nothing":
            rows[title].append(rows[title][2] - base)
    whole, best = fixed_boxes(reports["nothing"][0])
    ious = [0.3, 0.5, 0.7]
    return rows | {WHOLE: ious + whole, BEST: best}


def longer_recipe() -> Rows:
    names = {
        "nothing": "plain",
        "--label-smoothing 0.1": "smooth",
        "--mix cutmix": "cutmix",
        "--mix cutmix --label-smoothing 0.1": "cutmix-smooth",
        "--mix mixup": "mixup",
        "--attention-dropout 0.25": "adl25",
        "--attention-dropout 0.75, ADL's rate": "adl75",
    }
    reports = {title: runs_named("recipe-settings", rf"^{name}-s\d") for title, name in names.items()}
    rows = {}
    for title, each in reports.items():
        rows[title] = over_seeds(each, ("strict", CLAS), ("strict", LOC))
        if title != "nothing":
            rows[title].append(rows[title][2] - rows["nothing"][2])
        rows[title] += over_seeds(each, *(("strict", key) for key in GT[1:]))
    whole, best = fixed_boxes(reports["nothing"][0])
    return rows | {WHOLE: whole[1:], BEST: best[1:]}


def synthetic_set() -> Rows:
    reports = {aug: runs_named("synthetic-3-seeds", f"synthetic-{aug}-") for aug in ("none", "hns", "gr")}
    whole, best = fixed_boxes(reports["none"][0])
    return {aug: over_seeds(each, *STRICT_ROW) for aug, each in reports.items()} | {WHOLE: whole, BEST: best}


def of_sweep(name: str, augs: Sequence[str]) -> Rows:
    found = result(name)
    rows = {aug: over_seeds([run for run in found["runs"] if run["config"]["aug"] == aug], *STRICT_ROW) for aug in augs}
    return rows | {WHOLE: fixed_boxes(found)[0]}


def synthetic_sweep() -> Rows:
    boxes = {each["name"]: each["rates"]["strict"] for each in result("synthetic-sweep")["baselines"]}
    best = [boxes["best box at IoU 0.5"][key] for key in GT]
    rows = of_sweep("synthetic-sweep", ("none", "hns", "gr", "gr-hns", "hns-gr"))
    return rows | {"best fixed box of train for IoU .5": best}


def few_images() -> Rows:
    rows = of_sweep("few-images", ("none", "hns", "gr"))
    return rows | {"best fixed box of train for each IoU": fixed_boxes(result("few-images"))[1]}


def day(*names: str) -> list[dict[str, Any]]:
    return [result("h200/gpu-day")["trainings"][name] for name in names]


def localizer_rates(reports: Sequence[Mapping[str, Any]], name: str, *keys: str) -> Values:
    return [value for key in keys for value in spread(each["rates"][key] for each in of_localizers(reports, name))]


def three_seeds_of_masks() -> Rows:
    reports = [each["report"] for each in day("gr-0", "gr-1", "gr-2")]
    cuts = {"cam, at 0.2": "cam", "cam-positive, at 0.25": "cam-positive", "ddt, at 0.2": "ddt"}
    heads = {"mask, box-free cut": "mask", "mask-cam, box-free cut": "mask-cam"}
    return {title: localizer_rates(reports, name, GT[1], GT[2], LOC) for title, name in (cuts | heads).items()}


def five_records() -> Rows:
    runs = day(*(f"record-{k}" for k in range(5)))
    reports = [each["report"] for each in runs]
    return {
        "seconds from the command to the report": spread(each["seconds"] for each in runs),
        "Top-1 Clas": over_seeds(reports, ("strict", CLAS)),
        "Top-1 Loc .5, cam, paper2018": over_seeds(reports, ("paper2018", LOC)),
        "Top-1 Loc .5, cam-positive, strict": localizer_rates(reports, "cam-positive", LOC),
    }


def recipes() -> Rows:
    names = {
        "weight decay 1e-4, the paper's": ("wd1e-4-0", 16),
        "weight decay 5e-4": ("wd5e-4-0", 16),
        "the same, labels smoothed by 0.1": ("wd5e-4-smooth-0", 16),
        "weight decay 1e-3, labels smoothed by 0.1": ("wd1e-3-smooth-0", 16),
        "weight decay 5e-4, rate 0.1": ("wd5e-4-lr0.1-0", 16),
        "weight decay 5e-4, grown to 48 alone (the same seconds of steps)": ("end48-0", 19),
        "weight decay 5e-4, labels smoothed by 0.1": ("long-0", 30),
        "the same, half of the views mixed by CutMix": ("long-cutmix-0", 30),
    }
    return {
        title: [epochs, *over_seeds([day(name)[0]["report"]], ("strict", CLAS), ("paper2018", LOC))]
        for title, (name, epochs) in names.items()
    }


def first_claim() -> Rows:
    reports = {
        aug: [each["report"] for each in day(*(f"brief-{aug}-{seed}" for seed in range(count)))]
        for aug, count in {"gr": 3, "hns": 2, "none": 2}.items()
    }

    def row(values_of: Callable[[Sequence[Mapping[str, Any]]], Values]) -> Values:
        return [value for each in reports.values() for value in values_of(each)]

    def means(each: Sequence[Mapping[str, Any]]) -> Values:
        return localizer_rates(each, "ddt", GT[1], GT[2])[::2]

    of_gr = [
        {each["name"]: each["rates"]["strict"][LOC] for each in report["baselines"]}["best box at IoU 0.5"]
        for report in reports["gr"]
    ]
    return {
        "Top-1 Clas": row(lambda each: over_seeds(each, ("strict", CLAS))),
        "Top-1 Loc .5, cam, paper2018": row(lambda each: over_seeds(each, ("paper2018", LOC))),
        "GT-known .5, cam, paper2018": row(lambda each: over_seeds(each, ("paper2018", GT[1]))),
        "Top-1 Loc .5, cam-positive, strict": row(lambda each: localizer_rates(each, "cam-positive", LOC)),
        "GT-known .5 / .7, ddt, strict": row(means),
        "Top-1 Loc .5 of the best fixed box, strict": [statistics.mean(of_gr)],
    }


def photographs(name: str) -> Rows:
    reports = runs_named(f"photographs-{name}", ".")
    rows = {}
    for localizer in ("cam", "cam-positive", "ddt", "mask", "mask-cam"):
        of = of_localizers(reports, localizer)
        oracle = [statistics.mean(each["oracle"]["rates"][key] for each in of) for key in GT[1:]]
        area = statistics.mean(each["maps"]["mean_area"] for each in of)
        cut = statistics.mean(each["cut"]["value"] for each in of)
        rows[localizer] = [*localizer_rates(reports, localizer, LOC, *GT), *oracle, area, cut]
    return rows | {"best fixed box for each IoU": fixed_boxes(reports[0])[1]}


def ablations() -> Rows:
    sets = ("cub10", "petmasks", "tinyvid")
    files = [result(f"mask-ablations-{name}") for name in sets]
    more = [result("mask-controls")["ablations"][name] for name in sets]
    titles = {
        "features are averaged over the mask, not over the image": "features are averaged over the mask",
        "a constraint for each image, the area's weight steered": "a constraint for each image",
    }
    rows: Rows = {}
    for title in tables_of("docs/results.md", "The mask head")[0]:
        values: Values = []
        for own, control in zip(files, more, strict=True):
            variants = own["variants"] | {
                name: each for name, each in control["variants"].items() if name != "as it is"
            }
            found = variants.get(title, variants.get(titles.get(title, title)))
            if found is not None:
                values += [found["rates"][GT[1]], found["rates"][GT[2]]]
                values.append(found["maps"]["mean_area"])
        if values:
            rows[title] = values
    rows["best fixed box for each IoU"] = [
        value
        for each in files
        for value in (each["fixed_boxes"]["best-box@0.5"][1], each["fixed_boxes"]["best-box@0.7"][2])
    ]
    rows["median area of the boxes"] = [each["median_box_area"] for each in files]
    return rows


def pixels_of_pets() -> Rows:
    reports = runs_named("photographs-petmasks", ".")
    rows = {}
    for name in ("cam", "cam-positive", "ddt", "mask", "mask-cam"):
        of = of_localizers(reports, name)
        rates = localizer_rates(reports, name, GT[1], GT[2], LOC)[::2]
        pxap, iou = spread(each["pixels"]["pxap"] for each in of), spread(each["pixels"]["iou"]["mean"] for each in of)
        rows[name] = [*pxap, *iou, *rates]
    masks = {each["name"]: [each["pxap"], each["iou"]] for each in reports[0]["pixels"]["baselines"]}
    whole, best = fixed_boxes(reports[0])
    return rows | {
        "whole image": [*masks["whole image"], *whole[1:]],
        "best ellipse; best boxes for each IoU": [*masks["best ellipse"], *best[1:]],
        "best box by masks": masks["best box"],
    }


def finer_masks() -> Rows:
    names = {
        "as they are, 14 x 14 cells at 224 pixels": "as they are",
        "from images of 256 pixels": "at 256 pixels",
        "of 288": "at 288 pixels",
        "of 320": "at 320 pixels",
        "guided filter, grey, radius 8": "guided by grey, radius 8",
        "in colours, radius 16": "guided by colours, radius 16",
    }
    runs = result("finer-masks")["runs"]
    rows = {}
    for title, name in names.items():
        found = [runs[of][name] for of in ("cub10", "petmasks", "tinyvid")]
        rows[title] = [value for each in found for value in (each[GT[1]], each[GT[2]])] + [found[1]["mask_iou"]]
    return rows


def second_round() -> Rows:
    names = {
        "the first masks": "the first masks",
        "a head taught by cells above .7 and below .2": "another head, sure above .7 and below .2",
        "above .6 and below .3": "another head, sure above .6 and below .3",
        "by all cells, softly": "another head, all, softly",
        "a box regressor": "a box regressor",
    }
    found = result("second-round")["gt_known_loc@0.5_and_0.7"]
    return {
        title: [
            statistics.mean(column)
            for of in ("cub10", "petmasks", "tinyvid")
            for column in zip(*found[of][name], strict=True)
        ]
        for title, name in names.items()
    }


def few_boxes() -> Rows:
    rows = {}
    for of in ("cub10", "petmasks", "tinyvid"):
        for count, title in {0: "no box", 10: "boxes of 10 images a class"}.items():
            found = [
                each
                for each in result("few-boxes")["rows"]
                if (each["set"], each["localizer"], each["boxes_per_class"]) == (of, "mask", count)
            ]
            assert len(found) == 3
            keys = [GT[1], GT[2], *(["mean_iou"] if found[0]["mean_iou"] is not None else [])]
            rows[f"{of}, {title}"] = [value for key in keys for value in spread(each[key] for each in found)]
    return rows


def certainties() -> Rows:
    rows = {}
    for name, each in result("certainties")["sets"].items():
        raw, made = (each["certainty"][key] for key in ("uncalibrated", "calibrated"))
        looks = [100 * of["share_to_look_at_for_95"] for of in (raw, made)]
        error = 100 * made["calibration_error"]
        probability = each["auroc_of_the_probability"]
        rows[name] = [made["images"], made["right"], probability, raw["auroc"], made["auroc"], error, *looks]
    return rows


def benchmark(file: str, name: str) -> dict[str, Any]:
    return next(each for each in result(file)["benchmarks"] if each["name"] == name)


def ratio(of: Mapping[str, Any], other: str, interval: bool = True) -> Values:
    """Ours over another way, and the ends of its interval."""
    found = next(each for each in of["ratios"] if each["other"] == other)
    return [found["ratio"], *([found["low"], found["high"]] if interval else [])]


def side(of: Mapping[str, Any], name: str, microseconds: bool = True) -> Values:
    """Thousand images a second, and microseconds of core time an image."""
    found = of["sides"][name]
    return [found["images_per_second"] / 1000, *([found["cpu_microseconds_per_image"]] if microseconds else [])]


PIPELINES = ("gr bilinear", "gr bicubic", "gr-hns bilinear", "gr-hns bicubic")


def cold_paths() -> Rows:
    rows = {}
    for title in PIPELINES:
        of = benchmark("cpu-2-cores", f"test_pipeline[{title.replace(' ', '-')}]")
        pool = ratio(of, "simplejpeg threads") if "bilinear" in title else []
        rows[title] = [*side(of, "ours"), *ratio(of, "pillow dataloader"), *ratio(of, "dali operators"), *pool]
    of = benchmark("cpu-2-cores", "test_decoding")
    ratios = [*ratio(of, "pillow dataloader"), *ratio(of, "simplejpeg threads")]
    return rows | {"decoding alone (DALI)": [*side(of, "dali decoder"), *ratios]}


def other_paths() -> Rows:
    evaluation = benchmark("cpu-2-cores", "test_evaluation")
    rows = {
        "evaluation, ResNet-18 stem C: forward, maps, boxes": [
            evaluation["sides"]["ours"]["images_per_second"],
            *ratio(evaluation, "dataloader and opencv"),
        ]
    }
    for stem in "AC":
        of, title = benchmark("cpu-2-cores", f"test_step[{stem}]"), f"step, ResNet-18 stem {stem}, batch 64"
        rows[title] = [of["sides"]["compiled"]["images_per_second"], *ratio(of, "eager")]
        rows[f"{title}, "] = ratio(of, "eager fp32 contiguous")
    return rows


def predicting() -> Rows:
    rates = result("predict-cost")["rates"]
    ours, loop = ([rates["images"] / each for each in rates["seconds"][name]] for name in ("ours", "plain loop"))
    return {"python -m fastwsol.predict": [*ours, *rates["ratios"]], "plain loop of Pillow, torch and SciPy": loop}


def tested_at_sizes() -> Rows:
    lines = (RESULTS / "h200" / "test-sizes.txt").read_text().split("long-cutmix-0")

    def sizes(lines: str, pattern: str) -> Values:
        return [float(each) for found in re.findall(pattern, lines) for each in found]

    small, large = (sizes(each, r"clas ([\d.]+) paper GT [\d.]+ Loc ([\d.]+)") for each in lines)
    return {
        "48 pixels: Clas, Loc paper2018": small,
        "64 pixels, CutMix: Clas, Loc paper2018": large,
        "64 pixels, CutMix: ddt GT-known .5 / .7": sizes(lines[1], r"ddt ([\d.]+) ([\d.]+)"),
    }


def steps_on_a_gpu() -> Rows:
    checks = {each["check"]: each.get("figures", {}) for each in result("h200/ed69f57/rates")["checks"]}
    rows = {}
    for batch in (32, 128, 256, 1024):
        of = checks[f"step, 18A, batch {batch}"]
        modes = [of[f"{mode} images/s"] for mode in ("eager", "compiled", "captured", "compiled-captured")]
        best = max(each["of the matrix product's"] for each in of["modes"].values())
        rows[str(batch)] = [*modes, 100 * best]
    return rows


def fusing() -> Rows:
    return {
        str(each["batch"]): [
            each["measured_ms"]["compiled-captured"],
            each["convolutions_ms"],
            *each["rest_ms"].values(),
        ]
        for each in result("step-bound")["steps"]
    }


def faults() -> Rows:
    """By promise, the sums of the table of kinds; titles are their numbers."""
    sums: dict[str, Values] = {}
    for line in (RESULTS / "faults.md").read_text().splitlines():
        if found := re.match(r"\| (\d+) .*?\| .*? \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|", line):
            counts = [float(each.replace(",", "")) for each in found.groups()[1:]]
            sums[found[1]] = [a + b for a, b in zip(sums.get(found[1], [0.0] * 3), counts, strict=True)]
    return sums


def of_presets() -> Rows:
    names = ("paper", "fast", "strong", "demo")
    configs = [PRESETS[name]().config.flat() for name in names]
    evaluations = [PRESETS[name]().log.eval_epochs for name in names]
    columns = {
        f"--{name.replace('_', '-')}": [each[name] for each in configs] for name in ("epochs", "lr", "batch_size")
    }
    return columns | {"--eval-epochs": evaluations}


def warm_paths() -> Rows:
    rows = {}
    for title in PIPELINES:
        of = benchmark("warm", f"test_warm[{title.replace(' ', '-')}]")
        others = ("cold", "dali operators", "pillow dataloader", *["simplejpeg threads"] * ("bilinear" in title))
        rows[title] = [*side(of, "warm"), *(value for other in others for value in ratio(of, other))]
    return rows


def warm_shares() -> Rows:
    shares = {(each["stem"], each["aug"]): each["share_percent"] for each in result("warm-cost")["shares"]}
    return {f"stem {stem}": [shares[stem, aug] for aug in ("gr", "gr-hns")] for stem in "AC"}


def warm_starts() -> Rows:
    names = {
        "no store: 100,000 images are decoded and written": "no store",
        "a store: 1.2 GB are hashed": "store",
        "--data dali": "dali",
    }
    starts = result("warm-cost")["starts"]
    return {title: [starts[name]["opened"], starts[name]["first_batch"]] for title, name in names.items()}


def steps_on_cores() -> Rows:
    found = {(each["depth"], each["stem"], each["batch"]): each for each in result("step-cost")["steps"]}

    def row(depth: int, stem: str, *batches: int) -> Values:
        of = [found[depth, stem, batch] for batch in batches]
        return [each["images_per_second"] for each in of] + [100 * each["of_products"] for each in of]

    return {
        "18, stem C, 32 / 64 / 128": row(18, "C", 32, 64, 128),
        "18, stem C, 256 / 512 / 1024": row(18, "C", 256, 512, 1024),
        "18, stem A, 32": row(18, "A", 32),
        "34, stem A, 32": row(34, "A", 32),
        "34, stem C, 32": row(34, "C", 32),
    }


def boxes_at_one_threshold() -> Rows:
    rows = {}
    for maps, titles in {
        "smooth": ("largest_box at 0.2", "largest_box at 0.5", "cam_boxes, from 8x8"),
        "real": ("largest_box at 0.2, real", "largest_box at 0.5, real", "cam_boxes, from 8x8, real"),
    }.items():
        for title, cut in zip(titles, ("0.2", "0.5"), strict=False):
            of = benchmark("boxes", f"test_largest_box[{maps}-1-{cut}]")
            beside = [*ratio(of, "opencv components"), *ratio(of, "opencv contours")]
            rows[title] = [*side(of, "ours"), *beside, *ratio(of, "scipy", interval=False)]
        of = benchmark("boxes", f"test_cam_boxes[{maps}-1]")
        rows[titles[2]] = [*side(of, "ours"), *ratio(of, "opencv")]
    return rows


def every_threshold(maps: str) -> Values:
    of = benchmark("boxes", f"test_threshold_sweep[{maps}-1]")
    return [*side(of, "ours"), *ratio(of, "ours, 256 thresholds"), *ratio(of, "older evaluator")]


def thresholds_swept() -> Rows:
    return {"threshold_sweep": every_threshold("smooth"), "threshold_sweep, real": every_threshold("real")}


def val_thresholds() -> Rows:
    found = result("real-val-thresholds")

    def row(rates: Mapping[str, float], intervals: Mapping[str, Sequence[float]]) -> Values:
        return [value for key in GT for value in (rates[key], (intervals[key][1] - intervals[key][0]) / 2)]

    chosen, oracle = found["strict_at"]
    thresholds = [[each["thresholds"][iou] for iou in ("0.3", "0.5", "0.7")] for each in (chosen, oracle)]
    whole, best = fixed_boxes(found)
    at = {name: row(found["rates"][name], found["intervals"][name]) for name in ("strict", "paper2018", "wsoleval")}
    assert [round(each, 2) for each in thresholds[0]] == [0.35, 0.22, 0.2]
    assert [round(each, 2) for each in thresholds[1]] == [0.31, 0.26, 0.12]
    return {
        "strict, at 0.2": at["strict"],
        "strict, threshold chosen on 5,000 images held out (.35, .22, .2)": row(chosen["rates"], chosen["intervals"]),
        "strict, oracle (.31, .26, .12)": row(oracle["rates"], oracle["intervals"]),
        "paper2018, at 0.2": at["paper2018"],
        "wsoleval, at 0.2": at["wsoleval"],
        WHOLE: whole,
        BEST: best,
    }


def max_box_accs() -> Rows:
    found = result("real-val-thresholds")["max_box_acc"]["strict"]
    halves = {key: (high - low) / 2 for key, (low, high) in found["intervals"].items()}
    keys = ("max_box_acc", "max_box_acc_v2", "max_box_acc_v2_single")
    return {"this network": [value for key in keys for value in (found["rates"][key], halves[key])]}


def sizes_of_objects() -> Rows:
    titles = ("up to 10 %", "10 to 25 %", "25 to 50 %", "50 to 75 %", "75 to 100 %")
    rows = {}
    for title, each in zip(titles, result("real-val-thresholds")["sizes"], strict=True):
        beside = [each["baselines"][name][GT[1]] for name in ("whole frame", "best box at IoU 0.5")]
        rates = [100 * hits / count for hits, count in (each["counts"][GT[1]], *beside)]
        rows[title] = [each["images"], *rates]
    return rows


def judged_pixels() -> Rows:
    rows = {}
    for name in ("cub10", "petmasks", "tinyvid"):
        of = result("mask-controls")["pixels"][name]
        features, own, other = of["top1_clas"].values()
        shares = [each[where] for where in ("inside", "outside") for each in (features, own, other)]
        area = f"{of['mean_area_inside']:.2f}".lstrip("0")
        rows[f"{name}, {area}" + " of the pixels" * (name == "cub10")] = shares
    return rows


def several_objects() -> Rows:
    found = result("several-objects")["val"]
    titles = {
        "two classes side by side": "two classes",
        "one class twice": "one class twice",
        "one object": "one object",
        "nothing (207, 62, 128 images)": "nothing",
    }
    rows = {}
    for title, kind in titles.items():
        values: Values = []
        for of in found.values():
            every = of["kinds"][f"{kind}, specks 0.2"][str(of["least_score"])]
            (largest,) = of["kinds"][f"{kind}, largest alone"].values()
            if kind == "nothing":
                values += [every["invented"], largest["invented"]]
            else:
                values += [every["found"], every["named right"], every["objects"], every["invented"]]
                values += [largest["found"], largest["named right"], largest["invented"]]
        rows[title] = values
    return rows


def beside_what_people_use() -> Rows:
    of = functools.partial(benchmark, "photographs-paths")
    crops, whole = of("test_views_of_many_sizes[gr]"), of("test_views_of_many_sizes[none]")

    def row(each: Mapping[str, Any], ours: str, other: str) -> Values:
        rates = [each["sides"][name]["images_per_second"] for name in (ours, other)]
        return [*rates, *ratio(each, other)]

    return {
        "crops of images of many sizes, from squares of 256 pixels": row(crops, "squares", "dali"),
        "whole images, from squares": row(whole, "squares", "dali"),
    }


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
    # "the same runs, cam" stands below both, and is left out here: two rows of one title.
    for begins, reports in (("photographs of 10 bird", birds), ("five classes of frames", clips)):
        rates = localizer_rates(reports, "mask", LOC, GT[1])
        row(begins, [*over_seeds(reports, ("strict", CLAS)), *rates, fixed_boxes(reports[0])[1][1]])
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

    return {
        "--preset fast --depth 18 --aug gr, 3 seeds": [*row(reports), *spread(each["seconds"] for each in runs)],
        "--preset strong --aug gr (depth 34), 1 seed": [*row(strong), day("strong34-0")[0]["seconds"]],
    }


def six_trainings() -> Rows:
    """Of each: GT-known and Top-1 Loc, Top-1 Loc of the fixed box, Top-1 Clas; the paper's; images/s."""
    rows = {}
    said = tables_of("docs/measured.md", "On a GPU")[1]
    for depth, aug in ((18, "none"), (18, "hns"), (18, "gr"), (18, "gr-hns"), (34, "none"), (34, "gr")):
        (report,) = runs_named("h200/trainings", f"^fast-{depth}-{aug}$")
        rates = report["rates"]["paper2018"]
        boxes = {each["name"]: each["rates"]["paper2018"] for each in report["baselines"]}
        ours = [rates[GT[1]], rates[LOC], boxes["best box at IoU 0.5"][LOC], rates[CLAS]]
        rest = [float(each.replace(",", "")) for each in NUMBER.findall(said[f"{depth}, {aug}"])[4:]]
        rows[f"{depth}, {aug}"] = [*ours, *rest]
    of_paper = {each["name"]: each["rates"]["paper2018"][GT[1]] for each in report["baselines"]}
    return rows | {"whole image": [of_paper["whole frame"]], "best fixed box": [of_paper["best box at IoU 0.5"]]}


def of_readme() -> Rows:
    birds = runs_named("photographs-cub10", ".")
    mask, cam = (
        [statistics.mean(each["rates"][key] for each in of_localizers(birds, name)) for key in GT[1:]]
        for name in ("mask", "cam")
    )
    with_boxes = few_boxes()["cub10, boxes of 10 images a class"]
    said = tables_of("README.md", "fastwsol")[0]
    first, second = list(said)[2:]
    # The title of the column has an IoU, the row that of its second number.
    return {first: [mask[0], 0.7, mask[1], cam[0], fixed_boxes(birds[0])[1][1]], second: [with_boxes[0], with_boxes[2]]}


def claims_by_their_files() -> dict[str, Values]:
    """Differences of Top-1 Loc (`paper2018`), as recipes and `claim 1` have them."""
    table = {title: values[-1] for title, values in recipes().items()}
    rates = {
        aug: [each["report"]["rates"]["paper2018"][LOC] for each in day(*(f"brief-{aug}-{k}" for k in range(count)))]
        for aug, count in {"gr": 3, "hns": 2, "none": 2}.items()
    }
    mean = {aug: statistics.mean(each) for aug, each in rates.items()}
    return {
        "decay": [table["weight decay 5e-4"] - table["weight decay 1e-4, the paper's"]],
        "rate": [table["weight decay 5e-4"] - table["weight decay 5e-4, rate 0.1"]],
        "cutmix": [
            table["weight decay 5e-4, labels smoothed by 0.1"] - table["the same, half of the views mixed by CutMix"]
        ],
        "gr over hns": [mean["gr"] - mean["hns"]],
        "gr over none": [mean["gr"] - mean["none"]],
        "none over hns": [mean["none"] - mean["hns"]],
    }
