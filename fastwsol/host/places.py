"""Places to write that flags name: refused before any work where they cannot be taken."""

import os
from collections.abc import Mapping
from pathlib import Path

from fastwsol.host.errors import UserError
from fastwsol.host.files import refuse_in_the_way


def require_new(name: str, path: Path | None) -> None:
    """Raise UserError where the flag `name` gives a file or folder to write that exists. The folders that it lies in
    are made; raises UserError where they cannot be.
    """
    if path is None:
        return
    if os.path.lexists(path):
        raise UserError(f"{name} {path}: exists; nothing was changed, name a new one")
    _make_folders_above(name, path)


def require_new_folder(name: str, path: Path | None) -> None:
    """`require_new` for a folder. Raises too where something else has taken its temporary folder, PATH.partial."""
    require_new(name, path)
    if path is not None:
        refuse_in_the_way(path)


def require_file(name: str, path: Path) -> None:
    """Raise UserError where what the flag `name` gives is a folder, and no file, which may be there already. The
    folders that it lies in are made; raises UserError where they cannot be.
    """
    if path.is_dir():
        raise UserError(f"{name} {path}: is a folder; name a file in it")
    _make_folders_above(name, path)


def require_apart(places: Mapping[str, Path | None]) -> None:
    """Raise UserError where of the places that flags give, by their names, one is another or lies in it: each is whole
    before it is put there.
    """
    given = {name: path.absolute() for name, path in places.items() if path is not None}
    for name, path in given.items():
        for other, place in given.items():
            if name != other and (place == path or place in path.parents):
                where = "is also" if place == path else "lies in what is also written,"
                raise UserError(f"{name} {places[name]}: {where} {other} {places[other]}; name another place")


def _make_folders_above(name: str, path: Path) -> None:
    folder = path.absolute().parent
    above = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    if not above.is_dir():
        raise UserError(f"{name} {path}: {above} is no folder; name another place")
    if not os.access(above, os.W_OK):
        raise UserError(f"{name} {path}: {above} cannot be written; name another place, or correct its permissions")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{name} {path}: {folder} cannot be made ({error.strerror}); name another place") from None
