"""One query after the other: the peers, and labtether on each of its faces."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial

from protocol import BAUDRATE, COMMAND, RUNNERS, blocking, link, timed


def pyserial(_line: str, address: str) -> None:
    import serial

    with serial.Serial(address, BAUDRATE, timeout=5) as port:
        command = f"{COMMAND}\n".encode()

        def ask() -> bytes:
            port.write(command)
            reply: bytes = port.readline()
            return reply

        blocking(ask)


@contextlib.asynccontextmanager
async def streams(line: str, address: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """asyncio's streams; over a pty those of pyserial-asyncio-fast."""
    if line == "pty":
        from serial_asyncio_fast import open_serial_connection

        reader, writer = await open_serial_connection(url=address, baudrate=BAUDRATE)
    else:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(address))
    try:
        yield reader, writer
    finally:
        writer.close()


async def stream_queries(line: str, address: str, *, limited: bool) -> None:
    command = f"{COMMAND}\n".encode()
    async with streams(line, address) as (reader, writer):

        async def ask() -> bytes:
            writer.write(command)
            return await reader.readline()

        async def ask_limited() -> bytes:
            async with asyncio.timeout(5):
                writer.write(command)
                return await reader.readline()

        await timed(ask_limited if limited else ask)


def stream_subject(runner: str, line: str, address: str, *, limited: bool = False) -> None:
    RUNNERS[runner](partial(stream_queries, line, address, limited=limited))


async def link_queries(line: str, address: str) -> None:
    async with link(line, address) as meter:

        async def ask() -> str:
            reply: str = await meter.query(COMMAND)
            return reply

        await timed(ask)


def link_subject(runner: str, line: str, address: str) -> None:
    RUNNERS[runner](partial(link_queries, line, address))


def link_blocking(line: str, address: str) -> None:
    with link(line, address).sync as meter:
        blocking(lambda: meter.query(COMMAND))
