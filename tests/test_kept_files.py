"""Large files beside the shards are checked part by part, on several threads, and every byte of them counts."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from fastwsol.host import kept_files
from fastwsol.host.kept_files import contents_of, is_as_written

SIZES = (0, 1, 999, 1000, 1001, 4500)


@pytest.fixture(params=SIZES)
def written(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of so many bytes, of parts of 1000."""
    monkeypatch.setattr(kept_files, "_PART_BYTES", 1000)
    monkeypatch.setattr(kept_files, "_READ_BYTES", 300)
    path = tmp_path / "file.npy"
    path.write_bytes(np.random.default_rng(0).bytes(request.param))
    return path


def test_parts_lie_end_to_end(written: Path) -> None:
    content, about = written.read_bytes(), contents_of(written)
    parts = [content[first : first + 1000] for first in range(0, len(content), 1000)]
    assert about == {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "parts": [hashlib.sha256(part).hexdigest() for part in parts],
    }
    assert is_as_written(written, json.loads(json.dumps(about)))


@pytest.mark.parametrize("of_an_older_version", [False, True])
def test_one_other_bit_anywhere_is_found(written: Path, of_an_older_version: bool) -> None:
    content, about = bytearray(written.read_bytes()), contents_of(written)
    if of_an_older_version:
        del about["parts"]
    assert is_as_written(written, about)
    for place in range(0, len(content), 499):
        content[place] ^= 1
        written.write_bytes(content)
        assert not is_as_written(written, about)
        content[place] ^= 1
    written.write_bytes(content + b"0")
    assert not is_as_written(written, about)
    if content:
        written.write_bytes(content[:-1])
        assert not is_as_written(written, about)


@pytest.mark.parametrize("about", [{}, {"bytes": 3}, {"bytes": 3, "parts": "x"}, {"bytes": 3, "sha256": 7}])
def test_what_says_too_little_describes_no_file(tmp_path: Path, about: dict[str, object]) -> None:
    path = tmp_path / "file.npy"
    path.write_bytes(b"123")
    assert not is_as_written(path, about)
    with pytest.raises(FileNotFoundError):
        is_as_written(tmp_path / "none.npy", about)
