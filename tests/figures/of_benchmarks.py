"""Tables of rates and ratios, and of faults."""

import functools
import re
from collections.abc import Mapping
from typing import Any

from figures.reading import RESULTS, Rows, Values, benchmark, ratio, result, side

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
        rows[f"{title}, eager fp32 contiguous"] = ratio(of, "eager fp32 contiguous")
    return rows


def predicting() -> Rows:
    rates = result("predict-cost")["rates"]
    ours, loop = ([rates["images"] / each for each in rates["seconds"][name]] for name in ("ours", "plain loop"))
    return {"python -m fastwsol.predict": [*ours, *rates["ratios"]], "plain loop of Pillow, torch and SciPy": loop}


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


def beside_what_people_use() -> Rows:
    of = functools.partial(benchmark, "photographs-paths")
    crops, whole = of("test_views_of_many_sizes[gr]"), of("test_views_of_many_sizes[none]")
    features, maps = of("test_features"), of("test_maps_of_files")
    eager, compiled = of("test_fine_tuning_step[False]"), of("test_fine_tuning_step[True]")

    def rate(each: Mapping[str, Any], name: str) -> float:
        return float(each["sides"][name]["images_per_second"])

    kept = features["parameters"]["kept_batches_per_second"]
    crops_title, maps_title = "crops of images of many sizes, from squares of 256 pixels", "files to maps"
    loader = "a torch DataLoader with timm's transforms, two workers, 310/s"
    return {
        crops_title: [rate(crops, "squares"), rate(crops, "dali"), *ratio(crops, "dali")],
        f"{crops_title}, {loader}": [rate(crops, "timm dataloader"), *ratio(crops, "timm dataloader")],
        "whole images, from squares": [rate(whole, "squares"), rate(whole, "dali"), *ratio(whole, "dali")],
        "whole images, from squares, the DataLoader, 263/s": [
            rate(whole, "timm dataloader"),
            *ratio(whole, "timm dataloader"),
        ],
        "features of a frozen trunk, first epoch": [
            rate(features, "first epoch"),
            32,
            rate(features, "timm forward"),
            *ratio(features, "timm forward"),
        ],
        "features, later epochs (kept; 2,560 bytes a view)": [kept, round(kept / rate(features, "timm forward"), -3)],
        "a step of the whole network, batch 16 at 128 pixels, eager": [
            rate(eager, "ours"),
            rate(eager, "timm loop"),
            *ratio(eager, "timm loop"),
        ],
        "the same, compiled": [rate(compiled, "ours"), *ratio(compiled, "timm loop")],
        maps_title: [rate(maps, "ours"), 32, *ratio(maps, "torchcam batched")],
        f"{maps_title}, torchcam, an image at a time, as its page shows": ratio(maps, "torchcam one by one"),
        f"{maps_title}, grad-cam's GradCAM, batches of 32": [32, *ratio(maps, "grad-cam")],
    }
