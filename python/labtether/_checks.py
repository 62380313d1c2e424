"""Checks of arguments, at the call: what they reject never reaches a port."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from typing import Any

__all__ = ["check_count", "check_name", "check_seconds", "reject_unknown"]


def check_seconds(value: Any, what: str, *, finite: bool = False) -> float | None:
    """A time limit: None, or seconds that are not negative."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{what} is a number of seconds, not {type(value).__name__}")
    if math.isnan(value) or value < 0:
        raise ValueError(f"{what} is not negative: {value}")
    if finite and math.isinf(value):
        raise ValueError(f"{what} is finite: {value}")
    return float(value)


def check_count(value: Any, what: str, *, least: int = 1) -> int:
    """A whole number."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} is an int, not {type(value).__name__}")
    if value < least:
        raise ValueError(f"{what} is at least {least}, not {value}")
    return value


def check_name(value: Any, what: str) -> str:
    """Text that is not empty."""
    if not isinstance(value, str):
        raise TypeError(f"{what} is a str, not {type(value).__name__}")
    if not value.strip():
        raise ValueError(f"{what} is empty")
    if "\0" in value:
        raise ValueError(f"{what} contains a NUL character")
    return value


def reject_unknown(given: Iterable[str], known: Iterable[str], where: str) -> None:
    """A misspelt option is an error that names its neighbour."""
    known = sorted(known)
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(known)}"
            raise TypeError(f"{where} has no option {name!r}{hint}")
