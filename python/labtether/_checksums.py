"""Checksums that go with a framing: `lt.Lines("\\r", checksum=lt.Sum8(encode="HEX"))`. All but one's own are worked out
in Rust."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, ClassVar

from labtether import _core
from labtether._checks import check_count

__all__ = ["Checksum", "ChecksumLike", "Crc", "Sum8", "Sum16", "Xor8", "check_checksum"]

_CHOICES = {
    "order": (None, "little", "big"),
    "encode": ("raw", "hex", "HEX", "decimal"),
    "place": ("before_end", "after_end"),
    "covers": ("body", "with_start", "with_both"),
}


class ChecksumLike:
    """What all checksums have.

    order: which byte is sent first, "little" (the lowest) or "big"; None: as the function has it. encode: "raw" bytes,
    or digits: "hex", "HEX" (two for each byte; either case is read) or "decimal" (as many as the largest value has).
    place: "before_end", between the body and what ends it, or "after_end". covers: what it is worked out from, the
    "body", "with_start" (what comes before the body too, such as STX or a length field) or "with_both" (what ends it
    too). A checksum is never part of a message, and no size or length counts it.
    """

    __slots__ = ("core", "covers", "encode", "order", "place")
    core: _core.Checksum
    _defaults: ClassVar[dict[str, Any]] = {"order": None, "encode": "raw", "place": "before_end", "covers": "body"}

    def _set(self, order: str | None, encode: str, place: str, covers: str) -> None:
        for name, value in (("order", order), ("encode", encode), ("place", place), ("covers", covers)):
            if value not in _CHOICES[name]:
                choices = ", ".join(repr(choice) for choice in _CHOICES[name])
                raise ValueError(f"{name} is one of {choices}, not {value!r}")
        self.order, self.encode, self.place, self.covers = order, encode, place, covers

    @property
    def width(self) -> int:
        """How many bytes it has on the wire."""
        return self.core.width

    def _first(self) -> tuple[Any, ...]:
        """The arguments that have no default."""
        return ()

    def _rest(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._defaults}

    def __repr__(self) -> str:
        shown = [_named(value) for value in self._first()]
        changed = {name: value for name, value in self._rest().items() if value != self._defaults[name]}
        return f"{type(self).__name__}({', '.join(shown + [f'{name}={value!r}' for name, value in changed.items()])})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ChecksumLike) and type(other) is type(self) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash((type(self), self._key()))

    def _key(self) -> tuple[Any, ...]:
        return *self._first(), *self._rest().values()

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (type(self), self._first(), self._rest())


def _made(kind: type[Any], first: tuple[Any, ...], rest: dict[str, Any]) -> Any:
    return kind(*first, **rest)


def _named(value: Any) -> str:
    """A function by its name, anything else as it is written."""
    return getattr(value, "__qualname__", None) or repr(value)


class Crc(ChecksumLike):
    """A cyclic redundancy check, by its name in the catalogue of parametrised CRC algorithms
    (reveng.sourceforge.io/crc-catalogue): "CRC-16/MODBUS", "CRC-32/ISO-HDLC". Case and dashes do not matter.

    order=None: the lowest byte first where the CRC is reflected, else the highest. The rest is as in Sum8.

    Raises ValueError for a name that is not in the catalogue, with those that are close.
    """

    __slots__ = ("name",)

    def __init__(
        self,
        name: str,
        order: str | None = None,
        encode: str = "raw",
        place: str = "before_end",
        covers: str = "body",
    ) -> None:
        if not isinstance(name, str):
            raise TypeError(f"the name of a CRC is a str, not {type(name).__name__}")
        self._set(order, encode, place, covers)
        try:
            self.core = _core.Checksum.crc(name, order, encode, place, covers)
        except ValueError:
            names = _core.crc_names()
            close = difflib.get_close_matches(name.upper(), names, n=3, cutoff=0.5)
            hint = f"; did you mean {' or '.join(close)}?" if close else f"; there are {', '.join(names)}"
            raise ValueError(f"there is no CRC {name!r} in the catalogue{hint}") from None
        self.name = self.core.name

    def _first(self) -> tuple[Any, ...]:
        return (self.name,)


class _Sum(ChecksumLike):
    __slots__ = ()

    def __init__(
        self, order: str | None = None, encode: str = "raw", place: str = "before_end", covers: str = "body"
    ) -> None:
        self._set(order, encode, place, covers)
        self.core = _core.Checksum.sum(type(self).__name__, order, encode, place, covers)


class Sum8(_Sum):
    """The lowest 8 bits of the sum of all bytes.

    order: which byte is sent first, "little" (the lowest) or "big"; None: big. encode: "raw" bytes, or digits: "hex",
    "HEX" (two for each byte; either case is read) or "decimal" (as many as the largest value has). place:
    "before_end", between the body and what ends it, or "after_end". covers: what it is worked out from, the "body",
    "with_start" (what comes before the body too, such as STX or a length field) or "with_both" (what ends it too).
    """

    __slots__ = ()


class Sum16(_Sum):
    """The lowest 16 bits of the sum of all bytes. The options are those of Sum8."""

    __slots__ = ()


class Xor8(_Sum):
    """All bytes, exclusive or. The options are those of Sum8."""

    __slots__ = ()


class Checksum(ChecksumLike):
    """A checksum of your own.

    function: gets the bytes that are covered and returns an int (0 up to, not including, 256 ** size) or `size` bytes
    in the order in which they are sent. It runs in the sender's call for what is sent, and for what comes on one thread
    of labtether's that runs functions like this one: it must not wait for a link. size: bytes of its value, 1 to 16.
    order=None: big. The other options are those of Sum8.

    What it raises reaches whoever asked: a ValueError as the cause of a FrameError, anything else as it is.
    """

    __slots__ = ("_value", "function", "size")
    _defaults: ClassVar[dict[str, Any]] = {"size": 2, **ChecksumLike._defaults}

    def __init__(
        self,
        function: Callable[[bytes], int | bytes],
        size: int = 2,
        order: str | None = None,
        encode: str = "raw",
        place: str = "before_end",
        covers: str = "body",
    ) -> None:
        if not callable(function):
            raise TypeError(f"the function of a Checksum is a function, not {type(function).__name__}")
        if check_count(size, "size") > 16:
            raise ValueError(f"size is at most 16, not {size}")
        self._set(order, encode, place, covers)
        self.function, self.size = function, size
        self._value = _Value(function, size, order)
        self.core = _core.Checksum.own(self._value, size, order, encode, place, covers)

    def _first(self) -> tuple[Any, ...]:
        return (self.function,)


class _Value:
    """A function's value as bytes. Rust refers to it weakly; whoever made it keeps it."""

    __slots__ = ("__weakref__", "_function", "_little", "_size")

    def __init__(self, function: Callable[[bytes], int | bytes], size: int, order: str | None) -> None:
        self._function, self._size, self._little = function, size, order == "little"

    def __call__(self, covered: bytes) -> bytes:
        value = self._function(covered)
        if isinstance(value, int) and not isinstance(value, bool):
            if not 0 <= value < 256**self._size:
                raise OverflowError(f"a checksum of {value} does not go into {self._size} bytes")
            return value.to_bytes(self._size, "little" if self._little else "big")
        if isinstance(value, (bytes, bytearray)):
            if len(value) != self._size:
                raise OverflowError(f"a checksum of {len(value)} bytes, where size is {self._size}: {bytes(value)!r}")
            return bytes(value)
        raise TypeError(f"a checksum is an int or bytes, not {type(value).__name__}")


def check_checksum(checksum: Any) -> _core.Checksum | None:
    """The core of `checksum`, if it is one or None."""
    if checksum is None:
        return None
    if not isinstance(checksum, ChecksumLike):
        made = "an instance of " if isinstance(checksum, type) else ""
        raise TypeError(f"checksum is {made}Crc, Sum8, Sum16, Xor8 or Checksum, not {_named(checksum)}")
    return checksum.core
