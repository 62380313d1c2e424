"""What every framing has in Python: a core in Rust, an encoding, and the looks of a value."""

from __future__ import annotations

import codecs
from typing import Any, ClassVar

from labtether import _core
from labtether._checks import check_count

__all__ = ["MAX_LENGTH", "Framed", "as_bytes", "as_escape", "check_encoding", "check_length"]

MAX_LENGTH = 65536
"""The longest message, in bytes, unless something else is said."""


class Framed:
    """A framing that Rust carries out. `encode` and `take` are what it does, for use without a link."""

    __slots__ = ("core", "encoding")
    core: _core.Framing
    encoding: str | None
    _first: ClassVar[tuple[str, ...]] = ()
    """The arguments that are shown without their names."""
    _defaults: ClassVar[dict[str, Any]] = {}
    """The others, and what they are unless given."""

    def encode(self, body: bytes) -> bytes:
        """What goes on the wire for `body`. Raises ValueError if that cannot be said in this framing."""
        return self.core.encode(body)

    def take(self, buffer: bytearray) -> bytes | None:
        """Remove the first message from `buffer` and return its body; None: it is not all there yet.

        Raises FrameError for what cannot be a message, which has then been removed.
        """
        seen = bytes(buffer)

        def drop(removed: int) -> None:
            del buffer[:removed]

        body, removed = self.core.take(seen, drop)
        drop(removed)
        return body

    def for_command(self, body: bytes) -> Framed:
        """The framing of the reply to this command: itself, but where that depends on the command."""
        return self

    def _values(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return tuple(getattr(self, name) for name in self._first), {
            name: getattr(self, name) for name in self._defaults
        }

    def __repr__(self) -> str:
        first, rest = self._values()
        shown = [repr(value) for value in first]
        shown += [f"{name}={value!r}" for name, value in rest.items() if value != self._defaults[name]]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Framed) and type(other) is type(self) and self._values() == other._values()

    def __hash__(self) -> int:
        first, rest = self._values()
        return hash((type(self), first, *rest.values()))

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (type(self), *self._values())


def _made(kind: type[Framed], first: tuple[Any, ...], rest: dict[str, Any]) -> Framed:
    return kind(*first, **rest)


def as_bytes(text: str | bytes, encoding: str | None, what: str) -> bytes:
    """Text in an encoding (latin-1 if there is none), or bytes as they are."""
    if isinstance(text, (bytes, bytearray)):
        return bytes(text)
    if not isinstance(text, str):
        raise TypeError(f"{what} is str or bytes, not {type(text).__name__}")
    return text.encode(encoding or "latin-1")


def as_escape(escape: str | bytes | None, encoding: str | None) -> int | None:
    """An escape byte, as its number."""
    if escape is None:
        return None
    byte = as_bytes(escape, encoding, "escape")
    if len(byte) != 1:
        raise ValueError(f"escape is one byte, not {escape!r}")
    return byte[0]


def check_encoding(encoding: str | None) -> str | None:
    """The name of an encoding, as Python spells it (but for latin-1, which nobody calls iso8859-1)."""
    if encoding is None:
        return None
    if not isinstance(encoding, str):
        raise TypeError(f"encoding is a str or None, not {type(encoding).__name__}")
    try:
        name = codecs.lookup(encoding).name
    except LookupError:
        raise ValueError(f"there is no encoding {encoding!r}") from None
    return "latin-1" if name == "iso8859-1" else name


def check_length(max_length: int) -> int:
    """A limit for the length of messages."""
    return check_count(max_length, "max_length")
