"""Framings and patterns as users write them; checked here, at the call, and carried out in Rust."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from labtether import _core

__all__ = ["Encoder", "FramingLike", "Lines", "PatternLike", "as_framing", "as_pattern", "encoder_of", "matcher"]


class Lines:
    """Messages that end in a terminator.

    terminator: str or bytes, or several of them, such as `("\\r", ">")`; a message ends at whichever comes first. The
    default ends at LF and drops one CR before it. send_terminator: what is added to what is sent; None: the (first)
    terminator; "": nothing. encoding: how text becomes bytes and back; the default, latin-1, loses no byte; None:
    messages are bytes. keep: leave the terminator on messages. max_length: the longest message, in bytes; a longer one
    is a FrameError.

    Raises ValueError for a terminator of no bytes, none at all, or one that is the beginning of another.
    """

    __slots__ = ("core", "encoding", "keep", "max_length", "send_terminator", "terminators")

    def __init__(
        self,
        terminator: str | bytes | Iterable[str | bytes] = "\n",
        *,
        send_terminator: str | bytes | None = None,
        encoding: str | None = "latin-1",
        keep: bool = False,
        max_length: int = 65536,
    ) -> None:
        if encoding is not None:
            try:
                encoding = codecs.lookup(encoding).name
            except LookupError:
                raise ValueError(f"there is no encoding {encoding!r}") from None
        if not isinstance(terminator, Iterable):
            raise TypeError(f"terminator is str, bytes or several of them, not {type(terminator).__name__}")
        given = [terminator] if isinstance(terminator, (str, bytes)) else list(terminator)
        self.terminators = tuple(_as_bytes(one, encoding, "terminator") for one in given)
        self.send_terminator = (
            None if send_terminator is None else _as_bytes(send_terminator, encoding, "send_terminator")
        )
        self.encoding = encoding
        self.keep = bool(keep)
        if isinstance(max_length, bool) or not isinstance(max_length, int):
            raise TypeError(f"max_length is an int, not {type(max_length).__name__}")
        if max_length < 1:
            raise ValueError(f"max_length is at least 1, not {max_length}")
        self.max_length = max_length
        self.core = _core.Framing.lines(list(self.terminators), self.send_terminator, self.keep, max_length)

    def __repr__(self) -> str:
        shown = [repr(one.decode("latin-1")) for one in self.terminators]
        return f"Lines({shown[0] if len(shown) == 1 else '(' + ', '.join(shown) + ')'}, encoding={self.encoding!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Lines) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        return self.terminators, self.send_terminator, self.encoding, self.keep, self.max_length

    def __reduce__(self) -> tuple[Any, ...]:
        return _lines, self._key()


def _lines(*key: Any) -> Lines:
    terminators, send_terminator, encoding, keep, max_length = key
    return Lines(terminators, send_terminator=send_terminator, encoding=encoding, keep=keep, max_length=max_length)


FramingLike: TypeAlias = Lines | str | bytes
PatternLike: TypeAlias = "str | bytes | re.Pattern[str] | re.Pattern[bytes] | Callable[[Any], object]"


def as_framing(framing: FramingLike | None) -> Lines | None:
    """A str or bytes is short for Lines of it."""
    if framing is None or isinstance(framing, Lines):
        return framing
    if isinstance(framing, str):
        return Lines(framing)
    if isinstance(framing, bytes):
        return Lines(framing, encoding=None)
    raise TypeError(f"framing is Lines(...), a terminator, or None for raw bytes, not {type(framing).__name__}")


def _as_bytes(text: str | bytes, encoding: str | None, what: str) -> bytes:
    if isinstance(text, (bytes, bytearray)):
        return bytes(text)
    if not isinstance(text, str):
        raise TypeError(f"{what} is str or bytes, not {type(text).__name__}")
    return text.encode(encoding or "latin-1")


class Encoder:
    """Text to bytes and back, for one framing; None: bytes both ways."""

    __slots__ = ("encoding",)

    def __init__(self, encoding: str | None) -> None:
        self.encoding = encoding

    def encode(self, message: str | bytes, what: str = "a command") -> bytes:
        if isinstance(message, str):
            if self.encoding is None:
                raise TypeError(f"{what} on this link is bytes: nothing here encodes the str {message!r}")
            return message.encode(self.encoding)
        if isinstance(message, (bytes, bytearray, memoryview)):
            return bytes(message)
        raise TypeError(f"{what} is str, bytes or Raw, not {type(message).__name__}")

    def decode(self, body: bytes) -> Any:
        return body if self.encoding is None else body.decode(self.encoding)


def encoder_of(framing: Lines | None) -> Encoder:
    """The encoder that goes with a framing."""
    return Encoder(framing.encoding if framing is not None else None)


def as_pattern(
    pattern: PatternLike | None, what: str, encoding: str | None = None
) -> tuple[_core.Pattern | None, Callable[[Any], object] | None]:
    """A pattern for Rust, or a function to be called here; at most one of the two. encoding: of the messages."""
    if pattern is None:
        return None, None
    flags = 0
    if isinstance(pattern, re.Pattern):
        flags = pattern.flags
        source: str | bytes = pattern.pattern
    elif isinstance(pattern, (str, bytes)):
        source = pattern
    elif callable(pattern):
        return None, pattern
    else:
        raise TypeError(f"{what} is str, bytes, a compiled pattern or a function, not {type(pattern).__name__}")
    utf8 = encoding == "utf-8" and isinstance(source, str)
    if isinstance(source, str):
        text = source if utf8 else "".join(_escaped(character, what, encoding) for character in source)
    else:
        text = "".join(_escaped(character, what, None) for character in source.decode("latin-1"))
    compiled = _core.Pattern(
        text,
        utf8,
        bool(flags & re.IGNORECASE),
        bool(flags & re.MULTILINE),
        bool(flags & re.DOTALL),
        bool(flags & re.VERBOSE),
    )
    return compiled, None


def _escaped(character: str, what: str, encoding: str | None) -> str:
    if character.isascii():
        return character
    try:
        encoded = character.encode(encoding or "latin-1")
    except UnicodeEncodeError:
        encoded = b""
    if len(encoded) != 1:
        name = encoding or "latin-1"
        raise ValueError(
            f"{what} is matched byte by byte, and {character!r} is not one byte in {name}: give a function"
        )
    return f"\\x{encoded[0]:02x}"


def matcher(pattern: PatternLike | None) -> Callable[[Any], object] | None:
    """A function that says whether a message matches, where messages are looked at in Python."""
    if pattern is None or not isinstance(pattern, (str, bytes, re.Pattern)):
        return pattern
    compiled: Any = re.compile(pattern)

    def matches(message: Any) -> bool:
        if isinstance(compiled.pattern, str) and isinstance(message, bytes):
            message = message.decode("latin-1")
        elif isinstance(compiled.pattern, bytes) and isinstance(message, str):
            message = message.encode("latin-1")
        return compiled.search(message) is not None

    return matches
