"""Which comparisons the paper's claims are, and what decides them."""

import numpy as np
import pytest
from scipy import stats

from fastwsol.config import Setting
from fastwsol.experiments.paper_claims import (
    Difference,
    comparisons,
    difference,
    judge,
    overall,
    overall_name,
    pooled_spread,
)
from fastwsol.experiments.paper_numbers import AUGS, BATCH_SIZES, DEPTHS, published
from fastwsol.experiments.settings import plan_sweep

TABLES = plan_sweep(["table1", "table2"], Setting(), lambda name: False).settings


def test_the_two_tables_are_22_settings():
    assert len(TABLES) == len(set(TABLES)) == 22


def test_the_paper_has_numbers_for_each_of_its_settings_and_for_no_other():
    assert all(published(each) for each in TABLES)
    assert published(Setting.of(depth=18, aug="gr-hns", batch_size=32)) is None
    assert published(Setting.of(depth=18, aug="gr", batch_size=64)) is None


def test_the_papers_best_localization_is_gr_at_depth_34_and_batch_32():
    found = {
        (d, a, b): published(Setting.of(depth=d, aug=a, batch_size=b))
        for d in DEPTHS
        for a in AUGS
        for b in BATCH_SIZES
    }
    best = max((each.top1_loc, key) for key, each in found.items() if each is not None)
    assert best == (37.84, (34, "gr", 32))


def test_every_claim_is_compared_wherever_the_tables_allow():
    count = {claim: sum(each.claim == claim for each in comparisons(TABLES)) for claim in (1, 2, 3, 4)}
    # 6 cells of depth and batch, 3 pairs each; 2 depths, 2 orders; 6 columns of 3 batch sizes; 5 + 2 * 3 pairs.
    assert count == {1: 18, 2: 4, 3: 12, 4: 11}


def test_compared_settings_differ_in_nothing_else():
    for each in comparisons([one.changed(label_smoothing=s) for one in TABLES for s in (0.0, 0.1)]):
        ours, theirs = each.better.flat(), each.worse.flat()
        assert len([name for name in ours if ours[name] != theirs[name]]) == 1


def test_the_interval_is_students_with_the_spread_of_both():
    a, b = [30.0, 31.0, 33.0], [27.0, 29.5, 29.0]
    spread, freedom = pooled_spread([a, b])
    expected = stats.ttest_ind(a, b).confidence_interval(0.95)
    found = difference(a, b, spread, freedom)
    assert found.points - found.half_interval == pytest.approx(expected.low)
    assert found.points + found.half_interval == pytest.approx(expected.high)


def test_one_seed_separates_nothing():
    values = {Setting.of(aug="gr"): [60.0], Setting.of(aug="none"): [10.0]}
    (found,) = judge(values).values()
    assert found.points == 50
    assert found.verdict == "not separable"


def test_settings_without_values_are_compared_with_nothing():
    assert judge({Setting.of(aug="gr"): [60.0, 61.0], Setting.of(aug="none"): []}) == {}


def test_a_claim_holds_where_all_comparisons_do_and_fails_where_one_does():
    better, worse, unclear = (Difference(points, error, 10) for points, error in ((2, 0.5), (-2, 0.5), (2, 1.5)))
    assert overall([better, better]) == "holds"
    assert overall([better, unclear]) == "not separable"
    assert overall([better, unclear, worse]) == "fails"


@pytest.mark.parametrize("number", [1, 4, 18])
def test_settings_that_are_alike_seldom_make_a_claim_fail(number):
    """In one of forty sweeps at most, however many comparisons it makes: 4,000 of 3 seeds, all of one distribution."""
    random, verdicts = np.random.default_rng(number), []
    for _ in range(4000):
        values = random.normal(size=(number + 1, 3))
        spread, freedom = pooled_spread(list(values))
        verdicts.append(overall([difference(values[0], other, spread, freedom) for other in values[1:]]))
    assert verdicts.count("fails") / 4000 < 0.032
    assert verdicts.count("holds") / 4000 < 0.032


def test_a_smaller_batch_is_compared_with_the_next_larger():
    found = comparisons([Setting.of(batch_size=size) for size in (256, 32, 128)])
    assert {(each.better.optimizer.batch_size, each.worse.optimizer.batch_size) for each in found} == {
        (32, 128),
        (128, 256),
    }


def test_seeds_that_all_agree_tell_no_error():
    assert Difference(2.0, 0.0, 4).verdict == "not separable"
    assert Difference(2.0, 0.1, 4).verdict == "holds"


def test_the_spread_of_a_claim_is_of_the_settings_that_it_compares():
    """Settings that another claim compares, and that spread far, leave it as it is."""
    values = {Setting.of(aug=aug, depth=18): [20.0 + k, 21.0 + k] for k, aug in enumerate(("none", "gr"))}
    (alone,) = judge(values).values()
    deeper = {Setting.of(aug="hns-gr", depth=depth): [10.0, 90.0] for depth in (18, 34)}
    among = {each: found for each, found in judge({**values, **deeper}).items() if each.claim == 1}
    assert [found.error for found in among.values()] == [alone.error]


def test_a_pair_of_augmentations_counts_once_however_many_crops_there_are():
    crops = [Setting.of(aug="gr", crops_per_image=count) for count in (2, 4, 8)]
    found = comparisons([Setting.of(aug="none"), *crops])
    assert len(found) == 3
    assert overall_name(found) == "overall, of 1 of 3 comparisons"
