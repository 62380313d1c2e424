"""What every link can be given besides its port: checked here, filled in, and handed to Rust."""

from __future__ import annotations

from typing import Any, TypedDict

from labtether._checks import check_count, check_name, check_seconds, reject_unknown
from labtether._framing import Framed, FramingLike, Lines, as_framing, as_pattern, encoder_of
from labtether._values import Raw, Resync

__all__ = ["DEFAULT_FRAMING", "LinkOptions", "common_options"]


class LinkOptions(TypedDict, total=False):
    """What every link can be given besides.

    drain: seconds past its deadline for which an owed reply is still waited for (1.0). settle: seconds of quiet after
    something unexpected (0.02). turn: seconds to wait for one's turn (30.0). resync: how to get back in step at once
    (None). trace: events kept (200). close_timeout: seconds for pending output to leave when the link closes (2.0).
    park: last words that Rust itself writes when no Python can: at exit, or when the link was forgotten (None).
    """

    drain: float
    settle: float
    turn: float
    resync: Resync | None
    trace: int
    close_timeout: float
    park: str | bytes | Raw | None


DEFAULT_FRAMING = Lines()
_DEFAULTS: LinkOptions = {
    "drain": 1.0,
    "settle": 0.02,
    "turn": 30.0,
    "resync": None,
    "trace": 200,
    "close_timeout": 2.0,
    "park": None,
}


def common_options(
    framing: FramingLike | None, timeout: float, name: str, port: str, options: LinkOptions
) -> tuple[Framed | None, dict[str, Any]]:
    """The options that every kind of link has, checked, for Rust."""
    reject_unknown(options, _DEFAULTS, "a link")
    given: dict[str, Any] = {**_DEFAULTS, **options}
    lines = as_framing(framing)
    encoder = encoder_of(lines)
    if timeout is None:
        raise TypeError("timeout is a number of seconds (math.inf for no limit), not None")
    common: dict[str, Any] = {
        "name": check_name(name, "name"),
        "port": port,
        "framing": None if lines is None else lines.core,
        "text": lines is not None and lines.encoding is not None,
        "timeout": check_seconds(timeout, "timeout"),
        "trace": check_count(given["trace"], "trace", least=0),
        "turn": _required(given, "turn"),
        "park": None,
        "resync": None,
    }
    for option in ("drain", "settle", "close_timeout"):
        common[option] = _required(given, option, finite=True)
    park, resync = given["park"], given["resync"]
    if park is not None:
        common["park"] = (park.data, True) if isinstance(park, Raw) else (encoder.encode(park, "park"), False)
    if resync is not None:
        if not isinstance(resync, Resync):
            raise TypeError(f"resync is Resync(command, answer), not {type(resync).__name__}")
        if lines is None:
            raise ValueError("resync needs a framing")
        pattern, function = as_pattern(resync.answer, "the answer of resync", encoder.encoding)
        if pattern is None or function is not None:
            raise TypeError("the answer of resync is a pattern")
        if isinstance(resync.command, Raw):
            raise TypeError("the command of resync is framed: give str or bytes")
        common["resync"] = (encoder.encode(resync.command, "the command of resync"), pattern)
    return lines, common


def _required(given: dict[str, Any], option: str, *, finite: bool = False) -> float:
    value = check_seconds(given[option], option, finite=finite)
    if value is None:
        raise TypeError(f"{option} is a number of seconds, not None")
    return value
