"""The commands of README and docs are run small: with fewer steps, on sets and runs that are drawn; sweeps are listed.

Those of results are of older commits and are left out; so are a few others, which are named below.
"""

import importlib
import io
import json
import re
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import conftest
import numpy as np
import pytest
from conftest import noise_jpeg
from layouts import accept_all, draw_benchmark, draw_benchmark_with_masks, draw_birds
from pages import COMMANDS, PAGES, ROOT, WITH_COMMANDS, code_of, ours
from PIL import Image, ImageDraw

from fastwsol import train
from fastwsol.host.command_line import run_command
from fastwsol.network import preact_resnet

CLASSES = {"goldfish": "orange", "tabby": "grey"}
OTHER_PLACES = {
    "/local/shards": "data/shards",
    "/shared/run": "new-run",
    "RUNS": "A",
    "DIR": "NEW_PHOTOS",
}
"""What cannot lie where a command says, or stands for several."""
FEWER = {"--classes": "2", "--holdout": "2", "--image-size": "96"}
"""In place of what a command says: the sets are small, and so are their images."""
STEPS = {
    "--epochs": "0.5",
    "--batch-size": "4",
    "--log-steps": "1",
    "--step": "eager",
    "--threads": "1",
}
HEAD_STEPS = {"--head-steps": "2", "--head-batch-size": "4"}
LEFT_OUT = {
    "python scripts/pack.py": "downloads Tiny ImageNet: test_download, and with --real-data test_tiny_imagenet",
    "python -m fastwsol.train --localizer mask ...": "stands for more flags: test_mask_runs",
    "python -m fastwsol.evaluate --maps FOLDER --boxes boxes.csv [--train-boxes train.csv] [--out NEW_FOLDER]": (
        "has flags that may be left out: test_score_map_files"
    ),
    "python -m fastwsol.train --backbone convnext_pico ...": "downloads weights: test_photos takes those of a package",
    "python -m fastwsol.report RUN... --out page.html": "stands for several runs: test_report",
    "python scripts/onnx_boxes.py model.onnx IMAGES": "test_export",
    "python scripts/compare_bench.py old.json new.json": "test_compare_bench",
    "python scripts/collect_results.py RUNS --out FILE": "test_collect_results",
    "pytest bench --benchmark-only": "make check-bench runs their checks",
    "pytest bench --benchmark-only --results new.json": "make check-bench runs their checks",
}
"""Commands that are not run here, and where what they do is tested."""
LIKE_ANOTHER = {
    "export RUN --onnx FILE": "export RUN --onnx model.onnx --torch model.pt2",
    "train --preset fast --stem A --depth 18 --aug gr": "train --preset fast --aug gr --depth 18",
    "train --run-dir data/runs/photos": "test_first_boxes, which goes on with what it writes",
}
"""Commands that would be run twice, and where they are run."""
UNIQUE = [
    each for each in dict.fromkeys(tuple(command) for _, command in COMMANDS) if " ".join(each) not in LIKE_ANOTHER
]


def run(name: str, *arguments: str) -> int:
    return run_command(importlib.import_module(f"fastwsol.{name}").main, arguments)


def small(name: str, arguments: Sequence[str]) -> list[str]:
    """A command's arguments, for little work. A sweep, which would start dozens of trainings, lists them."""
    words = [OTHER_PLACES.get(word, word) for word in arguments]
    words = [each for word in words for each in (sorted(map(str, Path().glob(word))) if "*" in word else [word])]
    for flag, value in FEWER.items():
        if flag in words:
            words[words.index(flag) + 1] = value
    if name == "train":
        trains_mask = train.read_flags(words).config.localizer.trains_mask
        steps = STEPS | HEAD_STEPS if trains_mask else STEPS
        words += [word for flag, value in steps.items() if flag not in words for word in (flag, value)]
    if name == "sweep" and "--list" not in words:
        words.append("--list")
    if "--out" in words and words[(place := words.index("--out") + 1)] == "FILE":
        words[place] = "new.csv"
    if "--onnx" in words and words[(place := words.index("--onnx") + 1)] == "FILE":
        words[place] = "new.onnx"
    return words


def photograph(name: str, k: int) -> Image.Image:
    """An ellipse of the class's colour on noise."""
    image = Image.open(io.BytesIO(noise_jpeg(k, size=(80, 60))))
    ImageDraw.Draw(image).ellipse(box_of(k), CLASSES[name])
    return image


def box_of(k: int) -> tuple[int, int, int, int]:
    return 10 + k, 8, 50 + k, 44


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which all lies that the commands name."""
    root = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        draw_sets(root)
        make_runs(root)
        yield root


def draw_sets(root: Path) -> None:
    lines = ["name,x0,y0,x1,y1"]
    for name in CLASSES:
        for folder, count in (("photos", 10), ("NEW_PHOTOS", 4)):
            (root / folder / name).mkdir(parents=True)
            for k in range(count):
                photograph(name, k + 20 * (folder == "NEW_PHOTOS")).save(root / folder / name / f"{k}.png")
        (root / "masks" / name).mkdir(parents=True)
        for k in range(10):
            x0, y0, x1, y1 = box_of(k)
            lines.append(f"{name}/{k}.png,{x0},{y0},{x1 + 1},{y1 + 1}")
            mask = Image.new("L", (80, 60))
            ImageDraw.Draw(mask).ellipse(box_of(k), 255)
            mask.save(root / "masks" / name / f"{k}.png")
    (root / "boxes.csv").write_text("\n".join(lines))
    shutil.copytree(root / "NEW_PHOTOS", root / "PHOTOS")
    (root / "linked").mkdir()
    for name in CLASSES:
        (root / "linked" / name).symlink_to(root / "photos" / name)
    photograph("tabby", 3).save(root / "cat.jpg")
    for file in ("photos.zip", "more.zip"):
        with zipfile.ZipFile(root / file, "w") as archive:
            for path in (root / "photos").rglob("*.png"):
                archive.write(path, path.relative_to(root / "photos"))
    draw_birds(root / "CUB_200_2011")
    for name in ("ILSVRC", "OpenImages"):
        if name == "ILSVRC":
            draw_benchmark(root / name)
        else:
            draw_benchmark_with_masks(root / name, root / "benchmark-masks")
        shutil.move(root / name / "metadata", root / "metadata" / name)
    (root / "settings.toml").write_text('[grid]\naug = ["none", "gr"]\n')
    (root / "weights").symlink_to(ROOT / "weights")


def make_runs(root: Path) -> None:
    """What earlier commands leave: packed sets, runs, predictions and their review."""
    of_photos = ["--layout", "imagefolder", "--source", "photos/"]
    assert run("pack", *of_photos, "--boxes", "boxes.csv", "--out", "data/shards") == 0
    for name, flags in {"A": "--seed 0", "B": "--seed 1", "RUN": "--holdout 3"}.items():
        demo = f"--preset demo --stem C --aug gr --lr 0.01 {flags} --run-dir {name}"
        assert run("train", *small("train", demo.split())) == 0
        shutil.copytree(root / name, root / "data" / "runs" / name)
    for recipe in "AB":
        for seed, name in enumerate("AB"):
            shutil.copytree(root / name, root / "data" / "runs" / f"{recipe}-seed{seed}")
    for name in ("NAME", "photos"):
        shutil.copytree(root / "A", root / "data" / "runs" / name)
    for path in sorted((root / "A" / "checkpoints").iterdir()):
        shutil.copy(path, root / "data/runs/NAME/checkpoints" / f"step-000100000{path.suffix}")
    assert run("predict", "RUN", "NEW_PHOTOS", "--signals", "--out", "boxes.json") == 0
    make_right(root / "boxes.json")
    accept_all(root / "boxes.json", root / "reviewed.json")
    reviewed = ["--layout", "coco", "--source", "NEW_PHOTOS", "--boxes", "reviewed.json", "--val-fraction", "0.25"]
    assert run("pack", *reviewed, "--out", "data/reviewed") == 0
    as_folders = ["--format", "class-folders", "--images", "NEW_PHOTOS", "--out", "more"]
    assert run("convert", "reviewed.json", *as_folders) == 0
    second = ["--boxes", "more/boxes.csv", "--val-of", "data/shards", "--out", "data/second"]
    assert run("pack", *of_photos, *second) == 0
    (root / "VOCdevkit").mkdir()
    for form, folder in {"coco": "COCO", "voc": "VOCdevkit/VOC2012", "yolo": "YOLO"}.items():
        assert run("convert", "data/shards", "--format", form, "--out", folder) == 0
    shutil.copytree(root / "COCO", root / "coco")
    assert run("evaluate", "RUN") == 0  # its own report is of the holdout
    assert run("evaluate", "A", "--export-maps", "maps") == 0
    shutil.copy(root / "maps" / "boxes.csv", root / "FILE")
    names = dict.fromkeys(line.split(",")[0] for line in (root / "FILE").read_text().splitlines()[1:])
    for name, each in zip(names, np.load(root / "maps" / "maps.npy"), strict=True):
        path = root / "FOLDER" / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, each)


def make_right(predictions: Path) -> None:
    """Give each image the class of its folder, which a network after two steps does not find."""
    content = json.loads(predictions.read_text())
    ids = {each["name"]: each["id"] for each in content["categories"]}
    of_images = {each["id"]: ids[Path(each["file_name"]).parent.name] for each in content["images"]}
    for each in content["images"]:
        each["category_id"] = of_images[each["id"]]
    for each in content["annotations"]:
        each["category_id"] = of_images[each["image_id"]]
    predictions.write_text(json.dumps(content))


WRITTEN = {"pack": "data/shards", "train": "data/runs/photos"}
"""What a command writes where it is not told where, or where the world has something already."""


@pytest.mark.parametrize("command", UNIQUE, ids=" ".join)
def test_a_command_does_what_it_is_there_for(
    command: tuple[str, ...], world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    name, *arguments = command
    words = small(name, arguments)
    here = tmp_path / "here"
    shutil.copytree(world, here, symlinks=True)
    monkeypatch.chdir(here)
    written = [words[k + 1] for k, word in enumerate(words) if word in ("--out", "--run-dir", "--onnx", "--torch")]
    for path in (*written, *([] if written else [WRITTEN.get(name, "none")])):
        place = here / path
        if place.is_dir():
            shutil.rmtree(place)
        place.unlink(missing_ok=True)
    words = small(name, arguments)  # anew: what lies where a command writes says which defaults it has
    if "masks/" in words and "OpenImages" in words:
        words[words.index("masks/")] = "benchmark-masks"
    if any("weights/" in word for word in words):
        monkeypatch.setattr(preact_resnet, "WIDTHS", conftest.WIDTHS)
    assert run(name, *words) == 0, capfd.readouterr().err
    if name != "sweep":
        assert all((here / path).exists() for path in written)


PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if PYTHON.search(page.read_text())], ids=lambda page: page.name
)
def test_the_python_of_a_page_runs(
    page: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One block after the other, as in a notebook."""
    here = tmp_path / "here"
    shutil.copytree(world, here, symlinks=True)
    monkeypatch.chdir(here)
    names: dict[str, object] = {}
    for block in PYTHON.findall(page.read_text()):
        exec(block, names)
    assert capsys.readouterr().out


def test_what_is_not_run_here_is_named() -> None:
    assert set(LIKE_ANOTHER) <= {" ".join(command) for _, command in COMMANDS}
    lines = {re.sub(r"\s+# .*", "", line).strip() for page in WITH_COMMANDS for line in code_of(page)}
    commands = {line for line in lines if re.match(r"python (-m fastwsol\.|scripts/)|torchrun |pytest ", line)}
    assert {line for line in commands if not list(ours(line))} == set(LEFT_OUT)
