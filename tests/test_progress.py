"""What a run says of its cost, where images grow."""

from types import SimpleNamespace

import pytest

from fastwsol.training.progress import Progress, mean_rate

SIZES = [(10, 32), (20, 48), (30, 64)]


def test_the_cost_is_of_the_sides_that_images_have():
    """A second a thousand pixels, and one more for each image."""

    def seconds_of(side: int) -> float:
        measured.append(side)
        return 1 + side**2 / 1000

    measured: list[int] = []
    mean = sum(map(seconds_of, (32, 48, 64))) / 3
    measured.clear()
    assert mean_rate(SIZES, 0, seconds_of) == pytest.approx(1 / mean)
    assert sorted(measured) == [32, 64]
    measured.clear()
    assert mean_rate(SIZES, 25, seconds_of) == pytest.approx(1 / seconds_of(64))
    assert mean_rate(SIZES, 15, seconds_of) == pytest.approx(15 / (5 * seconds_of(48) + 10 * seconds_of(64)))


def test_what_is_left_is_counted_in_steps_as_large_as_the_last():
    progress = Progress(SimpleNamespace(sizes=SIZES), 100, 0)  # type: ignore[arg-type]
    assert progress._images_left(5) == pytest.approx(5 + 10 * (48 / 32) ** 2 + 10 * 4)
    assert progress._images_left(10) == pytest.approx(10 * (48 / 32) ** 2 + 10 * 4)
    assert progress._images_left(11) == pytest.approx(9 + 10 * (64 / 48) ** 2)
    assert progress._images_left(30) == 0
