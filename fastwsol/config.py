"""What a run is: nested frozen dataclasses by concern, and the only defaults. Names and values are the paper's."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args, get_type_hints

import tyro

from fastwsol.host.errors import UserError

AugName = Literal["none", "hns", "gr", "hns-gr", "gr-hns"]
Depth = Literal[18, 34]
Stem = Literal["A", "B", "C"]
Resampler = Literal["bicubic", "bilinear"]
Fit = Literal["stretch", "crop"]
Mix = Literal["none", "cutmix", "mixup"]
ScheduleName = Literal["step", "one-cycle"]
TrainPart = Literal["all", "tail", "classifier"]
TrainedLocalizer = Literal["cam", "mask"]
EvalOn = Literal["val", "fullsup"]

Channels = tuple[float, float, float]
"""A number for each of R, G, B."""


class Statistics(NamedTuple):
    """Of pixels, R, G, B in 0..255: what images are normalised by."""

    mean: Channels
    std: Channels


def as_channels(values: Sequence[float]) -> Channels:
    """Three numbers out of JSON. Raises ValueError or TypeError for others."""
    red, green, blue = map(float, values)
    return red, green, blue


PREACT_RESNET = "preact-resnet"
"""The network of the paper, whose depth is an option of its own."""

SIZE_STEP = 16
"""Pixels: every side is a multiple of it, the finest Hide-and-Seek grid, and images grow by it."""

_POSITIVE = {
    *("batch_size", "epochs", "lr", "lr_step_epochs", "image_size"),
    *("head_steps", "head_batch_size", "head_lr"),
}
"""Options that must be above 0; no other number may be negative."""


_BOUNDS: dict[str, tuple[float, float]] = {"epochs": (0, 1_000_000), "lr_step_epochs": (1e-6, 1_000_000)}
"""Beyond these, steps are no whole numbers any more."""


def added(default: Any, as_before: Any) -> Any:
    """A field that runs of an earlier version lack. as_before: the value that means what those runs did.

    A file without the field reads as `as_before`, and a configuration with that value has the identity that it had
    before the field was there: a new option leaves older runs usable.
    """
    return field(default=default, metadata={"as_before": as_before})


@dataclass(frozen=True)
class Augmentation:
    """What is done to a training image."""

    aug: AugName = "gr"
    """augmentation, in the order applied: gr is GoogLeNet resize, hns is Hide-and-Seek; gr-hns is what the paper calls
    HnS after GR"""
    flip: bool = False
    """mirror half of the views"""
    color: bool = False
    """jitter brightness, contrast, saturation and lighting"""
    resampler: Resampler = "bicubic"
    """how crops are enlarged"""
    image_size: int = 64
    """side of the network's square input, in pixels"""
    crops_per_image: int = added(0, as_before=0)
    """number of different crops that GR draws of each image; epochs take them in turn, so that features of a frozen
    part can be kept for them. 0: a new crop in each epoch"""
    fit: Fit = added("stretch", as_before="stretch")  # noqa: RUF009
    """how an image fills the network's square. stretch: the whole of it; crop: its middle square alone, which keeps
    its proportions and cuts objects off"""
    store_size: int = added(0, as_before=0)
    """side, in pixels, of the squares that training images of many sizes are decoded into, once; 0: 1.15 x the image
    size, rounded to 32, where that saves decoding them in many epochs; --data dali makes no squares"""
    mix: Mix = added("none", as_before="none")  # noqa: RUF009
    """how views of a batch are mixed in pairs, and their labels with them. cutmix: a window of one view is put into the
    other; mixup: the two views are blended"""
    mix_share: float = added(0.5, as_before=0.5)
    """share of the views that are mixed, with --mix"""

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

    @property
    def shows_parts(self) -> bool:
        """Whether a view may show less than the whole image."""
        return self.crops or self.fit == "crop"

    @property
    def plain(self) -> "Augmentation":
        """The plain image, from its own pixels, as every evaluation sees it."""
        return Augmentation("none", resampler=self.resampler, image_size=self.image_size, fit=self.fit)


@dataclass(frozen=True)
class NetworkConfig:
    """Which network is trained, and from which weights."""

    backbone: str = added(PREACT_RESNET, as_before=PREACT_RESNET)
    """preact-resnet, of --depth and --stem (preact-resnet-18 and -34 name the depth too); or a network of timm, whose
    last layer reads averaged features or a class token"""
    depth: Depth = 34
    """pre-activation ResNet depth"""
    stem: Stem = "A"
    """A: 7x7 stride 1, maxpool, 8x8 CAM; B: no pool, 16x16, four times the work; C: 7x7 stride 2, maxpool, 4x4, a
    quarter of the work"""
    output_stride: int = added(0, as_before=0)
    """for a network of timm whose maps can be made finer: the side of a map's cell, in pixels; 0: its own"""
    train_part: TrainPart = added("all", as_before="all")  # noqa: RUF009
    """what is trained: all; tail: the layers behind the last features but one; classifier: the last layer"""
    attention_dropout: float = added(0.0, as_before=0.0)
    """attention-based dropout (ADL) of preact-resnet in training: the probability that a view's most activated cells
    are set to 0 behind each of the last three groups; otherwise features are multiplied by the sigmoid of their
    attention. 0: off (ADL's paper: 0.75)"""
    init_sha256: Annotated[str, tyro.conf.Suppress] = added("", as_before="")
    """SHA-256 of the file of --init, whose weights the run starts from; empty: none is given"""
    weights_sha256: Annotated[str, tyro.conf.Suppress] = added("", as_before="")
    """SHA-256 of the tensors of --weights, which the backbone starts from; empty: none are given"""

    def __post_init__(self) -> None:
        """A name that holds the depth becomes name and depth."""
        if isinstance(self.backbone, str) and self.backbone in DEPTH_OF:  # of another type: told with its flag
            object.__setattr__(self, "depth", DEPTH_OF[self.backbone])
            object.__setattr__(self, "backbone", PREACT_RESNET)

    @property
    def is_ours(self) -> bool:
        """Whether it is the paper's network, and none of timm."""
        return self.backbone == PREACT_RESNET


DEPTH_OF: dict[str, Depth] = {f"{PREACT_RESNET}-18": 18, f"{PREACT_RESNET}-34": 34}


@dataclass(frozen=True)
class OptimizerConfig:
    """How a step changes the weights."""

    batch_size: int = 256
    """images a step, over all processes"""
    lr: float = 0.1
    """learning rate: the first one under step, the highest under one-cycle"""
    weight_decay: float = 1e-4
    """on weights of convolutions and linear layers only (a mask head's is constant: 0.01, on all that it trains)"""
    momentum: float = 0.9
    """Nesterov momentum"""
    backbone_lr_mult: float = 1.0
    """factor on the learning rate of stem and groups 0-2 (the first author's later code has 0.1); for a network of
    timm, on that of all layers but the last"""
    label_smoothing: float = 0.0
    """share of each label that is spread over all classes"""
    average_steps: int = 0
    """evaluate the weights' running average over about so many of the last steps; 0: the weights themselves"""

    @property
    def evaluated(self) -> Literal["average", "model"]:
        """The weights that evaluations look at, by their name in checkpoints."""
        return "average" if self.average_steps else "model"


@dataclass(frozen=True)
class ScheduleConfig:
    """How long the training is, and what changes in the course of it."""

    epochs: float = 1500.0
    """passes over the training images"""
    schedule: ScheduleName = "step"
    """how the learning rate changes. step: it is divided by ten every --lr-step-epochs; one-cycle: it rises linearly
    over the first fifth of the run and falls linearly to 0"""
    lr_step_epochs: float = 250.0
    """epochs between two drops of the learning rate under step"""
    start_size: int = 0
    """side of the first images the network sees, in pixels; they grow by 16 at a time, in equal parts of the run. 0:
    the last size from the start"""
    end_size: int = added(0, as_before=0)
    """side of the last images the network is trained on, in pixels; it is evaluated at --image-size, which finds more
    where crops have shown objects larger than they are (Touvron et al. 2019). 0: --image-size"""

    @property
    def has_own_sizes(self) -> bool:
        """Whether the network is trained on images of other sides than it is evaluated on."""
        return bool(self.start_size or self.end_size)


@dataclass(frozen=True)
class LocalizerConfig:
    """What is trained behind the classifier to say where the object is."""

    localizer: TrainedLocalizer = added("cam", as_before="cam")  # noqa: RUF009
    """what is trained to localize. cam: nothing, maps are made with the classifier's own weights; mask: a head behind
    the trained classifier, which makes a mask of each image and is trained from the same labels"""
    head_steps: int = added(200, as_before=200)
    """steps in which the mask head is trained"""
    head_batch_size: int = added(16, as_before=16)
    """images a step of the mask head's training, over all processes"""
    head_lr: float = added(2e-3, as_before=2e-3)
    """highest learning rate of the mask head under AdamW and one cycle"""
    boxes_per_class: int = added(0, as_before=0)
    """number of training images of each class whose boxes supervise the mask head too. The run is then no longer weakly
    supervised, and every row of results says so; at least a quarter of each batch has boxes"""
    behind_sha256: Annotated[str, tyro.conf.Suppress] = added("", as_before="")
    """SHA-256 of the tensors of the classifier that --behind names (in older runs: of its checkpoint); empty: the
    classifier is the run's own"""

    @property
    def trains_mask(self) -> bool:
        """Whether a mask head is trained."""
        return self.localizer == "mask"


@dataclass(frozen=True)
class DataConfig:
    """Which images are trained on, and which the run evaluates itself on."""

    holdout: int = 0
    """number of images of each class that are never trained on; the run is then evaluated on them and not on val"""
    eval_on: EvalOn = added("val", as_before="val")  # noqa: RUF009
    """what the run evaluates itself on without --holdout: val; or fullsup, the WSOL benchmark's images to choose
    settings on (pack --fullsup), which leaves val unseen too"""


@dataclass(frozen=True)
class Setting:
    """All that decides a run's result but its seed: runs of equal settings differ by chance alone."""

    views: Augmentation = Augmentation()
    network: NetworkConfig = NetworkConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    localizer: LocalizerConfig = LocalizerConfig()
    data: DataConfig = DataConfig()

    def __post_init__(self) -> None:
        """Raise UserError for a value that no run can have. Whole numbers given for real ones become real ones."""
        for concern in _concerns(self).values():
            _check_types(concern)
        _check_shares(self)
        for name, value in self.flat().items():
            if name in _POSITIVE:
                require_positive(name, value)
            elif type(value) in (int, float):
                _require_not_negative(name, value)
            least, most = _BOUNDS.get(name, (value, value))
            if not least <= value <= most:
                raise UserError(f"{flag(name)} {value}: must be from {least:g} to {most:,}")
        _check_what_goes_together(self)
        _check_sides(self)

    @classmethod
    def of(cls, **values: Any) -> Self:
        """The defaults with `values`, by the names of their flags (`batch_size`). Raises UserError as the class does,
        TypeError for a name that is none.
        """
        return cls().changed(**values)

    def changed(self, **values: Any) -> Self:
        """The same with other `values`, by the names of their flags. Raises as `of` does."""
        backbone = values.get("backbone")
        depth = DEPTH_OF.get(backbone) if isinstance(backbone, str) else None
        if depth is not None and values.get("depth", depth) != depth:
            raise UserError(
                f"--depth {values['depth']}: --backbone {values['backbone']} says the depth; leave one of the two out"
            )
        of_concern: dict[str, dict[str, Any]] = {}
        own: dict[str, Any] = {}
        for name, value in values.items():
            concern = _CONCERN_OF.get(name)
            if concern is not None:
                of_concern.setdefault(concern, {})[name] = value
            elif name in _OWN_NAMES[type(self)]:
                own[name] = value
            else:
                raise TypeError(f"there is no option {name!r}")
        for concern, changes in of_concern.items():
            own[concern] = dataclasses.replace(getattr(self, concern), **changes)
        return dataclasses.replace(self, **own)

    def flat(self) -> dict[str, Any]:
        """All values by the names of their flags."""
        values: dict[str, Any] = {}
        for part in _concerns(self).values():
            values |= vars(part)
        return values | {name: getattr(self, name) for name in _OWN_NAMES[type(self)]}

    @property
    def eval_split(self) -> str:
        """The split that the run itself is evaluated on: the holdout where there is one, else --eval-on."""
        return "holdout" if self.data.holdout else self.data.eval_on


@dataclass(frozen=True)
class Config(Setting):
    """All that decides a run's result: a setting and a seed. Equal configurations on equal shards are the same run."""

    seed: int = 0
    """seed of every random draw and of the initial weights"""

    def __post_init__(self) -> None:
        """Raise UserError for a value that no run can have."""
        super().__post_init__()
        if type(self.seed) is not int:
            raise UserError(f"--seed {self.seed}: must be of type int")
        if not 0 <= self.seed < 2**32:  # torch's generator on a CPU takes no more bits
            raise UserError(f"--seed {self.seed}: must lie in 0 .. {2**32 - 1}")

    @property
    def setting(self) -> Setting:
        """The configuration without its seed."""
        return Setting(**_concerns(self))

    @staticmethod
    def of_setting(setting: Setting, seed: int) -> "Config":
        """A setting's configuration for a seed."""
        return Config(**_concerns(setting), seed=seed)

    def to_json(self) -> dict[str, Any]:
        """The configuration as a JSON object: an object for each concern, and the seed."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(value: dict[str, Any]) -> "Config":
        """The configuration that `to_json` gave, by this version or one before it.

        Raises UserError for a field that it does not know, or lacks.
        """
        values: dict[str, Any] = {}
        rest = dict(value)
        for concern in _CONCERNS:
            part = rest.pop(concern, {} if concern in _NEW_CONCERNS else None)
            if not isinstance(part, dict):
                raise UserError(f"no field {concern!r}: it was written by another version of fastwsol")
            values |= part
        return Config.from_flat(values | rest)

    @staticmethod
    def from_flat(values: dict[str, Any]) -> "Config":
        """The configuration of `flat`, by this version or one before it. Raises as `from_json` does."""
        flag_names = set(Config().flat())
        values = _AS_BEFORE | values
        for what, names in (("the unknown", set(values) - flag_names), ("no", flag_names - set(values))):
            if names:
                raise UserError(f"{what} field {min(names)!r}: it was written by another version of fastwsol")
        return Config.of(**values)

    def digest(self) -> str:
        """SHA-256 of the configuration. It is equal for equal runs, also where one of them was begun by a version that
        lacked an option.
        """
        values = {name: value for name, value in self.flat().items() if not is_as_before(name, value)}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def name(self) -> str:
        """A short name for the run's folder."""
        return self.name_by(self.digest())

    def name_by(self, digest: str) -> str:
        """The name of the folder of a run that is known by `digest`."""
        size, network = self.optimizer.batch_size, self.network
        backbone = f"r{network.depth}{network.stem.lower()}" if network.is_ours else network.backbone
        return f"{self.views.aug}-{backbone}-b{size}-s{self.seed}-{digest[:8]}"


@dataclass(frozen=True)
class LogConfig:
    """How often a run reports its progress. This is no part of what the run is: it may change from start to start."""

    eval_epochs: float = 50.0
    """epochs between two evaluations; there is one at the end in any case"""
    log_steps: int = 50
    """steps between two progress lines"""

    def __post_init__(self) -> None:
        """Raise UserError for what is not above 0."""
        _check_types(self)
        for name, value in vars(self).items():
            require_positive(name, value)


_CONCERNS = tuple(each.name for each in dataclasses.fields(Setting))
_OWN_NAMES: dict[type, tuple[str, ...]] = {Setting: (), Config: ("seed",)}
_FIELDS = {each.name: (concern, each) for concern in _CONCERNS for each in dataclasses.fields(vars(Setting)[concern])}
_CONCERN_OF = {name: concern for name, (concern, _) in _FIELDS.items()}
_AS_BEFORE = {name: each.metadata["as_before"] for name, (_, each) in _FIELDS.items() if "as_before" in each.metadata}
_NEW_CONCERNS = {name for name in _CONCERNS if all(each in _AS_BEFORE for each in _FIELDS if _CONCERN_OF[each] == name)}
"""The concerns of which an earlier version had no field, and so no block in its files."""
FLAT_NAMES = (*_FIELDS, "seed")
"""The options of a run, by the names of their flags."""


def option_field(name: str) -> tuple[str, Any, Any]:
    """An option's name, type and default, to make a dataclass with."""
    if name in _CONCERN_OF:
        owner: type = type(getattr(Setting(), _CONCERN_OF[name]))
        default = getattr(owner(), name)
    else:
        owner, default = Config, getattr(Config(), name)
    return name, get_type_hints(owner, include_extras=True)[name], field(default=default)


def _check_shares(setting: Setting) -> None:
    """Raise UserError for a share outside its range."""
    if not 0 < (momentum := setting.optimizer.momentum) < 1:
        raise UserError(f"--momentum {momentum}: Nesterov momentum must lie between 0 and 1")
    if not (smoothing := setting.optimizer.label_smoothing) < 1:
        raise UserError(f"--label-smoothing {smoothing}: is a share of the label; give less than 1")
    if (dropped := setting.network.attention_dropout) and not 0 < dropped < 1:
        raise UserError(f"--attention-dropout {dropped}: is a share of the views; give 0, or more and less than 1")
    if not 0 < (share := setting.views.mix_share) <= 1:
        raise UserError(f"--mix-share {share}: is a share of the views; give more than 0, and 1 at most")


def _check_what_goes_together(setting: Setting) -> None:
    """Raise UserError for a value that another one rules out."""
    if (dropped := setting.network.attention_dropout) and not (
        setting.network.is_ours and setting.network.train_part == "all"
    ):
        raise UserError(
            f"--attention-dropout {dropped}: is for preact-resnet, all of it trained; leave it out, or leave out "
            f"--backbone and --train-part"
        )
    if setting.data.holdout and setting.data.eval_on != "val":
        raise UserError(
            f"--eval-on {setting.data.eval_on}: with --holdout the run is evaluated on that; leave one of the two out"
        )
    if (mix := setting.views.mix) != "none" and (size := setting.optimizer.batch_size) % 2:
        raise UserError(f"--batch-size {size}: --mix {mix} mixes a batch in pairs; give an even number")


def _check_sides(setting: Setting) -> None:
    """Raise UserError for a side that no square can have, and for sides that do not grow."""
    values = setting.flat()
    for name in ("image_size", "start_size", "end_size"):
        if values[name] % SIZE_STEP:
            raise UserError(f"{flag(name)} {values[name]}: must be a multiple of 16, the finest Hide-and-Seek grid")
    size = setting.views.image_size
    if (end := setting.schedule.end_size) > size:
        raise UserError(f"--end-size {end}: a network is trained on smaller images than --image-size {size}")
    if (start := setting.schedule.start_size) > (end or size):
        last = f"--end-size {end}" if end else f"--image-size {size}"
        raise UserError(f"--start-size {start}: images grow, up to {last}")
    if 0 < (store := setting.views.store_size) < size:
        raise UserError(f"--store-size {store}: images would be enlarged again; give at least --image-size {size}")


def _concerns(setting: Setting) -> dict[str, Any]:
    return {name: getattr(setting, name) for name in _CONCERNS}


def is_as_before(name: str, value: Any) -> bool:
    """Whether an option has the value that reproduces the behaviour before it existed."""
    return name in _AS_BEFORE and value == _AS_BEFORE[name]


def _check_types(part: Any) -> None:
    types = get_type_hints(type(part))
    for each in dataclasses.fields(part):
        value, annotation = getattr(part, each.name), types[each.name]
        choices = get_args(annotation)
        if choices and value not in choices:
            raise UserError(f"{flag(each.name)} {value}: choose from {', '.join(map(str, choices))}")
        # Equal configurations are equal in JSON too.
        if choices:
            object.__setattr__(part, each.name, choices[choices.index(value)])
        elif annotation is float and type(value) is int:
            object.__setattr__(part, each.name, float(value))
        elif type(value) is not annotation:
            raise UserError(f"{flag(each.name)} {value}: must be of type {annotation.__name__}")


def require_positive(name: str, value: float) -> None:
    """Raise UserError where the value of the flag of field `name` is not a finite number above 0."""
    if not (math.isfinite(value) and value > 0):
        raise UserError(f"{flag(name)} {value}: must be greater than 0")


def _require_not_negative(name: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise UserError(f"{flag(name)} {value}: must be at least 0")


def differing_options(options: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The options in which settings differ. options: the values of each setting, by name. The hash of published weights
    is left out where each backbone has one hash.
    """

    def kinds(names: Sequence[str]) -> int:
        return len({tuple(str(each[name]) for name in names) for each in options})

    differing = [name for name in options[0] if kinds([name]) > 1]
    if "weights_sha256" in differing and kinds(["backbone"]) == kinds(["backbone", "weights_sha256"]):
        differing.remove("weights_sha256")
    return tuple(differing)


def flag(name: str) -> str:
    """The command line flag of a field."""
    return "--" + name.replace("_", "-")
