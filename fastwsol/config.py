"""What a run is: one frozen dataclass, the only defaults, and the presets. Names and values are the paper's."""

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_type_hints

import tyro

from fastwsol.host.errors import UserError

AugName = Literal["none", "hns", "gr", "hns-gr", "gr-hns"]
Stem = Literal["A", "B", "C"]
Resampler = Literal["bicubic", "bilinear"]
Schedule = Literal["step", "one-cycle"]
PresetName = Literal["paper", "fast", "demo"]

MAP_STRIDES: dict[Stem, int] = {"A": 8, "B": 4, "C": 16}
"""Pixels of the network's input that a cell of its maps stands for, a side."""

GMAC: dict[tuple[int, Stem], float] = {
    (18, "A"): 0.99,
    (34, "A"): 1.83,
    (18, "B"): 3.86,
    (34, "B"): 7.19,
    (18, "C"): 0.25,
    (34, "C"): 0.46,
}
"""10^9 multiply-adds of a forward pass over one image of 64 pixels, by depth and stem. A step is three such passes, and
a multiply-add two operations.
"""

GROUP_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
"""Basic blocks in each of the four groups, by depth (paper, section 4)."""


@dataclass(frozen=True)
class Augmentation:
    """What is done to a training image; the part of the configuration that `draws` and the pipelines need."""

    aug: AugName
    flip: bool
    color: bool
    resampler: Resampler
    image_size: int

    @property
    def crops(self) -> bool:
        """Whether GoogLeNet-resize windows are drawn."""
        return "gr" in self.aug

    @property
    def hides(self) -> bool:
        """Whether Hide-and-Seek masks are drawn."""
        return "hns" in self.aug

    @property
    def hides_first(self) -> bool:
        """Whether cells are hidden in the original image, before it is cropped."""
        return self.aug == "hns-gr"


@dataclass(frozen=True)
class Config:
    """All that decides a run's result and its log. Equal configurations over equal shards are the same run."""

    aug: AugName = "gr"
    """augmentation, in the order applied: gr is GoogLeNet resize, hns is Hide-and-Seek; gr-hns is what the paper calls
    HnS after GR"""
    depth: Literal[18, 34] = 34
    """pre-activation ResNet depth"""
    stem: Stem = "A"
    """A: 7x7 stride 1, maxpool, 8x8 CAM; B: no pool, 16x16, four times the work; C: 7x7 stride 2, maxpool, 4x4, a
    quarter of the work"""
    batch_size: int = 256
    """images a step, over all processes"""
    epochs: float = 1500.0
    """passes over the training images"""
    lr: float = 0.1
    """learning rate: the first one under step, the highest under one-cycle"""
    schedule: Schedule = "step"
    """step: divided by ten every --lr-step-epochs; one-cycle: linear up over the first fifth, linear down to 0"""
    lr_step_epochs: float = 250.0
    """epochs between two drops of the learning rate under step"""
    weight_decay: float = 1e-4
    """on convolution and FC weights only"""
    momentum: float = 0.9
    """Nesterov momentum"""
    backbone_lr_mult: float = 1.0
    """factor on the learning rate of stem and groups 0-2 (the first author's later code has 0.1)"""
    label_smoothing: float = 0.0
    """share of each label that is spread over all classes"""
    average_steps: int = 0
    """evaluate the weights' running average over about so many of the last steps; 0: the weights themselves"""
    start_size: int = 0
    """side of the first images the network sees, in pixels; they grow by 16 at a time, in equal parts of the run. 0:
    --image-size from the start"""
    flip: bool = False
    """mirror half of the views"""
    color: bool = False
    """jitter brightness, contrast, saturation and lighting"""
    resampler: Resampler = "bicubic"
    """how crops are enlarged"""
    image_size: int = 64
    """side of the network's square input, in pixels"""
    seed: int = 0
    """of every draw and of the initial weights"""
    holdout: int = 0
    """images of each class never trained on; with it the run is evaluated on them and not on val"""
    eval_epochs: float = 50.0
    """epochs between two evaluations; there is one at the end in any case"""
    log_steps: int = 50
    """steps between two progress lines"""
    init_sha256: Annotated[str, tyro.conf.Suppress] = ""
    """of the file of --init, whose weights the run starts from; empty: they are drawn"""

    def __post_init__(self) -> None:
        """Raise UserError for a value that no run can have. Whole numbers given for real ones become real ones."""
        types = get_type_hints(Config)
        for field in dataclasses.fields(Config):
            value = getattr(self, field.name)
            choices = get_args(types[field.name])
            if choices and value not in choices:
                raise UserError(f"{flag(field.name)} {value}: choose from {', '.join(map(str, choices))}")
            if types[field.name] is float and isinstance(value, int):
                object.__setattr__(self, field.name, float(value))  # or equal configurations would differ in JSON
            elif not choices and type(value) is not types[field.name]:
                raise UserError(f"{flag(field.name)} {value}: must be of type {types[field.name].__name__}")
        for name in ("batch_size", "epochs", "lr", "lr_step_epochs", "eval_epochs", "log_steps", "image_size"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise UserError(f"{flag(name)} {value}: must be greater than 0")
        for name in (
            "weight_decay",
            "momentum",
            "backbone_lr_mult",
            "label_smoothing",
            "average_steps",
            "start_size",
            "holdout",
        ):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise UserError(f"{flag(name)} {value}: must be at least 0")
        if self.momentum == 0 or self.momentum >= 1:
            raise UserError(f"--momentum {self.momentum}: Nesterov momentum must lie between 0 and 1")
        if not 0 <= self.seed < 2**63:
            raise UserError(f"--seed {self.seed}: must lie in 0 .. 2^63 - 1")
        if self.label_smoothing >= 1:
            raise UserError(f"--label-smoothing {self.label_smoothing}: is a share of the label; give less than 1")
        for name in ("image_size", "start_size"):
            if (value := getattr(self, name)) % _SIZE_STEP:
                raise UserError(f"{flag(name)} {value}: must be a multiple of 16, the finest Hide-and-Seek grid")
        if self.start_size > self.image_size:
            raise UserError(f"--start-size {self.start_size}: images grow, up to --image-size {self.image_size}")

    @property
    def augmentation(self) -> Augmentation:
        """The part of the configuration that decides what is done to a training image."""
        return Augmentation(self.aug, self.flip, self.color, self.resampler, self.image_size)

    @property
    def eval_split(self) -> str:
        """The split that the run itself is evaluated on: the holdout where there is one, so that tuning spares val."""
        return "holdout" if self.holdout else "val"

    @property
    def evaluation(self) -> Augmentation:
        """The plain image, as every evaluation sees it."""
        return Augmentation("none", False, False, self.resampler, self.image_size)

    @property
    def map_size(self) -> int:
        """Cells a side of the class activation maps."""
        return self.image_size // MAP_STRIDES[self.stem]

    def total_steps(self, train_images: int) -> int:
        """Steps in the whole run over `train_images` images."""
        # Rounded first: 1.1 epochs of 100 images are 110 images, though the product of floats is a little more.
        return max(1, math.ceil(round(self.epochs * train_images / self.batch_size, 6)))

    def phases(self, train_images: int) -> list[tuple[int, int]]:
        """The sides that the network's input has in the course of the run, each with the step before which it ends."""
        sizes = range(self.start_size or self.image_size, self.image_size + 1, _SIZE_STEP)
        total = self.total_steps(train_images)
        ends = [total * (k + 1) // len(sizes) for k in range(len(sizes))]
        return [(end, size) for end, size, first in zip(ends, sizes, [0, *ends], strict=False) if first < end]

    def learning_rate(self, step: int, train_images: int) -> float:
        """The learning rate of `step` (from 0)."""
        if self.schedule == "step":
            drops = int(step * self.batch_size / train_images / self.lr_step_epochs)
            return self.lr * 0.1**drops
        done = (step + 1) / (self.total_steps(train_images) + 1)
        return self.lr * min(done / _WARMUP_SHARE, (1 - done) / (1 - _WARMUP_SHARE))

    def to_json(self) -> dict[str, Any]:
        """The configuration as a JSON object."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(value: dict[str, Any]) -> "Config":
        """The configuration that `to_json` gave; raises UserError for a field it does not know."""
        known = {field.name for field in dataclasses.fields(Config)}
        for what, names in (("the unknown", set(value) - known), ("no", known - set(value))):
            if names:
                raise UserError(f"{what} field {min(names)!r}: it was written by another version of fastwsol")
        return Config(**value)

    def digest(self) -> str:
        """SHA-256 of the configuration: equal for equal runs."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    def name(self) -> str:
        """A short name for the run's folder."""
        return f"{self.aug}-r{self.depth}{self.stem.lower()}-b{self.batch_size}-s{self.seed}-{self.digest()[:8]}"


_WARMUP_SHARE = 0.2
_SIZE_STEP = 16
"""Pixels: every side is a multiple of it, the finest Hide-and-Seek grid, and images grow by it."""


def flag(name: str) -> str:
    """The command line flag of a field."""
    return "--" + name.replace("_", "-")


def paper() -> Config:
    """The paper's recipe: 1500 epochs, 0.1 divided by ten every 250, batch 256. Days on two cores.

    So long because the paper compares augmentations where the plain baseline overfits.
    """
    return Config()


def fast() -> Config:
    """Tens of epochs under one cycle with flips: minutes on a GPU, hours on two cores. Not the paper's schedule.

    One cycle makes the most of few epochs, and 128 is the smallest batch that loses nothing in few of them (measured:
    bench/results, "The fast recipe"); flips are in the paper's code.
    """
    return Config(epochs=30, schedule="one-cycle", batch_size=128, flip=True, eval_epochs=5)


def demo() -> Config:
    """The synthetic set in minutes on two cores: the shallow network, few epochs, small batches."""
    return Config(depth=18, epochs=5, schedule="one-cycle", batch_size=32, lr=0.05, flip=True, log_steps=25)


PRESETS = {"paper": paper, "fast": fast, "demo": demo}
