"""What an evaluation is asked for."""

from dataclasses import dataclass
from typing import Literal

from fastwsol.evaluation.metrics import CamClass
from fastwsol.evaluation.thresholds import Cut


@dataclass(frozen=True)
class Question:
    """What a report is asked for beyond the rates at the paper's threshold and at each localizer's own."""

    threshold: float | Literal["auto", "box-free", "otsu"] | None = None
    """Where all maps are cut, in place of each localizer's own threshold."""
    wsoleval: bool = False
    """Add the protocol of the older evaluator."""
    cam_class: CamClass = "truth"
    """Whose map is boxed."""

    @property
    def tuning_rule(self) -> Literal["auto", "box-free"] | None:
        """By which rule a threshold is found on other images; None where none is."""
        return self.threshold if self.threshold in ("auto", "box-free") else None

    @property
    def asked_cut(self) -> Cut | None:
        """The cut, where it is asked for and needs no other images: a number, or Otsu's."""
        if self.threshold == "otsu":
            return Cut("otsu", None, "each image itself, without a box")
        if self.threshold is None or isinstance(self.threshold, str):
            return None
        return Cut("asked", self.threshold, "the command line")


NOTHING_MORE = Question()
