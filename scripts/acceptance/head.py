"""Phase `head`: the mask head's steps are right. No DALI.

A head is trained for some steps behind a network that has trained a little, on its features, kept as bfloat16. On the
device its masks must be those of a CPU, in float32 and nearly in bf16; captured steps must be the eager ones; and what
steers the loss must move with them, without a wait for the host.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from acceptance.record import Bound, Check, Finding
from acceptance.setting import Kept, Network, Setting, full_float32, nothing_waits, opened
from acceptance.step import losses
from fastwsol.batches.stream import Batch, Batches, Inputs
from fastwsol.config import Config
from fastwsol.features.feature_batches import ComputedFeatures
from fastwsol.features.frozen_network import FrozenNetwork
from fastwsol.host.device import Autocast
from fastwsol.host.world import ALONE
from fastwsol.localizer.mask_training import MaskLoss
from fastwsol.network.classifier import Classifier
from fastwsol.training.mask_phase import HeadState, new_head_state
from fastwsol.training.step import as_loss
from fastwsol.training.step_mode import Mode, Stepper

MASKS = {"fp32": 1e-2, "bf16": 5e-2}
"""The mean distance of masks, which lie in 0..1; a CPU's bf16 is 2e-3 off its float32. Adam makes much of small
gradients, and so of their roundings.
"""
CAPTURED = 1e-2
HEAD_LR = 2e-3


def checks(setting: Setting) -> list[Check]:
    """The phase's checks in the order of worth."""
    network = setting.networks[0]
    modes: list[Mode] = [mode for mode in setting.modes if mode != "eager"]
    return [
        Check(f"fp32 masks against the CPU's, {network}", partial(against_cpu, setting, network, "fp32")),
        Check(f"bf16 masks against the CPU's, {network}", partial(against_cpu, setting, network, "bf16")),
        *(
            Check(f"{mode} steps against eager ones, {network}", partial(against_eager, setting, network, mode), 30)
            for mode in modes
        ),
        Check(f"captured, of images, against eager, {network}", partial(of_images, setting, network), 30),
        Check(f"captured, with boxes, against eager, {network}", partial(with_boxes, setting, network), 30),
    ]


def against_cpu(setting: Setting, network: Network, precision: str) -> Finding:
    """The masks after some steps on the device, and after the same steps in float32 on the CPU."""
    classifier, features, labels = _trained(setting, network)
    with full_float32():
        on_device, area = masks_after(setting, classifier, features, labels, setting.autocast(precision), "eager")
        on_cpu, area_on_cpu = masks_after(
            setting, classifier, features, labels, Autocast(torch.device("cpu"), "fp32"), "eager"
        )
    return Finding(
        (Bound("masks", float((on_device - on_cpu).abs().mean()), MASKS[precision]),),
        {"area": float(on_device.mean()), "area weight": area, "the CPU's": area_on_cpu},
    )


BatchesOf = Callable[[Classifier, Tensor, Tensor], Batches]
"""Of a network that has trained a little, and of its kept features and their labels, on the device."""


def against_eager(setting: Setting, network: Network, mode: Mode) -> Finding:
    """The masks after some steps that are taken in `mode`, and after eager ones, on kept features."""
    return _compared(setting, network, mode, CAPTURED if mode == "captured" else MASKS["bf16"], _kept)


def of_images(setting: Setting, network: Network) -> Finding:
    """The same of captured steps in which the frozen network gives the features, in place of kept ones."""

    def batches(classifier: Classifier, features: Tensor, labels: Tensor) -> Batches:
        frozen = FrozenNetwork(classifier, "tail", setting.autocast("bf16"), str(network))
        return ComputedFeatures(Kept(setting.batch(len(labels))[0], labels), frozen)

    return _compared(setting, network, "captured", CAPTURED, batches)


def with_boxes(setting: Setting, network: Network) -> Finding:
    """The same of captured steps that boxes supervise too."""
    return _compared(setting, network, "captured", CAPTURED, lambda _, features, labels: _WithBox(features, labels))


def _kept(classifier: Classifier, features: Tensor, labels: Tensor) -> Batches:
    return Kept(features, labels)


class _WithBox(Kept):
    """The same batch again and again, with the same box for each image."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        super().__init__(images, labels)
        self._taken["boxes"] = torch.tensor([[0.25, 0.25, 0.75, 0.5]]).repeat(len(labels), 1).to(labels.device)

    def show(self, taken: Inputs) -> Batch:
        """See `Batches.show`."""
        return replace(super().show(taken), extra=taken["boxes"])


def _compared(setting: Setting, network: Network, mode: Mode, bound: float, batches_of: BatchesOf) -> Finding:
    classifier, features, labels = _trained(setting, network)
    autocast = setting.autocast("bf16")
    ways = [masks_after(setting, classifier, features, labels, autocast, each, batches_of) for each in (mode, "eager")]
    (masks, area), (expected, expected_area) = ways
    return Finding(
        (
            Bound("masks", float((masks - expected).abs().mean()), bound),
            Bound("area weight", abs(area / expected_area - 1), 5 * bound),
        ),
        {"area weight": area},
    )


def masks_after(
    setting: Setting,
    classifier: Classifier,
    features: Tensor,
    labels: Tensor,
    autocast: Autocast,
    mode: Mode,
    batches_of: BatchesOf = _kept,
) -> tuple[Tensor, float]:
    """The masks of `features`, float32 [N, h, w] on the CPU, of a head after some steps on them; and the weight of the
    area that it was steered to.
    """
    network = copy.deepcopy(classifier).to(autocast.device)
    state = new_head_state(Config(), network, _classes(setting), autocast, ALONE, 0)
    batches = batches_of(network, features.to(autocast.device), labels.to(autocast.device))
    stepper, training = _stepper(setting, state, autocast, mode, batches), state.model
    sample = batches.take()
    for _ in range(setting.sized(10, 2)):
        stepper.step(sample, HEAD_LR)
    with nothing_waits(autocast.device):
        stepper.step(sample, HEAD_LR)
    training.eval()
    with torch.inference_mode(), autocast():
        masks = training.head(network.trunk_cells(features.to(autocast.device).float()))
    return masks.float().cpu(), float(training.steering.area_weight)


def _stepper(setting: Setting, state: HeadState, autocast: Autocast, mode: Mode, batches: Batches) -> Stepper:
    compiled = "compiled" in mode
    loss_of = as_loss(MaskLoss(state.model, autocast), autocast, compiled and not setting.dry_run)
    if compiled and setting.dry_run:  # as the other phases do: the graph alone
        loss_of = torch.compile(loss_of, backend="eager")
    return Stepper(mode, state, loss_of, batches, batches.take())


def _trained(setting: Setting, network: Network) -> tuple[Classifier, Tensor, Tensor]:
    """A network that has trained a little, features of its cut [N, C, h, w] in bfloat16, and their labels."""
    state = setting.state(network, "fp32")
    losses(setting, network, "fp32", compiled=False, state=state)
    images, labels = setting.batch(setting.sized(32, 4))
    classifier = state.model.eval()
    with torch.inference_mode(), full_float32():
        features = classifier.trunk(images).bfloat16()
    return classifier, features.clone(), labels


def _classes(setting: Setting) -> int:
    return len(opened(setting.shards).manifest.classes)
