"""Lines: messages that end in a terminator."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from labtether import _core
from labtether._checks import check_count
from labtether._checksums import ChecksumLike, check_checksum
from labtether._framed import MAX_LENGTH, Framed, as_bytes, as_escape, check_encoding, check_length

__all__ = ["Lines"]


class Lines(Framed):
    """Messages that end in a terminator.

    terminator: str or bytes, or several of them, such as `("\\r", ">")`; a message ends at whichever comes first. The
    default ends at LF and drops one CR before it. send_terminator: what is added to what is sent; None: the (first)
    terminator; "": nothing. encoding: how text becomes bytes and back; the default, latin-1, loses no byte; None:
    messages are bytes. keep: leave the terminator on messages. max_length: the longest message, in bytes; a longer one
    is a FrameError. count: so many terminators end one message, as where a prompt comes once for each command; those
    within it are part of it. escape: a byte that takes the meaning from the next one, in what comes and what is sent.
    checksum: `lt.Crc(...)` and its kin; one in raw bytes before the terminator may look like one: let it follow the
    terminator, be digits, or be escaped.

    Raises ValueError for a terminator of no bytes, none at all, one that is the beginning of another, or one that
    contains the escape.
    """

    __slots__ = ("checksum", "count", "escape", "keep", "max_length", "send_terminator", "terminators")
    _first: ClassVar[tuple[str, ...]] = ("terminators",)
    _defaults: ClassVar[dict[str, Any]] = {
        "send_terminator": None,
        "encoding": "latin-1",
        "keep": False,
        "max_length": MAX_LENGTH,
        "count": 1,
        "escape": None,
        "checksum": None,
    }

    def __init__(
        self,
        terminator: str | bytes | Iterable[str | bytes] = "\n",
        *,
        send_terminator: str | bytes | None = None,
        encoding: str | None = "latin-1",
        keep: bool = False,
        max_length: int = MAX_LENGTH,
        count: int = 1,
        escape: str | bytes | None = None,
        checksum: ChecksumLike | None = None,
    ) -> None:
        encoding = check_encoding(encoding)
        if not isinstance(terminator, Iterable):
            raise TypeError(f"terminator is str, bytes or several of them, not {type(terminator).__name__}")
        given = [terminator] if isinstance(terminator, (str, bytes)) else list(terminator)
        self.terminators = tuple(as_bytes(one, encoding, "terminator") for one in given)
        self.send_terminator = (
            None if send_terminator is None else as_bytes(send_terminator, encoding, "send_terminator")
        )
        self.encoding = encoding
        self.keep = bool(keep)
        self.max_length = check_length(max_length)
        self.count = check_count(count, "count")
        number = as_escape(escape, encoding)
        self.escape = None if number is None else bytes([number])
        self.checksum = checksum
        core = check_checksum(checksum)
        self.core = _core.Framing.lines(
            list(self.terminators), self.send_terminator, self.keep, self.max_length, self.count, number, core
        )

    def __repr__(self) -> str:
        shown = [repr(one.decode("latin-1")) for one in self.terminators]
        ends = shown[0] if len(shown) == 1 else "(" + ", ".join(shown) + ")"
        changed = [
            f"{name}={value!r}"
            for name, value in self._values()[1].items()
            if name != "encoding" and value != self._defaults[name]
        ]
        return f"Lines({', '.join([ends, f'encoding={self.encoding!r}', *changed])})"
