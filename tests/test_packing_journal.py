"""A packing killed at any instant goes on behind its last whole shard, and ends in the bytes of an unbroken one."""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from equal import contents
from interference import Killed, ended_at_write, full_disk

from fastwsol.dataset import packer as packing
from fastwsol.dataset.duplicates import COPIES_NAME
from fastwsol.dataset.packer import pack
from fastwsol.dataset.packing_journal import Journal, is_unfinished_work
from fastwsol.dataset.shards import JOURNAL_NAME, MANIFEST_NAME, QUARANTINE_NAME, open_shards
from fastwsol.host.command_line import DONE_WITH_SKIPS, USER_ERROR, run_command
from fastwsol.host.errors import RunFailure, UserError
from fastwsol.pack import main
from fastwsol.sources import Fault, Record
from fastwsol.sources.decode import judge_images
from fastwsol.sources.synthetic import Synthetic
from fastwsol.sources.tiny_imagenet import TinyImageNet

ROOT = Path(__file__).parents[1]
SHARD_BYTES = 48 * 1024
TRAIN, VAL = 60, 30
# Bad ones at both ends, within a shard, next to each other and all through the end of a split.
BAD = {"train": (0, 17, 31, 32), "val": (28, 29)}


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the packer reads little ahead, and a kill at a record finds what is before it on disk."""
    monkeypatch.setattr(packing, "_CHUNK_RECORDS", 4)


@functools.cache
def drawn(split: str) -> list[Record]:
    return list(Synthetic(2, TRAIN // 2, VAL // 2).records(split))


class Spotty(Synthetic):
    """Ninety images, some of them bad; `dies_at` counts the records read, over both splits, until the process dies."""

    def __init__(self, dies_at: int = 10**9, die: Callable[[], object] | None = None, bad: dict = BAD):
        super().__init__(class_count=2, train_count=TRAIN // 2, val_count=VAL // 2)
        self._dies_at, self._die, self._bad = dies_at, die, bad

    def records(self, split: str, start: int = 0) -> Iterator[Record | Fault]:
        before = 0 if split == "train" else TRAIN
        for index, record in enumerate(drawn(split)[start:], start):
            if before + index == self._dies_at:
                if self._die is not None:
                    self._die()
                raise Killed
            if index not in self._bad.get(split, ()):
                yield record
            elif index % 2:
                yield Fault(record.name, "missing", "put it back")
            else:
                yield Record(record.name, record.image[:900], record.label, record.boxes)


def pack_spotty(out: Path, source: Synthetic | None = None):
    return pack(source or Spotty(), out, max_shard_bytes=SHARD_BYTES, quarantine=True, workers=1)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken") / "out"
    manifest = pack_spotty(folder)
    # What the tests below rely on: several shards on either side of every place where they kill.
    assert len(manifest.splits["train"].shards) >= 3
    assert len(manifest.splits["val"].shards) >= 2
    assert sorted(contents(folder)) == sorted(
        [each.file for split in manifest.splits.values() for each in split.shards] + [MANIFEST_NAME, QUARANTINE_NAME]
    )
    return folder


def kept_images(out: Path) -> int:
    """How far the journal in `out` has come, counted from the first split's first record."""
    finished = Journal.read(out).finished
    return sum({each.split: each.stop for each in finished}.values())


@pytest.mark.parametrize("dies_at", [0, 1, 20, 35, 59, 60, 61, 75, 88, 89])
def test_killed_while_it_reads_any_record(
    dies_at: int, unbroken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with pytest.raises(Killed):
        pack_spotty(out, Spotty(dies_at))
    (out / "train-00009.arrow.partial").write_bytes(b"a shard that was being written")
    kept = kept_images(out)
    assert kept <= dies_at
    capsys.readouterr()
    pack_spotty(out)
    (line,) = capsys.readouterr().err.splitlines()
    where = f"continues at image {kept + 1} of 90" if kept else "begins anew"
    assert line.startswith(f"{out}: an earlier packing did not finish; {where}")
    assert contents(out) == contents(unbroken)


def test_several_kills_keep_more_and_more(unbroken: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    kept = []
    for dies_at in (35, 59, 75, 89):
        with pytest.raises(Killed):
            pack_spotty(out, Spotty(dies_at))
        kept.append(kept_images(out))
    assert kept == sorted(kept)
    assert len(set(kept)) >= 3
    pack_spotty(out)
    assert contents(out) == contents(unbroken)


@pytest.mark.parametrize("noted", [False, True], ids=["before its shard is in the journal", "after"])
@pytest.mark.parametrize("number", range(5))
def test_killed_at_a_shard_boundary(number: int, noted: bool, unbroken: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(Killed), ended_at_write(JOURNAL_NAME, 1 + number, noted):  # the first is of no shard
        pack_spotty(out)
    assert len(Journal.read(out).finished) == number + noted
    pack_spotty(out)
    assert contents(out) == contents(unbroken)


@pytest.mark.parametrize("file", [QUARANTINE_NAME, MANIFEST_NAME])
def test_killed_between_the_last_shard_and_the_manifest(file: str, unbroken: Path, tmp_path: Path) -> None:
    with pytest.raises(Killed), ended_at_write(file):
        pack_spotty(tmp_path / "out")
    assert kept_images(tmp_path / "out") == 90
    pack_spotty(tmp_path / "out", Spotty(dies_at=0))  # no record is read again
    assert contents(tmp_path / "out") == contents(unbroken)


def test_killed_between_the_manifest_and_the_end(unbroken: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(Killed), ended_at_write(MANIFEST_NAME, put_in_place=True):
        pack_spotty(out)
    assert len(open_shards(out).splits["train"]) == TRAIN - 4
    with pytest.raises(UserError, match=r"is packed already, 6 bad images quarantined"):
        pack_spotty(out)
    assert contents(out) == contents(unbroken)


def test_sigkill_of_the_real_process(unbroken: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = (
        "from tests.test_packing_journal import *; packing._CHUNK_RECORDS = 4;"
        f"pack_spotty(Path({str(out)!r}), Spotty(59, lambda: os.kill(os.getpid(), signal.SIGKILL)))"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert list(out.glob("*.partial"))  # it died with a shard half written
    assert kept_images(out) > 0
    pack_spotty(out)
    assert contents(out) == contents(unbroken)


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A packing that was killed within val."""
    with pytest.raises(Killed):
        pack_spotty(tmp_path / "begun", Spotty(89))
    assert len(Journal.read(tmp_path / "begun").finished) >= 4
    return tmp_path / "begun"


@pytest.mark.parametrize("spoil", ["flip", "remove", "shorten"])
def test_a_damaged_shard_and_what_follows_are_packed_anew(
    spoil: str, begun: Path, unbroken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shard = begun / "train-00001.arrow"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    if spoil == "remove":
        shard.unlink()
    else:
        shard.write_bytes(content if spoil == "flip" else content[:-1])
    dropped = len(Journal.read(begun).finished) - 1
    capsys.readouterr()
    pack_spotty(begun)
    assert f"as they or their images changed since, {dropped} of its shards are packed anew" in capsys.readouterr().err
    assert contents(begun) == contents(unbroken)


def test_images_behind_the_kept_shards_may_change(begun: Path, tmp_path: Path) -> None:
    """The last val image was bad and is mended: the last shard would hold it, so it alone is packed anew."""
    mended = {**BAD, "val": (28,)}

    class Mended(Spotty):
        def fingerprint(self, split: str, start: int, stop: int) -> str:
            changed = split == "val" and stop > 29 and 29 not in self._bad["val"]
            return super().fingerprint(split, start, stop) + ("changed" if changed else "")

    pack_spotty(begun, Mended(bad=mended))
    pack_spotty(tmp_path / "fresh", Mended(bad=mended))
    assert contents(begun) == contents(tmp_path / "fresh")


def test_a_split_that_grew_behind_its_last_shard_ends_as_if_packed_at_once(tmp_path: Path) -> None:
    class Growing(Synthetic):
        def fingerprint(self, split: str, start: int, stop: int) -> str:
            return f"{split} {start} {stop}"

    small, large = (Growing(1, 40, count) for count in (20, 24))
    large.identity = small.identity
    with pytest.raises(Killed), ended_at_write(MANIFEST_NAME):
        pack_spotty(tmp_path / "out", small)
    pack_spotty(tmp_path / "out", large)
    pack_spotty(tmp_path / "fresh", large)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_other_work_is_refused_and_not_touched(begun: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(begun)
    with pytest.raises(UserError, match=r"unfinished packing of synthetic .* with 2 classes; finish that with its own"):
        pack_spotty(begun, Synthetic(class_count=3, train_count=5, val_count=5))
    with pytest.raises(UserError, match=r"unfinished packing of synthetic.* without --lossless; finish"):
        pack(Spotty(), begun, max_shard_bytes=SHARD_BYTES, quarantine=True, lossless=True)
    with pytest.raises(UserError, match=r"unfinished packing of another version of this program"):
        pack(Spotty(), begun, max_shard_bytes=2 * SHARD_BYTES, quarantine=True)
    with_masks = Spotty()
    with_masks.beyond_boxes = True
    with pytest.raises(UserError, match=r"synthetic.* without masks \(--masks\) or boxes of other classes \(--boxes\)"):
        pack(with_masks, begun, max_shard_bytes=SHARD_BYTES, quarantine=True)
    with pytest.raises(UserError, match=r"unfinished packing with --quarantine, \d images quarantined so far; give it"):
        pack(Spotty(), begun, max_shard_bytes=SHARD_BYTES)
    assert contents(begun) == before


def test_shards_without_a_journal_are_not_ours_to_remove(begun: Path) -> None:
    (begun / JOURNAL_NAME).unlink()
    before = contents(begun)
    with pytest.raises(UserError, match=r"holds 'train-00000\.arrow', which packing did not write"):
        pack_spotty(begun)
    assert contents(begun) == before


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"{", b"\xff", b'{"format_version": 2, "work": {}}'])
def test_a_journal_that_is_none_is_refused_and_nothing_touched(content: bytes, begun: Path) -> None:
    (begun / JOURNAL_NAME).write_bytes(content)
    before = contents(begun)
    with pytest.raises(UserError, match=r"packing\.json: .*delete the folder .* or give another with --out"):
        pack_spotty(begun)
    assert contents(begun) == before


def test_a_journal_that_was_being_written_first_is_replaced(unbroken: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / f"{JOURNAL_NAME}.partial").write_bytes(b"{")
    pack_spotty(tmp_path / "out")
    assert contents(tmp_path / "out") == contents(unbroken)


def test_only_names_that_packing_writes_count_as_its_leftovers() -> None:
    ours = ("train-00000.arrow", "val-00012.arrow.partial", "manifest.json.partial", "packing.json", "quarantine.json")
    others = ("manifest.json", "train.arrow", "notes.txt", "notes.partial", "train-00000.arrow.bak", ".partial")
    assert [name for name in (*ours, *others) if is_unfinished_work(name)] == list(ours)


def test_without_quarantine_then_with_it_goes_on_at_the_bad_image(
    layout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (layout / "val/images/val_4.JPEG").write_bytes(b"garbage")
    command = ["--source", str(layout), "--out", str(tmp_path / "out")]
    assert run_command(main, command) == USER_ERROR
    assert "val_4.JPEG: bad image" in capsys.readouterr().err
    assert run_command(main, [*command, "--quarantine"]) == DONE_WITH_SKIPS
    assert "continues at image 10 of 15" in capsys.readouterr().err
    assert run_command(main, [*command[:-1], str(tmp_path / "fresh"), "--quarantine"]) == DONE_WITH_SKIPS
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_a_mended_image_lets_the_same_command_go_on(
    layout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = layout / "val/images/val_4.JPEG"
    whole = image.read_bytes()
    image.write_bytes(b"garbage")
    command = ["--source", str(layout), "--out", str(tmp_path / "out")]
    assert run_command(main, command) == USER_ERROR
    image.write_bytes(whole)
    capsys.readouterr()
    assert run_command(main, command) == 0
    assert "continues at image 10 of 15" in capsys.readouterr().err
    pack(TinyImageNet(layout), tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_an_image_changed_among_the_packed_ones_is_packed_anew(
    zipped: bool, layout: Path, as_zip: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, other = layout / "val/images/val_4.JPEG", layout / "train/n01/images/n01_2.JPEG"
    whole = bad.read_bytes()
    bad.write_bytes(b"garbage")
    source = as_zip(layout) if zipped else layout
    command = ["--source", str(source), "--out", str(tmp_path / "out")]
    assert run_command(main, command) == USER_ERROR
    bad.write_bytes(whole)
    shutil.copyfile(layout / "val/images/val_0.JPEG", other)
    if zipped:
        as_zip(layout)
    capsys.readouterr()
    assert run_command(main, command) == 0
    assert (
        "begins anew: no shard of it can be kept; as they or their images changed since, 1 of"
        in capsys.readouterr().err
    )
    pack(TinyImageNet(source), tmp_path / "fresh")
    (tmp_path / "out" / COPIES_NAME).unlink()  # the command's
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_quarantine_lists_what_it_quarantined_and_the_counts_add_up(
    unbroken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = open_shards(unbroken)
    listed = json.loads((unbroken / QUARANTINE_NAME).read_text())
    source = Spotty()
    for split, bad in BAD.items():
        files = shards.manifest.splits[split]
        assert files.quarantined == len(bad)
        assert files.images == len(shards.splits[split])
        assert files.images + files.quarantined == source.count(split)
        names = [record.name for record in drawn(split)]
        entries = [each for each in listed if each["split"] == split]
        assert [each["name"] for each in entries] == [names[index] for index in bad]
        assert [each["wnid"] for each in entries] == [f"synthetic-{source.labels(split)[index]}" for index in bad]
        assert [each["origin"] for each in entries] == [source.origin(split, index) for index in bad]
        good = [name for index, name in enumerate(names) if index not in bad]
        assert shards.splits[split].names(range(len(good))) == good
    assert {each["reason"] for each in listed} == {"missing", "bad image, truncated: the JPEG has no end mark"}


def test_pixel_statistics_leave_out_what_was_quarantined(unbroken: Path) -> None:
    moments = packing.PixelMoments()
    good = [record.image for index, record in enumerate(drawn("train")) if index not in BAD["train"]]
    for look in judge_images(good):
        moments.add(look)
    manifest = open_shards(unbroken).manifest
    assert manifest.statistics == (moments.mean(), moments.std())


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        ({"train": range(30)}, "class synthetic-0 in split 'train'"),
        ({"val": range(30)}, "split 'val'"),
        ({"train": range(60)}, "split 'train'"),
    ],
)
def test_a_split_or_class_with_nothing_left_is_refused(bad: dict, what: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(2):  # the second time from the journal
        with pytest.raises(UserError, match=rf"all images of {what} are bad, so nothing is left.*quarantine\.json"):
            pack_spotty(out, Spotty(bad=bad))
        assert not (out / MANIFEST_NAME).exists()
        assert len(json.loads((out / QUARANTINE_NAME).read_text())) == len(next(iter(bad.values())))


def test_a_class_with_nothing_left_in_val_is_packed(tmp_path: Path) -> None:
    """It can be trained on, though not measured."""
    pack_spotty(tmp_path / "out", Spotty(bad={"val": range(15, 30)}))
    splits = open_shards(tmp_path / "out").splits
    assert 1 in splits["train"].labels
    assert 1 not in splits["val"].labels


def test_a_full_disk_keeps_what_is_finished(unbroken: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    message = r"train-00002\.arrow: cannot be written \(No space left on device\)"
    with full_disk("train-00002.arrow"), pytest.raises(RunFailure, match=message):
        pack_spotty(out)
    assert len(Journal.read(out).finished) == 2
    pack_spotty(out)
    assert contents(out) == contents(unbroken)


def test_what_is_quarantined_of_val_does_not_empty_a_class_of_train(tmp_path: Path) -> None:
    """Of class 0 half of train is bad and all of val: as many as train has."""
    pack_spotty(tmp_path / "out", Spotty(bad={"train": range(15), "val": range(15)}))
    splits = open_shards(tmp_path / "out").splits
    assert np.bincount(splits["train"].labels).tolist() == [15, 30]
    assert np.bincount(splits["val"].labels, minlength=2).tolist() == [0, 15]


def test_boxes_that_are_cut_at_one_edge_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Reaching(Synthetic):
        """Of each image one box in it, one that reaches out on the right, and one at the top."""

        def records(self, split: str, start: int = 0) -> Iterator[Record]:
            boxes = np.array([[1, 1, 9, 9], [50, 5, 64.5, 20], [3, -0.25, 9, 30]], np.float32)
            for record in super().records(split, start):
                yield replace(record, boxes=boxes)

    pack(Reaching(2, 3, 1), tmp_path / "out")
    assert "16 boxes reached up to " in capsys.readouterr().out
    np.testing.assert_array_equal(
        open_shards(tmp_path / "out").splits["val"].boxes[:3], [[1, 1, 9, 9], [50, 5, 64, 20], [3, 0, 9, 30]]
    )
