"""`scripts/compare_bench.py` on result files made by hand."""

import copy
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from fastwsol.host.command_line import run_command

SCRIPT = Path(__file__).parent.parent / "scripts" / "compare_bench.py"


def load_script():
    spec = importlib.util.spec_from_file_location("compare_bench", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


compare_bench = load_script()

OLD = {
    "format_version": 1,
    "command": "pytest bench --benchmark-only --results FILE",
    "versions": {"python": "3.11.7", "torch": "2.13.0"},
    "git": "a" * 40,
    "machine": {"processor": "AMD EPYC", "cores": 2},
    "load_average": [0.1, 0.2, 0.3],
    "benchmarks": [
        {
            "name": "test_pipeline[gr-bilinear]",
            "cores": 2,
            "data": "a set",
            "parameters": {"batch_size": 256},
            "ratios": [
                {"ours": "ours", "other": "dataloader", "ratio": 3.0, "low": 2.8, "high": 3.2},
                {"ours": "ours", "other": "threads", "ratio": 1.2, "low": 1.1, "high": 1.3},
            ],
        }
    ],
}


@pytest.fixture
def compare(tmp_path, capsys):
    """Write both files, run the script on them; its exit status and what it printed."""

    def run(new, old=OLD, arguments=()):
        paths = [tmp_path / "old.json", tmp_path / "new.json"]
        for path, results in zip(paths, (old, new), strict=True):
            path.write_text(results if isinstance(results, str) else json.dumps(results))
        status = run_command(compare_bench.main, [*map(str, paths), *arguments])
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return run


def with_ratio(ratio, low, high):
    """The old results, the first ratio replaced."""
    results = copy.deepcopy(OLD)
    results["benchmarks"][0]["ratios"][0] |= {"ratio": ratio, "low": low, "high": high}
    return results


def row_of(printed, other):
    (row,) = [line for line in printed.splitlines() if f" {other} " in line and "gr-bilinear" in line]
    return row


def test_equal_files_hold_nothing_worse_and_no_warning(compare):
    status, printed = compare(OLD)
    assert status == 0
    assert "0 worse, 0 better, 2 within" in printed
    assert "warning" not in printed
    assert "test_pipeline[gr-bilinear]" in printed, "brackets are no markup"


@pytest.mark.parametrize(
    ("ratio", "word", "status"),
    [
        ((2.5, 2.4, 2.7), "worse", 1),
        ((2.5, 2.4, 2.9), "same", 0),  # the intervals overlap
        ((3.5, 3.3, 3.7), "better", 0),
        ((3.5, 3.1, 3.7), "same", 0),
    ],
)
def test_a_ratio_moved_when_its_intervals_lie_apart(compare, ratio, word, status):
    found, printed = compare(with_ratio(*ratio))
    assert found == status
    assert word in row_of(printed, "dataloader")
    assert "same" in row_of(printed, "threads")


def test_a_move_within_the_slack_is_none_however_narrow_the_intervals(compare):
    old, new = with_ratio(3.0, 2.99, 3.01), with_ratio(2.9, 2.89, 2.91)
    assert compare(new, old)[0] == 0
    assert compare(new, old, ["--slack", "2"])[0] == 1
    assert "worse" in row_of(compare(new, old, ["--slack", "0"])[1], "dataloader")


def test_benchmarks_that_only_one_file_has_are_named(compare):
    new = copy.deepcopy(OLD)
    new["benchmarks"][0]["ratios"][1]["other"] = "processes"
    status, printed = compare(new)
    assert status == 0
    assert "vanished: test_pipeline[gr-bilinear], over threads" in printed
    assert "appeared: test_pipeline[gr-bilinear], over processes" in printed


def test_what_makes_files_hard_to_compare_is_warned_of(compare):
    new = copy.deepcopy(OLD)
    new["machine"]["cores"] = 64
    new["versions"]["torch"] = "2.14.0"
    new["load_average"][0] = 7.2
    new["benchmarks"][0]["data"] = "another set"
    status, printed = compare(new)
    assert status == 0
    for warning in ("cores 2 -> 64", "torch 2.13.0 -> 2.14.0", "busy before the new run", "a set -> another set"):
        assert warning in printed


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        ("{", "is not JSON"),
        ("[]", "no result file"),
        ({**OLD, "format_version": 7}, "found 7"),
        ({**OLD, "benchmarks": [{"name": "x"}]}, "damaged"),
        ({**OLD, "machine": "a computer"}, "damaged"),
        (with_ratio(3.0, 3.5, 2.5), "damaged"),
        ({**OLD, "benchmarks": []}, "no benchmark in common"),
    ],
)
def test_a_file_that_is_no_result_file_is_one_line_and_status_2(compare, bad, complaint):
    status, printed = compare(bad)
    assert status == 2
    assert printed.startswith("error: ")
    assert complaint in printed
    assert printed.count("\n") == 1


def test_a_missing_file_is_named(tmp_path):
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path / "none.json", tmp_path / "none.json"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path / 'none.json'}: cannot be read")
    assert done.stderr.count("\n") == 1


def test_the_result_file_of_this_project_can_be_compared():
    shipped = str(Path(__file__).parent.parent / "bench" / "results" / "cpu-2-cores.json")
    assert run_command(compare_bench.main, [shipped, shipped]) == 0
