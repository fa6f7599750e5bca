"""What a user names of a run: one of its classes, one of its localizers."""

import difflib
import unicodedata

from fastwsol.host.errors import UserError
from fastwsol.host.words import first_few
from fastwsol.localizer.localizers import LOCALIZERS, Localizer, LocalizerName, preferred
from fastwsol.localizer.localizing import LocalizingModel
from fastwsol.runs.info import RunInfo


def chosen_localizer(name: LocalizerName | None, model: LocalizingModel) -> Localizer:
    """The localizer of that name; None: the best that the run has. Raises UserError for one that the run lacks."""
    available: dict[str, Localizer] = {each.name: each for each in model.localizers}
    if name is None:
        return available[preferred(available)]
    if name not in available:
        known = name in LOCALIZERS
        remedies = {"mask": "train it with --localizer mask", "ddt": "python -m fastwsol.evaluate finds its directions"}
        remedy = remedies[LOCALIZERS[name].needs] if known else "choose one of them"
        raise UserError(f"--localizer {name}: the run has {', '.join(available)}; {remedy}")
    return available[name]


def labelled_as(name: str, info: RunInfo) -> int | None:
    """The label of the class that a folder's name means, as of `label_of`; None where it means none. Raises UserError
    where it may mean several.
    """
    meant = _labels_meant(name, info)
    if len(meant) > 1:
        raise UserError(
            f"--class-of-folder: the folder {name!r} may be of {', '.join(info.classes[label] for label in meant)}; "
            f"call it by one of them"
        )
    return meant[0] if meant else None


def _labels_meant(name: str, info: RunInfo) -> list[int]:
    if name in info.classes:
        return [info.classes.index(name)]
    plain = _plain(name).strip()
    return [
        label
        for label, (wnid, full) in enumerate(zip(info.classes, map(_plain, info.class_names), strict=True))
        if plain in (_plain(wnid), full, *(part.strip() for part in full.split(",")))
    ]


def _plain(name: str) -> str:
    """A name without case, and in one of the Unicode forms that look alike."""
    return unicodedata.normalize("NFC", name).lower()


def label_of(name: str, info: RunInfo) -> int:
    """The label of the class that `name` means: its wnid, its name, or one of the names between commas in that.

    Raises UserError with the nearest names where there is none, or several.
    """
    meant = _labels_meant(name, info)
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise UserError(f"--class {name}: may be {', '.join(info.classes[label] for label in meant)}; name one of them")
    near = difflib.get_close_matches(name, {*info.class_names, *info.classes}, n=3, cutoff=0.5)
    hint = f"perhaps you meant {' or '.join(near)}" if near else f"it knows {_some_classes(info)}"
    raise UserError(f"--class {name}: the run knows no such class; {hint}")


def _some_classes(info: RunInfo) -> str:
    """The classes by what they may be called; of many the first."""
    called = [
        wnid if name == wnid else f"{wnid} ({name})" for wnid, name in zip(info.classes, info.class_names, strict=True)
    ]
    return first_few(called, 8)
