"""The flag that names a localizer."""

from typing import Annotated, get_args

from fastwsol.host.flags import one_of, shown_as
from fastwsol.localizer.localizers import LocalizerName

LocalizerFlag = Annotated[LocalizerName | None, shown_as(one_of(get_args(LocalizerName)))]
"""None: what predictions take."""
