"""A trained run from its folder: what it is, its newest checkpoint, its network. Evaluation and prediction share it."""

from collections.abc import Mapping

import torch
from torch import Tensor

from fastwsol.host.errors import UserError
from fastwsol.network.preact_resnet import PreActResNet, build_model
from fastwsol.runs import checkpoint
from fastwsol.runs.folder import RunDir, RunInfo


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
    config, classes = info.config, len(info.classes)
    if tensors is None:
        return build_model(config.depth, config.stem, classes, config.seed)
    weights = "average" if config.average_steps else "model"
    with torch.device("meta"):  # whose weights take no time to draw
        model = PreActResNet(config.depth, config.stem, classes)
    model.load_state_dict({name: tensors[f"{weights}.{name}"] for name in model.state_dict()}, assign=True)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
