"""Patterns as users write them, made ready to be matched in Rust, byte by byte."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias

from labtether import _core

__all__ = ["PatternLike", "as_pattern", "compiled_pattern", "matcher"]

PatternLike: TypeAlias = "str | bytes | re.Pattern[str] | re.Pattern[bytes] | Callable[[Any], object]"


def as_pattern(
    pattern: PatternLike | None, what: str, encoding: str | None = None, *, whole: bool = False
) -> tuple[_core.Pattern | None, Callable[[Any], object] | None]:
    """A pattern for Rust, or a function to be called here; at most one of the two. encoding: of the messages. whole: it
    has to match all of a message."""
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
    if whole:
        # The line end closes a comment that a verbose pattern may end in.
        text = f"\\A(?:{text}{chr(10) if flags & re.VERBOSE else ''})\\z"
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


def matcher(pattern: PatternLike | None, what: str = "match") -> Callable[[Any], object] | None:
    """A function that says whether a message matches, where messages are looked at in Python."""
    if pattern is None or not isinstance(pattern, (str, bytes, re.Pattern)):
        return pattern
    compiled: Any = compiled_pattern(pattern, what)

    def matches(message: Any) -> bool:
        if isinstance(compiled.pattern, str) and isinstance(message, bytes):
            message = message.decode("latin-1")
        elif isinstance(compiled.pattern, bytes) and isinstance(message, str):
            message = message.encode("latin-1")
        return compiled.search(message) is not None

    return matches


def compiled_pattern(pattern: Any, what: str, flags: int = 0) -> Any:
    """`pattern`, compiled. Raises ValueError where it is none."""
    try:
        return re.compile(pattern, flags)
    except re.error as error:
        raise ValueError(f"{what} {pattern!r} is no pattern: {error}") from None
