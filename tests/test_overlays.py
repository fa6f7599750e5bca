"""The pictures that `predict --overlays` draws."""

import errno
import os
import re
from pathlib import Path

import pytest
from conftest import PHOTO_SIZES
from PIL import Image

from fastwsol import predict
from fastwsol.host.command_line import run_command
from fastwsol.host.files import sole_worker
from fastwsol.prediction import overlays
from fastwsol.prediction.overlays import overlay_file, overlay_paths

ON_CPU = ["--device", "cpu", "--threads", "1"]


def predict_to(out: Path, run: Path, *arguments: object) -> int:
    return run_command(predict.main, [*map(str, [run, *arguments]), "--out", str(out), *ON_CPU])


def test_an_interrupted_command_with_overlays_is_begun_anew_by_the_same_command(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it was interrupted or killed: what it has left is in nobody's way."""
    asked = (tmp_path / "boxes.json", run, photos, "--overlays", tmp_path / "pictures")
    whole = overlays.save

    def interrupted(path: Path, *what: object) -> None:
        if path.stem.startswith("3"):
            raise KeyboardInterrupt
        whole(path, *what)

    monkeypatch.setattr(overlays, "save", interrupted)
    assert predict_to(*asked) == 75
    assert list(tmp_path.iterdir()) == []
    left = tmp_path / "pictures.partial"
    left.mkdir()
    (left / ".unfinished").touch()
    (left / "old.jpg").touch()
    monkeypatch.setattr(overlays, "save", whole)
    with sole_worker(left):
        assert predict_to(*asked) == 2, "another process is at work on them"
    assert predict_to(*asked) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["boxes.json", "pictures"]
    assert len(list((tmp_path / "pictures").rglob("*"))) == len(PHOTO_SIZES) + 1, "and their folder"


def test_a_folder_in_the_way_of_overlays_is_named_and_untouched(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pictures.partial").mkdir()
    (tmp_path / "pictures.partial" / "mine.txt").touch()
    assert predict_to(tmp_path / "boxes.json", run, photos, "--overlays", tmp_path / "pictures") == 2
    assert f"{tmp_path / 'pictures.partial'}: is in the way" in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["pictures.partial", "mine.txt"]


def test_a_full_disk_names_the_picture_that_it_lacked_room_for(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Image.Image, "save", full)
    assert predict_to(tmp_path / "boxes.json", run, photos, "--overlays", tmp_path / "pictures") == 1
    assert re.search(r"^failed: .*pictures.*jpg: No space left on device", capsys.readouterr().err, re.MULTILINE)
    assert list(tmp_path.iterdir()) == []


def test_overlays_are_drawn_one_an_image(run: Path, photos: Path, tmp_path: Path) -> None:
    assert predict_to(tmp_path / "boxes.json", run, photos, "--overlays", tmp_path / "pictures") == 0
    pictures = sorted((tmp_path / "pictures").rglob("*.jpg"))
    assert [path.name for path in pictures] == [f"{k}.jpg.jpg" for k in range(len(PHOTO_SIZES))]
    for path, (width, height) in zip(pictures, PHOTO_SIZES, strict=True):
        picture = Image.open(path)
        assert max(picture.size) == 320
        assert picture.width / picture.height == pytest.approx(width / height, rel=0.02)


def test_a_name_is_written_in_the_letters_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert overlays.in_ascii("Purpurstärling, weiß 鳥") == "Purpurstarling, weiss ?"
    monkeypatch.setenv("XDG_DATA_DIRS", "/nowhere")
    monkeypatch.setenv("HOME", "/nowhere")
    font, can_write_all = overlays._font(20)
    assert not can_write_all
    assert font.getmask("a").getbbox() is not None


def test_images_whose_pictures_would_share_a_name_get_one_each(tmp_path: Path) -> None:
    names = ["../photos/1.jpg", "../../photos/1.jpg", "/photos/1.jpg", "Photos/1.JPG", "photos/2.jpg"]
    paths = overlay_paths(tmp_path, names)
    assert [str(path.relative_to(tmp_path)) for path in paths] == [
        "photos/1.jpg.jpg",
        "photos/1.jpg (2).jpg",
        "photos/1.jpg (3).jpg",
        "Photos/1.JPG (4).jpg",
        "photos/2.jpg.jpg",
    ]


@pytest.mark.parametrize("name", ["/etc/passwd.png", "../../x.png", "a/../../x.png", "x.png"])
def test_an_overlay_never_leaves_its_folder(name: str, tmp_path: Path) -> None:
    assert (tmp_path / overlay_file(name)).resolve().is_relative_to(tmp_path)
