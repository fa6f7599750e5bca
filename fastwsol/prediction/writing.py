"""Predictions of a program as a file of another tool's format."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePath
from typing import get_args

from fastwsol.formats.labelled_images import About, Images, LabelledImage, Skipped, counted
from fastwsol.formats.writing import (
    FileFormat,
    format_of,
    not_held,
    refuse_another_ending,
    refuse_beside,
    write_set,
)
from fastwsol.host.errors import UserError
from fastwsol.host.places import require_new
from fastwsol.prediction.labelled import labelled
from fastwsol.prediction.predictions import Prediction


def write_predictions(
    out: Path,
    predictions: Iterable[Prediction | Skipped],
    about: About,
    form: FileFormat | None,
    relative_to: Path | None,
) -> str:
    """Write them one at a time; see `Predictor.write`."""
    form = form if form is not None else format_of(out.suffix)
    if form is None:
        raise UserError(f"{out}: its ending tells no format; name it .json, .csv or .jsonl, or say the format")
    if form not in get_args(FileFormat):
        choices = ", ".join(get_args(FileFormat))
        raise UserError(f"form {form!r}: choose from {choices}; python -m fastwsol.convert makes folders")
    refuse_another_ending(form, out)
    require_new("out:", out)
    refuse_beside(out, form)
    counts: Counter[str] = Counter()
    images = labelled(predictions, [one.wnid for one in about.classes])
    write_set(out, form, counted(_named(images, relative_to), about, counts), about)
    return not_held(form, counts)


def _named(images: Images, relative_to: Path | None) -> Iterator[LabelledImage | Skipped]:
    """The same under their names below a folder, which differ."""
    names: set[str] = set()
    for each in images:
        name = each.name
        if relative_to is not None:
            path, folder = (PurePath(os.path.normpath(each)) for each in (name, relative_to))  # without `..`
            if not path.is_relative_to(folder):
                raise UserError(f"{name}: does not lie in {relative_to}; name the folder of all images, or none")
            name = path.relative_to(folder).as_posix()
        if name in names:
            raise UserError(
                f"{name}: is there twice; write each image once (those in memory have names of their own where one "
                f"call of stream or predict takes them all, or by dataclasses.replace(prediction, name=...))"
            )
        names.add(name)
        yield replace(each, name=name)
