"""The licence that a network is handed on under."""

import re

# As LANfactory publishes networks, and as the repository is licensed that HSSM downloads from.
DEFAULT_LICENCE = "bsd-2-clause"

_IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9.+-]*")


def parse_licence(text: str) -> str:
    """Check that a text can be one of the hub's identifiers of licences.

    Raises
    ------
    ValueError
        For anything else, such as a licence's title.
    """
    if not _IDENTIFIER.fullmatch(text):
        raise ValueError(
            f"{text!r} is not an identifier of a licence such as mit, bsd-3-clause or cc-by-4.0"
        )
    return text
