"""Copies in a packed set are found and told, whatever lies between them."""

from pathlib import Path

import pytest
from conftest import noise_jpeg

from fastwsol import pack as pack_command
from fastwsol.dataset.duplicates import copies_in, note_of_copies
from fastwsol.dataset.shards import open_shards
from fastwsol.host.command_line import run_command


def packed(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "set" / name).write_bytes(content)
    flags = ["--layout", "imagefolder", "--source", str(root / "set"), "--out", str(root / "shards")]
    assert run_command(pack_command.main, flags) == 0
    return root / "shards"


def test_copies_are_counted_by_class_and_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = [noise_jpeg(k) for k in range(6)]
    files = {
        "train/cat/0.jpg": images[0],
        "train/cat/1.jpg": images[1],
        "train/cat/2.jpg": images[0],
        "train/dog/3.jpg": images[0],
        "train/dog/4.jpg": images[3],
        "train/dog/5.jpg": images[4],
        "val/cat/6.jpg": images[1],
        "val/dog/7.jpg": images[5],
    }
    shards = open_shards(packed(tmp_path, files))
    groups = [[shards.splits[each.split].names([each.row])[0] for each in group] for group in copies_in(shards)]
    assert sorted(map(sorted, groups)) == [
        ["train/cat/0.jpg", "train/cat/2.jpg", "train/dog/3.jpg"],
        ["train/cat/1.jpg", "val/cat/6.jpg"],
    ]
    said = capsys.readouterr().out
    assert "copies, byte for byte, of an image that comes before: 3 (" in said
    assert "; 1 of them are of another class than that; 1 are in another split, and what is measured there" in said


def test_a_set_without_copies_says_nothing(tmp_path: Path) -> None:
    files = {f"train/{name}/{k}.jpg": noise_jpeg(k + 10 * ord(name)) for name in "ab" for k in range(3)}
    files |= {f"val/{name}/{k}.jpg": noise_jpeg(50 + k + 10 * ord(name)) for name in "ab" for k in range(1)}
    assert note_of_copies(open_shards(packed(tmp_path, files))) == ""
