"""Benchmarks that compare: every test times all its sides in turns, A B C A B C, and what counts is the ratio.

    pytest bench                        the sides give the same results: quick, nothing is timed
    pytest bench --benchmark-only       and how long they take; --results FILE writes all of it as JSON, --long measures
                                        large networks and photographs too

All sides run in this process and its children, which are pinned to the same `--cores`.
"""

import os
import time
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
import pytest
import rounds
from rounds import Side, cpu_time, rates, ratio
from scipy import ndimage

from fastwsol.dataset.packer import pack
from fastwsol.dataset.shards import open_shards
from fastwsol.host.device import use_threads
from fastwsol.host.environment import environment
from fastwsol.host.errors import UserError
from fastwsol.host.files import write_json
from fastwsol.sources.synthetic import Synthetic

FORMAT_VERSION = 1
PACKAGES_OF_OTHER_SIDES = ("opencv-python-headless", "scipy", "simplejpeg", "pytest-benchmark")
IF_INSTALLED = ("timm", "torchvision", "torchcam", "grad-cam")


def pytest_addoption(parser):
    group = parser.getgroup("fastwsol")
    group.addoption("--results", type=Path, metavar="FILE", help="write figures, command, commit and machine as JSON")
    group.addoption("--cores", type=int, default=2, metavar="N", help="cores that all sides are pinned to (default 2)")
    group.addoption(
        "--maps",
        type=Path,
        metavar="FILE",
        help="a network's maps, as `evaluate RUN --export-maps` writes them: measured beside random ones",
    )
    group.addoption(
        "--shards", type=Path, metavar="DIR", help="packed data set to measure on (default: a generated one)"
    )
    group.addoption(
        "--long",
        action="store_true",
        help="measure too what takes minutes, check too what is like another; else skipped",
    )


@pytest.hookimpl(tryfirst=True)  # before pytest-benchmark reads its options, and before any thread is started
def pytest_configure(config):
    rounds.timed = config.option.benchmark_only
    if not rounds.timed:
        config.option.benchmark_disable = True
        if config.option.results is not None:
            raise pytest.UsageError("--results: nothing is timed without --benchmark-only")
    allowed = sorted(os.sched_getaffinity(0))
    if not 1 <= config.option.cores <= len(allowed):
        raise pytest.UsageError(f"--cores {config.option.cores}: this process may use 1 to {len(allowed)}")
    os.sched_setaffinity(0, allowed[: config.option.cores])
    use_threads(config.option.cores)
    cv2.setNumThreads(config.option.cores)
    config.addinivalue_line("markers", "long: takes minutes to measure; only with --long")
    config.addinivalue_line(
        "markers", "like_another: checked by another test too; where nothing is timed only with --long"
    )
    config.load_average_at_start = os.getloadavg()


def pytest_report_header(config):
    if not config.option.benchmark_only:
        return "nothing is timed; --benchmark-only times"
    if config.option.long:
        return "measures everything: some fifty minutes on two cores"
    added = "--long adds large networks and photographs, --maps a network's own maps"
    return f"measures for some ten minutes on two cores; {added}"


def pytest_collection_modifyitems(config, items):
    if config.option.long:
        return
    mark, why = ("like_another", "NOT CHECKED: another test has the same sides; add --long")
    if config.option.benchmark_only:
        mark, why = "long", "NOT MEASURED: takes minutes; add --long"
    for item in items:
        if item.get_closest_marker(mark):
            item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(scope="session")
def cores(pytestconfig):
    return pytestconfig.option.cores


@pytest.fixture(scope="session")
def shards(pytestconfig, tmp_path_factory):
    """The set that is measured on: 3,200 generated images of train and 512 of val (a quarter of them where nothing is
    timed), or the one of --shards.
    """
    folder = pytestconfig.option.shards
    if folder is None:
        folder = tmp_path_factory.mktemp("bench") / "shards"
        share = 1 if pytestconfig.option.benchmark_only else 4
        pack(Synthetic(class_count=8, train_count=400 // share, val_count=64 // share), folder)
    try:
        return open_shards(folder)
    except UserError as error:
        pytest.exit(f"error: {error}", returncode=2)


@pytest.fixture(scope="session")
def smooth_cams():
    """2048 smooth random fields float32 [2048, 8, 8], an eighth of them where nothing is timed, and where they are
    from.
    """
    noise = np.random.default_rng(1).standard_normal((2048 if rounds.timed else 256, 8, 8))
    return ndimage.gaussian_filter(noise, (0, 0.7, 0.7)).astype(np.float32), "smooth random maps of 8x8, seed 1"


@pytest.fixture
def paired_rounds(benchmark, cores):
    """A function that times sides in turns, the first of them being ours, and notes everything in `extra_info`."""

    def run(sides: dict[str, Side], images: int, rounds: int, data: str, **parameters) -> None:
        (our_name, ours), *others = sides.items()
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        cpu_seconds: dict[str, list[float]] = {name: [] for name in sides}
        our_cpu_start = 0.0

        def turns_of_the_others():
            nonlocal our_cpu_start
            for name, side in others:
                side.before()
                start, cpu_start = time.perf_counter(), cpu_time()
                side.turn()
                seconds[name].append(time.perf_counter() - start)
                cpu_seconds[name].append(cpu_time() - cpu_start)
                side.after()
            ours.before()
            our_cpu_start = cpu_time()

        def end_of_our_turn():
            cpu_seconds[our_name].append(cpu_time() - our_cpu_start)
            ours.after()

        load_average = os.getloadavg()[0]
        benchmark.pedantic(
            ours.turn, setup=turns_of_the_others, teardown=end_of_our_turn, rounds=rounds, warmup_rounds=1
        )
        if benchmark.disabled:  # each side had one turn, to see that it works
            return
        seconds[our_name] = benchmark.stats.stats.data
        benchmark.extra_info.update(
            parameters=parameters,
            data=data,
            cores=cores,
            load_average=load_average,
            images=images,
            rounds=rounds,
            sides={name: rates(images, seconds[name][-rounds:], cpu_seconds[name][-rounds:]) for name in sides},
            ratios=[
                {"ours": our_name, "other": name, **ratio(seconds[our_name], seconds[name][-rounds:])}
                for name, _ in others
            ],
        )

    return run


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter, config):
    session = getattr(config, "_benchmarksession", None)
    measured = [each for each in session.benchmarks if "ratios" in each.extra_info] if session is not None else []
    if not measured:
        return
    terminalreporter.section(
        "images/s, core time an image; ours over the other: median of paired rounds, 95 % interval"
    )
    for each in measured:
        terminalreporter.write_line(each.name)
        ratio_to = {one["other"]: one for one in each.extra_info["ratios"]}
        for name, side in each.extra_info["sides"].items():
            one = ratio_to.get(name)
            rate, cpu = side["images_per_second"], side["cpu_microseconds_per_image"]
            beside = f"{one['ratio']:8.2f}x  {one['low']:.2f} .. {one['high']:.2f}" if one is not None else ""
            terminalreporter.write_line(f"  {name:<22}{rate:>10,.0f}/s{cpu:>12,.1f} us{beside}")
    if (path := config.option.results) is not None:
        write_json(path, result_file(measured, config))
        terminalreporter.write_line(f"written to {path}")


def result_file(measured, config) -> dict[str, object]:
    """All that a reader needs to judge the figures or to make them again; `scripts/compare_bench.py` reads it."""
    here = environment()
    installed = {each.metadata["Name"].lower() for each in metadata.distributions()}
    packages = [*PACKAGES_OF_OTHER_SIDES, *(each for each in IF_INSTALLED if each in installed)]
    here["versions"] |= {package: metadata.version(package) for package in packages}
    return {
        "format_version": FORMAT_VERSION,
        **here,
        "pinned_to": sorted(os.sched_getaffinity(0)),
        "load_average": config.load_average_at_start,
        "benchmarks": [{"name": each.name, **each.extra_info} for each in measured],
    }
