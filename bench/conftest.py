"""Ratios at the end of `pytest bench --benchmark-only`, and with `--results FILE` all of it as JSON.

Of the tests of one group, those with `extra_info["ours"]` are set against each of the others by their medians.
"""

import collections
from pathlib import Path

import pytest

from fastwsol.durable import write_json
from fastwsol.rundir import environment


def pytest_addoption(parser):
    parser.addoption("--results", type=Path, metavar="FILE", help="write figures, command, commit and machine as JSON")


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter, config):
    session = getattr(config, "_benchmarksession", None)
    measured = [each for each in session.benchmarks if each.stats.data] if session is not None else []
    if not measured:
        return
    groups = collections.defaultdict(list)
    for each in measured:
        groups[each.group].append(
            {
                "name": each.name,
                "ours": bool(each.extra_info.get("ours")),
                "images_per_second": each.extra_info["images_per_second"],
                "seconds": {"median": each.stats.median, "min": each.stats.min, "max": each.stats.max},
                "rounds": each.stats.rounds,
            }
        )
    ratios = [ratio for name, rows in groups.items() for ratio in ratios_of(name, rows)]
    terminalreporter.section("images/s, ours over the others (medians, one run)")
    for ratio in ratios:
        terminalreporter.write_line(
            f"{ratio['ratio']:6.2f}x  {ratio['group']}: {ratio['ours']} {ratio['ours_images_per_second']:,.0f}/s "
            f"over {ratio['other']} {ratio['other_images_per_second']:,.0f}/s"
        )
    if (path := config.getoption("--results")) is not None:
        write_json(path, {**environment(), "ratios": ratios, "groups": dict(groups)})
        terminalreporter.write_line(f"written to {path}")


def ratios_of(group, rows):
    return [
        {
            "group": group,
            "ours": ours["name"],
            "other": other["name"],
            "ratio": ours["images_per_second"] / other["images_per_second"],
            "ours_images_per_second": ours["images_per_second"],
            "other_images_per_second": other["images_per_second"],
        }
        for ours in rows
        if ours["ours"]
        for other in rows
        if not other["ours"]
    ]
