"""A run's rows as curves for TensorBoard, which is optional: event files in the run's folder, beside metrics.jsonl."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastwsol.host.errors import UserError
from fastwsol.runs.folder import RunDir

_SCALARS = ("loss", "train_top1_clas", "lr", "images_per_second")
"""Of rows of training steps; of an evaluation's rows every rate of every protocol is a curve."""


class Curves:
    """The curves of one run. What metrics.jsonl has is written when they are opened, so that they are whole."""

    def __init__(self, run: RunDir) -> None:
        """Raise UserError where TensorBoard is not installed."""
        writer = require_tensorboard()
        folder = run.tensorboard
        for old in folder.glob("events.out.tfevents.*"):  # the same rows, and some of steps that are done again
            old.unlink()
        self._writer = writer(str(folder))
        for row in run.rows():
            self.add(row)

    def add(self, row: dict[str, Any]) -> None:
        """Add a row of metrics.jsonl."""
        for tag, value in curves_of(row):
            self._writer.add_scalar(tag, value, row["step"])
        self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


def require_tensorboard() -> Any:
    """TensorBoard's writer; raises UserError where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("--tensorboard: TensorBoard is not installed; pip install tensorboard") from None
    return SummaryWriter


def write_curves(run: RunDir) -> Path:
    """Write the curves of a run as it stands, and give their folder."""
    Curves(run).close()
    return run.folder / "tensorboard"


def curves_of(row: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """The values of a row by the names of their curves."""
    if row["kind"] in ("train", "head"):
        yield from ((f"{row['kind']}/{name}", row[name]) for name in _SCALARS if name in row)
        return
    for protocol, rates in row.items():
        if isinstance(rates, dict):
            for rate, value in rates.items():
                if value is not None:
                    yield f"{row['split']}_{protocol}/{rate.replace('@', '_iou_')}", value
