"""Checkpoints: tensors in safetensors, then a JSON with the scalars, the tensors' SHA-256 and its own. No pickle.

The JSON is written last, so what has none is not a checkpoint. Names sort by step.
"""

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from fastwsol.host.errors import UserError
from fastwsol.host.files import PARTIAL_SUFFIX, sync_folder, write_bytes, write_json

FORMAT_VERSION = 2
KEPT = 3
"""How many of the newest checkpoints a run keeps."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose tensors have the hash that its JSON says."""

    path: Path
    """The JSON."""
    step: int
    """Steps done."""
    scalars: dict[str, Any]
    tensors: dict[str, Tensor]


def save(folder: Path, step: int, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> Path:
    """Write the checkpoint after `step` steps durably into `folder`, drop all but the newest few, return its JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f"step-{step:09d}"
    # safetensors knows no memory formats; loading copies into tensors that have one.
    encoded = safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    tensor_file = stem.with_suffix(".safetensors")

    write_bytes(tensor_file, encoded)
    path = stem.with_suffix(".json")
    fields = {
        "format_version": FORMAT_VERSION,
        "step": step,
        "tensors": tensor_file.name,
        "sha256": hashlib.sha256(encoded).hexdigest(),
        **scalars,
    }
    write_json(path, fields | {"fields_sha256": hash_of(fields)})
    _drop_old(folder, step)
    return path


def load(path: Path) -> Checkpoint:
    """Load the checkpoint whose JSON is `path`; raises UserError naming the file when anything in it is not whole."""
    try:
        scalars = json.loads(path.read_bytes())
        encoded = _tensor_file(path, scalars["tensors"]).read_bytes()
        version, step, sha256 = scalars["format_version"], int(scalars["step"]), scalars["sha256"]
        own_sha256 = scalars.pop("fields_sha256", None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: not a whole checkpoint ({error})") from None
    if version != FORMAT_VERSION:
        raise UserError(f"{path}: checkpoint format {version}; this version of fastwsol reads {FORMAT_VERSION}")
    if own_sha256 != hash_of(scalars):
        raise UserError(f"{path}: its fields are not those that were saved (SHA-256 differs)")
    if hashlib.sha256(encoded).hexdigest() != sha256:
        raise UserError(
            f"{path.parent / scalars['tensors']}: its bytes are not those that were saved (SHA-256 differs)"
        )
    try:
        return Checkpoint(path, step, scalars, safetensors.torch.load(encoded))
    except (SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"{path.parent / scalars['tensors']}: holds no tensors ({error})") from None


def _tensor_file(path: Path, name: str) -> Path:
    """The file beside a checkpoint's JSON. Raises ValueError for a name of another place, or what is no file."""
    if Path(name).name != name:
        raise ValueError(f"its tensors are in {name!r:.40}, which is not beside it")
    if (file := path.parent / name).exists() and not file.is_file():
        raise ValueError(f"{name} is no plain file")
    return file


def newest_valid(folder: Path) -> Checkpoint | None:
    """Load the newest whole checkpoint in `folder` and warn of newer ones that are damaged; None where there is no
    checkpoint. Raises UserError where there are checkpoints and none is whole: the user decides whether to begin anew.
    """
    paths = sorted(folder.glob("step-*.json"), reverse=True)
    for path in paths:
        try:
            return load(path)
        except UserError as error:
            print(f"warning: {error}", file=sys.stderr)
    if paths:
        raise UserError(
            f"{folder}: none of its {len(paths)} checkpoints can be read; restore one from a copy, or start anew in "
            f"another --run-dir"
        )
    return None


def hash_of(fields: Mapping[str, Any]) -> str:
    """The SHA-256 of a checkpoint's fields, however they are written."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _drop_old(folder: Path, step: int) -> None:
    """Remove all but the newest checkpoints up to `step`, JSON first, and what killed writers left.

    Those beyond `step` could not be read when the run went back to before them.
    """
    paths = sorted(folder.glob("step-*.json"), reverse=True)
    beyond = [path for path in paths if path.stem > f"step-{step:09d}"]
    for path in beyond + paths[len(beyond) + KEPT :]:
        path.unlink()
    steps = {path.stem for path in folder.glob("step-*.json")}
    for path in folder.glob("step-*"):  # what else lies here is somebody's own
        if path.name.endswith(PARTIAL_SUFFIX) or (path.suffix == ".safetensors" and path.stem not in steps):
            path.unlink()
    sync_folder(folder)
