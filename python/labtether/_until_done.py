"""`until_done`: how a generator function waits for futures without occupying its worker. What becomes of the wait is
said here; who resumes whom is the future's business."""

from __future__ import annotations

import concurrent.futures
import contextvars
from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeVar, overload

__all__ = ["Task", "Wait", "close", "misuse", "until_done"]

T = TypeVar("T")
AnyFuture = concurrent.futures.Future[Any]


class Wait:
    """What `until_done` yields to the executor. Nobody else has a use for it."""

    __slots__ = ("_rest", "_wake", "futures")

    def __init__(self, futures: tuple[AnyFuture, ...]) -> None:
        self.futures = futures
        self._rest = iter(futures)

    def begin(self, wake: Callable[[], None]) -> None:
        """Call `wake` once, when all of them have ended."""
        self._wake = wake
        self(None)

    def __call__(self, _ended: AnyFuture | None) -> None:
        # One future after the other, so a single callback is registered at any time: nothing has to be counted by
        # several threads, and a wait that was given up leaves one reference behind, not a hundred.
        for future in self._rest:
            if not future.done():
                future.add_done_callback(self)
                return
        self._wake()

    def __repr__(self) -> str:
        return f"<until_done of {len(self.futures)}: submit this generator function to an lt.Executor>"


class Task:
    """A generator that runs in turns. `wait` is None while a worker runs it; `queued`: it is in the queue again."""

    __slots__ = ("closing", "context", "generator", "queued", "wait")

    def __init__(self, generator: Generator[Any, Any, Any]) -> None:
        self.generator = generator
        # What its first worker's initializer has set is there, as for a plain function; from then on it is its own.
        self.context = contextvars.copy_context()
        self.wait: Wait | None = None
        self.queued = False
        self.closing = False


@overload
def until_done(future: concurrent.futures.Future[T], /) -> Generator[Any, None, T]: ...
@overload
def until_done(futures: Iterable[concurrent.futures.Future[T]], /) -> Generator[Any, None, list[T]]: ...
@overload
def until_done(*futures: concurrent.futures.Future[T]) -> Generator[Any, None, list[T]]: ...
def until_done(*futures: Any) -> Generator[Any, None, Any]:
    """`yield from until_done(...)` in a generator function that an Executor runs: wait, and free the worker meanwhile.

    One future gives its result; several, or one iterable of futures, give the list of results in their order. They may
    belong to any executor. Nothing is yielded if all have ended.

    It goes on when all have ended; if some failed, the first of them in that order raises at the `yield`, and the
    others keep their failures until somebody looks. A cancelled one raises concurrent.futures.CancelledError; a task
    that lets it out ends as cancelled itself. If the task is cancelled meanwhile, GeneratorExit is raised instead:
    `finally` blocks run, and may not wait again.

    Without an executor, in a generator that is iterated by hand, it yields one private object; the `next()` after that
    blocks until all have ended.

    Raises TypeError, at once, for anything but futures of `concurrent.futures`.
    """
    single = len(futures) == 1 and isinstance(futures[0], concurrent.futures.Future)
    if len(futures) == 1 and not single:
        # Futures of event loops are iterable, to be awaited.
        if not isinstance(futures[0], Iterable) or hasattr(futures[0], "get_loop"):
            raise TypeError(f"until_done wants futures, not {type(futures[0]).__name__}{hint(futures[0])}")
        futures = tuple(futures[0])
    for future in futures:
        if not isinstance(future, concurrent.futures.Future):
            raise TypeError(
                f"until_done wants futures of concurrent.futures, not {type(future).__name__}{hint(future)}"
            )
    return _until_done(futures, single)


def _until_done(futures: tuple[AnyFuture, ...], single: bool) -> Generator[Any, None, Any]:
    if not all(future.done() for future in futures):
        yield Wait(futures)
    results = []
    try:
        for future in futures:
            results.append(future.result())
    finally:
        # An error keeps this frame, and a future keeps the error.
        future = futures = ()  # type: ignore[assignment]
    return results[0] if single else results


def hint(given: object) -> str:
    """What was probably meant."""
    if hasattr(given, "get_loop"):
        return "; a task of an event loop is reached by asyncio.run_coroutine_threadsafe"
    return "; submit it first, and wait for its future" if callable(given) else ""


def misuse(given: object, task: object) -> Exception | None:
    """What to raise into a task that yielded this; None if it may wait for it."""
    if not isinstance(given, Wait):
        meant = "write `yield from until_done(...)`" if isinstance(given, Generator) else "it may only wait"
        return TypeError(f"a task of an Executor yielded {type(given).__name__}; {meant}")
    if any(future is task for future in given.futures):
        return RuntimeError("a task that waits for its own future would wait for ever")
    return None


def close(generator: Generator[Any, Any, Any]) -> None:
    """Close it; raises CancelledError, as its work has been cancelled, or what its `finally` blocks raise."""
    generator.close()
    raise concurrent.futures.CancelledError
