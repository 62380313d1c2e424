"""Framings other than lines: by size, by a length field, by marks, by silence. Carried out in Rust."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from labtether import _core
from labtether._checks import check_count, check_seconds
from labtether._checksums import ChecksumLike, check_checksum
from labtether._framed import MAX_LENGTH, Framed, as_bytes, as_escape, check_encoding, check_length

__all__ = ["Cobs", "Enclosed", "Fixed", "IeeeBlock", "LengthPrefixed", "ModbusRtu", "Slip", "UntilQuiet"]

_COMMON: dict[str, Any] = {"max_length": MAX_LENGTH, "encoding": None, "checksum": None}


class Fixed(Framed):
    """Messages of one size.

    size: bytes of the body, the checksum not counted; or a dict of the size of the reply to each command, or a function
    of the command that returns it. Commands are sent as they are, of any size. encoding: None: messages are bytes.
    checksum: `lt.Crc(...)` and its kin, behind the body.

    A query whose command has no size raises ValueError; messages nobody asked for have none and are not told apart.
    """

    __slots__ = ("checksum", "size")
    _first: ClassVar[tuple[str, ...]] = ("size",)
    _defaults: ClassVar[dict[str, Any]] = {"encoding": None, "checksum": None}

    def __init__(
        self,
        size: int | Mapping[str, int] | Mapping[bytes, int] | Callable[[Any], int],
        *,
        encoding: str | None = None,
        checksum: ChecksumLike | None = None,
    ) -> None:
        self.encoding = check_encoding(encoding)
        self.checksum = checksum
        self.size: Any
        if isinstance(size, Mapping):
            if not size:
                raise ValueError("size is empty: it has the size of the reply to each command")
            sizes = {
                as_bytes(command, encoding, "a command"): check_count(each, "size") for command, each in size.items()
            }
            self.size = sizes
        elif callable(size):
            self.size = size
        else:
            self.size = check_count(size, "size")
        known = self.size if isinstance(self.size, int) else None
        self.core = _core.Framing.fixed(known, check_checksum(checksum))

    def for_command(self, body: bytes) -> Framed:
        """The framing of the reply to this command."""
        if isinstance(self.size, int):
            return self
        if isinstance(self.size, dict):
            size = self.size.get(body)
            if size is None:
                raise ValueError(f"no size is given for the reply to {body!r}")
        else:
            size = self.size(body if self.encoding is None else body.decode(self.encoding))
        return Fixed(size, encoding=self.encoding, checksum=self.checksum)

    def __hash__(self) -> int:
        size = tuple(sorted(self.size.items())) if isinstance(self.size, dict) else self.size
        return hash((Fixed, size, self.encoding, self.checksum))

    def __repr__(self) -> str:
        size = getattr(self.size, "__qualname__", None) or repr(self.size)
        rest = [f"{name}={value!r}" for name, value in self._values()[1].items() if value is not None]
        return f"Fixed({', '.join([size, *rest])})"


class LengthPrefixed(Framed):
    """Messages whose length is said by a field in front of them.

    size, order: of the length field, 1 to 4 bytes, "big" (the highest first) or "little". offset: bytes before the
    field; a body begins with them, the field itself is never part of it. adjust: added to what the field says to get
    how many bytes of the body stand behind it. The checksum stands behind the body and is not counted: -2 for a field
    that counts its own 2 bytes, or a checksum of 2. max_length: the longest body, in bytes; a field that announces a
    longer one is a FrameError. encoding: None: messages are bytes. checksum: `lt.Crc(...)` and its kin; what comes
    before the body is the offset and the field.
    """

    __slots__ = ("adjust", "checksum", "max_length", "offset", "order", "size")
    _first: ClassVar[tuple[str, ...]] = ("size", "order")
    _defaults: ClassVar[dict[str, Any]] = {"offset": 0, "adjust": 0, **_COMMON}

    def __init__(
        self,
        size: int = 2,
        order: str = "big",
        offset: int = 0,
        adjust: int = 0,
        *,
        max_length: int = MAX_LENGTH,
        encoding: str | None = None,
        checksum: ChecksumLike | None = None,
    ) -> None:
        if order not in ("big", "little"):
            raise ValueError(f"order is 'big' or 'little', not {order!r}")
        if isinstance(adjust, bool) or not isinstance(adjust, int):
            raise TypeError(f"adjust is an int, not {type(adjust).__name__}")
        if abs(adjust) >= 1 << 32:
            raise ValueError(f"adjust is smaller than any length field can say, not {adjust}")
        self.size, self.order = check_count(size, "size"), order
        self.offset, self.adjust = check_count(offset, "offset", least=0), adjust
        self.max_length, self.encoding, self.checksum = check_length(max_length), check_encoding(encoding), checksum
        core = check_checksum(checksum)
        self.core = _core.Framing.length_prefixed(size, order, offset, adjust, max_length, core)


class Enclosed(Framed):
    """Messages between a start and an end, such as STX and ETX: `lt.Enclosed("\\x02", "\\x03")`.

    start, end: str or bytes, neither part of a message. escape: a byte that takes the meaning from the next one. What
    comes before a start is a FrameError, once; so is a message that a new start cuts off. max_length: the longest body,
    in bytes. encoding: None: messages are bytes; unless given, latin-1 if start and end are str. checksum:
    `lt.Crc(...)` and its kin.
    """

    __slots__ = ("checksum", "end", "escape", "max_length", "start")
    _first: ClassVar[tuple[str, ...]] = ("start", "end")
    _defaults: ClassVar[dict[str, Any]] = {"escape": None, **_COMMON}

    def __init__(
        self,
        start: str | bytes,
        end: str | bytes,
        escape: str | bytes | None = None,
        *,
        max_length: int = MAX_LENGTH,
        encoding: str | None = "",
        checksum: ChecksumLike | None = None,
    ) -> None:
        if encoding == "":
            encoding = "latin-1" if isinstance(start, str) and isinstance(end, str) else None
        self.encoding = check_encoding(encoding)
        self.start, self.end = as_bytes(start, encoding, "start"), as_bytes(end, encoding, "end")
        number = as_escape(escape, encoding)
        self.escape = None if number is None else bytes([number])
        self.max_length, self.checksum = check_length(max_length), checksum
        self.core = _core.Framing.enclosed(self.start, self.end, number, self.max_length, check_checksum(checksum))


class IeeeBlock(Framed):
    """Blocks of IEEE 488.2 (sections 8.7.9 and 8.7.10): `#<n><n digits: length><data>`, or `#0<data>` up to the
    terminator. For `query(":WAV:DATA?", framing=lt.IeeeBlock())`.

    terminator: what follows a block; after LF one CR before it is dropped too; "": nothing. max_length: the most data,
    in bytes (64 MiB). A line that is no block, such as an error text, is a FrameError. encoding: None: data is bytes.
    """

    __slots__ = ("max_length", "terminator")
    _first: ClassVar[tuple[str, ...]] = ("terminator",)
    _defaults: ClassVar[dict[str, Any]] = {"max_length": 64 << 20, "encoding": None}

    def __init__(
        self, terminator: str | bytes = "\n", *, max_length: int = 64 << 20, encoding: str | None = None
    ) -> None:
        self.encoding = check_encoding(encoding)
        self.terminator = as_bytes(terminator, encoding, "terminator")
        self.max_length = check_length(max_length)
        self.core = _core.Framing.ieee_block(self.terminator, self.max_length)


class ModbusRtu(Framed):
    """Modbus RTU: a body is the unit's address, a function code and its data; the CRC is added and checked.

    Replies to the functions 1 to 6, 15, 16, 22 and 23, and exceptions, say how long they are (Modbus application
    protocol V1.1b3, section 6); any other ends with 0.05 s of silence. encoding: None: messages are bytes.
    """

    __slots__ = ()
    _defaults: ClassVar[dict[str, Any]] = {"encoding": None}

    def __init__(self, *, encoding: str | None = None) -> None:
        self.encoding = check_encoding(encoding)
        self.core = _core.Framing.modbus_rtu()


class UntilQuiet(Framed):
    """All that comes until the line has been silent for `seconds` is one message. A last resort: any other framing is
    faster, and cannot be fooled by a pause. A USB adapter may hold bytes back for 0.016 s.

    max_length: the longest body, in bytes. encoding: None: messages are bytes. checksum: `lt.Crc(...)` and its kin, the
    last bytes before the silence.
    """

    __slots__ = ("checksum", "max_length", "seconds")
    _first: ClassVar[tuple[str, ...]] = ("seconds",)
    _defaults: ClassVar[dict[str, Any]] = _COMMON

    def __init__(
        self,
        seconds: float,
        *,
        max_length: int = MAX_LENGTH,
        encoding: str | None = None,
        checksum: ChecksumLike | None = None,
    ) -> None:
        span = check_seconds(seconds, "seconds", finite=True)
        if span is None:
            raise TypeError("seconds is a number of seconds, not None")
        if span == 0:
            raise ValueError("seconds is more than 0: silence takes some time")
        self.seconds = span
        self.max_length, self.encoding, self.checksum = check_length(max_length), check_encoding(encoding), checksum
        self.core = _core.Framing.until_quiet(span, self.max_length, check_checksum(checksum))


class _Stuffed(Framed):
    __slots__ = ("checksum", "max_length")
    _defaults: ClassVar[dict[str, Any]] = _COMMON

    def __init__(
        self, *, max_length: int = MAX_LENGTH, encoding: str | None = None, checksum: ChecksumLike | None = None
    ) -> None:
        self.max_length, self.encoding, self.checksum = check_length(max_length), check_encoding(encoding), checksum
        self.core = _core.Framing.stuffed(isinstance(self, Slip), self.max_length, check_checksum(checksum))


class Slip(_Stuffed):
    """SLIP (RFC 1055): the byte 0xC0 ends a message, and goes out before one too.

    max_length: the longest body, in bytes. encoding: None: messages are bytes. checksum: `lt.Crc(...)` and its kin,
    within the stuffing, over the body.
    """

    __slots__ = ()


class Cobs(_Stuffed):
    """COBS (Cheshire and Baker, 1999): a byte 0 ends a message. The options are those of Slip."""

    __slots__ = ()
