"""Checks of arguments, at the call: what they reject never reaches a port."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from typing import Any

__all__ = [
    "check_break",
    "check_count",
    "check_name",
    "check_port",
    "check_seconds",
    "check_settings",
    "check_span",
    "reject_unknown",
]


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


def check_span(value: Any, what: str) -> float:
    """A span of time: finite seconds, 0 or more."""
    seconds = check_seconds(value, what, finite=True)
    if seconds is None:
        raise TypeError(f"{what} is a number of seconds, not None")
    return seconds


def check_break(value: Any) -> float:
    """The length of a break, in seconds."""
    seconds = check_seconds(value, "seconds", finite=True)
    if seconds is None:
        raise TypeError("seconds is a number of seconds, not None")
    if not 0 < seconds <= 60:
        raise ValueError(f"a break is more than 0 and at most 60 s, not {seconds}")
    return seconds


def check_count(value: Any, what: str, *, least: int = 1) -> int:
    """A whole number."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} is an int, not {type(value).__name__}")
    if value < least:
        raise ValueError(f"{what} is at least {least}, not {value}")
    return value


_PARITIES = ("N", "E", "O", "M", "S")


def check_settings(
    *,
    baudrate: Any = 9600,
    bytesize: Any = 8,
    parity: Any = "N",
    stopbits: Any = 1,
    **flags: Any,
) -> None:
    """The settings of a serial line, in pyserial's words; flags are those that are true or false."""
    if check_count(bytesize, "bytesize", least=5) > 8:
        raise ValueError(f"bytesize is 5, 6, 7 or 8, not {bytesize}")
    if not isinstance(parity, str):
        raise TypeError(f"parity is a str, not {type(parity).__name__}")
    if parity not in _PARITIES:
        raise ValueError(f"parity is one of {', '.join(_PARITIES)}, not {parity!r}")
    if isinstance(stopbits, bool) or not isinstance(stopbits, (int, float)):
        raise TypeError(f"stopbits is a number, not {type(stopbits).__name__}")
    if stopbits not in (1, 1.5, 2):
        raise ValueError(f"stopbits is 1, 1.5 or 2, not {stopbits}")
    if check_count(baudrate, "baudrate") > 0xFFFF_FFFF:
        raise ValueError(f"baudrate is at most {0xFFFF_FFFF}, not {baudrate}")
    for flag, value in flags.items():
        if not (isinstance(value, bool) or (value is None and flag in ("dtr", "rts"))):
            raise TypeError(f"{flag} is a bool, not {type(value).__name__}")


def check_port(value: Any) -> int:
    """The number of a port of a network."""
    number = check_count(value, "port")
    if number > 65535:
        raise ValueError(f"port is at most 65535, not {number}")
    return number


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
