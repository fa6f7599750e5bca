"""Tables of photographs: localizers, masks, several objects, certainties."""

import statistics

from pages import tables_of

from figures.reading import (
    GT,
    LOC,
    Rows,
    Values,
    fixed_boxes,
    localizer_rates,
    of_localizers,
    result,
    runs_named,
    spread,
)


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


def by_size() -> Rows:
    """Images, and GT-known Loc at IoU .5 of `cam` and `mask`, by the area of the boxes."""
    rows: Rows = {}
    for of in ("cub10", "tinyvid", "petmasks"):
        reports = runs_named(f"photographs-{of}", ".")
        sizes = {name: [each["sizes"] for each in of_localizers(reports, name)] for name in ("cam", "mask")}
        for k, size in enumerate(sizes["cam"][0]):
            if not size["images"]:
                continue
            low, high = (f"{share:g}".removeprefix("0") for share in size["share"])
            title = f"up to {high}" if k == 0 else f"above {low}" if size["share"][1] == 1 else f"{low} to {high}"
            counts = [[each[k]["counts"][GT[1]] for each in sizes[name]] for name in ("cam", "mask")]
            rates = [statistics.mean(100 * right / of_all for right, of_all in each) for each in counts]
            rows[f"{of}, {title}"] = [size["images"], *rates]
    return rows


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


def boxes_of_few_held_out() -> dict[str, list[float]]:
    """GT-known Loc at IoU .5 and .7 on images held out of tinyvid, means of three heads, by how batches were made."""
    found = result("few-boxes")["tinyvid_holdout_gt_known_loc@0.5_and_0.7"]
    return {how: [statistics.mean(column) for column in zip(*heads, strict=True)] for how, heads in found.items()}


def cut_on_few() -> Rows:
    rows = {}
    for name, each in result("cut-on-few")["sets"].items():
        few = [each[known][level] for known in ("5", "8", "12", "20") for level in ("nearest", "lowest")]
        rows[name.removesuffix(" (class folders)")] = [
            rate for pair in [each["own"]["gt_known_loc"], *few] for rate in pair
        ]
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
