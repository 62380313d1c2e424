"""What every link can be given besides its port: checked here, filled in, and handed to Rust."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from labtether import _core
from labtether._checks import check_count, check_name, check_seconds, reject_unknown
from labtether._framing import Encoder, Framed, FramingLike, Lines, PatternLike, as_framing, as_pattern, encoder_of
from labtether._ready import Readying
from labtether._rules import Break, ById, Check, KeepAlive, Reconnect
from labtether._values import Raw, Resync

__all__ = ["DEFAULT_FRAMING", "Extras", "LinkOptions", "common_options"]


class LinkOptions(TypedDict, total=False):
    """What every link can be given besides.

    Times: drain: seconds past its deadline for which an owed reply is still waited for (1.0). settle: seconds of quiet
    after something unexpected (0.02). turn: seconds to wait for one's turn (30.0). close_timeout: seconds for pending
    output to leave when the link closes (2.0).

    Replies: match: `ById(...)`, several commands in flight (None: in order). echo: the instrument repeats what it
    hears: True: byte by byte; "line": as a message (False). unsolicited: messages that are never a reply. error, busy:
    replies that are an error, or say "busy"; their groups `code` and `text` go into InstrumentError. check:
    `Check(...)`, asked after each command. resync: how to get back in step when a reply is owed: None or "settle": by
    waiting; `Resync(...)`; `Break(...)`; "reopen".

    Pace: gap: seconds from the last byte in either direction to the next command (0.0). char_delay: seconds between
    `chunk` bytes (0.0, 1). keepalive: `KeepAlive(...)` (None).

    Ends: reconnect: `Reconnect(...)` (None). park: last words that Rust itself writes when no Python can: at exit, or
    when the link was forgotten (None). trace: events kept (200).
    """

    drain: float
    settle: float
    turn: float
    match: ById | None
    echo: bool | Literal["line"]
    unsolicited: PatternLike | None
    error: PatternLike | None
    busy: PatternLike | None
    check: Check | None
    resync: Resync | Break | Literal["settle", "reopen"] | None
    gap: float
    char_delay: float
    chunk: int
    keepalive: KeepAlive | None
    reconnect: Reconnect | None
    trace: int
    close_timeout: float
    park: str | bytes | Raw | None


DEFAULT_FRAMING = Lines()
_DEFAULTS: LinkOptions = {
    "drain": 1.0,
    "settle": 0.02,
    "turn": 30.0,
    "match": None,
    "echo": False,
    "unsolicited": None,
    "error": None,
    "busy": None,
    "check": None,
    "resync": None,
    "gap": 0.0,
    "char_delay": 0.0,
    "chunk": 1,
    "keepalive": None,
    "reconnect": None,
    "trace": 200,
    "close_timeout": 2.0,
    "park": None,
}


_Ids = tuple[_core.Pattern | None, tuple[int, int] | None, "IdOfReply | None"]


class IdOfReply:
    """A user's function that finds the id in a reply, as Rust calls it. The face keeps it, Rust refers to it weakly."""

    __slots__ = ("__weakref__", "_encoder", "_function")

    def __init__(self, function: Callable[[Any], Any], encoder: Encoder) -> None:
        self._function = function
        self._encoder = encoder

    def __call__(self, body: bytes) -> bytes:
        found = self._function(self._encoder.decode(body))
        if found is None:
            return b""
        if isinstance(found, str):
            return self._encoder.encode(found) if self._encoder.encoding else found.encode("latin-1")
        if not isinstance(found, bytes):
            raise TypeError(f"the reply function of ById returns str, bytes or None, not {type(found).__name__}")
        return found


@dataclass(frozen=True, slots=True)
class Extras:
    """What only the face of a link needs."""

    match: ById | None = None
    check: Check | None = None
    readying: Readying | None = None
    ids: object = None
    """What Rust refers to weakly."""


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
    match, check, reconnect = given["match"], given["check"], given["reconnect"]
    _is_a(match, ById, "match")
    _is_a(check, Check, "check")
    _is_a(reconnect, Reconnect, "reconnect")
    ids = _ids(match, lines, encoder)
    readying = None if reconnect is None or reconnect.ready is None else Readying(reconnect.ready)
    common: dict[str, Any] = {
        "name": check_name(name, "name"),
        "port": port,
        "framing": None if lines is None else lines.core,
        "text": encoder.encoding is not None,
        "timeout": check_seconds(timeout, "timeout"),
        "trace": check_count(given["trace"], "trace", least=0),
        "turn": _required(given, "turn"),
        "chunk": check_count(given["chunk"], "chunk"),
        "park": _park(given["park"], encoder),
        "resync": _resync(given["resync"], lines, encoder),
        "keepalive": _keepalive(given["keepalive"], lines, encoder, match),
        "ids": ids,
        "echo": _echo(given["echo"], lines),
        "reconnect": reconnect and (reconnect.first, reconnect.factor, reconnect.limit, reconnect.give_up),
        "extras": Extras(match, check, readying, ids),
        "ready": readying,
    }
    for option in ("drain", "settle", "close_timeout", "gap", "char_delay"):
        common[option] = _required(given, option, finite=True)
    for option in ("unsolicited", "error", "busy"):
        common[option] = _pattern(given[option], option, lines, encoder)
    if check is not None:
        if lines is None:
            raise ValueError("check needs a framing")
        if not isinstance(check.command, Raw):
            lines.encode(encoder.encode(check.command, "the command of check"))
    return lines, common


def _is_a(value: object, kind: type, what: str) -> None:
    if value is not None and not isinstance(value, kind):
        raise TypeError(f"{what} is {kind.__name__}(...) or None, not {type(value).__name__}")


def _pattern(given: Any, what: str, lines: object | None, encoder: Encoder) -> _core.Pattern | None:
    pattern, function = as_pattern(given, what, encoder.encoding)
    if function is not None:
        raise TypeError(f"{what} is a pattern, not a function: it is matched in Rust")
    if pattern is not None and lines is None:
        raise ValueError(f"{what} needs a framing")
    return pattern


def _park(park: Any, encoder: Encoder) -> tuple[bytes, bool] | None:
    if park is None:
        return None
    return (park.data, True) if isinstance(park, Raw) else (encoder.encode(park, "park"), False)


def _resync(given: Any, lines: object | None, encoder: Encoder) -> tuple[Any, Any, Any] | None:
    if given is None or given == "settle":
        return None
    if given == "reopen":
        return None, None, None
    if isinstance(given, Break):
        return None, None, given.seconds
    if not isinstance(given, Resync):
        raise TypeError(
            f'resync is Resync(command, answer), Break(seconds), "settle" or "reopen", not {type(given).__name__}'
        )
    if lines is None:
        raise ValueError("resync needs a framing")
    pattern, function = as_pattern(given.answer, "the answer of resync", encoder.encoding)
    if pattern is None or function is not None:
        raise TypeError("the answer of resync is a pattern")
    if isinstance(given.command, Raw):
        raise TypeError("the command of resync is framed: give str or bytes")
    return encoder.encode(given.command, "the command of resync"), pattern, None


def _keepalive(
    given: Any, lines: object | None, encoder: Encoder, match: ById | None
) -> tuple[bytes, bool, float, bool, bytes | None] | None:
    _is_a(given, KeepAlive, "keepalive")
    if given is None:
        return None
    if given.reply and lines is None:
        raise ValueError("the reply of a keepalive needs a framing; give KeepAlive(..., reply=False)")
    raw = isinstance(given.command, Raw)
    body = given.command.data if raw else encoder.encode(given.command, "the command of keepalive")
    known = match.id_of_command(body, encoder.encoding) if match is not None and given.reply else None
    return body, raw, float(given.every), given.reply, known


def _ids(match: ById | None, lines: object | None, encoder: Encoder) -> _Ids | None:
    if match is None:
        return None
    if lines is None:
        raise ValueError("match needs a framing")
    if isinstance(match.reply, slice):
        return None, (match.reply.start or 0, match.reply.stop), None
    pattern, function = as_pattern(match.reply, "the reply of ById", encoder.encoding)
    return pattern, None, None if function is None else IdOfReply(function, encoder)


def _echo(given: Any, lines: object | None) -> str:
    if isinstance(given, bool):
        return "bytes" if given else ""
    if given != "line":
        raise ValueError(f'echo is True, False or "line", not {given!r}')
    if lines is None:
        raise ValueError('echo="line" needs a framing')
    return "line"


def _required(given: dict[str, Any], option: str, *, finite: bool = False) -> float:
    value = check_seconds(given[option], option, finite=finite)
    if value is None:
        raise TypeError(f"{option} is a number of seconds, not None")
    return value
