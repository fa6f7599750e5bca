"""The figures of README and docs are those of the files in bench/results, rounded: each table beside its file."""

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
from figures import of_benchmarks, of_photographs, of_summaries, of_trainings
from figures.reading import GT, Rows, Values, benchmark, fixed_boxes, localizer_rates, ratio, result, runs_named
from pages import NUMBER, ROOT, tables_of

from fastwsol.config import Config
from fastwsol.training.presets import PRESETS


def are_rounded(said: str, values: Sequence[float]) -> None:
    """Assert that the numbers in a text are `values`, in their order, each rounded as far as it is written."""
    numbers = [each.replace(",", "") for each in NUMBER.findall(said)]
    assert len(numbers) == len(values), f"{said!r}: {len(numbers)} numbers beside {values}"
    for number, value in zip(numbers, values, strict=True):
        decimals = len(number.partition(".")[2])
        assert abs(float(number) - value) <= 0.5 * 10.0**-decimals + 1e-9, f"{number} in {said!r} is {value}"


class Tied(NamedTuple):
    """A table of a page, and what the files say of its rows. exact: it has no other rows with numbers; cells: which of
    a row's cells, behind the first, they are in.
    """

    page: str
    heading: str
    rows: Callable[[], Rows]
    number: int = 0
    exact: bool = True
    cells: slice = slice(None)


RESULTS_PAGE = "docs/results.md"
TIED = (
    Tied(RESULTS_PAGE, "Twenty real classes", of_trainings.twenty_classes),
    Tied(RESULTS_PAGE, "Twenty classes by the network of all", of_trainings.map_bounds),
    Tied(RESULTS_PAGE, "Settings on a holdout", of_trainings.settings_on_holdout),
    Tied(RESULTS_PAGE, "The fast recipe", of_trainings.fast_recipe),
    Tied(RESULTS_PAGE, "Longer, and what is against overfitting", of_trainings.longer_recipe),
    Tied(RESULTS_PAGE, "Longer, and what is against overfitting", of_trainings.strong_recipe, number=1),
    Tied(RESULTS_PAGE, "The synthetic set", of_trainings.synthetic_set),
    Tied(RESULTS_PAGE, "Five augmentations on the synthetic set", of_trainings.synthetic_sweep),
    Tied(RESULTS_PAGE, "Few real images, seen often", of_trainings.few_images),
    Tied(RESULTS_PAGE, "Benchmarks", of_benchmarks.cold_paths),
    Tied(RESULTS_PAGE, "Benchmarks", of_benchmarks.other_paths, number=1),
    Tied(RESULTS_PAGE, "The warm path", of_benchmarks.warm_paths),
    Tied(RESULTS_PAGE, "The warm path", of_benchmarks.warm_shares, number=1),
    Tied(RESULTS_PAGE, "The warm path", of_benchmarks.warm_starts, number=2),
    Tied(RESULTS_PAGE, "The step", of_benchmarks.steps_on_cores),
    Tied(RESULTS_PAGE, "What fusing could still give", of_benchmarks.fusing),
    Tied(RESULTS_PAGE, "Three seeds, localizers", of_trainings.three_seeds_of_masks),
    Tied(RESULTS_PAGE, "Three seeds, localizers", of_trainings.five_records, number=1),
    Tied(RESULTS_PAGE, "Recipes on held-out images", of_trainings.recipes),
    Tied(RESULTS_PAGE, "Recipes on held-out images", of_trainings.tested_at_sizes, number=1),
    Tied(RESULTS_PAGE, "The record, the paper's first claim", of_trainings.first_claim),
    Tied(RESULTS_PAGE, "Predict", of_benchmarks.predicting),
    Tied(RESULTS_PAGE, "Boxes", of_benchmarks.boxes_at_one_threshold),
    Tied(RESULTS_PAGE, "Boxes", of_benchmarks.thresholds_swept, number=1),
    Tied(RESULTS_PAGE, "Every threshold on real maps", of_trainings.val_thresholds),
    Tied(RESULTS_PAGE, "Every threshold on real maps", of_trainings.max_box_accs, number=1),
    Tied(RESULTS_PAGE, "Every threshold on real maps", of_trainings.sizes_of_objects, number=2),
    Tied(RESULTS_PAGE, "Photographs", functools.partial(of_photographs.photographs, "cub10")),
    Tied(RESULTS_PAGE, "Photographs", functools.partial(of_photographs.photographs, "tinyvid"), number=1),
    Tied(RESULTS_PAGE, "Photographs", of_photographs.by_size, number=2),
    Tied(RESULTS_PAGE, "The mask head", of_photographs.ablations),
    Tied(RESULTS_PAGE, "The mask head", of_photographs.judged_pixels, number=1),
    Tied(RESULTS_PAGE, "The mask head", of_photographs.pixels_of_pets, number=2),
    Tied(RESULTS_PAGE, "The mask head", of_photographs.finer_masks, number=3),
    Tied(RESULTS_PAGE, "The mask head", of_photographs.second_round, number=4),
    Tied(RESULTS_PAGE, "Several objects", of_photographs.several_objects),
    Tied(RESULTS_PAGE, "A few boxes", of_photographs.few_boxes),
    Tied(RESULTS_PAGE, "A cut on a few boxes", of_photographs.cut_on_few),
    Tied(RESULTS_PAGE, "Certainties", of_photographs.certainties),
    Tied(RESULTS_PAGE, "Beside what people use", of_benchmarks.beside_what_people_use),
    Tied("docs/measured.md", "On a GPU", of_summaries.on_a_gpu),
    Tied("docs/measured.md", "On a GPU", of_summaries.six_trainings, number=1),
    Tied("docs/measured.md", "On a GPU", of_benchmarks.steps_on_a_gpu, number=2),
    Tied("docs/measured.md", "On two cores", of_summaries.on_two_cores),
    Tied("docs/faults.md", "What a fault costs", of_benchmarks.faults, cells=slice(1, None)),
    Tied("docs/training.md", "Presets", of_summaries.of_presets, exact=False, cells=slice(5)),
    Tied("README.md", "fastwsol", of_summaries.of_readme),
)


@pytest.mark.parametrize("tied", TIED, ids=lambda tied: f"{tied.heading}, {tied.number}")
def test_a_table_is_its_files(tied: Tied) -> None:
    said = tables_of(tied.page, tied.heading)[tied.number]
    rows = tied.rows()
    for title, values in rows.items():
        assert title in said, f"{title!r} is none of {list(said)}"
        are_rounded(" | ".join(said[title].split(" | ")[tied.cells]), values)
    if tied.exact:
        others = {title for title, cells in list(said.items())[2:] if title not in rows and NUMBER.search(cells)}
        assert not others


def sentences() -> list[tuple[str, str, Values]]:
    """Pages, parts of their sentences, and what the files say of the numbers in these."""
    _, brief, strong = of_summaries.on_a_gpu().values()
    birds, pets, clips = (
        localizer_rates(runs_named(f"photographs-{name}", "."), "mask", GT[1])[0]
        for name in ("cub10", "petmasks", "tinyvid")
    )
    pixels, differences = of_photographs.pixels_of_pets(), of_trainings.claims_by_their_files()
    whole, best = fixed_boxes(result("real-val-thresholds"))
    synthetic = of_trainings.claims_of_synthetic_sweep()
    of_map50 = result("detector")["map50"]
    two = result("processes")["batch_sizes"]["64"]["two_processes_over"]
    squares = benchmark("photographs-paths", "test_views_of_many_sizes[gr]")
    masks = result("predict-masks")
    with_cutmix, without = list(of_trainings.strong_recipe().values())[:2]
    return [
        ("README.md", "38.9 ± 0.3 in 71 seconds on one H200", [*brief[2:4], brief[-2]]),
        ("README.md", "45.1 in ten minutes", [strong[1]]),
        (
            "docs/first-boxes.md",
            "birds 92 of 100 boxes are right (IoU 0.5), on breeds of pets 92, on frames of video clips 69",
            [birds, 100, 0.5, pets, clips],
        ),
        (
            "docs/localizers.md",
            "mean IoU 80.0 for mask, 53.1 for ddt, 49.9 for cam, 49.8 for the best ellipse",
            [*(pixels[name][2] for name in ("mask", "ddt", "cam")), pixels["best ellipse; best boxes for each IoU"][1]],
        ),
        (
            "docs/localizers.md",
            "PxAP 96.3, 79.2, 77.9, 54.9.",
            [*(pixels[name][0] for name in ("mask", "ddt", "cam")), pixels["best ellipse; best boxes for each IoU"][0]],
        ),
        (
            "docs/evaluating.md",
            "the whole image alone reaches 52.1 % GT-known at IoU .5 and the best fixed box 58.0 %",
            [whole[1], 0.5, best[1]],
        ),
        (
            "docs/several-machines.md",
            "0.97 times as fast (0.92 to 0.97 in three turns) as one process with two threads, and 1.69 times "
            "(1.67 to 1.76)",
            [two[name][key] for name in two for key in ("ratio", "low", "high")],
        ),
        ("docs/own-data.md", "batches come 8 times as fast as by DALI", ratio(squares, "dali", interval=False)),
        ("docs/training.md", "0.1 is 1.8 points below 0.2", [0.1, *differences["rate"], 0.2]),
        ("docs/training.md", "0.8 points above it", differences["decay"]),
        ("docs/training.md", "in 30 epochs CutMix costs 2 points", [30, *differences["cutmix"]]),
        ("docs/measured.md", "GR is 8.8 ± 0.8 points", differences["gr over hns"]),
        ("docs/measured.md", "HnS is 1.5 ± 0.8 below none", differences["none over hns"]),
        (RESULTS_PAGE, "GR over HnS +8.80 ± 0.76 points", differences["gr over hns"]),
        (RESULTS_PAGE, "GR over none +7.29 ± 0.76", differences["gr over none"]),
        (
            RESULTS_PAGE,
            "(4.1 and 6.3 points of Top-1 Loc, 6 degrees",
            [synthetic["claim 1"][0], synthetic["claim 2"][0], 1, synthetic["claim 2"][1]],
        ),
        (RESULTS_PAGE, "HnS above CAM holds (+11.8 ± 8.2)", synthetic["hns over none"]),
        (
            RESULTS_PAGE,
            "GR above CAM (+6.5) and GR above HnS (-5.3)",
            [synthetic["gr over none"][0], synthetic["gr over hns"][0]],
        ),
        (
            RESULTS_PAGE,
            "after it (+9.5 ± 12.7) nor before it (+5.6)",
            [*synthetic["gr over gr-hns"], synthetic["gr over hns-gr"][0]],
        ),
        (
            RESULTS_PAGE,
            "19 degrees of freedom); a difference from the first row is told apart at 2.7 points",
            of_trainings.apart(of_trainings.reports_of_fast_recipe())[1:3],
        ),
        (
            RESULTS_PAGE,
            "14 degrees of freedom); a difference from the first row is told apart at 1.3 points",
            of_trainings.apart(of_trainings.reports_of_longer_recipe())[1:3],
        ),
        (
            RESULTS_PAGE,
            "told apart at 0.6 points (5 degrees of freedom)",
            of_trainings.apart(of_trainings.reports_of_strong_recipe())[2:0:-1],
        ),
        (
            RESULTS_PAGE,
            "CutMix gives 1.7 points of Top-1 Loc and 3.2 of Top-1 Clas",
            [with_cutmix[2] - without[2], 1, with_cutmix[0] - without[0], 1],
        ),
        (RESULTS_PAGE, "without CutMix 87 % of the views", of_trainings.share_right_in_training("smooth80")),
        (RESULTS_PAGE, "with it 68 % of the mixed", of_trainings.share_right_in_training("cutmix-smooth80")),
        ("docs/training.md", "in 80 on 20 classes it gives 1.7", [80, 20, with_cutmix[2] - without[2]]),
        (
            RESULTS_PAGE,
            "56.7 ± 2.0 on found boxes, 61.0 ± 0.9 on true ones",
            [of_map50[name][key] for name in ("found by the run", "true") for key in ("mean", "deviation")],
        ),
        (
            RESULTS_PAGE,
            "0.97 of the rate without (0.94, 1.03, 0.96, 0.98 in four turns",
            [masks["ratio"], *masks["ratios"]],
        ),
        (
            RESULTS_PAGE,
            "run lengths of 736 bytes an image on average and PNGs of 1160",
            [masks["bytes_an_image"]["run lengths, mean"], masks["bytes_an_image"]["png, mean"]],
        ),
    ]


@pytest.mark.parametrize(
    ("page", "said", "values"), sentences(), ids=lambda each: each if isinstance(each, str) else ""
)
def test_a_sentence_is_its_files(page: str, said: str, values: Values) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"[*`]", "", (ROOT / page).read_text()))
    assert said in text
    are_rounded(said, values)


@pytest.mark.parametrize(
    ("heading", "number", "reports"),
    [
        ("The fast recipe", 0, of_trainings.reports_of_fast_recipe()),
        ("Longer, and what is against overfitting", 0, of_trainings.reports_of_longer_recipe()),
        ("Longer, and what is against overfitting", 1, of_trainings.reports_of_strong_recipe()),
    ],
)
def test_a_verdict_is_that_of_its_interval(heading: str, number: int, reports: dict[str, list[dict[str, Any]]]) -> None:
    said = tables_of(RESULTS_PAGE, heading)[number]
    for title, verdict in of_trainings.apart(reports).verdicts.items():
        (cell,) = (each for each in said[title].split(" | ") if re.match(r"[+-]", each))
        assert cell.endswith(f", {verdict}"), title


@pytest.mark.parametrize(
    ("flag", "cell_of"),
    [
        ("--weight-decay", lambda config: f"{config.optimizer.weight_decay:.0e}".replace("e-0", "e-")),
        ("--mix, --label-smoothing", lambda config: f"{config.views.mix}, {config.optimizer.label_smoothing:g}"),
        ("--localizer", lambda config: localizer_of(config)),
        ("--flip", lambda config: "on" if config.views.flip else "off"),
        ("--start-size, --end-size, --image-size", lambda config: sizes_of(config)),
    ],
)
def test_the_words_of_presets_are_theirs(flag: str, cell_of: Callable[[Config], str]) -> None:
    cells = tables_of("docs/training.md", "Presets")[0][flag].split(" | ")
    assert cells[:5] == [cell_of(PRESETS[name]().config) for name in of_summaries.PRESET_NAMES]


def localizer_of(config: Config) -> str:
    of = config.localizer
    return f"{of.localizer}, {of.head_steps} steps" if of.trains_mask else of.localizer


def sizes_of(config: Config) -> str:
    sizes = [config.schedule.start_size, config.schedule.end_size, config.views.image_size]
    return ", ".join(map(str, sizes)) if any(sizes[:2]) else f"{sizes[2]} all the time"


NOT_TIED = {
    ("README.md", "Read on"): "no figures",
    ("docs/evaluating.md", "A report's file"): "no figures",
    ("docs/localizers.md", "Localizers"): "no figures: the cuts",
    ("docs/predicting.md", "Into other tools"): "no figures",
    ("docs/training.md", "Tiny ImageNet"): "no figures: the augmentations",
    ("docs/review-and-export.md", "Are they right?"): "no figures: the keys",
    (RESULTS_PAGE, "On one H200"): "how many checks passed, as the files of the phases and by-hand.md say",
}


def test_every_table_is_tied_to_its_file() -> None:
    tied = {(each.page, each.heading, each.number) for each in TIED}
    left = set()
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        page = path.relative_to(ROOT).as_posix()
        if path.name == "paper.md":  # the paper's own
            continue
        for heading in re.findall(r"(?m)^#+ (.*)$", re.sub(r"(?ms)^```.*?^```", "", path.read_text())):
            for number, rows in enumerate(tables_of(page, heading)):
                is_tied = any(page == of and heading.startswith(name) and number == k for of, name, k in tied)
                if not is_tied and any(NUMBER.search(cells) for cells in rows.values()):
                    left.add((page, heading))
    assert left == set(NOT_TIED)


def test_what_batches_with_boxes_gave_on_held_out_images_is_the_files():
    page = (ROOT / RESULTS_PAGE).read_text()
    said = re.search(r"that gave\s+([\d.]+ / [\d.]+),\s+the stream as it comes\s+([\d.]+ / [\d.]+)", page)
    assert said is not None
    found = of_photographs.boxes_of_few_held_out()
    are_rounded(said[1], found["a quarter of each batch"])
    are_rounded(said[2], found["as the stream has them"])
