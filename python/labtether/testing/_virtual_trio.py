"""Virtual time in trio: a run that begins within it has our clock, and says when it has nothing to do. Imported only
once trio is."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import trio

from labtether import _core

if TYPE_CHECKING:
    from labtether.testing._virtual import VirtualTime

__all__ = ["attach", "begin", "begin_run", "end"]

_before: list[tuple[Any, str, Any]] = []


def begin(clock: VirtualTime) -> None:
    """Runs that begin from now on have `clock`."""
    for place, name in ((trio, "run"), (trio.lowlevel, "start_guest_run")):
        start = getattr(place, name)
        _before.append((place, name, start))
        setattr(place, name, _with_clock(clock, start))
    if _core.in_trio():
        from labtether._trio import running_port

        attach(running_port())


def end() -> None:
    """Those that begin have trio's own clock again."""
    while _before:
        setattr(*_before.pop())


def _with_clock(clock: VirtualTime, start: Any) -> Any:
    @functools.wraps(start)
    def run(*args: Any, **options: Any) -> Any:
        if options.get("clock") is None and clock.is_on:
            options["clock"] = clock
        return start(*args, **options)

    return run


def begin_run() -> None:
    """A run begins with our clock."""
    trio.lowlevel.add_instrument(_Beginning())


def attach(port: _core.Port) -> None:
    """The run of this thread is met for the first time."""
    trio.lowlevel.add_instrument(_Idling(port))


class _Beginning(trio.abc.Instrument):
    """Makes the port of the run as soon as it can have one: nothing else could wake it in time."""

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is trio.lowlevel.current_root_task():
            return
        trio.lowlevel.remove_instrument(self)
        if _core.virtual_seconds() is not None:
            from labtether._trio import running_port

            running_port()


class _Idling(trio.abc.Instrument):
    """The run has nothing to do while it waits for I/O."""

    def __init__(self, port: _core.Port) -> None:
        from labtether.testing._virtual import VirtualTime

        self.port = port
        self.resting = False
        self.ours = isinstance(trio.lowlevel.current_clock(), VirtualTime)

    def before_io_wait(self, timeout: float) -> None:
        if timeout <= 0 or _core.virtual_seconds() is None:
            return
        left = trio.lowlevel.current_statistics().seconds_to_next_deadline if self.ours else math.inf
        seconds = None if left == math.inf else max(0.0, left)
        # What called it before has been looked at by now.
        self.resting = self.port.rest(seconds) or self.port.rest(seconds)
        if not self.resting:
            self.port.ring(0)

    def after_io_wait(self, timeout: float) -> None:
        if self.resting:
            self.resting = False
            self.port.work()
