"""docs/first-boxes.md, followed line by line in an empty folder, with photographs of two classes."""

import importlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from layouts import accept_all

from fastwsol.dataset.shards import open_shards
from fastwsol.host.command_line import run_command

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```\n(.*?)^```", re.MULTILINE | re.DOTALL)

FEWER_STEPS = ["--epochs", "6", "--head-steps", "20"]
"""A tenth of what the page's command does: enough for boxes, though not for good ones."""


def steps() -> list[list[str]]:
    """The commands of the page, in their order, but for the installation."""
    text = (ROOT / "docs" / "first-boxes.md").read_text()
    lines = [line for block in BLOCK.findall(text) for line in block.splitlines()]
    return [line.split()[1:] for line in lines if line.startswith("python ")]


def test_the_page_can_be_followed_as_it_is_written(
    picture_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("timm")
    for name in ("disc", "square"):
        for again in ("", "again"):
            shutil.copytree(picture_folders / "train" / name, tmp_path / "photos" / name / again, dirs_exist_ok=True)
        shutil.copytree(picture_folders / "val" / name, tmp_path / "NEW_PHOTOS" / name)
    monkeypatch.chdir(tmp_path)
    commands = steps()
    names = [command[1].rpartition(".")[2] if command[0] == "-m" else "pack" for command in commands]
    assert names == ["pack", "train", "predict", "predict", "review", "evaluate", "convert"]
    commands[names.index("train")] += FEWER_STEPS
    for name, command in zip(names, commands, strict=True):
        arguments = command[2:] if command[0] == "-m" else command[1:]
        status = run_command(importlib.import_module(f"fastwsol.{name}").main, arguments)
        said = capsys.readouterr()
        assert status == 0, f"{name}: {said.out}{said.err}"
        if name == "review":
            accept_all(tmp_path / "boxes.json", tmp_path / "reviewed.json")
        if name == "evaluate":
            assert "accepted: " in said.out
    assert [len(split) for split in open_shards(tmp_path / "data" / "shards").splits.values()] == [44, 4]
    predictions = json.loads((tmp_path / "boxes.json").read_text())
    assert len(predictions["images"]) == 10
    assert all("signals" in each and each["segmentation"] for each in predictions["annotations"])
    assert len([*(tmp_path / "pictures").rglob("*.jpg")]) == 10
    known = json.loads((tmp_path / "boxes-of-folders.json").read_text())
    classes = {each["id"]: each["name"] for each in known["categories"]}
    folders = {
        each["id"]: each["file_name"].split("/")[-2 - ("again" in each["file_name"])] for each in known["images"]
    }
    assert {classes[each["category_id"]] == folders[each["image_id"]] for each in known["annotations"]} == {True}
    labels = [*(tmp_path / "yolo" / "labels").rglob("*.txt")]
    assert 0 < len(labels) <= 10
    shares = np.array([list(map(float, path.read_text().split()[1:5])) for path in labels])
    assert ((shares >= 0) & (shares <= 1)).all()
