"""What an evaluation is asked for."""

from dataclasses import dataclass
from typing import Literal

from fastwsol.evaluation.metrics import CamClass
from fastwsol.evaluation.thresholds import Cut, asked_cut


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
        if self.threshold is None or self.threshold == "auto" or self.threshold == "box-free":
            return None
        return asked_cut(self.threshold)


NOTHING_MORE = Question()
