"""Predictions as labelled images, which every format takes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from fastwsol.formats.labelled_images import Images, LabelledImage, LabelledObject, Listed, Skipped, empty_mask
from fastwsol.prediction.predictions import Prediction, ScoredBox
from fastwsol.prediction.user_images import NamedImage


def labelled(predictions: Iterable[Prediction | Skipped], classes: Sequence[str]) -> Images:
    """Predictions as they come. classes: wnids in label order."""
    label_of = {wnid: label for label, wnid in enumerate(classes)}
    return (each if isinstance(each, Skipped) else _labelled(each, label_of) for each in predictions)


def with_files(images: Iterable[NamedImage], answers: Images) -> Iterator[LabelledImage | Skipped]:
    """The same with the bytes of their files; one whose file cannot be read any more is skipped. images: those that the
    answers are of, in order.
    """
    for image, each in zip(images, answers, strict=True):
        if isinstance(each, Skipped):
            yield each
            continue
        assert image.encoded is not None
        try:
            content = image.encoded()
        except ValueError as error:
            yield Skipped(each.name, f"{error}, since it was predicted")
        else:
            yield replace(each, encoded=partial(bytes, content))


def _labelled(prediction: Prediction, label_of: dict[str, int]) -> LabelledImage:
    return LabelledImage(
        prediction.name,
        prediction.width,
        prediction.height,
        tuple(_object(prediction, box, label_of[box.wnid]) for box in prediction.boxes),
        label=label_of[prediction.classes[0].wnid],
        probabilities=prediction.probabilities,
        listed=tuple(Listed(label_of[each.wnid], each.probability) for each in prediction.classes),
        mask=None if prediction.boxes else partial(empty_mask, prediction.height, prediction.width),
    )


def _object(prediction: Prediction, box: ScoredBox, label: int) -> LabelledObject:
    # To a ten-thousandth, so that a float32's digits beyond its precision do not fill the file.
    edges = round(box.x0, 4), round(box.y0, 4), round(box.x1, 4), round(box.y1, 4)
    signals = None if box.signals is None else box.signals._asdict()
    mask = partial(prediction.mask, box)
    return LabelledObject(label, edges, score=box.score, probability=box.probability, mask=mask, signals=signals)
