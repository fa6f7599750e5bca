"""Phase `training`: a real training that goes on from call to call until it is finished.

It is stopped by SIGTERM in time for the phase's deadline, which is no failure: the next call continues it. The run's
small files stand whole in the phase's JSON; with --export-weights its weights go out too, in pieces.
"""

import json
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from acceptance.commands import STOPPED_PROPERLY, run_module
from acceptance.record import Bound, Check, Finding
from acceptance.setting import Setting
from fastwsol.host.errors import RunFailure
from fastwsol.host.files import write_durably
from fastwsol.runs import checkpoint

FILES = ("config.json", "environment.json", "metrics.jsonl", "report.json")
PIECE_BYTES = 15 * 2**20
SECONDS_TO_STOP = 20.0


def checks(setting: Setting, run: Path, flags: Sequence[str], out: Path, export_weights: bool) -> list[Check]:
    """Train, then export."""
    of_phase = [Check("training", partial(train, setting, run, flags), 60)]
    if export_weights:
        of_phase.append(Check("weights exported", partial(export, run, out), 0))
    return of_phase


def default_flags(dry_run: bool) -> list[str]:
    """What is trained where the command line does not say."""
    if dry_run:
        return shlex.split("--preset demo --depth 18 --stem C --batch-size 8 --epochs 0.2 --log-steps 1 --step eager")
    return shlex.split("--preset fast --aug gr --depth 18 --stem A")


def train(setting: Setting, run: Path, flags: Sequence[str]) -> Finding:
    """Begin or continue the run in `run`; passed where it ends, or stops with its state saved."""
    if not (run / "report.json").is_file():
        named = ["--run-dir", str(run), "--shards", str(setting.shards), "--device", str(setting.device)]
        arguments = [*flags, *named, "--threads", str(setting.threads)]
        left = setting.seconds_left - SECONDS_TO_STOP
        ended = run_module("fastwsol.train", arguments, left, stop_in_time=True)
        if ended.status not in (0, STOPPED_PROPERLY):
            raise RunFailure("\n".join([str(ended), *ended.tail]))
    files = {name: (run / name).read_text() for name in FILES if (run / name).is_file()}
    rows = [json.loads(line) for line in files.get("metrics.jsonl", "").splitlines()]
    finished = "report.json" in files
    return Finding(
        (Bound("failures", 0, 0),),
        {"finished": finished, "last row": rows[-1] if rows else None, "run": str(run), "files": files},
    )


def export(run: Path, out: Path) -> Finding:
    """The newest checkpoint's weights as safetensors, bf16 but for BN's vectors, each file below 16 MiB."""
    saved = checkpoint.newest_valid(run / "checkpoints")
    if saved is None:
        raise RunFailure(f"{run}: no checkpoint to export")
    weights = {
        name.removeprefix("model."): tensor.bfloat16() if tensor.ndim > 1 else tensor
        for name, tensor in saved.tensors.items()
        if name.startswith("model.")
    }
    pieces = in_pieces(weights)
    names = []
    for number, piece in enumerate(pieces, 1):
        names.append(f"weights-{number}-of-{len(pieces)}.safetensors")
        encoded = safetensors.torch.save(piece, {"step": str(saved.step)})
        write_durably(out / names[-1], partial(_write, encoded))
    weights_written = {k: v for name in names for k, v in safetensors.torch.load_file(out / name).items()}
    differ = sum(not torch.equal(weights_written[name], weights[name]) for name in weights)
    return Finding((Bound("tensors that differ", differ, 0),), {"step": saved.step, "pieces": names})


def in_pieces(weights: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """`weights` in their order, cut so that no piece has more than PIECE_BYTES. No tensor here is larger than that."""
    pieces: list[dict[str, Tensor]] = [{}]
    room = PIECE_BYTES
    for name, tensor in weights.items():
        if tensor.nbytes > room:
            pieces.append({})
            room = PIECE_BYTES
        pieces[-1][name] = tensor.contiguous()
        room -= tensor.nbytes
    return pieces


def _write(encoded: bytes, file: Any) -> None:
    file.write(encoded)
