"""What a review says of an image whose boxes were predicted, and what to say of measuring on such boxes."""

from collections.abc import Mapping
from typing import Any, Literal

Verdict = Literal["drawn", "accepted", "corrected", "rejected"]
"""What became of an image in a review. drawn: class and boxes, drawn without help; accepted: as predicted; corrected:
class and boxes, after those predicted were seen; rejected: what was predicted is wrong.
"""
Phase = Literal["drawn", "sample", "uncertain"]
"""As what a review showed an image: to be drawn without help; as one of a random sample; as one that is uncertain."""


def verdict_of(review: Mapping[str, Any]) -> str:
    """The verdict of what a review says of an image; empty where there is none."""
    return str(review.get("verdict") or "")


def note_of_accepted(images: int) -> str:
    """What to say of so many images whose boxes a review has accepted as they were predicted."""
    return (
        f"{images:,} of the images have boxes (and masks, where there are such) of a prediction that somebody "
        f"accepted: what is measured on them favours the network that predicted"
    )


def note_of_unjudged(boxes: str) -> str:
    """What to say of `boxes` that are predictions."""
    return (
        f"{boxes} that a network predicted and nobody has judged: what is measured on them is how far networks agree, "
        f"and not how well they localize"
    )
