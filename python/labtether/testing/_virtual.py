"""Virtual time: for the length of a test the clock of this process stands still, and jumps to what is due next when
nothing is left to be done."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from labtether import _core
from labtether._checks import check_seconds
from labtether._engine import ensure_started
from labtether._ports import LoopSide
from labtether._time import sleep
from labtether.testing import _virtual_loops, _virtual_threads

__all__ = ["VirtualTime", "attach", "virtual_time"]

PATIENCE = 0.5
"""Seconds for which one waits for what is being closed, before virtual time begins."""

_now: VirtualTime | None = None


def virtual_time() -> VirtualTime:
    """A clock that stands still while anything can run, and jumps when nothing can: a timeout of 30 s takes
    milliseconds, and its result is the same on every run.

        with labtether.testing.virtual_time() as clock:
            with lt.link("sim://balance").sync as balance:
                with pytest.raises(lt.LinkTimeout):
                    balance.query("QUIET", timeout=30)
            assert clock.elapsed == 30.0

    Under pytest it is the fixture `virtual_time`. It is one for the whole process, and is entered before anything is
    opened.

    What runs by it: every timeout, delay, poll, keep-alive, pause and backoff of labtether and of its simulated
    instruments in memory (`transport="memory"`, `sim://`); `lt.sleep`, `lt.sleep_until`, the deadlines of nurseries;
    the times of readings, traces and errors. In loops: `asyncio.sleep`, `asyncio.timeout`, `loop.time()` and
    `call_later` of asyncio's own loops and of uvloop; `trio.sleep` and trio's deadlines in runs that begin within it;
    so anyio's too. What does not: `time.sleep`, `time.time()` and `time.monotonic()` (`clock.now`, `clock.monotonic`
    show the time), timeouts of threading, sockets, ports and pseudo-terminals: the kernel's clock cannot be stopped,
    and opening a link to such a port is refused.

    Who holds it: the thread that entered it, whenever that computes, with all tasks of its loops; a checksum or framing
    of one's own; and for one second at most, any other thread between two waits of labtether's, in `lt.run_sync` or
    `anyio.to_thread`. Not: what other threads compute (a pool of concurrent.futures, and so `asyncio.to_thread`; trio's
    threads), and sockets of other libraries. While a thread waits for another in threading's ways (join, Event, Queue,
    a Future's result), the others have their turn; a bare `threading.Lock` is not seen. A wait without a deadline, for
    something that does not come, is for ever, as it is in real time; Ctrl-C ends it.

    Import uvloop or trio before: one that is imported while it is on is known only by its first await of labtether's.
    """
    return VirtualTime()


class VirtualTime:
    """See virtual_time. Also a clock for trio: `trio.run(main, clock=clock)`; runs that begin within it have it."""

    def __init__(self) -> None:
        self._before = self._shown = self._due = 0.0
        self._begun: float | None = None
        self._ended: float | None = None
        self._loops: list[_virtual_loops.Attached] = []

    def __enter__(self) -> Self:
        """Begin. Raises RuntimeError while anything is open that lives by the real time, and where it is on already."""
        global _now
        if self._begun is not None:
            raise RuntimeError("virtual time is entered once; make another")
        ensure_started()
        _begin()
        self._begun, _now = time.monotonic(), self
        try:
            _virtual_threads.begin()
            _virtual_loops.begin(self)
            _begin_trio(self)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End. Time goes on from here at its real pace for what is still open; when all of it has been closed, the
        times of labtether are the real ones again."""
        global _now
        if _now is not self:
            return
        self._before, self._ended, _now = self.elapsed, time.monotonic(), None
        _core.end_virtual_time()
        _end_trio()
        _virtual_loops.end(self)
        _virtual_threads.end()

    @property
    def elapsed(self) -> float:
        """Virtual seconds that have passed since it was entered."""
        passed = _core.virtual_seconds() if _now is self else None
        return self._before if passed is None else passed

    @property
    def now(self) -> float:
        """The present time, in virtual seconds since the epoch, as in `reading.time`: it begins on a fixed day."""
        return _core.clock_now()[0]

    @property
    def monotonic(self) -> float:
        """The present time on the scale of `reading.monotonic`."""
        return _core.monotonic()

    def advance(self, seconds: float) -> None:
        """Let so many virtual seconds pass, with all that is due in them; blocking, for code without a loop. In a loop
        it is `await lt.sleep(seconds)`. RuntimeError there, or where this is not on."""
        span = check_seconds(seconds, "seconds", finite=True)
        if span is None:
            raise TypeError("seconds is a number of seconds, not None")
        if _now is not self:
            raise RuntimeError("virtual time is not on")
        if _core.runs_a_loop():
            raise RuntimeError("a loop runs in this thread: await lt.sleep(seconds) instead")
        _core.block_on(sleep, span)

    def passed(self) -> float:
        """The same as elapsed; but it goes on when this has been left, at the real pace."""
        return self.elapsed if self._ended is None else self._before + time.monotonic() - self._ended

    @property
    def is_on(self) -> bool:
        """Whether it has been entered, and not left."""
        return _now is self

    # What trio wants of a clock.

    def start_clock(self) -> None:
        """Called by trio when a run begins."""
        from labtether.testing._virtual_trio import begin_run

        begin_run()

    def current_time(self) -> float:
        """The time in a trio run."""
        now = self.passed()
        # Time is kept in whole nanoseconds: a deadline between two of them has come with the one that is nearest.
        if now < self._due <= now + 1e-9:
            now = self._due
        self._shown = max(self._shown, now)
        return self._shown

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """For how long trio may wait before it looks again."""
        self._due = deadline
        left = max(0.0, deadline - self.current_time())
        return left if left <= 0 or not self.is_on else FAR

    def __repr__(self) -> str:
        if self._begun is None:
            return "<virtual_time not entered>"
        took = (time.monotonic() if self._ended is None else self._ended) - self._begun
        state = "standing" if self.is_on else "over"
        return f"<virtual_time {state}, {self.elapsed:.9g} s in {took:.2g} s>"


FAR = 1e6
"""Seconds for which trio waits really, when it is woken before."""


def _begin() -> None:
    """As soon as what is being closed has been."""
    give_up = time.monotonic() + PATIENCE
    while there := _core.begin_virtual_time():
        if time.monotonic() > give_up:
            raise RuntimeError(f"virtual time begins before anything is opened; there is {', '.join(there)}")
        time.sleep(0.001)


def attach(side: LoopSide) -> None:
    """A loop is met for the first time."""
    if _now is not None:
        _virtual_loops.attach(_now, side)


def _begin_trio(clock: VirtualTime) -> None:
    if "trio" in sys.modules:
        from labtether.testing import _virtual_trio

        _virtual_trio.begin(clock)


def _end_trio() -> None:
    if "trio" in sys.modules:
        from labtether.testing import _virtual_trio

        _virtual_trio.end()
