"""The simulated instruments that there are: what each is, and how it speaks. What they do is in Rust."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Final, Literal

from labtether import _core
from labtether._framing import Lines

__all__ = ["OWN", "Model", "Own", "model_of", "models"]


class Own(Enum):
    """In place of a framing: the instrument's own."""

    FRAMING = "its own"


OWN: Final = Own.FRAMING


@dataclass(frozen=True)
class Model:
    """A kind of simulated instrument."""

    name: str
    about: str
    line: tuple[int, int, str, int] | None
    """Of the real one: baudrate, bytesize, parity, stopbits. None: it is on TCP."""
    tcp_port: int | None
    """Where the real one listens. None: it is on a serial line."""
    hears: str
    """What ends a command to it."""
    says: str
    """What ends a message from it."""
    options: Mapping[str, str]
    """What can be asked of it, and what that is."""

    @property
    def transport(self) -> Literal["pty", "tcp"]:
        """What it is put on unless it is said otherwise."""
        return "pty" if self.tcp_port is None else "tcp"

    def framing(self) -> Lines:
        """How a link to it tells messages apart."""
        return Lines(self.says, send_terminator=None if self.hears == self.says else self.hears)


@cache
def models() -> Mapping[str, Model]:
    """All that there are, by name."""
    return {
        name: Model(name, about, line, port, hears, says, dict(options))
        for name, about, line, port, hears, says, options in _core.simulated_devices()
    }


def model_of(name: str) -> Model:
    """The one called `name`. Raises ValueError if there is none."""
    known = models()
    if name not in known:
        there_is = ", ".join(map(repr, known))
        raise ValueError(f"there is no simulated instrument {name!r}; there is {there_is}")
    return known[name]
