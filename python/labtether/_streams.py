"""Iterators over what Rust gathers: readings of a poll, and messages nobody asked for. Fetched in batches, one
crossing for many."""

from __future__ import annotations

import abc
import asyncio
import functools
import weakref
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from labtether import _core
from labtether._errors import FrameError
from labtether._values import Reading

if TYPE_CHECKING:
    from labtether._asking import Asking

__all__ = ["Messages", "Poll", "Stream"]

M = TypeVar("M", str, bytes)
V = TypeVar("V")


class Stream(abc.ABC, Generic[V]):
    """An asynchronous iterator that Rust feeds. It begins when it is entered or first iterated, and ends with
    `aclose`, its block, its last reference, or on asyncio the task that began it. Cancelling an iteration loses
    nothing."""

    __slots__ = ("__weakref__", "_batch", "_detach", "_dropped", "_link", "_over", "_start", "_stream", "_what")

    def __init__(self, link: Asking[Any], start: Callable[[], _core.Stream], what: str) -> None:
        self._link = link
        self._start = start
        self._what = what
        self._stream: _core.Stream | None = None
        self._batch: deque[tuple[bytes, float, float]] = deque()
        self._dropped = 0
        self._over = False
        self._detach: Callable[[], object] | None = None

    @property
    def dropped(self) -> int:
        """How many were dropped because nobody fetched them in time."""
        return self._dropped

    def _begin(self) -> _core.Stream:
        if self._stream is None:
            self._stream = self._start()
            self._detach = _end_with_task(self)
        return self._stream

    async def __aenter__(self) -> Self:
        self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> V:
        while True:
            while self._batch:
                item = self._made(*self._batch.popleft())
                if item is not _NOT_WANTED:
                    value: V = item
                    return value
            if self._over:
                raise StopAsyncIteration
            batch, self._dropped = await self._begin().next()
            if batch is None:
                self._over = True
            else:
                self._batch.extend(batch)

    async def aclose(self) -> None:
        """End it."""
        self.close()

    def close(self) -> None:
        """End it; never waits."""
        self._over = True
        self._batch.clear()
        if self._stream is not None:
            self._stream.close()
        detach, self._detach = self._detach, None
        if detach is not None:
            detach()

    @abc.abstractmethod
    def _made(self, body: bytes, epoch: float, monotonic: float) -> Any:
        """What is iterated over, of a message and its times; `_NOT_WANTED` to pass it over."""

    def __repr__(self) -> str:
        state = "over" if self._over else "not begun" if self._stream is None else "running"
        return f"<{type(self).__name__} {self._what} on {self._link.name}: {state}, {self._dropped} dropped>"


_NOT_WANTED = object()


class Poll(Stream[Reading[Any]]):
    """Readings, from `link.poll()`."""

    __slots__ = ("_decode", "_skip")

    def __init__(
        self,
        link: Asking[Any],
        start: Callable[[], _core.Stream],
        decode: Callable[[bytes], Any],
        what: str,
        *,
        skip: bool,
    ) -> None:
        super().__init__(link, start, what)
        self._decode = decode
        self._skip = skip

    def _made(self, body: bytes, epoch: float, monotonic: float) -> Any:
        try:
            return Reading(epoch, monotonic, self._decode(body))
        except FrameError:
            if self._skip:
                return _NOT_WANTED
            self.close()
            raise


class Messages(Stream[M]):
    """Messages that no exchange claimed, from `link.messages()`."""

    __slots__ = ("_wanted",)

    def __init__(
        self, link: Asking[Any], start: Callable[[], _core.Stream], wanted: Callable[[Any], object] | None
    ) -> None:
        super().__init__(link, start, "messages")
        self._wanted = wanted

    def _made(self, body: bytes, epoch: float, monotonic: float) -> Any:
        message = self._link._decoded(body, self._link._encoder, None, None)
        if self._wanted is None or self._wanted(message):
            return message
        self._link._wire.give_back([body])
        return _NOT_WANTED


def _end_with_task(stream: Stream[Any]) -> Callable[[], object] | None:
    """A cancelled task's frames can live on in a traceback, and a bare iterator in them; the questions must not."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return None
    if task is None:
        return None
    reference = weakref.ref(stream)

    def end(_task: object) -> None:
        ended = reference()
        if ended is not None:
            ended.close()

    task.add_done_callback(end)
    return functools.partial(task.remove_done_callback, end)
