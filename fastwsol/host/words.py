"""Numbers in sentences."""


def number_of(count: int, one: str, several: str = "") -> str:
    """A count of things, as `1 image` or `1,200 images`. several: the plural, where it is not `one` with an s."""
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"
