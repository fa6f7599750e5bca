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


def bytes_text(count: float) -> str:
    """A number of bytes, as 12.5 MB or 3.0 GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def duration(seconds: float) -> str:
    """A length of time as people say it: 42s, 7m, 3h20m, 12.5 days."""
    if seconds < 90:
        return f"{seconds:.0f}s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f}m"
    if seconds < 48 * 3600:
        return f"{int(seconds // 3600)}h{int(seconds % 3600 // 60):02d}m"
    return f"{seconds / 86400:.1f} days"
