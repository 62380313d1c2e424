"""Conversations played again. They are compared as streams of bytes (`src/simulate/player.rs`): how a host cuts what it
sends makes no difference, and each reply comes when all that came before it has come again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import EllipsisType

from labtether import _core
from labtether._checks import check_count, check_seconds
from labtether._escapes import escaped
from labtether._framing import Framed, FramingLike, Lines, as_framing
from labtether._values import TraceEvent
from labtether.testing._faulty import core_faults
from labtether.testing._recorded import Recorded
from labtether.testing._report import ProtocolMismatch, settled, wire_log
from labtether.testing._simulated import SimulatedInstrument, serving
from labtether.testing._sources import Source, as_conversation
from labtether.testing._transcript import Pause, Said, Sent, Step, Transcript
from labtether.testing.faults import Fault

__all__ = ["Cue", "ReplayReport", "ReplayedInstrument", "replay"]

BESIDE = 24
"""So many bytes around the first difference are shown."""
LEFT = 5
"""So many messages that the host has not sent are shown."""


@dataclass(frozen=True, slots=True)
class Cue:
    """One thing that happens in a replay. after: None: the host sends `data`; else the instrument says it, so many
    seconds after what happened before."""

    after: float | None
    data: bytes


class ReplayedInstrument(SimulatedInstrument):
    """An instrument that plays a conversation again, switched on.

    source: a transcript (its text, or a file), a recording, or another program's file; see `load`. name: None: the
    source's own. transport: where it is; see SimulatedInstrument. pace: 1.0: silences as they were; 0: none; 2: twice
    as long. again: after its end it begins once more, and over a network for each host. framing: of links to it from
    `link()`; unless given, the source's own. faults: what goes wrong on the way to the host. port: of a network.

    What the instrument says before it has heard anything is said to a host that connects; on a pseudo-terminal, where
    nobody sees one, as soon as it is switched on (and a host that opens it throws away what was said before).

    Raises OSError, or ValueError that names file and line for what is no conversation; TypeError or ValueError for bad
    arguments.

    `check()` says how it went.
    """

    def __init__(
        self,
        source: Source,
        *,
        name: str | None = None,
        transport: str = "pty",
        pace: float = 1.0,
        again: bool = False,
        framing: FramingLike | EllipsisType | None = ...,
        faults: Sequence[Fault] = (),
        port: int = 0,
    ) -> None:
        conversation = as_conversation(source)
        self.source = conversation.source
        steps = conversation.steps() if isinstance(conversation, Recorded) else conversation.steps
        speed = check_seconds(pace, "pace", finite=True)
        if speed is None:
            raise TypeError("pace is a number, not None")
        self._cues = cues(steps, speed)
        self._again = bool(again)
        ends = conversation.transcript() if isinstance(conversation, Recorded) else conversation
        self._sent_end = ends.sent_end
        framed = _framing(ends) if isinstance(framing, EllipsisType) else as_framing(framing)
        self._player = _core.Player([(cue.after, cue.data) for cue in self._cues], self._again, transport != "pty")
        number = check_count(port, "port", least=0)
        make = serving(_core.Simulation.player, self._player, faults=core_faults(faults, transport))
        super().__init__(make, name or conversation.name or "instrument", transport, framed, number)

    def _heard(self) -> list[bytes]:
        """In messages, where they have an end; else as it came."""
        pieces = [event.data for event in self.wire if event.direction == ">"]
        if not self._sent_end:
            return pieces
        *whole, rest = b"".join(pieces).split(self._sent_end)
        return [*whole, rest] if rest else whole

    def report(self) -> ReplayReport:
        """How it went so far."""
        self.standing()  # whatever was written until now has been heard then
        heard, cue, within, stray, followed = self._player.progress()
        left = [one.data for one in self._cues[cue:] if one.after is None]
        if left:
            left[0] = left[0][within:]
        before = b"".join(one.data for one in self._cues[:cue] if one.after is None)
        if within:
            before += self._cues[cue].data[:within]
        return ReplayReport(
            self.name,
            self.source,
            heard,
            before,
            tuple(left),
            stray,
            followed,
            self._again,
            self._sent_end,
            tuple(self.wire),
        )

    def check(self) -> None:
        """Raise ProtocolMismatch unless the host has sent all that it did when this was written down, and nothing
        else. (With `again`: nothing else.)"""
        report = settled(self.report)
        if not report.is_clean:
            raise ProtocolMismatch(report)


replay = ReplayedInstrument
"""As tests write it: `with replay("scale.txt") as scale:`."""


@dataclass(frozen=True)
class ReplayReport:
    """How a replay went. offset: bytes heard as they were expected. before: those. left: what was still to be heard, in
    the pieces in which it is written. stray: what was heard instead, from the first wrong byte on; None: nothing.
    followed: with `again`: how often that was so before, and the host then began again."""

    name: str
    source: str
    offset: int
    before: bytes
    left: tuple[bytes, ...]
    stray: bytes | None
    followed: int
    again: bool
    sent_end: bytes
    wire: tuple[TraceEvent, ...]

    @property
    def is_clean(self) -> bool:
        """Whether the host sent what it is written to, and all of it."""
        return self.stray is None and not self.followed and (self.again or not self.left)

    @property
    def is_late(self) -> bool:
        """Whether nothing is wrong but that the host has not sent all of it yet."""
        return self.stray is None and not self.followed and bool(self.left) and not self.again

    def __str__(self) -> str:
        if self.is_clean:
            return f"{self.name}: as in {self.source}, {self.offset} bytes heard"
        if self.stray is not None:
            lines = self.difference()
        elif self.followed:
            often = "once" if self.followed == 1 else f"{self.followed} times"
            lines = [f"{self.name}: {often} the host sent something else than {self.source} has, and began again"]
        else:
            lines = self._ended_early()
        if hint := self.hint:
            lines += ["", f"hint: {hint}"]
        return "\n".join([*lines, "", *wire_log(self.wire, f"the wire of {self.name}")])

    def difference(self) -> list[str]:
        """What was expected above what was heard, with a mark where they part."""
        same = escaped(self.before[-BESIDE:])
        wanted, stray = b"".join(self.left), self.stray or b""
        expected = f"{same}{escaped(wanted[:BESIDE])}" if wanted else f"{same}  (and nothing more)"
        heard = f"{same}{escaped(stray[:BESIDE])}"
        cut = "... " if len(self.before) > BESIDE else ""
        return [
            f"{self.name}: the host sent something else at byte {self.offset} of what is written in {self.source}; "
            "from there on nothing was said",
            f"  expected  {cut}{expected}{' ...' if len(wanted) > BESIDE else ''}",
            f"  heard     {cut}{heard}{' ...' if len(stray) > BESIDE else ''}",
            f"            {' ' * len(cut + same)}^",
        ]

    def _ended_early(self) -> list[str]:
        count = len(self.left)
        return [
            f"{self.name}: the host has not sent all that is written in {self.source}: {self.offset} bytes were heard, "
            f"{sum(map(len, self.left))} are missing",
            *(f"  - {escaped(data)}" for data in self.left[:LEFT]),
            *([f"  ... {count - LEFT} more"] if count > LEFT else []),
        ]

    @property
    def hint(self) -> str:
        """What may be the cause, where only the ends of messages differ."""
        wanted, stray = b"".join(self.left), self.stray
        if stray is None:
            body = self.left[0].rstrip(b"\r\n") if self.left else b"-"
            return "" if body else f"only the end of a message is missing: {escaped(self.left[0])}"
        expected, heard = _end_of(wanted), _end_of(stray)
        if expected != heard and (expected or heard):
            return (
                f"only the terminator differs: {escaped(expected) or 'none'} expected, {escaped(heard) or 'none'} heard"
            )
        return ""


def _end_of(data: bytes) -> bytes:
    """The line ends that `data` begins with."""
    return data[: len(data) - len(data.lstrip(b"\r\n"))]


def cues(steps: Iterable[Step], pace: float = 1.0) -> list[Cue]:
    """What a player has to know of a conversation. A silence before what the host sends is the host's own."""
    found: list[Cue] = []
    silence = 0.0
    for step in steps:
        match step:
            case Pause(seconds):
                silence += seconds
            case Sent(data):
                found.append(Cue(None, data))
                silence = 0.0
            case Said(data):
                found.append(Cue(min(silence * pace, math.inf), data))
                silence = 0.0
            case _:
                pass
    return found


def _framing(transcript: Transcript) -> Framed | None:
    """That of a host which talks so."""
    if not transcript.said_end or not transcript.sent_end:
        return None
    return Lines(transcript.said_end, send_terminator=transcript.sent_end)
