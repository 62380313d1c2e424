"""Small values: what is sent as it is, readings, trace events, serial ports, and the numbers in a reply."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["ModemLines", "PortInfo", "Raw", "Reading", "Resync", "TraceEvent", "Usb", "number", "numbers"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes that are sent as they are, without the link's framing: `lt.Raw(b"\\x1b")`."""

    data: bytes

    def __post_init__(self) -> None:
        if not isinstance(self.data, (bytes, bytearray)):
            raise TypeError(f"Raw takes bytes, not {type(self.data).__name__}")
        object.__setattr__(self, "data", bytes(self.data))


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """One answer of a poll.

    time: seconds since the epoch, never going back. monotonic: seconds on the clock of `time.monotonic()`. Both were
    taken in Rust when the last byte came. value: the reply, as `parse` made it.
    """

    time: float
    monotonic: float
    value: T


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """One event of a trace.

    time: seconds since the epoch. monotonic: seconds on the clock of `time.monotonic()`. direction: ">" to the
    instrument, "<" from it, "!" something that happened to the link, which `note` names.
    """

    time: float
    monotonic: float
    direction: str
    data: bytes
    note: str = ""

    def __str__(self) -> str:
        text = f"{self.data!r}"[1:] if self.data else ""
        return " ".join(part for part in (f"{self.time:.3f}", self.direction, self.note, text) if part)


@dataclass(frozen=True, slots=True)
class ModemLines:
    """The lines of a serial port beside its data: True where asserted, None where the device does not say.

    cts: clear to send. dsr: data set ready. ri: ring indicator. cd: carrier detect. dtr, rts: ours.
    """

    cts: bool | None
    dsr: bool | None
    ri: bool | None
    cd: bool | None
    dtr: bool | None
    rts: bool | None


@dataclass(frozen=True, slots=True)
class PortInfo:
    """A serial port of this machine. `device` is what a link opens; vid, pid and the rest are None where it is not a
    USB adapter."""

    device: str
    name: str
    description: str
    vid: int | None = None
    pid: int | None = None
    serial_number: str | None = None
    manufacturer: str | None = None
    product: str | None = None
    interface: int | None = None
    location: str | None = None

    def __str__(self) -> str:
        if self.vid is None or self.pid is None:
            return f"{self.device}  {self.description}"
        serial = f" {self.serial_number}" if self.serial_number else ""
        return f"{self.device}  {self.description} [{self.vid:04x}:{self.pid:04x}{serial}]"


@dataclass(frozen=True, slots=True)
class Usb:
    """The serial port of a USB adapter, whatever it is called when the link is opened: found by what is given of its
    identity."""

    vid: int | None = None
    pid: int | None = None
    serial_number: str | None = None
    interface: int | None = None

    def __post_init__(self) -> None:
        if self.vid is None and self.pid is None and self.serial_number is None:
            raise ValueError("Usb needs a vid, a pid or a serial_number to look for")
        for name, most in (("vid", 0xFFFF), ("pid", 0xFFFF), ("interface", 0xFF)):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} is an int, not {type(value).__name__}")
            if not 0 <= value <= most:
                raise ValueError(f"{name} is between 0 and {most:#x}, not {value:#x}")
        if self.serial_number is not None and not self.serial_number:
            raise ValueError("serial_number is empty")

    def __str__(self) -> str:
        known = [f"{self.vid:04x}" if self.vid is not None else "*", f"{self.pid:04x}" if self.pid is not None else "*"]
        return "usb:" + ":".join(known) + (f":{self.serial_number}" if self.serial_number else "")


@dataclass(frozen=True, slots=True)
class Resync:
    """How to get back in step after a timeout or a cancelled query: `command` is sent at once, all up to its `answer`
    (a pattern) dropped."""

    command: str | bytes | Raw
    answer: str | bytes | re.Pattern[str] | re.Pattern[bytes]


_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def number(reply: str | bytes) -> float:
    """The first number in a reply; for `parse=`. Raises ValueError (which a query turns into FrameError) if there is
    none."""
    match = _NUMBER.search(_text(reply))
    if match is None:
        raise ValueError(f"no number in {reply!r}")
    return float(match.group())


def numbers(reply: str | bytes) -> list[float]:
    """All numbers in a reply, in order; for `parse=`. Raises ValueError if there is none."""
    found = [float(match) for match in _NUMBER.findall(_text(reply))]
    if not found:
        raise ValueError(f"no number in {reply!r}")
    return found


def _text(reply: str | bytes) -> str:
    return reply.decode("latin-1") if isinstance(reply, bytes) else reply
