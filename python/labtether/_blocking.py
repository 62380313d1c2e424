"""The blocking face: the same methods for code without an event loop. They may be called in any thread; Ctrl-C ends
them like a cancellation.

Each runs the asynchronous method to its end on the calling thread, which waits in Rust, with the interpreter released.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, Unpack, overload

from labtether import _core
from labtether._asking import QueryOptions
from labtether._exchange import Exchange
from labtether._face import Message
from labtether._framing import FramingLike, PatternLike
from labtether._link import Link
from labtether._plot import Plot
from labtether._recording import Recording
from labtether._rules import Abort
from labtether._shown import Shown
from labtether._streams import Stream
from labtether._trace import Trace
from labtether._values import Reading

__all__ = ["SetUp", "SyncExchange", "SyncLink", "SyncStream"]

M = TypeVar("M", str, bytes)
T = TypeVar("T")
P = ParamSpec("P")


def _blocking(method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate[Any, P], T]:
    """`method` of the asynchronous twin, blocking."""

    @functools.wraps(method)
    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        value: T = _core.block_on(method, self._twin, *args, **kwargs)
        return value

    return call


class SetUp:
    """What is set up by a blocking call. Ctrl-C leaves nothing, not even in the instant after it was set up: nobody
    leaves what he has not entered."""

    __slots__ = ()

    stop: Callable[[], None]

    def _set_up(self, run: Callable[..., object], *work: Any, undo: bool, **kwargs: Any) -> None:
        """Have `run` do the work. Interrupted, it is undone if that is for this call to do."""
        try:
            run(*work, **kwargs)
        except Exception:
            raise
        except BaseException:
            if undo:
                self.stop()
            raise


class SyncLink(Shown, SetUp, Generic[M]):
    """A link with blocking methods, from `link.sync`; what each does is said at the method of Link with the same
    name."""

    __slots__ = ("__weakref__", "_twin")

    _twin: Link[M]

    def __init__(self, link: Link[M]) -> None:
        self._twin = link

    def setup(self, *, replace: bool | None = None) -> Self:
        """See Link.setup."""
        self._set_up(_core.block_on, self._twin.setup, undo=self.state in ("closed", "lost"), replace=replace)
        return self

    def __enter__(self) -> Self:
        self._set_up(_core.block_on, self._twin.__aenter__, undo=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    stop = _blocking(Link.stop)
    send = _blocking(Link.send)
    read = _blocking(Link.read)
    read_until = _blocking(Link.read_until)
    read_some = _blocking(Link.read_some)
    write = _blocking(Link.write)
    discard_input = _blocking(Link.discard_input)
    drain = _blocking(Link.drain)
    send_break = _blocking(Link.send_break)
    set_lines = _blocking(Link.set_lines)
    lines = _blocking(Link.lines)
    configure = _blocking(Link.configure)
    write_eof = _blocking(Link.write_eof)
    query_all = _blocking(Link.query_all)

    @overload
    def query(
        self, command: Message, *, framing: None = None, parse: None = None, **options: Unpack[QueryOptions]
    ) -> M: ...
    @overload
    def query(
        self, command: Message, *, framing: None = None, parse: Callable[[M], T], **options: Unpack[QueryOptions]
    ) -> T: ...
    @overload
    def query(
        self,
        command: Message,
        *,
        framing: FramingLike,
        parse: Callable[[Any], Any] | None = None,
        **options: Unpack[QueryOptions],
    ) -> Any: ...
    def query(self, command: Message, **options: Any) -> Any:
        """See Link.query."""
        return _core.block_on(self._twin.query, command, **options)

    def receive(self, *, match: PatternLike | None = None, timeout: float | None = None) -> M:
        """See Link.receive."""
        message: M = _core.block_on(self._twin.receive, match=match, timeout=timeout)
        return message

    def exchange(
        self,
        *,
        timeout: float | None = None,
        turn: float | None = None,
        idle: float | None = None,
        abort: Message | Abort | None = None,
    ) -> SyncExchange[M]:
        """See Link.exchange."""
        return SyncExchange(self._twin.exchange(timeout=timeout, turn=turn, idle=idle, abort=abort))

    def at(self, address: str | int, **options: Any) -> SyncLink[M]:
        """See Link.at."""
        return SyncLink(self._twin.at(address, **options))

    def poll(self, command: Message, *, every: float, **options: Any) -> SyncStream[Reading[Any]]:
        """See Link.poll."""
        return SyncStream(self._twin.poll(command, every=every, **options))

    def messages(self, pattern: PatternLike | None = None, *, capacity: int = 1000) -> SyncStream[M]:
        """See Link.messages."""
        return SyncStream(self._twin.messages(pattern, capacity=capacity))

    def wait_until(self, command: Message, predicate: Callable[[Any], object], **options: Any) -> Any:
        """See Link.wait_until."""
        return _core.block_on(self._twin.wait_until, command, predicate, **options)

    def record(self, path: str | os.PathLike[str]) -> Recording:
        """See Link.record."""
        return self._twin.record(path)

    def watch(self, command: Message, every: float = 0.2, **options: Any) -> Plot:
        """See Link.watch."""
        return self._twin.watch(command, every, **options)

    @property
    def name(self) -> str:
        """See Link.name."""
        return self._twin.name

    @property
    def url(self) -> str:
        """See Link.url."""
        return self._twin.url

    @property
    def timeout(self) -> float:
        """See Link.timeout."""
        return self._twin.timeout

    @property
    def state(self) -> str:
        """See Link.state."""
        return self._twin.state

    @property
    def sync(self) -> Self:
        """Itself."""
        return self

    def trace(self) -> Trace:
        """See Link.trace."""
        return self._twin.trace()

    def __repr__(self) -> str:
        return repr(self._twin).replace("<Link ", "<Link.sync ", 1)


class SyncExchange(Generic[M]):
    """An exchange with blocking methods, from `link.sync.exchange()`; see Exchange."""

    __slots__ = ("_twin",)

    _twin: Exchange[M]

    def __init__(self, exchange: Exchange[M]) -> None:
        self._twin = exchange

    def __enter__(self) -> Self:
        try:
            _core.block_on(self._twin.__aenter__)
        except Exception:
            raise
        except BaseException as error:
            # Ctrl-C, maybe in the instant after it was entered.
            if self._twin._id is not None and not self._twin._over:
                self._twin._drop(error)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _core.block_on(self._twin._leave, error)

    send = _blocking(Exchange.send)
    query = _blocking(Exchange.query)
    read = _blocking(Exchange.read)
    read_until = _blocking(Exchange.read_until)
    read_some = _blocking(Exchange.read_some)
    write = _blocking(Exchange.write)
    receive = _blocking(Exchange.receive)
    send_break = _blocking(Exchange.send_break)

    @property
    def effect(self) -> str | None:
        """See Exchange.effect."""
        return self._twin.effect

    @property
    def skipped(self) -> list[M]:
        """Messages that `receive(match=)` passed over."""
        return self._twin.skipped

    def __iter__(self) -> Iterator[M]:
        while True:
            message: M = self.receive()
            yield message

    def __repr__(self) -> str:
        return repr(self._twin)


class SyncStream(Generic[T]):
    """A blocking iterator over readings or messages; see Stream."""

    __slots__ = ("__weakref__", "_twin")

    def __init__(self, stream: Stream[T]) -> None:
        self._twin = stream

    def __enter__(self) -> Self:
        self._twin._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._twin.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        try:
            value: T = _core.block_on(self._twin.__anext__)
        except StopAsyncIteration:
            raise StopIteration from None
        return value

    def close(self) -> None:
        """End it."""
        self._twin.close()

    @property
    def dropped(self) -> int:
        """How many were dropped because nobody fetched them in time."""
        return self._twin.dropped

    def __repr__(self) -> str:
        return repr(self._twin)
