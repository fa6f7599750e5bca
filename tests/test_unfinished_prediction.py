"""A prediction that was stopped goes on where it was, to the bytes of an unbroken one; another one does not."""

import json
import math
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import noise_jpeg
from equal import contents

import fastwsol
from fastwsol import predict, train
from fastwsol.host import ticker
from fastwsol.host.command_line import run_command
from fastwsol.host.files import PARTIAL_SUFFIX
from fastwsol.prediction import unfinished
from fastwsol.prediction.predictions import Prediction
from fastwsol.prediction.predictor import Predictor
from fastwsol.prediction.user_images import find_images

BLOCK, IMAGES = 32, 101


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, synthetic_shards: Path) -> Path:
    """A run and images, two of which are none, in the first and in the last block."""
    folder = tmp_path_factory.mktemp("predicted")
    few = ["--depth", "18", "--stem", "C", "--batch-size", "16", "--epochs", "0.2", "--aug", "none"]
    few += ["--step", "eager", "--threads", "1"]
    assert run_command(train.main, [*few, "--shards", str(synthetic_shards), "--run-dir", str(folder / "run")]) == 0
    (folder / "photos").mkdir()
    for number in range(IMAGES):
        content = b"no image" if number in (7, 99) else noise_jpeg(number, size=(40 + number, 50))
        (folder / "photos" / f"{number:03}.jpg").write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def middle_score(root: Path) -> float:
    """A score that half of the images' boxes have not."""
    found = fastwsol.load(root / "run", "cpu", threads=1).stream(find_images([root / "photos"]).images)
    return float(np.median([each.boxes[0].score for each in found if isinstance(each, Prediction)]))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (unfinished, predict):
        monkeypatch.setattr(module, "BLOCK", BLOCK)
    monkeypatch.setattr(ticker, "SECONDS_BETWEEN_LINES", math.inf)  # however slow the machine is


def predicted(root: Path, out: Path, *more: str) -> int:
    words = [str(root / "run"), str(root / "photos"), "--out", str(out), "--threads", "1", "--device", "cpu"]
    return run_command(predict.main, [*words, *more])


@pytest.fixture
def stops(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """Has a signal come behind so many images, once; the list has how many the network has seen in each stream."""

    def after(count: int) -> list[int]:
        seen: list[int] = []
        stream = Predictor.stream

        def interrupted(self: Predictor, images: Any, *arguments: Any) -> Iterator[Any]:
            seen.append(0)
            for each in stream(self, images, *arguments):
                if len(seen) == 1 and seen[0] == count:
                    raise KeyboardInterrupt
                seen[-1] += 1
                yield each

        monkeypatch.setattr(Predictor, "stream", interrupted)
        return seen

    return after


FORMS = {
    "coco": ".json",
    "coco-polygons": ".json",
    "label-studio": ".json",
    "csv": ".csv",
    **dict.fromkeys(("yolo", "yolo-segments", "voc", "masks"), ""),
}


@pytest.mark.parametrize("form", FORMS)
def test_it_goes_on_behind_the_blocks_that_are_kept(
    root: Path,
    middle_score: float,
    tmp_path: Path,
    form: str,
    stops: Callable[[int], list[int]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    more = ("--format", form, "--boxes", "all", "--least-score", str(middle_score))
    whole, out = (tmp_path / f"{name}{FORMS[form]}" for name in ("whole", "out"))
    assert predicted(root, whole, *more) == 3
    said = capsys.readouterr()
    assert re.search(r"[1-9]\d* of them without a box", said.out)
    seen = stops(70)
    assert predicted(root, out, *more, "--masks", str(tmp_path / "masks-beside")) == 75
    assert "stopped: 64 of 101 images are predicted; the same command goes on behind them" in capsys.readouterr().err
    kept = sorted(path.name for path in (tmp_path / f"{out.name}.unfinished").iterdir())
    assert kept == ["000000.json", "000001.json", "work.json"]
    assert predicted(root, out, *more, "--masks", str(tmp_path / "masks-beside")) == 3
    again = capsys.readouterr()
    assert f"{out.name}: 64 of 101 images were predicted before; it goes on behind them" in again.out
    assert seen == [70, 37]
    assert contents(out) == contents(whole)
    assert "99 predicted and 2 skipped, 101 in all" in again.out
    assert again.err == said.err
    assert len([*(tmp_path / "masks-beside").iterdir()]) == 99
    assert not (tmp_path / f"{out.name}.unfinished").exists()


def test_nothing_stays_of_one_that_is_stopped_in_its_first_block(
    root: Path, tmp_path: Path, stops: Callable[[int], list[int]]
) -> None:
    stops(20)
    assert predicted(root, tmp_path / "out.json") == 75
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--threshold", "0.3"), "unfinished prediction (--threshold own, not 0.3)"),
        (("--localizer", "ddt"), "unfinished prediction (by another network, or cut otherwise)"),
    ],
)
def test_another_prediction_does_not_go_on_with_it(
    root: Path,
    tmp_path: Path,
    more: tuple[str, ...],
    words: str,
    stops: Callable[[int], list[int]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    stops(40)
    assert predicted(root, tmp_path / "out.json") == 75
    before = {path.name: path.read_bytes() for path in (tmp_path / "out.json.unfinished").iterdir()}
    capsys.readouterr()
    assert predicted(root, tmp_path / "out.json", *more) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "finish that with its own command, delete the folder, or name another --out" in said
    assert {path.name: path.read_bytes() for path in (tmp_path / "out.json.unfinished").iterdir()} == before


def test_other_photographs_of_the_same_names_do_not_go_on_with_it(
    root: Path, tmp_path: Path, stops: Callable[[int], list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(root / "photos", tmp_path / "photos")
    stops(40)
    words = [str(root / "run"), str(tmp_path / "photos"), "--out", str(tmp_path / "out.json"), "--threads", "1"]
    assert run_command(predict.main, [*words, "--device", "cpu"]) == 75
    (tmp_path / "photos" / "003.jpg").write_bytes(noise_jpeg(500, size=(90, 50)))
    assert run_command(predict.main, [*words, "--device", "cpu"]) == 2
    assert "(of files of these names whose sizes or times have changed since)" in capsys.readouterr().err
    (tmp_path / "photos" / "new.jpg").write_bytes(noise_jpeg(501, size=(90, 50)))
    assert run_command(predict.main, [*words, "--device", "cpu"]) == 2
    assert "prediction (of other images);" in capsys.readouterr().err


def test_a_block_that_is_damaged_is_named(
    root: Path, tmp_path: Path, stops: Callable[[int], list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    stops(40)
    assert predicted(root, tmp_path / "out.json") == 75
    (tmp_path / "out.json.unfinished" / "000000.json").write_text(json.dumps({"images": []}))
    assert predicted(root, tmp_path / "out.json") == 2
    assert "000000.json: not COCO's JSON" in (said := capsys.readouterr().err)
    assert f"delete {tmp_path / 'out.json.unfinished'} to begin anew" in said


def test_work_that_was_killed_while_it_was_noted_is_begun_anew(root: Path, tmp_path: Path) -> None:
    (tmp_path / "out.json.unfinished").mkdir()
    (tmp_path / "out.json.unfinished" / f"work.json{PARTIAL_SUFFIX}").write_text("{")
    assert predicted(root, tmp_path / "out.json") == 3, "two images are none"
    assert not (tmp_path / "out.json.unfinished").exists()


def test_what_is_no_work_of_ours_is_not_touched(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out.json.unfinished").mkdir()
    (tmp_path / "out.json.unfinished" / "mine").write_text("text")
    assert predicted(root, tmp_path / "out.json") == 2
    assert "out.json.unfinished: is in the way; " in capsys.readouterr().err
    assert (tmp_path / "out.json.unfinished" / "mine").read_text() == "text"
