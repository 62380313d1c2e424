"""Numbers sent one by one from one side to the other, through something that holds at most 100."""

from __future__ import annotations

import asyncio
import contextlib
import queue
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from protocol import RUNNERS
from sides import TOGETHER, a_thread, another_loop, rounds, there

CAPACITY = 100

Send = Callable[[int], Awaitable[Any]]
Receive = Callable[[], Awaitable[int]]


async def send_all(send: Send, count: int) -> None:
    for number in range(count):
        await send(number)


async def receive_all(receive: Receive, count: int) -> None:
    for expected in range(count):
        if await receive() != expected:
            raise SystemExit(f"{expected} was lost")


async def iterate_all(items: AsyncIterable[int], count: int) -> None:
    expected = 0
    async for number in items:
        if number != expected:
            raise SystemExit(f"{expected} was lost")
        expected += 1
        if expected == count:
            return


def labtether_channel() -> Any:
    import labtether as lt

    return lt.Channel(CAPACITY)


def memory_object_stream() -> tuple[Any, Any]:
    import anyio

    return anyio.create_memory_object_stream[int](CAPACITY)


# -- Within a loop -----------------------------------------------------------------------------------------------------


async def through_queue(_runner: str, count: int) -> None:
    items: asyncio.Queue[int] = asyncio.Queue(CAPACITY)
    await TOGETHER["asyncio"](partial(send_all, items.put, count), partial(receive_all, items.get, count))


async def through_memory_object_stream(runner: str, count: int) -> None:
    send, receive = memory_object_stream()
    async with send, receive:
        await TOGETHER[runner](partial(send_all, send.send, count), partial(iterate_all, receive, count))


async def through_memory_channel(_runner: str, count: int) -> None:
    import trio

    send, receive = trio.open_memory_channel[int](CAPACITY)
    async with send, receive:
        await TOGETHER["trio"](partial(send_all, send.send, count), partial(iterate_all, receive, count))


async def through_labtether(runner: str, count: int) -> None:
    async with labtether_channel() as channel:
        await TOGETHER[runner](partial(send_all, channel.send, count), partial(iterate_all, channel, count))


def within(runner: str, once: Callable[[str, int], Awaitable[None]]) -> None:
    RUNNERS[runner](partial(rounds, partial(once, runner), whole=True))


# -- What people do across loops and threads ---------------------------------------------------------------------------


class Dispatched:
    """A queue.Queue: its blocking `put` and `get` in worker threads; `tried`: only where it is full or empty."""

    def __init__(self, *, tried: bool) -> None:
        self.items: queue.Queue[int] = queue.Queue(CAPACITY)
        self._tried = tried

    async def put(self, number: int) -> None:
        if self._tried:
            try:
                return self.items.put_nowait(number)
            except queue.Full:
                pass
        return await asyncio.to_thread(self.items.put, number)

    async def get(self) -> int:
        if self._tried:
            try:
                return self.items.get_nowait()
            except queue.Empty:
                pass
        return await asyncio.to_thread(self.items.get)


Received = Callable[[int], Awaitable[None]]
"""The receiving side, in the main loop: so many."""
Elsewhere = tuple[Send, Received]
Thread = tuple[Callable[[int], Any], Received]


# -- From a loop to another, in two threads ----------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def dispatched_loops(*, tried: bool) -> AsyncIterator[Elsewhere]:
    items = Dispatched(tried=tried)
    yield items.put, partial(receive_all, items.get)


@contextlib.asynccontextmanager
async def remote_loops() -> AsyncIterator[Elsewhere]:
    home = asyncio.get_running_loop()
    items: asyncio.Queue[int] = asyncio.Queue(CAPACITY)
    yield lambda number: there(home, items.put(number)), partial(receive_all, items.get)


@contextlib.asynccontextmanager
async def posted_loops() -> AsyncIterator[Elsewhere]:
    """No bound: whoever sends is never told to wait."""
    home = asyncio.get_running_loop()
    items: asyncio.Queue[int] = asyncio.Queue()

    async def post(number: int) -> None:
        home.call_soon_threadsafe(items.put_nowait, number)

    yield post, partial(receive_all, items.get)


@contextlib.asynccontextmanager
async def portal_loops() -> AsyncIterator[Elsewhere]:
    from anyio.from_thread import BlockingPortal

    send, receive = memory_object_stream()
    async with BlockingPortal() as portal, send, receive:
        yield (
            lambda number: asyncio.wrap_future(portal.start_task_soon(send.send, number)),
            partial(iterate_all, receive),
        )


@contextlib.asynccontextmanager
async def labtether_loops() -> AsyncIterator[Elsewhere]:
    async with labtether_channel() as channel:
        # The sending task ends with each round; this sender keeps the channel open between them.
        with channel.sender():
            yield channel.send, partial(iterate_all, channel)


def loops(make: Callable[[], AbstractAsyncContextManager[Elsewhere]]) -> None:
    async def main() -> None:
        async def once(count: int) -> None:
            await asyncio.gather(receive(count), there(other, send_all(send, count)))

        async with make() as (send, receive), another_loop() as other:
            await rounds(once, whole=True)

    asyncio.run(main())


# -- From a thread to a loop -------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def dispatched_thread(*, tried: bool) -> AsyncIterator[Thread]:
    items = Dispatched(tried=tried)
    yield items.items.put, partial(receive_all, items.get)


@contextlib.asynccontextmanager
async def remote_thread() -> AsyncIterator[Thread]:
    home = asyncio.get_running_loop()
    items: asyncio.Queue[int] = asyncio.Queue(CAPACITY)
    yield (
        lambda number: asyncio.run_coroutine_threadsafe(items.put(number), home).result(),
        partial(receive_all, items.get),
    )


@contextlib.asynccontextmanager
async def posted_thread() -> AsyncIterator[Thread]:
    """No bound: whoever sends is never told to wait."""
    home = asyncio.get_running_loop()
    items: asyncio.Queue[int] = asyncio.Queue()
    yield lambda number: home.call_soon_threadsafe(items.put_nowait, number), partial(receive_all, items.get)


@contextlib.asynccontextmanager
async def portal_thread() -> AsyncIterator[Thread]:
    from anyio.from_thread import BlockingPortal

    send, receive = memory_object_stream()
    async with BlockingPortal() as portal, send, receive:
        yield partial(portal.call, send.send), partial(iterate_all, receive)


@contextlib.asynccontextmanager
async def labtether_thread() -> AsyncIterator[Thread]:
    async with labtether_channel() as channel:
        yield channel.sync.send, partial(iterate_all, channel)


def thread(make: Callable[[], AbstractAsyncContextManager[Thread]]) -> None:
    async def main() -> None:
        async def once(count: int) -> None:
            def side() -> None:
                for number in range(count):
                    send(number)

            await asyncio.gather(receive(count), run(side))

        async with make() as (send, receive), a_thread() as run:
            await rounds(once, whole=True)

    asyncio.run(main())


CHANNELS: dict[str, Callable[[], None]] = {
    "channel-Queue": partial(within, "asyncio", through_queue),
    "channel-anyio": partial(within, "asyncio", through_memory_object_stream),
    "channel-trio": partial(within, "trio", through_memory_channel),
    **{f"channel-labtether-{runner}": partial(within, runner, through_labtether) for runner in RUNNERS},
    "channel_loops-to_thread": partial(loops, partial(dispatched_loops, tried=False)),
    "channel_loops-tried": partial(loops, partial(dispatched_loops, tried=True)),
    "channel_loops-remote": partial(loops, remote_loops),
    "channel_loops-posted": partial(loops, posted_loops),
    "channel_loops-portal": partial(loops, portal_loops),
    "channel_loops-labtether": partial(loops, labtether_loops),
    "channel_thread-to_thread": partial(thread, partial(dispatched_thread, tried=False)),
    "channel_thread-tried": partial(thread, partial(dispatched_thread, tried=True)),
    "channel_thread-remote": partial(thread, remote_thread),
    "channel_thread-posted": partial(thread, posted_thread),
    "channel_thread-portal": partial(thread, portal_thread),
    "channel_thread-labtether": partial(thread, labtether_thread),
}
