"""Numbers, lists and others' names in sentences."""

from collections.abc import Sequence


def number_of(count: int, one: str, several: str = "") -> str:
    """A count of things, as `1 image` or `1,200 images`. several: the plural, where it is not `one` with an s."""
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"


def first_few(items: Sequence[str], most: int, separator: str = ", ") -> str:
    """The first `most` of the items, and how many more there are, as `a, b and 3 more`."""
    more = f" and {len(items) - most:,} more" if len(items) > most else ""
    return separator.join(items[:most]) + more


def plain(text: str) -> str:
    """Text of others, as a folder's name, with what is not printable escaped: it may hold line ends, and sequences that
    terminals obey.
    """
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
