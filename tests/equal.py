"""What two folders, or two runs, have to have in common to be equal."""

import json
from pathlib import Path
from typing import Any

from fastwsol.runs.folder import RunDir


def contents(place: Path) -> dict[str, bytes]:
    """The bytes of all files in a folder and below it, or of a file, by their paths."""
    files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
    return {str(path.relative_to(place)): path.read_bytes() for path in files}


def end_of(run: Path, steps: int) -> tuple[Any, list[dict[str, Any]], Any]:
    """Of a finished run: the checkpoint of the last step, hash included, the rows but for their rates, and what the
    report counts.
    """
    last = json.loads((run / "checkpoints" / f"step-{steps:09d}.json").read_text())
    rows = [{key: value for key, value in row.items() if key != "images_per_second"} for row in RunDir(run).rows()]
    return last, rows, json.loads((run / "report.json").read_text())["counts"]
