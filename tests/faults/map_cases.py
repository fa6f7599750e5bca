"""Bad inputs of python -m fastwsol.evaluate --maps FOLDER --boxes FILE."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from .case import Case, Place

HEADER = "name,width,height,x0,y0,x1,y1,label,predicted"
CAPITALS = HEADER.replace("label", "Label")
LINES = (HEADER, "a,64,48,0,0,10,10,cat,cat", "b,64,48,5,5,60,48,dog,cat", "b,64,48,,,,,dog,cat")

NO_TEXT_IN_LINE_3 = "\n".join(LINES).encode().replace(b"b,64", b"\xe4,64")
OPEN_QUOTE = f'{HEADER}\n"a,64\n'.encode()
TWO_OF_ONE = (HEADER, "b.jpg,64,48,0,0,10,10,cat,cat", "b.png,64,48,0,0,10,10,cat,cat")


def evaluated(
    name: str, *words: str, spoil: Callable[[Path], object] = lambda folder: None, flags: tuple[str, ...] = ()
) -> Case:
    """Good maps and boxes in `maps` and `boxes.csv` of a folder, spoilt."""

    def make(place: Place) -> list[object]:
        (place.root / "maps").mkdir()
        for image in "ab":
            np.save(place.root / "maps" / f"{image}.npy", np.eye(4, dtype=np.float32))
        (place.root / "boxes.csv").write_text("\n".join(LINES) + "\n")
        spoil(place.root)
        named = ["--maps", place.root / "maps", "--boxes", place.root / "boxes.csv"]
        return [*named, *(flag.replace("HERE", str(place.root)) for flag in flags)]

    return Case("score maps", name, make, words, command="evaluate")


def lines(name: str, *words: str, put: tuple[str, ...], also: str = "b") -> Case:
    """The boxes file with other lines, and a map of the image `also`."""

    def spoil(root: Path) -> None:
        (root / "boxes.csv").write_text("\n".join(put))
        np.save(root / "maps" / f"{also}.npy", np.eye(4, dtype=np.float32))

    return evaluated(name, *words, spoil=spoil)


def line_2(name: str, line: str, *words: str) -> Case:
    """The boxes file with another second line."""
    return lines(name, "boxes.csv, line 2: ", *words, put=(HEADER, line, *LINES[2:]))


def map_b(name: str, array: object, *words: str) -> Case:
    """Another map of the image b."""
    return evaluated(name, "b.npy", *words, spoil=lambda root: np.save(root / "maps" / "b.npy", array))


def mask(name: str, picture: Image.Image | None, *words: str) -> Case:
    """A mask of the image b, or a folder of masks without any."""

    def spoil(root: Path) -> None:
        (root / "masks").mkdir()
        if picture is not None:
            picture.save(root / "masks" / "b.png")

    return evaluated(name, *words, spoil=spoil, flags=("--masks", "HERE/masks"))


def write(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda root: (root / name).write_bytes(content)


CASES = [
    Case("score maps", "no boxes", lambda place: ["--maps", place.root], ("give it with --boxes",), command="evaluate"),
    evaluated("a run as well", "--maps: evaluates score maps without a run", flags=("HERE",)),
    evaluated("a run's flag", "--split: goes with a run", flags=("--split", "train")),
    evaluated("an automatic threshold", "--threshold auto: needs a run", flags=("--threshold", "auto")),
    evaluated("a threshold of percent", "--threshold: 20 is neither own, auto", flags=("--threshold", "20")),
    evaluated("a threshold in words", "--threshold: low is neither own, auto", flags=("--threshold", "low")),
    evaluated("a report that exists", "maps: exists; nothing was changed", flags=("--out", "HERE/maps")),
    evaluated(
        "training boxes that are not there", "none.csv: cannot be read", flags=("--train-boxes", "HERE/none.csv")
    ),
    evaluated("masks that are not there", "--masks", "no such folder", flags=("--masks", "HERE/none")),
    mask("no mask of any image", None, "none of the images has a mask there", "name masks like images"),
    mask("a mask of another size", Image.new("L", (48, 64)), "b.png: has 48x64 pixels, its image 64x48"),
    mask("a mask in colours", Image.new("RGB", (64, 48)), "b.png: is a PNG of mode RGB"),
    mask("a mask of classes", Image.new("L", (64, 48), 7), "b.png: has a pixel of 7"),
    mask("masks without an object", Image.new("L", (64, 48)), "no mask has a pixel of an object (255)"),
    evaluated("no boxes file", "boxes.csv: cannot be read", spoil=lambda root: (root / "boxes.csv").unlink()),
    evaluated(
        "a boxes file that is a picture", "boxes.csv line 1: not UTF-8", spoil=write("boxes.csv", b"\x89PNG\xff")
    ),
    evaluated("a byte that is no text", "boxes.csv line 3: not UTF-8", spoil=write("boxes.csv", NO_TEXT_IN_LINE_3)),
    evaluated("a quote left open", "boxes.csv, line 2: not CSV", spoil=write("boxes.csv", OPEN_QUOTE)),
    lines("an empty boxes file", "boxes.csv, line 1: the header '' lacks name", put=()),
    lines("a header alone", "boxes.csv: has no line below its header", put=(HEADER,)),
    lines("no header", "boxes.csv, line 1: the header", "lacks name", put=LINES[1:]),
    lines("a column missing", "lacks y1", put=("name,width,height,x0,y0,x1", "a,1,1,0,0,1")),
    lines("a column twice", "names a column twice", put=(HEADER + ",x0", "a,1,1,0,0,1,1,a,a,0")),
    lines("a column in capitals", "the column 'Label' is 'label' but for capitals", put=(CAPITALS, *LINES[1:])),
    lines("difficult as a word", "difficult 'yes' is neither 0 nor 1", put=(HEADER + ",difficult", LINES[1] + ",yes")),
    lines(
        "two sizes of one image",
        "line 4: says another size, label or prediction of 'b' than line 3",
        put=(*LINES[:3], "b,64,49,,,,,dog,cat"),
    ),
    lines("two labels of one image", "line 4: says another size", put=(*LINES[:3], "b,64,48,,,,,cat,cat")),
    line_2("a field too few", "a,64,48,0,0,10,10,cat", "has 8 fields, the header has 9"),
    line_2("no name", ",64,48,0,0,10,10,cat,cat", "the name is empty"),
    line_2("no width", "a,,48,0,0,10,10,cat,cat", "width '' is not a whole number"),
    line_2("a width of nothing", "a,0,48,0,0,10,10,cat,cat", "width '0' is not a whole number"),
    line_2("a height in halves", "a,64,48.5,0,0,10,10,cat,cat", "height '48.5' is not a whole number"),
    line_2("a height beyond all", "a,64,99999,0,0,10,10,cat,cat", "from 1 to 30000"),
    line_2("a width of 5000 digits", "a," + "9" * 5000 + ",48,0,0,10,10,cat,cat", "is not a whole number"),
    line_2("a box in words", "a,64,48,left,0,10,10,cat,cat", "'left,0,10,10' are not four numbers"),
    line_2("half a box", "a,64,48,3,,10,10,cat,cat", "are not four numbers"),
    line_2("a box that is NaN", "a,64,48,nan,0,10,10,cat,cat", "are not four numbers"),
    line_2("a box with inclusive ends", "a,64,48,10,10,10,20,cat,cat", "is empty", "add 1 to x1 and y1"),
    line_2("a box upside down", "a,64,48,10,30,20,20,cat,cat", "ends before it begins", "not x,y,width,height"),
    lines("boxes in shares", "every edge lies between 0 and 1", put=(HEADER, "a,64,48,0.1,0.1,0.9,0.9,cat,cat")),
    line_2("a box outside", "a,64,48,0,0,67,10,cat,cat", "reaches more than 2 pixels outside its image of 64 x 48"),
    line_2("a box before the edge", "a,64,48,-3,0,10,10,cat,cat", "reaches more than 2 pixels outside"),
    line_2("no label", "a,64,48,0,0,10,10,,cat", "the label is empty"),
    line_2("no prediction", "a,64,48,0,0,10,10,cat,", "nothing is predicted"),
    line_2("six predictions", "a,64,48,0,0,10,10,cat,a;b;c;d;e;f", "is not up to five different classes"),
    line_2("a prediction twice", "a,64,48,0,0,10,10,cat,a;a", "is not up to five different classes"),
    lines("a name that leads out", "leads out of", put=(HEADER, "../boxes,64,48,0,0,10,10,cat,cat")),
    lines("an absolute name", "leads out of", put=(HEADER, "/etc/hosts,64,48,0,0,10,10,cat,cat")),
    lines("a name that is a folder", "the name '.' leads out of", put=(HEADER, ".,64,48,0,0,10,10,cat,cat")),
    lines("a name too long", "no file can have the name", put=(HEADER, "n" * 300 + ",64,48,0,0,10,10,cat,cat")),
    lines("two images of one map", "b.npy: is the map of both 'b.jpg' and 'b.png'", put=TWO_OF_ONE),
    evaluated("a report below a file", "boxes.csv is no folder", flags=("--out", "HERE/boxes.csv/report")),
    lines(
        "two maps of one image", "b.png.npy: is a map of 'b.png', and so is b.npy", put=TWO_OF_ONE[::2], also="b.png"
    ),
    evaluated("a map missing", "b.npy: no such file", spoil=lambda root: (root / "maps" / "b.npy").unlink()),
    evaluated("no maps at all", "maps: cannot be read", spoil=lambda root: (root / "maps").rename(root / "other")),
    evaluated("a map that is text", "b.npy: is no array", spoil=write("maps/b.npy", b"not a map at all")),
    evaluated("an empty map file", "b.npy: is no array", spoil=write("maps/b.npy", b"")),
    evaluated("an archive of maps", "b.npy: is no array", spoil=lambda root: archive(root / "maps" / "b.npy")),
    evaluated("a map cut short", "b.npy: is no array", spoil=lambda root: cut(root / "maps" / "b.npy")),
    map_b("a map of objects", np.array([[{}]], object), "is no array of numbers"),
    map_b("a map of three dimensions", np.zeros((3, 4, 4)), "has shape [3, 4, 4], expected [h, w]"),
    map_b("a map without pixels", np.zeros((0, 4)), "has shape [0, 4]"),
    map_b("a map of signed numbers", np.zeros((4, 4), np.int32), "is of int32"),
    map_b("a map of complex numbers", np.zeros((4, 4), complex), "is of complex128"),
    map_b("a map with NaN", np.full((4, 4), np.nan), "holds NaN or infinity"),
    map_b("a map finer than float32", 1 + 1e-12 * np.eye(4), "differ by less than float32 can tell"),
    map_b("a map beyond float32", np.full((4, 4), 1e39), "holds NaN or infinity"),
    evaluated("an array of other images", "maps: has shape [3, 4, 4]", "[2, h, w]", spoil=lambda root: array(root, 3)),
]


def archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, np.zeros((4, 4)))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def array(root: Path, count: int) -> None:
    """One array in place of the folder."""
    for path in (root / "maps").iterdir():
        path.unlink()
    (root / "maps").rmdir()
    np.save(root / "maps.npy", np.zeros((count, 4, 4), np.float32))
    (root / "maps.npy").rename(root / "maps")
