"""A trained run from its folder: what it is, its newest checkpoint, its network. Evaluation and prediction share it."""

from collections.abc import Mapping

from torch import Tensor

from fastwsol import checkpoint
from fastwsol.errors import UserError
from fastwsol.model import PreActResNet, build_model
from fastwsol.rundir import RunDir, RunInfo


def read_run(run: RunDir) -> tuple[RunInfo, checkpoint.Checkpoint]:
    """What the run is, and its newest checkpoint; raises UserError where there is none."""
    info = run.read_info()
    saved = checkpoint.newest_valid(run.checkpoints)
    if saved is None:
        raise UserError(f"{run.folder}: has no checkpoint yet; let it train, then try again")
    info.check_checkpoint(saved)
    return info, saved


def trained_model(info: RunInfo, tensors: Mapping[str, Tensor] | None) -> PreActResNet:
    """The run's network on the CPU with a checkpoint's weights: their average, where the run keeps one.

    Without tensors it has its initial weights: of a process that gets them from another.
    """
    model = build_model(info.config.depth, info.config.stem, len(info.classes), info.config.seed)
    if tensors is not None:
        weights = "average" if info.config.average_steps else "model"
        model.load_state_dict({name: tensors[f"{weights}.{name}"] for name in model.state_dict()})
    return model
