"""How much memory there is, and how large anything may be: what cannot fit is refused before it is made."""

import os
from typing import Any

from factorgraph.interface.arguments import check_integer, shown

#: Largest sizes and counts: beyond any machine, within the integers of every library.
LARGEST = 10**9


def check_count(name: str, value: Any, minimum: int, maximum: int = LARGEST) -> int:
    """Return ``value`` as an int; raise ``ValueError`` unless it is an integer from ``minimum`` to ``maximum``."""
    number = check_integer(name, value, minimum=minimum)
    if number > maximum:
        raise ValueError(f"`{name}` must be at most {maximum}, got {shown(value)}")
    return number


def total_memory() -> float:
    """Return the bytes of memory in this machine; infinite where the system does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return float("inf")
