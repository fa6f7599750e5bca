"""What the trainings of the queue found: the file that keeps it, and tables of it."""

import json
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from acceptance.recipe import PAPERS_BEST

from fastwsol.config import Config, flag
from fastwsol.experiments.paper_claims import CLAIMS, judge, overall, overall_name
from fastwsol.experiments.tables import beside_text
from fastwsol.host.errors import UserError

FORMAT_VERSION = 1
_KEPT_ROWS = 10


def finished_in(path: Path) -> dict[str, dict[str, Any]]:
    """The trainings in a gpu-day.json. Raises UserError where it is none."""
    try:
        content = json.loads(path.read_bytes())
        if content["format_version"] == FORMAT_VERSION:
            return dict(content["trainings"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise UserError(f"{path}: is no gpu-day.json of this version; take it away, or name another")


def failures_in(path: Path) -> dict[str, dict[str, Any]]:
    """The failures in a gpu-day.json that `finished_in` can read: flags, source and why, by training."""
    return dict(json.loads(path.read_bytes()).get("failures", {}))


def difference(found: Config, asked: Config) -> str | None:
    """The first option in which a run is not the one asked for, in words; None where it is. What a run's images and
    files decide is no option that is asked for.
    """
    ours, theirs = asked.flat(), found.flat()
    for name, value in ours.items():
        if name != "store_size" and not name.endswith("_sha256") and value != theirs[name]:
            return f"{flag(name)} {theirs[name]}, not {value}"
    return None


def thinned(found: dict[str, Any]) -> dict[str, Any]:
    """What was collected of a run, with some of its rows of losses, the last of each part among them."""
    kept = [row for row in found["metrics"] if row["kind"] == "eval"]
    for kind in ("train", "head"):
        of_kind = [row for row in found["metrics"] if row["kind"] == kind]
        kept += [row for k, row in enumerate(of_kind, 1) if k % _KEPT_ROWS == 0 or k == len(of_kind)]
    for each in found["report"]["localizers"]:
        each.pop("sizes", None)
    return found | {"metrics": sorted(kept, key=lambda row: row["step"])}


def _rates(found: dict[str, Any]) -> dict[str, float]:
    """Top-1 Clas, and under `strict` each localizer's GT-known Loc at .5 and .7 and Top-1 Loc at .5; the CAM's under
    `paper2018`.
    """
    report = found["report"]
    rates = {"Clas": report["rates"]["strict"]["top1_clas"]}
    for each in report["localizers"]:
        for name, key in (("GT .5", "gt_known_loc@0.5"), ("GT .7", "gt_known_loc@0.7"), ("Loc .5", "top1_loc@0.5")):
            rates[f"{each['name']} {name}"] = each["rates"][key]
    of_paper = report["rates"]["paper2018"]
    rates |= {"paper2018 GT .5": of_paper["gt_known_loc@0.5"], "paper2018 Loc .5": of_paper["top1_loc@0.5"]}
    return {name: rate for name, rate in rates.items() if rate is not None}  # of images without a box there is none


def line_of(found: dict[str, Any]) -> str:
    """A training's rates and seconds, in a line."""
    rates = _rates(found)
    shown = ["Clas", "paper2018 Loc .5", "cam GT .5", "mask GT .5", "mask-cam GT .5", "mask-cam Loc .5"]
    return ", ".join(f"{name} {rates[name]:.2f}" for name in shown if name in rates) + f"; {found['seconds']:.0f} s"


def table_over_seeds(found: dict[str, dict[str, Any]]) -> list[str]:
    """Markdown: a row for each rate, a column for each setting, mean and standard deviation over its seeds."""
    settings: dict[str, list[dict[str, Any]]] = {}
    for name, each in found.items():
        settings.setdefault(setting_in(name), []).append(each)
    columns = list(dict.fromkeys(column for each in found.values() for column in _rates(each)))
    lines = [f"| | {' | '.join(settings)} |", "|" + "---|" * (1 + len(settings))]
    lines.append(f"| seeds | {' | '.join(str(len(runs)) for runs in settings.values())} |")
    for column in columns:
        cells = [_mean([_rates(each)[column] for each in runs if column in _rates(each)]) for runs in settings.values()]
        lines.append(f"| {column} | {' | '.join(cells)} |")
    seconds = [_mean([each["seconds"] for each in runs]) for runs in settings.values()]
    return [*lines, f"| seconds | {' | '.join(seconds)} |"]


def setting_in(name: str) -> str:
    """A training's name without its seed."""
    return name.rsplit("-", 1)[0]


def without_seed(flags: str) -> str:
    """A training's flags without the last, its seed."""
    return flags.rpartition(" --seed ")[0]


def _mean(values: Sequence[float]) -> str:
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}"


def claims_judged(finished: dict[str, dict[str, Any]]) -> list[str]:
    """What becomes of the paper's claims, by the CAM's Top-1 Loc under `paper2018`."""
    values: dict[Any, list[float]] = {}
    for found in finished.values():
        if found["item"] in ("masks", "record", "augs", "orders"):
            setting = Config.from_json(found["report"]["config"]).setting
            values.setdefault(setting, []).append(_rates(found)["paper2018 Loc .5"])
    lines = []
    differences = judge(values)
    for comparison, difference in differences.items():
        better, worse = comparison.sides
        lines.append(
            f"claim {comparison.claim}: {better} over {worse}: "
            f"{beside_text((difference, difference.half_interval))}, {difference.verdict}"
        )
    for claim, text in CLAIMS.items():
        of_claim = {comparison: each for comparison, each in differences.items() if comparison.claim == claim}
        if of_claim:
            lines.append(f"claim {claim} ({text}), {overall_name([*of_claim])}: {overall([*of_claim.values()])}")
    return lines


def record_lines(finished: dict[str, dict[str, Any]]) -> list[str]:
    """Seconds of the runs that were timed, and how many of them reached the paper's best, by which localizer. Runs that
    were stopped in between are left out, since they started twice.
    """
    settings: dict[str, list[dict[str, Any]]] = {}
    broken: Counter[str] = Counter()
    for name, each in finished.items():
        if each["item"] == "record":
            settings.setdefault(setting_in(name), [])
            if len(each["starts"]) > 1 or each.get("processes", 1) > 1:
                broken[setting_in(name)] += 1
            else:
                settings[setting_in(name)].append(each)
    lines = [f"{setting}: {count} stopped in between, and not counted" for setting, count in broken.items()]
    for setting, runs in settings.items():
        if not runs:
            continue
        lines.append(f"{setting}: {_mean([each['seconds'] for each in runs])} s over {len(runs)} runs")
        columns = dict.fromkeys(column for each in runs for column in _rates(each) if column.endswith("Loc .5"))
        for column in columns:
            values = [_rates(each)[column] for each in runs if column in _rates(each)]
            reached = sum(value >= PAPERS_BEST for value in values)
            lines.append(f"  {column} {_mean(values)}: {reached} of {len(values)} at or above {PAPERS_BEST}")
    return lines
