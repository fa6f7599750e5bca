"""python -m fastwsol.review PREDICTIONS --images FOLDER --out review.html: one page to look predictions through with.

The page needs no server and no network: each image with its boxes and masks, to accept, correct or reject by keys.
First comes a random sample, whose size is fixed here, so that the share that is accepted has an honest interval; then
the images that the network is least certain of. It exports what was done as COCO's JSON, which
`python -m fastwsol.evaluate --predictions FILE --reviewed FILE` counts and `pack --layout coco` packs.

A box that is shown anchors the eye: accepted boxes are an upper bound of how good they are. With --drawn N some images
come without their box, to be drawn without help.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from fastwsol.host.starting import run

    run("review")

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from fastwsol.formats.labelled_images import SKIPPED, LabelledImage, Skipped
from fastwsol.formats.of_coco import labelled_images, read_predictions
from fastwsol.host.command_line import parse_flags
from fastwsol.host.errors import UserError
from fastwsol.host.files import write_bytes
from fastwsol.host.places import require_new
from fastwsol.page.review_page import Sizes, certainty, chosen, page
from fastwsol.prediction.predicted_images import PredictedImages

PROG = "python -m fastwsol.review"
DESCRIPTION = "One HTML file to look through predictions with: accept, correct, reject, and export what was done."
MOST_IMAGES = 2000
"""On a page: at some 40 KB each, more would take a browser long to open."""


@dataclass(frozen=True)
class Flags:
    """The command line."""

    predictions: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PREDICTIONS", help_behavior_hint="(required)")
    ]
    """COCO's JSON that predict wrote, all parts of one"""
    images: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="PLACE")]
    """folder or zip of the images that were predicted (required); where there were several, --images for each"""
    out: Path = Path("review.html")
    """the file to write; one that is there is not replaced"""
    sample: int = 200
    """images of the random sample: of 200 the share that is accepted is known to within 7 points at most"""
    uncertain: int = 300
    """images behind the sample: the least certain of the others"""
    drawn: int = 0
    """images before the sample whose boxes are not shown, to be drawn without help"""
    seed: int = 0
    """of the random sample"""
    follow_links: bool = False
    """in folders, also take images behind links that lead out of them"""
    title: str = "Review"
    """the page's heading"""


def main(arguments: Sequence[str]) -> int:
    """Write the page; exit status 0."""
    flags = parse_flags(Flags, arguments, PROG, DESCRIPTION)
    if not flags.predictions:
        raise UserError("nothing to review; name predictions in COCO's JSON")
    if not flags.images:
        raise UserError("--images is not given; name the folder or zip of the images that were predicted")
    for name in ("sample", "uncertain", "drawn", "seed"):
        if getattr(flags, name) < 0:
            raise UserError(f"--{name} {getattr(flags, name)}: must not be negative")
    if not 1 <= flags.sample + flags.uncertain + flags.drawn <= MOST_IMAGES:
        raise UserError(
            f"--sample {flags.sample} --uncertain {flags.uncertain} --drawn {flags.drawn}: a page holds 1 to "
            f"{MOST_IMAGES:,} images in all"
        )
    require_new("--out", flags.out)
    files_of = PredictedImages(flags.images, flags.follow_links)
    files, about = read_predictions(flags.predictions)
    found = [*labelled_images(files, about.classes)]
    every = [each for each in found if isinstance(each, LabelledImage)]
    rejected = sum(image.verdict == "rejected" for file in files for image in file.images.values())
    if not every:
        why = f" ({_left_out(found, rejected)})" if found or rejected else ""
        raise UserError(f"{files[0].path}: holds no image to look at{why}; predict some first")
    sizes = Sizes(flags.drawn, flags.sample, flags.uncertain)
    order = chosen(np.array([certainty(each) for each in every]), sizes, flags.seed)
    shown = [(place + 1, every[place], phase) for place, phase in order]
    text = page(flags.title, shown, files_of.pixels_of, about, flags.seed)
    write_bytes(flags.out, text.encode(), is_new=True)
    phases = [phase for _, phase in order]
    parts = {
        "drawn": "to be drawn without help",
        "sample": "of a random sample",
        "uncertain": "of the least certain others",
    }
    said = ", ".join(f"{phases.count(phase):,} {words}" for phase, words in parts.items() if phase in phases)
    print(f"{flags.out}: {len(order):,} of {len(every):,} images ({said}), {len(text) / 1e6:.1f} MB")
    if left_out := _left_out(found, rejected):
        print(f"not on the page: {left_out}")
    if flags.sample > phases.count("sample"):
        print(f"the sample is {phases.count('sample'):,} images, and not {flags.sample:,}: there are no more")
    return 0


def _left_out(images: Sequence[LabelledImage | Skipped], rejected: int) -> str:
    """What was read and is not reviewed, in words; empty where that is nothing. rejected: images, by an earlier
    review.
    """
    counts = Counter({"images that a review has rejected": rejected})
    for each in images:
        counts.update({SKIPPED: 1} if isinstance(each, Skipped) else each.left_out)
    return ", ".join(f"{what}: {count:,}" for what, count in counts.items() if count)
