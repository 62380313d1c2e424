"""Keep-alives while Python is busy with something else. The instrument notes when each came."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

from protocol import BAUDRATE, answer, counts, link
from queries import streams

EVERY = 0.05
BLOCKED = 0.1
WATCH, KEEP, GAPS = "WATCH", "KEEP", "GAPS"

Say = Callable[[str], Awaitable[str]]


def sleeping() -> None:
    """Blocks its thread, and with it the loop; other threads run."""
    time.sleep(BLOCKED)


def one_call() -> Callable[[], None]:
    """One call into C that keeps the GIL, as a long one of any extension does: no Python runs."""
    usleep = ctypes.PyDLL(None).usleep

    def call() -> None:
        usleep(int(BLOCKED * 1e6))

    return call


BLOCKS: dict[str, Callable[[], Callable[[], None]]] = {"blocked": lambda: sleeping, "gil": one_call}


async def rounds(which: str, kept_alive: Callable[[], contextlib.AbstractAsyncContextManager[Say]]) -> None:
    """So many periods, and Python is blocked for half of the time. The times: from one keep-alive to the next."""
    block = BLOCKS[which]()
    for count in counts():
        cpu = time.process_time_ns()
        async with kept_alive() as say:
            await say(WATCH)
            for _ in range(max(1, round(count * EVERY / BLOCKED / 2))):
                await asyncio.sleep(BLOCKED)
                block()
            gaps = [1000 * int(gap) for gap in (await say(GAPS)).split()]
        if not gaps:
            raise SystemExit("no keep-alive came")
        answer(time.process_time_ns() - cpu, len(gaps), gaps)


@contextlib.asynccontextmanager
async def by_task(line: str, address: str) -> AsyncIterator[Say]:
    over = False
    async with streams(line, address) as (reader, writer):

        async def say(message: str) -> str:
            writer.write(f"{message}\n".encode())
            return (await reader.readline()).decode()

        async def keep() -> None:
            while not over:
                await asyncio.sleep(EVERY)
                async with turn:
                    await say(KEEP)

        async def take_turn(message: str) -> str:
            async with turn:
                return await say(message)

        turn = asyncio.Lock()
        keeping = asyncio.create_task(keep())
        yield take_turn
        over = True
        await keeping


@contextlib.asynccontextmanager
async def by_thread(_line: str, address: str) -> AsyncIterator[Say]:
    import serial

    over = threading.Event()
    turn = threading.Lock()
    with serial.Serial(address, BAUDRATE, timeout=5) as port:

        def say(message: str) -> str:
            with turn:
                port.write(f"{message}\n".encode())
                reply: bytes = port.readline()
                return reply.decode()

        def keep() -> None:
            while not over.wait(EVERY):
                say(KEEP)

        async def take_turn(message: str) -> str:
            return say(message)

        keeping = threading.Thread(target=keep, name="keep-alive")
        keeping.start()
        yield take_turn
        over.set()
        keeping.join()


@contextlib.asynccontextmanager
async def by_link(line: str, address: str) -> AsyncIterator[Say]:
    import labtether as lt

    async with link(line, address, keepalive=lt.KeepAlive(KEEP, EVERY)) as meter:
        yield meter.query


def subject(kept_alive: Callable[[str, str], Any], which: str, line: str, address: str) -> None:
    asyncio.run(rounds(which, partial(kept_alive, line, address)))


KEEPALIVES: dict[str, Callable[..., None]] = {
    f"keepalive_{which}-{name}": partial(subject, kept_alive, which)
    for which in BLOCKS
    for name, kept_alive in (("task", by_task), ("thread", by_thread), ("labtether", by_link))
}
