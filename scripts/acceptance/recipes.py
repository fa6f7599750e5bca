"""Checks of phase `step`: what recipes add to a training, its steps replayed, against the same steps taken eagerly.

Both trainings see the same batches of the training stream, made on the device from decoded images: mixed, or with draws
for attention dropout, as `train` makes them.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from acceptance.augment import on_device, stream_of
from acceptance.record import Bound, Check, Finding
from acceptance.setting import SEED, Network, Setting, opened
from fastwsol.batches.drawn_ahead import BatchesWithExtra
from fastwsol.batches.mixing import MixedBatches
from fastwsol.batches.store_batches import DeviceBatches
from fastwsol.batches.stream import Batches
from fastwsol.config import Config
from fastwsol.draws import draw_drops
from fastwsol.network.attention_dropout import PLACES
from fastwsol.training.step import ClassifierState, make_loss, new_state
from fastwsol.training.step_mode import Mode, Stepper

RECIPES: dict[str, dict[str, Any]] = {
    "average, attention dropout and smoothing": {
        "average_steps": 3,
        "attention_dropout": 0.5,
        "label_smoothing": 0.1,
    },
    "cutmix": {"mix": "cutmix"},
    "mixup": {"mix": "mixup"},
}
LOSSES = 2e-2
"""Between the mean losses of two short trainings, as a share."""
AVERAGES = 5e-2
"""Between the averages of their weights, likewise."""
LR = 0.02


def checks(setting: Setting, network: Network) -> list[Check]:
    """A check for each recipe, and for the loss scaler of fp16."""
    precisions = [(name, "bf16") for name in RECIPES] + [("plain", "fp16")]
    return [
        Check(
            f"captured against eager, {name}, {precision}, {network}",
            partial(against_eager, setting, network, name, precision),
            20,
        )
        for name, precision in precisions
    ]


def against_eager(setting: Setting, network: Network, name: str, precision: str) -> Finding:
    """The mean loss of a short training, and where it keeps one its average network, captured and eager."""
    captured, eager = (_trained(setting, network, name, precision, mode) for mode in ("captured", "eager"))
    losses = [float(each.totals.loss) for each in (captured, eager)]
    bounds = [
        Bound("losses against eager", abs(losses[0] / losses[1] - 1), LOSSES),
        Bound("steps that differ", abs(int(captured.totals.step) - int(eager.totals.step)), 0),
    ]
    if captured.average is not None and eager.average is not None:
        ours, theirs = (each.average.state_dict() for each in (captured, eager) if each.average is not None)
        off = sum(float((ours[key].double() - each.double()).square().sum()) for key, each in theirs.items())
        whole = sum(float(each.double().square().sum()) for each in theirs.values())
        bounds.append(Bound("averages against eager", float(np.sqrt(off / whole)), AVERAGES))
    return Finding(tuple(bounds))


def _trained(setting: Setting, network: Network, name: str, precision: str, mode: Mode) -> ClassifierState:
    """The state after some steps."""
    config = Config.of(depth=network.depth, stem=network.stem, aug="gr", flip=True, **RECIPES.get(name, {}))
    autocast, classes = setting.autocast(precision), len(opened(setting.shards).manifest.classes)
    state = new_state(config, classes, autocast)
    batches = _batches(setting, config, classes)
    loss_of = make_loss(state.model, autocast, compiled=False, label_smoothing=config.optimizer.label_smoothing)
    stepper = Stepper(mode, state, loss_of, batches, batches.take())
    for _ in range(setting.sized(20, 2)):
        stepper.step(batches.take(), LR)
    return state


def _batches(setting: Setting, config: Config, classes: int) -> Batches:
    """The batches that a training of this configuration takes."""
    stream = stream_of(setting, config.views, setting.sized(64, 4))
    batches: Batches = DeviceBatches(stream, on_device(setting), torch.float32, compiled=False)
    if config.views.mix != "none":
        batches = MixedBatches(batches, stream, classes, setting.device)
    if not (rate := config.network.attention_dropout):
        return batches

    def drops(ids: NDArray[np.int64], epochs: NDArray[np.int64]) -> NDArray[np.bool_]:
        return draw_drops(rate, PLACES, SEED, ids, epochs)

    return BatchesWithExtra(batches, drops, stream, setting.device)
