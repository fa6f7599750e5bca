"""Odd image files through every path: packing, the store, DALI and prediction see the pixels that a viewer shows, or
the image is refused.
"""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fastwsol.host.errors import UserError
from fastwsol.prediction.user_images import decode_upright
from fastwsol.sources.decode import (
    ANEW,
    AS_JPEG,
    AS_PNG,
    CUT,
    FROM_GIF_OR_TIFF,
    MENDED,
    TURNED,
    ImageFacts,
    decode,
    judge_images,
)

odd_images = pytest.importorskip("odd_images", reason="NOT TESTED on odd images: OpenCV, which writes some, is missing")
IMAGES: dict[str, bytes] = odd_images.odd_images()
LOSSY = 12
"""Levels of 255 by which a JPEG that is encoded anew may differ, on edges as hard as these."""

Seen = NDArray[np.uint8] | str
"""Pixels, or why there are none."""


def viewed(image: bytes) -> Seen:
    """As a viewer shows it; 16 bits become 8 as everywhere here."""
    try:
        with Image.open(io.BytesIO(image)) as opened:
            shown = ImageOps.exif_transpose(opened)
            if shown.mode.startswith("I"):
                levels = (np.asarray(shown).astype(np.int64) + 128) // 257
                return np.repeat(levels.astype(np.uint8)[..., None], 3, axis=2)
            return np.asarray(shown.convert("RGB"))
    except Exception as error:  # Pillow's decoders raise what they stumble over
        return str(error)


def predicted(image: bytes) -> Seen:
    try:
        return decode_upright(image)
    except ValueError as error:
        return str(error)


def decoded_by_dali(images: list[bytes]) -> list[NDArray[np.uint8]]:
    from nvidia.dali import Pipeline, fn

    from fastwsol.batches.dali_batches import _decoder_options

    pipeline = Pipeline(1, 1, None)
    turns = iter(images)
    with pipeline:
        encoded = fn.external_source(lambda: [np.frombuffer(next(turns), np.uint8)], batch=True)
        pipeline.set_outputs(fn.decoders.image(encoded, **_decoder_options("cpu")))
    pipeline.build()
    return [np.asarray(pipeline.run()[0][0]) for _ in images]


def apart(one: Seen, other: Seen) -> int | None:
    """The most levels of 255 between two; None where one shows nothing."""
    if isinstance(one, str) or isinstance(other, str):
        return None
    return 255 if one.shape != other.shape else int(np.abs(one.astype(int) - other).max())


@pytest.fixture(scope="module")
def judged() -> dict[str, ImageFacts | str]:
    return dict(zip(IMAGES, judge_images([*IMAGES.values()], turns=True), strict=True))


@pytest.fixture(scope="module")
def judged_lossless() -> dict[str, ImageFacts | str]:
    return dict(zip(IMAGES, judge_images([*IMAGES.values()], turns=True, lossless=True), strict=True))


def test_all_paths_see_what_a_viewer_shows_or_the_image_is_refused(
    judged: dict[str, ImageFacts | str], judged_lossless: dict[str, ImageFacts | str], pytestconfig: pytest.Config
) -> None:
    pytest.importorskip("nvidia.dali", reason="NOT TESTED with DALI, which is not installed")
    packed = {name: IMAGES[name] if facts.instead is None else facts.instead
              for name, facts in judged.items() if isinstance(facts, ImageFacts)}  # fmt: skip
    by_dali = dict(zip(packed, decoded_by_dali([*packed.values()]), strict=True))
    lines = []
    for name, image in IMAGES.items():
        facts = judged[name]
        with warnings.catch_warnings(action="ignore"):
            shown, forecast = viewed(image), predicted(image)
        assert not isinstance(forecast, str) or isinstance(facts, str), f"{name}: packed and not predicted"
        if name not in packed:
            assert apart(forecast, shown) in (0, None), name
            lines.append((name, facts, _said(forecast, shown)))
            continue
        assert isinstance(facts, ImageFacts)
        stored = decode(packed[name])
        exact = judged_lossless[name]
        assert isinstance(exact, ImageFacts)
        stored_exactly = stored if exact.instead is None else decode(exact.instead)
        ends = [apart(stored, by_dali[name]), apart(stored, shown), apart(stored_exactly, shown)]
        ends.append(apart(forecast, shown))
        lossy = facts.how == AS_JPEG or (facts.how == TURNED and name.startswith(("JPEG", "AVIF", "HEIC")))
        assert ends[0] == 0, f"{name}: DALI is {ends[0]} levels off"
        assert ends[1] is None or ends[1] <= LOSSY * lossy, f"{name}: packed {ends[1]} levels off"
        assert ends[2] in (0, None), f"{name}: packed with --lossless {ends[2]} levels off"
        assert ends[3] in (0, None), f"{name}: predicted {ends[3]} levels off"
        how = f"packed {facts.how}" if facts.how else "packed as it came"
        lines.append(
            (name, how, *("not shown" if end is None else str(end) for end in ends[:3]), _said(forecast, shown))
        )
    if path := pytestconfig.getoption("--odd-images-table"):
        path.write_text(_as_markdown(lines))


def _said(forecast: Seen, shown: Seen) -> str:
    if isinstance(forecast, str):
        return forecast
    end = apart(forecast, shown)
    return "predicted, not shown" if end is None else str(end)


def _as_markdown(lines: list[tuple[str, ...]]) -> str:
    head = (
        f"{len(lines)} odd image files, each through packing, the store's decoder, DALI on a CPU and prediction. "
        "Numbers are the most levels of 255 by which two paths differ in a pixel. A JPEG that is turned is encoded "
        "anew, an AVIF or HEIC becomes a JPEG, which moves levels at edges as hard as these; with `pack --lossless` "
        "they become PNG.\n\n"
        "`pytest tests/test_odd_images.py --odd-images-table=bench/results/odd-images.md` writes this page.\n\n"
        "| file | packing | store and DALI | packed and viewer | packed --lossless and viewer "
        "| predicted and viewer |\n"
        "|---|---|---|---|---|---|\n"
    )
    rows = [[part.replace("|", "\\|") for part in line if part != ""] for line in lines]
    return head + "".join(
        f"| {row[0]} | {row[1]} | {' | '.join(row[2:] if len(row) == 6 else ['', '', '', row[2]])} |\n" for row in rows
    )


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("JPEG RGB", ""),
        ("JPEG CMYK", ""),
        ("JPEG CMYK without Adobe's segment", ANEW),
        ("JPEG and a film behind", CUT),
        ("JPEG and a byte behind", ""),
        ("JPEG, scan header with last coefficient 0", MENDED),
        ("JPEG, EXIF 6 behind a profile", TURNED),
        ("JPEG, XMP 6", TURNED),
        ("JPEG, XMP 6 and EXIF 1", ""),
        ("PNG of 16 bits, grey", ANEW),
        ("PNG of 16 bits, RGB", ANEW),
        ("PNG, raw profile of EXIF 6", TURNED),
        ("PNG with a large text", ""),
        ("PNG with a profile of zeros", ""),
        ("BMP of 5-6-5", ANEW),
        ("BMP of 5-5-5", ANEW),
        ("BMP of 8-8-8-0", ANEW),
        ("BMP RGB", ""),
        ("GIF", FROM_GIF_OR_TIFF),
        ("TIFF RGB", FROM_GIF_OR_TIFF),
        ("TIFF by tiff_lzw, EXIF 6", TURNED),
    ],
)
def test_how_an_odd_image_is_packed(judged: dict[str, ImageFacts | str], name: str, how: str) -> None:
    facts = judged[name]
    assert isinstance(facts, ImageFacts), facts
    assert facts.how == how
    assert (facts.instead is None) == (how == "")


@pytest.mark.parametrize(
    "name",
    ["JPEG of 1x1", "JPEG of 3x50", "PNG without its last byte", "PNG animated", "GIF animated", "TIFF of two pages"],
)
def test_what_is_not_packed_is_predicted_as_a_viewer_shows_it(judged: dict[str, ImageFacts | str], name: str) -> None:
    assert isinstance(judged[name], str)
    assert apart(predicted(IMAGES[name]), viewed(IMAGES[name])) == 0


def test_packing_says_how_many_were_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from fastwsol.dataset.packer import pack
    from fastwsol.sources.imagefolder import ImageFolder

    chosen = ("BMP of 5-6-5", "PNG of 16 bits, RGB", "JPEG, EXIF 6", "JPEG RGB", "PNG RGB", "JPEG and a film behind")
    chosen += ("GIF", "TIFF RGB", "TIFF by tiff_lzw, EXIF 6")
    for label in ("a", "b"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for k, name in enumerate(chosen):
            (tmp_path / "photos" / label / f"{k}.png").write_bytes(IMAGES[name])
    pack(ImageFolder(tmp_path / "photos"), tmp_path / "shards")
    said = capsys.readouterr().out
    assert f"4 images are packed {ANEW}" in said
    assert f"4 images are packed {TURNED}" in said
    assert f"4 images are packed {FROM_GIF_OR_TIFF}" in said
    assert f"2 images are packed {CUT}" in said
    with pytest.raises(UserError, match="is packed already, and whole"):
        pack(ImageFolder(tmp_path / "photos"), tmp_path / "shards", lossless=True)


def test_what_is_encoded_anew_loses_nothing_where_that_is_asked(
    judged_lossless: dict[str, ImageFacts | str], tmp_path: Path
) -> None:
    turned = judged_lossless["JPEG, EXIF 6"]
    assert isinstance(turned, ImageFacts)
    assert turned.instead is not None
    assert turned.how == TURNED
    assert apart(decode(turned.instead), viewed(IMAGES["JPEG, EXIF 6"])) == 0
    others = [name for name in IMAGES if name.startswith(("AVIF", "HEIC")) and "6" not in name]
    kinds = {facts.how for name in others if isinstance(facts := judged_lossless[name], ImageFacts)}
    assert kinds <= {AS_PNG, TURNED}
