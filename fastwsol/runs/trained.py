"""A trained run from its folder: what it is, its newest checkpoint, its network. Evaluation and prediction share it."""

from collections.abc import Mapping

import torch
from torch import Tensor

from fastwsol.host.errors import UserError
from fastwsol.network.classifier import Classifier
from fastwsol.network.networks import build_network, empty_network
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


def trained_model(info: RunInfo, tensors: Mapping[str, Tensor] | None) -> Classifier:
    """The run's network on the CPU with a checkpoint's weights: their average, where the run keeps one.

    tensors: by the names of a checkpoint; None: the initial weights, for a process that gets others from another one.
    """
    config, classes = info.config, len(info.classes)
    if tensors is None:
        return build_network(config, classes)
    weights = "average" if config.optimizer.average_steps else "model"
    model = empty_network(config, classes)
    model.load_state_dict({name: tensors[f"{weights}.{name}"] for name in model.state_dict()}, assign=True)
    return model.to(memory_format=torch.channels_last)
