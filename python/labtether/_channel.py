"""Channels: bounded, owned by Rust, between tasks, loops and threads."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, final

from labtether import _core
from labtether._checks import check_count
from labtether._errors import ChannelClosed
from labtether._shown import Shown
from labtether._sync import _named, block

__all__ = ["Channel", "ChannelStatistics", "Sender"]

T = TypeVar("T")

_NOTHING = object()

# After so many items in a row that needed no wait, an iteration lets others run: a full channel must not stop a loop.
YIELD_EVERY = 128


@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """How a channel stands, in anyio's words; counts of items and of tasks.

    sent, received: since it was made. peak_buffer_used: the most that ever lay in it. ended: why no more can be sent,
    or None.
    """

    max_buffer_size: int
    current_buffer_used: int
    peak_buffer_used: int
    open_senders: int
    tasks_waiting_send: int
    tasks_waiting_receive: int
    sent: int
    received: int
    ended: str | None


@final
class Channel(Shown, Generic[T]):
    """Items from any number of senders to any number of receivers, each item to one. First come, first served.

    capacity: how many it holds before `send` has to wait; 0: an item is handed over when somebody receives it.

    Whoever sends, or tries to, is a sender until its task or thread has ended; so is what `sender()` made, until it is
    closed. The channel ends when it is closed, or when its last sender has ended: what was sent can still be received,
    then `async for` stops and `receive` raises ChannelClosed. A cancelled receive has taken nothing. A cancelled send
    has sent nothing, unless somebody received the item in that very instant, which a note on the cancellation says.
    """

    __slots__ = ("__weakref__", "_channel", "_name")

    def __init__(self, capacity: int, name: str | None = None) -> None:
        check_count(capacity, "capacity", least=0)
        self._name = _named(name, "channel", self)
        self._channel = _core.Channel(self._name, capacity)

    @property
    def name(self) -> str:
        """Its name, in errors and trees."""
        return self._name

    async def send(self, item: T) -> None:
        """Send `item`, when there is room. Raises ChannelClosed if the channel has ended."""
        if not self._channel.send_at_once(item):
            await self._channel.send(item)

    def send_nowait(self, item: T) -> None:
        """Send `item` now, from anywhere, also where no loop runs. Raises ChannelFull, ChannelClosed."""
        self._channel.send_now(item)

    async def receive(self) -> T:
        """The next item. Raises ChannelClosed when the channel has ended and is empty."""
        item = self._channel.receive_at_once(_NOTHING)
        if item is _NOTHING:
            item = await self._channel.receive()
        return item  # type: ignore[no-any-return]

    def receive_nowait(self) -> T:
        """The next item, if there is one. Raises ChannelEmpty, ChannelClosed."""
        item: T = self._channel.receive_now()
        return item

    def sender(self) -> Sender[T]:
        """A sender that can be handed on: the channel does not end before it is closed, left or forgotten."""
        return Sender(self, self._channel.sender())

    def close(self) -> None:
        """Nothing more can be sent; what there is can be received."""
        self._channel.close()

    def statistics(self) -> ChannelStatistics:
        """How it stands."""
        return ChannelStatistics(**self._channel.view())

    def __aiter__(self) -> Receiver[T]:
        return Receiver(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def sync(self) -> SyncChannel[T]:
        """The same for threads without a loop."""
        return SyncChannel(self)

    def tree(self) -> dict[str, Any]:
        """How it stands, as a dict that JSON can hold."""
        return {"kind": "channel", "name": self._name, **self._channel.view()}

    def __repr__(self) -> str:
        now = self.statistics()
        parts = [f"{now.current_buffer_used} of {now.max_buffer_size}", f"{now.open_senders} senders"]
        if now.tasks_waiting_send:
            parts.append(f"{now.tasks_waiting_send} wait to send")
        if now.tasks_waiting_receive:
            parts.append(f"{now.tasks_waiting_receive} wait to receive")
        if now.ended is not None:
            parts.append(f"ended: {now.ended}")
        return f"<Channel {self._name}: {', '.join(parts)}>"

    def __reduce__(self) -> Any:
        raise TypeError(f"Channel {self._name} is shared inside one process and cannot be pickled")


@final
class Receiver(Generic[T]):
    """`async for item in channel`: ends when the channel has."""

    __slots__ = ("_channel", "_in_a_row")

    def __init__(self, channel: Channel[T]) -> None:
        self._channel = channel
        self._in_a_row = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        self._in_a_row += 1
        if self._in_a_row >= YIELD_EVERY:
            from labtether._time import pause

            self._in_a_row = 0
            await pause()
        try:
            item = self._channel._channel.receive_at_once(_NOTHING)
            if item is _NOTHING:
                item = await self._channel._channel.receive()
        except ChannelClosed:
            raise StopAsyncIteration from None
        return item  # type: ignore[no-any-return]


@final
class Sender(Generic[T]):
    """A sender of a channel, from `channel.sender()`: `async with` it, `with` it, or `close()` it."""

    __slots__ = ("__weakref__", "_channel", "_sender")

    def __init__(self, channel: Channel[T], sender: _core.Sender) -> None:
        self._channel = channel
        self._sender = sender

    async def send(self, item: T) -> None:
        """See Channel.send. Raises ChannelClosed after `close()`."""
        self._check()
        if not self._sender.send_at_once(item):
            await self._sender.send(item)

    def send_nowait(self, item: T) -> None:
        """See Channel.send_nowait. Raises ChannelClosed after `close()`."""
        self._check()
        self._sender.send_now(item)

    def _check(self) -> None:
        if not self._sender.is_open():
            raise ChannelClosed(f"this sender of channel {self._channel.name} was closed")

    def close(self) -> None:
        """It sends no more."""
        self._sender.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Sender of {self._channel.name}: {'open' if self._sender.is_open() else 'closed'}>"


@final
class SyncChannel(Shown, Generic[T]):
    """A channel for plain threads."""

    __slots__ = ("_twin",)

    def __init__(self, twin: Channel[T]) -> None:
        self._twin = twin

    def send(self, item: T) -> None:
        """See Channel.send; Ctrl-C ends the wait."""
        block(self._twin.send, item)

    def receive(self) -> T:
        """See Channel.receive; Ctrl-C ends the wait."""
        item: T = block(self._twin.receive)
        return item

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        try:
            return self.receive()
        except ChannelClosed:
            raise StopIteration from None

    def __repr__(self) -> str:
        return repr(self._twin).replace("<Channel ", "<Channel.sync ", 1)
