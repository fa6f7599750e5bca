"""The queue for a GPU, as far as a CPU can try it: what is done stays done, and what is missing is told."""

import itertools
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import gpu_day
import pytest
from acceptance import commands
from day import results
from day.items import ITEMS, Item
from day.stopwatch import Stopwatch

from fastwsol import train
from fastwsol.config import flag
from fastwsol.host.command_line import run_command

RECORDED = Path(__file__).parents[1] / "bench" / "results" / "h200" / "gpu-day.json"


def run(*arguments: str) -> int:
    return run_command(gpu_day.main, list(arguments))


def trainings_in(out: Path) -> dict:
    return json.loads((out / "gpu-day.json").read_text())["trainings"]


@pytest.mark.usefixtures("narrow_children")
def test_what_is_finished_is_kept_and_not_done_again(synthetic_shards, tmp_path, capsys):
    asked = ("--shards", str(synthetic_shards), "--runs", str(tmp_path / "runs"), "--dry-run", "--only", "masks")
    assert run("--out", str(tmp_path / "first"), *asked) == 0
    said = capsys.readouterr().out
    assert "| seeds | 1 |" in said
    found = trainings_in(tmp_path / "first")["gr-0"]
    assert found["item"] == "masks"
    assert found["seconds"] > 0
    assert {each["name"] for each in found["report"]["localizers"]} >= {"cam", "mask"}
    assert {row["kind"] for row in found["metrics"]} >= {"train", "head", "eval"}
    assert str(tmp_path) not in json.dumps(found)

    (tmp_path / "runs" / "gr-0" / "report.json").unlink()  # it would be trained again, were it not known as done
    again = gpu_day.Day(
        gpu_day.Flags(tmp_path / "first", dry_run=True, only=("masks",)), synthetic_shards, tmp_path / "runs"
    )
    assert again.finished == trainings_in(tmp_path / "first")


def test_what_was_recorded_is_what_the_queue_asks_for_now(tmp_path, capsys):
    day = gpu_day.Day(gpu_day.Flags(tmp_path, minutes=0, done=RECORDED), Path("shards"), tmp_path / "runs")
    before = set(day.finished)
    for item in ITEMS:
        day.take(item)
    timed = {training.name for training in item_of("record").trainings} & before
    lines = [line for line in capsys.readouterr().out.splitlines() if "not taken" in line]
    assert [line.partition(":")[0] for line in lines] == sorted(timed)
    assert all("timed with another version of the program" in line for line in lines)
    assert before - timed == day.finished.keys()
    names = {training.name for item in ITEMS for training in item.trainings}
    assert len(names & before) == 19


def test_before_what_is_timed_a_short_training_counts_nowhere(synthetic_shards, tmp_path, capsys, full):
    if not full:
        pytest.skip("trains twice, for what is timed on a GPU alone; add --full")
    asked = ("--shards", str(synthetic_shards), "--runs", str(tmp_path / "runs"), "--dry-run", "--only", "record")
    assert run("--out", str(tmp_path / "out"), *asked) == 0
    said = capsys.readouterr().out
    commands_run = [line for line in said.splitlines() if "fastwsol.train" in line]
    assert len(commands_run) == 2
    assert "--epochs 0.02" in commands_run[0]
    assert said.index("a short training first") < said.index(commands_run[0])
    found = trainings_in(tmp_path / "out")
    assert [*found] == ["brief-gr-0"]
    assert found["brief-gr-0"]["processes"] == 1
    assert sorted(path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()) == ["brief-gr-0"]
    found["brief-gr-0"]["processes"] = 2
    assert results.record_lines(found) == ["brief-gr: 1 stopped in between, and not counted"]


@pytest.mark.usefixtures("narrow_children")
def test_the_weights_of_a_network_that_is_wanted_come_back(synthetic_shards, tmp_path):
    asked = ("--shards", str(synthetic_shards), "--dry-run", "--only", "strong")
    assert run("--out", str(tmp_path), *asked) == 0
    assert [each.name for each in item_of("strong").trainings if each.keep_weights] == ["strong34-0"]
    pieces = [path for path in tmp_path.iterdir() if path.suffix == ".safetensors"]
    assert pieces
    assert all(path.name.startswith("strong34-0-weights-") and path.stat().st_size < 2**24 for path in pieces)


def test_photographs_of_many_sizes_need_dali(synthetic_shards, tmp_path, monkeypatch, capsys):
    of_one_size = gpu_day.why_no_photos(synthetic_shards)
    monkeypatch.setattr(gpu_day, "has_dali", lambda: False)
    assert of_one_size is gpu_day.why_no_photos(synthetic_shards) is None
    monkeypatch.setattr(gpu_day, "of_one_size", lambda split: False)
    flags = gpu_day.Flags(tmp_path / "out", dry_run=True, photos=synthetic_shards)
    day = gpu_day.Day(flags, synthetic_shards, tmp_path / "runs")
    day.take(item_of("photos"))
    assert (
        "photos: left out; they have many sizes, which DALI decodes, and it is not installed" in capsys.readouterr().out
    )
    assert len(day.left) == 1


@pytest.mark.usefixtures("narrow_children")
def test_another_training_of_the_same_name_is_not_taken_for_it(synthetic_shards, tmp_path, capsys):
    """Neither from a file, which keeps it, nor from a folder: here one of a dry run."""
    (masks,) = (item for item in ITEMS if item.name == "masks")
    dry = gpu_day.Flags(tmp_path / "out", shards=synthetic_shards, dry_run=True, done=RECORDED)
    day = gpu_day.Day(dry, synthetic_shards, tmp_path / "runs")
    recorded = day.others["gr-0"]
    assert "gr-0" not in day.finished, "whichever items are taken"
    assert "gr-0: finished is another one of this name (--" in capsys.readouterr().out
    day._write()
    assert trainings_in(tmp_path / "out")["gr-0"] == recorded
    day.take(masks)
    assert not day.failed
    assert trainings_in(tmp_path / "out")["gr-0"] == day.finished["gr-0"] != recorded
    real = gpu_day.Day(gpu_day.Flags(tmp_path / "real"), synthetic_shards, tmp_path / "runs")
    real._train(masks, masks.trainings[0])
    assert real.failed == ["gr-0"]
    assert f"{tmp_path / 'runs' / 'gr-0'} holds another run (--" in capsys.readouterr().out


def test_its_trainings_stop_with_it(synthetic_shards, tmp_path):
    script = Path(gpu_day.__file__)
    asked = ("--out", tmp_path / "out", "--shards", synthetic_shards, "--runs", tmp_path / "runs", "--only", "masks")
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    queue = subprocess.Popen(
        [sys.executable, script, "--dry-run", *asked],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert next(line for line in queue.stdout if line.startswith("  $ python -m fastwsol.train"))
    queue.terminate()
    said, told = queue.communicate(timeout=60)
    assert queue.returncode == 75, told
    assert "gr-0: stopped, to be gone on with" in said
    assert "the same command goes on" in told
    kept = json.loads((tmp_path / "runs" / "gr-0.seconds").read_text())
    assert kept["begun"] is None
    assert kept["seconds"] > 0


def test_a_process_that_says_nothing_is_killed_in_time_and_known_as_stopped(tmp_path, monkeypatch):
    (tmp_path / "silent.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    ended = commands.run_module("silent", [], 0.0, stop_in_time=True, grace=0.5)
    assert (ended.status, ended.was_asked) == (-signal.SIGKILL, True)


def test_a_process_that_has_gone_silent_is_asked_to_stop_in_time(tmp_path, monkeypatch):
    """As one that compiles; and not killed, since it can save its state."""
    (tmp_path / "compiles.py").write_text("import time\nprint('begun', flush=True)\ntime.sleep(60)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    ended = commands.run_module("compiles", [], 2.0, stop_in_time=True)
    assert (ended.status, ended.was_asked, ended.tail) == (-signal.SIGTERM, True, ["begun"])


def day_of(tmp_path, **flags) -> gpu_day.Day:
    return gpu_day.Day(gpu_day.Flags(tmp_path / "out", **flags), Path("shards"), tmp_path / "runs")


def item_of(name: str) -> Item:
    return next(item for item in ITEMS if item.name == name)


@pytest.mark.parametrize(
    ("name", "flags", "said"),
    [
        ("strong", {"loan_minutes": 9}, "would take some 600 s, and the machine goes back in 5"),
        ("record", {"minutes": 1.2}, "is timed, and would not be finished in this call"),
        ("strong", {"minutes": 0.4}, ""),
    ],
)
def test_no_training_is_begun_that_the_time_left_would_waste(tmp_path, capsys, name, flags, said):
    day = day_of(tmp_path, **flags)
    day.take(item_of(name))
    assert sorted(day.left) == sorted(each.name for each in item_of(name).trainings)
    told = capsys.readouterr().out
    assert said in told if said else told == ""
    assert not day.failed


def test_a_training_that_was_begun_needs_less_of_the_time_left(tmp_path):
    day, strong = day_of(tmp_path, loan_minutes=9), item_of("strong")
    watch = Stopwatch(tmp_path / "runs" / "strong34-0")
    assert "600 s" in day._why_not(strong, strong.trainings[0], watch)
    (tmp_path / "runs" / "strong34-0.seconds").write_text(json.dumps({"seconds": 400.0, "begun": None}))
    assert day._why_not(strong, strong.trainings[0], watch) is None


def test_what_failed_is_not_tried_again_in_the_next_call_nor_are_its_other_seeds(tmp_path, capsys):
    strong = item_of("strong")
    day_of(tmp_path)._fail(strong.trainings[0], "a card that cannot")
    again = day_of(tmp_path)
    again.take(strong)
    assert (sorted(again.failed), again.left) == ([each.name for each in strong.trainings], [])
    assert capsys.readouterr().out.count("left out, as strong34-0 failed; --again tries it") == 3
    assert day_of(tmp_path, again=True)._failed_before(strong.trainings[0]) is None
    other = day_of(tmp_path)
    other._failures["strong34-0"]["source"] = "another program"
    assert other._failed_before(strong.trainings[0]) is None


def test_a_timed_run_that_was_stopped_in_between_is_not_counted():
    finished = {name: each for name, each in results.finished_in(RECORDED).items() if name.startswith("brief-gr")}
    finished["brief-gr-1"] = finished["brief-gr-1"] | {"starts": [{"step": 0}, {"step": 900}]}
    said = results.record_lines(finished)
    assert said[0] == "brief-gr: 1 stopped in between, and not counted"
    assert said[1].startswith("brief-gr: ")
    assert said[1].endswith(" over 2 runs")


def test_seconds_are_added_up_even_of_a_process_whose_end_was_not_seen(tmp_path):
    times = iter([100.0, 130.0, 200.0, 260.0])
    watch = Stopwatch(tmp_path / "run", lambda: next(times))
    for _ in range(2):
        with watch.running():
            pass
    assert watch.seconds == 90
    (tmp_path / "run").mkdir()
    row = tmp_path / "run" / "metrics.jsonl"
    row.write_text("")
    (tmp_path / "run.seconds").write_text(json.dumps({"seconds": 90, "begun": row.stat().st_mtime - 40}))
    assert Stopwatch(tmp_path / "run").seconds == pytest.approx(130)


def test_time_that_is_over_leaves_everything_and_says_so(synthetic_shards, tmp_path, capsys):
    asked = ("--shards", str(synthetic_shards), "--dry-run", "--only", "record", "--minutes", "0")
    assert run("--out", str(tmp_path), *asked) == 3
    assert "left: brief-gr-0" in capsys.readouterr().out
    assert trainings_in(tmp_path) == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--only", "recrod"), "--only recrod: choose from recipe, masks, record, augs, strong, orders, photos"),
        (("--beside", "0"), "--beside 0: must be at least 1"),
        (("--done", "pyproject.toml"), "pyproject.toml: is no gpu-day.json of this version"),
        (("--shards", "nowhere"), "nowhere: no packed data set"),
    ],
)
def test_a_mistake_in_what_is_asked_is_told(tmp_path, capsys, arguments, message):
    assert run("--out", str(tmp_path), "--dry-run", "--minutes", "0", *arguments) == 2
    assert message in capsys.readouterr().err


def test_names_of_trainings_are_their_own():
    names = [training.name for item in ITEMS for training in item.trainings]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "training", [each for item in ITEMS for each in item.trainings], ids=lambda training: training.name
)
def test_a_training_is_what_its_flags_say(training):
    """Of a flag that is given twice, which a setting does to its base, the last is meant."""
    flags = train.read_flags([*shlex.split(training.flags), "--shards", "shards", "--run-dir", "run"])
    asked = shlex.split(training.flags)
    values = {word: value for word, value in itertools.pairwise(asked) if word.startswith("--")}
    config = {flag(name): value for name, value in flags.config.flat().items()}
    compared = values.keys() & config.keys()
    assert {"--seed"} <= compared
    for name in compared:
        assert config[name] == type(config[name])(values[name]), name
    others = {"--preset", "--step", "--eval-epochs", "--log-steps", "--flip"}
    assert values.keys() - compared <= others
    assert training.name.endswith(f"-{flags.config.seed}")


def test_the_tables_of_the_recorded_day_say_what_the_results_say():
    finished = results.finished_in(RECORDED)
    masks = {name: each for name, each in finished.items() if each["item"] == "masks"}
    table = results.table_over_seeds(masks)
    assert "| cam-positive GT .5 | 62.54 ± 0.31 |" in table
    assert "| mask GT .5 | 59.17 ± 0.45 |" in table
    said = results.record_lines(finished)
    assert said[0] == "record: 68.82 ± 1.51 s over 5 runs"
    assert "  cam-positive Loc .5 37.68 ± 0.16: 1 of 5 at or above 37.84" in said
    assert "brief-gr: 71.47 ± 2.41 s over 3 runs" in said
    assert "  paper2018 Loc .5 38.92 ± 0.26: 3 of 3 at or above 37.84" in said
    judged = results.claims_judged(finished)
    assert judged[0] == "claim 1: gr over hns: +8.80 ± 0.76, holds"
    assert judged[1] == "claim 1: hns over none: -1.51 ± 0.83, fails"


def test_claims_are_judged_over_the_trainings_that_there_are():
    finished = {name: each for name, each in results.finished_in(RECORDED).items() if each["item"] == "masks"}
    for name in tuple(finished):
        other = json.loads(json.dumps(finished[name]))
        other["item"] = "augs"
        other["report"]["config"]["views"]["aug"] = "none"
        other["report"]["rates"]["paper2018"]["top1_loc@0.5"] -= 4
        finished[name.replace("gr", "none")] = other
    said = results.claims_judged(finished)
    assert said[0].startswith("claim 1: gr over none: +4.00 ±")
    assert said[0].endswith("holds")
