"""What several test files share: the real data where given, a packed synthetic set, a made-up official layout."""

import os

# Before torch is imported: the bits that tests compare are a CPU's, in child processes too.
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import copy
import dataclasses
import importlib
import io
import pkgutil
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from faults.case import Case, Outcome, as_markdown
from faults.run_cases import make_run
from faults.tally import ROWS, Table, Tally
from pictures import draw_class_folders
from PIL import Image

import fastwsol
import kernels
from fastwsol import pack as pack_command
from fastwsol.batches.decoded_store import Store
from fastwsol.dataset.packer import pack
from fastwsol.dataset.shards import Shards, Split, open_shards
from fastwsol.host import ticker
from fastwsol.host.command_line import run_command
from fastwsol.host.kept_arrays import KeptArray
from fastwsol.network import preact_resnet
from fastwsol.prediction.predictor import Predictor
from fastwsol.sources.synthetic import Synthetic

LONGEST_FILES = (
    *("faults/test_hostile_archives.py", "faults/test_rank_death.py", "test_train.py", "faults/test_exact_resume.py"),
    *("test_store_batches.py", "faults/test_kill_proof.py", "faults/test_disk_full.py", "test_bad_inputs.py"),
    *("test_extending.py", "test_first_boxes.py", "test_documented_commands.py", "test_documents.py"),
    *("test_wheel.py", "test_review.py", "test_predict.py"),
    *("test_sweep.py", "test_report.py", "test_kernels_sweep.py", "test_distributed.py", "test_accept_gpu.py"),
    *("test_evaluate.py", "test_step.py", "test_square_store.py", "faults/test_golden_losses.py", "test_gpu_day.py"),
    *("test_kernels_boxes.py", "test_decoded_store.py", "faults/test_soak.py", "test_photos.py", "test_mask_runs.py"),
)
"""Those that take longest, the longest first."""

PHOTO_SIZES = [(64, 64), (90, 40), (33, 120), (200, 150), (64, 65)]
"""Width and height of the images of `photos`."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; the order within a file, and of the others, stays."""
    here = Path(__file__).parent
    assert all((here / name).is_file() for name in LONGEST_FILES), "LONGEST_FILES: a file was renamed"
    place = {f"/tests/{name}": number for number, name in enumerate(LONGEST_FILES)}

    def of_file(item: pytest.Item) -> int:
        path = item.path.as_posix()
        return next((number for end, number in place.items() if path.endswith(end)), len(place))

    items.sort(key=of_file)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--real-data",
        type=Path,
        metavar="PATH",
        help="the official tiny-imagenet-200 zip or folder, for the tests on it",
    )
    parser.addoption(
        "--bad-inputs-table", type=Path, metavar="FILE", help="write what the commands said to bad inputs, as markdown"
    )
    parser.addoption("--odd-images-table", type=Path, metavar="FILE", help="write how odd images fared, as markdown")
    parser.addoption("--full", action="store_true", help="inject the full number of faults in tests/faults: hours")
    parser.addoption("--golden-because", metavar="TEXT", help="write tests/golden anew, for this reason")
    parser.addoption("--faults-table", type=Path, metavar="FILE", help="write the counts of tests/faults, as markdown")


def pytest_configure(config: pytest.Config) -> None:
    path: Path | None = config.getoption("--faults-table")
    if path is not None and not config.getoption("--full"):
        raise pytest.UsageError("--faults-table: the names of its rows are those of full counts; add --full")
    if path is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Table(path, f"pytest {' '.join(config.invocation_params.args)}"))
    if numba.config.BOUNDSCHECK:
        _make_kernels_serial()
    preact_resnet.WIDTHS = NARROW_WIDTHS


WIDTHS = preact_resnet.WIDTHS
NARROW_WIDTHS = (8, 16, 32, 64)
"""Channels of the network that tests train in this process: an eighth of the real one's, since most of a short training
is the writing of its checkpoints. Processes that start as a user starts them have the real one.
"""


@pytest.fixture(scope="module")
def real_width_in_module() -> Iterator[None]:
    """For all tests and fixtures of a file about the network itself."""
    preact_resnet.WIDTHS = WIDTHS
    yield
    preact_resnet.WIDTHS = NARROW_WIDTHS


@pytest.fixture
def narrow_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The narrow network in processes that a test starts too, for tests of the program that starts them."""
    folder = tmp_path / "narrow"
    folder.mkdir()
    narrow = f"from fastwsol.network import preact_resnet\npreact_resnet.WIDTHS = {NARROW_WIDTHS}\n"
    (folder / "sitecustomize.py").write_text(narrow)
    before = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *([before] if before else [])]))


@pytest.fixture
def one_block_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what compiles: the network of depth 18 has a block of each kind, and not two."""
    monkeypatch.setitem(preact_resnet.GROUP_BLOCKS, 18, (1, 1, 1, 1))


def _make_kernels_serial() -> None:
    """An index out of bounds inside a parallel loop is lost; in a serial one it is an IndexError."""
    for found in pkgutil.iter_modules(kernels.__path__, "kernels."):
        module = importlib.import_module(found.name)
        for name, function in list(vars(module).items()):
            if getattr(function, "targetoptions", {}).get("parallel"):
                setattr(module, name, numba.njit(nogil=True)(function.py_func))


@pytest.fixture(scope="session")
def real_source(request: pytest.FixtureRequest) -> Path:
    """The official Tiny ImageNet, folder or zip."""
    path: Path | None = request.config.getoption("--real-data")
    if path is None:
        pytest.skip("NOT TESTED on the real images: give the official zip or folder with --real-data=PATH")
    if not path.exists():
        pytest.fail(f"--real-data {path}: no such file or folder")
    return path


@pytest.fixture(scope="session")
def synthetic_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed synthetic set of 4 classes with 20 train and 10 val images each. Shared: read it, never write to it."""
    folder = tmp_path_factory.mktemp("synthetic") / "shards"
    pack(Synthetic(class_count=4, train_count=20, val_count=10), folder)
    return folder


@pytest.fixture(scope="session")
def shards(synthetic_shards: Path) -> Shards:
    """The same, opened."""
    return open_shards(synthetic_shards)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, synthetic_shards: Path) -> Path:
    """A run at its first step, which no test changes: its network knows nothing, and yet has maps and boxes."""
    folder = tmp_path_factory.mktemp("fresh") / "run"
    make_run(folder, synthetic_shards)
    return folder


@pytest.fixture(scope="session")
def predictor(run: Path) -> Predictor:
    return fastwsol.load(run, "cpu", threads=1)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a folder of images in it, one of each of `PHOTO_SIZES`, which no test changes."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "more").mkdir()
    for k, size in enumerate(PHOTO_SIZES):
        (folder / "more" / f"{k}.jpg").write_bytes(noise_jpeg(k, size=size))
    return folder


@pytest.fixture(scope="session")
def store(shards: Shards, tmp_path_factory: pytest.TempPathFactory) -> KeptArray:
    """Their training images, decoded once."""
    return Store(shards, "train", tmp_path_factory.mktemp("decoded")).open(threads=1)


@pytest.fixture(scope="session")
def picture_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of pictures of many sizes, with their boxes (`pictures`). Shared: read them, never write there."""
    root = tmp_path_factory.mktemp("pictures") / "set"
    draw_class_folders(root)
    return root


@pytest.fixture(scope="session")
def picture_shards(picture_folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, packed. Shared: read them; stores and features lie beside them."""
    out = tmp_path_factory.mktemp("packed") / "shards"
    flags = ["--layout", "imagefolder", "--source", picture_folders, "--boxes", picture_folders / "boxes.csv"]
    assert run_command(pack_command.main, [str(each) for each in (*flags, "--out", out)]) == 0
    return out


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, as playwright drives it."""
    playwright = pytest.importorskip("playwright.sync_api", reason="NOT TESTED in a browser: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("NOT TESTED in a browser: install Chromium, as `chromium` or `google-chrome` on the PATH")
    with playwright.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A tab in which no error is ignored, nor anything fetched."""
    context = browser.new_context(viewport={"width": 1200, "height": 800}, accept_downloads=True)
    tab = context.new_page()
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    tab.on("request", lambda request: errors.append(request.url) if request.url.startswith("http") else None)
    yield tab
    context.close()
    assert errors == []


WNIDS = ("n03", "n01", "n02")  # not sorted, as in the official list


@pytest.fixture
def layout(tmp_path: Path, good_layout: Path) -> Path:
    """A folder in the official layout, to spoil."""
    return shutil.copytree(good_layout, tmp_path / "tiny-imagenet-200")


@pytest.fixture(scope="session")
def good_layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the official layout: 3 classes, 3 train images each, 6 val images, 64x64, made of noise. Shared: read
    it, never write to it.
    """
    root = tmp_path_factory.mktemp("good") / "tiny-imagenet-200"
    (root / "val" / "images").mkdir(parents=True)
    (root / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in WNIDS))
    words = [f"{wnid}\tname of {wnid}, another name\n" for wnid in (*sorted(WNIDS), "n99")]
    (root / "words.txt").write_text("".join(words))
    for label, wnid in enumerate(WNIDS):
        images = root / "train" / wnid / "images"
        images.mkdir(parents=True)
        lines = []
        # Ten before two, so that neither file-name nor directory order passes for the annotations' order.
        for k in (10, 2, 0):
            (images / f"{wnid}_{k}.JPEG").write_bytes(noise_jpeg(100 * label + k))
            lines.append(f"{wnid}_{k}.JPEG\t{k}\t1\t{20 + k}\t63\n")
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("".join(lines))
    lines = []
    for k in range(6):
        (root / "val" / "images" / f"val_{k}.JPEG").write_bytes(noise_jpeg(1000 + k))
        lines.append(f"val_{k}.JPEG\t{WNIDS[k % 3]}\t{k}\t{k}\t{k}\t63\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    return root


@pytest.fixture
def as_zip(tmp_path: Path) -> Callable[..., Path]:
    """A function that puts a layout into a zip, under `prefix`."""

    def build(root: Path, prefix: str = "tiny-imagenet-200/") -> Path:
        path = tmp_path / "layout.zip"
        with zipfile.ZipFile(path, "w") as archive:
            # Backwards, so that an order taken from the archive shows.
            for file in sorted(root.rglob("*"), reverse=True):
                if file.is_file():
                    archive.write(file, prefix + str(file.relative_to(root)))
        return path

    return build


@pytest.fixture
def every_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress is said at each image or piece, and not once in a while."""
    monkeypatch.setattr(ticker, "SECONDS_BETWEEN_LINES", 0.0)


@pytest.fixture(scope="session")
def bad_inputs_table(request: pytest.FixtureRequest) -> Iterator[Callable[[Case, Outcome], None]]:
    """Takes what was seen of each case; at the end it is written where --bad-inputs-table says."""
    seen: list[tuple[Case, Outcome]] = []
    yield lambda case, outcome: seen.append((case, outcome))
    path: Path | None = request.config.getoption("--bad-inputs-table")
    if path is not None:
        path.write_text(as_markdown(seen))


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Whether the full number of faults is asked for."""
    return bool(request.config.getoption("--full"))


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """Counts faults; at the end all counts are written where --faults-table says."""
    counted = Tally()
    yield counted
    request.node.user_properties.append((ROWS, counted.rows()))


def with_damaged_images(shards: Shards, name: str, rows: Iterable[int]) -> Shards:
    """The same data set, but that some images of split `name` are cut off after a third of their bytes."""
    split = copy.copy(shards.splits[name])
    split.__class__ = _Damaged
    split.damaged = sorted(rows)
    return dataclasses.replace(shards, splits={**shards.splits, name: split})


class _Damaged(Split):
    damaged: list[int]

    def image(self, index):
        whole = super().image(index)
        return whole[: len(whole) // 3] if index in self.damaged else whole

    def gather(self, ids):
        encoded, lengths = super().gather(ids)
        lengths[np.isin(ids, self.damaged)] //= 3
        return encoded, lengths


def noise_jpeg(seed: int, mode: str = "RGB", size: tuple[int, int] = (64, 64)) -> bytes:
    width, height = size
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "JPEG")
    return file.getvalue()
