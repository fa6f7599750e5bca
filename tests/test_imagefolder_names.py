"""Names of class folders and splits: links, zips, other names, and what lies beside."""

import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from class_folders import CLASSES, fill, names, pack_flags, split_names, ten_of_each_class, train_and_val
from conftest import noise_jpeg
from PIL import Image

from fastwsol import pack as pack_command
from fastwsol.dataset.packer import pack
from fastwsol.host.command_line import run_command
from fastwsol.host.errors import UserError
from fastwsol.sources.annotated import LEFT_OUT
from fastwsol.sources.imagefolder import ImageFolder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return ten_of_each_class(tmp_path / "photos")


@pytest.fixture
def with_val(tmp_path: Path) -> Path:
    return train_and_val(tmp_path / "photos")


def test_what_lies_beside_train_and_val_is_said_and_not_packed(with_val: Path, tmp_path: Path, capsys) -> None:
    fill(with_val / "validation", 1)
    assert run_command(pack_command.main, pack_flags(with_val)) == 0
    said = capsys.readouterr().out
    assert "photos/validation: neither train nor val, and not packed (" in said
    assert "in no class" not in said
    (with_val / "stray.jpg").write_bytes(noise_jpeg(0))
    assert run_command(pack_command.main, [*pack_flags(with_val)[:-2], "--out", str(tmp_path / "again")]) == 0
    assert "photos: 1 image beside train and val, in no class, and not packed" in capsys.readouterr().out


def test_a_zip_with_a_member_that_shrinks_a_lot_and_paths_that_begin_with_a_dot(photos: Path, tmp_path: Path) -> None:
    """A log of zeros beside the images is no bomb: it is not read."""
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("./", b"")
        for file in sorted(photos.rglob("*.jpg")):
            archive.write(file, f"./{file.relative_to(photos)}")
        archive.writestr("./cat/log.txt", bytes(5 * 2**20))
        blank = io.BytesIO()
        Image.new("RGB", (1500, 1000)).save(blank, "BMP")
        archive.writestr("./cat/zzz.bmp", blank.getvalue())
    source = ImageFolder(path)
    assert set(names(source, "train") + names(source, "val")) == {
        *names(ImageFolder(photos), "train"),
        *names(ImageFolder(photos), "val"),
        "cat/zzz.bmp",
    }
    pack(source, tmp_path / "out")


@pytest.mark.parametrize("zipped", [False, True])
def test_what_systems_keep_beside_the_images_is_left_out_and_counted(
    photos: Path, tmp_path: Path, as_zip: Callable[..., Path], zipped: bool, capsys
) -> None:
    """Thumbnails of network storage among them, which end as images do; a folder of theirs is no class."""
    before = names(ImageFolder(photos), "train")
    for path in ("cat/@eaDir/cat_0.jpg/SYNOPHOTO_THUMB_M.jpg", "lost+found/x.jpg", "dog/._dog_0.jpg", ".DS_Store"):
        (photos / path).parent.mkdir(parents=True, exist_ok=True)
        (photos / path).write_bytes(noise_jpeg(1))
    source = as_zip(photos, prefix="") if zipped else photos
    assert names(ImageFolder(source), "train") == before
    assert run_command(pack_command.main, pack_flags(source)) == 0
    assert f"4 {LEFT_OUT}" in capsys.readouterr().out


def test_what_macos_puts_into_a_zip_is_not_the_users(photos: Path, as_zip: Callable[..., Path]) -> None:
    archive = as_zip(photos, "photos/")
    with zipfile.ZipFile(archive, "a") as more:
        more.writestr("__MACOSX/photos/cat/._cat_0.jpg", b"resource fork")
    assert len(names(ImageFolder(archive), "train")) == 27


def test_a_zip_whose_paths_lead_out_is_refused(tmp_path: Path, capsys) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("cat/1.jpg", "dog/1.jpg", "../../evil/1.jpg"):
            archive.writestr(name, noise_jpeg(0))
    assert run_command(pack_command.main, pack_flags(tmp_path / "a.zip")) == 2
    assert "'../../evil/1.jpg' is no path within an archive" in capsys.readouterr().err


def test_a_zip_of_endless_paths_is_refused(tmp_path: Path, capsys) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("cat/1.jpg", f"dog/{'a/' * 64}1.jpg"):
            archive.writestr(name, noise_jpeg(0))
    assert run_command(pack_command.main, pack_flags(tmp_path / "a.zip")) == 2
    assert "lies deeper than 64 folders" in capsys.readouterr().err


def test_a_class_folder_of_two_lines_is_refused(tmp_path: Path, capsys) -> None:
    for name in ("cat", "dog\nowl"):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "1.jpg").write_bytes(noise_jpeg(0))
    assert run_command(pack_command.main, pack_flags(tmp_path / "set")) == 2
    assert r"the class folder 'dog\nowl': its name is no text" in capsys.readouterr().err


def test_a_class_folder_that_is_a_link_out_of_the_set_is_refused_and_followed_where_asked(
    with_val: Path, tmp_path: Path
) -> None:
    plain = split_names(with_val)
    away = tmp_path / "elsewhere"
    (with_val / "train" / "cat").rename(away)
    (with_val / "train" / "cat").symlink_to(away)
    with pytest.raises(UserError, match=r"train/cat: is a link to a folder outside of .*--follow-links"):
        ImageFolder(with_val)
    assert split_names(with_val, follow_links=True) == plain


def test_a_val_that_is_a_link_is_refused_and_not_drawn_from_train(with_val: Path, tmp_path: Path) -> None:
    plain = split_names(with_val)
    (with_val / "val").rename(tmp_path / "elsewhere")
    (with_val / "val").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="val: is a link to a folder outside of"):
        ImageFolder(with_val)
    assert split_names(with_val, follow_links=True) == plain


@pytest.mark.parametrize("follow", [False, True])
def test_a_link_to_a_folder_that_it_lies_in_is_refused(with_val: Path, follow: bool) -> None:
    (with_val / "train" / "cat" / "again").symlink_to(with_val / "train")
    with pytest.raises(UserError, match="cat/again: is a link back to a folder on the way to it"):
        ImageFolder(with_val, follow_links=follow)


@pytest.mark.parametrize("name", ["see", "see.also"])
def test_links_that_lead_round_in_a_ring_are_refused(with_val: Path, name: str) -> None:
    (with_val / "train" / "cat" / name).symlink_to("../dog")
    (with_val / "train" / "dog" / name).symlink_to("../cat")
    with pytest.raises(UserError, match=f"cat/{name}/{name}: is a link back to a folder on the way to it"):
        ImageFolder(with_val)


def test_a_link_that_leads_nowhere_is_refused_where_it_could_be_a_class(with_val: Path) -> None:
    (with_val / "train" / "emu").symlink_to(with_val / "gone")
    with pytest.raises(UserError, match="emu: is a link that leads nowhere"):
        ImageFolder(with_val)


def test_a_link_inside_the_set_is_followed_as_ever(with_val: Path) -> None:
    (with_val / "train" / "cat").rename(with_val / "train" / "dog" / "cats")
    (with_val / "train" / "cat").symlink_to(with_val / "train" / "dog" / "cats")
    assert any(name.startswith("train/cat/") for name in names(ImageFolder(with_val), "train"))


def test_the_command_follows_links_where_asked(with_val: Path, tmp_path: Path, capsys) -> None:
    (with_val / "val").rename(tmp_path / "elsewhere")
    (with_val / "val").symlink_to(tmp_path / "elsewhere")
    assert run_command(pack_command.main, pack_flags(with_val, "--out", tmp_path / "a")) == 2
    assert "is a link to a folder outside" in capsys.readouterr().err
    assert run_command(pack_command.main, pack_flags(with_val, "--out", tmp_path / "b", "--follow-links")) == 0
    assert run_command(pack_command.main, ["--synthetic", "--follow-links", "--out", str(tmp_path / "c")]) == 2
    assert "--follow-links: --synthetic draws its images itself" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("train", "val"), [("Train", "Val"), ("training", "valid"), ("TRAIN", "Validation"), ("train", "VALID")]
)
def test_splits_are_known_by_their_other_names(with_val: Path, train: str, val: str) -> None:
    plain = split_names(with_val)
    (with_val / "val").rename(with_val / "v")
    (with_val / "train").rename(with_val / "t")
    (with_val / "v").rename(with_val / val)
    (with_val / "t").rename(with_val / train)
    found = split_names(with_val)
    assert [each.partition("/")[2] for each in found["train"]] == [each.partition("/")[2] for each in plain["train"]]
    assert [each.partition("/")[2] for each in found["val"]] == [each.partition("/")[2] for each in plain["val"]]


@pytest.mark.parametrize("name", ["train", "val"])
def test_a_class_may_be_called_train(photos: Path, name: str) -> None:
    (photos / name).mkdir()
    for path in (photos / "cat").glob("*.jpg"):
        shutil.copy(path, photos / name)
    source = ImageFolder(photos)
    assert name in [one.name for one in source.classes]
    assert len(source.classes) == len(CLASSES) + 1
    assert f"{photos / name}: is taken for a class, as it and all beside it hold images" in source.notes
    with_splits = photos.with_name("with-splits")
    shutil.copytree(photos, with_splits / "train")
    assert not [note for note in ImageFolder(with_splits).notes if "taken for a class" in note]
    (photos / "dog").rename(photos / "test1")
    with pytest.raises(UserError, match=r"class folders|no train beside it"):
        ImageFolder(photos)


def test_a_class_of_a_splits_other_name_is_a_class(photos: Path) -> None:
    (photos / "cat").rename(photos / "training")
    assert any(name.startswith("training/") for name in names(ImageFolder(photos), "train"))


def test_two_folders_that_may_be_one_split_are_refused(with_val: Path) -> None:
    (with_val / "val").rename(with_val / "Validation")
    (with_val / "valid" / "cat").mkdir(parents=True)
    with pytest.raises(UserError, match="valid: 'Validation' beside it may be val too"):
        ImageFolder(with_val)


def test_splits_under_unknown_names_are_not_taken_for_classes(with_val: Path) -> None:
    (with_val / "train").rename(with_val / "part one")
    (with_val / "val").rename(with_val / "part two")
    with pytest.raises(UserError, match=r"all hold the same folders .* and no images; if they are splits"):
        ImageFolder(with_val)


def test_names_of_a_zip_that_does_not_say_that_they_are_utf_8_are_read_as_that(photos: Path, tmp_path: Path) -> None:
    """As the Finder and Info-ZIP write them; other bytes are of the code page that the standard names."""
    for raw, name in (("Käfer".encode(), "Käfer"), (b"K\x84fer", "Käfer")):
        archive = tmp_path / f"{len(raw)}.zip"
        with zipfile.ZipFile(archive, "w") as file:
            for k in range(4):
                for folder in ("0" * len(raw), "dog"):
                    file.writestr(f"{folder}/{k}.jpg", noise_jpeg(k))
        archive.write_bytes(archive.read_bytes().replace(b"0" * len(raw) + b"/", raw + b"/"))
        source = ImageFolder(archive)
        assert {one.wnid for one in source.classes} == {name, "dog"}
        assert len([*source.records("train")]) == 6


def test_shards_are_not_packed_into_the_class_folders(photos: Path, capsys) -> None:
    """They would be a class for the command that goes on with them."""
    flags = pack_flags(photos)
    flags[flags.index("--out") + 1] = str(photos / "shards")
    assert run_command(pack_command.main, flags) == 2
    assert f"lies in --source {photos}, among its class folders" in capsys.readouterr().err
    assert not (photos / "shards").exists()
    inner = photos.rename(photos.parent / "inner")
    photos.mkdir()
    inner.rename(photos / "set")
    assert run_command(pack_command.main, flags) == 2, "the set would no longer be the only folder"


def test_beside_train_and_val_they_are_no_class(photos: Path, capsys) -> None:
    (photos / "train").mkdir()
    for name in CLASSES:
        (photos / name).rename(photos / "train" / name)
    shutil.copytree(photos / "train", photos / "val")
    flags = pack_flags(photos)
    for name, status in (("shards", 0), ("again", 0), ("train/shards", 2), ("val/cat/shards", 2)):
        flags[flags.index("--out") + 1] = str(photos / name)
        assert run_command(pack_command.main, flags) == status
    assert "shards: neither train nor val, and not packed" in capsys.readouterr().out
