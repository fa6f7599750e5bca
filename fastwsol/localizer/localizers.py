"""The localizers by name: what each says, on which scale, and where it is cut."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from kernels import Scale

LocalizerName = Literal["cam", "cam-positive", "ddt", "mask", "mask-cam"]


@dataclass(frozen=True)
class Localizer:
    """A way to make one map an image."""

    name: LocalizerName
    title: str
    """What a person calls it."""
    class_specific: bool
    """Whether the maps of two classes in one image differ."""
    scale: Scale
    """min-max: each map is rescaled to 0..1, so that some pixel is always kept, unless it is constant; own: its values
    are in 0..1 already, and it may be that no pixel is kept."""
    cut: float
    """The threshold that is taken by default where no run has found a better one."""
    needs: Literal["nothing", "mask", "ddt"] = "nothing"
    """What has to be trained or fitted beside the classifier."""

    @property
    def trained(self) -> bool:
        """Whether it was trained behind the classifier."""
        return self.needs == "mask"

    @property
    def is_mask(self) -> bool:
        """Whether it makes one mask for all classes; the classifier then tells which class each part of it shows."""
        return self.trained and not self.class_specific


_ALL = (
    Localizer("cam", "CAM", True, "min-max", 0.2),
    Localizer("cam-positive", "CAM of positive weights", True, "min-max", 0.25),
    Localizer("ddt", "DDT", True, "min-max", 0.2, "ddt"),
    Localizer("mask", "mask head", False, "own", 0.5, "mask"),
    Localizer("mask-cam", "mask x CAM of positive weights", True, "own", 0.4, "mask"),
)
LOCALIZERS: dict[str, Localizer] = {each.name: each for each in _ALL}

_PREFERRED: tuple[LocalizerName, ...] = ("mask", "cam")

assert tuple(LOCALIZERS) == get_args(LocalizerName), "LocalizerName and _ALL list the same names in the same order"


def preferred(names: Iterable[str]) -> LocalizerName:
    """The one of several that predictions take by default, and that tables and pages begin with."""
    names = {*names}
    return next((name for name in _PREFERRED if name in names), "cam")


def available(has: Sequence[str]) -> tuple[Localizer, ...]:
    """Those whose needs are among `has` ("mask", "ddt")."""
    return tuple(each for each in _ALL if each.needs in ("nothing", *has))
