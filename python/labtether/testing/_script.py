"""Simulated instruments that follow a script: what they expect in order, what they know at any time, what they say.

The script is played in Rust (`src/simulate/script.rs`); here it is written.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from types import EllipsisType
from typing import Any, TypeAlias

from labtether import _core
from labtether._checks import check_count, check_span
from labtether._checksums import Crc
from labtether._framing import Encoder, Framed, FramingLike, Lines, as_framing
from labtether._framings import ModbusRtu, UntilQuiet
from labtether._values import Raw
from labtether.testing._faulty import core_faults
from labtether.testing._report import ProtocolMismatch, Report, caller, settled
from labtether.testing._said import Sayer, asks, names_in
from labtether.testing._simulated import SimulatedInstrument, serving
from labtether.testing.faults import Fault, Fragment

__all__ = ["CommandLike", "ScriptedInstrument", "Step", "script"]

CommandLike: TypeAlias = "str | bytes | re.Pattern[str] | re.Pattern[bytes]"
"""A command as it is, or a pattern; see `ScriptedInstrument.expect`."""
Saying: TypeAlias = "str | bytes | Raw | Callable[[Any], str | bytes | Raw | None]"
"""What is said to a command; or a function of the match that returns it, or None for nothing."""

FRAGMENT_GAP = 0.005
"""Between two fragments of a reply, so that they can be read one by one."""
QUIET = 0.02
"""Without a framing, and of Modbus, a command is what comes until so many seconds of silence."""


class ScriptedInstrument(SimulatedInstrument):
    """An instrument that follows a script, switched on, with nothing in its script yet.

    name: in what is told about it. framing: as on the host's link: what commands and replies end in; where the two
    differ, the instrument hears `send_terminator` and says the first terminator. None: raw bytes, and a command is what
    comes until 20 ms of silence. transport: where it is; see `SimulatedInstrument`. faults: what goes wrong on the way
    to the host; values from `labtether.testing.faults`, one after another. greeting: what it says when it is switched
    on by `power_cycle()`, and over a network to each host. port: of a network; 0: any that is free.

    Raises TypeError or ValueError for bad arguments, OSError if there is no such place.

    Its steps may be written while it is used; `check()` says how it went.
    """

    def __init__(
        self,
        name: str = "instrument",
        framing: FramingLike | None = "\n",
        *,
        transport: str = "pty",
        faults: Sequence[Fault] = (),
        greeting: str | bytes | Raw | None = None,
        port: int = 0,
    ) -> None:
        framed = as_framing(framing)
        self._hears: Framed = _mirrored(framed)
        self._sayer = Sayer(self._hears, Encoder(framed.encoding if framed is not None else None))
        self._script = _core.Script(self._hears.core)
        self._block: int | None = None
        self._checked = False
        self.state: MutableMapping[str, str] = _State(self._script, self._sayer)
        if greeting is not None:
            self._script.greeting([self._sayer.part(greeting, asked=False)])
        number = check_count(port, "port", least=0)
        make = serving(_core.Simulation.script, self._script, faults=core_faults(faults, transport))
        super().__init__(make, name, transport, framed, number)

    # -- writing the script --------------------------------------------------------------------------------------------

    def expect(self, command: CommandLike) -> Step:
        """`command` has to come, once, after what was expected before. What is said to it is added to the step.

        A str or bytes is the command as it is; one that holds any of `( [ \\ | ^ $`, `.*` or `.+` is also a regular
        expression, which has to match the whole command. A compiled pattern always is one.
        """
        return self._step(command, 1, 1, ordered=True)

    def when(self, command: CommandLike) -> Step:
        """What is said to `command` at any time, any number of times, unless it is expected just then. Of several that
        match, the one that was written first."""
        return self._step(command, 0, None, ordered=False)

    def _step(self, command: CommandLike, least: int, most: int | None, *, ordered: bool) -> Step:
        exactly, like, pattern = self._sayer.command(command)
        shown = command.pattern if isinstance(command, re.Pattern) else command
        written = shown.decode("latin-1") if isinstance(shown, bytes) else shown
        among = self._block if ordered else None
        number = self._script.step(exactly, like, written, caller(), least, most, ordered, among)
        return Step(self, number, pattern)

    @contextlib.contextmanager
    def any_order(self) -> Iterator[None]:
        """What is expected in this block may come in any order; all of it before what is expected after it."""
        if self._block is not None:
            raise RuntimeError("a block in any order cannot be inside another one")
        self._block = self._script.any_order()
        try:
            yield
        finally:
            self._block = None

    def push(self, message: str | bytes | Raw, after: float | None = None) -> None:
        """Say `message` of the instrument's own accord. after: None, now; else a step in the order, so many seconds
        after the step before it (at once, if there is none)."""
        seconds = 0.0 if after is None else check_span(after, "after")
        self._script.push([self._sayer.part(message, after=seconds, asked=False)], after is None)
        self._running().nudge()

    def busy(self, reply: str | bytes | Raw, *, times: int | None = None, seconds: float | None = None) -> None:
        """Be busy from now on: say `reply` to the next `times` commands, or to whatever comes for so many seconds.
        None of these commands counts as one that was expected."""
        if (times is None) == (seconds is None):
            raise TypeError("busy takes times= or seconds=, one of the two")
        count = None if times is None else check_count(times, "times")
        lasts = None if seconds is None else check_span(seconds, "seconds")
        self._script.busy([self._sayer.part(reply)], count, lasts)
        self._running().nudge()

    def otherwise(self, reply: str | bytes | Raw, *, allowed: bool = False) -> None:
        """What is said to a command that nobody expects. It still fails the test, unless that is allowed."""
        self._script.otherwise([self._sayer.part(reply)], bool(allowed))

    # -- how it went ---------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise ProtocolMismatch unless everything expected has come, nothing else, and every reply was read.

        What the host has not read is known of pseudo-terminals and in memory. A message that was pushed may stay
        unread.
        """
        self._checked = True
        report = settled(self.report)
        if not report.is_clean:
            raise ProtocolMismatch(report)

    def report(self) -> Report:
        """How it went so far."""
        standing = self.standing()  # first: whatever was written until now has been heard then
        return Report.of(self.name, self._script.report(), standing, self.wire, self._hears)

    def stop(self) -> None:
        """Switch it off. What it has heard, and how it went, can still be asked. May be called twice."""
        super().stop()
        self._script.close()


script = ScriptedInstrument
"""As tests write it: `with script("psu", framing="\\n") as psu:`."""


class Step:
    """One step of a script; its methods return it, so that they can be chained. Made by `expect` and `when`."""

    __slots__ = ("_instrument", "_number", "_pattern")

    def __init__(self, instrument: ScriptedInstrument, number: int, pattern: re.Pattern[Any]) -> None:
        self._instrument = instrument
        self._number = number
        self._pattern = pattern

    def reply(
        self,
        message: Saying,
        after: float = 0.0,
        fragments: Sequence[int] | None = None,
        faults: Sequence[Fault] = (),
    ) -> Step:
        """Say `message`; called again, another one after it.

        message: a str in which `{name}` is replaced by that group of the pattern, or else by that state (everything
        else in braces stays); bytes as they are; or a function that is called with the match (a `re.Match`) each time,
        on a thread of its own. All are framed; `lt.Raw(...)` is not. after: seconds after the part before, or the
        command. fragments: it comes in pieces of these sizes and the rest, 5 ms apart. faults: what goes wrong with
        this message alone.
        """
        seconds = check_span(after, "after")
        cores = core_faults(faults, self._instrument.transport)
        if fragments is not None:
            cores.append(_fragments(fragments))
        sayer = self._instrument._sayer
        if isinstance(message, str) and names_in(message) and asks(self._instrument._hears):
            # What is filled in has to be framed by code of the user's own, which must not run in the middle of Rust.
            message = sayer.filled(message, self._instrument.state)
        if callable(message):
            part = _core.Part.function(sayer.function(message, self._pattern), seconds, cores)
        else:
            part = sayer.part(message, after=seconds, faults=cores)
        self._instrument._script.add(self._number, part)
        return self

    def push(self, message: str | bytes | Raw, after: float = 0.0) -> Step:
        """Say `message` of the instrument's own accord, so many seconds after the part before."""
        seconds = check_span(after, "after")
        part = self._instrument._sayer.part(message, after=seconds, asked=False)
        self._instrument._script.add(self._number, part)
        return self

    def silence(self) -> Step:
        """Say nothing, on purpose: a step without a reply says the same, but does not show that it is meant."""
        return self

    def disconnect(self, after: float = 0.0, back: float | None = None) -> Step:
        """The cable comes off, so many seconds after the part before; back: and is on again that much later."""
        self._instrument._script.add(self._number, _core.Part.cable(False, check_span(after, "after")))
        if back is not None:
            self._instrument._script.add(self._number, _core.Part.cable(True, check_span(back, "back")))
        return self

    def times(self, least: int, most: int | EllipsisType | None = ...) -> Step:
        """It has to come `least` times and may come `most` times; one number: exactly so often; None: no limit."""
        fewest = check_count(least, "least", least=0)
        highest = fewest if isinstance(most, EllipsisType) else most
        if highest is not None and check_count(highest, "most") < fewest:
            raise ValueError(f"most is at least least ({fewest}), not {highest}")
        self._instrument._script.times(self._number, fewest, highest)
        return self

    def optional(self) -> Step:
        """It may come, once, and need not."""
        return self.times(0, 1)

    def set(self, *groups: str, **values: str) -> Step:
        """Each time, set states: those named to the groups of their names, others to a text with `{group}` in it."""
        for group in groups:
            if group not in self._pattern.groupindex:
                raise ValueError(f"the command's pattern has no group {group!r}")
        for name, value in ({group: f"{{{group}}}" for group in groups} | values).items():
            self._instrument._script.sets(self._number, name, self._instrument._sayer.text(value))
        return self

    def __repr__(self) -> str:
        return f"<Step {self._number + 1} of {self._instrument.name}>"


class _State(MutableMapping[str, str]):
    """What `{name}` in a reply reads, kept in Rust."""

    def __init__(self, script: _core.Script, sayer: Sayer) -> None:
        self._script = script
        self._sayer = sayer

    def __getitem__(self, name: str) -> str:
        value = self._script.get(name)
        if value is None:
            raise KeyError(name)
        return value.decode(self._sayer.encoding)

    def __setitem__(self, name: str, value: str) -> None:
        if not name.isidentifier():
            raise ValueError(f"a state's name is an identifier, not {name!r}")
        self._script.put(name, self._sayer.text(value))

    def __delitem__(self, name: str) -> None:
        if not self._script.put(name, None):
            raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._script.names())

    def __len__(self) -> int:
        return len(self._script.names())

    def __repr__(self) -> str:
        return repr(dict(self))


def _mirrored(framing: Framed | None) -> Framed:
    """The instrument's side of the host's framing."""
    if framing is None:
        return UntilQuiet(QUIET)
    if isinstance(framing, ModbusRtu):
        # What a slave hears has other lengths than what it says; its specification ends both by silence.
        return UntilQuiet(QUIET, checksum=Crc("CRC-16/MODBUS"))
    if isinstance(framing, Lines):
        said = framing.terminators[0]
        heard = framing.send_terminator if framing.send_terminator is not None else said
        if not heard:
            raise ValueError("commands that end in nothing (send_terminator='') cannot be told apart: framing=None")
        return Lines(
            heard,
            send_terminator=said,
            encoding=framing.encoding,
            max_length=framing.max_length,
            escape=framing.escape,
            checksum=framing.checksum,
        )
    return framing


def _fragments(sizes: Sequence[int]) -> _core.Fault:
    return core_faults([Fragment(list(sizes), gap=FRAGMENT_GAP)], "pty")[0]
