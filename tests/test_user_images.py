"""Images for `predict`: files, folders and zips, in an order that never changes; each bad one says why."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import noise_jpeg
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from fastwsol.host.errors import UserError
from fastwsol.prediction.user_images import (
    MAX_BYTES,
    as_pixels,
    decode_upright,
    find_images,
    has_more_frames,
    in_chunks,
)
from fastwsol.sources.annotated import LEFT_OUT
from fastwsol.sources.decode import MAX_PIXELS
from fastwsol.sources.orientation import upright_size

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (12, 20, 3), np.uint8)


def encoded(image: Image.Image, form: str, **how: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **how)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    (root / "b" / "deep").mkdir(parents=True)
    for path in ("z.JPG", "a.jpg", "b/1.jpeg", "b/deep/2.jpg"):
        (root / path).write_bytes(noise_jpeg(len(path)))
    (root / "notes.txt").write_text("not an image")
    (root / ".hidden.jpg").write_bytes(b"")
    return root


def zipped(folder: Path) -> Path:
    path = folder.parent / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*"), reverse=True):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
    return path


def test_images_are_called_by_their_path_below_a_folder_that_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["photos/b/1.jpeg", "photos/b/deep/2.jpg", "photos/a.jpg"]
    monkeypatch.chdir(folder)
    of_two = [image.name for image in find_images([Path(), Path("b")]).images]
    assert {"./a.jpg", "b/1.jpeg"} < {*of_two}, "as the places were given"
    for places in ([folder / "b", folder / "a.jpg"], [Path("b"), Path("a.jpg")]):
        found = find_images(places, relative_to=folder.parent)
        assert [image.name for image in found.images] == names
    inside = find_images([Path()], relative_to=Path())
    assert [image.name for image in inside.images] == [image.name for image in find_images([folder]).images]
    of_zip = find_images([zipped(folder)], relative_to=folder.parent)
    assert of_zip.images[0].name == "photos.zip/a.jpg"
    (image,) = find_images([Path("b/../a.jpg")], relative_to=folder.parent).images
    assert image.name == "photos/a.jpg"
    with pytest.raises(UserError, match="--relative-to nowhere: no such folder"):
        find_images([Path("a.jpg")], relative_to=Path("nowhere"))
    with pytest.raises(UserError, match=r"--relative-to b: a\.jpg does not lie in it; name a folder that holds all"):
        find_images([Path("a.jpg")], relative_to=Path("b"))


def test_a_folder_and_its_zip_hold_the_same_images_in_the_same_order(folder: Path) -> None:
    from_folder, from_zip = find_images([folder]), find_images([zipped(folder)])
    names = [image.name for image in from_folder.images]
    assert sorted(names) == ["a.jpg", "b/1.jpeg", "b/deep/2.jpg", "z.JPG"]
    assert names == [image.name for image in from_zip.images]
    for one, other in zip(from_folder.images, from_zip.images, strict=True):
        np.testing.assert_array_equal(one.pixels(), other.pixels())
    assert from_folder.notes == from_zip.notes
    assert from_folder.notes == [
        "1 other file in the folders ignored, as their endings are no image's",
        f"1 {LEFT_OUT}",
    ]


def test_images_of_several_places_are_told_apart_and_one_named_twice_counts_once(folder: Path) -> None:
    found = find_images([folder, folder / "a.jpg", zipped(folder)])
    names = [image.name for image in found.images]
    assert len(set(names)) == len(names) == 8
    assert str(folder / "a.jpg") in names


def test_places_that_are_not_there_or_hold_no_image_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn.zip").write_bytes(b"PK\x03\x04 no more")
    for place in ("missing", "empty", "torn.zip"):
        with pytest.raises(UserError, match=str(tmp_path / place)):
            find_images([tmp_path / place])


def test_a_file_is_read_when_its_pixels_are_asked_for_and_a_bad_one_says_why(tmp_path: Path) -> None:
    (image,) = find_images([make(tmp_path / "x.jpg", noise_jpeg(1))]).images
    (tmp_path / "x.jpg").unlink()
    with pytest.raises(ValueError, match="missing"):
        image.pixels()


def make(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_a_link_that_leads_out_of_a_folder_is_not_followed(folder: Path) -> None:
    (folder.parent / "secret.jpg").write_bytes(noise_jpeg(3))
    (folder / "link.jpg").symlink_to(folder.parent / "secret.jpg")
    link = next(image for image in find_images([folder]).images if image.name == "link.jpg")
    with pytest.raises(ValueError, match="leads out"):
        link.pixels()
    link = next(image for image in find_images([folder], follow_links=True).images if image.name == "link.jpg")
    assert link.pixels().shape[2] == 3


def test_a_folder_behind_a_link_is_refused_or_followed_and_never_left_out(folder: Path) -> None:
    away = folder.parent / "away"
    away.mkdir()
    (away / "z.jpg").write_bytes(noise_jpeg(3))
    (folder / "linked").symlink_to(away)
    with pytest.raises(UserError, match=r"linked: is a link to a folder outside of .*--follow-links"):
        find_images([folder])
    assert "linked/z.jpg" in [image.name for image in find_images([folder], follow_links=True).images]


def test_an_image_whose_name_is_no_text_is_skipped_by_name_and_the_rest_is_found(folder: Path) -> None:
    before = [image.name for image in find_images([folder]).images]
    bad = Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.jpg"))
    bad.write_bytes(noise_jpeg(3))
    for found in (find_images([folder]).images, find_images([*sorted(folder.glob("*.jpg"))]).images):
        (skipped,) = (image for image in found if image.name.endswith("caf\\udce9.jpg"))
        with pytest.raises(ValueError, match="its name is no text in UTF-8"):
            skipped.pixels()
        skipped.name.encode("utf-8")
        assert folder.name in skipped.folders, "which may be named after a class"
    assert [image.name for image in find_images([folder]).images][:-1] == before


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_an_image_is_turned_as_its_exif_orientation_says(form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(Image.fromarray(PIXELS), form, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
    np.testing.assert_array_equal(decode_upright(content), np.asarray(upright))


def test_damaged_exif_turns_nothing() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(Image.fromarray(PIXELS), "JPEG", exif=exif)
    broken = content.replace(b"Exif\0\0II*\0", b"Exif\0\0XX*\0").replace(b"Exif\0\0MM\0*", b"Exif\0\0XX\0*")
    assert broken != content
    assert decode_upright(broken).shape == PIXELS.shape


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA", "P", "1", "CMYK"])
def test_every_mode_becomes_rgb_without_alpha(mode: str) -> None:
    form = "TIFF" if mode in ("CMYK", "LA") else "PNG"
    source = Image.fromarray(PIXELS).convert(mode)
    expected = source.convert("RGB")
    np.testing.assert_array_equal(decode_upright(encoded(source, form)), np.asarray(expected))


def test_alpha_of_a_palette_is_dropped_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    source = Image.fromarray(PIXELS).convert("P")
    content = encoded(source, "PNG", transparency=bytes(range(256)))
    np.testing.assert_array_equal(decode_upright(content), np.asarray(source.convert("RGB")))
    assert not recwarn.list


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_become_eight(form: str) -> None:
    levels = np.array([[0, 128, 129, 257, 65535]] * 3, np.uint16)
    grey = decode_upright(encoded(Image.fromarray(levels), form))
    assert grey[0, :, 0].tolist() == [0, 0, 1, 1, 255]
    assert (grey == grey[..., :1]).all()


def test_pixels_without_a_range_are_refused() -> None:
    for levels in (np.full((4, 4), 0.5, np.float32), np.full((4, 4), 2**20, np.int32)):
        with pytest.raises(ValueError, match="convert it to 8 or 16"):
            decode_upright(encoded(Image.fromarray(levels), "TIFF"))


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken(form: str) -> None:
    frames = [Image.fromarray(np.full((8, 8, 3), level, np.uint8)) for level in (10, 200)]
    content = encoded(frames[0], form, save_all=True, append_images=frames[1:])
    assert abs(int(decode_upright(content).mean()) - 10) <= 3


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"])
def test_what_is_cut_short_is_refused(form: str) -> None:
    content = encoded(Image.fromarray(RNG.integers(0, 256, (64, 64, 3), np.uint8)), form)
    for length in (0, 3, 12, 40, len(content) // 2):
        with pytest.raises(ValueError, match=r"\w"):
            decode_upright(content[:length])


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("how", [1, 3, 5, 6, 8])
def test_the_size_of_the_header_is_that_of_the_upright_image(form: str, how: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = how
    file = io.BytesIO()
    Image.new("RGB", (50, 30)).save(file, form, exif=exif)
    pixels = decode_upright(file.getvalue())
    assert upright_size(file.getvalue()) == (pixels.shape[1], pixels.shape[0])
    with pytest.raises(ValueError, match="its header cannot be read"):
        upright_size(b"no image")


def test_long_texts_in_a_png_hinder_neither_its_pixels_nor_its_size() -> None:
    about = PngInfo()
    about.add_text("workflow", "x" * 2_000_000, zip=True)
    image = encoded(Image.new("RGB", (50, 30)), "PNG", pnginfo=about)
    assert decode_upright(image).shape == (30, 50, 3)
    assert upright_size(image) == (50, 30)


def test_a_png_whose_exif_cannot_be_read_is_as_pack_takes_it() -> None:
    for keyword in ("Raw profile type exif", "XML:com.adobe.xmp"):
        texts = PngInfo()
        texts.add_text(keyword, "no TIFF, and no XML")
        image = encoded(Image.fromarray(PIXELS), "PNG", pnginfo=texts)
        np.testing.assert_array_equal(decode_upright(image), PIXELS)
        assert upright_size(image) == (20, 12)


def test_a_photograph_that_is_not_compressed_is_small_enough(tmp_path: Path) -> None:
    Image.new("RGB", (4000, 3000)).save(tmp_path / "large.tif")
    (image,) = find_images([tmp_path]).images
    assert image.pixels().shape == (3000, 4000, 3)


def test_an_image_that_is_too_large_is_refused_by_its_header() -> None:
    large = encoded(Image.new("1", (20_000, 5)), "PNG")
    with pytest.raises(ValueError, match="more than the"):
        decode_upright(large)


def test_arrays_are_rgb_or_grey() -> None:
    np.testing.assert_array_equal(as_pixels(PIXELS), PIXELS)
    np.testing.assert_array_equal(as_pixels(np.dstack([PIXELS, PIXELS[..., :1]])), PIXELS)
    assert as_pixels(PIXELS[..., 0]).shape == PIXELS.shape
    for bad in (PIXELS.astype(np.float32), PIXELS[..., :2], PIXELS[:0], PIXELS[0, 0]):
        with pytest.raises(ValueError, match="an array"):
            as_pixels(bad)


def test_a_tiff_that_xmp_turns_has_the_size_that_it_is_decoded_to() -> None:
    """Pillow's own is that before it is turned; where a tag turns it, that after."""
    turns = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    )
    file = io.BytesIO()
    Image.new("RGB", (48, 40)).save(file, "TIFF", tiffinfo={700: turns})
    assert decode_upright(file.getvalue()).shape == (48, 40, 3)
    assert upright_size(file.getvalue()) == (40, 48)


def test_an_image_is_in_the_folders_inside_its_place_and_then_in_the_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = {image.name: image.folders for image in find_images([folder]).images}
    assert of["b/deep/2.jpg"] == ("b", "deep", "photos")
    assert of["a.jpg"] == ("photos",)
    of_zip = {image.name: image.folders for image in find_images([zipped(folder)]).images}
    assert of_zip["b/deep/2.jpg"] == ("b", "deep"), "a zip is called otherwise than what is in it"
    monkeypatch.chdir(folder)
    (image,) = find_images([Path("a.jpg")]).images
    assert image.folders == ("photos",)


def test_what_an_image_is_known_by_changes_where_its_file_does(folder: Path) -> None:
    def stamps() -> list[str]:
        return [image.stamp for place in (folder, folder / "a.jpg") for image in find_images([place]).images]

    before = stamps()
    assert all(before)
    assert stamps() == before
    status = (folder / "a.jpg").stat()
    os.utime(folder / "a.jpg", ns=(status.st_atime_ns, status.st_mtime_ns + 1000))
    assert [one != other for one, other in zip(before, stamps(), strict=True)] == [
        image.name.endswith("a.jpg") for place in (folder, folder / "a.jpg") for image in find_images([place]).images
    ]


def test_what_is_left_out_of_several_places_is_counted_together(folder: Path) -> None:
    more = folder.parent / "more"
    more.mkdir()
    (more / "a.jpg").write_bytes(noise_jpeg(1))
    for count in (1, 2):
        (more / f".hidden{count}.jpg").write_bytes(b"")
    assert f"3 {LEFT_OUT}" in find_images([folder, more]).notes
    (more / ".hidden1.jpg").unlink(), (more / ".hidden2.jpg").unlink()
    assert f"1 {LEFT_OUT}" in find_images([folder, more]).notes


def test_images_whose_names_are_no_text_have_an_order(folder: Path) -> None:
    for name in (b"z\xe9.jpg", b"a\xe9.jpg", b"m\xe9.jpg", b"b/\xe9.jpg"):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(noise_jpeg(3))
    names = [image.name for image in find_images([folder]).images][-4:]
    assert names == sorted(names)


def test_a_torn_zip_is_told_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "torn.zip").write_bytes(b"PK\x03\x04 no more")
    with pytest.raises(Exception, match=r"torn\.zip: .*; make it anew$"):
        find_images([tmp_path / "torn.zip"])


def test_arrays_of_another_byte_order_are_taken_and_a_grey_channel_first_is_told() -> None:
    np.testing.assert_array_equal(as_pixels(np.array([[0, 257]], ">u2"))[0, :, 0], [0, 1])
    with pytest.raises(ValueError, match=r"give where they come first, np\.moveaxis\(array, -3, -1\)"):
        as_pixels(np.zeros((1, 20, 30), np.uint8))
    with pytest.raises(ValueError, match="give several grey images as a list"):
        as_pixels(np.zeros((5, 20, 30), np.uint8))


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_an_image_of_a_pixel_is_one(form: str) -> None:
    assert decode_upright(encoded(Image.new("RGB", (1, 1)), form)).shape == (1, 1, 3)


def test_frames_are_looked_for_whatever_the_case_of_the_ending(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), (level, 0, 0)) for level in (10, 200)]
    (tmp_path / "two.GIF").write_bytes(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    (image,) = find_images([tmp_path]).images
    assert has_more_frames(image)


@pytest.mark.parametrize("count", range(6))
def test_chunks_hold_all_images_in_order(count: int) -> None:
    chunks = [*in_chunks(range(count), 2)]  # type: ignore[arg-type]
    assert [each for chunk in chunks for each in chunk] == [*range(count)]
    assert all(len(chunk) == 2 for chunk in chunks[:-1])
    assert all(chunks)


def test_an_image_of_as_many_pixels_as_are_taken_need_not_be_compressed() -> None:
    assert MAX_BYTES > 3 * MAX_PIXELS
