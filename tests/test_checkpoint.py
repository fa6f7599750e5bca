"""Checkpoints: whole or not there, never half; and durable writes, on which they stand."""

import errno
import fcntl
import json
import os

import pytest
import torch

from fastwsol.host.errors import UserError
from fastwsol.host.files import write_durably, write_json
from fastwsol.runs.checkpoint import hash_of, load, newest_valid, save


def tensors(value: float) -> dict[str, torch.Tensor]:
    images = torch.full((2, 3, 4, 4), value).contiguous(memory_format=torch.channels_last)
    return {"weight": images, "count": torch.tensor(7)}


def test_what_is_saved_is_loaded(tmp_path):
    path = save(tmp_path, 12, tensors(1.5), {"precision": "bf16"})
    loaded = load(path)
    assert loaded.step == 12
    assert loaded.scalars["precision"] == "bf16"
    assert all(torch.equal(loaded.tensors[name], tensor) for name, tensor in tensors(1.5).items())


@pytest.mark.parametrize("damage", ["flipped bit", "truncated", "tensors missing", "half a JSON", "other version"])
def test_a_checkpoint_that_is_not_whole_is_refused_by_name_and_the_one_before_taken(tmp_path, damage, capsys):
    save(tmp_path, 1, tensors(1), {})
    path = save(tmp_path, 2, tensors(2), {})
    data = path.with_suffix(".safetensors")
    content = bytearray(data.read_bytes())
    if damage == "flipped bit":
        content[-1] ^= 4
        data.write_bytes(content)
    elif damage == "truncated":
        data.write_bytes(content[:-8])
    elif damage == "tensors missing":
        data.unlink()
    elif damage == "half a JSON":
        path.write_text(path.read_text()[:30])
    else:
        path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 0}))
    with pytest.raises(UserError, match="step-000000002"):
        load(path)
    assert newest_valid(tmp_path).step == 1
    assert "step-000000002" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../pipe", "/dev/zero", "pipe"])
def test_the_tensors_of_a_checkpoint_are_a_plain_file_beside_it(tmp_path, name):
    path = save(tmp_path / "checkpoints", 1, tensors(1), {})
    for place in (tmp_path, path.parent):
        os.mkfifo(place / "pipe")
    fields = {key: value for key, value in json.loads(path.read_text()).items() if key != "fields_sha256"}
    fields["tensors"] = name
    write_json(path, fields | {"fields_sha256": hash_of(fields)})
    with pytest.raises(UserError, match=r"not a whole checkpoint \(.*(not beside it|no plain file)\)"):
        load(path)


def test_tensors_without_their_json_are_no_checkpoint(tmp_path):
    path = save(tmp_path, 3, tensors(1), {})
    path.unlink()
    assert newest_valid(tmp_path) is None


def test_leftovers_of_killed_writers_go_with_the_next_checkpoint(tmp_path):
    (tmp_path / "step-000000001.safetensors.partial").write_bytes(b"half")
    (tmp_path / "step-000000001.safetensors").write_bytes(b"tensors whose JSON was never written")
    (tmp_path / "best.safetensors").write_bytes(b"somebody's own")
    save(tmp_path, 2, tensors(1), {})
    whole = ["step-000000002.json", "step-000000002.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.safetensors", *whole]


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "file"
    write_durably(path, lambda file: file.write(b"old"))

    def fail(file):
        file.write(b"ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_durably(path, fail)
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_one_of_two_writers_of_a_file_is_refused_and_the_other_one_finishes(tmp_path):
    path = tmp_path / "file"
    (tmp_path / "file.partial").write_bytes(b"what a killed writer left, which is longer")

    def write(file):
        file.write(b"the ")
        with pytest.raises(UserError, match="file: another process is writing it; wait for it"):
            write_durably(path, lambda other: other.write(b"other"))
        file.write(b"one")

    write_durably(path, write, is_new=True)
    assert path.read_bytes() == b"the one"
    with pytest.raises(UserError, match="another process has written it by now; it stays"):
        write_durably(path, lambda file: file.write(b"other"), is_new=True)
    assert path.read_bytes() == b"the one"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_file_system_without_locks_does_without(tmp_path, monkeypatch):
    def flock(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    write_durably(tmp_path / "file", lambda file: file.write(b"all"))
    assert (tmp_path / "file").read_bytes() == b"all"


def test_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "file.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())
