"""What is to be proved on a GPU, in the order of worth: items, and the trainings that prove them."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Training:
    """A run by its flags. seconds: what it takes on an H200, about, beside another one; photos: on the photographs and
    not on Tiny ImageNet.
    """

    name: str
    flags: str
    seconds: float
    photos: bool = False
    keep_weights: bool = False
    """Whether its weights are wanted, beside its numbers."""


@dataclass(frozen=True)
class Item:
    """What is to be proved, and the trainings that do. alone: they are timed, and nothing runs beside them."""

    name: str
    what: str
    trainings: tuple[Training, ...]
    alone: bool = False


THIRTY = "--epochs 30 --schedule one-cycle --batch-size 128 --flip --eval-epochs 5 --depth 18 --localizer mask"
"""What `--preset fast` was before it grew its images."""
UNTRIED = "--step compiled-captured"
"""What is the fastest alone would not be found by a trial beside another training."""


def _over_seeds(
    name: str, flags: str, seconds: float, seeds: Sequence[int] = (0, 1, 2), photos: bool = False
) -> list[Training]:
    return [Training(f"{name}-{seed}", f"{flags} --seed {seed}", seconds, photos) for seed in seeds]


def _settings_over_seeds(
    of_names: Mapping[str, str], seconds: float, seeds: Sequence[int] = (0, 1, 2), photos: bool = False
) -> tuple[Training, ...]:
    """All settings with the first seed, then all with the second."""
    columns = [_over_seeds(name, flags, seconds, seeds, photos) for name, flags in of_names.items()]
    return tuple(itertools.chain(*zip(*columns, strict=True)))


CAPTURED = "--step captured --eval-epochs 1000 --log-steps 250"  # a line of losses waits for the device
BRIEF = f"--preset fast --depth 18 {CAPTURED}"
STRONG = f"--preset strong --aug gr {UNTRIED}"
AT_64 = f"{BRIEF} --image-size 64 --end-size 0"
HELD_OUT = f"{AT_64} --aug gr --holdout 25"
SHORT = f"{HELD_OUT} --epochs 16"
LONG = f"{HELD_OUT} --epochs 30 --label-smoothing 0.1"

ITEMS = (
    Item(
        "recipe",
        "settings of the recipes, on 25 images a class held out of train",
        _settings_over_seeds(
            {
                "wd1e-4": f"{SHORT} --weight-decay 1e-4",
                "wd5e-4": SHORT,
                "wd5e-4-smooth": f"{SHORT} --label-smoothing 0.1",
                "wd1e-3-smooth": f"{SHORT} --weight-decay 1e-3 --label-smoothing 0.1",
                "wd5e-4-lr0.1": f"{SHORT} --lr 0.1",
            },
            seconds=150,
            seeds=[0],
        )
        + _settings_over_seeds(
            {"end48": f"{BRIEF} --aug gr --image-size 64 --end-size 48 --holdout 25"}, seconds=120, seeds=[0]
        )
        + _settings_over_seeds(
            {
                "long": LONG,
                "long-cutmix": f"{LONG} --mix cutmix",
                "long-mixup": f"{LONG} --mix mixup",
                "long-adl": f"{LONG} --attention-dropout 0.75",
                "long-average": f"{LONG} --average-steps 400",
            },
            seconds=215,
            seeds=[0],
        )
        + _settings_over_seeds(
            {"longer": f"{LONG} --epochs 80", "longer-cutmix": f"{LONG} --epochs 80 --mix cutmix"},
            seconds=560,
            seeds=[0],
        ),
    ),
    Item("masks", "mask heads behind GR", _settings_over_seeds({"gr": f"{THIRTY} --aug gr {UNTRIED}"}, 280)),
    Item(
        "record",
        "seconds from the command to the paper's best Top-1 Loc",
        (
            *_over_seeds("brief-gr", f"{BRIEF} --aug gr", 75, seeds=range(5)),
            *_over_seeds("brief16-gr", f"{BRIEF} --aug gr --epochs 16", 65),
        ),
        alone=True,
    ),
    Item(
        "augs",
        "the paper's first claim, also evaluated at the size trained on: larger images suit GR's crops",
        _settings_over_seeds({f"at64-{aug}": f"{AT_64} --aug {aug}" for aug in ("gr", "hns", "none")}, 150)
        + _settings_over_seeds({f"brief-{aug}": f"{BRIEF} --aug {aug}" for aug in ("none", "hns")}, 180),
    ),
    Item(
        "strong",
        "the best Top-1 Loc within ten minutes",
        tuple(replace(each, keep_weights=seed == 0) for seed, each in enumerate(_over_seeds("strong34", STRONG, 600))),
    ),
    Item(
        "orders",
        "the paper's second and third claims",
        _settings_over_seeds(
            {
                "gr-hns": f"{THIRTY} --aug gr-hns {UNTRIED}",
                "hns-gr": f"{THIRTY} --aug hns-gr {UNTRIED}",
                "gr-b256": f"{THIRTY} --aug gr --batch-size 256 {UNTRIED}",
            },
            280,
        )
        + _settings_over_seeds({"gr-b32": f"{THIRTY} --aug gr --batch-size 32 {UNTRIED}"}, 600),
    ),
    Item(
        "photos",
        "all of a pretrained backbone trained, beside its last layer",
        _settings_over_seeds(
            {
                "photos-frozen": "--preset photos",
                "photos-all": "--preset photos --train-part all --aug gr --epochs 30 --lr 0.02",
            },
            60,
            photos=True,
        ),
    ),
)
"""In the order of worth."""

DRY_RUN = "--preset demo --stem C --batch-size 8 --epochs 0.2 --head-steps 2 --log-steps 1 --step eager"
"""The flags of every training where the queue itself is tried."""
