"""Shards give back what was written, through mapped files, and refuse what is not what was packed."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastwsol.config import Statistics
from fastwsol.dataset.shard_writer import write_manifest, write_shards
from fastwsol.dataset.shards import MANIFEST_NAME, Manifest, Row, Shards, SplitFiles, open_shards
from fastwsol.host.errors import UserError
from fastwsol.sources import Class, Record

STATISTICS = Statistics((0.1, 2.5, 254.0), (1 / 3, 2.0, 3.0))
CLASSES = tuple(Class(f"n{k}", f"name {k}") for k in range(5))


def made_up_rows(count: int, seed: int = 0, longest: int = 3000) -> list[Row]:
    """Rows of random bytes, sizes and labels, with 0 to 3 boxes each."""
    rng = np.random.default_rng(seed)
    rows = []
    for k in range(count):
        image = rng.bytes(int(rng.integers(1, longest)))
        boxes = rng.uniform(0, 64, (int(rng.integers(0, 4)), 4)).astype(np.float32)
        record = Record(f"train/größe_{k}.JPEG", image, int(rng.integers(0, 5)), boxes)
        rows.append(Row(record, int(rng.integers(1, 999)), int(rng.integers(1, 999))))
    return rows


def write(folder: Path, rows: list[Row], max_shard_bytes: int = 64 * 1024) -> SplitFiles:
    folder.mkdir(parents=True, exist_ok=True)
    shards = tuple(write_shards(folder, "train", iter(rows), max_shard_bytes))
    split = SplitFiles(sum(shard.rows for shard in shards), shards)
    write_manifest(folder, Manifest("made up", CLASSES, {"train": split}, STATISTICS))
    return split


def test_every_column_comes_back(tmp_path: Path) -> None:
    rows = made_up_rows(150)
    write(tmp_path, rows)
    split = open_shards(tmp_path).splits["train"]
    assert len(split) == 150
    assert split.labels.tolist() == [row.record.label for row in rows]
    assert split.widths.tolist() == [row.width for row in rows]
    assert split.heights.tolist() == [row.height for row in rows]
    assert split.names(range(150)) == [row.record.name for row in rows]
    assert split.names(np.array([149, 3, 3])) == [rows[k].record.name for k in (149, 3, 3)]
    for k, row in enumerate(rows):
        assert split.image(k) == row.record.image
        np.testing.assert_array_equal(split.boxes[split.box_offsets[k] : split.box_offsets[k + 1]], row.record.boxes)
    kinds = {"labels": "int64", "widths": "int32", "heights": "int32", "boxes": "float32", "box_offsets": "int64"}
    assert {name: getattr(split, name).dtype.name for name in kinds} == kinds
    assert split.boxes.shape == (split.box_offsets[-1], 4)


def test_manifest_comes_back_exactly(tmp_path: Path) -> None:
    files = write(tmp_path, made_up_rows(150))
    shards = open_shards(tmp_path)
    assert shards.manifest == Manifest("made up", CLASSES, {"train": files}, STATISTICS)
    assert shards.digest == hashlib.sha256((tmp_path / MANIFEST_NAME).read_bytes()).hexdigest()
    assert shards.folder == tmp_path


def test_no_shard_is_larger_than_allowed_and_none_is_needlessly_small(tmp_path: Path) -> None:
    limit = 64 * 1024
    files = write(tmp_path, made_up_rows(300), limit)
    sizes = [(tmp_path / shard.file).stat().st_size for shard in files.shards]
    assert sizes == [shard.bytes for shard in files.shards]
    assert len(sizes) > 5
    assert max(sizes) <= limit
    assert min(sizes[:-1]) > limit / 2
    assert sum(shard.rows for shard in files.shards) == files.images == 300


def test_fixtures_have_several_shards_and_several_record_batches(tmp_path: Path) -> None:
    # What the other tests here rely on to say something about both.
    write(tmp_path, made_up_rows(150))
    paths = sorted(tmp_path.glob("*.arrow"))
    assert len(paths) > 2
    for path in paths[:-1]:
        with pa.ipc.open_file(path) as reader:
            assert reader.num_record_batches > 1
            assert reader.schema.metadata == {b"fastwsol_schema_version": b"1"}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Row], Shards]:
    folder = tmp_path_factory.mktemp("many")
    rows = made_up_rows(150)
    write(folder, rows)
    return rows, open_shards(folder)


@settings(deadline=None)
@given(ids=st.lists(st.integers(0, 149), max_size=40))
def test_gather_equals_image_by_image_with_zeros_behind(many: tuple[list[Row], Shards], ids: list[int]) -> None:
    rows, shards = many
    images, lengths = shards.splits["train"].gather(np.array(ids, np.int64))
    expected = [rows[k].record.image for k in ids]
    assert lengths.tolist() == [len(image) for image in expected]
    assert images.shape == (len(ids), max(map(len, expected), default=0))
    for padded, image in zip(images, expected, strict=True):
        assert padded.tobytes() == image.ljust(len(padded), b"\0")
    assert (images.dtype, lengths.dtype) == (np.uint8, np.int64)


def test_one_long_image_does_not_pad_all_others(
    many: tuple[list[Row], Shards], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, shards = many
    monkeypatch.setattr("fastwsol.dataset.shards._MOST_PADDED", 100)
    images, lengths = shards.splits["train"].gather(np.arange(20))
    assert isinstance(images, list)
    assert [each.tobytes() for each in images] == [rows[k].record.image for k in range(20)]
    assert lengths.tolist() == [len(each) for each in images]


def test_gather_gives_fresh_arrays(many: tuple[list[Row], Shards]) -> None:
    _, shards = many
    ids = np.arange(10)
    first, first_lengths = shards.splits["train"].gather(ids)
    kept = first.copy()
    first[:] = 7
    first_lengths[:] = 7
    second, second_lengths = shards.splits["train"].gather(ids)
    np.testing.assert_array_equal(second, kept)
    assert second_lengths.max() > 7


@pytest.mark.parametrize("index", [-1, 150])
def test_rows_outside_the_split_are_refused(many: tuple[list[Row], Shards], index: int) -> None:
    split = many[1].splits["train"]
    with pytest.raises(IndexError, match=r"150 images of 'train'"):
        split.gather(np.array([0, index]))
    with pytest.raises(IndexError, match=r"150 images of 'train'"):
        split.image(index)
    with pytest.raises(IndexError, match=r"150 images of 'train'"):
        split.names([index])


def test_one_row_without_boxes(tmp_path: Path) -> None:
    record = Record("a", b"x", 0, np.empty((0, 4), np.float32))
    write(tmp_path, [Row(record, 1, 1)])
    split = open_shards(tmp_path).splits["train"]
    assert split.boxes.shape == (0, 4)
    assert split.box_offsets.tolist() == [0, 0]
    assert split.gather(np.array([0, 0]))[0].tobytes() == b"xx"


def test_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, made_up_rows(150))
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_image_too_large_for_a_shard_is_refused_by_name(tmp_path: Path) -> None:
    large = Row(Record("train/large.JPEG", bytes(70_000), 0, np.empty((0, 4), np.float32)), 1, 1)
    with pytest.raises(UserError, match=r"train/large\.JPEG: the image has 70,000 bytes .* 65,536; store it smaller"):
        write(tmp_path, [*made_up_rows(10), large])
    assert not (tmp_path / MANIFEST_NAME).exists()
    assert not list(tmp_path.glob("*.partial"))


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def put(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "one bit flipped": (flip_a_bit, "SHA-256"),
    "missing": (Path.unlink, "missing"),
    "empty": (put(b""), "0 bytes, the manifest says"),
    "cut short": (lambda path: path.write_bytes(path.read_bytes()[:-8]), "bytes, the manifest says"),
    "a folder": (lambda path: path.unlink() or path.mkdir(), "cannot be read"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_shard_is_refused_by_name(damage: str, tmp_path: Path) -> None:
    write(tmp_path, made_up_rows(150))
    spoil, complaint = DAMAGES[damage]
    spoil(tmp_path / "train-00001.arrow")
    with pytest.raises(UserError, match=rf"train-00001\.arrow: .*{complaint}.*scripts/pack\.py --out {tmp_path}"):
        open_shards(tmp_path)


def test_more_shards_than_files_may_be_open(tmp_path: Path) -> None:
    """The process's own limit is raised; where the system's is too low, that is said, and not that a shard is bad."""
    write(tmp_path, made_up_rows(600))
    count = len([*tmp_path.glob("*.arrow")])
    script = (
        "import os, resource, sys, pathlib\nfrom fastwsol.dataset.shards import open_shards\n"
        "from fastwsol.host.errors import UserError\n"
        f"low = len(os.listdir('/proc/self/fd')) + {count} // 2\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (low, low if sys.argv[1] == 'hard' else 4096))\n"
        f"try: print(len(open_shards(pathlib.Path({str(tmp_path)!r})).splits['train']))\n"
        "except UserError as error: print(error)\n"
    )
    opened, refused = (
        subprocess.run([sys.executable, "-c", script, which], capture_output=True, text=True, check=True).stdout
        for which in ("soft", "hard")
    )
    assert opened == "600\n"
    assert "Too many open files); raise the number of files that may be open (ulimit -n)" in refused


def test_shards_exchanged_for_one_another_are_refused(tmp_path: Path) -> None:
    files = write(
        tmp_path, [Row(Record(str(k), bytes([k]) * 20_000, 0, np.empty((0, 4), np.float32)), 1, 1) for k in range(9)]
    )
    first, second = (tmp_path / shard.file for shard in files.shards[:2])
    assert first.stat().st_size == second.stat().st_size
    other = first.read_bytes()
    shutil.copyfile(second, first)
    second.write_bytes(other)
    with pytest.raises(UserError, match=r"train-00000\.arrow: its SHA-256"):
        open_shards(tmp_path)


def test_without_verification_sizes_are_still_compared(tmp_path: Path) -> None:
    write(tmp_path, made_up_rows(150))
    path = tmp_path / "train-00001.arrow"
    image = bytearray(path.read_bytes())
    image[len(image) // 2] ^= 1
    path.write_bytes(image)
    assert len(open_shards(tmp_path, verify=False).splits["train"]) == 150
    path.write_bytes(image + b"\0")
    with pytest.raises(UserError, match=r"train-00001\.arrow: .* bytes, the manifest says"):
        open_shards(tmp_path, verify=False)


def test_a_file_that_hashes_right_but_is_no_shard_is_refused(tmp_path: Path) -> None:
    write(tmp_path, made_up_rows(150))
    path = tmp_path / "train-00001.arrow"
    table = pa.table({"other": [1, 2, 3]})
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)

    def claim(fields: dict) -> None:
        content = path.read_bytes()
        fields["splits"]["train"]["shards"][1].update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())

    edit_manifest(tmp_path, claim)
    with pytest.raises(UserError, match=r"train-00001\.arrow: not a shard of this program \(its columns are other"):
        open_shards(tmp_path)


def edit_manifest(folder: Path, edit: Callable[[dict], object]) -> None:
    fields = json.loads((folder / MANIFEST_NAME).read_text())
    edit(fields)
    (folder / MANIFEST_NAME).write_text(json.dumps(fields))


@pytest.mark.parametrize("folder", ["", "missing", "file/inside"])
def test_no_manifest_is_no_data_set(folder: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=rf"^{tmp_path / folder}: no packed data set .*scripts/pack\.py --out"):
        open_shards(tmp_path / folder)


def test_a_folder_of_photographs_in_place_of_shards_is_told_how_to_be_packed(tmp_path: Path) -> None:
    (tmp_path / "my photos" / "cat").mkdir(parents=True)
    with pytest.raises(UserError, match=r"pack\.py --layout imagefolder --source '.*/my photos'`"):
        open_shards(tmp_path / "my photos")


def test_the_folder_above_shards_is_told_of_them(tmp_path: Path) -> None:
    (tmp_path / "data" / "raw").mkdir(parents=True)
    (tmp_path / "data" / "shards").mkdir()
    (tmp_path / "data" / "shards" / MANIFEST_NAME).write_text("{}")
    with pytest.raises(UserError, match=r"data/shards is one, or name another folder$"):
        open_shards(tmp_path / "data")


def test_shards_without_their_manifest_are_no_data_set(tmp_path: Path) -> None:
    write(tmp_path, made_up_rows(150))
    (tmp_path / MANIFEST_NAME).unlink()
    with pytest.raises(UserError, match="no packed data set"):
        open_shards(tmp_path)


MANIFEST_MISTAKES: dict[str, tuple[Callable[[dict], object], str]] = {
    "later version": (
        lambda fields: fields.update(schema_version=3),
        "schema version 3, and this program reads 1 and 2",
    ),
    "version as text": (lambda fields: fields.update(schema_version="1"), "schema version '1'"),
    "no version": (lambda fields: fields.pop("schema_version"), "not a manifest .*schema_version"),
    "no classes": (lambda fields: fields.pop("classes"), "not a manifest .*classes"),
    "two channels": (lambda fields: fields.update(mean=[1, 2]), "not a manifest"),
    "not a number": (lambda fields: fields.update(std=[1, 2, float("nan")]), "not finite"),
    "count of images": (lambda fields: fields["splits"]["train"].update(images=3), "another number of rows"),
    "shard elsewhere": (
        lambda fields: fields["splits"]["train"]["shards"][0].update(file="../train-00000.arrow"),
        "outside the folder",
    ),
    "rows of a shard": (
        lambda fields: (
            fields["splits"]["train"].update(images=151),
            fields["splits"]["train"]["shards"][0].update(rows=fields["splits"]["train"]["shards"][0]["rows"] + 1),
        ),
        r"train-00000\.arrow: .*rows, the manifest says",
    ),
}


@pytest.mark.parametrize("mistake", MANIFEST_MISTAKES)
def test_wrong_manifest_is_refused_with_the_remedy(mistake: str, tmp_path: Path) -> None:
    write(tmp_path, made_up_rows(150))
    edit, complaint = MANIFEST_MISTAKES[mistake]
    edit_manifest(tmp_path, edit)
    with pytest.raises(UserError, match=rf"(?s){complaint}.*scripts/pack\.py --out {tmp_path}") as refusal:
        open_shards(tmp_path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"3"])
def test_manifest_that_is_no_json_object_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / MANIFEST_NAME).write_bytes(content)
    with pytest.raises(UserError, match=r"manifest\.json: not a manifest"):
        open_shards(tmp_path)


def test_writing_goes_on_behind_a_finished_shard_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    rows = made_up_rows(300)
    files = write(tmp_path / "whole", rows)
    (tmp_path / "rest").mkdir()
    done = sum(shard.rows for shard in files.shards[:2])
    rest = tuple(write_shards(tmp_path / "rest", "train", iter(rows[done:]), 64 * 1024, first=2))
    assert rest == files.shards[2:]
    assert len(rest) > 1
