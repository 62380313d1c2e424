"""What a script says and takes, from what its author wrote to what Rust plays."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from labtether import _core
from labtether._checksums import Checksum
from labtether._framing import Encoder, Framed
from labtether._patterns import as_pattern, compiled_pattern
from labtether._values import Raw

__all__ = ["Sayer", "asks", "names_in"]

_NAME = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SPECIAL = re.compile(r"[(\[\\|^$]|\.[*+]")


def names_in(text: str) -> list[str]:
    """The names in braces in a reply."""
    return _NAME.findall(text)


def asks(framing: Framed) -> bool:
    """Whether code of the user's own is needed to frame a message."""
    return not type(framing).__module__.startswith("labtether._framings") and (
        type(framing).__name__ == "_Own" or isinstance(getattr(framing, "checksum", None), Checksum)
    )


class Sayer:
    """Text and bytes to frames and patterns, for one instrument."""

    def __init__(self, framing: Framed, encoder: Encoder) -> None:
        self._framing = framing
        self._encoder = encoder

    @property
    def encoding(self) -> str:
        """Of text."""
        return self._encoder.encoding or "latin-1"

    def text(self, value: str | bytes) -> bytes:
        """Text that is part of a message. Instruments that speak bytes may be told in text too, as latin-1."""
        if isinstance(value, str):
            return value.encode(self.encoding)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return bytes(value)
        raise TypeError(f"what an instrument says is str, bytes or Raw, not {type(value).__name__}")

    def frame(self, message: str | bytes | Raw) -> bytes:
        """What goes on the wire for a message."""
        return message.data if isinstance(message, Raw) else self._framing.encode(self.text(message))

    def part(
        self, message: str | bytes | Raw, *, after: float = 0.0, asked: bool = True, faults: Sequence[_core.Fault] = ()
    ) -> _core.Part:
        """One part of what is said."""
        if isinstance(message, str) and names_in(message) and not asks(self._framing):
            self.frame(message)  # whatever is filled in, the rest of it can be said
            return _core.Part.template(self.text(message), after, asked, list(faults))
        return _core.Part.frame(self.frame(message), after, asked, list(faults))

    def command(self, command: Any) -> tuple[bytes | None, _core.Pattern | None, re.Pattern[Any]]:
        """What a step takes: exactly this, or what a pattern matches in full; and the same for Python's `re`."""
        if isinstance(command, re.Pattern):
            return None, as_pattern(command, "command", self._encoder.encoding, whole=True)[0], command
        if not isinstance(command, (str, bytes)):
            raise TypeError(f"a command is str, bytes or a compiled pattern, not {type(command).__name__}")
        if not command:
            raise ValueError("a command is not empty")
        exactly = self.text(command)
        readable: Any = command if isinstance(command, str) == (self._encoder.encoding is not None) else None
        if readable is None:
            readable = command.encode("latin-1") if isinstance(command, str) else command.decode(self.encoding)
        literal = re.compile(re.escape(readable))
        if not _SPECIAL.search(command if isinstance(command, str) else command.decode("latin-1")):
            return exactly, None, literal
        try:
            pattern: re.Pattern[Any] = compiled_pattern(readable, "command")
            like = as_pattern(pattern, "command", self._encoder.encoding, whole=True)[0]
        except ValueError:
            return exactly, None, literal  # it is no pattern, so it is meant as it is
        return exactly, like, pattern

    def function(self, function: Callable[[Any], Any], pattern: re.Pattern[Any]) -> Callable[[bytes], bytes]:
        """A user's function of a match, as Rust asks it: a 1 and the frame, or nothing."""
        text = isinstance(pattern.pattern, str)

        def said(command: bytes) -> bytes:
            seen: Any = command.decode(self.encoding) if text else command
            match: Any = pattern.fullmatch(seen)
            if match is None:  # it is equal to a text that is a pattern too, and does not match itself
                match = re.fullmatch(re.escape(seen), seen)
            reply = function(match)
            if reply is None:
                return b""
            if not isinstance(reply, (str, bytes, bytearray, memoryview, Raw)):
                raise TypeError(f"a reply function returns str, bytes, Raw or None, not {type(reply).__name__}")
            return b"\x01" + self.frame(reply if isinstance(reply, (str, Raw)) else bytes(reply))

        return said

    def filled(self, text: str, state: Mapping[str, str]) -> Callable[[Any], str]:
        """`text` with names in it, as a function of the match."""

        def fill(match: Any) -> str:
            groups = match.groupdict()

            def value(name: re.Match[str]) -> str:
                found = groups.get(name[1], state.get(name[1], name[0]))
                return found.decode("latin-1") if isinstance(found, bytes) else found or ""

            return _NAME.sub(value, text)

        return fill
