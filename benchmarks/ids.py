"""Several queries in flight on one link, told apart by an id that command and reply share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from itertools import count
from typing import Any

from protocol import COMMAND, REPLY, RUNNERS, check, link
from queries import streams
from sides import shared_rounds

IN_FLIGHT = 32

Ask = Callable[[int], Coroutine[Any, Any, str | bytes]]


async def in_flight(runner: str, ask: Ask) -> None:
    """So many tasks; each asks again, with the next id, as soon as it has its answer."""
    numbers = count(1)

    async def asking(share: int) -> None:
        for _ in range(share):
            number = next(numbers)
            reply = await ask(number)
        check(reply, f"#{number} {REPLY}")

    await shared_rounds(runner, [asking] * IN_FLIGHT)


async def stream_ids(runner: str, line: str, address: str) -> None:
    """A task that reads all replies, and a dict of the futures that wait for them."""
    waiting: dict[bytes, asyncio.Future[bytes]] = {}
    loop = asyncio.get_running_loop()
    async with streams(line, address) as (reader, writer):

        async def hear() -> None:
            while True:
                reply = await reader.readline()
                waiting.pop(reply[: reply.index(b" ")]).set_result(reply)

        async def ask(number: int) -> bytes:
            future: asyncio.Future[bytes] = loop.create_future()
            waiting[b"#%d" % number] = future
            writer.write(f"#{number} {COMMAND}\n".encode())
            return await future

        hearing = asyncio.create_task(hear())
        await in_flight(runner, ask)
        hearing.cancel()


class Replies(asyncio.Protocol):
    """The same without streams: what came is cut as it comes."""

    def __init__(self) -> None:
        self.waiting: dict[bytes, asyncio.Future[bytes]] = {}
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        *replies, self._rest = (self._rest + data).split(b"\n")
        for reply in replies:
            self.waiting.pop(reply[: reply.index(b" ")]).set_result(reply)


async def protocol_ids(runner: str, line: str, address: str) -> None:
    loop = asyncio.get_running_loop()
    replies = Replies()
    transport: asyncio.WriteTransport
    if line == "pty":
        from serial_asyncio_fast import create_serial_connection

        transport, _ = await create_serial_connection(loop, lambda: replies, address)
    else:
        transport, _ = await loop.create_connection(lambda: replies, "127.0.0.1", int(address))

    async def ask(number: int) -> bytes:
        future: asyncio.Future[bytes] = loop.create_future()
        replies.waiting[b"#%d" % number] = future
        transport.write(f"#{number} {COMMAND}\n".encode())
        return await future

    await in_flight(runner, ask)
    transport.close()


async def link_ids(runner: str, line: str, address: str) -> None:
    import labtether as lt

    async with link(line, address, match=lt.ById(r"^#(\d+)", r"^#(\d+)")) as meter:

        async def ask(number: int) -> str:
            reply: str = await meter.query(f"#{number} {COMMAND}")
            return reply

        await in_flight(runner, ask)


def subject(runner: str, main: Callable[..., Any], line: str, address: str) -> None:
    RUNNERS[runner](partial(main, runner, line, address))


IDS: dict[str, Callable[..., None]] = {
    **{f"ids-streams-{runner}": partial(subject, runner, stream_ids) for runner in ("asyncio", "uvloop")},
    "ids-protocol-asyncio": partial(subject, "asyncio", protocol_ids),
    **{f"ids-labtether-{runner}": partial(subject, runner, link_ids) for runner in RUNNERS},
}
