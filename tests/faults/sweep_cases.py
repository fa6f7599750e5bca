"""Bad inputs of python -m fastwsol.sweep: all end before the first training begins."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fastwsol.dataset.first_classes import folder_of_first_classes
from fastwsol.dataset.shards import open_shards
from fastwsol.runs.folder import RunDir
from fastwsol.train import run_info
from fastwsol.training.presets import demo

from .case import Case, Place

TABLE = ["table1", "--preset", "demo", "--depth", "18"]


def asked(name: str, arguments: list[str], *words: str) -> Case:
    def make(place: Place) -> list[object]:
        return [*arguments, "--shards", place.shared["shards"], "--runs", place.out]

    return Case("flags", name, make, words, command="sweep")


def written(name: str, text: str, *words: str) -> Case:
    """A settings file that holds `text`."""

    def make(place: Place) -> list[object]:
        file = place.root / "settings.toml"
        file.write_text(text, newline="")
        return [file, "--depth", "18", "--shards", place.shared["shards"], "--runs", place.out]

    return Case("settings", name, make, ("settings.toml", *words), command="sweep")


def placed(name: str, make: Callable[[Place], list[object]], *words: str) -> Case:
    return Case("folders", name, make, words, command="sweep")


def on_no_shards(place: Place) -> list[object]:
    return [*TABLE, "--shards", place.root / "nowhere", "--runs", place.out]


def out_below_a_file(place: Place) -> list[object]:
    return [*TABLE, "--shards", place.shared["shards"], "--runs", place.out, "--out", Path(__file__) / "x.json"]


def out_is_a_folder(place: Place) -> list[object]:
    return [*TABLE, "--shards", place.shared["shards"], "--runs", place.out, "--out", place.root]


def runs_of_other_shards(place: Place) -> list[object]:
    setting = demo().config.changed(aug="none")
    info = run_info(setting, open_shards(place.shared["shards"]))
    with RunDir(place.root / "runs" / setting.name()).opened(replace(info, shards_digest="0" * 64)):
        pass
    return [*TABLE, "--shards", place.shared["shards"], "--runs", place.root / "runs"]


def other_first_classes(place: Place) -> list[object]:
    whole = place.copy("shards")
    whole.rename(folder_of_first_classes(whole, 2))
    return [*TABLE, "--classes", "2", "--shards", place.copy("shards"), "--runs", place.root / "runs"]


def binary_settings(place: Place) -> list[object]:
    file: Path = place.root / "settings.toml"
    file.write_bytes(b"\xff\xfe\x00[grid]")
    return [file, "--shards", place.shared["shards"], "--runs", place.out]


CASES = [
    asked("nothing named", [], "nothing is named to train; name table1, table2 or a TOML file"),
    asked("a table misspelt", ["tabel1"], "tabel1: cannot be read", "table1 and table2"),
    asked("no seeds", [*TABLE, "--seeds", "0"], "--seeds 0: must be at least 1"),
    asked("no jobs", [*TABLE, "--jobs", "0"], "--jobs 0: must be at least 1"),
    asked("no classes", [*TABLE, "--classes", "0"], "--classes 0", "choose 1 to 4"),
    asked("more classes than there are", [*TABLE, "--classes", "9"], "--classes 9", "choose 1 to 4"),
    asked("a flag misspelt", [*TABLE, "--job", "3"], "--job", "perhaps you meant --jobs"),
    asked("a flag of train alone", [*TABLE, "--run-dir", "x"], "--run-dir"),
    asked("an unknown aug", ["table1", "--aug", "rg"], "--aug", "gr-hns"),
    asked("a rate of nothing", [*TABLE, "--lr", "nan"], "--lr nan: must be greater than 0"),
    asked("jobs with Ray", [*TABLE, "--ray", "local", "--jobs", "2"], "--jobs 2: with --ray"),
    asked("a claim of nothing", [*TABLE, "--cpus-per-run", "0"], "--cpus-per-run 0: a run has to claim something"),
    asked("a claim below nothing", [*TABLE, "--gpus-per-run", "-1"], "--gpus-per-run -1.0: must be at least 0"),
    written("a key outside a table", "aug = ['gr']", "aug: belongs below [grid] or [[settings]]"),
    written("no TOML", "[grid", "not TOML"),
    written("nothing", "", "nothing to train"),
    written("an unknown flag", "[grid]\nagu = ['gr']", "agu: no setting"),
    written("a seed", "[grid]\nseed = [1, 2]", "seed: no setting; use --seeds"),
    written("a value and no list", "[grid]\naug = 'gr'", "[grid] aug: must be a list of values"),
    written("an empty list", "[grid]\naug = []", "[grid] aug: must be a list of values"),
    written("an unknown value", "[grid]\naug = ['gr', 'rg']", "--aug rg: choose from none, hns"),
    written("a word for a number", "[grid]\nlr = ['high']", "--lr high: must be of type float"),
    written("a list in a list", "[grid]\nlr = [[1]]", "--lr [1]: must be of type float"),
    written("what a flag says too", "[grid]\ndepth = [18]", "--depth:", "leave one of the two out"),
    written("settings that are none", "settings = 3", "write [grid] once"),
    placed("a settings file of bytes", binary_settings, "settings.toml: not TOML"),
    placed("no shards", on_no_shards, "nowhere: no packed data set"),
    placed("out below a file", out_below_a_file, "is no folder; name another place"),
    placed("out is a folder", out_is_a_folder, "is a folder; name a file in it"),
    placed("runs of other shards", runs_of_other_shards, "was trained on other shards than"),
    placed("other shards where the first classes go", other_first_classes, "--classes 2", "holds another data set"),
]
