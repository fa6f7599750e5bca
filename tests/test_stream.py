"""`Predictor.stream` in a program: what it takes, skips and reads ahead, and what it leaves as it was."""

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import torch
from PIL import Image

import fastwsol
from fastwsol.formats.labelled_images import Skipped
from fastwsol.host.errors import UserError
from fastwsol.prediction.predictions import Prediction, Request
from fastwsol.prediction.predictor import Predictor
from fastwsol.prediction.user_images import NamedImage


def test_a_stream_reads_a_few_batches_ahead_and_no_more(predictor: Predictor) -> None:
    read = 0

    def images() -> Any:
        nonlocal read
        while True:
            read += 1
            yield NamedImage(str(read), lambda: np.zeros((8, 8, 3), np.uint8))

    stream = predictor.stream(images())
    for _ in range(3):
        next(stream)
    stream.close()
    assert read <= 4 * predictor.batch_size


def test_a_stream_takes_whatever_predict_takes_and_skips_what_is_none(predictor: Predictor, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"none")
    found = [*predictor.stream([tmp_path / "a.png", tmp_path / "b.png", np.zeros((8, 8, 3), np.uint8)])]
    assert [each.name for each in found] == [str(tmp_path / "a.png"), str(tmp_path / "b.png"), "2"]
    assert [isinstance(each, Skipped) for each in found] == [False, True, False]
    assert fastwsol.Request is Request
    assert fastwsol.Skipped is Skipped
    for one in (tmp_path / "a.png", str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8), Image.new("L", (9, 9))):
        assert len([*predictor.stream(one)]) == 1


def test_a_skipped_image_keeps_its_place_in_the_stream(predictor: Predictor) -> None:
    def bad() -> Any:
        raise ValueError("torn")

    good = np.full((9, 9, 3), 77, np.uint8)
    images = [NamedImage(str(k), bad if k % 3 == 0 else lambda: good) for k in range(7)]
    found = [*predictor.stream(images, Request(top=2))]
    assert [each.name for each in found] == [str(k) for k in range(7)]
    assert [isinstance(each, Skipped) for each in found] == [k % 3 == 0 for k in range(7)]


def test_what_a_program_reuses_or_closes_is_read_when_it_is_given(predictor: Predictor, tmp_path: Path) -> None:
    frames = [np.random.default_rng(k).integers(0, 256, (40, 50, 3), np.uint8) for k in range(12)]
    alone = np.stack([predictor.predict(frame)[0].maps for frame in frames])
    assert all(not np.allclose(alone[0], other, atol=1e-4) for other in alone[1:])

    def in_one_buffer() -> Iterator[np.ndarray]:
        buffer = np.empty_like(frames[0])
        for frame in frames:
            buffer[:] = frame
            yield buffer

    def in_one_picture() -> Iterator[Image.Image]:
        picture = Image.new("RGB", (50, 40))
        for frame in frames:
            picture.paste(Image.fromarray(frame))
            yield picture

    def from_files() -> Iterator[IO[bytes]]:
        for k, frame in enumerate(frames):
            Image.fromarray(frame).save(tmp_path / f"{k}.png")
            with (tmp_path / f"{k}.png").open("rb") as file:
                yield file

    for images in (in_one_buffer(), in_one_picture(), from_files()):
        found = [each for each in predictor.stream(images) if isinstance(each, Prediction)]
        # Sums are rounded otherwise in a batch, by how much depends on the CPU; another image is further away (above).
        np.testing.assert_allclose(np.stack([each.maps for each in found]), alone, atol=5e-5)


def test_all_images_have_a_class_or_none_also_batches_apart(predictor: Predictor) -> None:
    grey = np.full((9, 9, 3), 77, np.uint8)
    images = [NamedImage(str(k), lambda: grey, label=0 if k < predictor.batch_size else None) for k in range(200)]
    assert predictor.batch_size < 200
    with pytest.raises(UserError, match="has no class, and 0 has one"):
        list(predictor.stream(images))


def test_a_path_that_cannot_be_one_is_skipped(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    found = [*predictor.stream(["a\0b.jpg", "a\ud800.jpg", tmp_path / "loop.jpg", np.zeros((8, 8, 3), np.uint8)])]
    assert [isinstance(each, Skipped) for each in found] == [True, True, True, False]
    assert found[0].name == r"a\x00b.jpg"


def test_a_program_keeps_its_threads_and_its_random_numbers(run: Path) -> None:
    before = torch.get_num_threads()
    try:
        torch.manual_seed(0)
        expected = torch.rand(1)
        torch.manual_seed(0)
        predictor = fastwsol.load(run, "cpu", threads=2)
        assert torch.rand(1) == expected
        torch.set_num_threads(1)
        predictor.predict(np.zeros((8, 8, 3), np.uint8))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
