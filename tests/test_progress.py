"""What a run says of its cost, where images grow."""

import pytest

from fastwsol.training.progress import images_per_second

SIZES = [(10, 32), (20, 48), (30, 64)]


def test_the_cost_is_of_the_sides_that_images_have():
    """A second a thousand pixels, and one more for each image."""

    def seconds_of(side: int) -> float:
        measured.append(side)
        return 1 + side**2 / 1000

    measured: list[int] = []
    mean = sum(map(seconds_of, (32, 48, 64))) / 3
    measured.clear()
    assert images_per_second(SIZES, 0, seconds_of) == pytest.approx(1 / mean)
    assert sorted(measured) == [32, 64]
    measured.clear()
    assert images_per_second(SIZES, 25, seconds_of) == pytest.approx(1 / seconds_of(64))
    assert images_per_second(SIZES, 15, seconds_of) == pytest.approx(15 / (5 * seconds_of(48) + 10 * seconds_of(64)))
