"""Text that XML can hold."""

import re

_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def xml_text(text: str) -> str:
    """The text with a replacement character in place of each that no XML may have."""
    return _NOT_IN_XML.sub("\ufffd", text)
