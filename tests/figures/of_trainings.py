"""Tables of trainings on Tiny ImageNet and the synthetic set, on cores and on a GPU."""

import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from day.results import claims_judged, finished_in

from fastwsol.config import Setting
from fastwsol.experiments.paper_claims import difference, judge, pooled_spread
from figures.reading import (
    BEST,
    CLAS,
    GT,
    LOC,
    RESULTS,
    STRICT_ROW,
    WHOLE,
    Rows,
    Values,
    day,
    fixed_boxes,
    localizer_rates,
    median_rate,
    over_seeds,
    result,
    runs_named,
    spread,
)


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


def reports_of_fast_recipe() -> dict[str, list[dict[str, Any]]]:
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
    return {title: runs_named("fast-ablations", f"^{name}-s") for title, name in names.items()}


def fast_recipe() -> Rows:
    reports = reports_of_fast_recipe()
    rows = {title: over_seeds(each, ("strict", CLAS), ("strict", LOC)) for title, each in reports.items()}
    for title, values in rows.items():
        if title != "nothing":
            values.append(values[2] - rows["nothing"][2])
    whole, best = fixed_boxes(reports["nothing"][0])
    ious = [0.3, 0.5, 0.7]
    return rows | {WHOLE: ious + whole, BEST: best}


def reports_of_longer_recipe() -> dict[str, list[dict[str, Any]]]:
    names = {
        "nothing": "plain",
        "--label-smoothing 0.1": "smooth",
        "--mix cutmix": "cutmix",
        "--mix cutmix --label-smoothing 0.1": "cutmix-smooth",
        "--mix mixup": "mixup",
        "--attention-dropout 0.25": "adl25",
        "--attention-dropout 0.75, ADL's rate": "adl75",
    }
    return {title: runs_named("recipe-settings", rf"^{name}-s\d") for title, name in names.items()}


def reports_of_strong_recipe() -> dict[str, list[dict[str, Any]]]:
    names = {
        "--mix cutmix --label-smoothing 0.1, as in strong": "cutmix-smooth80",
        "without CutMix": "smooth80",
        "without smoothing": "cutmix80",
    }
    return {title: runs_named("recipe-80-epochs", rf"^{name}-s\d") for title, name in names.items()}


def share_right_in_training(setting: str) -> Values:
    """The share of the views of the last steps that were classified rightly, the mean over seeds, in percent."""
    runs = [each for each in result("recipe-80-epochs")["runs"] if each["run"].startswith(f"{setting}-s")]
    last = [[row for row in each["metrics"] if row["kind"] == "train"][-1] for each in runs]
    return [statistics.mean(row["train_top1_clas"] for row in last)]


def settings_apart(reports: Mapping[str, Sequence[Mapping[str, Any]]]) -> Rows:
    """Settings, and what is different from the first of them."""
    rows: Rows = {}
    first = next(iter(reports))
    for title, each in reports.items():
        rows[title] = over_seeds(each, ("strict", CLAS), ("strict", LOC))
        if title != first:
            rows[title].append(rows[title][2] - rows[first][2])
        rows[title] += over_seeds(each, *(("strict", key) for key in GT[1:]))
    whole, best = fixed_boxes(reports[first][0])
    return rows | {WHOLE: whole[1:], BEST: best[1:]}


def longer_recipe() -> Rows:
    return settings_apart(reports_of_longer_recipe())


def strong_recipe() -> Rows:
    return settings_apart(reports_of_strong_recipe())


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


def claims_of_synthetic_sweep() -> dict[str, Values]:
    """Differences of Top-1 Loc, `strict`, each with half of its interval; by claim the pooled spread and its degrees
    of freedom.
    """
    runs = result("synthetic-sweep")["runs"]
    augs = ("none", "hns", "gr", "gr-hns", "hns-gr")
    of_aug = {aug: [each["rates"]["strict"][LOC] for each in runs if each["config"]["aug"] == aug] for aug in augs}
    found: dict[str, Values] = {}
    for comparison, each in judge({Setting.of(aug=aug, depth=18): of_aug[aug] for aug in augs}).items():
        found[" over ".join(comparison.sides)] = [each.points, each.half_interval]
        seeds = [1 / len(of_aug[side.views.aug]) for side in (comparison.better, comparison.worse)]
        found[f"claim {comparison.claim}"] = [each.error / sum(seeds) ** 0.5, each.freedom]
    return found


def few_images() -> Rows:
    rows = of_sweep("few-images", ("none", "hns", "gr"))
    return rows | {"best fixed box of train for each IoU": fixed_boxes(result("few-images"))[1]}


def three_seeds_of_masks() -> Rows:
    reports = [each["report"] for each in day("gr-0", "gr-1", "gr-2")]
    cuts = {"cam, at 0.2": "cam", "cam-positive, at 0.25": "cam-positive", "ddt, at 0.2": "ddt"}
    heads = {"mask, box-free cut": "mask", "mask-cam, box-free cut": "mask-cam"}
    return {title: localizer_rates(reports, name, GT[1], GT[2], LOC) for title, name in (cuts | heads).items()}


def five_records() -> Rows:
    runs = day(*(f"record-{k}" for k in range(5)))
    reports = [each["report"] for each in runs]
    rates = [median_rate(each) for each in runs]
    return {
        "seconds from the command to the report": spread(each["seconds"] for each in runs),
        "images/s (median line; sides 32, 48, 64)": [round(min(rates), -2), round(max(rates), -2)],
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
    # A fixed box is one box, and has no threshold that is swept: its best rate at .5, and the mean over three IoUs.
    whole, best = (
        [of[1], statistics.mean(of), statistics.mean(of)] for of in fixed_boxes(result("real-val-thresholds"))
    )
    network = [value for key in keys for value in (found["rates"][key], halves[key])]
    return {"this network": network, WHOLE: whole, "best fixed boxes": best}


def sizes_of_objects() -> Rows:
    titles = ("up to 10 %", "10 to 25 %", "25 to 50 %", "50 to 75 %", "75 to 100 %")
    rows = {}
    for title, each in zip(titles, result("real-val-thresholds")["sizes"], strict=True):
        beside = [each["baselines"][name][GT[1]] for name in ("whole frame", "best box at IoU 0.5")]
        rates = [100 * hits / count for hits, count in (each["counts"][GT[1]], *beside)]
        rows[title] = [each["images"], *rates]
    return rows


class Apart(NamedTuple):
    """How far settings lie apart from the first, by Top-1 Loc. spread: over seeds, pooled; least: that is told apart of
    two settings of three seeds; verdicts: by title. All comparisons hold at once at 95 % (Bonferroni).
    """

    spread: float
    freedom: int
    least: float
    verdicts: dict[str, str]


def apart(reports: Mapping[str, Sequence[Mapping[str, Any]]]) -> Apart:
    """Settings beside the first."""
    values = {title: [each["rates"]["strict"][LOC] for each in of] for title, of in reports.items()}
    spread, freedom = pooled_spread(list(values.values()))
    base = values.pop(next(iter(values)))
    verdicts = {}
    for title, of in values.items():
        found = difference(of, base, spread, freedom)
        told = abs(found.points) > found.half_interval_among(len(values))
        verdicts[title] = "not separable" if not told else "better" if found.points > 0 else "worse"
    least = difference([0] * 3, [0] * 3, spread, freedom).half_interval_among(len(values))
    return Apart(spread, freedom, least, verdicts)


def claims_by_their_files() -> dict[str, Values]:
    """Differences of Top-1 Loc (`paper2018`): as recipes have them; and as claims are judged, with half an interval."""
    table = {title: values[-1] for title, values in recipes().items()}
    claims = {}
    for line in claims_judged(finished_in(RESULTS / "h200" / "gpu-day.json")):
        if found := re.fullmatch(r"claim 1: (.*): ([+-][\d.]+) ± ([\d.]+), .*", line):
            claims[found[1]] = [float(found[2]), float(found[3])]
    none_over_hns = [-claims["hns over none"][0], claims["hns over none"][1]]
    return claims | {
        "decay": [table["weight decay 5e-4"] - table["weight decay 1e-4, the paper's"]],
        "rate": [table["weight decay 5e-4"] - table["weight decay 5e-4, rate 0.1"]],
        "cutmix": [
            table["weight decay 5e-4, labels smoothed by 0.1"] - table["the same, half of the views mixed by CutMix"]
        ],
        "none over hns": none_over_hns,
    }
