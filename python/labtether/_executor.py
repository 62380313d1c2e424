"""`Executor`: a thread pool in a scope. What users touch lives here; the workers are in `_executor_pool`, their work in
`_executor_future`, and how a task waits for futures in `_until_done`."""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import os
import weakref
from collections import deque
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, overload

import anyio

from labtether._checks import check_name, check_seconds
from labtether._executor_future import Future
from labtether._executor_pool import Pool, forget, wait_until_empty
from labtether._sync import Event
from labtether._until_done import until_done

__all__ = ["Executor", "until_done"]

P = ParamSpec("P")
T = TypeVar("T")

AFTER_SHUTDOWN = "cannot schedule new futures after shutdown"

_numbers = itertools.count()


class Executor(concurrent.futures.ThreadPoolExecutor):
    """A ThreadPoolExecutor that can be joined, awaited, and waited in.

    max_workers: threads at most; they are started as work comes. None: as ThreadPoolExecutor.
    thread_name_prefix: of the threads; without one, `name`. initializer, initargs: called first in each thread.

    - `join()` and `await joined()` wait until all work, and all that it submits, has ended.
    - A generator function may `yield from until_done(future, ...)`, which frees its worker meanwhile: work that waits
      for work of its own pool never deadlocks, at one worker too.
    - `with` is ThreadPoolExecutor's: its end is `shutdown()`. The end of `async with` awaits `joined()` first; if that
      is cancelled, what is queued is cancelled and what runs is waited for. Afterwards no thread is left.
    - A failure that nobody has looked at (by `result()`, `exception()`, a callback, `wait` or `as_completed`) is raised
      by `join()`, `joined()` and the end of `async with`, in an ExceptionGroup. Without these it goes to the log
      `labtether.executor` when its future is collected, or at the end of the process.

    It is a ThreadPoolExecutor by class because asyncio's set_default_executor() insists; it shares no code with it.

    Raises ValueError or TypeError for arguments that make no sense.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        name: str | None = None,
    ) -> None:
        size = checked_size(max_workers)
        if not isinstance(thread_name_prefix, str):
            raise TypeError(f"thread_name_prefix is a str, not {type(thread_name_prefix).__name__}")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        name = f"Executor-{next(_numbers)}" if name is None else check_name(name, "name")
        pool = Pool(name, size, thread_name_prefix or name, initializer, tuple(initargs))
        self._pool = pool
        # When the executor is forgotten, its threads finish what there is and end. The pool is kept by them.
        pool.owner = weakref.ref(self, lambda _: pool.close(AFTER_SHUTDOWN))
        # Known by these names to tools that look into thread pools.
        self._max_workers = size
        self._threads = pool.threads

    @property
    def name(self) -> str:
        """Its name, in errors and the log."""
        return self._pool.name

    @overload
    def submit(
        self, fn: Callable[P, Generator[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> concurrent.futures.Future[T]: ...
    @overload
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> concurrent.futures.Future[T]: ...
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        """Call `fn(*args, **kwargs)` on a worker, and return the future of its result.

        If it returns a generator (other than a generator expression), that is run as a task, each step on any worker:
        it may `yield from until_done(...)`, and its return value is the result. It keeps one context (contextvars)
        from the first step to the last. Resumed tasks queue up at the back.

        Raises RuntimeError after shutdown or if no thread can be started, BrokenThreadPool if the initializer failed;
        then, or if interrupted, nothing has been submitted.
        """
        if not callable(fn):
            raise TypeError(f"submit wants a callable, not {type(fn).__name__}")
        pool = self._pool
        future: Future[Any] = Future(pool, (fn, args, kwargs))
        try:
            pool.unfinished.add(future)
            if pool.closed is not None or pool.broken is not None or not pool.full:
                pool.admit()
        except BaseException:
            pool.withdraw(future)
            raise
        # CPython takes signals after calls, so none comes between the end of the block and this one.
        pool.put(future)
        return future

    def join(self, timeout: float | None = None) -> None:
        """Block until all work, and all work that it submits, has ended. Ctrl-C ends the wait, not the work.

        Raises TimeoutError after `timeout` seconds, naming what is left; RuntimeError in one of its own workers; an
        ExceptionGroup of the failures that nobody has looked at.
        """
        limit = check_seconds(timeout, "timeout")
        pool = self._pool
        pool.refuse_worker("join")
        if not wait_until_empty(pool.unfinished, pool.joiners, limit):
            raise TimeoutError(f"{pool.name} has not finished within {limit:g} s: {pool.names()}")
        self._raise_unheard()

    async def joined(self) -> None:
        """The awaitable form of `join()`. If cancelled, the work goes on."""
        pool = self._pool
        pool.refuse_worker("joined")
        await until_empty(pool.unfinished, pool.joiners)
        self._raise_unheard()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no new work, and finish what there is; suspended tasks too.

        wait: block until all threads have ended. cancel_futures: cancel what has not begun; a task that waits for such
        gets CancelledError, and can end. Failures are not raised.
        """
        pool = self._pool
        pool.close(AFTER_SHUTDOWN)
        if cancel_futures:
            pool.cancel_queued()
        if wait:
            pool.join_threads()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pool = self._pool
        pool.refuse_worker("the end of `async with`")
        # Only a failure of the block lets the work go on to its end, as `with` does.
        cancelled = error is not None and not isinstance(error, Exception)
        try:
            if not cancelled:
                await until_empty(pool.unfinished, pool.joiners)
        except BaseException as newer:
            cancelled, error = True, newer
            raise
        finally:
            self.shutdown(wait=False, cancel_futures=cancelled)
            # A coroutine that is being destroyed cannot wait; the threads end by themselves.
            if not isinstance(error, GeneratorExit):
                await outlast(pool)
        if error is None:
            self._raise_unheard()
        elif failures := pool.unheard_failures(tell=True):
            # The block's own error wins.
            error.add_note(f"besides, {counted(failures)} in {pool.name} that nobody has looked at; see the log")

    def _raise_unheard(self) -> None:
        if failures := self._pool.unheard_failures():
            raise BaseExceptionGroup(f"{counted(failures)} in {self.name} that nobody has looked at", failures)

    @property
    def _broken(self) -> bool:  # type: ignore[override]
        return self._pool.broken is not None

    @property
    def _shutdown(self) -> bool:  # type: ignore[override]
        return self._pool.closed is not None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}, {self._pool.situation()}>"


def checked_size(max_workers: Any) -> int:
    """How many threads at most."""
    if max_workers is None:
        # ThreadPoolExecutor's own default: from 3.13 on it counts the cores that this process may use.
        cores = getattr(os, "process_cpu_count", os.cpu_count)() or 1
        return int(min(32, cores + 4))
    if isinstance(max_workers, bool) or not hasattr(max_workers, "__index__"):
        raise TypeError(f"max_workers is an int, not {type(max_workers).__name__}")
    size = int(max_workers.__index__())
    if size <= 0:
        raise ValueError(f"max_workers must be greater than 0, not {size}")
    return size


def counted(failures: list[BaseException]) -> str:
    """How many."""
    return f"{len(failures)} failure{'' if len(failures) == 1 else 's'}"


async def until_empty(members: set[Any], waiting: deque[Callable[[], object]]) -> None:
    """Wait until `members` is empty. If cancelled, nothing is left behind."""
    while members:
        event = Event()
        waiting.append(event.set)
        try:
            if members:
                await event.wait()
        finally:
            forget(waiting, event.set)


async def outlast(pool: Pool) -> None:
    """Wait until every worker has left, whatever else is cancelled meanwhile; then raise that cancellation."""
    cancellation: BaseException | None = None
    # The shield is for trio and for anyio's scopes, the loop for tasks that asyncio itself cancels.
    with anyio.CancelScope(shield=True):
        while pool.working:
            try:
                await until_empty(pool.working, pool.closers)
            except asyncio.CancelledError as error:
                cancellation = error
    # They are at their last instructions.
    pool.join_threads()
    if cancellation is not None:
        raise cancellation
