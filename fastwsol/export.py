"""python -m fastwsol.export RUN --onnx FILE: a run's network and localizer as one graph, for programs without fastwsol.

From the pixels of an image, 0 to 255, to logits and maps; `fastwsol.prediction.graph` describes inputs and outputs, and
`scripts/onnx_boxes.py` is a program that makes boxes of them with onnxruntime, Pillow and SciPy alone. The graph is run
before it is written, and written only if it gives what the network does.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from fastwsol.host.starting import run

    run("export")

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from fastwsol.host.command_line import parse_flags
from fastwsol.host.errors import UserError
from fastwsol.host.files import write_bytes
from fastwsol.host.flags import OptionalPath
from fastwsol.host.places import require_apart, require_new
from fastwsol.localizer.flags import LocalizerFlag
from fastwsol.prediction.graph import description, exported_onnx, exported_torch
from fastwsol.prediction.predictor import Predictor

PROG = "python -m fastwsol.export"
DESCRIPTION = "Write a run's network and localizer as one graph: from pixels to logits and maps."


@dataclass(frozen=True)
class Flags:
    """The command line."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """folder of the run"""
    onnx: OptionalPath = None
    """new file for the graph as ONNX; its metadata names classes, statistics, scale and cut"""
    torch: OptionalPath = None
    """new file (.pt2) for the graph as torch.export has it"""
    localizer: LocalizerFlag = None
    """what makes the maps; default: the mask where one was trained, else cam"""


def main(arguments: Sequence[str]) -> int:
    """Write the files; exit status 0."""
    flags = parse_flags(Flags, arguments, PROG, DESCRIPTION)
    if flags.onnx is None and flags.torch is None:
        raise UserError("nothing to write; name a file with --onnx or --torch")
    require_apart({"--onnx": flags.onnx, "--torch": flags.torch})
    for name, path in (("--onnx", flags.onnx), ("--torch", flags.torch)):
        require_new(name, path)
    if flags.torch is not None and flags.torch.suffix != ".pt2":
        raise UserError(f"--torch {flags.torch}: such a file ends in .pt2; name it so")
    predictor = Predictor.of_run(flags.run, "cpu", precision="fp32", localizer=flags.localizer)
    about = description(predictor, flags.run.resolve().name)
    for path, exported in ((flags.onnx, exported_onnx), (flags.torch, exported_torch)):
        if path is not None:
            content = exported(predictor, about)
            write_bytes(path, content, is_new=True)
            megabytes = len(content) / 1e6
            print(f"{path}: {predictor.localizer.title}, {len(predictor.info.classes)} classes, {megabytes:.1f} MB")
    return 0
