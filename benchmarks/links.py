"""Many links at once: each asks again as soon as it has its answer, or has Rust do so."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from protocol import BAUDRATE, COMMAND, RUNNERS, answer, check, counts, link, now
from queries import streams
from sides import shared_rounds


async def stream_links(runner: str, line: str, addresses: str) -> None:
    command = f"{COMMAND}\n".encode()

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, share: int) -> None:
        for _ in range(share):
            writer.write(command)
            reply = await reader.readline()
        check(reply)

    async with contextlib.AsyncExitStack() as stack:
        ports = [await stack.enter_async_context(streams(line, address)) for address in addresses.split(",")]
        await shared_rounds(runner, [partial(ask, *port) for port in ports])


@contextlib.asynccontextmanager
async def links(line: str, addresses: str) -> AsyncIterator[list[Any]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(link(line, address)) for address in addresses.split(",")]


async def link_links(runner: str, line: str, addresses: str) -> None:
    async def ask(meter: Any, share: int) -> None:
        for _ in range(share):
            reply = await meter.query(COMMAND)
        check(reply)

    async with links(line, addresses) as meters:
        await shared_rounds(runner, [partial(ask, meter) for meter in meters])


async def link_polls(runner: str, line: str, addresses: str) -> None:
    async def read(meter: Any, share: int) -> None:
        readings = []
        async with meter.poll(COMMAND, every=0, count=share, capacity=share) as polled:
            async for reading in polled:
                readings.append(reading)
        if len(readings) != share:
            raise SystemExit(f"{len(readings)} of {share} readings came")
        check(readings[-1].value)

    async with links(line, addresses) as meters:
        await shared_rounds(runner, [partial(read, meter) for meter in meters])


def many(runner: str, main: Callable[..., Any], line: str, addresses: str) -> None:
    RUNNERS[runner](partial(main, runner, line, addresses))


# -- A thread for each -------------------------------------------------------------------------------------------------


def in_threads(asks: list[Callable[[], str | bytes]]) -> None:
    def ask_often(ask: Callable[[], str | bytes], share: int) -> None:
        for _ in range(share):
            reply = ask()
        check(reply)

    with ThreadPoolExecutor(len(asks)) as pool:
        for count in counts():
            share = max(1, count // len(asks))
            cpu = time.process_time_ns()
            begun = now()
            for asked in [pool.submit(ask_often, ask, share) for ask in asks]:
                asked.result()
            took = now() - begun
            answer(time.process_time_ns() - cpu, share * len(asks), [took])


def pyserial_threads(_line: str, addresses: str) -> None:
    import serial

    command = f"{COMMAND}\n".encode()

    def ask(port: Any) -> bytes:
        port.write(command)
        reply: bytes = port.readline()
        return reply

    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(serial.Serial(address, BAUDRATE, timeout=5)) for address in addresses.split(",")]
        in_threads([partial(ask, port) for port in ports])


def link_threads(line: str, addresses: str) -> None:
    with contextlib.ExitStack() as stack:
        meters = [stack.enter_context(link(line, address).sync) for address in addresses.split(",")]
        in_threads([partial(meter.query, COMMAND) for meter in meters])


LINKS: dict[str, Callable[..., None]] = {
    **{f"links-streams-{runner}": partial(many, runner, stream_links) for runner in ("asyncio", "uvloop")},
    **{f"links-labtether-{runner}": partial(many, runner, link_links) for runner in RUNNERS},
    **{f"polls-labtether-{runner}": partial(many, runner, link_polls) for runner in RUNNERS},
    "links-pyserial-threads": pyserial_threads,
    "links-labtether-threads": link_threads,
}
