"""The files of predictions, by the names that `find_images` gives them: of one place and of several."""

import zipfile
from pathlib import Path

import pytest
from conftest import noise_jpeg

from fastwsol.host.errors import UserError
from fastwsol.prediction.predicted_images import PredictedImages
from fastwsol.prediction.user_images import MAX_BYTES, find_images
from fastwsol.sources.tree import BadFile


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
        assert files.read(image.name, MAX_BYTES) == image.encoded()
        assert files.where(image.name).endswith(image.name.rpartition("/")[2])


def test_what_lies_elsewhere_is_not_read(root: Path) -> None:
    files = PredictedImages([Path("photos"), Path("some.zip")])
    with pytest.raises(BadFile, match="lies in no place that --images names"):
        files.read("cat.jpg", MAX_BYTES)
    for name in ("../some.zip/a.jpg", "/photos/a.jpg"):
        with pytest.raises(BadFile, match="lies in no place that --images names"):
            PredictedImages([Path("photos")]).read(name, MAX_BYTES)
    with pytest.raises(BadFile, match="is a link that leads out of"):
        files.read("photos/linked.jpg", MAX_BYTES)
    with pytest.raises(BadFile, match="missing"):
        files.read("photos/none.jpg", MAX_BYTES)
    with pytest.raises(UserError, match="--images nowhere: no such folder, zip or image; name with --images what was"):
        PredictedImages([Path("nowhere")])
