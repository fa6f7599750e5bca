"""Classes and boxes for images that nobody has labelled, by a trained run's network.

    predictor = fastwsol.load("data/runs/NAME")
    for prediction in predictor.predict(["cat.jpg", "dog.png"]):
        print(prediction.name, prediction.classes[0].name, prediction.boxes)

Each thread takes a batch from files to maps; memory holds a batch or two a thread, however many images there are.
Boxes are those of the protocol `strict`: boxes of components of the class's map, cut at the threshold on the map's
scale. Where one map serves all classes (a mask), a class gets the box of the component in which it is likeliest, by
what the network says of the features under the mask in that box. Where all boxes are asked for, each component is an
object of the class that is likeliest in it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

import kernels
from fastwsol.batches.views_cpu import view_options
from fastwsol.config import PREACT_RESNET, Config
from fastwsol.evaluation.thresholds import BY_BOXES, Cut
from fastwsol.formats.labelled_images import About, Skipped
from fastwsol.formats.writing import FileFormat
from fastwsol.geometry import shown_windows
from fastwsol.host.device import Autocast, Precision, autocast_of_run, pick_autocast, take_device, use_threads
from fastwsol.host.errors import UserError
from fastwsol.localizer.localizers import LocalizerName
from fastwsol.localizer.localizing import LocalizingModel, NetworkOutputs
from fastwsol.network.backbone_weights import PRETRAINED, digest_of, put_weights, read_weights
from fastwsol.network.networks import build_network
from fastwsol.network.timm_backbone import classes_of_timm, input_size_of_timm, statistics_of_timm
from fastwsol.prediction.answers import Answers, BatchOutputs
from fastwsol.prediction.boxing import Boxing
from fastwsol.prediction.components import Components, WhichBoxes
from fastwsol.prediction.detections import detections_of
from fastwsol.prediction.image_like import ImageLike, SeveralImages, named_image, several_images, with_labels
from fastwsol.prediction.named import ClassesByName, chosen_localizer
from fastwsol.prediction.predictions import Prediction, Request
from fastwsol.prediction.signals import other_looks
from fastwsol.prediction.threads import note_process, refuse_forked, stream_threads
from fastwsol.prediction.user_images import NamedImage, in_chunks
from fastwsol.prediction.writing import write_predictions
from fastwsol.runs.folder import RunDir
from fastwsol.runs.info import RunInfo
from fastwsol.runs.trained import read_trained
from fastwsol.sources.decode import NEARLY_BLACK

if TYPE_CHECKING:
    import supervision

_MOST_IMAGES = 32
"""Images of a batch, which a thread takes from files to maps: enough for the matrix products, and few enough that a
folder of some dozen is shared out.
"""
_MOST_PIXELS = {"cpu": 2**18, "cuda": 2**22}
"""Pixels of a batch, which bound the memory of the network's first maps: at stem A in float32 some 200 MiB a thread on
a CPU.
"""


PLAIN_REQUEST = Request()
WHOLE_BATCHES = _MOST_IMAGES
"""Images that hold whole batches on every device: what the parts of a set are made of."""


def _batch_size(device: str, size: int) -> int:
    """A power of two, so that every device's batches fill `WHOLE_BATCHES`."""
    return 1 << (max(1, min(_MOST_IMAGES, _MOST_PIXELS[device] // size**2)).bit_length() - 1)


class Predictor:
    """A trained network, ready for images of any size. `info` says what it is: `info.class_names` in label order,
    `info.config`.
    """

    def __init__(
        self,
        info: RunInfo,
        model: LocalizingModel,
        step: int,
        autocast: Autocast,
        threads: int,
        localizer: LocalizerName | None = None,
        cuts: Mapping[str, Cut] | None = None,
    ) -> None:
        """localizer: see `of_run`; cuts: the run's own, by localizer. Raises UserError for a localizer that the run
        lacks, and in a process that was forked from one that has a predictor.
        """
        refuse_forked()
        note_process()
        self.info, self.step = info, step
        self.localizer = chosen_localizer(localizer, model)
        self._by = f"step {step}, {self.localizer.name}, configuration {info.config.digest()[:8]}"
        self._boxing = Boxing(info, self.localizer, cuts or {})
        self.model, self._autocast, self._threads = model.to(autocast.device).eval(), autocast, threads
        self._on_cpu = autocast.device.type == "cpu"
        self._size, self._fit = info.config.views.image_size, info.config.views.fit
        self.batch_size = _batch_size(autocast.device.type, self._size)
        self._options = view_options(info.config.views.plain, info.statistics)

    def __repr__(self) -> str:
        classes, device = len(self.info.classes), self._autocast.device
        return (
            f"Predictor({self.localizer.name} at step {self.step}, {classes} classes, {self._size} pixels, "
            f"{self._autocast.precision} on {device})"
        )

    @staticmethod
    def of_run(
        folder: Path | str,
        device: str = "auto",
        *,
        precision: Precision = "auto",
        threads: int = 0,
        localizer: LocalizerName | None = None,
    ) -> Predictor:
        """The network of a run's newest checkpoint; flags as of `python -m fastwsol.evaluate`.

        localizer: what makes the maps; by default the mask where one was trained, else the class activation map.
        Raises UserError as `fastwsol.load` does.
        """
        refuse_forked()  # here already: reading a network may wait for those threads
        run = RunDir(Path(folder))
        run.read_info()  # what is no run leaves no threads
        note_process()
        info, saved, model = read_trained(run)
        autocast = autocast_of_run(precision, saved.scalars["precision"], take_device(device))
        count = use_threads(threads)
        return Predictor(info, model, saved.step, autocast, count, localizer, run.read_cuts())

    @staticmethod
    def of_backbone(
        name: str,
        *,
        weights: str = PRETRAINED,
        image_size: int | None = None,
        device: str = "auto",
        precision: Precision = "auto",
        threads: int = 0,
        localizer: LocalizerName | None = None,
    ) -> Predictor:
        """A network of timm with the classes of its published weights, without any training.

        weights: `pretrained`, or a .safetensors or .pth file; image_size: by default that of the weights. Raises
        UserError where there is no such network, or its weights or the names of its classes cannot be had.
        """
        refuse_forked()
        if name.startswith(PREACT_RESNET):
            raise UserError(f"--backbone {name}: has no published weights; name a network of timm, or a run's folder")
        wnids, names = classes_of_timm(name)
        config = Config.of(backbone=name, image_size=image_size or input_size_of_timm(name))
        note_process()
        model = build_network(config, len(wnids))
        chosen_localizer(localizer, LocalizingModel(model))  # what it lacks is said before weights are downloaded
        published = read_weights(weights, config.network)
        if published is None:
            raise UserError("--weights none: random weights know no class; give pretrained, or a file")
        put_weights(published, model)
        config = config.changed(weights_sha256=published.sha256)
        info = RunInfo(config, Path(), "", wnids, names, statistics_of_timm(name))
        autocast, count = pick_autocast(precision, take_device(device)), use_threads(threads)
        return Predictor(info, LocalizingModel(model), 0, autocast, count, localizer)

    @property
    def cut(self) -> Cut:
        """Where the localizer's maps are cut, unless a request says otherwise."""
        return self._boxing.cut

    @cut.setter
    def cut(self, cut: Cut) -> None:
        if not isinstance(cut, Cut):
            raise TypeError(f"cut {cut!r:.40}: is no Cut; give a number to predict, as threshold=0.5")
        self._boxing.cut = cut

    @property
    def description(self) -> str:
        """What made its boxes: the localizer, and the boxes that were used."""
        said: str = self.localizer.name
        if BY_BOXES in self.cut.chosen_on:
            said += f", cut on {self.cut.chosen_on}"
        if few := self.info.config.localizer.boxes_per_class:
            said += f", taught by boxes of up to {few} images a class"
        return said

    def identity(self) -> dict[str, Any]:
        """What determines its answers, as a JSON object: predictors with equal identities give equal answers on one
        machine.
        """
        directions = self.model.directions if self.localizer.needs == "ddt" else None
        return {
            "weights": digest_of(self.model.state_dict()),
            "config": self.info.config.digest(),
            "statistics": [list(each) for each in self.info.statistics],
            "classes": list(self.info.classes),
            "localizer": self.localizer.name,
            **({"directions": digest_of(directions._asdict())} if directions is not None else {}),
            "cuts": [self.cut.to_json(), self._boxing.other_cut.to_json()],
            "precision": self._autocast.precision,
            "device": self._autocast.device.type,
        }

    def predict(
        self,
        images: SeveralImages | ImageLike,
        *,
        top: int = 1,
        of_class: str | Sequence[str] | None = None,
        boxes: WhichBoxes = "largest",
        threshold: float | Literal["otsu"] | None = None,
        least_score: float | None = None,
        signals: bool = False,
    ) -> list[Prediction]:
        """What the network says of each image, in order; arguments as in `Request`. One path, array [H, W] or
        [H, W, C], Pillow image or encoded image is one image; an array [N, H, W, C] is N.

        Images that are not paths are named by their place in the order, from 0. of_class may be a list with the known
        class of each image. Raises ValueError that names the first image that cannot be read, and where there are not
        as many classes as images; otherwise raises as `stream` does.
        """
        several = several_images(images)
        named: Iterator[NamedImage] = (named_image(each, k) for k, each in enumerate(several))
        of_all = of_class if isinstance(of_class, str) else None
        if of_class is not None and of_all is None:
            asked = list(of_class) if isinstance(of_class, Iterable) else [None]
            if not all(isinstance(each, str) for each in asked):
                raise ValueError("of_class names a class for each image, or one for all")
            classes = ClassesByName(self.info)
            named = with_labels(named, several, [classes.label_of(str(each)) for each in asked])
        predictions, request = [], Request(top, of_all, boxes, threshold, least_score, signals)
        for each in self.stream(named, request):
            if isinstance(each, Skipped):
                raise ValueError(f"{each.name}: {each.reason}")
            predictions.append(each)
        return predictions

    def detections(self, prediction: Prediction) -> supervision.Detections:
        """The boxes of a prediction of this network as `supervision.Detections`: xyxy in pixels, masks bool
        [boxes, height, width], confidences (the scores), and class ids in label order. Raises UserError where that
        package is missing, for a prediction of another predictor, and for an image that was skipped; TypeError for what
        is no prediction.
        """
        (own,) = self._own([prediction])
        if isinstance(own, Skipped):
            raise UserError(f"{own.name}: was not predicted ({own.reason})")
        return detections_of(own, self.info.classes)

    def write(
        self,
        out: Path | str,
        predictions: Iterable[Prediction | Skipped] | Prediction,
        *,
        form: FileFormat | None = None,
        relative_to: Path | str | None = None,
    ) -> str:
        """Write predictions of this network to the new file `out`, as `python -m fastwsol.predict` does; `python -m
        fastwsol.convert` turns COCO's JSON into folders of YOLO, VOC and others.

        form: coco, coco-polygons, csv, jsonl or label-studio; by default as the ending says (.json COCO, .csv, .jsonl).
        relative_to: a folder that all images lie in; their names become paths below it. Returns a sentence that says
        what the format has no place for, empty where there is nothing to say. The file does not say that classes were
        given with the images. Raises UserError where the file exists, its ending names no format or `form` is no
        format, two images have the same name, an image lies outside of `relative_to`, or a prediction was made by
        another predictor; TypeError for what is no prediction.
        """
        about = About(f"step {self.step}, {self.description}", self.info.all_classes)
        every = self._own([predictions] if isinstance(predictions, Prediction) else predictions)
        return write_predictions(Path(out), every, about, form, None if relative_to is None else Path(relative_to))

    def _own(self, predictions: Iterable[Prediction | Skipped]) -> Iterator[Prediction | Skipped]:
        """The same. Raises UserError for one of another predictor, TypeError for what is none."""
        known = {*self.info.classes}
        for each in predictions:
            if not isinstance(each, Prediction | Skipped):
                raise TypeError(f"{type(each).__name__}: is no prediction; give what predict or stream has returned")
            if isinstance(each, Prediction):
                wnids = {one.wnid for one in each.classes} | {box.wnid for box in each.boxes}
                others = wnids - known
                if each.by != self._by or others:
                    whose = f"of other classes ({min(others)})" if others else f"({each.by})"
                    raise UserError(f"{each.name}: was predicted by another predictor, {whose}; give it to that one")
            yield each

    def stream(
        self, images: SeveralImages | ImageLike, request: Request = PLAIN_REQUEST
    ) -> Iterator[Prediction | Skipped]:
        """As `predict`, for any number of images: yields one at a time, in order. For an image that cannot be read it
        yields a `Skipped` that says why.

        Raises UserError for a class, threshold or other part of the request that is not possible, and in a process that
        was forked since the network was loaded; RunFailure where maps are not finite; TypeError for what is no image.
        """
        only = self.check(request)
        named = (named_image(each, k) for k, each in enumerate(several_images(images)))
        ahead: deque[Future[Answers]] = deque()
        first: list[NamedImage] = []
        with stream_threads(self._threads, self._on_cpu) as pool:
            for chunk in in_chunks(named, self.batch_size):
                first = first or chunk[:1]
                _refuse_some_labels([*first, *chunk], request)
                asked = [replace(each, label=only) if each.label is None else each for each in chunk]
                ahead.append(pool.submit(self._answer, asked, request))
                if len(ahead) > self._threads:
                    yield from self._predictions_and_skipped(ahead.popleft().result(), request)
            while ahead:
                yield from self._predictions_and_skipped(ahead.popleft().result(), request)

    def check(self, request: Request) -> int | None:
        """The label of the class that is asked for, or None. Raises UserError where a part of the request is not
        possible, and in a process that was forked from the one that loaded the network.
        """
        refuse_forked()
        if not isinstance(request, Request):
            raise TypeError(f"request of type {type(request).__name__}; give a Request")
        if not (request.threshold is None or request.threshold == "otsu" or _is_share(request.threshold)):
            raise UserError(f"--threshold {request.threshold}: must be otsu or a number from 0 to 1 (35 % is 0.35)")
        if request.least_score is not None and not _is_share(request.least_score):
            raise UserError(f"--least-score {request.least_score}: must be a number from 0 to 1 (35 % is 0.35)")
        if not isinstance(request.of_class, str | None):
            raise UserError("of_class: a request is for one class; of several images' classes `predict` takes a list")
        if request.of_class is not None and request.top != 1:
            raise UserError(f"--top {request.top}: --class {request.of_class} is one class; leave one of the two out")
        if type(request.top) is not int or not 1 <= request.top <= len(self.info.classes):
            raise UserError(f"--top {request.top}: must be a whole number of classes, 1 to {len(self.info.classes)}")
        if request.boxes not in get_args(WhichBoxes):
            raise UserError(f"--boxes {request.boxes}: choose from {', '.join(get_args(WhichBoxes))}")
        return None if request.of_class is None else ClassesByName(self.info).label_of(request.of_class)

    def _answer(self, images: Sequence[NamedImage], request: Request) -> Answers:
        """Decode images, and run the network over those that can be."""
        views = np.empty((len(images), self._size, self._size, 3), np.float32)
        sizes: list[tuple[int, int]] = []
        dark: list[bool] = []
        labels: list[int | None] = []
        reasons: dict[int, str] = {}
        for k, image in enumerate(images):
            try:
                pixels = image.pixels()
            except ValueError as error:
                reasons[k] = str(error)
                continue
            self.show(pixels, views[len(sizes)])
            sizes.append((pixels.shape[1], pixels.shape[0]))
            dark.append(bool(pixels.max() <= NEARLY_BLACK))
            labels.append(image.label)
        known = np.array([-1 if label is None else label for label in labels], np.int64)
        outputs = self._forward(views[: len(sizes)], request, known) if sizes else None
        names = [image.name for image in images]
        return Answers(names, reasons, np.array(sizes, np.int32), np.array(dark, np.bool_), known, outputs)

    def show(self, pixels: NDArray[np.uint8], view: NDArray[np.float32]) -> None:
        """Fill `view`, float32 [S, S, 3], with an image uint8 [H, W, 3] as evaluations see it, normalised."""
        height, width, _ = pixels.shape
        window = shown_windows(self._fit, np.array([width], np.int32), np.array([height], np.int32))
        first = np.zeros(1, np.int64)
        no_flip = np.zeros(1, np.int32)
        kernels.show_views(pixels[None], first, window, no_flip, None, None, self._options, view[None])

    def _predictions_and_skipped(self, answers: Answers, request: Request) -> Iterator[Prediction | Skipped]:
        """What comes of a batch's images, in order."""
        predicted = iter(self._boxing.predictions(answers, request))
        for k, name in enumerate(answers.names):
            skipped = k in answers.reasons
            yield Skipped(name, answers.reasons[k]) if skipped else replace(next(predicted), by=self._by)

    def _forward(self, views: NDArray[np.float32], request: Request, known: NDArray[np.int64]) -> BatchOutputs:
        """What the network gives for views [B, S, S, 3]; known: see `Answers`."""
        images, top = torch.from_numpy(views).permute(0, 3, 1, 2).to(self._autocast.device), request.top
        with torch.inference_mode(), self._autocast():
            passed = self.model(images)
            logits = passed.logits
            # Stably, so that of equal logits the class that comes first stands first.
            labels = logits.argsort(dim=1, descending=True, stable=True)[:, :top]
            are_known = bool((known >= 0).any())
            if are_known:  # one class an image: `check` refuses more
                asked = torch.from_numpy(known).to(labels)[:, None]
                labels = torch.where(asked >= 0, asked, labels)
            all_probabilities = logits.double().softmax(dim=1)
            name = self.localizer.name
            by_class = [self.model.maps(name, passed, labels[:, k]) for k in range(labels.shape[1])]
            maps = torch.stack(by_class, dim=1).cpu().numpy()
            components = None
            tells_apart = are_known or top > 1 or request.boxes == "all"
            if self.localizer.is_mask and tells_apart and np.isfinite(maps).all():  # else said with a name
                components = self._components(passed, maps[:, 0], request)
            of_images, looks = labels.cpu().numpy(), None
            if request.signals:
                looked_at = labels
                if components is not None and request.boxes == "all":
                    looked_at = torch.from_numpy(components.classes_of_objects(known)).to(labels).clamp(min=0)
                looks = other_looks(self.model, self.localizer, images, passed, looked_at)
        return BatchOutputs(of_images, maps, components, all_probabilities.cpu().numpy(), looks)

    def _components(self, passed: NetworkOutputs, maps: NDArray[np.float32], request: Request) -> Components:
        """The components of maps [B, h, w] that are one for all classes, and what the network says of each: of the
        features under the map inside the component's box.
        """
        owners, boxes, peaks, pixels = self._boxing.largest_or_all(maps, replace(request, boxes="all"))
        cells = np.arange(maps.shape[1] + 1) * self._size / maps.shape[1]
        low, high, device = cells[:-1], cells[1:], passed.logits.device
        classes = [np.empty((0, passed.logits.shape[1]))]
        for first in range(0, len(boxes), self.batch_size):
            part = slice(first, first + self.batch_size)
            x0, y0, x1, y1 = boxes[part].T[:, :, np.newaxis]
            rows, columns = (high > y0) & (low < y1), (high > x0) & (low < x1)  # the cells that a box reaches
            inside = maps[owners[part]] * (rows[:, :, np.newaxis] & columns[:, np.newaxis, :])
            of_trunk = passed.trunk_features_of(torch.from_numpy(owners[part]).to(device))
            classes.append(self.model.classes_inside(of_trunk, torch.from_numpy(inside).to(device)).cpu().numpy())
        return Components(owners, boxes, peaks, pixels, np.concatenate(classes))


def _refuse_some_labels(images: Sequence[NamedImage], request: Request) -> None:
    """Raise UserError where the classes of some images are known and of others not, which would be boxed otherwise, or
    where more classes are asked for beside.
    """
    known = next((each for each in images if each.label is not None), None)
    if known is not None and request.top != 1:
        raise UserError(f"{known.name}: has a class of its own, and no more can be asked for; take top 1")
    if known is not None and (other := next((each for each in images if each.label is None), None)) is not None:
        raise UserError(f"{other.name}: has no class, and {known.name} has one; give all images one, or none")


def _is_share(threshold: object) -> bool:
    return isinstance(threshold, int | float) and not isinstance(threshold, bool) and 0 <= threshold <= 1
