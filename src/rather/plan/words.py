"""Bytes and seconds as people say them."""

from __future__ import annotations


def in_bytes(count: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(count) >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} bytes"


def in_time(seconds: float) -> str:
    """Two figures: no estimate knows a third."""
    for unit, size in (("days", 2 * 86400.0), ("hours", 2 * 3600.0), ("minutes", 120.0)):
        if seconds >= size:
            return f"{seconds / {'days': 86400.0, 'hours': 3600.0, 'minutes': 60.0}[unit]:.2g} {unit}"
    return f"{seconds:.2g} seconds" if seconds < 10 else f"{seconds:.0f} seconds"
