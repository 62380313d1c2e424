"""Virtual time in asyncio's loops: their own clock is ours, and they say when they have nothing to do."""

from __future__ import annotations

import asyncio
import heapq
import sys
import weakref
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any

from labtether import _core
from labtether._ports import LoopSide, side_of

if TYPE_CHECKING:
    from labtether.testing._virtual import VirtualTime

__all__ = ["Attached", "attach", "begin", "end"]

SLICE = 0.1
"""Seconds of a real wait, so that an interrupt is seen: a select is not woken by Jupyter's Stop button."""

ROUNDS = 3
"""Turns of a loop in which nothing was called, before it is taken for idle."""

Attached = Any
"""A loop that goes by our clock: `side()`, `detach()`."""
_running: dict[Any, Callable[[Any], None]] = {}


def begin(clock: VirtualTime) -> None:
    """From now on, every loop that begins to run is attached; and the one that runs here."""
    kinds: list[Any] = [asyncio.BaseEventLoop]
    if "uvloop" in sys.modules:
        kinds.append(sys.modules["uvloop"].Loop)
    for kind in kinds:
        _running[kind] = kind.run_forever
        kind.run_forever = _attached_to(clock, kind.run_forever)
    here = asyncio._get_running_loop()
    if here is not None:
        attach(clock, side_of(here))


def end(clock: VirtualTime) -> None:
    """Loops go by the real time again."""
    for kind, run_forever in _running.items():
        kind.run_forever = run_forever
    _running.clear()
    for known in clock._loops:
        known.detach()
    clock._loops.clear()


def _attached_to(clock: VirtualTime, run_forever: Callable[[Any], None]) -> Callable[[Any], None]:
    def run(loop: asyncio.AbstractEventLoop) -> None:
        if clock.is_on and not loop.is_closed() and not loop.is_running():
            attach(clock, side_of(loop))
        run_forever(loop)

    return run


def attach(clock: VirtualTime, side: LoopSide) -> None:
    """`side`'s loop goes by `clock` from now on."""
    if any(known.side() is side for known in clock._loops):
        return
    loop: Any = side.loop
    selector = getattr(loop, "_selector", None)
    kind = _Selecting if isinstance(loop, asyncio.BaseEventLoop) and selector is not None else _Turning
    clock._loops.append(kind(clock, side))


class _LoopTime:
    """The clock of a loop: goes on where the real one was, and stays with the loop."""

    def __init__(self, clock: VirtualTime, before: Callable[[], float]) -> None:
        self.clock = clock
        self.offset = before() - clock.passed()

    def __call__(self) -> float:
        return self.offset + self.clock.passed()


class _Selecting:
    """One of asyncio's own: it has nothing to do while it waits in its selector."""

    def __init__(self, clock: VirtualTime, side: LoopSide) -> None:
        self.side = weakref.ref(side)
        self.beats, side.beats = side.beats, False
        loop: Any = side.loop
        loop.time = _LoopTime(clock, loop.time)
        self.selector = loop._selector
        self.selector.select = _idling(clock, weakref.ref(side), self.selector.select)
        port, soon = side.port, loop.call_soon_threadsafe

        def call_soon_threadsafe(*args: Any, **options: Any) -> asyncio.Handle:
            port.call()
            handle: asyncio.Handle = soon(*args, **options)
            return handle

        loop.call_soon_threadsafe = call_soon_threadsafe

    def detach(self) -> None:
        self.selector.__dict__.pop("select", None)
        side = self.side()
        if side is not None:
            side.loop.__dict__.pop("call_soon_threadsafe", None)
            side.beats = self.beats


def _idling(clock: VirtualTime, of: weakref.ref[LoopSide], select: Callable[..., Any]) -> Callable[..., Any]:
    def wait(timeout: float | None = None) -> Any:
        side = of()
        if side is None or not clock.is_on or (timeout is not None and timeout <= 0):
            return select(timeout)
        port = side.port
        ready = select(0)
        if ready or not port.rest(timeout):
            return ready
        try:
            while not ready:
                # Whatever it waits for rings: also the time that it has set.
                ready = select(SLICE)
        finally:
            port.work()
        return ready

    return wait


class _Turning:
    """Any other, uvloop's above all, where nobody can look: it has nothing to do when nothing was called for some of
    its turns. Its timers are kept here."""

    def __init__(self, clock: VirtualTime, side: LoopSide) -> None:
        self.side = weakref.ref(side)
        self.clock = clock
        self.beats, side.beats = side.beats, False
        self.loop: Any = side.loop
        self.timers: list[asyncio.TimerHandle] = []
        self.called = self.seen = self.quiet = 0
        self.watching = False
        loop: Any = self.loop
        self.soon: Callable[..., asyncio.Handle] = type(loop).call_soon.__get__(loop)
        loop.time = self.time = _LoopTime(clock, loop.time)
        loop.call_soon, loop.call_at, loop.call_later = self.call_soon, self.call_at, self.call_later
        loop._timer_handle_cancelled = lambda handle: None
        loop.call_soon_threadsafe = self.call_soon_threadsafe
        side.rung = self.watch
        self.watch()

    @property
    def port(self) -> _core.Port | None:
        """None once the loop was closed: it goes with that, whoever keeps the loop."""
        side = self.side()
        return None if side is None else side.port

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:
        self.called += 1
        self.watch()
        return self.soon(callback, *args, context=context)

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        if (port := self.port) is not None:
            port.call()
        soon: Callable[..., asyncio.Handle] = type(self.loop).call_soon_threadsafe.__get__(self.loop)
        handle = soon(callback, *args, context=context)
        soon(self.watch)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        if not self.clock.is_on:
            later: Callable[..., asyncio.TimerHandle] = type(self.loop).call_later.__get__(self.loop)
            return later(max(0.0, when - self.time()), callback, *args, context=context)
        handle = asyncio.TimerHandle(when, callback, args, self.loop, context)
        heapq.heappush(self.timers, handle)
        self.called += 1
        self.watch()
        return handle

    def watch(self) -> None:
        """Something happens in the loop."""
        if not self.watching and self.clock.is_on and (port := self.port) is not None and not self.loop.is_closed():
            self.watching, self.quiet = True, 0
            port.work()
            self.soon(self.look)

    def look(self) -> None:
        """Once in each turn, until there is nothing to do."""
        self.quiet = self.quiet + 1 if self.called == self.seen else 0
        self.seen = self.called
        if self.quiet < ROUNDS and self.clock.is_on:
            self.soon(self.look)
            return
        self.watching = False
        if self.run_due():
            self.watch()
        elif self.clock.is_on and (port := self.port) is not None:
            left = self.timers[0].when() - self.time() if self.timers else None
            if not port.rest(left):
                self.watch()

    def run_due(self) -> bool:
        """Call what is due. Whether anything was."""
        due = False
        # As asyncio does: within the resolution of the clock.
        now = self.time() + 1e-9
        while self.timers and (self.timers[0].cancelled() or self.timers[0].when() < now):
            handle = heapq.heappop(self.timers)
            if not handle.cancelled():
                due = True
                self.soon(_run, handle)
        return due

    def detach(self) -> None:
        side = self.side()
        if side is not None:
            side.beats, side.rung = self.beats, None
        loop = self.loop
        if loop.is_closed():
            return
        for name in ("call_soon", "call_soon_threadsafe"):
            loop.__dict__.pop(name, None)
        timers, self.timers = self.timers, []
        for handle in timers:
            if not handle.cancelled():
                loop.call_soon_threadsafe(self.call_at, handle.when(), _run, handle)


def _run(handle: asyncio.Handle) -> None:
    if not handle.cancelled():
        handle._run()
