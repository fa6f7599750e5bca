"""The files of predictions, by the names that `find_images` gives them: of one place and of several."""

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import noise_jpeg

from fastwsol.formats.labelled_images import LabelledImage
from fastwsol.host.errors import UserError
from fastwsol.prediction.predicted_images import PredictedImages
from fastwsol.prediction.user_images import decode_upright, find_images


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two folders, one in the other, a zip, a file, and a link that leads out."""
    for number, name in enumerate(
        ("photos/a.jpg", "photos/more/a.jpg", "photos/more/deep/b.jpg", "cat.jpg", "out.jpg")
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(noise_jpeg(number))
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.write(tmp_path / "cat.jpg", "a.jpg")
    (tmp_path / "photos" / "linked.jpg").symlink_to(tmp_path / "out.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def predicted(name: str) -> LabelledImage:
    return LabelledImage(name, 64, 64, ())


@pytest.mark.parametrize(
    "places",
    [["photos"], ["some.zip"], ["cat.jpg"], ["photos", "some.zip", "cat.jpg"], ["photos", "photos/more"], ["."]],
)
def test_every_name_leads_to_its_file(root: Path, places: list[str]) -> None:
    listed = find_images(map(Path, places), follow_links=True).images
    files = PredictedImages([*map(Path, places)], follow_links=True)
    assert listed
    for image in listed:
        assert image.encoded is not None
        content = image.encoded()
        assert files.content_of(predicted(image.name)) == content
        np.testing.assert_array_equal(files.pixels_of(predicted(image.name)), decode_upright(content))


def test_what_was_predicted_place_by_place_is_found_where_one_place_alone_has_it(root: Path) -> None:
    files = PredictedImages([Path("photos"), Path("some.zip"), Path("photos/more")])
    assert files.content_of(predicted("deep/b.jpg")) == (root / "photos/more/deep/b.jpg").read_bytes()
    for name, why in (
        ("a.jpg", r"lies in photos and some\.zip \(predict both in one"),
        ("none.jpg", "lies in no place"),
    ):
        with pytest.raises(UserError, match=f"^{name}: {why}"):
            files.content_of(predicted(name))
    with pytest.raises(UserError, match="lies in no place"):
        files.content_of(predicted("../cat.jpg"))


def test_no_place_is_left_by_a_name(root: Path) -> None:
    files = PredictedImages([Path("photos/more"), Path("some.zip")], follow_links=True)
    for name in ("photos/more/../a.jpg", f"photos/more/{root}/out.jpg"):
        with pytest.raises(UserError, match="lies in no place that --images names"):
            files.content_of(predicted(name))


def test_what_lies_elsewhere_is_not_read(root: Path) -> None:
    files = PredictedImages([Path("photos"), Path("some.zip")])
    with pytest.raises(UserError, match=r"^cat.jpg: lies in no place that --images names, and the predictions name it"):
        files.content_of(predicted("cat.jpg"))
    for name in ("../some.zip/a.jpg", "/photos/a.jpg"):
        with pytest.raises(UserError, match="lies in no place that --images names"):
            PredictedImages([Path("photos")]).content_of(predicted(name))
    with pytest.raises(UserError, match="is a link that leads out of"):
        files.content_of(predicted("photos/linked.jpg"))
    with pytest.raises(UserError, match=r"^photos/none.jpg: missing"):
        files.pixels_of(predicted("photos/none.jpg"))
    for read in (files.content_of, files.pixels_of):
        with pytest.raises(UserError, match=r"^photos/a.jpg: has 64x64 pixels, and 65x64 were predicted"):
            read(replace(predicted("photos/a.jpg"), width=65))
    with pytest.raises(UserError, match="--images nowhere: no such folder, zip or image; name with --images what was"):
        PredictedImages([Path("nowhere")])
