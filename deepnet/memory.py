"""How much memory there is, and how large anything may be: what cannot fit is refused before it is made."""

import os

#: Largest sizes and counts: beyond any machine, within the integers of every library.
LARGEST = 10**9


def total_memory() -> float:
    """Bytes of memory in this machine; infinite where the system does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return float("inf")
