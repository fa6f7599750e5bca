"""The modules whose source decides a run's bits, as they are known: all that a step imports is one of them, or named
here as one that decides none.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from pages import ROOT

from fastwsol.batches.decoded_store import SOURCES_OF_PIXELS
from fastwsol.features.kept_features import SOURCES_OF_FEATURES
from fastwsol.training.resume import _DECISIVE_SOURCES

STEP = [
    f"fastwsol.training.{name}"
    for name in ("course", "frozen_part", "loop", "mask_phase", "step", "step_mode", "stepper", "totals")
]
DECIDES_NOTHING = {
    "evaluation": "measures what is trained",
    "localizer/ddt": "makes maps of what is trained",
    "localizer/localizers": "makes maps of what is trained",
    "localizer/localizing": "makes maps of what is trained",
    "host/environment": "names versions and machine, which are compared themselves",
    "host/errors": "says what went wrong",
    "host/files": "writes files",
    "host/source_code": "names code and versions, which are compared themselves",
    "host/flags": "reads flags",
    "host/garbage": "frees memory later",
    "host/limits": "how many threads there are is compared itself",
    "host/kept_arrays": "keeps files, by hashes of their contents",
    "host/kept_files": "keeps files, by hashes of their contents",
    "host/process": "holds what others decide",
    "host/stop_signals": "ends a process",
    "host/ticker": "speaks to the user",
    "host/words": "speaks to the user",
    "runs": "keeps what is trained",
    "sources/__init__": "is read when images are packed",
    "sources/annotated": "is read when images are packed",
    "sources/boxes": "is read when images are packed",
    "sources/encode": "is used when images are packed",
    "sources/mask_folder": "is read when images are packed",
    "sources/mask_images": "is read when images are packed",
    "sources/tree": "is read when images are packed",
    "training/behind": "says which classifier, whose weights have a hash",
    "training/job": "holds what others decide",
    "training/launch": "holds flags, which are compared themselves",
    "training/presets": "defaults of flags, which are compared themselves",
    "training/progress": "speaks to the user",
    "training/resume": "compares",
}
"""By module or package under fastwsol, why."""


def file_of(module: str) -> Path | None:
    path = ROOT / module.replace(".", "/")
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def imported_by(file: Path) -> Iterator[Path]:
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
        for name in names:
            if name.partition(".")[0] in ("fastwsol", "kernels") and (found := file_of(name)) is not None:
                yield found


def undecisive(modules: list[str], patterns: tuple[str, ...]) -> set[str]:
    """What modules import, directly or not, that is no file of `patterns`."""
    assert all([*ROOT.glob(pattern)] for pattern in patterns)
    decisive = {path for pattern in patterns for path in ROOT.glob(pattern)}
    reached: set[Path] = set()
    todo = [file for module in modules if (file := file_of(module)) is not None]
    while todo:
        file = todo.pop()
        if file not in reached:
            reached.add(file)
            todo += imported_by(file)
    return {file.relative_to(ROOT).with_suffix("").as_posix().removeprefix("fastwsol/") for file in reached - decisive}


def unknown(names: set[str]) -> set[str]:
    return {name for name in names if name not in DECIDES_NOTHING and name.split("/")[0] not in DECIDES_NOTHING}


def test_what_a_step_imports_is_known_to_decide_or_not():
    others = undecisive(STEP, _DECISIVE_SOURCES)
    assert not unknown(others), "add it to resume._DECISIVE_SOURCES, or here"
    assert all(any(name == each or name.startswith(f"{each}/") for name in others) for each in DECIDES_NOTHING)


def test_what_kept_features_follow_from_is_known():
    others = undecisive(["fastwsol.features.kept_features"], SOURCES_OF_FEATURES)
    assert unknown(others) == {"host/world"}, "how many processes share them decides nothing"


def test_what_decoded_pixels_follow_from_is_known():
    assert unknown(undecisive(["fastwsol.sources.decode"], SOURCES_OF_PIXELS)) == {"kernels/compiling"}
    own = {file.relative_to(ROOT).as_posix() for file in imported_by(ROOT / "fastwsol/batches/decoded_store.py")}
    own = {name for name in own if name not in SOURCES_OF_PIXELS and not name.endswith("__init__.py")}
    assert own - {f"fastwsol/{name}.py" for name in DECIDES_NOTHING} == {
        "fastwsol/batches/stream.py",  # whether images are of one size
        "fastwsol/config.py",
        "fastwsol/dataset/shards.py",  # whose files have hashes
    }
