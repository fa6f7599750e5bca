"""The second part of a run that trains a mask head: whether there can be one, and its state."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fastwsol.config import Config
from fastwsol.dataset.shards import Split
from fastwsol.host.device import Autocast
from fastwsol.host.errors import UserError
from fastwsol.host.world import World
from fastwsol.localizer.box_supervision import boxes_of_few
from fastwsol.localizer.localizing import trunk_channels
from fastwsol.localizer.mask_head import build_mask_head
from fastwsol.localizer.mask_training import COUNTS, MaskTraining
from fastwsol.network.classifier import Classifier
from fastwsol.network.networks import build_network
from fastwsol.runs.checkpoint import Checkpoint
from fastwsol.training.job import Job
from fastwsol.training.resume import restore
from fastwsol.training.step import State, share_state, trained_parameters
from fastwsol.training.totals import Counts, Totals


def refuse_no_mask(config: Config, classes: int, train: Split) -> None:
    """Raise UserError where a mask head is asked for and cannot be trained, since the network has no split or the set
    one class alone, and where --boxes-per-class is given without a mask head or without boxes. train: the images that
    are trained on.
    """
    few = config.localizer.boxes_per_class
    if few and not config.localizer.trains_mask:
        raise UserError(f"--boxes-per-class {few}: supervises a mask head; add --localizer mask, or leave it out")
    if not config.localizer.trains_mask:
        return
    if few:
        boxes_of_few(train, few, config.views.fit)
    if classes < 2:
        raise UserError(
            "--localizer mask: the set has one class, and a mask is found by what tells classes apart; add a folder of "
            "other images as a class, or pass --localizer cam"
        )
    if config.network.is_ours:
        return
    network = build_network(config.changed(train_part="all"), classes)
    try:
        network.tail_modules()
    except UserError:
        raise UserError(
            f"--localizer mask: --backbone {config.network.backbone} is of a family that cannot be split in two; pass "
            f"--localizer cam, or take an EfficientNet, ResNet, ConvNeXt or ViT"
        ) from None


@dataclass
class HeadState(State):
    """That of the training of a mask head behind a classifier."""

    prefix = ""

    model: MaskTraining
    world: World
    """The processes whose counts steer the loss."""

    def after_step(self, counts: Counts) -> None:
        """Steer the loss of the next step, by the counts of all processes."""
        sums: Tensor = torch.stack([counts[name] for name in ("rest_correct", "whole_correct", "images")]).double()
        self.world.add_up(sums)
        self.model.steering.follow(*sums)


def head_state(job: Job, network: Classifier, saved: Checkpoint | None) -> HeadState:
    """The state of the head behind the trained `network`: as in `saved`, the leading process's checkpoint, if that is
    of a head, or else before its first step.
    """
    world, first = job.world, job.timetable.classifier_steps
    network = network.eval()
    world.share_from_lead(network.buffers())  # BN statistics: the head stands behind one network
    state = new_head_state(job.config, network, len(job.info.classes), job.process.autocast, world, first)
    if saved is not None and saved.step > first:
        restore(state, saved, job.info, job.process.autocast.precision)
    share_state(state, world)
    return state


def new_head_state(
    config: Config, network: Classifier, classes: int, autocast: Autocast, world: World, step: int
) -> HeadState:
    """The state before the first step of a head behind `network`, which is step `step` of the run."""
    device = autocast.device
    head = build_mask_head(trunk_channels(network, config.views.image_size, device), config.seed)
    training = MaskTraining(network, config.optimizer.evaluated, head, classes).to(device)
    rate = torch.tensor(config.localizer.head_lr, dtype=torch.float32, device=device)
    group = {"params": list(trained_parameters(training).values()), "lr": rate, "lr_mult": 1.0}
    on_gpu = device.type == "cuda"
    optimizer = torch.optim.AdamW([group], lr=rate, weight_decay=_WEIGHT_DECAY, fused=True, capturable=on_gpu)
    for parameter in trained_parameters(training).values():
        optimizer.state[parameter] |= {
            "step": torch.zeros((), dtype=torch.float32, device=device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    scaler = torch.amp.GradScaler(device.type, enabled=autocast.precision == "fp16")
    totals = Totals.new(device, scaler.is_enabled(), COUNTS, step)
    return HeadState(training, optimizer, scaler, totals, step, world)


_WEIGHT_DECAY = 0.01
"""Of all that a head trains."""
