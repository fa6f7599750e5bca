"""Promise 5: a checkpoint that is not what was saved is refused, the newest whole one taken, and no bytes are run."""

import io
import os
import pickle
import random
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from fastwsol.host.errors import UserError
from fastwsol.runs import checkpoint

from .tally import Tally

PROMISE = "5 tampered checkpoints refused"
FLIPS = 1000


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of steps 1 and 2. Shared: copy it."""
    folder = tmp_path_factory.mktemp("tampered") / "checkpoints"
    for step in (1, 2):
        weights = {"model.weight": torch.arange(6000.0).reshape(60, 100) + step, "model.bias": torch.ones(60)}
        checkpoint.save(folder, step, weights, {"precision": "fp32"})
    return folder


@pytest.mark.parametrize("ending", ["safetensors", "json"])
def test_one_bit(
    ending: str, checkpoints: Path, tmp_path: Path, tally: Tally, full: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the JSON a flip may leave what is said the same, such as a letter of a name that nobody asks for."""
    folder = shutil.copytree(checkpoints, tmp_path / "checkpoints")
    path = folder / f"step-000000002.{ending}"
    content = path.read_bytes()
    whole = checkpoint.newest_valid(folder)
    count = tally.of(PROMISE, f"one bit flipped in the {ending} file")
    drawn = random.Random(0)
    for _ in range(FLIPS if full else 100):
        damaged = bytearray(content)
        offset = drawn.randrange(len(content))
        damaged[offset] ^= 1 << drawn.randrange(8)
        path.write_bytes(damaged)
        capsys.readouterr()
        found = checkpoint.newest_valid(folder)
        fell_back = found.step == 1 and path.stem in capsys.readouterr().err
        same = all(torch.equal(found.tensors[name], tensor) for name, tensor in whole.tensors.items())
        count(f"offset {offset}", fell_back or (ending == "json" and found.step == 2 and same))
    assert count.lost == []


def test_a_hostile_file_runs_nothing(checkpoints: Path, tmp_path: Path, tally: Tally) -> None:
    """A pickle, bare and as torch saves it, in place of the tensors, with its own hash in the JSON."""

    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "pwned"),)

    torch_file = io.BytesIO()
    with zipfile.ZipFile(torch_file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Hostile()))
        archive.writestr("archive/version", "3")
    count = tally.of(PROMISE, "a pickle in place of the tensors")
    for name, content in (("bare", pickle.dumps(Hostile())), ("torch's", torch_file.getvalue())):
        folder = shutil.copytree(checkpoints, tmp_path / name)
        for path in folder.glob("*.safetensors"):
            path.write_bytes(content)
        with pytest.raises(UserError, match="none of its 2 checkpoints can be read"):
            checkpoint.newest_valid(folder)
        count(name, not (tmp_path / "pwned").exists())
    assert count.lost == []
