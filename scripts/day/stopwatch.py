"""The seconds that a training's processes took, over calls and machines' ends."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastwsol.host.files import write_json


class Stopwatch:
    """Adds up the seconds of a training's processes, in a file beside its folder.

    Of a process whose end nobody saw, since the queue itself was killed, the time counts until the folder's newest
    file.
    """

    def __init__(self, folder: Path, now: Callable[[], float] = time.time) -> None:
        self._folder, self._file, self._now = folder, folder.with_name(f"{folder.name}.seconds"), now

    @property
    def seconds(self) -> float:
        """In all, so far."""
        kept = self._read()
        if kept["begun"] is None:
            return float(kept["seconds"])
        newest = max((path.stat().st_mtime for path in self._folder.rglob("*")), default=kept["begun"])
        return float(kept["seconds"] + max(0.0, newest - kept["begun"]))

    @contextmanager
    def running(self) -> Iterator[None]:
        """While a process of the training runs."""
        before, begun = self.seconds, self._now()
        processes = self.processes + 1
        write_json(self._file, {"seconds": before, "begun": begun, "processes": processes})
        try:
            yield
        finally:
            write_json(self._file, {"seconds": before + self._now() - begun, "begun": None, "processes": processes})

    @property
    def processes(self) -> int:
        """How many the training has had so far."""
        return int(self._read().get("processes", 0))

    def _read(self) -> dict[str, Any]:
        if not self._file.is_file():
            return {"seconds": 0.0, "begun": None}
        kept = json.loads(self._file.read_bytes())
        return kept if isinstance(kept, dict) else {"seconds": float(kept), "begun": None}  # as it was once
