"""One lock handed to and fro by two sides, each of which wants it again at once."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import partial
from typing import Any

from protocol import RUNNERS, now
from sides import PAUSES, TOGETHER, a_thread, another_loop, rounds, there

Block = AbstractAsyncContextManager[Any]
SyncBlock = AbstractContextManager[Any]


class Relay:
    """Counts how often the lock changes hands: to be had twice in a row is no hand-over. Touched by its holder only.

    It begins with the first hand-over: a thread may take 5 ms, CPython's switch interval, to get going at all.
    """

    def __init__(self, count: int) -> None:
        self.begun = 0
        self._left = count + 1
        self._holder = ""

    def go_on(self, me: str) -> bool:
        if self._holder != me:
            if self._holder and not self.begun:
                self.begun = now()
            self._holder = me
            self._left -= 1
        return self._left >= 0


async def turns(lock: Block, relay: Relay, me: str, pause: Callable[[], Awaitable[None]]) -> None:
    """Each of two tasks of one loop. The lock has to be waited for once; from then on it always is."""
    async with lock:
        await pause()
        going = relay.go_on(me)
    while going:
        async with lock:
            going = relay.go_on(me)


async def turns_of_a_loop(lock: Block, relay: Relay, me: str) -> None:
    """One pass of its loop with the lock held: without any, a loop that has it again at once would hear nobody."""
    going = True
    while going:
        async with lock:
            await asyncio.sleep(0)
            going = relay.go_on(me)


def turns_of_a_thread(lock: SyncBlock, relay: Relay, me: str) -> None:
    going = True
    while going:
        with lock:
            time.sleep(0)
            going = relay.go_on(me)


# -- Within a loop -----------------------------------------------------------------------------------------------------


def asyncio_lock() -> Block:
    return asyncio.Lock()


def anyio_lock() -> Block:
    import anyio

    return anyio.Lock()


def trio_lock() -> Block:
    import trio

    return trio.Lock()


def labtether_lock() -> Any:
    import labtether as lt

    return lt.Lock()


def within(runner: str, make: Callable[[], Block]) -> None:
    async def main() -> None:
        lock, pause = make(), PAUSES[runner]

        async def once(count: int) -> int:
            relay = Relay(count)
            await TOGETHER[runner](
                partial(turns, lock, relay, "one", pause), partial(turns, lock, relay, "other", pause)
            )
            return relay.begun

        await rounds(once)

    RUNNERS[runner](main)


# -- What people do across loops and threads ---------------------------------------------------------------------------


class Dispatched:
    """A threading.Lock taken on a worker thread, so that the loop is not blocked, and released in place."""

    def __init__(self, lock: threading.Lock, dispatch: Callable[[Callable[[], bool]], Awaitable[Any]]) -> None:
        self._lock = lock
        self._dispatch = dispatch

    async def __aenter__(self) -> None:
        await self._dispatch(self._lock.acquire)

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()


class TriedFirst(Dispatched):
    """The same, with a worker thread only if the lock is not free."""

    async def __aenter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            await self._dispatch(self._lock.acquire)


class Remote:
    """An asyncio.Lock that lives in another loop, for a loop (`async with`) or a thread (`with`)."""

    def __init__(self, lock: asyncio.Lock, home: asyncio.AbstractEventLoop) -> None:
        self._lock = lock
        self._home = home

    async def __aenter__(self) -> None:
        await there(self._home, self._lock.acquire())

    async def __aexit__(self, *_: object) -> None:
        self._home.call_soon_threadsafe(self._lock.release)

    def __enter__(self) -> None:
        asyncio.run_coroutine_threadsafe(self._lock.acquire(), self._home).result()

    def __exit__(self, *_: object) -> None:
        self._home.call_soon_threadsafe(self._lock.release)


def in_executor(acquire: Callable[[], bool]) -> Awaitable[bool]:
    return asyncio.get_running_loop().run_in_executor(None, acquire)


def in_anyio_worker(acquire: Callable[[], bool]) -> Awaitable[bool]:
    from anyio import to_thread

    return to_thread.run_sync(acquire)


DISPATCHED: dict[str, Callable[[threading.Lock], Block]] = {
    "to_thread": lambda lock: Dispatched(lock, asyncio.to_thread),
    "run_in_executor": lambda lock: Dispatched(lock, in_executor),
    "anyio_to_thread": lambda lock: Dispatched(lock, in_anyio_worker),
    "tried": lambda lock: TriedFirst(lock, in_executor),
}


# -- Two loops in two threads ------------------------------------------------------------------------------------------


def dispatched_loops(which: str) -> tuple[Block, Block]:
    block = DISPATCHED[which](threading.Lock())
    return block, block


def remote_loops() -> tuple[Block, Block]:
    lock = asyncio.Lock()
    return lock, Remote(lock, asyncio.get_running_loop())


def labtether_loops() -> tuple[Block, Block]:
    lock = labtether_lock()
    return lock, lock


def loops(make: Callable[[], tuple[Block, Block]]) -> None:
    async def main() -> None:
        here, elsewhere = make()

        async def once(count: int) -> int:
            relay = Relay(count)
            far = there(other, turns_of_a_loop(elsewhere, relay, "elsewhere"))
            await asyncio.gather(turns_of_a_loop(here, relay, "here"), far)
            return relay.begun

        async with another_loop() as other:
            await rounds(once)

    asyncio.run(main())


# -- A loop and a thread -----------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def dispatched_thread(which: str) -> AsyncIterator[tuple[Block, SyncBlock]]:
    lock = threading.Lock()
    yield DISPATCHED[which](lock), lock


@contextlib.asynccontextmanager
async def remote_thread() -> AsyncIterator[tuple[Block, SyncBlock]]:
    lock = asyncio.Lock()
    yield lock, Remote(lock, asyncio.get_running_loop())


@contextlib.asynccontextmanager
async def portal_thread() -> AsyncIterator[tuple[Block, SyncBlock]]:
    """An anyio.Lock, which a thread takes through a portal: the task that serves the block is its owner."""
    import anyio
    from anyio.from_thread import BlockingPortal

    class Wrapped:
        def __enter__(self) -> None:
            self._block = portal.wrap_async_context_manager(lock)
            self._block.__enter__()

        def __exit__(self, *_: object) -> None:
            self._block.__exit__(None, None, None)

    async with BlockingPortal() as portal:
        lock = anyio.Lock()
        yield lock, Wrapped()


@contextlib.asynccontextmanager
async def labtether_thread() -> AsyncIterator[tuple[Block, SyncBlock]]:
    lock = labtether_lock()
    yield lock, lock.sync


def thread(make: Callable[[], AbstractAsyncContextManager[tuple[Block, SyncBlock]]]) -> None:
    async def main() -> None:
        async def once(count: int) -> int:
            relay = Relay(count)
            far = run(partial(turns_of_a_thread, elsewhere, relay, "elsewhere"))
            await asyncio.gather(turns_of_a_loop(here, relay, "here"), far)
            return relay.begun

        async with make() as (here, elsewhere), a_thread() as run:
            await rounds(once)

    asyncio.run(main())


LOCKS: dict[str, Callable[[], None]] = {
    "lock-asyncio": partial(within, "asyncio", asyncio_lock),
    "lock-anyio": partial(within, "asyncio", anyio_lock),
    "lock-trio": partial(within, "trio", trio_lock),
    **{f"lock-labtether-{runner}": partial(within, runner, labtether_lock) for runner in RUNNERS},
    **{f"lock_loops-{which}": partial(loops, partial(dispatched_loops, which)) for which in DISPATCHED},
    "lock_loops-remote": partial(loops, remote_loops),
    "lock_loops-labtether": partial(loops, labtether_loops),
    **{f"lock_thread-{which}": partial(thread, partial(dispatched_thread, which)) for which in DISPATCHED},
    "lock_thread-remote": partial(thread, remote_thread),
    "lock_thread-portal": partial(thread, portal_thread),
    "lock_thread-labtether": partial(thread, labtether_thread),
}
