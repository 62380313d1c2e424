"""The lifecycle's own event loop, on a thread of its own: where instruments live that are used by code without a loop.
What is asked of it blocks the asking thread, and can be interrupted."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextvars import copy_context
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, final

from labtether import _core
from labtether._blocking import SetUp, SyncExchange, SyncLink, SyncStream
from labtether._engine import ensure_started
from labtether._exchange import Exchange
from labtether._hosted import Hosted
from labtether._hosts import Blocked, blocked, where
from labtether._link import Link
from labtether._outcome import Kept
from labtether._ports import port_of
from labtether._shown import Shown
from labtether._streams import Stream

if TYPE_CHECKING:
    from labtether._instrument import Instrument

__all__ = ["SyncInstrument", "own_loop", "run_blocking"]

_log = logging.getLogger("labtether.lifespan")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_pid: int | None = None

# How long an interrupted call may take to end, besides what a cancelled await may: the abort of an exchange.
ABORTING = 3.0


def own_loop() -> asyncio.AbstractEventLoop:
    """The loop; started by the first call."""
    global _loop, _pid
    with _lock:
        if _loop is None:
            loop = asyncio.new_event_loop()
            begun = threading.Event()
            # A daemon: it goes when the process does, after what lives in it was closed.
            threading.Thread(target=_serve, args=(loop, begun), name="labtether instruments", daemon=True).start()
            begun.wait()
            _loop, _pid = loop, os.getpid()
        return _loop


def _serve(loop: asyncio.AbstractEventLoop, begun: threading.Event) -> None:
    asyncio.set_event_loop(loop)
    # Here and now, with all that stays.
    loop.call_soon(port_of, loop)
    loop.call_soon(begun.set)
    while not loop.is_closed():
        try:
            loop.run_forever()
        except BaseException as error:
            # asyncio lets SystemExit and KeyboardInterrupt of a task through: the task has ended by it, and no other.
            _log.error("a task in the loop of the instruments raised %s", type(error).__name__)


def run_blocking(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run an async function to its end in that loop, and give its value; Ctrl-C cancels it, and waits for its end.

    Raises RuntimeError in that very loop, and inside a lifespan: there the asynchronous form is awaited.
    """
    ensure_started()
    if _pid not in (None, os.getpid()):
        # Raises ForkedProcess: that loop is the parent's.
        _core.start()
    loop = own_loop()
    if asyncio._get_running_loop() is loop:
        raise RuntimeError(
            "this runs in labtether's own event loop, which a blocking call would stop: await the asynchronous method"
        )
    call = _Call(loop, function, args, kwargs)
    try:
        loop.call_soon_threadsafe(call.begin)
        _core.block_on(call.over.wait)
    except BaseException as interrupt:
        # What the wait says of itself says nothing of what was waited for.
        interrupt.__notes__ = []
        call.interrupt(interrupt)
        raise
    finally:
        call.blocks.where = None
    return call.kept.fetch()


@final
class _Call:
    """One call that another thread waits for."""

    __slots__ = ("_args", "_context", "_function", "_kwargs", "_loop", "_task", "_told", "blocks", "kept", "over")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self._loop = loop
        self._function = function
        self._args = args
        self._kwargs = kwargs
        self._context = copy_context()
        # Nothing that is done there may need the loop that waits here.
        self.blocks = Blocked(where())
        self._context.run(blocked.set, self.blocks)
        self._task: asyncio.Task[None] | None = None
        self._told = False
        self.kept = Kept()
        self.over = _core.Event(getattr(function, "__qualname__", "a call"))

    def begin(self) -> None:
        if self._told:
            self.over.set()
            return
        self._task = self._loop.create_task(self._run(), context=self._context)
        # Also of a task that is cancelled before its first step.
        self._task.add_done_callback(self._done)

    async def _run(self) -> None:
        try:
            self.kept.value = await self._function(*self._args, **self._kwargs)
        except BaseException as error:
            # For whoever waits, and not for the loop.
            self.kept.error = error

    def _done(self, _task: asyncio.Task[None]) -> None:
        self._task = None
        self.over.set()

    def _cancel(self) -> None:
        self._told = True
        if self._task is not None:
            self._task.cancel()

    def interrupt(self, interrupt: BaseException) -> None:
        """End it, and wait until it has ended; a second interrupt does not shorten that."""
        self._loop.call_soon_threadsafe(self._cancel)
        until = _core.monotonic() + _core.CANCEL_TIMEOUT + ABORTING
        over = threading.Event()
        self._loop.call_soon_threadsafe(self._watch, over)
        while not self.over.is_set() and _core.monotonic() < until:
            try:
                over.wait(until - _core.monotonic())
            except KeyboardInterrupt:
                continue
        if not self.over.is_set():
            interrupt.add_note("labtether: what was interrupted has not ended, and goes on in the background")
        for note in getattr(self.kept.error, "__notes__", ()):
            interrupt.add_note(note)
        self.kept.error = None

    def _watch(self, over: threading.Event) -> None:
        if self._task is None:
            over.set()
        else:
            self._task.add_done_callback(lambda _: over.set())


@final
class SyncInstrument(Shown, SetUp):
    """An instrument with blocking methods, from `instrument.sync`: each runs the async method of the same name to its
    end. What those return is blocking too: links, exchanges, streams, generators, context managers."""

    __slots__ = ("_twin",)

    _twin: Instrument

    def __init__(self, twin: Instrument) -> None:
        self._twin = twin

    def setup(self, *, replace: bool | None = None, **kwargs: Any) -> Self:
        """See Instrument.setup. It then lives in labtether's own event loop."""
        closed = self._twin.state in ("closed", "lost")
        self._set_up(run_blocking, self._twin.setup, undo=closed, replace=replace, **kwargs)
        return self

    def stop(self) -> None:
        """See Instrument.stop. Raises RuntimeError at once in the thread whose running loop it lives in."""
        self._leave(None)

    def _leave(self, ending: BaseException | None) -> None:
        from labtether._instrument import standing

        host = standing(self._twin).host
        if host is None:
            return
        interrupt = leave(host, ending)
        if ending is not None and host.take_failure() is not None:
            ending.add_note(f"labtether: and {host.name} could not be closed properly: {host.problem}")
        error = host.ended_with(interrupt)
        if error is not None:
            raise error

    def __enter__(self) -> Self:
        self._set_up(run_blocking, self._twin.__aenter__, undo=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leave(error)

    @property
    def sync(self) -> Self:
        """Itself."""
        return self

    def __getattr__(self, name: str) -> Any:
        return blocking(getattr(self._twin, name))

    def __dir__(self) -> list[str]:
        return sorted({*dir(type(self)), *dir(self._twin)})

    def __repr__(self) -> str:
        return f"<{type(self._twin).__name__}.sync of {self._twin!r}>"


def leave(host: Hosted, ending: BaseException | None = None) -> BaseException | None:
    """Have it end, and wait for that on this thread: what came meanwhile, to be raised afterwards.

    Where the loop that it lives in does not run, as between the prompts of a terminal, and this is its thread, it is
    run here. Raises RuntimeError where it runs in this very thread.
    """
    loop = host.loop
    stands = loop is not None and not loop.is_running() and not loop.is_closed() and where() is None
    if loop is None or not stands or host.where is None or host.where[0] != threading.get_ident() or host.over.is_set():
        return host.leave_blocking(ending)
    ended = loop.create_task(host.leave(ending))
    interrupt: BaseException | None = None
    while not ended.done():
        try:
            loop.run_until_complete(ended)
        except KeyboardInterrupt as error:
            # It is told, and has its deadline: a second one does not shorten that.
            interrupt = error
            host.tell()
    return interrupt or ended.result()


def blocking(value: Any) -> Any:
    """The blocking form of what an instrument has, or gives."""
    from labtether._instrument import Instrument

    if isinstance(value, Link):
        return SyncLink(value)
    if isinstance(value, Instrument):
        return value.sync
    if isinstance(value, Stream):
        return SyncStream(value)
    if isinstance(value, Exchange):
        return SyncExchange(value)
    if inspect.isasyncgen(value):
        return _iterated(value)
    if hasattr(value, "__aenter__") and not hasattr(value, "__enter__"):
        return _Entered(value)
    is_method = inspect.ismethod(value) or inspect.iscoroutinefunction(value)
    return _blocking_method(value) if is_method else value


def _blocking_method(method: Any) -> Callable[..., Any]:
    is_async = inspect.iscoroutinefunction(method)

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        if is_async:
            return blocking(run_blocking(method, *args, **kwargs))
        value = method(*args, **kwargs)
        # A decorator may have hidden that it is async.
        return blocking(run_blocking(_awaited, value) if inspect.iscoroutine(value) else value)

    return call


async def _awaited(value: Any) -> Any:
    return await value


def _iterated(values: Any) -> Iterator[Any]:
    try:
        while True:
            try:
                value = run_blocking(values.__anext__)
            except StopAsyncIteration:
                return
            yield value
    finally:
        run_blocking(values.aclose)


@final
class _Entered:
    """An async context manager, blocking: entered and left in tasks of labtether's own loop."""

    __slots__ = ("_cm",)

    def __init__(self, cm: Any) -> None:
        self._cm = cm

    def __enter__(self) -> Any:
        return blocking(run_blocking(self._cm.__aenter__))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Any:
        return run_blocking(self._cm.__aexit__, kind, error, traceback)
