"""What goes wrong on real lines, as values for simulated instruments: `labsim.script("psu", faults=[Delay(0.5)])`.

Several are in force one after another: each meets what the one before has left. A message is what the instrument says
at once, its terminator included; they are numbered from 1 in the order in which they are said, whatever becomes of
them. What is said later comes later, whatever is done to it: a line is one queue. The same seed does the same damage,
on every run and every machine, and what happens to a message does not depend on what was said before it.

`rehearse` shows what a fault does, without any wire.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import KW_ONLY, MISSING, dataclass, fields
from typing import Any, Literal

from labtether import _core
from labtether._checks import check_count, check_seconds

__all__ = ["ALL", "HARMFUL", "HARMLESS", "Coalesce", "Delay", "Disconnect", "Drop", "Duplicate", "Echo", "Fault"]
__all__ += ["Fragment", "Garble", "Jitter", "Rate", "Refuse", "Silence", "Truncate", "rehearse", "to_core"]


def _set(fault: Any, **values: Any) -> None:
    """A frozen dataclass is set once, here, to what was checked."""
    for name, value in values.items():
        object.__setattr__(fault, name, value)


def _seconds(value: Any, what: str = "seconds") -> float:
    seconds = check_seconds(value, what, finite=True)
    if seconds is None:
        raise TypeError(f"{what} is a number of seconds, not None")
    return seconds


def _numbers(only: Any) -> tuple[int, ...]:
    if isinstance(only, (str, bytes)) or not isinstance(only, Iterable):
        raise TypeError(f"only is a set of message numbers, such as {{1, 3}}, not {type(only).__name__}")
    return tuple(sorted({check_count(number, "each of only") for number in only}))


def _chance(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"chance is a number from 0 to 1, not {type(value).__name__}")
    if not 0 <= value <= 1:
        raise ValueError(f"chance is from 0 to 1, not {value}")
    return float(value)


def _check_seed(seed: Any) -> None:
    if check_count(seed, "seed", least=0) >= 1 << 64:
        raise ValueError(f"seed has at most 64 bits, not {seed.bit_length()}")


class Fault:
    """What all faults have: they are equal if their values are, and cannot be changed."""

    __slots__ = ()

    def _values(self) -> tuple[Any, ...]:
        """What Rust is told of it."""
        return tuple(getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]

    def __repr__(self) -> str:
        shown = []
        for field in sorted(fields(self), key=lambda field: bool(field.kw_only)):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if field.default is MISSING or value != field.default:
                shown.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True, repr=False, kw_only=True)
class _Striking(Fault):
    """A fault that strikes some messages, or all."""

    only: Collection[int] | None = None
    chance: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.only is not None:
            _set(self, only=_numbers(self.only))
        _set(self, chance=_chance(self.chance))
        _check_seed(self.seed)

    def _values(self) -> tuple[Any, ...]:
        only, chance, seed, *own = super()._values()
        return *own, (only, chance, seed)


@dataclass(frozen=True, repr=False)
class Delay(_Striking):
    """What is said comes `seconds` later, and what is said after it waits behind it.

    So do all that buffer: the latency timer of a USB adapter (16 ms unless told otherwise), a device server, a busy
    controller, a network. only: the numbers of the messages it strikes, from 1; None: all. chance: how likely each of
    them is struck, from 0 to 1. seed: decides what chance leaves open.
    """

    seconds: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _set(self, seconds=_seconds(self.seconds))


@dataclass(frozen=True, repr=False)
class Jitter(Fault):
    """Each message is late by another time, from none to `seconds`; their order is kept.

    Firmware that looks at its port between two motor steps answers like this, and so does any network. seed: decides
    which times.
    """

    seconds: float
    _: KW_ONLY
    seed: int = 0

    def __post_init__(self) -> None:
        _set(self, seconds=_seconds(self.seconds))
        _check_seed(self.seed)


@dataclass(frozen=True, repr=False)
class Rate(Fault):
    """Each byte takes its time on the line, as a UART has it: messages come in small pieces, one after another.

    A pseudo-terminal has no speed at all: without this a reply comes whole, as it never does at 9600 baud. baudrate:
    bits in a second. bits: on the line for one byte; 10 with 8N1, 11 with a parity bit or two stop bits. Above about
    10 000 baud bytes come in pieces of a millisecond, as adapters and receivers with a FIFO hand them over.
    """

    baudrate: int
    _: KW_ONLY
    bits: int = 10

    def __post_init__(self) -> None:
        if check_count(self.baudrate, "baudrate") > 0xFFFF_FFFF:
            raise ValueError(f"baudrate is at most {0xFFFF_FFFF}, not {self.baudrate}")
        if check_count(self.bits, "bits") > 20:
            raise ValueError(f"bits is at most 20, not {self.bits}")


@dataclass(frozen=True, repr=False)
class Fragment(Fault):
    """Messages come in pieces, cut anywhere: in the midst of a number, between CR and LF.

    A read returns what has come, and nothing on the way (driver, adapter, TCP) knows where a message ends. sizes: how
    many bytes each piece has; or a list of the first pieces, and what is left then is one more; None: random, from one
    byte to a quarter of the message (or four bytes, if that is more), as `seed` decides. gap: seconds from one piece to
    the next; with less than the host needs to wake up, it may read two as one.
    """

    sizes: int | Iterable[int] | None = None
    _: KW_ONLY
    gap: float = 0.002
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.sizes, (str, bytes)):
            raise TypeError(f"sizes is an int or a list of them, not {type(self.sizes).__name__}")
        if isinstance(self.sizes, Iterable):
            _set(self, sizes=tuple(check_count(size, "each of sizes") for size in self.sizes))
        elif self.sizes is not None:
            check_count(self.sizes, "sizes")
        _set(self, gap=_seconds(self.gap, "gap"))
        if not self.gap:
            raise ValueError("gap is more than 0: pieces that come at the same time come as one")
        _check_seed(self.seed)


@dataclass(frozen=True, repr=False)
class Coalesce(Fault):
    """What is said within `seconds` of the first comes together at the end of that time: two replies in one read.

    TCP (Nagle's algorithm), device servers and USB adapters deliver like this.
    """

    seconds: float

    def __post_init__(self) -> None:
        _set(self, seconds=_seconds(self.seconds))


@dataclass(frozen=True, repr=False)
class Drop(_Striking):
    """The message never comes.

    A receiver without flow control overruns, instruments ignore what comes too soon, radio links lose packets. only,
    chance, seed: which messages, as in Delay.
    """


@dataclass(frozen=True, repr=False)
class Garble(_Striking):
    """Other bits in `flips` bytes of the message (in all if it has fewer), its terminator among them.

    A ground loop, a motor nearby, a cable too long, a baud rate a little off. Never the same message again. only,
    chance, seed: which messages, as in Delay; the seed decides which bits, too.
    """

    flips: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(self.flips, "flips")


@dataclass(frozen=True, repr=False)
class Duplicate(_Striking):
    """The message comes again, `times` times; what is said later comes after that.

    Radio repeaters do this, and so do instruments that have not seen an acknowledgement. On a protocol without ids
    nothing tells a repetition from the reply to the next question. gap: seconds from the end of one to the beginning
    of the next. only, chance, seed: which messages, as in Delay.
    """

    times: int = 1
    gap: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if check_count(self.times, "times") > 1_000:
            raise ValueError(f"times is at most 1000, not {self.times}")
        _set(self, gap=_seconds(self.gap, "gap"))


@dataclass(frozen=True, repr=False)
class Echo(Fault):
    """What the host sends comes back, as it came and before any reply to it.

    RS-485 on two wires, whose transceiver hears itself, and instruments made for a terminal. An echo is no message: of
    the faults that follow, only those that change nothing but times and pieces are done to it too.
    """


@dataclass(frozen=True, repr=False)
class Truncate(_Striking):
    """Only the first `keep` bytes of the message come, its terminator not.

    A full buffer, a reset in the midst of a reply. only, chance, seed: which messages, as in Delay.
    """

    keep: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(self.keep, "keep", least=0)


@dataclass(frozen=True, repr=False)
class Silence(Fault):
    """After the first `after` messages it says nothing, though it hears.

    Firmware that hangs, an instrument taken to local mode, a loose wire. for_messages: how many do not come; None: no
    more ever.
    """

    after: int = 0
    _: KW_ONLY
    for_messages: int | None = None

    def __post_init__(self) -> None:
        check_count(self.after, "after", least=0)
        if self.for_messages is not None:
            check_count(self.for_messages, "for_messages")


@dataclass(frozen=True, repr=False)
class Disconnect(Fault):
    """The cable is pulled, once: an adapter that resets, a foot, a connection that the other side gives up.

    after: how many messages come before. in_message: only after that many bytes of the message that follows them, what
    is left of it never comes; None: right after them, or with after=0 as soon as it hears anything. back: seconds until
    it is plugged in again, and what is said meanwhile is lost; None: until you do it.
    """

    after: int = 0
    _: KW_ONLY
    in_message: int | None = None
    back: float | None = None

    def __post_init__(self) -> None:
        check_count(self.after, "after", least=0)
        if self.in_message is not None:
            check_count(self.in_message, "in_message", least=0)
        if self.back is not None:
            _set(self, back=_seconds(self.back, "back"))


@dataclass(frozen=True, repr=False)
class Refuse(Fault):
    """The first `times` attempts to open fail.

    A device server that still holds the last connection, an adapter that is not there yet.
    """

    times: int = 1

    def __post_init__(self) -> None:
        check_count(self.times, "times")


HARMLESS: tuple[Fault, ...] = (Delay(0.02), Jitter(0.01, seed=1), Rate(9600), Fragment(seed=1), Coalesce(0.02))
"""With any of these, and any of them together, every byte comes, in its order: a driver that fails is wrong."""

HARMFUL: tuple[Fault, ...] = (
    Drop(chance=0.5, seed=9),
    Garble(chance=0.5, seed=9),
    Duplicate(chance=0.5, seed=9),
    Echo(),
    Truncate(1, chance=0.5, seed=9),
    Silence(after=1),
    Disconnect(after=1, back=0.05),
    Refuse(),
)
"""With these a driver may fail, but never hang or leak. What chance strikes, it strikes the first message (seed 9)."""

ALL: tuple[Fault, ...] = HARMLESS + HARMFUL


def to_core(faults: Iterable[Fault]) -> list[_core.Fault]:
    """`faults` as Rust has them. Raises TypeError for what is no fault."""
    given: Any = faults
    if isinstance(given, Fault):
        raise TypeError(f"faults is a list: [{given!r}]")
    if not isinstance(given, Iterable):
        raise TypeError(f"faults is a list of faults, not {type(given).__name__}")
    return [_one_to_core(fault) for fault in given]


def rehearse(
    faults: Iterable[Fault], conversation: Iterable[tuple[float, Literal["<", ">"], bytes]]
) -> list[tuple[float, bytes | Literal["disconnect", "reconnect"]]]:
    """What comes of a conversation, in order of time, without any wire.

    conversation: each part with its time in seconds, which never goes back; "<" for a message of the instrument, ">"
    for what the host sends; and the bytes. What comes: the time in seconds, and the bytes that come then, or
    "disconnect" or "reconnect".
    """
    parts, last = [], 0.0
    for at, direction, said in conversation:
        if direction not in ("<", ">"):
            raise ValueError(f"the direction is '<' or '>', not {direction!r}")
        if not isinstance(said, bytes):
            raise TypeError(f"what is said is bytes, not {type(said).__name__}")
        if _seconds(at, "the time") < last:
            raise ValueError(f"times never go back: {at} after {last}")
        parts.append((last := float(at), direction == "<", said))
    came = _core.rehearse(to_core(faults), parts)
    return [(at, said if what == "bytes" else what) for at, what, said in came]  # type: ignore[misc]


def _one_to_core(fault: Any) -> _core.Fault:
    if not isinstance(fault, Fault):
        hint = f"; did you mean {fault.__name__}(...)?" if isinstance(fault, type) and issubclass(fault, Fault) else ""
        raise TypeError(f"a fault is one of labtether.testing.faults, not {fault!r}{hint}")
    return _core.Fault(type(fault).__name__, *fault._values())
