"""Values for what a link, or one exchange, is told for good: aborts, ids, checks, keep-alives, ways back. Checked when
they are made."""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from labtether._checks import check_seconds
from labtether._framing import PatternLike
from labtether._patterns import compiled_pattern
from labtether._values import Raw

__all__ = ["Abort", "Break", "ById", "Check", "KeepAlive", "Reconnect", "code_and_text"]

IdOf = str | bytes | re.Pattern[str] | re.Pattern[bytes] | slice | Callable[[Any], Any]


def _message(value: object, what: str) -> None:
    if not isinstance(value, (str, bytes, Raw)):
        raise TypeError(f"{what} is str, bytes or Raw, not {type(value).__name__}")


def _seconds(value: object, what: str, *, positive: bool = False) -> None:
    seconds = check_seconds(value, what)
    if seconds is None:
        raise TypeError(f"{what} is a number of seconds, not None")
    if positive and seconds == 0:
        raise ValueError(f"{what} is more than 0")


@dataclass(frozen=True, slots=True)
class Abort:
    """How the instrument is stopped when an exchange is cancelled, or its time is up.

    message: what is sent, past everything else that waits. reply: what the instrument's answer to it looks like (a
    pattern); None: it has none of its own, and the end of what was stopped is waited for. timeout: seconds for that
    answer.
    """

    message: str | bytes | Raw
    reply: PatternLike | None = None
    timeout: float = 2.0

    def __post_init__(self) -> None:
        _message(self.message, "the message of Abort")
        _seconds(self.timeout, "the timeout of Abort")
        if math.isinf(self.timeout):
            raise ValueError("the timeout of Abort is finite")
        if self.reply is not None:
            if not isinstance(self.reply, (str, bytes, re.Pattern)):
                raise TypeError(f"the reply of Abort is a pattern, not {type(self.reply).__name__}")
            compiled_pattern(self.reply, "the reply of Abort")


@dataclass(frozen=True, slots=True)
class ById:
    """Replies belong to commands by an id that both carry, so that several may be in flight.

    command, reply: where the id is: a pattern with one group, a slice of the bytes, or a function of the message that
    returns it (None: it has none). The function for replies runs on one thread of labtether's that runs functions like
    this one; a pattern is matched in Rust.
    """

    command: IdOf
    reply: IdOf
    _pattern: Any = field(init=False, repr=False, compare=False, default=None)
    """That of `command`, compiled: every query looks for its id."""

    def __post_init__(self) -> None:
        for what in ("command", "reply"):
            given = getattr(self, what)
            name = f"{what} of ById"
            if isinstance(given, slice):
                ends = (given.start or 0, given.stop)
                if given.step is not None or not all(isinstance(end, int) and end >= 0 for end in ends):
                    raise ValueError(f"the {name} is a slice from 0 or more to its end, without a step: slice(0, 4)")
                if ends[1] <= ends[0]:
                    raise ValueError(f"the {name} is a slice of no bytes")
            elif isinstance(given, (str, bytes, re.Pattern)):
                pattern = compiled_pattern(given, f"the {name}")
                if pattern.groups != 1:
                    raise ValueError(
                        f"the {name} is a pattern with one group, which is the id; this one has {pattern.groups}"
                    )
                if what == "command":
                    object.__setattr__(self, "_pattern", pattern)
            elif not callable(given):
                raise TypeError(f"the {name} is a pattern, a slice or a function, not {type(given).__name__}")

    def id_of_command(self, body: bytes, encoding: str | None) -> bytes:
        """The id in a command. Raises ValueError if there is none."""
        given, pattern = self.command, self._pattern
        found: Any
        if pattern is not None:
            text = body.decode(encoding or "latin-1") if isinstance(pattern.pattern, str) else body
            match = pattern.search(text)
            found = None if match is None else match.group(1)
        elif isinstance(given, slice):
            found = body[given]
        else:
            function: Any = given
            found = function(body if encoding is None else body.decode(encoding))
        if isinstance(found, str):
            found = found.encode(encoding or "latin-1")
        if not isinstance(found, bytes) or not found:
            raise ValueError(f"the command {body!r} has no id: match=ById(command=...) found none in it")
        return found


_SCPI = re.compile(r'^\s*(?P<code>[+-]?\d+)\s*(?:,\s*"?(?P<text>[^"]*)"?)?')


@dataclass(frozen=True, slots=True)
class Check:
    """A question that follows every command in the same exchange: did it go well?

    command: such as "SYST:ERR?". ok: what its reply looks like if all is well (a pattern, or a function of the reply).
    error: a pattern with the groups `code` and `text`; the default reads `-113,"Undefined header"` (SCPI-99, volume 2,
    chapter 21.8).
    """

    command: str | bytes | Raw
    ok: PatternLike
    error: re.Pattern[str] = _SCPI

    def __post_init__(self) -> None:
        _message(self.command, "the command of Check")
        if not isinstance(self.ok, (str, bytes, re.Pattern)) and not callable(self.ok):
            raise TypeError(f"the ok of Check is a pattern or a function, not {type(self.ok).__name__}")
        if isinstance(self.ok, (str, bytes)):
            compiled_pattern(self.ok, "the ok of Check")

    def is_ok(self, reply: str | bytes) -> bool:
        """Whether `reply` says that all is well."""
        if callable(self.ok):
            return bool(self.ok(reply))
        source = self.ok.pattern if isinstance(self.ok, re.Pattern) else self.ok
        text: Any = reply
        if isinstance(source, str) and isinstance(reply, bytes):
            text = reply.decode("latin-1")
        elif isinstance(source, bytes) and isinstance(reply, str):
            text = reply.encode("latin-1")
        return re.search(self.ok, text) is not None


def code_and_text(pattern: re.Pattern[str], reply: str | bytes) -> tuple[str | None, str | None]:
    """The groups `code` and `text` that `pattern` finds in `reply`."""
    match = pattern.search(reply if isinstance(reply, str) else reply.decode("latin-1"))
    found = {} if match is None else match.groupdict()
    return found.get("code"), found.get("text")


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """What is sent while nobody says anything, so that the instrument does not fall asleep.

    every: seconds of silence, either way, before it goes out; it goes out on time while Python is blocked. reply:
    whether it has one, which is waited for and dropped.
    """

    command: str | bytes | Raw
    every: float
    reply: bool = True

    def __post_init__(self) -> None:
        _message(self.command, "the command of KeepAlive")
        _seconds(self.every, "the every of KeepAlive", positive=True)
        if math.isinf(self.every):
            raise ValueError("the every of KeepAlive is finite")
        if not isinstance(self.reply, bool):
            raise TypeError(f"the reply of KeepAlive is a bool, not {type(self.reply).__name__}")


@dataclass(frozen=True, slots=True)
class Break:
    """A break of so many seconds that resets the instrument, for `resync=`."""

    seconds: float = 0.25

    def __post_init__(self) -> None:
        _seconds(self.seconds, "the seconds of Break", positive=True)
        if self.seconds > 60:
            raise ValueError(f"a break is at most 60 s, not {self.seconds}")


@dataclass(frozen=True, slots=True)
class Reconnect:
    """How a lost port is opened again.

    first: seconds before the first attempt; each further wait is `factor` times as long, never longer than `limit`,
    and shortened by up to a fifth at random, so that many links do not knock at once. give_up: seconds after which the
    link is lost for good; None: never. ready: an async function of the link, run on the new connection before anyone's
    exchange.
    """

    first: float = 0.1
    factor: float = 2
    limit: float = 30
    give_up: float | None = None
    ready: Callable[[Any], Awaitable[object]] | None = None

    def __post_init__(self) -> None:
        _seconds(self.first, "the first of Reconnect")
        _seconds(self.limit, "the limit of Reconnect", positive=True)
        check_seconds(self.give_up, "the give_up of Reconnect")
        if isinstance(self.factor, bool) or not isinstance(self.factor, (int, float)):
            raise TypeError(f"the factor of Reconnect is a number, not {type(self.factor).__name__}")
        if not (self.factor >= 1 and math.isfinite(self.factor)):
            raise ValueError(f"the factor of Reconnect is 1 or more, not {self.factor}")
        if math.isinf(self.first) or math.isinf(self.limit):
            raise ValueError("first and limit of Reconnect are finite")
        if self.ready is not None and not callable(self.ready):
            raise TypeError("ready is an async function of the link")
