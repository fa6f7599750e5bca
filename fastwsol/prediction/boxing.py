"""From what a network gives to predictions: maps are cut, boxes brought to the images' pixels, scored and named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

import kernels
from fastwsol.evaluation.thresholds import Cut, asked_cut, default_cut
from fastwsol.geometry import shown_windows, to_original
from fastwsol.host.errors import RunFailure
from fastwsol.localizer.localizers import Localizer
from fastwsol.prediction.answers import Answers, BatchOutputs, FoundBoxes
from fastwsol.prediction.components import MapBoxes, boxes_of_maps, least_score_of_objects
from fastwsol.prediction.predictions import ClassScore, Prediction, Request, ScoredBox
from fastwsol.prediction.signals import Looks, Signals, WayToCut, other_localizer, signals_of_boxes
from fastwsol.runs.info import RunInfo


class Boxing:
    """How maps become boxes: whose they are, and where they are cut. cut, other_cut: of `localizer`, and of the `other`
    one that signals ask too.
    """

    def __init__(self, info: RunInfo, localizer: Localizer, cuts: Mapping[str, Cut]) -> None:
        """cuts: the run's own, by localizer."""
        self._info, self.localizer, self.other = info, localizer, other_localizer(localizer)
        self.cut, self.other_cut = (cuts.get(each.name) or default_cut(each) for each in (self.localizer, self.other))
        self._size, self._fit = info.config.views.image_size, info.config.views.fit

    def predictions(self, answers: Answers, request: Request) -> list[Prediction]:
        """Predictions for a batch's images that could be read. Raises RunFailure where a map is not finite."""
        outputs = answers.outputs
        if outputs is None:
            return []
        names = [name for k, name in enumerate(answers.names) if k not in answers.reasons]
        sizes, labels, maps = answers.sizes, outputs.labels, outputs.maps
        if len(bad := np.flatnonzero(~np.isfinite(maps).all(axis=(1, 2, 3)))):
            raise RunFailure(f"{names[bad[0]]}: its map is not finite; use --precision fp32, or in fp32 other weights")
        shown = shown_windows(self._fit, sizes[:, 0], sizes[:, 1])
        least_score = request.least_score
        if least_score is None:
            are_objects = outputs.components is not None and request.boxes == "all"
            least_score = least_score_of_objects(len(self._info.classes)) if are_objects else 0.0
        boxes_of: list[list[ScoredBox]] = [[] for _ in names]
        for found in self._scored(outputs, answers.known, request):
            owners = found.owners
            square = found.boxes, shown[owners, 2], shown[owners, 3], self._size
            edges = to_original(*square) + shown[owners][:, [0, 1, 0, 1]]
            probabilities = found.probabilities
            scores = probabilities * found.peaks
            signals = self._signals(found, outputs, request)
            for k in np.flatnonzero(scores >= least_score).tolist():
                wnid, name = self._class(found.labels[k])
                x0, y0, x1, y1 = edges[k].tolist()
                score, probability = float(scores[k]), float(probabilities[k])
                boxes_of[owners[k]].append(
                    ScoredBox(wnid, name, x0, y0, x1, y1, score, probability=probability, signals=signals[k])
                )
        cuts = [np.broadcast_to(self.thresholds(maps[:, k], request), len(names)) for k in range(labels.shape[1])]
        return [
            Prediction(
                name,
                width=int(sizes[n, 0]),
                height=int(sizes[n, 1]),
                classes=tuple(
                    ClassScore(*self._class(label), float(outputs.all_probabilities[n, label])) for label in labels[n]
                ),
                boxes=tuple(sorted(boxes_of[n], key=lambda box: -box.score)),
                maps=maps[n].copy(),  # one that is kept keeps no batch alive
                shown=tuple(shown[n].tolist()),
                square=self._size,
                scale=self.localizer.scale,
                cuts=tuple(float(cut[n]) for cut in cuts),
                probabilities=outputs.all_probabilities[n].copy(),
                nearly_black=bool(answers.nearly_black[n]),
            )
            for n, name in enumerate(names)
        ]

    def largest_or_all(self, maps: NDArray[np.float32], request: Request) -> MapBoxes:
        """`boxes_of_maps` at the threshold that is asked for, or at the run's own."""
        return boxes_of_maps(maps, self._size, self.thresholds(maps, request), request.boxes, self.localizer.scale)

    def thresholds(self, maps: NDArray[np.float32], request: Request) -> kernels.Thresholds:
        """Where maps [B, h, w] are cut."""
        cut = self.cut if request.threshold is None else asked_cut(request.threshold)
        return cut.thresholds(maps, self._size, self.localizer.scale)

    def _scored(self, outputs: BatchOutputs, known: NDArray[np.int64], request: Request) -> Iterator[FoundBoxes]:
        """The boxes of a batch, in the network's square. known: see `Answers`."""
        labels, components = outputs.labels, outputs.components
        if components is not None and request.boxes == "all":
            rows, of_boxes = components.objects(known)
            classes = components.classes_of_objects(known)
            for k in range(classes.shape[1]):
                these = rows[of_boxes == classes[components.owners[rows], k]]
                owners, boxes, peaks = components.owners[these], components.boxes[these], components.peaks[these]
                yield FoundBoxes(owners, boxes, peaks, components.classes[these], classes[owners, k], 0, k)
            return
        for k in range(labels.shape[1]):
            if components is not None:
                owners, boxes, peaks = components.likeliest_of(labels, k)
            else:
                owners, boxes, peaks, _ = self.largest_or_all(outputs.maps[:, k], request)
            yield FoundBoxes(owners, boxes, peaks, outputs.all_probabilities[owners], labels[owners, k], k, k)

    def _signals(self, found: FoundBoxes, outputs: BatchOutputs, request: Request) -> Sequence[Signals | None]:
        """What speaks for each box beside its probability; nothing where that is not asked for."""
        looks = outputs.looks
        if looks is None:
            return [None] * len(found.owners)
        own = WayToCut(lambda maps: self.thresholds(maps, request), self.localizer.scale)
        other = WayToCut(lambda maps: self.other_cut.thresholds(maps, self._size, self.other.scale), self.other.scale)
        looks_at_class = Looks(*(maps[:, found.look_index] for maps in looks))
        maps = outputs.maps[:, found.map_index]
        return signals_of_boxes(found.owners, found.boxes, found.classes, maps, looks_at_class, self._size, own, other)

    def _class(self, label: int) -> tuple[str, str]:
        """Wnid and name."""
        return self._info.classes[label], self._info.class_names[label]
