"""The format strings of pyvisa-sim's files, both ways: `{:.2f}` shows a value, and reads one out of a command."""

from __future__ import annotations

import random
import re
from string import Formatter
from typing import Any

__all__ = ["Pattern", "randomized", "shown", "wire_bytes"]

_READ: dict[str, tuple[str, type]] = {
    "d": (r"[-+]?\d+", int),
    "f": (r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", float),
    "s": (r".*", str),
}
_KINDS = {**dict.fromkeys("dn", "d"), **dict.fromkeys("feEgGF%", "f")}
_SPEC = re.compile(r"(?:.?[<>=^])?[-+ ]?#?0?\d*,?(?:\.\d+)?([bcdeEfFgGnosxX%]?)")


def wire_bytes(text: str) -> bytes:
    """What goes on the wire for a text of the file: `\\r` and `\\n` may be spelt, `BYTES(0a ff)` is bytes in hex."""
    data = b""
    for number, part in enumerate(re.split(r"BYTES\(([0-9a-fA-F\s]+)\)", text)):
        if number % 2:
            data += bytes.fromhex(part)
        else:
            data += part.replace("\\r", "\r").replace("\\n", "\n").encode()
    return data


class Pattern:
    """A command with a value in it, such as `VOLT {:.3f}` or `CH{ch_id}:OUTP {:d}`."""

    def __init__(self, text: str) -> None:
        pattern, self._types = "", dict[str, type]()
        for literal, name, spec, _ in Formatter().parse(text):
            pattern += re.escape(literal.replace("\\r", "\r").replace("\\n", "\n"))
            if name is None:
                continue
            kind = _kind(spec or "")
            group = f"value{len(self._types)}" if not name or name.isdigit() else name
            if not group.isidentifier() or group in self._types:
                raise ValueError(f"{text!r}: {{{name}}} is no name of a value, or is there twice")
            one, self._types[group] = _READ[kind]
            pattern += f"(?P<{group}>{one})"
        self._pattern = re.compile(pattern, re.DOTALL)

    def read(self, command: str) -> tuple[Any, str | None] | None:
        """The value in a command, and the channel if one is named; None: this is not the command."""
        found = self._pattern.fullmatch(command)
        if found is None:
            return None
        groups = found.groupdict()
        channel = groups.pop("ch_id", None)
        values = [self._types[name](text) for name, text in groups.items()]
        return (values[0] if values else None), channel


def _kind(spec: str) -> str:
    found = _SPEC.fullmatch(spec)
    if found is None:
        raise ValueError(f"{{:{spec}}} is no format")
    return _KINDS.get(found[1], "s")


_RANDOM = re.compile(r"\{RANDOM\(([^)]*)\)(?::([^}]*))?\}")


def randomized(text: str, dice: random.Random) -> str:
    """`text` with random numbers where it wants some: `{RANDOM(0, 4.5, 3):.2f}` is three between 0 and 4.5."""

    def numbers(found: re.Match[str]) -> str:
        try:
            low, high, count = found[1].split(",")
            drawn = [dice.uniform(float(low), float(high)) for _ in range(int(count))]
        except ValueError:
            raise ValueError(f"{found.group()} is not {{RANDOM(min, max, count):format}}") from None
        return ", ".join(format(number, found[2] or "") for number in drawn)

    return _RANDOM.sub(numbers, text)


def shown(text: str, value: Any, dice: random.Random) -> str:
    """`text` with the value in its place, or random numbers."""
    if _RANDOM.search(text):
        return randomized(text, dice)
    try:
        return text.format(value)
    except ValueError:
        # Without specs a value is text, whatever the format says.
        kinds = [_kind(spec or "") for _, name, spec, _ in Formatter().parse(text) if name is not None]
        return text.format(_READ[kinds[0]][1](value)) if kinds else text
