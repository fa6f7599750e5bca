"""How the ratios are made of rounds; nothing is timed here."""

import math
import random

import pytest
from rounds import CONFIDENCE, interval_rank, rates, ratio


@pytest.mark.parametrize(("count", "rank"), [(6, 0), (7, 0), (9, 1), (11, 1), (15, 3), (20, 5)])
def test_ranks_are_those_of_the_tables(count, rank):
    """Of the confidence interval for a median (sign test), as in any book's table."""
    assert interval_rank(count) == rank
    outside = 2 * sum(math.comb(count, k) for k in range(rank + 1)) / 2**count
    assert outside <= 1 - CONFIDENCE < outside + 2 * math.comb(count, rank + 1) / 2**count


def test_the_interval_holds_the_true_median_as_often_as_it_says():
    random.seed(0)
    held = 0
    for _ in range(2000):
        rounds = [random.lognormvariate(math.log(2), 0.5) for _ in range(11)]
        found = ratio([1.0] * 11, rounds)
        held += found["low"] <= 2 <= found["high"]
    assert held / 2000 >= CONFIDENCE


def test_a_ratio_is_made_round_by_round():
    """A machine that slows down for half of the time moves both sides, and no ratio."""
    speed = [1, 1, 1, 1, 5, 5, 5, 5, 5, 5, 5]
    ours, other = [0.1 * each for each in speed], [0.3 * each for each in speed]
    found = ratio(ours, other)
    assert all(each == pytest.approx(3) for each in found.values())


def test_rates_are_images_a_second_and_core_time_an_image():
    found = rates(100, [1.0, 2.0, 4.0], [1.0, 1.5, 9.0])
    assert found["images_per_second"] == 50
    assert found["range"] == [25, 100]
    assert found["cpu_microseconds_per_image"] == pytest.approx(15_000)
