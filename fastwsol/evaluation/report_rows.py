"""What a report says of each image, and the CSV files beside it that hold it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastwsol.evaluation.per_image import ImageRows
from fastwsol.evaluation.report_types import Numbers


@dataclass(frozen=True)
class ReportRows:
    """What a report's localizers say of each image."""

    at_papers: ImageRows
    """Of the first localizer at the paper's threshold, under every protocol."""
    at_cuts: Mapping[str, ImageRows]
    """Under `strict` where maps are cut, by localizer, but for the first one where that is the paper's threshold."""

    def of(self, localizer: str) -> ImageRows:
        """Those of a localizer at its cut."""
        return self.at_cuts.get(localizer, self.at_papers)

    def files(self, report: Path) -> Iterator[tuple[Path, ImageRows]]:
        """All of them, with their files beside that of the report."""
        yield _beside(report, ""), self.at_papers
        for localizer, rows in self.at_cuts.items():
            yield _beside(report, localizer), rows

    def with_mask_ious(self, ious: Mapping[str, NDArray[np.float64]]) -> ReportRows:
        """The same with the IoUs of masks that are cut where the boxes are, by localizer, the first one first."""
        first = next(iter(ious))
        at_cuts = {name: replace(rows, mask_ious=ious[name]) for name, rows in self.at_cuts.items()}
        at_papers = self.at_papers if first in at_cuts else replace(self.at_papers, mask_ious=ious[first])
        return ReportRows(at_papers, at_cuts)


def uses_papers_threshold(report: Numbers, localizer: str) -> bool:
    """Whether a localizer is the first one and cut at the paper's threshold, so that the rows of that are its own."""
    first = report["localizers"][0]
    return localizer == first["name"] and first["cut"]["value"] == report["cam_threshold"]


def rows_file(path: Path, report: Numbers, localizer: str) -> Path:
    """The CSV file of a localizer's boxes at its cut, beside the report's in `path`."""
    return _beside(path, "" if uses_papers_threshold(report, localizer) else localizer)


def _beside(report: Path, localizer: str) -> Path:
    return report.with_name(f"{report.stem}{f'-{localizer}' if localizer else ''}.csv")
