"""One port for each running asyncio loop: how Rust wakes it, and the futures that are yielded to it.

The loop owns its port (its reader does); everything else refers to it weakly, so that a loop that is gone takes its
port with it.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import weakref
from collections.abc import Callable
from contextvars import Context
from typing import Any, final

from labtether import _core

__all__ = ["LoopSide", "Wake", "port_of", "side_of"]

_set_result = asyncio.Future.set_result
_cancel = asyncio.Future.cancel

# While an await of ours is pending on the main thread, the loop wakes this often, so that an interrupt is seen: a
# select that waits for nothing else is not woken by Jupyter's Stop button (ipykernel issues 881, 1239). IPython then
# takes as long again and more to show the traceback.
HEARTBEAT = 0.05


@final
class Wake(asyncio.Future[None]):
    """A future that resumes its task from the reader's callback itself, instead of one turn of the loop later.

    A real Future, because anyio asks `isinstance`. Whatever cannot be resumed at once is scheduled the ordinary way.
    """

    __slots__ = ("_resume",)

    _resume: tuple[Callable[[Any], object], Context | None] | None

    def add_done_callback(self, fn: Callable[[Any], object], /, *, context: Context | None = None) -> None:
        if self._resume is None and not self.done():
            self._resume = (fn, context)
        else:
            super().add_done_callback(fn, context=context)

    def remove_done_callback(self, fn: Callable[[Any], object], /) -> int:
        if self._resume is not None and self._resume[0] == fn:
            self._resume = None
            return 1
        return super().remove_done_callback(fn)

    def ring(self) -> None:
        """Resume who waits. Called by the port, from the loop."""
        # Can be repeated: Ctrl-C may come between any two steps.
        if not self.done():
            _set_result(self, None)
        resume = self._resume
        if resume is None:
            return
        self._resume = None
        callback, context = resume
        try:
            if context is None:
                callback(self)
            else:
                context.run(callback, self)
        except RuntimeError:
            # Another task is being stepped (nested loops do that): then it has to wait for its turn.
            self._schedule(callback, context)
        finally:
            # A cancelled task's traceback keeps this frame (CPython 3.12), which must not keep the task.
            del callback, context, resume

    def soon(self) -> None:
        """Resume who waits with the next turn of the loop. Called by the port, from a task of the same loop."""
        if not self.done():
            _set_result(self, None)
        resume = self._resume
        if resume is not None:
            self._resume = None
            self._schedule(*resume)

    def cancel(self, msg: Any | None = None) -> bool:
        if not _cancel(self, msg):
            return False
        resume = self._resume
        if resume is not None:
            self._resume = None
            self._schedule(*resume)
        return True

    def _schedule(self, callback: Callable[[Any], object], context: Context | None) -> None:
        self.get_loop().call_soon(callback, self, context=context)


class LoopSide:
    """What the port needs of its loop: new futures, and the heartbeat while somebody waits."""

    __slots__ = ("__weakref__", "beating", "beats", "loop", "port", "rung")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.beats = threading.current_thread() is threading.main_thread()
        self.beating = False
        self.rung: Callable[[], None] | None = None
        """Called when the port was rung, before those who were meant are resumed."""
        self.port = _core.Port(self.future)
        loop.add_reader(self.port.fileno(), _Reader(self))
        if _core.virtual_seconds() is not None:
            from labtether.testing._virtual import attach

            attach(self)

    def drain(self) -> None:
        """Resume those that Rust has rung for."""
        ready: list[Wake] = []
        if self.rung is not None:
            self.rung()
        try:
            self.port.take(ready)
            for wake in ready:
                wake.ring()
        except BaseException:
            # KeyboardInterrupt and SystemExit leave through here; nobody's wake-up may be lost by it.
            for wake in ready:
                self.loop.call_soon(wake.ring)
            raise

    def future(self) -> Wake:
        wake = Wake(loop=self.loop)
        wake._resume = None
        wake._asyncio_future_blocking = True
        if self.beats and not self.beating:
            self.beating = True
            self.loop.call_later(HEARTBEAT, self.beat)
        return wake

    def beat(self) -> None:
        self.beating = self.beats and self.port.pending()
        if self.beating:
            self.loop.call_later(HEARTBEAT, self.beat)


class _Reader:
    """What the loop calls. Nobody else holds it, so it goes when the loop is closed, whatever else lives on: then the
    loop's tasks will never run again."""

    __slots__ = ("_side",)

    def __init__(self, side: LoopSide) -> None:
        self._side = side

    def __call__(self) -> None:
        self._side.drain()

    def __del__(self) -> None:
        loop = self._side.loop
        if loop.is_closed() or not loop.is_running():
            _core.loop_closed(loop)
            hosts = sys.modules.get("labtether._hosts")
            if hosts is not None:
                hosts.loop_closed(loop)
        if loop.is_closed():
            # The port makes its futures by us, and we hold it: its descriptor need not wait for the collector.
            self._side.port.close()


_sides: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[LoopSide]] = weakref.WeakKeyDictionary()


def side_of(loop: asyncio.AbstractEventLoop) -> LoopSide:
    """Our side of a loop that runs in this thread, or is about to."""
    known = _sides.get(loop)
    side = known() if known is not None else None
    if side is None:
        side = LoopSide(loop)
        _sides[loop] = weakref.ref(side)
    return side


def port_of(loop: asyncio.AbstractEventLoop) -> _core.Port:
    """The port of a loop that runs in this thread."""
    return side_of(loop).port
