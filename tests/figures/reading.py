"""Reading the files of bench/results: runs, their rates, benchmarks and their ratios."""

import functools
import json
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pages import ROOT

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


def day(*names: str) -> list[dict[str, Any]]:
    return [result("h200/gpu-day")["trainings"][name] for name in names]


def median_rate(run: Mapping[str, Any]) -> float:
    """The median of a training's lines, images a second."""
    return statistics.median(each["images_per_second"] for each in run["metrics"] if each["kind"] == "train")


def localizer_rates(reports: Sequence[Mapping[str, Any]], name: str, *keys: str) -> Values:
    return [value for key in keys for value in spread(each["rates"][key] for each in of_localizers(reports, name))]


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
