"""Bad inputs of python -m fastwsol.predict: what is asked of it, where it writes, what it is given."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

from conftest import noise_jpeg

from .case import Case, Place
from .run_cases import CHECKPOINT, flip

HERE = ["--device", "cpu", "--threads", "1"]


def photos(place: Place) -> Path:
    """A folder with two good images."""
    folder = place.root / "photos"
    if not folder.exists():
        folder.mkdir()
        for k in range(2):
            (folder / f"{k}.jpg").write_bytes(noise_jpeg(k))
    return folder


def asked(name: str, arguments: list[object], *words: str) -> Case:
    """Flags over good images and a good run."""

    def make(place: Place) -> list[object]:
        out = [] if "--out" in arguments else ["--out", place.out / "boxes.json"]
        place.out.mkdir()
        return [place.shared["run"], photos(place), *out, *HERE, *arguments]

    return Case("flags", name, make, words, command="predict")


def of_backbone(name: str, arguments: list[object], *words: str) -> Case:
    """Flags over good images, without a run."""

    def make(place: Place) -> list[object]:
        place.out.mkdir()
        return [photos(place), "--out", place.out / "boxes.json", *HERE, *arguments]

    return Case("backbone", name, make, words, command="predict")


def given(name: str, spoil: Callable[[Place], object], *words: str, status: int = 2) -> Case:
    """Another thing in the images' place; `spoil` makes it and gives it."""

    def make(place: Place) -> list[object]:
        place.out.mkdir()
        return [place.shared["run"], spoil(place), "--out", place.out / "boxes.json", *HERE]

    return Case("images", name, make, words, status, command="predict")


def on_run(name: str, spoil: Callable[[Path], object], *words: str) -> Case:
    def make(place: Place) -> list[object]:
        folder = place.copy("run")
        spoil(folder)
        place.out.mkdir()
        return [folder, photos(place), "--out", place.out / "boxes.json", *HERE]

    return Case("run", name, make, words, command="predict")


def written(place: Place, name: str, content: bytes) -> Path:
    (place.root / name).write_bytes(content)
    return place.root / name


def zip_of(place: Place, member: str | zipfile.ZipInfo) -> Path:
    path = place.root / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, noise_jpeg(0))
    return path


def link_member() -> zipfile.ZipInfo:
    member = zipfile.ZipInfo("link.jpg")
    member.external_attr = 0o120777 << 16
    return member


def empty_folder(place: Place) -> Path:
    (place.root / "empty").mkdir()
    return place.root / "empty"


def without_names(folder: Path) -> None:
    path = folder / "config.json"
    fields = json.loads(path.read_text())
    del fields["class_names"]
    path.write_text(json.dumps(fields))


CASES = [
    asked(
        "a localizer that the run has not",
        ["--localizer", "mask"],
        "--localizer mask: the run has cam, cam-positive; train it with --localizer mask",
    ),
    asked("directions that were not found yet", ["--localizer", "ddt"], "python -m fastwsol.evaluate finds"),
    asked("a rule that needs boxes", ["--threshold", "auto"], "auto is neither own, otsu nor a number from 0 to 1"),
    asked("no format", ["--out", "boxes.txt"], "--out boxes.txt", "end it in .json, .csv or .jsonl"),
    asked("out below a file", ["--out", "/etc/hosts/boxes.json"], "/etc/hosts is no folder", "name another place"),
    asked("out where a folder is", ["--out", "/tmp", "--format", "coco"], "--out /tmp: exists; nothing was changed"),
    asked("overlays where a folder is", ["--overlays", "/usr"], "--overlays /usr: exists; nothing was changed"),
    asked("an unknown class", ["--class", "unicorn"], "--class unicorn: the run knows no such class; it knows"),
    asked("a class misspelt", ["--class", "alhpa"], "--class alhpa", "perhaps you meant alpha"),
    asked("more classes than there are", ["--top", "9"], "--top 9: must be a whole number of classes, 1 to 4"),
    asked("no class", ["--top", "0"], "--top 0"),
    of_backbone("one that is none", ["--backbone", "resnet19"], "--backbone resnet19", "perhaps you meant resnet"),
    of_backbone("our own", ["--backbone", "preact-resnet-18"], "has no published weights", "or a run's folder"),
    of_backbone(
        "random weights",
        ["--backbone", "resnet18", "--weights", "none"],
        "--weights none: random weights know no class",
    ),
    asked("a size of a run", ["--image-size", "96"], "--image-size: is of --backbone", "leave the flag out"),
    asked("a threshold in percent", ["--threshold", "20"], "--threshold: 20 is neither own, otsu nor a number"),
    asked("a threshold of nothing", ["--threshold", "nan"], "--threshold: nan is neither own"),
    asked("a flag misspelt", ["--overlay", "x"], "perhaps you meant --overlays"),
    asked("an unknown format", ["--format", "tfrecord"], "--format", "coco", "label-studio"),
    asked("half precision on a CPU", ["--precision", "fp16"], "--precision fp16: needs a CUDA device"),
    given("nothing there", lambda place: place.root / "nowhere", "nowhere: no such file or folder"),
    given("an empty folder", empty_folder, "empty: holds no image"),
    given("a zip cut short", lambda place: written(place, "a.zip", b"PK\x03\x04"), "a.zip: not a whole zip archive"),
    given("a zip without images", lambda place: zip_of(place, "readme.md"), "photos.zip: holds no image"),
    given("a zip that leads out", lambda place: zip_of(place, "../x.jpg"), "'../x.jpg' is no path within an archive"),
    given("a link in a zip", lambda place: zip_of(place, link_member()), "'link.jpg' is a symbolic link"),
    on_run("no run", lambda folder: (folder / "config.json").unlink(), "no run here", "config.json"),
    on_run("no folder", shutil.rmtree, "no run here"),
    on_run("no checkpoint yet", lambda folder: shutil.rmtree(folder / "checkpoints"), "has no checkpoint yet"),
    on_run("damaged weights", lambda folder: flip(folder / f"{CHECKPOINT}.safetensors"), "none of its 1 checkpoints"),
    on_run("no class names", without_names, "config.json: damaged"),
]
