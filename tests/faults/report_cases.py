"""Bad inputs of python -m fastwsol.report: no page is written."""

import shutil
from collections.abc import Callable
from pathlib import Path

from .case import Case, Place
from .run_cases import edit


def training(shards: Path, folder: Path) -> list[str]:
    """A training of a few steps, to its end."""
    flags = ["--preset", "demo", "--stem", "C", "--batch-size", "8", "--epochs", "0.1", "--step", "eager"]
    return [*flags, "--data", "dali", "--threads", "1", "--shards", str(shards), "--run-dir", str(folder)]


def asked(name: str, arguments: list[str], *words: str) -> Case:
    def make(place: Place) -> list[object]:
        return [place.shared["finished"], "--out", place.root / "page.html", *arguments]

    return Case("flags", name, make, words, command="report")


def on_runs(name: str, make: Callable[[Place], list[Path]], *words: str) -> Case:
    """The page of the runs that `make` gives."""

    def arguments(place: Place) -> list[object]:
        return [*make(place), "--out", place.root / "page.html"]

    return Case("run", name, arguments, words, command="report")


def spoilt(place: Place, spoil: Callable[[Path], object]) -> list[Path]:
    folder = place.copy("finished")
    spoil(folder)
    return [folder]


def of_other_images(place: Place) -> list[Path]:
    folder = place.copy("finished")
    path = folder / "report-mask.csv"  # what predictions take, and so the page
    path.write_text(path.read_text().replace("/00000", "/10000"))
    return [place.shared["finished"], folder]


def out_that_is_there(place: Place) -> list[object]:
    (place.root / "page.html").write_text("mine")
    return [place.shared["finished"], "--out", place.root / "page.html"]


def out_below_a_file(place: Place) -> list[object]:
    return [place.shared["finished"], "--out", Path(__file__) / "page.html"]


def shards_of_another_set(place: Place) -> list[object]:
    folder = place.copy("shards")
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace("synthetic", "another"))
    return [place.shared["finished"], "--shards", folder, "--out", place.root / "page.html"]


CASES = [
    asked("more images than may be", ["--gallery", "601"], "--gallery 601: must lie in 0 .. 600"),
    asked("fewer images than none", ["--gallery", "-1"], "--gallery -1: must lie in 0 .. 600"),
    asked("a localizer that is none", ["--localizers", "masks"], "masks"),
    asked("a flag misspelt", ["--galery", "3"], "perhaps you meant --gallery"),
    asked("half precision on a CPU", ["--precision", "fp16"], "--precision fp16: needs a CUDA device"),
    asked("no shards", ["--shards", "nowhere"], "nowhere: no packed data set"),
    on_runs("one named twice", lambda place: [place.shared["finished"]] * 2, "finished: is named twice"),
    on_runs(
        "no environment",
        lambda place: spoilt(place, lambda run: (run / "environment.json").unlink()),
        "environment.json or metrics.jsonl is missing or damaged",
    ),
    on_runs(
        "metrics cut in the middle",
        lambda place: spoilt(place, lambda run: (run / "metrics.jsonl").write_text('{"kind": \n')),
        "metrics.jsonl line 1: is damaged; restore the file from a copy",
    ),
    on_runs(
        "a report of another step",
        lambda place: spoilt(place, lambda run: edit(run / "report.json", lambda fields: fields.update(step=5))),
        "the report of step 5; restore the checkpoint",
    ),
    on_runs("none named", lambda place: [], "no run is named"),
    on_runs("no folder", lambda place: [place.root / "nowhere"], "nowhere: no run here"),
    on_runs("an unfinished one", lambda place: [place.shared["run"]], "not finished; let it train to its end first"),
    on_runs("no configuration", lambda place: spoilt(place, lambda run: (run / "config.json").unlink()), "no run here"),
    on_runs(
        "no checkpoint",
        lambda place: spoilt(place, lambda run: shutil.rmtree(run / "checkpoints")),
        "has no checkpoint yet",
    ),
    on_runs(
        "a report cut short",
        lambda place: spoilt(place, lambda run: (run / "report.json").write_text("{")),
        "report.json: is not a report of this version; make it again with",
    ),
    on_runs(
        "a table of images cut short",
        lambda place: spoilt(place, lambda run: (run / "report-mask.csv").write_text("image,label\nx")),
        "report-mask.csv",
    ),
    on_runs("one of other images", of_other_images, "was evaluated on other images than", "report on it alone"),
    Case(
        "out", "a file that is there", out_that_is_there, ("page.html: exists; nothing was changed",), command="report"
    ),
    Case("out", "below a file", out_below_a_file, ("is no folder; name another place",), command="report"),
    Case(
        "shards",
        "another set",
        shards_of_another_set,
        ("has no report on the boxes of", "where these are the same images"),
        command="report",
    ),
]
