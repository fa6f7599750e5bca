"""What a user names of a run: one of its classes, one of its localizers."""

import difflib
import unicodedata
from collections import defaultdict

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


class ClassesByName:
    """The classes of a run by what a user may call them: their wnids, their names, and the single names between the
    commas of a name. Upper and lower case and the Unicode form do not matter.
    """

    def __init__(self, info: RunInfo) -> None:
        self._info = info
        self._of_wnid = {wnid: label for label, wnid in enumerate(info.classes)}
        self._called: dict[str, str] = {}
        """Plain names, and how they are written."""
        self._labels: dict[str, list[int]] = defaultdict(list)
        for label, (wnid, full) in enumerate(zip(info.classes, info.class_names, strict=True)):
            parts = [each.strip() for each in full.split(",")]
            for plain in dict.fromkeys(map(_plain, (full, *parts, wnid))):
                self._labels[plain].append(label)
            self._called |= {_plain(each): each for each in (*parts, wnid)}

    def labelled_as(self, folder: str) -> int | None:
        """The label of the class that a folder's name means; None where it means none. Raises UserError where it may
        mean several.
        """
        meant = self._meant(folder)
        if len(meant) > 1:
            several = self._wnids(meant)
            raise UserError(f"--class-of-folder: the folder {folder!r} may be of {several}; call it by one of them")
        return meant[0] if meant else None

    def label_of(self, name: str) -> int:
        """The label of the class that `name` means. Raises UserError with the nearest names where there is none, or
        several.
        """
        meant = self._meant(name)
        if len(meant) == 1:
            return meant[0]
        if meant:
            raise UserError(f"--class {name}: may be {self._wnids(meant)}; name one of them")
        near = self._near(_plain(name).strip())
        hint = f"perhaps you meant {' or '.join(near)}" if near else f"it knows {_some_classes(self._info)}"
        raise UserError(f"--class {name}: the run knows no such class; {hint}")

    def _meant(self, name: str) -> list[int]:
        label = self._of_wnid.get(name)
        return self._labels.get(_plain(name).strip(), []) if label is None else [label]

    def _wnids(self, labels: list[int]) -> str:
        return ", ".join(self._info.classes[label] for label in labels)

    def _near(self, plain: str) -> list[str]:
        """Up to three names that are like a plain one: those that have it as a word, else those spelt alike."""
        of_words = [name for other, name in self._called.items() if plain in other.split()]
        return of_words[:3] or [
            self._called[each] for each in difflib.get_close_matches(plain, self._called, n=3, cutoff=0.5)
        ]


def _plain(name: str) -> str:
    """A name without case, and in one of the Unicode forms that look alike."""
    return unicodedata.normalize("NFC", name).lower()


def _some_classes(info: RunInfo) -> str:
    """The classes by what they may be called; of many the first."""
    called = [
        wnid if name == wnid else f"{wnid} ({name})" for wnid, name in zip(info.classes, info.class_names, strict=True)
    ]
    return first_few(called, 8)
