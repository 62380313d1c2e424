"""Framings as users give them: one of ours, a terminator, or an object of their own; and text to bytes and back."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, TypeAlias, runtime_checkable

from labtether import _core
from labtether._framed import Framed, check_encoding, check_length
from labtether._framings import Cobs, Enclosed, Fixed, IeeeBlock, LengthPrefixed, ModbusRtu, Slip, UntilQuiet
from labtether._lines import Lines
from labtether._patterns import PatternLike, as_pattern, matcher

__all__ = [
    "Cobs",
    "Enclosed",
    "Encoder",
    "Fixed",
    "Framed",
    "Framing",
    "FramingLike",
    "IeeeBlock",
    "LengthPrefixed",
    "Lines",
    "ModbusRtu",
    "PatternLike",
    "Slip",
    "UntilQuiet",
    "as_framing",
    "as_pattern",
    "encoder_of",
    "matcher",
]


@runtime_checkable
class Framing(Protocol):
    """What a framing of your own has to have. Any object with these two will do.

    Both run in Python: `encode` in the sender's call, `take` on one thread of labtether's that runs functions like this
    one. They must not wait for a link, and have to depend on what they are given alone: `take` may be shown the same
    bytes again, and is given a new buffer each time. What they raise reaches whoever asked; a ValueError from `take`
    says that the message is bad, and becomes the cause of a FrameError.

    An attribute `encoding` says that messages are text, and in which encoding; `max_length` how many bytes may come
    without a message (1 MiB).
    """

    def encode(self, body: bytes, /) -> bytes:
        """What goes on the wire for `body`. Raises ValueError if it cannot be sent."""
        ...

    def take(self, buffer: bytearray, /) -> bytes | None:
        """Remove the first message from the front of `buffer` and return its body; None: it is not all there yet.

        Raises ValueError for what cannot be a message, after removing it (else one byte is removed).
        """
        ...


FramingLike: TypeAlias = Framed | Framing | str | bytes


def as_framing(framing: FramingLike | None) -> Framed | None:
    """A str or bytes is short for Lines of it; an object with `encode` and `take` is a framing of the user's own."""
    if framing is None or isinstance(framing, Framed):
        return framing
    if isinstance(framing, str):
        return Lines(framing)
    if isinstance(framing, bytes):
        return Lines(framing, encoding=None)
    if isinstance(framing, type):
        raise TypeError(f"framing is {framing.__name__}(...), an instance, not the class")
    if callable(getattr(framing, "encode", None)) and callable(getattr(framing, "take", None)):
        return _Own(framing)
    raise TypeError(
        f"framing is Lines(...) or another framing, a terminator, an object with encode() and take(), or None for raw "
        f"bytes, not {type(framing).__name__}"
    )


class _Own(Framed):
    """A framing of the user's own."""

    __slots__ = ("framing",)
    _first: ClassVar[tuple[str, ...]] = ("framing",)

    def __init__(self, framing: Framing) -> None:
        self.framing = framing
        self.encoding = check_encoding(getattr(framing, "encoding", None))
        longest = check_length(getattr(framing, "max_length", 1 << 20))
        name = f"messages as {type(framing).__name__} has them"
        self.core = _core.Framing.own(name, _Encoding(framing), _Taking(framing), longest)

    def __repr__(self) -> str:
        return repr(self.framing)


class _Encoding:
    """`encode` of the user's, checked. Rust refers to it weakly; the core's Python half keeps it."""

    __slots__ = ("__weakref__", "_framing")

    def __init__(self, framing: Framing) -> None:
        self._framing = framing

    def __call__(self, body: bytes) -> bytes:
        frame: Any = self._framing.encode(body)
        if not isinstance(frame, (bytes, bytearray, memoryview)):
            raise TypeError(f"the framing's encode() returns bytes, not {type(frame).__name__}")
        return bytes(frame)


class _Removed(Exception):
    """take() raised its cause, after it had removed bytes."""

    def __init__(self, removed: int) -> None:
        super().__init__(removed)
        self._labtether_removed = removed


class _Taking:
    """`take` of the user's, as Rust wants its answer: how many bytes it removed (8 bytes, the lowest first), then 1 and
    the message if there is one."""

    __slots__ = ("__weakref__", "_framing")

    def __init__(self, framing: Framing) -> None:
        self._framing = framing

    def __call__(self, seen: bytes) -> bytes:
        buffer = bytearray(seen)
        try:
            message: Any = self._framing.take(buffer)
        except BaseException as error:
            raise _Removed(max(0, len(seen) - len(buffer))) from error
        if not seen.endswith(buffer):
            raise TypeError("the framing's take() may only remove bytes from the front of its buffer")
        removed = len(seen) - len(buffer)
        if message is None:
            return removed.to_bytes(8, "little")
        if not isinstance(message, (bytes, bytearray, memoryview)):
            raise TypeError(f"the framing's take() returns bytes or None, not {type(message).__name__}")
        if removed == 0:
            raise TypeError(f"the framing's take() returned {bytes(message)!r} and removed nothing from its buffer")
        return removed.to_bytes(8, "little") + b"\x01" + bytes(message)


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


def encoder_of(framing: Framed | None) -> Encoder:
    """The encoder that goes with a framing."""
    return Encoder(framing.encoding if framing is not None else None)
