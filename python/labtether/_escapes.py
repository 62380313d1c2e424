r"""Bytes as text that can be typed and read: ASCII as it is, everything else as `\r \n \t \0 \\ \xHH`."""

from __future__ import annotations

import re

__all__ = ["BadEscape", "escaped", "quoted", "unescaped"]


class BadEscape(ValueError):
    """This text stands for no bytes."""


_NAMES = {0x0D: r"\r", 0x0A: r"\n", 0x09: r"\t", 0x00: r"\0", 0x5C: r"\\"}
_LETTERS = {name[1]: code for code, name in _NAMES.items()}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|(.?))|([^\x20-\x7e\\])", re.DOTALL)


def escaped(data: bytes) -> str:
    """`data` as text in one line."""
    shown = []
    for place, byte in enumerate(data, 1):
        if byte == 0 and data[place : place + 1].isdigit():
            shown.append(r"\x00")  # \01 would look like a number in octal
        else:
            shown.append(_NAMES.get(byte) or (chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}"))
    return "".join(shown)


def quoted(data: bytes) -> str:
    """`data` as text between quotes."""
    return '"' + escaped(data).replace('"', r"\x22") + '"'


def unescaped(text: str) -> bytes:
    """The bytes that `text` stands for. Raises BadEscape, which says what to write instead."""

    def byte(found: re.Match[str]) -> str:
        code, letter, other = found.groups()
        if other is not None:
            raise BadEscape(_not_ascii(other))
        if code is not None:
            return chr(int(code, 16))
        if letter not in _LETTERS:
            raise BadEscape(f"there is no {found.group()!r}; there are \\r \\n \\t \\0 \\xHH \\\\")
        return chr(_LETTERS[letter])

    return _ESCAPE.sub(byte, text).encode("latin-1")


def _not_ascii(character: str) -> str:
    if ord(character) < 0x80:
        return f"{character!r} cannot be seen here: write \\x{ord(character):02x}"
    wide = "".join(f"\\x{one:02x}" for one in character.encode("utf-8", "surrogatepass"))
    if ord(character) < 0x100:
        return f"{character!r} is not ASCII: write \\x{ord(character):02x} (latin-1) or {wide} (UTF-8)"
    return f"{character!r} is not ASCII: write {wide} (UTF-8)"
