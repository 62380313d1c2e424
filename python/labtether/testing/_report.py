"""What went wrong in a conversation with a scripted instrument, in words: what was expected beside what was heard, what
would have come next, a hint, and the last of the wire."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from labtether._framed import Framed
from labtether._lines import Lines
from labtether._values import TraceEvent
from labtether.testing._aligned import aligned
from labtether.testing._simulated import Standing

__all__ = ["Expected", "Heard", "ProtocolMismatch", "Report", "caller", "readable", "settled", "wire_log"]

PATIENCE = 0.25
"""Seconds for what the host has written a moment ago: the system hands it over in its own time."""
LAST = 40
"""So many pieces of the wire are shown."""
SHOWN = 30
"""So many lines of what was expected and heard are shown around what is wrong."""


class _Report(Protocol):
    @property
    def is_late(self) -> bool: ...


R = TypeVar("R", bound=_Report)


class ProtocolMismatch(AssertionError):
    """A conversation did not go as its script (or its recording) has it. `report` has the parts: a Report, or the
    ReplayReport of a replay."""

    def __init__(self, report: Any) -> None:
        super().__init__(str(report))
        self.report = report

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.report,)


@dataclass(frozen=True, slots=True)
class Expected:
    """A step of a script. where: file and line. least, most: how often it has to and may come; None: no limit.
    count: how often it has."""

    command: str
    where: str
    least: int
    most: int | None
    count: int

    def __str__(self) -> str:
        many = "" if self.least == self.most == 1 else f" ({_often(self.least, self.most)})"
        return f"{self.command}{many}"


@dataclass(frozen=True, slots=True)
class Heard:
    """A command. verdict: "step", "busy", "otherwise" or "unexpected". step: the number of the step that took it.
    awaited: the numbers of those that would have been next."""

    command: bytes
    verdict: str
    step: int | None
    awaited: tuple[int, ...]


@dataclass(frozen=True)
class Report:
    """How a conversation went. order: the steps that have a place in it, those of a block in any order together."""

    name: str
    steps: tuple[Expected, ...]
    order: tuple[tuple[int, ...], ...]
    heard: tuple[Heard, ...]
    raised: tuple[tuple[bytes, str, BaseException | None], ...]
    standing: Standing
    wire: tuple[TraceEvent, ...]
    framing: Framed

    @staticmethod
    def of(
        name: str,
        told: Any,
        standing: Standing,
        wire: Iterable[TraceEvent],
        framing: Framed,
    ) -> Report:
        """From what Rust tells."""
        steps, order, _rules, heard, raised = told
        return Report(
            name,
            tuple(Expected(*step) for step in steps),
            tuple(tuple(place) for place in order),
            tuple(Heard(command, kind, step, tuple(awaited)) for command, kind, step, awaited in heard),
            tuple((command, text, error) for command, _what, text, error in raised),
            standing,
            tuple(wire),
            framing,
        )

    @property
    def unmet(self) -> list[Expected]:
        """What was expected and has not come, or not often enough."""
        return [step for step in self.steps if step.count < step.least]

    @property
    def unexpected(self) -> list[Heard]:
        """What nobody expected."""
        return [heard for heard in self.heard if heard.verdict == "unexpected"]

    @property
    def unread(self) -> bytes:
        """What was said in reply and the host has not read."""
        return self.standing.unread if self.standing.unread_reply else b""

    @property
    def is_clean(self) -> bool:
        """Whether everything expected has come, nothing else, every reply was read, and no reply function raised."""
        return not (self.unmet or self.unexpected or self.unread or self.standing.owes or self.raised)

    @property
    def is_late(self) -> bool:
        """Whether nothing is wrong but that something expected has not come yet."""
        return bool(self.unmet) and not (self.unexpected or self.raised)

    def __str__(self) -> str:
        if self.is_clean:
            return f"{self.name}: as written, {len(self.heard)} commands"
        parts = [self._headline(), *self._told()]
        if self.unmet or self.unexpected:
            parts += ["", *self._beside(), *self._next()]
        if hint := self.hint:
            parts += ["", f"hint: {hint}"]
        parts += ["", *wire_log(self.wire, f"the wire of {self.name}")]
        return "\n".join(parts)

    def _headline(self) -> str:
        wrong = []
        if self.unexpected:
            wrong.append(f"{len(self.unexpected)} heard that nobody expected")
        if self.unmet:
            wrong.append(f"{len(self.unmet)} expected and not heard")
        if self.unread:
            wrong.append("a reply that nobody read")
        if self.standing.owes:
            wrong.append("a reply that nobody waited for")
        if self.raised:
            wrong.append("a reply function that raised")
        return f"{self.name}: {', '.join(wrong)}"

    def _told(self) -> list[str]:
        told = [f"  the reply to {readable(command)}: {text}" for command, text, _ in self.raised]
        if self.unread:
            told.append(f"  not read: {readable(self.unread)}")
        if self.standing.partial:
            told.append(f"  heard, and no whole command: {readable(self.standing.partial)}")
        return told

    def _beside(self) -> list[str]:
        """What was expected beside what was heard."""
        rows = aligned(self._wanted(), [heard for heard in self.heard if self._counts(heard)], self.steps)
        left = max([len("expected"), *(len(row.expected) for row in rows)])
        lines = [f"    {'expected':<{left}}   heard"]
        lines += [f"  {row.sign} {row.expected:<{left}}   {row.heard}".rstrip() for row in rows]
        wrong = [index for index, row in enumerate(rows, 1) if row.sign != "="]
        first = max(1, (wrong[0] if wrong else len(lines)) - SHOWN // 2)
        shown = lines[first : first + SHOWN]
        before = [f"    ... {first - 1} more"] if first > 1 else []
        after = len(lines) - first - len(shown)
        return [lines[0], *before, *shown, *([f"    ... {after} more"] if after > 0 else [])]

    def _wanted(self) -> list[int]:
        """The steps in their order, each as often as it has to come; those in any order as they came."""
        came = [heard.step for heard in self.heard if heard.step is not None]
        wanted: list[int] = []
        for place in self.order:
            among = sorted(place, key=lambda step: came.index(step) if step in came else len(came))
            for step in among:
                wanted += [step] * max(self.steps[step].least, self.steps[step].count)
        return wanted

    def _counts(self, heard: Heard) -> bool:
        ordered = {step for place in self.order for step in place}
        return heard.verdict == "unexpected" or (heard.step is not None and heard.step in ordered)

    def _next(self) -> list[str]:
        if not self.unexpected:
            return []
        first = self.unexpected[0]
        if not first.awaited:
            return ["", f"  nothing more was expected when {readable(first.command)} came"]
        lines = ["", f"  when {readable(first.command)} came, this was expected:"]
        lines += [f"    {self.steps[step]}   ({self.steps[step].where})" for step in first.awaited[:5]]
        if len(first.awaited) > 5:
            lines.append(f"    ... {len(first.awaited) - 5} more")
        return lines

    @property
    def hint(self) -> str:
        """What may be the cause, where only the ends of messages differ."""
        ends = self.framing.terminators if isinstance(self.framing, Lines) else ()
        shown = " or ".join(repr(end.decode("latin-1")) for end in ends)
        wanted = {step.command for step in self.steps}
        if ends and (partial := self.standing.partial):
            body = partial.rstrip(b"\r\n\0;").decode("latin-1")
            tail = partial[len(body) :].decode("latin-1")
            if body in wanted or any(body.startswith(command) for command in wanted if command):
                what = f"ends its commands in {tail!r}" if tail else "adds no terminator"
                return f"the host {what}, and this instrument waits for {shown}: only the terminator differs"
        for heard in self.unexpected:
            text = heard.command.decode("latin-1")
            bare = text.strip("\r\n\0\t ")
            if bare != text and bare in wanted:
                where = f"ends in {shown}" if ends else "has no terminator"
                return f"{text!r} is {bare!r} but for its end: a command {where} here; only the terminator differs"
            for command in wanted:
                if command != bare and command.strip("\r\n\0\t ") == bare:
                    return f"the script expects {command!r}, with a terminator: the framing takes that away already"
                if command.lower() == bare.lower() and command != bare:
                    return f"{bare!r} is {command!r} but for upper and lower case"
        return ""


def _often(least: int, most: int | None) -> str:
    if least == most:
        return f"{least} times"
    if most is None:
        return f"{least} times or more" if least else "any number of times"
    return "optional" if (least, most) == (0, 1) else f"{least} to {most} times"


def readable(data: bytes | str) -> str:
    """Bytes as a transcript has them: text, with escapes for the rest."""
    text = data.decode("latin-1") if isinstance(data, (bytes, bytearray)) else data
    return repr(text)


def wire_log(events: Sequence[TraceEvent], title: str) -> list[str]:
    """The last of a wire, in lines, with times in seconds since its first event."""
    if not events:
        return [f"{title}: nothing went over it"]
    start, left = events[0].monotonic, len(events) - LAST
    lines = [f"{title} (seconds; > heard, < said):"] + ([f"  ... {left} more"] if left > 0 else [])
    for event in events[-LAST:]:
        what = event.note if event.direction == "!" else readable(event.data)
        lines.append(f"  {event.monotonic - start:9.4f} {event.direction} {what}")
    return lines


def settled(report: Callable[[], R]) -> R:
    """A report, when nothing is late any more, or was for long enough."""
    give_up = time.monotonic() + PATIENCE
    while (told := report()).is_late and time.monotonic() < give_up:
        time.sleep(0.002)
    return told


def caller() -> str:
    """File and line of who wrote this step: the first frame that is not ours."""
    here = os.path.dirname(os.path.abspath(__file__))
    frame = sys._getframe(1)
    while frame.f_back is not None and os.path.abspath(frame.f_code.co_filename).startswith(here):
        frame = frame.f_back
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
