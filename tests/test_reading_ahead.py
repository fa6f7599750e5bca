"""Images of files are read by several threads before their turn, and come in their order all the same."""

import threading
import time
from pathlib import Path

import pytest

from fastwsol.sources import Class, Fault, Record
from fastwsol.sources.annotated import AnnotatedImage, FileSource
from fastwsol.sources.tree import BadFile, Folder


class SlowTree(Folder):
    """A folder that takes its time for a file, the less the later it comes; and counts those that are read at once."""

    def __init__(self, root: Path, file_bytes: int = 100, seconds: float = 0.02) -> None:
        super().__init__(root)
        self._bytes, self._seconds = file_bytes, seconds
        self._lock = threading.Lock()
        self.at_once = self.most = self.begun = 0
        self.large: set[str] = set()

    def read(self, path: str, max_bytes: int) -> bytes:
        with self._lock:
            self.begun += 1
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        time.sleep(self._seconds / (1 + int(path) % 40))
        with self._lock:
            self.at_once -= 1
        if path == "5":
            raise BadFile("missing")
        size = 30 * 2**20 if path in self.large else self._bytes
        return path.encode() * (size // len(path))


def source_of(tree: Folder, images: int = 40) -> FileSource:
    annotations = [AnnotatedImage(str(k), 0, (), "a list") for k in range(images)]
    annotations[7] = AnnotatedImage("7", 0, (), "a list", fault=Fault("7", "bad", "mend it"))
    return FileSource("slow", (Class("one", "one"),), tree, {"train": annotations})


@pytest.mark.parametrize("start", [0, 11])
def test_records_come_in_their_order(start: int, tmp_path: Path) -> None:
    tree = SlowTree(tmp_path)
    records = [*source_of(tree).records("train", start)]
    assert [each.name for each in records] == [str(k) for k in range(start, 40)]
    assert [each.name for each in records if isinstance(each, Fault)] == (["5", "7"] if start == 0 else [])
    assert all(each.image.startswith(each.name.encode()) for each in records if isinstance(each, Record))
    assert 2 <= tree.most <= 8


def test_of_large_images_few_are_in_memory(tmp_path: Path) -> None:
    tree = SlowTree(tmp_path, file_bytes=40 * 2**20, seconds=1)
    records = source_of(tree).records("train")
    tried = tree.begun
    for _ in range(5):
        next(records)
    assert tree.begun - tried <= 6
    records.close()


def test_a_large_image_among_small_ones_is_no_hindrance(tmp_path: Path) -> None:
    tree = SlowTree(tmp_path)
    tree.large = {"12", "13", "20"}
    assert [each.name for each in source_of(tree).records("train")] == [str(k) for k in range(40)]


def test_who_stops_asking_waits_for_few(tmp_path: Path) -> None:
    tree = SlowTree(tmp_path)
    records = source_of(tree, images=1000).records("train")
    tried = tree.begun
    for _ in range(12):
        next(records)
    records.close()
    assert tree.begun - tried <= 12 + 8


def test_files_that_come_at_once_are_read_by_one_thread(tmp_path: Path) -> None:
    for k in range(40):
        (tmp_path / str(k)).write_bytes(b"content")
    threads = threading.active_count()
    records = source_of(Folder(tmp_path)).records("train")
    assert isinstance(next(records), Record)
    assert threading.active_count() <= threads, "others may just have ended"
