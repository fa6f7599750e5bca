"""`scripts/collect_results.py` on runs made by hand."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import collect_results
import numpy as np
import pytest

from fastwsol.config import Config, Statistics
from fastwsol.evaluation.boxes import PROTOCOLS
from fastwsol.evaluation.per_image import ImageRows
from fastwsol.evaluation.report_rows import ReportRows
from fastwsol.evaluation.report_types import REPORT_FORMAT_VERSION
from fastwsol.host.command_line import run_command
from fastwsol.runs.folder import RunDir
from fastwsol.runs.info import RunInfo
from fastwsol.runs.reports import ReportOf

RATES = {"top1_clas": 50.0, **{f"{name}@{t}": 40.0 for name in ("top1_loc", "gt_known_loc") for t in (0.3, 0.5, 0.7)}}


NO_IMAGES = ImageRows([], np.empty(0, np.str_), np.empty((0, 0), np.str_), np.empty(0, np.int64), {})


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


Collect = Callable[..., Done]


@pytest.fixture
def collect(capsys: pytest.CaptureFixture[str]) -> Collect:
    def carried_out(*arguments: object) -> Done:
        status = run_command(collect_results.main, [str(each) for each in arguments])
        return Done(status, *capsys.readouterr())

    return carried_out


def finished_run(folder: Path, config: Config, top1_clas: float, digest: str = "digest") -> Path:
    run = RunDir(folder)
    with run.opened(RunInfo(config, Path("shards"), digest, ("n01",), ("one",), Statistics((0, 0, 0), (1, 1, 1)))):
        run.record_start(0, {"threads": 1})
        rates = {protocol: {**RATES, "top1_clas": top1_clas} for protocol in PROTOCOLS}
        baseline = {
            "kind": "whole-image",
            "name": "whole image",
            "iou_threshold": None,
            "box": [0, 0, 64, 64],
            "rates": dict.fromkeys(PROTOCOLS, RATES),
        }
        report = {
            "format_version": REPORT_FORMAT_VERSION,
            "source": "synthetic",
            "classes": 0,
            "split": config.eval_split,
            "cam_class": "truth",
            "cam_threshold": 0.2,
            "images": 5,
            "images_with_boxes": 5,
            "step": 3,
            "command": "python -m fastwsol.train --shards here --run-dir there",
            "config": config.to_json(),
            "rates": rates,
            "localizers": [],
            "baselines": [baseline],
        }
        run.write_report(report, ReportRows(NO_IMAGES, {}), ReportOf(config.eval_split))
    return folder


def test_runs_that_differ_in_their_seed_alone_are_one_row_with_mean_and_spread(
    tmp_path: Path, collect: Collect
) -> None:
    runs = [
        finished_run(tmp_path / f"run-{k}", Config.of(seed=seed, flip=flip, holdout=5), clas)
        for k, (seed, flip, clas) in enumerate([(0, False, 40.0), (1, False, 50.0), (0, True, 60.0)])
    ]
    done = collect(*runs, "--out", tmp_path / "results.json")
    assert done.returncode == 0, done.stderr
    assert "| strict | --flip False | at .2 | 2 | 45.00 ± 7.07 |" in done.stdout
    assert "| strict | --flip True | at .2 | 1 | 60.00 |" in done.stdout
    written = (tmp_path / "results.json").read_text()
    assert len(json.loads(written)["runs"]) == 3
    assert "--shards SHARDS --run-dir RUN" in written, "no folder of the machine is kept"


def test_runs_that_are_no_seeds_of_one_recipe_are_refused(tmp_path: Path, collect: Collect) -> None:
    one = finished_run(tmp_path / "one", Config.of(seed=0, holdout=5), 40.0)
    copy = shutil.copytree(one, tmp_path / "copy")
    other = finished_run(tmp_path / "other", Config.of(seed=1, holdout=5), 50.0, digest="another")
    for runs, said in (
        ((one, one), f"{one}: is of the setting and seed of {one}"),
        ((one, copy), f"{copy}: is of the setting and seed of {one}; leave one of them out"),
        ((one, other), f"{other}: is of other shards than {one}; collect it alone"),
    ):
        done = collect(*runs, "--out", tmp_path / "results.json")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert said in done.stderr
    (one / "environment.json").write_text('{"starts"')
    done = collect(one, "--out", tmp_path / "results.json")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "environment.json: damaged" in done.stderr


def test_without_a_run_nothing_is_written(tmp_path: Path, collect: Collect) -> None:
    done = collect("--out", tmp_path / "results.json")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no run is named")
    assert not (tmp_path / "results.json").exists()


def test_an_unfinished_run_is_refused(tmp_path: Path, collect: Collect) -> None:
    folder = finished_run(tmp_path / "run", Config(), 40.0)
    (folder / "report.json").unlink()
    done = collect(folder, "--out", tmp_path / "results.json")
    assert done.returncode == 2
    assert "not finished" in done.stderr
    assert not (tmp_path / "results.json").exists()
